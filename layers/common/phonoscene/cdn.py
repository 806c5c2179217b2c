"""Reads videos from fal's CDN, in parts: the only module that fetches what fal generated.

A video is read in ranges, by several threads at once and each into memory of its own, which it
fills again and again: so memory is a few parts however long the video is. A broken connection
costs no more than the rest of one part.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException
from threading import Lock
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from phonoscene.connections import Answer, Connections
from phonoscene.errors import AddressRefused, VideoRefused, VideoUnavailable
from phonoscene.jobs import ErrorDetail
from phonoscene.public_http import Timeout, tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext

logger = logging.getLogger(__name__)

#: Bytes of a part. S3 takes parts of 5 MiB and more, and 10,000 of them, 48 GiB. Measured: see
#: docs/decisions.md.
PART: Final = 5 * 1024 * 1024
#: Bytes that are asked of a socket at once; what a broken read had of them is read again.
STEP: Final = 256 * 1024
#: What tells a container from another.
HEAD: Final = 64
TRIES: Final = 4
TIMEOUT: Final = Timeout(connect=5, read=15)
#: One copy's time, in seconds: below the function's 300, so that an unfinished upload is aborted.
MOST_SECONDS: Final = 270
_FAL_HOST: Final = re.compile(r"([a-z0-9-]+\.)+fal\.media")
_REDIRECTS: Final = range(300, 400)


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

    @cached_property
    def _context(self) -> SSLContext:
        return tls_context()

    @contextmanager
    def open(self, url: str, size: int | None = None) -> Iterator[Source]:
        """A file, whose first part has been read.

        ``size`` is what fal told of it, for a CDN that does not.

        Raises:
            VideoRefused: wrong host, redirect, or too large.
            VideoUnavailable: it could not be read this time.
        """
        check_url(url)
        connections = Connections(url, self._context, TIMEOUT, MOST_SECONDS)
        with closing(connections):
            try:
                yield _opened(connections, size or 0, self._most_bytes)
            except (OSError, HTTPException, AddressRefused, VideoUnavailable) as exc:
                if connections.are_cut:
                    raise VideoUnavailable(f"the copy takes longer than {MOST_SECONDS} s") from exc
                if isinstance(exc, VideoUnavailable):
                    raise
                raise VideoUnavailable(f"the CDN broke off: {type(exc).__name__}") from exc


def _opened(connections: Connections, told: int, most_bytes: int) -> Source:
    """Ask for the first part; the answer tells the size, and whether ranges work."""
    answer = connections.get(_range(0, PART - 1))
    if answer.status in _REDIRECTS:
        raise _refused(
            "video_redirected", "the CDN answered with a redirect, which is not followed"
        )
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        size = _whole(answer.header("Content-Range"))
        _check_length(size, most_bytes)
        return _Ranged(connections, answer, size)
    if answer.status != HTTPStatus.OK:
        raise VideoUnavailable(f"the CDN answered {answer.status}")
    size = answer.length or told
    _check_length(size, most_bytes)
    return _Stream(connections, answer, size, most_bytes)


def _whole(content_range: str) -> int:
    """The length of the file, in bytes, of which a range is the beginning."""
    match = re.fullmatch(r"bytes 0-\d+/([0-9]{1,18})", content_range)
    if not match:
        raise VideoUnavailable("the CDN's range cannot be understood")
    return int(match[1])


def _check_length(length: int, most: int) -> None:
    if length > most:
        raise _refused(
            "video_too_large",
            f"the video has more than {most:,} bytes, the stack's MaxVideoBytes",
        )


def _range(first: int, last: int) -> dict[str, str]:
    return {"Range": f"bytes={first}-{last}"}


@dataclass(frozen=True)
class Part:
    """Some bytes of a video; ``number`` counts from 0. Its memory is its reader's."""

    number: int
    body: bytearray


