"""Where the simulator's own calls go: the only module that opens a connection to anything.

Names under amazonaws.com do not resolve to the local emulator, so the connection is made to the
emulator's port with the real name as SNI and Host. Nothing outside this machine is ever dialled.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

EXECUTE_API = re.compile(r"(?P<api>[a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com")


@dataclass(frozen=True, slots=True)
class Target:
    """A request line for the emulator: the URL to dial, the Host to send, the name to ask for."""

    url: URL
    host: str
    server_name: str


class RefusedTargetError(Exception):
    """fal would not send there: the address is private, loopback or not https."""


class UnreachableTargetError(Exception):
    """The host exists only outside this machine, so the connection fails."""


class Dialer:
    """Opens TLS connections to the emulator's port and nowhere else."""

    def __init__(self, emulator_port: int, ca_bundle: Path) -> None:
        self._port = emulator_port
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_trusting(ca_bundle), force_close=True, limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def media(self, url: str) -> Target:
        """Find the target of a file a runner reads: S3 in any of its URL styles."""
        parts = _https(url)
        host = parts.hostname or ""
        if host == "localhost" or host.endswith((".localhost", ".amazonaws.com")):
            return self._emulator(parts, parts.netloc)
        raise UnreachableTargetError(f"{host} is not played here")

    def webhook(self, url: str) -> Target:
        """Find the target of a webhook: an API Gateway address, the emulator's name for it as Host.

        The emulator routes an HTTP API only under `<api>.execute-api.localhost`.
        """
        parts = _https(url)
        host = parts.hostname or ""
        if _is_private(host):
            raise RefusedTargetError("the webhook target is a private or loopback address")
        if not (known := EXECUTE_API.fullmatch(host)):
            raise UnreachableTargetError(f"{host} is not played here")
        return self._emulator(parts, f"{known['api']}.execute-api.localhost:{self._port}")

    def _emulator(self, parts: SplitResult, host: str) -> Target:
        query = f"?{parts.query}" if parts.query else ""
        address = f"https://127.0.0.1:{self._port}{parts.path or '/'}{query}"
        # encoded: a presigned query string must arrive byte for byte as it was signed
        return Target(URL(address, encoded=True), host, parts.hostname or "")

    @asynccontextmanager
    async def open(
        self,
        method: str,
        target: Target,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - aiohttp's own timeout, which also bounds the connect
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request, following no redirect; raises aiohttp's errors and TimeoutError."""
        options: dict[str, Any] = {
            "headers": {**headers, "Host": target.host},
            "data": data,
            "timeout": aiohttp.ClientTimeout(total=timeout),
            "server_hostname": target.server_name,
            "allow_redirects": False,
        }
        async with self._session.request(method, target.url, **options) as response:
            yield response

    async def close(self) -> None:
        """Drop every connection."""
        await self._session.close()


def _trusting(ca_bundle: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_bundle))
    # The chain is verified; the name is not, because the emulator's certificate is for localhost
    # while the connection asks for an AWS name, and no certificate may match *.localhost.
    context.check_hostname = False
    return context


def _https(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise RefusedTargetError("only https is dialled")
    return parts


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".internal", ".local")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False
