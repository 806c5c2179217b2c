"""Draws audio: its peaks, as FFmpeg decodes them, and the path of an SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from phonoscene.editing.opening import TimeLimit, opened_audio
from phonoscene.editing.sound import CHANNELS, SAMPLE_BYTES, decoded_frames, samples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phonoscene.drops.media_facts import SeekableFile

#: Peaks of one drawing; a screen shows about as many lines.
BARS: Final = 240
RATE: Final = 8000
#: Samples of which one peak is kept while the length is not known: 20 ms.
STEP: Final = 160
LOUDEST: Final = 32768
MAX_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Waveform:
    """The length in seconds, and at most ``BARS`` peaks from 0 to 1."""

    seconds: float
    peaks: tuple[float, ...]

    @property
    def path(self) -> str:
        """Lines in a box of ``BARS`` x 100, as the ``d`` of an SVG path."""
        wide = BARS / max(len(self.peaks), 1)
        return "".join(
            f"M{(number + 0.5) * wide:.1f} {50 - 48 * peak:.1f}V{51 + 48 * peak:.1f}"
            for number, peak in enumerate(self.peaks)
        )

    def at(self, seconds: float) -> str:
        """Where a time is in the box."""
        return f"{BARS * min(seconds / self.seconds, 1) if self.seconds else 0:.2f}"


def waveform(file: SeekableFile, suffix: str) -> Waveform:
    """Decode a whole file.

    Raises:
        EditingFailed: it is no audio that can be decoded.
    """
    limit = TimeLimit(MAX_SECONDS)
    with opened_audio(file, limit, suffix) as (container, stream):
        frames = decoded_frames(container, stream, limit)
        fine, count = _peaks(samples(frames, RATE))
    size = max(1, -(-len(fine) // BARS))
    groups = [fine[first : first + size] for first in range(0, len(fine), size)]
    peaks = tuple(round(max(group) / LOUDEST, 3) for group in groups)
    return Waveform(count / RATE, peaks)


def _peaks(pieces: Iterable[bytes]) -> tuple[list[int], int]:
    """The peak of every ``STEP`` samples, in both channels, and how many samples there are."""
    peaks: list[int] = []
    count, rest = 0, b""
    for piece in pieces:
        count += len(piece) // SAMPLE_BYTES
        held = rest + piece
        whole = len(held) - len(held) % (STEP * SAMPLE_BYTES)
        peaks += _loudest(held[:whole])
        rest = held[whole:]
    return peaks + _loudest(rest), count


def _loudest(held: bytes) -> list[int]:
    values = memoryview(held).cast("h")
    step = STEP * CHANNELS
    parts = (values[first : first + step] for first in range(0, len(values), step))
    extremes = ((min(part), max(part)) for part in parts)
    return [max(-low, high) for low, high in extremes]
