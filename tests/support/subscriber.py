"""A system of somebody's own that receives event webhooks: a real HTTPS server on this machine.

What it is sent it checks with Standard Webhooks' own package, as its makers would.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from standardwebhooks import Webhook, WebhookVerificationError

from local.cloud.ports import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds until an endpoint that hangs gives up by itself.
LONGEST: Final = 60.0


@dataclass
class Subscriber:
    """Who listens at ``https://subscriber.example.com``.

    ``status`` is what it answers, at once; or byte by byte, with ``drip`` seconds before each; or,
    where it ``hangs``, never.
    """

    secret: str = field(
        default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    )
    status: int = 204
    drip: float = 0.0
    hangs: bool = False
    #: Each answer's drop, and its seconds until its last byte was sent or the sender had hung up.
    took: list[tuple[str, float]] = field(default_factory=list)
    #: Ids and events in the order in which they came, those that were turned away included.
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)

    @cached_property
    def _listener(self) -> socket.socket:
        """Open before the server is, so that the port is no one else's."""
        return listen()

    @property
    def port(self) -> int:
        """Where it listens on this machine."""
        port: int = self._listener.getsockname()[1]
        return port

    @contextmanager
    def listening(self, tls: Path) -> Iterator[None]:
        """With the TLS files of the local cloud, for the body's time."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls / "certificate.pem", tls / "private-key.pem")
        server = ThreadingHTTPServer(
            ("127.0.0.1", self.port), self._handler(), bind_and_activate=False
        )
        server.daemon_threads = True
        server.socket.close()
        server.socket = context.wrap_socket(
            self._listener, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hear, answer = self._hear, self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer(self, body, hear(dict(self.headers.items()), body))

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _answer(self, asked: BaseHTTPRequestHandler, body: bytes, status: int) -> None:
        began = time.monotonic()
        asked.close_connection = True
        text = f"HTTP/1.1 {status} As Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        pieces = [text] if not self.drip else list(text)
        with suppress(OSError):
            while self.hangs and time.monotonic() - began < LONGEST:
                _wait(asked, 0.1)
            for piece in pieces:
                _wait(asked, self.drip)
                asked.wfile.write(piece.encode())
        if status != HTTPStatus.BAD_REQUEST:  # what was signed wrongly may be anything
            self.took.append((json.loads(body)["data"]["name"], time.monotonic() - began))

    def _hear(self, headers: dict[str, str], body: bytes) -> int:
        try:
            answer = Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError as exc:
            self.forged.append(str(exc))
            return 400
        identifier = next(value for name, value in headers.items() if name.lower() == "webhook-id")
        self.heard.append((identifier, answer))
        return self.status

    def states(self, name: str) -> list[str]:
        """What it has heard of a name: a state for each event, however often that came."""
        events = {identifier: answer["data"] for identifier, answer in self.heard}
        mine = [event for event in events.values() if event["name"] == name]
        return [str(event["status"]) for event in sorted(mine, key=lambda one: one["revision"])]


def _wait(asked: BaseHTTPRequestHandler, seconds: float) -> None:
    """Let time pass; a ``ConnectionError`` where the sender has hung up meanwhile."""
    if not seconds:
        return
    asked.connection.settimeout(seconds)
    try:
        if not asked.connection.recv(1):
            raise ConnectionResetError("the sender has hung up")
    except TimeoutError:
        asked.connection.settimeout(None)
