"""fal's CDN: public files with ranges, and a record of who downloaded what and how."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import hdrs, web

from local.fal_simulator.answers import reset

if TYPE_CHECKING:
    from pathlib import Path

    from local.fal_simulator.faults import Fault, FaultDial
    from local.fal_simulator.jobs import Request

HOST = "v3b.fal.media"
CHUNK = 256 * 1024
RESET_PAUSE = 0.05  # seconds for the bytes before a reset to arrive; a reset discards the rest
PAGE = b"<!DOCTYPE html><html><body>The file you asked for is somewhere else.</body></html>\n"
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
class StoredFile:
    """A produced file and the request it belongs to."""

    blob: Blob
    content_type: str
    owner: Request


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes of an answer: from `first`, `length` of them, out of `total`."""

    first: int
    length: int
    total: int
    partial: bool

    @property
    def status(self) -> int:
        return 206 if self.partial else 200

    @property
    def content_range(self) -> str:
        return f"bytes {self.first}-{self.first + self.length - 1}/{self.total}"


class UnsatisfiableRangeError(ValueError):
    """The range begins behind the end."""


class Cdn:
    """Produced files by path; the same path answers on every host of the CDN."""

    def __init__(self, faults: FaultDial) -> None:
        self._faults = faults
        self._files: dict[str, StoredFile] = {}

    def publish(self, blob: Blob, name: str, content_type: str, owner: Request) -> str:
        """Store a file under an address nobody can guess and return it."""
        path = f"/files/b/{secrets.token_hex(4)}/{secrets.token_urlsafe(16)}_{name}"
        self._files[path] = StoredFile(blob, content_type, owner)
        prompt, request_id = owner.inputs.prompt, owner.request_id
        fault = self._faults.take("cdn", "wrong_host", request_id=request_id, prompt=prompt)
        return f"https://{fault.host if fault else HOST}{path}"

    def clear(self) -> None:
        """Forget every file; those on disk stay."""
        self._files.clear()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer GET and HEAD as a public CDN does, or as a fault says."""
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return web.json_response({"detail": "Method Not Allowed"}, status=405)
        stored = self._files.get(request.path)
        if stored is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        record = _record(request)
        stored.owner.downloads.append(record)
        fault = self._take(stored.owner, request.method)
        record["fault"] = fault.action if fault else None
        answer = _Answer(request, stored, fault, record)
        return await answer.send()

    def _take(self, owner: Request, method: str) -> Fault | None:
        bodiless = ("status", "redirect", "no_ranges", "oversize", "wrong_container")
        actions = bodiless + (() if method == hdrs.METH_HEAD else ("truncated", "reset", "slow"))
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
    ) -> None:
        self._request = request
        self._blob: Blob = stored.blob
        self._content_type = stored.content_type
        self._fault = fault
        self._record = record

    @property
    def _action(self) -> str | None:
        return self._fault.action if self._fault else None

    async def send(self) -> web.StreamResponse:
        if refusal := self._refusal():
            self._record["status_code"] = refusal.status
            return refusal
        if self._action == "wrong_container":
            self._blob = BigBlob(max(self._blob.size, len(PAGE)), PAGE)
        return await self._send_span()

    def _refusal(self) -> web.Response | None:
        fault = self._fault
        if fault and fault.action == "status":
            body = {"detail": f"status {fault.code}"} if fault.body is None else fault.body
            return web.json_response(body, status=fault.code)
        if fault and fault.action == "redirect":
            return web.Response(status=302, headers={hdrs.LOCATION: fault.location})
        return None

    async def _send_span(self) -> web.StreamResponse:
        total = self._fault.bytes if self._fault and self._action == "oversize" else self._blob.size
        header = None if self._action == "no_ranges" else self._request.headers.get(hdrs.RANGE)
        try:
            span = span_of(header, total)
        except UnsatisfiableRangeError:
            self._record["status_code"] = 416
            return web.Response(status=416, headers={hdrs.CONTENT_RANGE: f"bytes */{total}"})
        self._record["status_code"] = span.status
        response = web.StreamResponse(status=span.status, headers=self._headers(span))
        response.content_length = span.length
        await response.prepare(self._request)
        if self._request.method == hdrs.METH_GET:
            await self._stream(response, span)
        return response

    def _headers(self, span: _Span) -> dict[str, str]:
        headers: dict[str, str] = {
            hdrs.CONTENT_TYPE: self._content_type,
            hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable",
            hdrs.ETAG: f'"{self._blob.size:x}"',
        }
        if self._action != "no_ranges":
            headers[hdrs.ACCEPT_RANGES] = "bytes"
        if span.partial:
            headers[hdrs.CONTENT_RANGE] = span.content_range
        return headers

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


def span_of(header: str | None, total: int) -> _Span:
    """Read a Range header; what is not one single byte range means the whole file, as RFC 9110."""
    whole = _Span(0, total, total, partial=False)
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
