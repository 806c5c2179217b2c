"""Tags that players and editors put before, after and between the audio."""

from __future__ import annotations

import random
import struct
from functools import lru_cache
from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"


@lru_cache(maxsize=4)
def cover(size: int) -> bytes:
    """So many bytes that claim to be a PNG."""
    return (_PNG + random.Random(size).randbytes(size))[:size]  # noqa: S311 - repeatable


def id3v2(picture: int = 0, version: int = 3) -> bytes:
    """An ID3v2 tag with a title and, where ``picture`` is not 0, a cover of so many bytes."""
    frames = _id3_frame(b"TIT2", b"\0A title", version)
    if picture:
        frames += _id3_frame(b"APIC", b"\0image/png\0\x03\0" + cover(picture), version)
    return _id3(frames, version)


def id3v2_of(picture: bytes) -> bytes:
    """An ID3v2 tag with this as its cover."""
    return _id3(_id3_frame(b"APIC", b"\0image/png\0\x03\0" + picture, 3), 3)


def _id3(frames: bytes, version: int) -> bytes:
    return b"ID3" + bytes([version, 0, 0]) + synchsafe(len(frames)) + frames


def transport_stream_timestamp(ticks: int) -> bytes:
    """The tag that HLS puts before each segment of packed audio (RFC 8216, 3.4)."""
    owner = b"com.apple.streaming.transportStreamTimestamp\0"
    frame = _id3_frame(b"PRIV", owner + struct.pack(">Q", ticks), version=4)
    return _id3(frame, 4)


def _id3_frame(name: bytes, body: bytes, version: int) -> bytes:
    size = synchsafe(len(body)) if version == 4 else struct.pack(">I", len(body))
    return name + size + b"\0\0" + body


def synchsafe(number: int) -> bytes:
    """28 bits in four bytes whose highest bit is 0 (ID3v2)."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def id3v1() -> bytes:
    """128 bytes at the end of a file."""
    return b"TAG" + b"A title".ljust(30, b"\0") + bytes(94) + b"\x0c"


def ape(size: int = 0) -> bytes:
    """An APEv2 tag with its header, a title, and a binary item of ``size`` bytes."""
    items = struct.pack("<II", 7, 0) + b"Title\0A title"
    count = 1
    if size:
        items += struct.pack("<II", size, 2) + b"Cover Art (Front)\0" + cover(size)
        count = 2

    def edge(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(items) + 32, count, flags) + bytes(8)

    return edge(0xA0000000) + items + edge(0x80000000)
