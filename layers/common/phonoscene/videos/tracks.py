"""How long a video's picture and sound are, by the container's own headers; nothing is decoded.

Sources: ISO/IEC 14496-12 (``mdhd``, ``hdlr``), Apple's QuickTime File Format, and RFC 9559 for
WebM and Matroska. Nothing here raises on any bytes: what cannot be read is unknown.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from phonoscene.videos.video_formats import (
    HEADER,
    MATROSKA,
    MOV,
    MP4,
    WEBM,
    read_box,
    read_element,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phonoscene.videos.video_formats import Header

#: So many pieces of an index are read; a video has some tens.
MAX_PIECES: Final = 2_000
#: Longer, in seconds, is no length: the longest video of the endpoint has 481.
MAX_SECONDS: Final = 1_000_000

_PICTURE: Final = b"vide"
_SOUND: Final = b"soun"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_INFO: Final = b"\x15\x49\xa9\x66"
_SCALE: Final = b"\x2a\xd7\xb1"
_DURATION: Final = b"\x44\x89"
_TRACKS: Final = b"\x16\x54\xae\x6b"
_TRACK: Final = b"\xae"
_TRACK_TYPE: Final = b"\x83"
_CLUSTER: Final = b"\x1f\x43\xb6\x75"
_EBML_PICTURE, _EBML_SOUND = b"\x01", b"\x02"


class Tracks(NamedTuple):
    """Seconds of picture and of sound; None: unknown. No sound is 0."""

    seconds: float | None = None
    sound_seconds: float | None = None


def read_tracks(kind: str | None, index: bytes) -> Tracks:
    """The tracks of a video of this suffix; ``index`` is its ``moov``, or its first bytes."""
    if kind in (MP4, MOV):
        return _boxed(index)
    if kind in (WEBM, MATROSKA):
        return _elements(index)
    return Tracks()


class _Piece(NamedTuple):
    name: bytes
    body: bytes


def _pieces(raw: bytes, read: Callable[[bytes], Header | None]) -> Iterator[_Piece]:
    """The boxes or elements that lie side by side in ``raw``; the last may be cut off."""
    at = 0
    for _ in range(MAX_PIECES):
        piece = read(raw[at : at + HEADER])
        if piece is None:
            return
        end = len(raw) if piece.length is None else at + piece.length
        yield _Piece(piece.name, raw[at + piece.header : end])
        at = end


def _find(raw: bytes, name: bytes, read: Callable[[bytes], Header | None] = read_box) -> bytes:
    """The body of the first piece of this name; empty if there is none."""
    return next((piece.body for piece in _pieces(raw, read) if piece.name == name), b"")


def _boxed(moov: bytes) -> Tracks:
    found: dict[bytes, float | None] = {}
    for track in _pieces(_find(moov, b"moov"), read_box):
        if track.name == b"trak":
            media = _find(track.body, b"mdia")
            found.setdefault(_find(media, b"hdlr")[8:12], _length(_find(media, b"mdhd")))
    # without a picture it is an index that is not understood: it proves nothing about the sound
    return Tracks(found[_PICTURE], found.get(_SOUND, 0.0)) if _PICTURE in found else Tracks()


def _length(mdhd: bytes) -> float | None:
    """Seconds by a media header; None if it names none, as in fragmented files."""
    form = ">8xIQ" if mdhd[:1] == b"\x01" else ">4xII"
    start = 12 if mdhd[:1] == b"\x01" else 8
    body = mdhd[start:]
    if len(body) < struct.calcsize(form):
        return None
    scale, units = struct.unpack_from(form, body)
    return _seconds(units / scale) if scale else None


def _elements(head: bytes) -> Tracks:
    """WebM has one length for all of its tracks."""
    segment = _find(head, _SEGMENT, read_element)
    length, kinds = None, set()
    for piece in _pieces(segment, read_element):
        if piece.name == _INFO:
            length = _segment_length(piece.body)
        elif piece.name == _TRACKS:
            tracks = [one.body for one in _pieces(piece.body, read_element) if one.name == _TRACK]
            kinds = {_find(track, _TRACK_TYPE, read_element) for track in tracks}
        elif piece.name == _CLUSTER:
            break
    if _EBML_PICTURE not in kinds:
        return Tracks()
    return Tracks(length, None if _EBML_SOUND in kinds else 0.0)


def _segment_length(info: bytes) -> float | None:
    raw = _find(info, _DURATION, read_element)
    if len(raw) not in (4, 8):
        return None
    (units,) = struct.unpack(">f" if len(raw) == 4 else ">d", raw)  # noqa: PLR2004 - bytes of a float
    nanoseconds = int.from_bytes(_find(info, _SCALE, read_element)) or 1_000_000
    return _seconds(units * nanoseconds / 1e9)


def _seconds(value: float) -> float | None:
    """A length in seconds, to a ten-thousandth; None where it cannot be one."""
    is_one = math.isfinite(value) and 0 < value < MAX_SECONDS
    return round(value, 4) if is_one else None
