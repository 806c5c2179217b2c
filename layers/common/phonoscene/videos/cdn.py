"""Reads videos from fal's CDN, in parts: the only module that fetches what fal generated.

A video is read in ranges, by several threads at once and each into memory of its own, which it
fills again and again: so memory is a few parts however long the video is. A broken connection
costs no more than the rest of one part, and a CDN that wants to be asked less often is.

Only a URL that is not fal's CDN refuses a video for good. Any answer may be another one the next
time, even of the video's size.
"""

from __future__ import annotations

import logging
import re
import time
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException
from threading import Condition, Lock
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from phonoscene.errors import AddressRefused, CopyFailed, VideoRefused, VideoTooLarge
from phonoscene.jobs import ErrorDetail
from phonoscene.net.connections import Connections, Response
from phonoscene.net.public_https import Timeout, tls_context
from phonoscene.videos.video_formats import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext

logger = logging.getLogger(__name__)

#: Bytes of a part. S3 takes parts of 5 MiB and more, and 10,000 of them, 48 GiB. Measured: see
#: docs/decisions.md.
PART: Final = 5 * 1024 * 1024
#: Bytes that are asked of a socket at once; what a broken read had of them is read again.
STEP: Final = 256 * 1024
#: How often a range is asked for whose answers break off or are odd, and the seconds after an odd
#: one.
TRIES: Final = 4
ODD_PAUSE: Final = 0.2
#: How often a range is asked for that the CDN is too busy for, and the seconds in between: the
#: CDN's own, else twice as many each time.
BUSY_TRIES: Final = 8
BUSY_PAUSE: Final = 0.5
MAX_PAUSE: Final = 30.0
#: Seconds from one look to the next at whether there is any use in waiting.
CHECK_SECONDS: Final = 0.25
TIMEOUT: Final = Timeout(connect=5, read=15)
#: One copy's time, in seconds: below the function's 300, so that an unfinished upload is aborted.
MAX_SECONDS: Final = 270
_FAL_HOST: Final = re.compile(r"([a-z0-9-]+\.)+fal\.media")
_REDIRECTS: Final = range(300, 400)
_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_RANGE: Final = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
#: What has a meaning in a URL, or may stand in it as it is (RFC 3986).
_KEPT: Final = "!#$%&'()*+,/:;=?@[]~"


def checked_url(url: str) -> str:
    """A video's URL as it is asked for: without spaces around it, and in ASCII.

    Hosts: ``*.fal.media`` (documented), and the folder ``falserverless`` of Google's storage, where
    the endpoint's own examples lie. That host is everybody's, so nothing in the path may lead out
    of the folder, however it is decoded.

    Raises:
        VideoRefused: it is not fal's CDN; naming the host.
    """
    url = url.strip()
    try:
        parts, cleaned = urlsplit(url), quote(url, safe=_KEPT)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts, cleaned = "an unreadable URL", None, urlsplit(""), ""
    is_plain = parts.scheme == "https" and parts.username is None and port in (None, 443)
    is_clean = parts.netloc.isascii() and not re.search(r"[\x00-\x1f\x7f]", url)
    if not (_is_fals(host, parts.path) and is_plain and is_clean):
        why = f"the video lies at {host[:100]!r}, which is not fal's CDN over https"
        raise VideoRefused(ErrorDetail(code="video_url_refused", message=why))
    return cleaned


def _is_fals(host: str, path: str) -> bool:
    if host != "storage.googleapis.com":
        return bool(_FAL_HOST.fullmatch(host))
    leaves = re.search(r"\.\.|\\|%(2e|2f|5c)", path, re.IGNORECASE)
    return path.startswith("/falserverless/") and not leaves


