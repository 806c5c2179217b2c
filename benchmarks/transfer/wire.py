"""HTTP/1.1 over blocking TLS sockets, a thread a connection: what both servers speak.

Python's ``ssl`` gives up the interpreter's lock while it encrypts, so the threads of a server work
side by side, and cost little beside what they serve.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK: Final = "127.0.0.1"
MAX_HEAD: Final = 64 * 1024
#: What is sent or awaited at once, in bytes.
STEP: Final = 256 * 1024


@dataclass(frozen=True)
class Network:
    """How far away a server seems: bytes a second on each connection, seconds before an answer."""

    rate: float | None = None
    latency: float = 0.0


@dataclass
class Pace:
    """Keeps one body to a rate."""

    rate: float | None
    begun: float = field(default_factory=time.monotonic)
    moved: int = 0

    def moved_on(self, count: int) -> None:
        """Wait until so many more bytes may have moved."""
        self.moved += count
        if self.rate:
            time.sleep(max(0.0, self.begun + self.moved / self.rate - time.monotonic()))


@dataclass(frozen=True)
class Request:
    """The head of a request; header names are lower-case."""

    method: str
    target: str
    headers: dict[str, str]


class Wire:
    """One connection."""

    def __init__(self, sock: socket.socket, network: Network) -> None:
        self.sock = sock
        self.network = network
        self._rest = bytearray()

    def head(self) -> Request | None:
        """The next request; None where the other end has gone."""
        while b"\r\n\r\n" not in self._rest:
            if not self._more() or len(self._rest) > MAX_HEAD:
                return None
        raw, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        return Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})

    def line(self) -> bytes:
        """One line, without its end."""
        while b"\r\n" not in self._rest:
            if not self._more():
                raise ConnectionError("cut off within a line")
        line, _, self._rest = self._rest.partition(b"\r\n")
        return bytes(line)

    def read(self, length: int, pace: Pace) -> bytearray:
        """A body's next ``length`` bytes."""
        body = bytearray(length)
        early = min(length, len(self._rest))
        body[:early] = self._rest[:early]
        del self._rest[:early]
        pace.moved_on(early)
        with memoryview(body) as view:
            while early < length:
                count = self.sock.recv_into(view[early : early + STEP])
                if not count:
                    raise ConnectionError("cut off within a body")
                early += count
                pace.moved_on(count)
        return body

    def _more(self) -> bool:
        got = self.sock.recv(MAX_HEAD)
        self._rest += got
        return bool(got)

    def answer(self, status: str, headers: dict[str, str], body: bytes = b"") -> None:
        """Send an answer, or only its head where the body follows."""
        fields = {"Content-Length": str(len(body)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.sock.sendall(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    def be_far(self) -> None:
        """Let the latency pass."""
        time.sleep(self.network.latency)


def serve(talk: Callable[[socket.socket], None]) -> int:
    """Accept connections, each in a thread of its own; the port."""
    listener = socket.create_server((LOOPBACK, 0), backlog=64)

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_quietly, args=(talk, sock), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def _quietly(talk: Callable[[socket.socket], None], sock: socket.socket) -> None:
    """A client that goes away is no news."""
    with suppress(OSError):
        talk(sock)
    with suppress(OSError):
        sock.close()


def tls(certificate: str) -> ssl.SSLContext:
    """The servers' side of TLS, from a file with a certificate and its key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def announce_and_stay(port: int) -> None:
    """Tell the parent where, and live as long as it keeps our standard input open."""
    print(port, flush=True)
    sys.stdin.buffer.read()
