"""A port of this machine that leads to another, and whose lines can be cut."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def forwarded(address: str) -> Iterator[int]:
    """The port that leads to the host of a URL; at the end all its lines are cut."""
    parts, lines = urlsplit(address), list[socket.socket]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = threading.Thread(
            target=_serve, args=(server, (parts.hostname, parts.port), lines), daemon=True
        )
        listener.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            listener.join()
            for line in lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, to: tuple[str, int], lines: list[socket.socket]) -> None:
    with suppress(OSError):  # the end of the listening socket
        while True:
            near, _ = server.accept()
            far = socket.create_connection(to, timeout=60)
            lines += (near, far)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)
    one.close()