class Cdn:
    """fal's CDN. No credentials are sent there: its files are public to all who know the URL."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    @cached_property
    def _context(self) -> SSLContext:
        return tls_context()

    @contextmanager
    def open(self, url: str) -> Iterator[Source]:
        """A file, whose first part has been read. One redirect is followed, to fal's CDN only.

        Raises:
            VideoRefused: wrong host, or too large.
            CopyFailed: it could not be read this time.
        """
        address, ends_at = checked_url(url), time.monotonic() + MAX_SECONDS
        for _ in range(2):
            with self._connected(address, ends_at - time.monotonic()) as connections:
                answer = connections.get(_range(0, PART - 1))
                if answer.status not in _REDIRECTS:
                    yield _opened(connections, answer, self._most_bytes)
                    return
            address = _elsewhere(address, answer)
        raise CopyFailed("the CDN redirects more than once")

    @contextmanager
    def _connected(self, address: str, seconds: float) -> Iterator[Connections]:
        """Connections for so long; whatever breaks off there may work the next time."""
        connections = Connections(address, self._context, TIMEOUT, seconds)
        with closing(connections):
            try:
                yield connections
            except (OSError, HTTPException, AddressRefused, CopyFailed) as exc:
                if connections.are_cut:
                    raise CopyFailed(f"the copy takes longer than {MAX_SECONDS} s") from exc
                if isinstance(exc, CopyFailed):
                    raise
                raise CopyFailed(f"the CDN broke off: {type(exc).__name__}") from exc


def _elsewhere(address: str, answer: Response) -> str:
    """Return the address that a redirect leads to."""
    location = answer.header("Location")
    try:
        target = urljoin(address, quote(location, safe=_KEPT, encoding="latin-1"))
        if location:
            return checked_url(target)
    except (ValueError, VideoRefused) as exc:
        raise CopyFailed("the CDN redirects to another host") from exc
    raise CopyFailed(f"the CDN answered {answer.status}")


def _opened(connections: Connections, answer: Response, most_bytes: int) -> Source:
    """The file of which the first part was asked for: the answer tells whether ranges work."""
    _check_answer(answer)
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        span = _span(answer.header("Content-Range"))
        if span and span.total and span.first == 0:
            _check_length(span.total, most_bytes)
            return _Ranged(connections, answer, span.total)
        connections.done(answer)
        answer = connections.get({})
        _check_answer(answer)
    if answer.status != HTTPStatus.OK:
        raise CopyFailed(f"the CDN answered {answer.status}")
    _check_length(answer.length, most_bytes)
    return _Stream(connections, answer, answer.length, most_bytes)


def _check_answer(answer: Response) -> None:
    """See that an answer carries a file's bytes as they are.

    Raises:
        CopyFailed: it does not.
    """
    if why := _oddity(answer):
        raise CopyFailed(why, _retry_after(answer))


def _oddity(answer: Response) -> str | None:
    """Why an answer is no file, if it is none."""
    if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return f"the CDN answered {answer.status}"
    if answer.header("Content-Encoding").strip().lower() not in ("", "identity"):
        return "the CDN sent an encoded file, although none was requested"
    if answer.header("Content-Type").strip().lower().startswith("text/html"):
        return "the CDN sent a page in place of a video"
    return None


def _retry_after(answer: Response) -> int:
    """For how many seconds the CDN wants to be left alone; 0 where it does not say."""
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*", answer.header("Retry-After"))
    return int(match[1]) if match else 0


class _Span(NamedTuple):
    """What a range is of a file: its first and last byte, and the file's length if it is known."""

    first: int
    last: int
    total: int | None


def _span(content_range: str) -> _Span | None:
    match = _RANGE.fullmatch(content_range.strip())
    if not match:
        return None
    return _Span(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))


def _check_length(length: int, most: int) -> None:
    if length > most:
        message = f"the video has more than {most:,} bytes, the stack's MaxVideoBytes"
        raise VideoTooLarge(ErrorDetail(code="video_too_large", message=message))


def _range(first: int, last: int) -> dict[str, str]:
    return {"Range": f"bytes={first}-{last}"}


class _Gate:
    """How many threads read at once: as many as come, and fewer each time the CDN is too busy."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._changed = Condition()
        self._width: int | None = None
        self._inside = 0
        self._opens_at = time.monotonic()
        self._failure: CopyFailed | None = None

    @contextmanager
    def entered(self) -> Iterator[None]:
        """One that reads, once there is room for it.

        Raises:
            CopyFailed: there will be none: the copy has failed.
        """
        with self._changed:
            while not self._has_room():
                pause = self._opens_at - time.monotonic()
                self._changed.wait(min(pause, CHECK_SECONDS) if pause > 0 else CHECK_SECONDS)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def _has_room(self) -> bool:
        if self._failure:
            raise CopyFailed(str(self._failure), self._failure.retry_after)
        if self._connections.are_cut:
            raise CopyFailed("time is up")
        is_narrow = self._width is not None and self._inside >= self._width
        return not is_narrow and time.monotonic() >= self._opens_at

    def narrow(self, seconds: float) -> None:
        """Allow no more readers than there are now, and let the next begin after ``seconds``."""
        with self._changed:
            self._width = max(1, min(self._width or self._inside, self._inside))
            self._opens_at = max(self._opens_at, time.monotonic() + seconds)
        self._connections.shed()

    def close(self, failure: CopyFailed) -> None:
        """Let every wait end with this failure; further calls change nothing."""
        with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()


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
        """The first part that was not requested yet; None at the end.

        ``used`` is a part that the caller is done with: its memory is filled again.

        Raises:
            VideoRefused: too large.
            CopyFailed: it could not be read this time; so with OSError and HTTPException.
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


