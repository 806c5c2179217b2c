"""Who may use the board: a browser that was opened by a link of one use, and nothing else.

The board acts with its user's AWS credentials. Every page that the user visits can send requests to
127.0.0.1, and any name can be made to resolve to it (DNS rebinding). So each request must show by
its Host, its cookie and its origin that a page of the board sent it; any other is refused.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from phonoscene_cli.board import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HTTP_PORT: Final = 80
#: Where the one-time link leads.
ENTRANCE: Final = "/enter"
#: Without HEAD: a link's preview would use it up, and S3 would send a whole video for nothing.
READING: Final = frozenset({"GET"})
WRITING: Final = frozenset({"POST", "PUT"})
#: What a browser calls a request of the page itself, or one that a person typed or opened.
OWN_SITES: Final = frozenset({"same-origin", "none"})
#: Links that were made and not used yet; more than a few are forgotten.
MAX_LINKS: Final = 10
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def policy(nonce: str) -> str:
    """The Content-Security-Policy of a page: only this server's own scripts, styles and media."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "img-src 'self'; media-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request is not answered: an HTTP status, and a sentence with the way out."""

    status: int
    sentence: str


@dataclass
class Access:
    """The secrets of one process, and the rules; ``hosts`` are the names it may be called by."""

    hosts: frozenset[str]
    cookie: str
    _secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _links: dict[str, None] = field(default_factory=dict)

    @classmethod
    def on_port(cls, port: int, host: str = LOOPBACK) -> Access:
        """For a server on this port, which the cookie's name has: ports of a host share cookies."""
        names = {LOOPBACK, "localhost", host}
        ending = "" if port == HTTP_PORT else f":{port}"  # browsers leave out the usual one
        return cls(frozenset(f"{name}{ending}" for name in names), f"phonoscene-board-{port}")

    def new_link(self) -> str:
        """A path that lets one browser in, once."""
        token = secrets.token_urlsafe(32)
        self._links[token] = None
        while len(self._links) > MAX_LINKS:
            del self._links[next(iter(self._links))]
        return f"{ENTRANCE}?token={token}"

    def enter(self, token: str) -> str:
        """The value of the cookie, for a token that was not used before.

        Raises:
            Refusal: it was, or is none of ours.
        """
        found = [link for link in self._links if hmac.compare_digest(link.encode(), token.encode())]
        if not found:
            raise Refusal(
                403,
                "This link was already used, or is not for this board. Press Enter in the terminal "
                "of `phonoscene board` for a new one.",
            )
        del self._links[found[0]]
        return self._secret

    def check(self, method: str, path: str, headers: Headers, cookie: str) -> None:
        """Let a request pass that the board's own pages sent.

        Raises:
            Refusal: it does not show that.
        """
        if headers.getlist("host") != [headers.get("host")] or headers["host"] not in self.hosts:
            raise Refusal(
                421, "This is not the board's address. Open the link that its terminal shows."
            )
        if method not in READING | WRITING:
            raise Refusal(405, "The board answers GET, POST and PUT.")
        self._check_origin(method, path, headers)
        if path != ENTRANCE and not hmac.compare_digest(cookie.encode(), self._secret.encode()):
            raise Refusal(
                403,
                "This browser has not opened the board. Press Enter in the terminal of "
                "`phonoscene board` for a link.",
            )

    def _check_origin(self, method: str, path: str, headers: Headers) -> None:
        """What a browser says of the page that sent the request; before a write it must say it."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_ours = origin is None or origin in {f"http://{host}" for host in self.hosts}
        says = site is not None or origin is not None
        is_link = path == ENTRANCE and method in READING and origin is None
        from_here = site is None or site in OWN_SITES
        if method in WRITING:
            from_here = from_here and site != "none" and says
        if not (is_ours and (from_here or is_link)):
            raise Refusal(403, "Another page sent this request. Use the board's own pages.")


class Guard:
    """The application around the board's own: refuses requests, and adds headers to all answers.

    No middleware of Starlette: an error that nothing handles would be answered outside of it.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is refused."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        path = scope["path"]  # of the request, a Host or an escaped ? in it would change it
        nonce = scope["nonce"] = secrets.token_urlsafe(16)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", policy(nonce))
            await send(message)

        cookie = request.cookies.get(self.access.cookie, "")
        try:
            self.access.check(request.method, path, request.headers, cookie)
        except Refusal as refusal:
            answer = PlainTextResponse(f"{refusal.sentence}\n", refusal.status)
            await answer(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)