class Source(ABC):
    """A file on fal's CDN. Any number of threads may ask for its parts, each of ``PART`` bytes.

    ``head`` is how it begins. ``size`` is its length in bytes: 0 where the CDN does not tell, until
    it has been read.
    """

    def __init__(self, connections: Connections, size: int) -> None:
        self.size = size
        self.head = b""
        self._connections = connections
        self._lock = Lock()
        self._first: Part | None = None

    @property
    def count(self) -> int | None:
        """How many parts it has, if that is known."""
        return -(-self.size // PART) or None

    def next(self, used: Part | None = None) -> Part | None:
        """The first part that nobody has asked for yet; None at the end.

        ``used`` is a part that the caller is done with: its memory is filled again.

        Raises:
            VideoRefused: too large.
            VideoUnavailable: it could not be read this time; so with OSError and HTTPException.
        """
        with self._lock:
            first, self._first = self._first, None
        return first or self._next(used)

    def _begin(self, first: Part | None) -> None:
        self._first = first
        self.head = bytes(first.body[:HEAD]) if first else b""

    @abstractmethod
    def _next(self, used: Part | None) -> Part | None:
        """The next part after the first, for one of several threads."""


class _Ranged(Source):
    """Read in ranges, side by side."""

    def __init__(self, connections: Connections, answer: Answer, size: int) -> None:
        super().__init__(connections, size)
        self._etag = answer.header("ETag")
        self._taken = 1
        first = Part(0, bytearray(min(PART, size)))
        self._fill(first, answer)
        self._begin(first)

    def _next(self, used: Part | None) -> Part | None:
        with self._lock:
            number, self._taken = self._taken, self._taken + 1
        length = min(PART, self.size - number * PART)
        if length <= 0:
            return None
        part = Part(number, used.body if used else bytearray(length))
        del part.body[length:]
        self._fill(part)
        return part

    def _fill(self, part: Part, answer: Answer | None = None) -> None:
        """Read a part; what arrived before a connection broke is kept, and the rest asked for."""
        length, start = len(part.body), part.number * PART
        with memoryview(part.body) as view:
            got = self._read(answer, view) if answer else 0
            for _ in range(TRIES):
                if got == length:
                    return
                got += self._read_range(start + got, view[got:])
        if got != length:
            raise VideoUnavailable(f"the CDN sent {got} of the {length} bytes of a range")

    def _read_range(self, first: int, view: memoryview) -> int:
        last = first + len(view) - 1
        try:
            answer = self._connections.get(_range(first, last))
        except (OSError, HTTPException) as exc:  # perhaps an idle connection, given up meanwhile
            logger.info("video.range_broken", extra={"error": type(exc).__name__})
            return 0
        self._check_range(answer, first, last)
        return self._read(answer, view)

    def _check_range(self, answer: Answer, first: int, last: int) -> None:
        """See that this is the range that was asked for, of the file that was begun."""
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            raise VideoUnavailable(f"the CDN answered {answer.status} for a range")
        asked = f"bytes {first}-{last}/{self.size}"
        if answer.header("Content-Range") != asked or answer.header("ETag") != self._etag:
            raise VideoUnavailable("the CDN answered with another range, or of another file")

    def _read(self, answer: Answer, view: memoryview) -> int:
        """How many bytes came; a broken connection ends them quietly."""
        got = 0
        try:
            while count := answer.read_into(view[got : got + STEP]):
                got += count
        except (OSError, HTTPException) as exc:
            logger.info("video.range_broken", extra={"error": type(exc).__name__})
        self._connections.done(answer)
        return got


class _Stream(Source):
    """Read from beginning to end, where a CDN has no ranges."""

    def __init__(
        self, connections: Connections, answer: Answer, size: int, most_bytes: int
    ) -> None:
        super().__init__(connections, size)
        self._answer = answer
        self._most_bytes = most_bytes
        self._taken = self._total = 0
        self._is_over = False
        self._begin(self._next(None))

    def _next(self, used: Part | None) -> Part | None:
        with self._lock:  # one connection: whoever comes now waits
            if self._is_over:
                return None
            part = Part(self._taken, used.body if used else bytearray(PART))
            got = self._fill(part)
            self._taken, self._total = self._taken + 1, self._total + got
            _check_length(self._total, self._most_bytes)
            if got < PART:
                self._end()
                del part.body[got:]
        return part if part.body else None

    def _fill(self, part: Part) -> int:
        got = 0
        with memoryview(part.body) as view:
            while count := self._answer.read_into(view[got : got + STEP]):
                got += count
        return got

    def _end(self) -> None:
        self._is_over = True
        if self.size and self._total != self.size:
            raise VideoUnavailable(f"the CDN sent {self._total} of {self.size} bytes")
        self.size = self._total
