"""Ogg by the page (RFC 3533): links, streams beside each other, and positions no one wrote."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN: Final = -1
CONTINUED, FIRST, LAST = 1, 2, 4
_MIRRORED: Final = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))
_ONES: Final = 0xFFFFFFFF
_LACING: Final = 255


@dataclass(frozen=True)
class Page:
    """One page."""

    flags: int
    granule: int
    serial: int
    number: int
    segments: bytes
    body: bytes

    def raw(self) -> bytes:
        """As it is written, with its checksum."""
        head = struct.pack(
            "<4sBBqII", b"OggS", 0, self.flags, self.granule, self.serial, self.number
        )
        tail = bytes([len(self.segments)]) + self.segments + self.body
        return head + struct.pack("<I", _checksum(head + bytes(4) + tail)) + tail


def _checksum(page: bytes) -> int:
    """Ogg's CRC is zlib's with the bits mirrored and nothing inverted."""
    crc = zlib.crc32(page.translate(_MIRRORED), _ONES) ^ _ONES
    return int(f"{crc:032b}"[::-1], 2)


def pages(raw: bytes) -> list[Page]:
    """The pages of a file that consists of nothing else."""
    found, position = [], 0
    while position < len(raw):
        _, _, flags, granule, serial, number, _, count = struct.unpack_from(
            "<4sBBqIIIB", raw, position
        )
        body = position + 27 + count
        segments = raw[position + 27 : body]
        position = body + sum(segments)
        found.append(Page(flags, granule, serial, number, segments, raw[body:position]))
    return found


def joined(all_pages: Iterable[Page]) -> bytes:
    """The pages as a file."""
    return b"".join(page.raw() for page in all_pages)


def chained(*links: bytes) -> bytes:
    """One file after the other, each link with a serial number of its own (RFC 3533, 4)."""
    return joined(
        replace(page, serial=1000 + number)
        for number, link in enumerate(links)
        for page in pages(link)
    )


def with_last_granule(raw: bytes, granule: int) -> bytes:
    """Another position on the last page; phones leave -1 there in voice notes."""
    found = pages(raw)
    return joined([*found[:-1], replace(found[-1], granule=granule)])


def with_empty_end(raw: bytes) -> bytes:
    """The last page has no packet and no position, as WhatsApp ends its voice notes."""
    found = pages(raw)
    last = found[-1]
    end = Page(LAST, UNKNOWN, last.serial, last.number + 1, b"", b"")
    return joined([*found[:-1], replace(last, flags=last.flags & ~LAST), end])


def with_comments(raw: bytes, size: int) -> bytes:
    """An Opus file whose comment header, on pages of its own, is so many bytes longer."""
    first, second, *rest = pages(raw)
    packet = second.body + bytes(size)  # RFC 7845, 5.2: what follows the comments is ignored
    segments = bytes([_LACING]) * (len(packet) // _LACING) + bytes([len(packet) % _LACING])
    made = []
    for at in range(0, len(segments), _LACING):
        part = segments[at : at + _LACING]
        body = packet[at * _LACING : at * _LACING + sum(part)]
        granule = 0 if part[-1] < _LACING else UNKNOWN
        made.append(Page(CONTINUED * bool(at), granule, first.serial, 0, part, body))
    return joined(replace(page, number=number) for number, page in enumerate([first, *made, *rest]))


def without_granules(raw: bytes) -> bytes:
    """No page of audio has a position."""
    return joined(
        replace(page, granule=UNKNOWN) if page.granule > 0 else page for page in pages(raw)
    )


def from_the_middle(raw: bytes, samples: int) -> bytes:
    """Positions that begin at so many samples, as in a recording of a stream."""
    return joined(
        replace(page, granule=page.granule + samples) if page.granule > 0 else page
        for page in pages(raw)
    )


def without_end(raw: bytes) -> bytes:
    """No page says that it is the last."""
    return joined(replace(page, flags=page.flags & ~LAST) for page in pages(raw))


def without_last_page(raw: bytes) -> bytes:
    """Cut off, at a page."""
    return joined(pages(raw)[:-1])


def with_pre_skip(raw: bytes, samples: int) -> bytes:
    """Opus whose first so many samples, at 48 kHz, are not to be heard (RFC 7845, 4.2)."""
    first, *rest = pages(raw)
    body = first.body[:10] + struct.pack("<H", samples) + first.body[12:]
    return joined([replace(first, body=body), *rest])


def side_by_side(one: bytes, other: bytes) -> bytes:
    """Two streams in one file: their first pages first, then turn by turn."""
    left = [replace(page, serial=1) for page in pages(one)]
    right = [replace(page, serial=2) for page in pages(other)]
    mixed = [left[0], right[0]]
    for number in range(1, max(len(left), len(right))):
        mixed += left[number : number + 1] + right[number : number + 1]
    return joined(mixed)


def with_skeleton(raw: bytes) -> bytes:
    """A skeleton's pages around the stream's, as some encoders write them."""
    first, *rest = pages(raw)
    head = b"fishead\0" + struct.pack("<HHqqqq", 3, 0, 0, 1000, 0, 1000) + bytes(20)
    skeleton = Page(FIRST, 0, 77, 0, bytes([len(head)]), head)
    bone = b"fisbone\0" + struct.pack("<III", 44, first.serial, 3) + bytes(40)
    bones = Page(0, 0, 77, 1, bytes([len(bone)]), bone)
    end = Page(LAST, 0, 77, 2, bytes([0]), b"")
    return joined([skeleton, first, bones, rest[0], end, *rest[1:]])


def packed(packets: Iterable[tuple[bytes, int]], serial: int, per_page: int) -> bytes:
    """Whole packets, each with its end's position, so many a page; the first alone on its own."""
    waiting = list(packets)
    groups = [waiting[:1], waiting[1:2]]
    groups += [waiting[at : at + per_page] for at in range(2, len(waiting), per_page)]
    made = []
    for number, group in enumerate(groups):
        segments = b"".join(
            bytes([_LACING]) * (len(packet) // _LACING) + bytes([len(packet) % _LACING])
            for packet, _ in group
        )
        flags = FIRST * (number == 0) | LAST * (number == len(groups) - 1)
        body = b"".join(packet for packet, _ in group)
        made.append(Page(flags, group[-1][1], serial, number, segments, body))
    return joined(made)


_SPEEX_RATES: Final = (8000, 16000, 32000)
_SPEEX_SAMPLES: Final = 160
_SPEEX_BITS: Final = 300  # a narrowband frame of submode 5, of which every bit may be anything


def speex(seconds: float, per_page: int = 50) -> bytes:
    """Narrowband Speex of noise: no encoder is at hand, and any bits are an audio file."""
    head = b"Speex   " + b"1.2".ljust(20, b"\0")
    head += struct.pack("<13i", 1, 80, 8000, 0, 4, 1, -1, _SPEEX_SAMPLES, 0, 1, 0, 0, 0)
    comment = struct.pack("<I", 5) + b"speex" + struct.pack("<I", 0)
    noise = random.Random(3)  # noqa: S311 - repeatable noise
    frames = [_speex_frame(noise) for _ in range(50)]
    count = round(seconds * 8000 / _SPEEX_SAMPLES)
    audio = [(frames[n % 50], (n + 1) * _SPEEX_SAMPLES) for n in range(count)]
    return packed([(head, 0), (comment, 0), *audio], serial=5, per_page=per_page)


def _speex_frame(noise: random.Random) -> bytes:
    bits = "0" + "0101" + f"{noise.getrandbits(_SPEEX_BITS - 5):0{_SPEEX_BITS - 5}b}" + "01111"
    bits = bits.ljust(-(-len(bits) // 8) * 8, "1")
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