class _OddRange(CopyFailed):
    """The answer is not the range that was asked for; the next one may be."""


class _Ranged(Source):
    """Read in ranges, side by side."""

    def __init__(self, connections: Connections, answer: Response, size: int) -> None:
        super().__init__(connections, size)
        self._etag = answer.header("ETag")
        self._gate = _Gate(connections)
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
        try:
            self._fill(part)
        except CopyFailed as exc:
            self._gate.close(exc)
            raise
        return part

    def _fill(self, part: Part, answer: Response | None = None) -> None:
        """Read a part; what arrived before a connection broke is kept, and the rest asked for."""
        length, start = len(part.body), part.number * PART
        with memoryview(part.body) as view:
            got = self._read(answer, view) if answer else 0
            for tries_left in reversed(range(TRIES)):
                if got == length:
                    return
                try:
                    got += self._read_range(start + got, view[got:])
                except _OddRange as exc:
                    logger.info("video.range_odd", extra={"reason": str(exc)})
                    if not tries_left:
                        raise
                    time.sleep(ODD_PAUSE)
        if got != length:
            raise CopyFailed(f"the CDN sent {got} of the {length} bytes of a range")

    def _read_range(self, first: int, view: memoryview) -> int:
        """How many bytes of it came; a CDN that is too busy for it is asked again."""
        last, status, pause = first + len(view) - 1, 0, 0.0
        for n in range(BUSY_TRIES):
            with self._gate.entered():
                answer = self._answer(first, last)
                if answer and answer.status not in _BUSY:
                    self._check_range(answer, first, last)
                    return self._read(answer, view)
            if answer is None:  # another way to limit connections: the next try is less wide
                self._gate.narrow(0)
                return 0
            self._connections.done(answer)
            status, pause = answer.status, _retry_after(answer) or BUSY_PAUSE * 2**n
            logger.info("video.cdn_busy", extra={"status": status, "pause": pause})
            self._gate.narrow(min(pause, MAX_PAUSE))
        raise CopyFailed(f"the CDN answered {status}", int(pause))

    def _answer(self, first: int, last: int) -> Response | None:
        """None where the connection broke off: perhaps an idle one, given up meanwhile."""
        try:
            return self._connections.get(_range(first, last))
        except (OSError, HTTPException) as exc:
            logger.info("video.range_broken", extra={"error": type(exc).__name__})
            return None

    def _check_range(self, answer: Response, first: int, last: int) -> None:
        """See that this is the range that was asked for, or its beginning, of the same file."""
        if why := _oddity(answer) or self._range_oddity(answer, first, last):
            self._connections.done(answer)
            raise _OddRange(why)

    def _range_oddity(self, answer: Response, first: int, last: int) -> str | None:
        """Why an answer is not that range, if it is not."""
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            return f"the CDN answered {answer.status} for a range"
        span = _span(answer.header("Content-Range"))
        if span is None or span.first != first or span.last > last:
            return "the CDN answered with another range"
        is_same = self._is_same(answer.header("ETag"), span.total)
        return None if is_same else "the CDN answered with a range of another file"

    def _is_same(self, etag: str, total: int | None) -> bool:
        """Whether a range is of the file that was begun; only strong ETags prove anything."""
        are_strong = etag.startswith('"') and self._etag.startswith('"')
        if are_strong and etag != self._etag:
            return False
        return total == self.size or (total is None and are_strong)

    def _read(self, answer: Response, view: memoryview) -> int:
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
        self, connections: Connections, answer: Response, size: int, most_bytes: int
    ) -> None:
        super().__init__(connections, size)
        self._answer = answer
        self._most_bytes = most_bytes
        self._taken = self._total = 0
        self._is_over = False
        self._begin(self._next(None))

    def _next(self, used: Part | None) -> Part | None:
        with self._lock:  # one connection: another thread waits
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
            raise CopyFailed(f"the CDN sent {self._total} of {self.size} bytes")
        self.size = self._total
