"""A browser for the board's ASGI application: each header is what a test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode

from starlette.datastructures import Headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp

    from phonoscene_cli.board.access import Access

PORT = 8123
HOST = f"127.0.0.1:{PORT}"


@dataclass(frozen=True)
class Answer:
    """A response as it was sent."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Browser:
    """Sends requests; ``headers`` go with each of them. A header may be there twice."""

    app: ASGIApp
    headers: tuple[tuple[str, str], ...] = (("host", HOST),)

    @classmethod
    def of_page(cls, app: ASGIApp, access: Access) -> Browser:
        """One that was let in, and sends what a page of the board sends."""
        secret = access.enter(access.new_link().partition("=")[2])
        return cls(app).sending(
            ("cookie", f"{access.cookie}={secret}"),
            ("sec-fetch-site", "same-origin"),
            ("origin", f"http://{HOST}"),
        )

    def sending(self, *headers: tuple[str, str | None]) -> Browser:
        """With these headers in the place of those of the same names; None: without."""
        named = {name for name, _ in headers}
        kept = [one for one in self.headers if one[0] not in named]
        new = [(name, value) for name, value in headers if value is not None]
        return replace(self, headers=(*kept, *new))

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers.items())

    def post(self, path: str, **form: str) -> Answer:
        kind = [("content-type", "application/x-www-form-urlencoded")]
        return self.ask("POST", path, [urlencode(form).encode()], kind)

    async def asked(self, path: str, *, is_closed: bool = False, **form: str) -> Answer:
        """The same beside other requests; ``is_closed``: the page has closed the connection."""
        kind = [("content-type", "application/x-www-form-urlencoded")]
        scope, body = self.scope("POST", path, kind), iter([urlencode(form).encode()])
        return await _exchange(self.app, scope, body, is_closed=is_closed)

    def put(self, path: str, body: bytes) -> Answer:
        return self.ask("PUT", path, [body], [("content-length", str(len(body)))])

    def ask(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> Answer:
        """One request from its first byte to the last of its answer."""
        return self.answer(self.scope(method, path, headers), body)

    def answer(self, scope: dict[str, Any], body: Iterable[bytes] = ()) -> Answer:
        """The same, for what no path can say."""
        return asyncio.run(_exchange(self.app, scope, iter(body)))

    def scope(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = ()
    ) -> dict[str, Any]:
        raw, _, query = path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.encode(), value.encode("latin-1"))
                for name, value in (*self.headers, *headers)
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", PORT),
        }


@dataclass
class _Sent:
    messages: list[Any] = field(default_factory=list)

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)


async def _exchange(
    app: ASGIApp, scope: dict[str, Any], body: Any, *, is_closed: bool = False
) -> Answer:
    gone = asyncio.Event()
    if is_closed:
        gone.set()

    async def receive() -> Any:
        piece = next(body, None)
        if piece is None and not scope.setdefault("read", False):
            scope["read"] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if piece is None:
            await gone.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    sent = _Sent()
    try:
        await app(scope, receive, sent)
    except Exception:
        if not sent.messages:  # otherwise it is answered, and then the server's to log
            raise
    start, *parts = sent.messages
    headers = Headers(raw=list(start["headers"]))
    return Answer(start["status"], headers, b"".join(part["body"] for part in parts))
