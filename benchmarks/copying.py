"""Measures copies of a video from the CDN into S3, the deployed way beside five others."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Row, Sample, Section, Table, megabytes, paragraphs, seconds
from benchmarks.transfer.ground import Copy, ground
from benchmarks.transfer.wire import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MB: Final = 1024 * 1024
SMALL, LARGE, HUGE = 16 * MB, 512 * MB, 2048 * MB
#: Of memory, at 512 MB; and how much more at 2 GB.
MAX_BYTES, MAX_MORE = 130e6, 10e6
#: A CDN's single flow, in bytes a second, and an answer's way, in seconds.
LIMITED: Final = Network(60e6, 0.02)
UNLIMITED: Final = Network()
OURS, PIPE, DISK = "ours", "pipe", "disk"
PEOPLES: Final = ("memory", DISK, "fileobj", "smart_open")
ALL: Final = (OURS, *PEOPLES, PIPE)
NAMES: Final = {
    OURS: "Phonoscene",
    "memory": "whole body in memory, put_object",
    DISK: "/tmp, upload_file",
    "fileobj": "upload_fileobj(response.raw)",
    "smart_open": "smart_open",
    PIPE: "bare TLS pipe",
}


@dataclass(frozen=True)
class Race:
    """One size over one network: who takes part, and how often."""

    size: int
    network: Network
    ways: Sequence[str]
    rounds: int

    @property
    def title(self) -> str:
        """As the tables name it."""
        how = "60 MB/s a connection, 20 ms" if self.network.rate else "unlimited"
        return f"{self.size // MB} MB, {how}"


#: What takes long is run less often, and not by everybody.
RACES: Final = (
    Race(SMALL, UNLIMITED, ALL, 7),
    Race(LARGE, UNLIMITED, ALL, 3),
    Race(HUGE, UNLIMITED, (OURS, DISK, "fileobj", PIPE), 1),
    Race(SMALL, LIMITED, ALL, 5),
    Race(LARGE, LIMITED, (OURS, DISK, "fileobj"), 2),
    Race(HUGE, LIMITED, (OURS, DISK), 1),
)

Copies = dict[str, list[Copy]]


def measure() -> Section:
    """Run every race."""
    run = {(race.size, bool(race.network.rate)): _run(race) for race in RACES}
    section = Section("Copying the video into S3")
    section.rows += _rows(run)
    section.tables += [(f"{race.title}:", _table(run[_key(race)])) for race in RACES]
    section.notes += paragraphs(NOTES)
    return section


def _key(race: Race) -> tuple[int, bool]:
    return race.size, bool(race.network.rate)


def _run(race: Race) -> Copies:
    """Everybody in turn, round after round, so that a busy moment is everybody's."""
    copies: Copies = defaultdict(list)
    with ground(race.network) as servers:
        for number in range(race.rounds):
            for way in race.ways:
                copies[way].append(servers.copy(way, race.size, f"round-{number}"))
    return copies


def _rows(run: dict[tuple[int, bool], Copies]) -> list[Row]:
    fast, slow, huge = run[LARGE, False], run[LARGE, True], run[HUGE, False]
    least = min(PEOPLES, key=lambda way: _of(fast, way, _cpu).median)
    peak, most = (_of(copies, OURS, _peak) for copies in (fast, huge))
    grown = most.median - max(peak.values)
    return [
        _compared("512 MB, limited: time, to /tmp's", slow, DISK, _wall, 0.25),
        _compared("512 MB, unlimited: time, to a bare pipe's", fast, PIPE, _wall, 1.15),
        _compared(f"512 MB, unlimited: CPU, to the best's ({NAMES[least]})", fast, least, _cpu, 1),
        Row("512 MB: CPU of its SHA-256, which is in ours alone", seconds(_hashing())),
        _compared("16 MB, unlimited: time, to /tmp's", run[SMALL, False], DISK, _wall, None),
        _compared("16 MB, limited: time, to /tmp's", run[SMALL, True], DISK, _wall, None),
        _compared("2 GB, unlimited: time, to a bare pipe's", huge, PIPE, _wall, None),
        _compared("2 GB, limited: time, to /tmp's", run[HUGE, True], DISK, _wall, None),
        Row.held(
            "512 MB: most memory of the process",
            peak.formatted(megabytes),
            "≤ 130 MB",
            max(peak.values) <= MAX_BYTES,
            _of(fast, DISK, _peak).formatted(megabytes),
        ),
        Row.held(
            "2 GB: memory above that", megabytes(max(0.0, grown)), "≤ 10 MB", grown <= MAX_MORE
        ),
    ]


def _hashing() -> float:
    """CPU seconds of the digest of the large video, part by part."""
    part, digest = bytes(5 * MB), hashlib.sha256()
    before = time.process_time()
    for _ in range(LARGE // len(part)):
        digest.update(part)
    return time.process_time() - before


def _compared(
    what: str, copies: Copies, way: str, of: Callable[[Copy], float], most: float | None
) -> Row:
    ours, theirs = _of(copies, OURS, of), _of(copies, way, of)
    shown = (ours.median, ours.formatted(seconds)), (theirs.median, theirs.formatted(seconds))
    return Row.at_most(what, *shown, most)


def _of(copies: Copies, way: str, of: Callable[[Copy], float]) -> Sample:
    return Sample.of(map(of, copies[way]))


def _wall(copy: Copy) -> float:
    return copy.wall


def _cpu(copy: Copy) -> float:
    return copy.cpu


def _peak(copy: Copy) -> float:
    return copy.peak


def _table(copies: Copies) -> Table:
    lines = tuple(
        (
            NAMES[way],
            _of(copies, way, _wall).formatted(seconds),
            _of(copies, way, _cpu).formatted(seconds),
            _of(copies, way, _peak).formatted(megabytes),
        )
        for way in copies
    )
    return Table(("way", "time", "CPU, user and system", "most memory"), lines)


NOTES: Final = """\
Every copy runs in a fresh process, and every byte that arrives is compared with what was sent;
imports and clients are made before the clock starts. Both servers are processes on the same two
cores: unlimited, they and the copier compete for them.

Ours runs on the function's folder and the built layer alone, and hashes the whole file (SHA-256)
and each part (CRC-32); the others hash what the SDK does by default, the pipe nothing.

Where ours falls short of the best's CPU or of the pipe's time: the SHA-256 of the whole, in a row
of its own, is CPU that the others do not spend. Python's own part of a copy is about a tenth.
docs/decisions.md has what was tried.

At 2 GB the way through memory is left out: the function does not have that much.
"""
