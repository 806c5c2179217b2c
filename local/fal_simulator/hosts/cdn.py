"""fal's CDN: public files with ranges, and a record of who downloaded what and how."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from aiohttp import hdrs, web

from local.fal_simulator.faults import oddities
from local.fal_simulator.faults.answers import PAGE, detail, drip, early_hints, page, reset

if TYPE_CHECKING:
    from pathlib import Path

    from local.fal_simulator.faults.fault_dial import Fault, FaultDial
    from local.fal_simulator.jobs import Request

HOST, OTHER_HOST = "v3b.fal.media", "v3.fal.media"
STRANGER = "files.example.com"
CHUNK = 256 * 1024
RESET_PAUSE = 0.05  # seconds for the bytes before a reset to arrive; a reset discards the rest
ON_A_READ = (
    "status",
    "redirect",
    "no_ranges",
    "oversize",
    "wrong_container",
    "short",
    "html",
    "gzip",
    "limit",
    "unknown_total",
    "odd_etag",
    "early_hints",
    "not_yet",
)
WITH_A_BODY = ("truncated", "reset", "slow", "drip")
RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")


class Blob(Protocol):
    """Bytes that can be read anywhere."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`."""


@dataclass(frozen=True, slots=True)
class FileBlob:
    """A rendered video on disk."""

    path: Path

    @property
    def size(self) -> int:
        """Its length."""
        return self.path.stat().st_size

    def read(self, offset: int, length: int) -> bytes:
        """Read it there."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


@dataclass(frozen=True)
class BigBlob:
    """A container's first bytes, then a repeated pattern, made as it is read: no disk, no RAM."""

    size: int
    head: bytes

    @cached_property
    def _pattern(self) -> bytes:
        # not a divisor of any usual part size, so swapped or repeated parts change the checksum
        return random.Random(self.size).randbytes(1_000_003)  # noqa: S311 - only has to be uneven

    def read(self, offset: int, length: int) -> bytes:
        """Cut the bytes out of the head and the pattern."""
        length = max(0, min(length, self.size - offset))
        head = self.head[offset : offset + length]
        start = (offset + len(head)) % len(self._pattern)
        wanted = length - len(head)
        body = self._pattern[start : start + wanted]
        while len(body) < wanted:
            body += self._pattern[: wanted - len(body)]
        return head + body


@dataclass(frozen=True, slots=True)
class CutBlob:
    """The first bytes of another: a file that was not whole when it was put there."""

    whole: Blob
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Read the other no further than the cut."""
        return self.whole.read(offset, max(0, min(length, self.size - offset)))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A produced file and the request it belongs to."""

    blob: Blob
    content_type: str
    owner: Request
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes of an answer: from `first`, `length` of them, out of `total`."""

    first: int
    length: int
    total: int
    partial: bool
    total_is_known: bool = True

    @property
    def status(self) -> int:
        return 206 if self.partial else 200

    @property
    def content_range(self) -> str:
        total = self.total if self.total_is_known else "*"
        return f"bytes {self.first}-{self.first + self.length - 1}/{total}"


class UnsatisfiableRangeError(ValueError):
    """The range begins behind the end."""


class Cdn:
    """Produced files by path; the same path answers on every host of the CDN."""

    def __init__(self, faults: FaultDial) -> None:
        self._faults = faults
        self._files: dict[str, StoredFile] = {}
        self._open: Counter[str] = Counter()

    def publish(self, blob: Blob, name: str, content_type: str, owner: Request) -> str:
        """Store a file under an address that cannot be guessed, and return the address."""
        prompt, request_id = owner.inputs.prompt, owner.request_id
        fault = self._faults.take(
            "cdn", "wrong_host", "odd_url", request_id=request_id, prompt=prompt
        )
        form = fault.form if fault else None
        name = oddities.file_name(name, form)
        path = f"/files/b/{secrets.token_hex(4)}/{secrets.token_urlsafe(16)}_{name}"
        self._files[unquote(path)] = StoredFile(blob, content_type, owner)
        strange = fault is not None and fault.action == "wrong_host"
        host = (fault.host or STRANGER) if fault and strange else HOST
        return oddities.address(f"https://{host}{path}", form)

    def clear(self) -> None:
        """Forget every file; those on disk stay."""
        self._files.clear()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer GET and HEAD as a public CDN does, or as a fault says."""
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return detail(405, "Method Not Allowed")
        path = unquote(request.raw_path.partition("?")[0])
        stored = self._files.get(path)
        if stored is None:
            return detail(404, "Not Found")
        record = _record(request)
        stored.owner.downloads.append(record)
        fault = self._take(stored.owner, request.method)
        record["fault"] = fault.action if fault else None
        self._open[path] += 1
        try:
            return await _Answer(request, stored, fault, record, self._open[path]).send()
        finally:
            self._open[path] -= 1

    def _take(self, owner: Request, method: str) -> Fault | None:
        actions = ON_A_READ + (() if method == hdrs.METH_HEAD else WITH_A_BODY)
        prompt = owner.inputs.prompt
        return self._faults.take("cdn", *actions, request_id=owner.request_id, prompt=prompt)


