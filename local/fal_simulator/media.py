"""How a runner reads the URLs of a job: one GET, https, no credentials, at most five redirects."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin

import aiohttp
from aiohttp import hdrs

from local.fal_simulator.dial import RefusedTargetError, UnreachableTargetError

if TYPE_CHECKING:
    from pathlib import Path

    from local.fal_simulator.dial import Dialer

MAX_REDIRECTS = 5
TIMEOUT = 120.0
CHUNK = 256 * 1024
# fal's toolkit introduces itself as an old Firefox; whether this model's runner does is unknown
HEADERS: dict[str, str] = {
    hdrs.USER_AGENT: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:72.0) Gecko/20100101",
    hdrs.ACCEPT_ENCODING: "identity",
}


class FetchError(Exception):
    """The file could not be read; the message holds no URL, which may be a signed one."""


async def fetch(dialer: Dialer, url: str, to: Path, limit: int) -> None:
    """Download one file of at most `limit` bytes; raises `FetchError`."""
    for _ in range(MAX_REDIRECTS + 1):
        try:
            following = await _get(dialer, url, to, limit)
        except (RefusedTargetError, UnreachableTargetError) as error:
            raise FetchError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise FetchError(type(error).__name__) from error
        if following is None:
            return
        url = urljoin(url, following)
    raise FetchError(f"more than {MAX_REDIRECTS} redirects")


async def _get(dialer: Dialer, url: str, to: Path, limit: int) -> str | None:
    """Save the file, or return where it has moved to."""
    async with dialer.open("GET", dialer.media(url), headers=HEADERS, timeout=TIMEOUT) as response:
        location = response.headers.get(hdrs.LOCATION)
        if 300 <= response.status < 400 and location:  # noqa: PLR2004 - the redirects
            return location
        if response.status != 200:  # noqa: PLR2004 - a file is a 200
            raise FetchError(f"status {response.status}")
        await _save(response, to, limit)
        return None


async def _save(response: aiohttp.ClientResponse, to: Path, limit: int) -> None:
    size = 0
    with to.open("wb") as file:
        async for piece in response.content.iter_chunked(CHUNK):
            size += len(piece)
            if size > limit:
                raise FetchError(f"more than {limit} bytes")
            file.write(piece)
