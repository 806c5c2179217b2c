"""Finds where audio is silent: a cut there is heard least."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import av
from av.filter import Graph

from phonoscene.drops.media_facts import SAMPLE_RATE
from phonoscene.editing.opening import MAX_BUSY_SECONDS, TimeLimit, opened_audio
from phonoscene.editing.sound import SAMPLE_BYTES, audio_frame, decoded_frames, samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.drops.media_facts import SeekableFile

#: Room noise of a talk is below it, and its quietest syllables are above.
THRESHOLD: Final = "-35dB"
#: The pause between two sentences, and not the closure of a consonant (about 0.1 s).
MIN_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Silence:
    """From when to when it is silent, in seconds of the decoded audio."""

    start: float
    end: float


def silences(file: SeekableFile, suffix: str = "") -> list[Silence]:
    """The silences of an audio file whose name ends in ``suffix``, in their order.

    Raises:
        EditingFailed: ``unreadable_audio`` or ``editing_too_slow``.
    """
    found: list[Silence] = []
    begun: float | None = None
    total = 0
    limit = TimeLimit(MAX_BUSY_SECONDS)
    with opened_audio(file, limit, suffix) as (container, stream):
        for frame in _detected(container, stream, limit):
            total = frame.pts + frame.samples
            if start := frame.metadata.get("lavfi.silence_start"):
                begun = float(start)
            if (end := frame.metadata.get("lavfi.silence_end")) and begun is not None:
                found.append(Silence(begun, float(end)))
                begun = None
    if begun is not None:
        found.append(Silence(begun, total / SAMPLE_RATE))
    return found


def _detected(container: Any, stream: Any, limit: TimeLimit) -> Iterator[Any]:
    """The audio's frames behind ``silencedetect``, which writes what it finds as metadata."""
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=SAMPLE_RATE, format="s16", layout="stereo", time_base=None
    )
    detect = graph.add("silencedetect", f"noise={THRESHOLD}:duration={MIN_SECONDS}")
    sink = graph.add("abuffersink")
    source.link_to(detect)
    detect.link_to(sink)
    graph.configure()
    first = 0
    for piece in samples(decoded_frames(container, stream, limit)):
        source.push(audio_frame(piece, first))
        first += len(piece) // SAMPLE_BYTES
        with suppress(av.error.BlockingIOError):  # it has given all
            while True:
                yield sink.pull()
