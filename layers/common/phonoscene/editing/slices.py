"""Cuts audio into WAV files of an exact number of samples."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from phonoscene.drops.media_facts import SAMPLE_RATE
from phonoscene.editing.opening import MAX_BUSY_SECONDS, TimeLimit, opened_audio
from phonoscene.editing.sound import CHANNELS, SAMPLE_BYTES, decoded_frames, samples
from phonoscene.errors import EditingFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from phonoscene.drops.media_facts import SeekableFile


def write_slices(
    file: SeekableFile,
    spans: Iterable[tuple[int, int]],
    write: Callable[[int, bytes], None],
    suffix: str = "",
) -> None:
    """Call ``write`` with the number, from 0, and the WAV of each span of the audio.

    A span is its first sample and its number of samples, at 48 kHz; spans come in the order of
    their first samples. The audio is decoded once. What a span has behind the audio's end is
    silence. The same audio and span give the same bytes, so a digest of them names a slice.

    WAV, not FLAC: FLAC would halve the bytes, but they would depend on the encoder's version, and a
    segment whose slice has other bytes is paid again. ``suffix`` is that of the file's name.

    Raises:
        EditingFailed: ``unreadable_audio``, ``editing_too_slow``, or ``audio_too_short`` where a
            span begins behind the end.
    """
    limit = TimeLimit(MAX_BUSY_SECONDS)
    with opened_audio(file, limit, suffix) as (container, stream):
        pieces = samples(decoded_frames(container, stream, limit))
        for number, piece in enumerate(_slices(pieces, spans)):
            write(number, piece)


def _slices(pieces: Iterator[bytes], spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    held, start = bytearray(), 0  # ``start`` is the number of the first sample held
    for first, length in spans:
        if length < 1 or first < start:
            raise ValueError(f"the span {first}, {length} is empty, or out of order")
        end = first + length
        while start + len(held) // SAMPLE_BYTES < end:
            piece = next(pieces, None)
            if piece is None:
                break
            held += piece
            start += _drop(held, first - start)
        start += _drop(held, first - start)
        if not held:
            raise EditingFailed(
                "audio_too_short",
                f"The audio ends at {(start + len(held) // SAMPLE_BYTES) / SAMPLE_RATE:.3f} s, "
                f"and a slice begins at {first / SAMPLE_RATE:.3f} s. Drop the audio again.",
            )
        yield _wav(held[: length * SAMPLE_BYTES], length)


def _drop(held: bytearray, most: int) -> int:
    """Remove at most so many samples from the beginning; return how many those were."""
    count = min(most, len(held) // SAMPLE_BYTES)
    del held[: count * SAMPLE_BYTES]
    return count


def _wav(piece: bytearray, length: int) -> bytes:
    """A WAV file with silence behind the samples that there are."""
    size = length * SAMPLE_BYTES
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + size, b"WAVE"),
        *(b"fmt ", 16, 1, CHANNELS, SAMPLE_RATE, SAMPLE_RATE * SAMPLE_BYTES, SAMPLE_BYTES, 16),
        *(b"data", size),
    )
    return head + piece + bytes(size - len(piece))
