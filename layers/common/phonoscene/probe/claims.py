"""How long a file's header says that it is, where a header says so.

FFmpeg gives the claim of FLAC and MP4. For WAV it reports what it finds, and for MP3 it prefers its
own estimate, so those two headers are read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.drops.media_facts import SeekableFile

#: A WAV's writer that cannot go back puts 0 or nearly the largest number there is as its length:
#: FFmpeg 0xFFFFFFFF, SoX 0x7FFFF000 and more. No file that is measured is as long as that.
_PLACEHOLDER: Final = 0x7FFF_0000
#: What RF64 and BW64 put there where the ``ds64`` chunk has the length.
_IN_DS64: Final = 0xFFFF_FFFF
_MAX_CHUNKS: Final = 100
_RIFF: Final = frozenset({b"RIFF", b"RF64", b"BW64"})
#: From an MP3 frame's beginning to its Xing tag: the header, and the side information of MPEG-1
#: stereo, MPEG-1 mono or MPEG-2 stereo, and MPEG-2 mono; two more with a checksum.
_XING_OFFSETS: Final = (36, 21, 13, 38, 23, 15)
_LONGEST_FRAME: Final = 2881


@dataclass(frozen=True)
class Stream:
    """What demuxing shows of an audio stream; times in seconds, ``first`` in bytes."""

    container: str
    #: What FFmpeg says that the stream lasts.
    duration: float | None
    #: How long there is no packet before the last one ends. In the ``duration`` of an MP4 this may
    #: be counted: of a part of a live stream, which is in fragments, and of one that begins late.
    gaps: float
    #: All packets together.
    demuxed: float
    #: Where the first packet begins, and what it lasts: where files are joined, others may differ.
    first: int | None
    packet: float


def claimed_seconds(file: SeekableFile, stream: Stream) -> float | None:
    """Seconds by the file's header; None where the container or this file makes no claim."""
    match stream.container:
        case "wav":
            return _wav(file, stream)
        case "mp3":
            frames = _xing_frames(file, stream.first)
            return frames * stream.packet if frames else None
        case "flac":
            return stream.duration
        case "mov,mp4,m4a,3gp,3g2,mj2":
            return stream.duration and stream.duration - stream.gaps
    return None


def wav_end(file: SeekableFile) -> int | None:
    """Where the sound of a WAV ends, in bytes; None where it is no WAV, or makes no claim.

    FFmpeg looks through all that follows, eight bytes at a time where that is zeros: 300 MB, as
    recorders set aside in advance, take it 40 s. It decodes nothing of it.
    """
    file.seek(0)
    if _read(file, 4) not in _RIFF:
        return None
    begin, claimed, there = _data(file)
    return begin + claimed if 0 < claimed <= there else None


def _wav(file: SeekableFile, stream: Stream) -> float | None:
    """Of the ``data`` chunk, by the share of its bytes that is there."""
    _, claimed, there = _data(file)
    is_claim = 0 < there < claimed < _PLACEHOLDER
    return stream.demuxed * claimed / there if is_claim else None


def _data(file: SeekableFile) -> tuple[int, int, int]:
    """Of a WAV's sound the first byte, and how many are claimed and there; zeros without any.

    Of several sounds FFmpeg decodes the last, if all before it name their lengths.
    """
    size = file.seek(0, 2)
    found = 0, 0, 0
    for name, begin, length in _chunks(file):
        if begin > size:
            break
        if name == b"data":
            found = begin, length, size - begin
            if not length:
                break
    return found


def _chunks(file: SeekableFile) -> Iterator[tuple[bytes, int, int]]:
    """The name, the first byte and the length of each chunk of a RIFF file, as far as they go."""
    at, long_length = 12, 0
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = _read(file, 8)
        name, length = header[:4], int.from_bytes(header[4:], "little")
        if name == b"ds64":  # of RF64 and BW64: EBU Tech 3306
            file.seek(at + 16)
            long_length = int.from_bytes(_read(file, 8), "little")
        if name == b"data" and length == _IN_DS64:
            length = long_length or length
        yield name, at + 8, length
        at += 8 + length + length % 2


def _xing_frames(file: SeekableFile, first: int | None) -> int | None:
    """The frame count of an MP3's Xing, Info or VBRI tag.

    FFmpeg passes over the frame that has it, which ends where the first packet begins.
    """
    if not first:
        return None
    begin = max(0, first - _LONGEST_FRAME)
    file.seek(begin)
    before = _read(file, first - begin)
    for tag in (b"Xing", b"Info"):
        at = before.rfind(tag)
        if at >= 0 and before[at + 7 : at + 8] and before[at + 7] & 1 and _in_frame(before, at):
            return int.from_bytes(before[at + 8 : at + 12], "big")
    at = before.rfind(b"VBRI")
    if at >= 0 and _is_sync(before, at - 36):
        return int.from_bytes(before[at + 14 : at + 18], "big")
    return None


def _in_frame(before: bytes, at: int) -> bool:
    return any(_is_sync(before, at - offset) for offset in _XING_OFFSETS)


def _is_sync(before: bytes, at: int) -> bool:
    """Whether an MPEG audio frame may begin there: eleven bits set."""
    return at >= 0 and before[at] == 0xFF and before[at + 1] & 0xE0 == 0xE0  # noqa: PLR2004 - the bits


def _read(file: SeekableFile, size: int) -> bytes:
    return file.read(size) or b""
