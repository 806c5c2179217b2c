"""A server that answers each request with the very bytes that a test has written, at their pace.

It is proxy and host in one: it accepts CONNECT for any host and speaks TLS in that host's name.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HOSTS: Final = (
    "queue.fal.run",
    "queue.falrun.com",
    "rest.fal.ai",
    "rest.alpha.fal.ai",
    "api.fal.ai",
    "v3.fal.media",
    "subscriber.example.com",
)
#: Seconds that a connection may live: longer than any client's patience in these tests.
MAX_SECONDS: Final = 3.0
#: Seconds between two bytes of an answer that drips.
DRIP: Final = 0.02

End = Literal["close", "reset", "stall", "drip"]


@dataclass(frozen=True)
class Raw:
    """The bytes of one answer. After ``at`` of them (None: all) the connection ends as named."""

    data: bytes
    end: End = "close"
    at: int | None = None

    def __repr__(self) -> str:
        return f"Raw({self.data[:400]!r}, {self.end!r}, {self.at})"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    host: str
    method: str
    target: str
    authorization: str


@dataclass
class Server:
    """Answers with ``answers`` in turn, and with the last one from then on."""

    ca_file: Path
    answers: Sequence[Raw] = (Raw(b""),)
    asked: list[Asked] = field(default_factory=list)
    #: Requests that came in the clear.
    in_the_clear: list[str] = field(default_factory=list)
    #: What broke in this server itself.
    broken: list[BaseException] = field(default_factory=list)
    port: int = 0
    _ends: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(self.ca_file)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*HOSTS, key_type=trustme.KeyType.ECDSA).configure_cert(self._tls)

    def play(self, answers: Sequence[Raw]) -> None:
        """Begin anew with other answers."""
        self.answers = answers
        self.asked, self.in_the_clear = [], []

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Listen on 127.0.0.1."""
        with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listener:
            self.port = listener.getsockname()[1]
            listener.settimeout(0.2)
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            yield self
            self._ends.set()
            thread.join(5)

    def _accept(self, listener: socket.socket) -> None:
        while not self._ends.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(MAX_SECONDS)
        try:
            with closing(connection):
                self._speak(connection)
        except (OSError, EOFError):  # the client had enough
            pass
        except BaseException as exc:  # noqa: BLE001 - a test looks at it
            self.broken.append(exc)

    def _speak(self, connection: socket.socket) -> None:
        method, target, _ = _head(connection)
        if method != "CONNECT":
            self.in_the_clear.append(f"{method} {target}")
            return
        host = target.partition(":")[0]
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with closing(self._tls.wrap_socket(connection, server_side=True)) as line:
            while True:  # until the client hangs up, or its answer ends the connection
                method, target, headers = _head(line)
                self._swallow(line, headers)
                number = len(self.asked)
                self.asked.append(Asked(host, method, target, headers.get("authorization", "")))
                answer = self.answers[min(number, len(self.answers) - 1)]
                _send(line, answer)
                if not (answer.end == "close" and answer.at is None and "keep" in headers):
                    return

    @staticmethod
    def _swallow(line: socket.socket, headers: dict[str, str]) -> None:
        left = int(headers.get("content-length", 0))
        while left > 0:
            left -= len(_some(line, left))


def _send(line: socket.socket, answer: Raw) -> None:
    sent = answer.data if answer.at is None else answer.data[: answer.at]
    line.sendall(sent)
    ends_at = time.monotonic() + MAX_SECONDS
    if answer.end == "drip":
        for byte in answer.data[len(sent) :]:
            line.sendall(bytes((byte,)))
            time.sleep(DRIP)
            if time.monotonic() > ends_at:
                return
    if answer.end in ("stall", "drip"):
        with suppress(OSError):
            line.recv(1)  # until the client hangs up, or this connection's time is over
    if answer.end == "reset":
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _some(line: socket.socket, most: int) -> bytes:
    data = line.recv(min(most, 65536))
    if not data:
        raise EOFError
    return data


def _head(line: socket.socket) -> tuple[str, str, dict[str, str]]:
    """Method, target and headers of the next request."""
    raw = bytearray()
    while not raw.endswith(b"\r\n\r\n"):
        raw += _some(line, 1)
    lines = raw.decode("latin-1").split("\r\n")
    method, target, _ = (*re.split(" ", lines[0]), "", "")[:3]
    headers = {
        name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines[1:])
    }
    return method, target, headers
