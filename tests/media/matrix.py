"""How right the product measures audio: every format, mux, rate and layout at several lengths.

Each file is made by FFmpeg's encoders, some with containers written by hand. The product measures
it over ranged reads of an S3 object in memory, and FFmpeg decodes all of it for comparison.

exit codes:
  0  each file is measured to a video frame (1/24 s), or refused with the right code
  1  one is not; the report names it
  2  wrong usage
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.support.media.judging import Verdict, judged
from tests.support.media.recipes import GROUPS, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Seconds of the files of each group. Rates and layouts need no great length, and some.
LENGTHS: Final = (0.05, 0.3, 1.0, 3.0, 20.0, 600.0)
FEWEST, MOST = 0.3, 3.0
PROCESSES: Final = 2
WRONG: Final = 1


@dataclass(frozen=True)
class Row:
    """One line of the report: a group of files of one length."""

    format: str
    what: str
    seconds: float
    files: int
    wrong: int
    worst_error_seconds: float
    slowest_ms: float
    most_bytes_read: int
    most_requests: int
    most_memory_bytes: int
    largest_file_bytes: int

    @classmethod
    def of(cls, job: Job, results: Sequence[Verdict]) -> Row:
        """Of its files."""
        readings = [result.reading for result in results]
        return cls(
            *job,
            files=len(results),
            wrong=sum(result.wrong is not None for result in results),
            worst_error_seconds=round(max(result.error for result in results), 4),
            slowest_ms=round(max(reading.milliseconds for reading in readings), 1),
            most_bytes_read=max(reading.bytes for reading in readings),
            most_requests=max(reading.requests for reading in readings),
            most_memory_bytes=max(reading.memory for reading in readings),
            largest_file_bytes=max(result.bytes for result in results),
        )


@dataclass
class Report:
    """The rows, and what is wrong, by the name of its file."""

    rows: list[Row] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    def add(self, job: Job, results: Sequence[Verdict]) -> None:
        """One group's files."""
        self.rows.append(Row.of(job, results))
        self.wrong |= {result.name: result.wrong for result in results if result.wrong}

    def data(self) -> dict[str, Any]:
        """As JSON."""
        rows = sorted(self.rows, key=lambda row: (row.format, row.what, row.seconds))
        files = sum(row.files for row in rows)
        return {"files": files, "wrong": self.wrong, "rows": [asdict(row) for row in rows]}


Job = tuple[str, str, float]


def jobs(forms: Iterable[str], lengths: Iterable[float]) -> list[Job]:
    """The groups at their lengths. What takes longest is first: long files, and most of all Ogg."""
    wanted = [
        (form, what, 0.0 if form == "none" else seconds)
        for form, what in GROUPS
        for seconds in lengths
        if form in forms and (what == "muxes" or FEWEST <= seconds <= MOST)
    ]
    return sorted(set(wanted), key=lambda job: (-job[2], job[0] != "ogg", job))


def measure(job: Job) -> list[Verdict]:
    """Every file of one group."""
    return [judged(recipe) for recipe in table_of(*job)]


def run(wanted: Sequence[Job]) -> Report:
    """Measure all groups in processes of their own, so that a crash is a finding as well."""
    report, started = Report(), time.monotonic()
    with ProcessPoolExecutor(PROCESSES) as pool:
        running = {pool.submit(measure, job): job for job in wanted}
        for number, done in enumerate(as_completed(running), 1):
            job = running[done]
            try:
                report.add(job, done.result())
            except BrokenProcessPool:
                report.wrong[_title(job)] = "the process ended while it measured these"
            took = time.monotonic() - started
            print(f"{took:5.0f} s  {number}/{len(wanted)}  {_title(job)}", file=sys.stderr)  # noqa: T201
    return report


def _title(job: Job) -> str:
    form, what, seconds = job
    return f"{form}, {what}" + (f", {seconds:g} s" if seconds else "")


_HEADS: Final = (
    ("format", "what", "seconds"),
    (
        "files",
        "wrong",
        "worst error s",
        "slowest ms",
        "most KiB read",
        "of KiB",
        "requests",
        "memory KiB",
    ),
)


def table(data: dict[str, Any]) -> str:
    """The report as text."""
    lines = [_line(*_HEADS), *map(_row, data["rows"])]
    lines += ["", f"{data['files']} files, {len(data['wrong'])} wrong"]
    lines += [f"  {name}: {wrong}" for name, wrong in data["wrong"].items()]
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    return _line(
        (row["format"], row["what"], f"{row['seconds']:g}" if row["seconds"] else ""),
        (
            row["files"],
            row["wrong"],
            f"{row['worst_error_seconds']:.4f}",
            f"{row['slowest_ms']:.0f}",
            row["most_bytes_read"] // 1024,
            row["largest_file_bytes"] // 1024,
            row["most_requests"],
            row["most_memory_bytes"] // 1024,
        ),
    )


def _line(names: Sequence[Any], figures: Sequence[Any]) -> str:
    left = "".join(f"{name!s:<{width}}" for name, width in zip(names, (8, 26, 9), strict=True))
    widths = [max(len(head) + 2, 8) for head in _HEADS[1]]
    return left + "".join(f"{one!s:>{width}}" for one, width in zip(figures, widths, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    forms = options.only or sorted({form for form, _ in GROUPS})
    data = run(jobs(forms, options.lengths)).data()
    print(json.dumps(data, indent=2) if options.json else table(data))  # noqa: T201
    return WRONG if data["wrong"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.media.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forms = sorted({form for form, _ in GROUPS})
    parser.add_argument("--only", action="append", choices=forms, help="this format; repeatable")
    parser.add_argument(
        "--lengths",
        type=_lengths,
        default=LENGTHS,
        help=f"seconds of the files ({','.join(f'{one:g}' for one in LENGTHS)})",
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    return parser


def _lengths(text: str) -> tuple[float, ...]:
    lengths = tuple(float(one) for one in text.split(","))
    if not all(0 < one <= LENGTHS[-1] for one in lengths):
        raise argparse.ArgumentTypeError(f"more than 0 and at most {LENGTHS[-1]:g}")
    return lengths


if __name__ == "__main__":
    sys.exit(main())
