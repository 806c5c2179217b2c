"""Reads videos from fal's CDN, in parts: the only module that fetches what fal generated.

A video is read in ranges, several at once and handed on in order, so that memory is a few parts
however long it is, and a broken connection costs no more than the rest of one part.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from phonoscene.errors import AddressRefused, VideoRefused, VideoUnavailable
from phonoscene.jobs import ErrorDetail
from phonoscene.public_http import public_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

logger = logging.getLogger(__name__)

#: Bytes of a part. S3 takes parts of 5 MiB and more, and 10,000 of them, 48 GiB. Measured: see
#: docs/decisions.md.
PART: Final = 5 * 1024 * 1024
PARTS_AHEAD: Final = 5
TRIES: Final = 4
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)
#: One copy's time, in seconds: below the function's 300, so that an unfinished upload is aborted.
MOST_SECONDS: Final = 270
_FAL_HOST: Final = re.compile(r"([a-z0-9-]+\.)+fal\.media")


def check_url(url: str) -> None:
    """Refuse a video URL that is not fal's CDN.

    Hosts: ``*.fal.media`` (documented), and the folder ``falserverless`` of Google's storage, where
    the endpoint's own examples lie. That host is everybody's, so nothing in the path may lead out
    of the folder, whoever decodes it.

    Raises:
        VideoRefused: naming the host.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "an unreadable URL", None, urlsplit("")
    is_fal = bool(_FAL_HOST.fullmatch(host)) or (
        host == "storage.googleapis.com" and parts.path.startswith("/falserverless/")
    )
    leaves = re.search(r"\.\.|\\|%(2e|2f|5c)", parts.path, re.IGNORECASE)
    is_plain = parts.scheme == "https" and parts.username is None and port in (None, 443)
    is_clean = url.isascii() and url.isprintable() and " " not in url
    if leaves or not (is_fal and is_plain and is_clean):
        why = f"the video lies at {host[:100]!r}, which is not fal's CDN over https"
        raise _refused("video_url_refused", why)


def _refused(code: str, message: str) -> VideoRefused:
    return VideoRefused(ErrorDetail(code=code, message=message))


class Cdn:
    """fal's CDN. No credentials are sent there: its files are public to whoever knows their URL."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    @contextmanager
    def open(self, url: str, size: int | None = None) -> Iterator[Iterator[bytes]]:
        """The file's parts in order, each of ``PART`` bytes but the last.

        ``size`` is what fal told of it, for a CDN that does not.

        Raises:
            VideoRefused: wrong host, redirect, or too large.
            VideoUnavailable: it could not be read this time.
        """
        check_url(url)
        # the pool ends first: its parts are read with the client
        with public_client(TIMEOUT) as client, ThreadPoolExecutor(PARTS_AHEAD) as pool:
            try:
                yield _Source(client, url, self._most_bytes, size or 0).parts(pool)
            except (httpx.HTTPError, AddressRefused) as exc:
                raise VideoUnavailable(f"the CDN broke off: {type(exc).__name__}") from exc


class _Source:
    """A file on fal's CDN, read in ranges where the CDN can, else from beginning to end."""

    def __init__(self, client: httpx.Client, url: str, most_bytes: int, told: int) -> None:
        self._client = client
        self._url = url
        self._most_bytes = most_bytes
        self._told = told
        self._ends_at = time.monotonic() + MOST_SECONDS
        self._etag: str | None = None
        #: The length of the whole file, known after the first answer.
        self.size = 0

    def parts(self, pool: ThreadPoolExecutor) -> Iterator[bytes]:
        """Ask for the first part; the answer tells the size, and whether ranges work."""
        got = bytearray()
        with self._client.stream("GET", self._url, headers=_range(0, PART - 1)) as response:
            self._check(response)
            if response.status_code == httpx.codes.OK:
                yield from self._unranged(response)
                return
            self._read_into(got, response)
        yield self._part(0, got)
        yield from self._ranged(pool)

    def _ranged(self, pool: ThreadPoolExecutor) -> Iterator[bytes]:
        ahead: deque[Future[bytes]] = deque()
        for start in range(PART, self.size, PART):
            ahead.append(pool.submit(self._part, start))
            if len(ahead) == PARTS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _part(self, start: int, got: bytearray | None = None) -> bytes:
        """One part; what arrived before a connection broke is kept, and the rest asked for."""
        got = bytearray() if got is None else got
        length = min(start + PART, self.size) - start
        for _ in range(TRIES):
            if len(got) >= length:
                break
            rest = _range(start + len(got), start + length - 1)
            with self._client.stream("GET", self._url, headers=rest) as response:
                self._check_range(response, start + len(got), start + length - 1)
                self._read_into(got, response)
        if len(got) != length:
            raise VideoUnavailable(f"the CDN sent {len(got)} of the {length} bytes of a range")
        return bytes(got)

    def _check_range(self, response: httpx.Response, first: int, last: int) -> None:
        """See that this is the range that was asked for, of the file that was begun."""
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            raise VideoUnavailable(f"the CDN answered {response.status_code} for a range")
        asked = f"bytes {first}-{last}/{self.size}"
        is_same = response.headers.get("ETag") == self._etag
        if response.headers.get("Content-Range") != asked or not is_same:
            raise VideoUnavailable("the CDN answered with another range, or of another file")

    def _read_into(self, got: bytearray, response: httpx.Response) -> None:
        """Append what comes, up to a part; a broken connection ends it quietly."""
        try:
            for chunk in response.iter_raw():
                self._check_time()
                got += chunk
                if len(got) > PART:
                    return
        except httpx.TransportError as exc:
            logger.info("video.range_broken", extra={"error": type(exc).__name__})

    def _check_time(self) -> None:
        if time.monotonic() > self._ends_at:
            raise VideoUnavailable(f"the copy takes longer than {MOST_SECONDS} s")

    def _unranged(self, response: httpx.Response) -> Iterator[bytes]:
        buffer = bytearray()
        total = 0
        for chunk in response.iter_raw():
            buffer += chunk
            total += len(chunk)
            self._check_length(total)
            self._check_time()
            while len(buffer) >= PART:
                yield bytes(buffer[:PART])
                del buffer[:PART]
        if self.size and total != self.size:
            raise VideoUnavailable(f"the CDN sent {total} of {self.size} bytes")
        self.size = total
        if buffer:
            yield bytes(buffer)

    def _check(self, response: httpx.Response) -> None:
        """Learn the size; refuse what will not get better, and come back for what may."""
        if response.is_redirect:
            raise _refused(
                "video_redirected", "the CDN answered with a redirect, which is not followed"
            )
        if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise VideoUnavailable(f"the CDN answered {response.status_code}")
        self.size = _size(response) or self._told
        self._etag = response.headers.get("ETag")
        self._check_length(self.size)

    def _check_length(self, length: int) -> None:
        if length > self._most_bytes:
            raise _refused(
                "video_too_large",
                f"the video has more than {self._most_bytes:,} bytes, the stack's MaxVideoBytes",
            )


def _range(first: int, last: int) -> dict[str, str]:
    return {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}


def _size(response: httpx.Response) -> int:
    """The whole file's length in bytes; 0 where a CDN without ranges does not tell."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes 0-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not match:
            raise VideoUnavailable("the CDN's range cannot be understood")
        return int(match[1])
    length = response.headers.get("Content-Length", "0")
    return int(length) if length.isdigit() else 0
