"""Measures what it takes to know a file's length: time, bytes and requests, and how right it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Row, Sample, Section, Table, milliseconds, paragraphs
from phonoscene.drops.keys import AUDIO_SUFFIXES
from tests.support.media.judging import FRAME
from tests.support.media.reading import read
from tests.support.media.recipes import table_of
from tests.support.media.truth import decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.media.reading import Reading

ROUNDS: Final = 5
CASES: Final = Path(__file__).parents[1] / "tests/media/cases"
#: Made files: format, seconds, and the name of the mux in the recipes of the tests.
MADE: Final = (
    ("wav", 20.0, "plain"),
    ("mp3", 20.0, "CBR"),
    ("mp3", 20.0, "VBR without Xing"),
    ("mp3", 20.0, "2 MB cover"),
    ("m4a", 20.0, "moov last"),
    ("m4a", 20.0, "fragmented"),
    ("flac", 20.0, "plain"),
    ("ogg", 20.0, "opus"),
    ("mp3", 600.0, "CBR"),
    ("ogg", 600.0, "opus"),
)
#: SubmitFunction waits for the answer; ten minutes of Opus are the most that people drop.
MAX_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Measured:
    """One file: what reading it took, several times, and what decoding the whole of it takes."""

    name: str
    size: int
    readings: tuple[Reading, ...]
    whole: Sample
    error: float

    @property
    def own(self) -> Sample:
        """Seconds of the product."""
        return Sample.of(reading.milliseconds / 1000 for reading in self.readings)


def measure() -> Section:
    """Each file in turn, round after round; the first round warms the decoders up."""
    measured = [_measured(name, raw, suffix) for name, raw, suffix in files()]
    section = Section("Measuring")
    slowest = max(measured, key=lambda one: one.own.median)
    worst = max(measured, key=lambda one: one.error)
    section.rows += [_row(one) for one in measured]
    section.rows += [
        Row.held(
            f"the slowest ({slowest.name})",
            milliseconds(slowest.own.median),
            f"≤ {MAX_SECONDS:g} s",
            slowest.own.median <= MAX_SECONDS,
        ),
        Row.held(
            f"the worst error ({worst.name})",
            milliseconds(worst.error),
            "≤ a frame, 1/24 s",
            worst.error <= FRAME,
        ),
    ]
    section.tables.append(("What is read of each:", _reads(measured)))
    section.notes += paragraphs(NOTES)
    return section


def files() -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes and suffix: files that headers measure wrong, and ordinary ones."""
    for form, seconds, mux in MADE:
        (recipe,) = (one for one in table_of(form, "muxes", seconds) if one.mux == mux)
        yield recipe.name, recipe.make(), recipe.suffix
    for path in sorted(CASES.iterdir()):
        if path.suffix in AUDIO_SUFFIXES:
            yield path.name, path.read_bytes(), path.suffix.removeprefix(".")


def _measured(name: str, raw: bytes, suffix: str) -> Measured:
    readings, whole, true = [], [], 0.0
    for _ in range(ROUNDS + 1):
        readings.append(read(raw, suffix))
        begun = time.perf_counter()
        true = decoded(raw, suffix).seconds
        whole.append(time.perf_counter() - begun)
    seconds = readings[0].seconds
    error = 0.0 if seconds is None else abs(true - seconds)  # None: cut off, and refused
    return Measured(name, len(raw), tuple(readings[1:]), Sample.of(whole[1:]), error)


def _row(one: Measured) -> Row:
    ours = one.own
    return Row.at_most(
        one.name,
        (ours.median, ours.formatted(milliseconds)),
        (one.whole.median, one.whole.formatted(milliseconds)),
    )


def _reads(measured: list[Measured]) -> Table:
    lines = []
    for one in measured:
        reading = one.readings[0]
        found = reading.code or f"{reading.seconds:.3f} s"
        most = max(each.memory for each in one.readings)
        figures = (one.size, reading.bytes, reading.requests, most)
        lines.append((one.name, found, *(f"{figure:,}" for figure in figures)))
    heads = ("file", "found", "bytes", "bytes read", "requests", "bytes of memory, at most")
    return Table(heads, tuple(lines))


NOTES: Final = """\
*ours* reads ranges of an object in memory through the S3 client's call, decodes them, and compares
the length with what the file claims; *theirs* has the whole file in memory and decodes it with
PyAV. Neither has a network: on AWS each request adds some tens of milliseconds. What the probe's
own process takes to start is in *Cold start*.
"""
