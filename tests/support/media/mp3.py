"""MP3 by the frame: headers that name a length, and streams without one."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBITS_1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_1: Final = 3
_MONO: Final = 3


@dataclass(frozen=True)
class Frame:
    """One frame of layer III."""

    raw: bytes
    samples: int
    rate: int

    @property
    def side_information(self) -> int:
        """The bytes between the header and the main data."""
        version, mono = self.raw[1] >> 3 & 3, self.raw[3] >> 6 == _MONO
        if version == _MPEG_1:
            return 17 if mono else 32
        return 9 if mono else 17


def frames(raw: bytes) -> Iterator[Frame]:
    """The frames of a stream that begins with one."""
    position = 0
    while position + 4 <= len(raw) and raw[position] == 0xFF:
        version, index = raw[position + 1] >> 3 & 3, raw[position + 2] >> 4
        rate = _RATES[version][raw[position + 2] >> 2 & 3]
        kbits, samples = (_KBITS_1, 1152) if version == _MPEG_1 else (_KBITS_2, 576)
        length = samples // 8 * kbits[index] * 1000 // rate + (raw[position + 2] >> 1 & 1)
        yield Frame(raw[position : position + length], samples, rate)
        position += length


def with_xing(stream: bytes, *, count: int | None = None, flags: int = 3) -> bytes:
    """The stream behind a frame ``Xing``, which names its frames (or ``count``) and bytes."""
    known = list(frames(stream))
    numbers = {1: len(known) if count is None else count, 2: len(stream)}
    body = b"Xing" + struct.pack(">I", flags)
    body += b"".join(struct.pack(">I", value) for bit, value in numbers.items() if flags & bit)
    return _silent(known[0], known[0].side_information, body) + stream


def with_vbri(stream: bytes) -> bytes:
    """The stream behind a frame ``VBRI``, as Fraunhofer's encoder writes it."""
    known = list(frames(stream))
    table = struct.pack(">HHHH", 1, 1, 2, len(known)) + struct.pack(">H", len(stream) & 0xFFFF)
    body = b"VBRI" + struct.pack(">HHHII", 1, 0, 75, len(stream), len(known)) + table
    return _silent(known[0], 32, body) + stream


def _silent(like: Frame, offset: int, body: bytes) -> bytes:
    """A frame without main data that holds ``body``, at the highest bit rate: it must fit."""
    head = bytearray(like.raw[:4])
    head[1] |= 1  # no checksum
    head[2] = 0xE0 | head[2] & 0x0C
    version, samples = head[1] >> 3 & 3, like.samples
    kbits = (_KBITS_1 if version == _MPEG_1 else _KBITS_2)[14]
    length = samples // 8 * kbits * 1000 // like.rate
    return (bytes(head) + bytes(offset) + body).ljust(length, b"\0")


def with_garbage(stream: bytes, garbage: bytes, every: int) -> bytes:
    """Bytes of no frame between the frames, after each ``every``."""
    return b"".join(
        frame.raw + (garbage if number % every == every - 1 else b"")
        for number, frame in enumerate(frames(stream))
    )
