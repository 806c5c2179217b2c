"""A proxy that leads API Gateway's names to the emulator, and every other name where it leads."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from local.cloud.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.cloud.certificates import TlsFiles

_API = re.compile(r"([a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com")
ENOUGH = 65536


@contextmanager
def gateway(tls_files: TlsFiles, emulator: int) -> Iterator[int]:
    """The proxy's port, for the body's time. The emulator knows an API by another host's name."""
    known = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    known.load_cert_chain(tls_files.certificate, tls_files.private_key)
    trusting = ssl.create_default_context(cafile=tls_files.ca_bundle)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                host, _, port = _connect(self.request).rpartition(":")
                api = _API.fullmatch(host)
                if api is None:
                    with socket.create_connection((host, int(port)), 10) as far:
                        far.settimeout(None)
                        self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                        _both_ways(self.request, far)
                    return
                self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                name = f"{api[1]}.execute-api.localhost"
                with (
                    known.wrap_socket(self.request, server_side=True) as near,
                    socket.create_connection((LOOPBACK, emulator), 10) as plain,
                    trusting.wrap_socket(plain, server_hostname="localhost") as far,
                ):
                    far.settimeout(None)
                    far.sendall(_request(near).replace(host.encode(), name.encode(), 1))
                    _copy(far, near)

    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _connect(client: Any) -> str:
    """The host and port that a CONNECT asks for."""
    return _until_head(client).split()[1].decode()


def _request(client: Any) -> bytes:
    """A whole request, after whose answer the far end hangs up."""
    head, end, body = _until_head(client).partition(b"\r\n\r\n")
    length = int((re.search(rb"(?i)content-length: (\d+)", head) or [b"", b"0"])[1])
    while len(body) < length:
        body += _piece(client)
    kept = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head)
    return kept + b"\r\nConnection: close" + end + body


def _until_head(client: Any) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        head += _piece(client)
    return head


def _piece(client: Any) -> bytes:
    piece: bytes = client.recv(ENOUGH)
    if not piece:
        raise OSError("it hung up")
    return piece


def _both_ways(near: Any, far: Any) -> None:
    """Copy until either side ends."""
    there = threading.Thread(target=_copy, args=(near, far), daemon=True)
    there.start()
    _copy(far, near)


def _copy(source: Any, target: Any) -> None:
    with suppress(OSError):
        while piece := source.recv(ENOUGH):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