def _record(request: web.Request) -> dict[str, Any]:
    return {
        "at": time.time(),
        "method": request.method,
        "host": request.host,
        "range": request.headers.get(hdrs.RANGE),
        "authorization": hdrs.AUTHORIZATION in request.headers,
        "status_code": None,
        "bytes": 0,
    }


class _Answer:
    """One download, from the rule that bends it to the last byte sent."""

    def __init__(
        self,
        request: web.Request,
        stored: StoredFile,
        fault: Fault | None,
        record: dict[str, Any],
        at_once: int,
    ) -> None:
        self._request = request
        self._stored = stored
        self._blob = _bent(stored.blob, fault)
        self._fault = fault
        self._record = record
        self._at_once = at_once

    @property
    def _action(self) -> str | None:
        return self._fault.action if self._fault else None

    async def send(self) -> web.StreamResponse:
        if self._fault and (other := self._other_answer(self._fault)):
            self._record["status_code"] = other.status
            return other
        if self._action == "early_hints":
            early_hints(self._request)
        return await self._send_span()

    def _other_answer(self, fault: Fault) -> web.Response | None:
        """What comes in the file's place, if anything."""
        match fault.action:
            case "redirect":
                headers = {hdrs.LOCATION: _elsewhere(fault, self._request)}
                return web.Response(status=302, headers=headers)
            case "html":
                return page()
            case "gzip":
                return self._zipped()
        return self._refusal(fault)

    def _refusal(self, fault: Fault) -> web.Response | None:
        match fault.action:
            case "status":
                body = {"detail": f"status {fault.code}"} if fault.body is None else fault.body
                return web.json_response(body, status=fault.code)
            case "limit" if self._at_once > fault.connections:
                return _too_many(fault)
            case "not_yet" if time.time() < self._stored.at + fault.seconds:
                return detail(404, "Not Found")
        return None

    def _zipped(self) -> web.Response:
        body = gzip.compress(self._blob.read(0, self._blob.size), 1)
        headers = self._headers(_whole(self._blob.size)) | {hdrs.CONTENT_ENCODING: "gzip"}
        return web.Response(body=body, headers=headers)

    async def _send_span(self) -> web.StreamResponse:
        total = self._fault.bytes if self._fault and self._action == "oversize" else self._blob.size
        header = None if self._action == "no_ranges" else self._request.headers.get(hdrs.RANGE)
        try:
            span = span_of(header, total)
        except UnsatisfiableRangeError:
            self._record["status_code"] = 416
            return web.Response(status=416, headers={hdrs.CONTENT_RANGE: f"bytes */{total}"})
        span = replace(span, total_is_known=self._action != "unknown_total")
        self._record["status_code"] = span.status
        if self._fault and self._action == "drip":
            return await self._drip(self._fault, span)
        response = web.StreamResponse(status=span.status, headers=self._headers(span))
        response.content_length = span.length
        await response.prepare(self._request)
        if self._request.method == hdrs.METH_GET:
            await self._stream(response, span)
        return response

    async def _drip(self, fault: Fault, span: _Span) -> web.StreamResponse:
        body = self._blob.read(span.first, span.length)
        whole = web.Response(status=span.status, headers=self._headers(span), body=body)
        return await drip(fault, self._request, whole)

    def _headers(self, span: _Span) -> dict[str, str]:
        headers: dict[str, str] = {
            hdrs.CONTENT_TYPE: self._stored.content_type,
            hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable",
            **self._tag(span),
        }
        if self._action not in {"no_ranges", "gzip"}:
            headers[hdrs.ACCEPT_RANGES] = "bytes"
        if span.partial:
            headers[hdrs.CONTENT_RANGE] = span.content_range
        return headers

    def _tag(self, span: _Span) -> dict[str, str]:
        """The file's ETag: strong, unless a rule weakens it, or takes it from later ranges."""
        form = self._fault.form or "weak" if self._fault and self._action == "odd_etag" else None
        tag = f'"{self._blob.size:x}"'
        if form == "missing_later" and span.first:
            return {}
        is_weak = form == "weak" or (form == "weak_later" and span.first > 0)
        return {hdrs.ETAG: f"W/{tag}" if is_weak else tag}

    async def _stream(self, response: web.StreamResponse, span: _Span) -> None:
        fault = self._fault
        offset, left = span.first, span.length
        cut = fault is not None and fault.action in {"truncated", "reset"}
        if fault and cut:
            left = min(left, fault.bytes)
        while left > 0 and (piece := self._blob.read(offset, min(self._step(), left))):
            await response.write(piece)
            offset, left = offset + len(piece), left - len(piece)
            self._record["bytes"] += len(piece)
            await self._dawdle(len(piece))
        if cut or offset < span.first + span.length:
            await self._break_off()

    def _step(self) -> int:
        # a slow answer trickles ten times a second
        slow = self._fault if self._action == "slow" else None
        return max(1, slow.bytes_per_second // 10) if slow else CHUNK

    async def _dawdle(self, sent: int) -> None:
        if self._fault and self._action == "slow":
            await asyncio.sleep(sent / self._fault.bytes_per_second)

    async def _break_off(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if self._action == "reset":
            await asyncio.sleep(RESET_PAUSE)
            reset(transport)
        else:
            transport.close()


def _bent(blob: Blob, fault: Fault | None) -> Blob:
    if fault and fault.action == "wrong_container":
        return BigBlob(max(blob.size, len(PAGE)), PAGE)
    if fault and fault.action == "short":
        return CutBlob(blob, min(blob.size, fault.bytes))
    return blob


def _elsewhere(fault: Fault, request: web.Request) -> str:
    """The address that a rule names, or the same path on another host."""
    return fault.location or f"https://{fault.host or OTHER_HOST}{request.raw_path}"


def _too_many(fault: Fault) -> web.Response:
    wait = {} if fault.retry_after is None else {hdrs.RETRY_AFTER: f"{fault.retry_after:g}"}
    return web.json_response({"detail": "Too Many Requests"}, status=429, headers=wait)


def _whole(total: int) -> _Span:
    return _Span(0, total, total, partial=False)


def span_of(header: str | None, total: int) -> _Span:
    """Read a Range header; what is not one single byte range means the whole file, as RFC 9110."""
    whole = _whole(total)
    known = RANGE.fullmatch(header.strip()) if header else None
    if known is None or (not known["first"] and not known["last"]):
        return whole
    first, last = _ends(known["first"], known["last"], total)
    if first >= total or last < first:
        raise UnsatisfiableRangeError
    return _Span(first, min(last, total - 1) - first + 1, total, partial=True)


def _ends(first: str, last: str, total: int) -> tuple[int, int]:
    if not first:
        return max(0, total - int(last)), total - 1
    return int(first), int(last) if last else total - 1


def head_of(suffix: str, size: int) -> bytes:
    """Return the first bytes that make a sniffer see this container, for a file of `size` bytes."""
    if suffix == "webm":
        # an EBML header with its document type, then a segment of unknown length
        return bytes.fromhex("1a45dfa387428284") + b"webm" + bytes.fromhex("18538067ff")
    if suffix == "gif":
        return b"GIF89a"
    brand = b"qt  " if suffix == "mov" else b"isom"
    # a 32-byte ftyp box, an empty moov box, an mdat box with a 64-bit length that covers the rest
    ftyp = (32).to_bytes(4) + b"ftyp" + brand + (512).to_bytes(4) + brand + b"iso2avc1mp41"
    moov = (8).to_bytes(4) + b"moov"
    return ftyp + moov + (1).to_bytes(4) + b"mdat" + max(16, size - 40).to_bytes(8)
