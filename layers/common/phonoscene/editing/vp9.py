"""Which packets of VP9 show a picture.

An encoder may look ahead and store a picture that later ones refer to, and that is never shown. It
has a packet of its own, or one together with the next picture (a superframe).
Source: VP9 Bitstream & Decoding Process Specification 0.6, sections 6.2 and Annex B.
"""

from __future__ import annotations

from typing import Final

_MARKER: Final = 0b110
_WITH_A_RESERVED_BIT: Final = 3


def is_shown(packet: bytes) -> bool:
    """Whether any frame of a packet is shown."""
    return any(map(_is_frame_shown, _frames(packet)))


def _frames(packet: bytes) -> list[bytes]:
    """The frames of a superframe, by the index at its end; otherwise the packet is one frame."""
    last = packet[-1] if packet else 0
    count, width = (last & 7) + 1, (last >> 3 & 3) + 1
    size = 2 + count * width
    index = packet[-size:]
    if last >> 5 != _MARKER or len(packet) < size or index[0] != last:
        return [packet]
    frames, at = [], 0
    for number in range(count):
        begin = 1 + number * width
        length = int.from_bytes(index[begin : begin + width], "little")
        frames.append(packet[at : at + length])
        at += length
    return frames


def _is_frame_shown(frame: bytes) -> bool:
    """By the first bits of its header: marker 2, profile 2, show_existing_frame, type, show_frame.

    Profile 3 has a reserved bit behind it.
    """
    bits = int.from_bytes(frame[:1], "big")
    profile = bits >> 5 & 1 | bits >> 3 & 2
    shift = 1 if profile == _WITH_A_RESERVED_BIT else 0
    shows_existing, is_shown_itself = bits >> 3 - shift & 1, bits >> 1 - shift & 1
    return bool(frame) and bool(shows_existing or is_shown_itself)
