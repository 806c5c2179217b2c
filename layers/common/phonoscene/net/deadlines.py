"""A time limit for a whole exchange: connecting, headers and body together.

A socket's own timeout bounds each read, and so not a sender that drips: the clock here does.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType


class Deadline:
    """Shuts the connections that it watches once its seconds are over; every read of them ends.

    Only connections that were opened within its time are watched, so an exchange should not take
    one that an earlier exchange has left open.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        #: Whether time is up: nothing more can be read or sent.
        self.is_over = False
        self._lock = Lock()
        self._watched: list[socket.socket] = []
        self._timer = Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def watch(self, sock: socket.socket) -> socket.socket:
        """Watch a connection, by a duplicate of its socket, which is returned.

        TLS takes the socket itself away, and hands out another when it is done. The connection
        stays open for as long as its duplicate does.
        """
        duplicate = sock.dup()
        self._keep(duplicate)
        return duplicate

    def watch_instead(self, duplicate: socket.socket, sock: socket.socket) -> None:
        """Watch the socket of an open connection instead of its duplicate, which is closed."""
        with self._lock:
            self._watched.remove(duplicate)
        duplicate.close()
        self._keep(sock)

    def _keep(self, sock: socket.socket) -> None:
        with self._lock:
            self._watched.append(sock)
        if self.is_over:
            self._cut()

    def watch_request(self, request: Any) -> None:
        """An event hook of httpx: watch each connection that a request opens."""
        request.extensions["trace"] = self._trace

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            self.watch(info["return_value"].get_extra_info("socket"))

    def close(self) -> None:
        """End the watch, and close what is watched."""
        self._timer.cancel()
        with self._lock:
            while self._watched:
                self._watched.pop().close()

    def _cut(self) -> None:
        self.is_over = True
        with self._lock:
            for one in self._watched:
                with suppress(OSError):  # it is closed
                    # ssl's own shutdown would have the waiting thread read what is still encrypted
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
