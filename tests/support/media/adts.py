"""Raw AAC: frames of ADTS, what streams put between them, and what else bears its name."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.support.media.tags import transport_stream_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = 7
_END_BITS = 3
_SBR = "110000111010000"
"""A fill element of one byte: spectral band replication without a header of its own yet."""


def frames(raw: bytes) -> Iterator[bytes]:
    """The frames of a stream that begins with one."""
    position = 0
    while position + HEADER <= len(raw):
        length = (raw[position + 3] & 3) << 11 | raw[position + 4] << 3 | raw[position + 5] >> 5
        yield raw[position : position + length]
        position += length


def hls(raw: bytes, every: int) -> bytes:
    """Segments of so many frames joined, each behind its ID3 tag, as HLS serves packed audio."""
    known = list(frames(raw))
    return b"".join(
        transport_stream_timestamp(90 * 1000 * number) + b"".join(known[number : number + every])
        for number in range(0, len(known), every)
    )


def with_checksums(raw: bytes) -> bytes:
    """Each frame with the two bytes of a checksum; decoders do not compare it."""
    return b"".join(_framed(frame, bytes(2) + frame[HEADER:], crc=True) for frame in frames(raw))


def with_sbr(raw: bytes) -> bytes:
    """HE-AAC as broadcasts signal it: in the frames, which then decode at twice the rate."""
    return b"".join(_framed(frame, with_sbr_element(frame[HEADER:])) for frame in frames(raw))


def with_sbr_element(block: bytes) -> bytes:
    """A raw data block with the element before its end mark, three ones before the padding."""
    bits = f"{int.from_bytes(block, 'big'):0{8 * len(block)}b}".rstrip("0")
    bits = bits[:-_END_BITS] + _SBR + "111"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def adif(raw: bytes) -> bytes:
    """The other raw form: one header, then the blocks alone (ISO 13818-7, 6.2.1)."""
    head = b"ADIF" + bytes([0x10]) + struct.pack(">I", 0x1F400)[1:] + bytes(9)
    return head + b"".join(frame[HEADER:] for frame in frames(raw))


def _framed(frame: bytes, payload: bytes, *, crc: bool = False) -> bytes:
    """The payload behind the frame's header with another length."""
    length = HEADER + len(payload)
    head = bytearray(frame[:HEADER])
    head[1] = head[1] & 0xFE | (not crc)
    head[3] = head[3] & 0xFC | length >> 11
    head[4], head[5] = length >> 3 & 0xFF, head[5] & 0x1F | (length & 7) << 5
    return bytes(head) + payload
