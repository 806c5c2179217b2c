"""FLAC's metadata by hand."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from tests.support.media.tags import cover

if TYPE_CHECKING:
    from collections.abc import Iterable

_PADDING, _SEEKTABLE, _PICTURE = 1, 3, 6
_LAST: Final = 0x80
#: Where a file's STREAMINFO keeps 36 bits of total samples: the low half of a byte, and four more.
_TOTAL: Final = 8 + 13


def with_total(raw: bytes, samples: int) -> bytes:
    """Another total in the header; 0 is unknown, as a stream's encoder leaves it."""
    byte = raw[_TOTAL] & 0xF0 | samples >> 32
    return (
        raw[:_TOTAL] + bytes([byte]) + struct.pack(">I", samples & 0xFFFFFFFF) + raw[_TOTAL + 5 :]
    )


def with_blocks(raw: bytes, blocks: Iterable[tuple[int, bytes]]) -> bytes:
    """More metadata, after the STREAMINFO (which is 34 bytes long)."""
    end = 8 + 34
    added = b"".join(bytes([kind]) + len(body).to_bytes(3, "big") + body for kind, body in blocks)
    return raw[:4] + bytes([raw[4] & ~_LAST]) + raw[5:end] + added + raw[end:]


def picture(size: int) -> tuple[int, bytes]:
    """A cover of so many bytes."""
    image = cover(size)
    kind = struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">I", 0)
    return _PICTURE, kind + struct.pack(">IIIII", 640, 640, 24, 0, len(image)) + image


def seek_points(count: int) -> tuple[int, bytes]:
    """A table of placeholders."""
    return _SEEKTABLE, (b"\xff" * 8 + bytes(10)) * count


def padding(size: int) -> tuple[int, bytes]:
    """Room for tags."""
    return _PADDING, bytes(size)
