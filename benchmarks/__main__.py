"""Measures the project beside what people write instead, and prints one table.

exit codes:
  0    it could be measured, whether the goals are met or not
  1    a part could not be measured; the others are reported
  2    the command line is wrong
  130  interrupted
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import machine, report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Section

#: Each part's module; those that a busy machine disturbs most come first.
PARTS: Final = {
    "cold": "starting",
    "measuring": "measuring",
    "joining": "long_audio",
    "transfer": "copying",
    "warm": "warm",
    "growth": "growth",
    "latency": "latency",
    "drain": "drain",
    "money": "money",
    "suite": "suite",
}
RESULTS: Final = Path(__file__).with_name("RESULTS.md")
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        return _run(chosen.only or list(PARTS), as_json=chosen.json, whole=not chosen.only)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    summary, _, codes = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=summary,
        epilog=codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    only = f"one part, and no RESULTS.md; repeatable: {', '.join(PARTS)}"
    parser.add_argument("--only", metavar="PART", choices=PARTS, action="append", help=only)
    parser.add_argument("--json", action="store_true", help="the rows as JSON on standard output")
    return parser


def _run(names: Sequence[str], *, as_json: bool, whole: bool) -> int:
    sections: list[Section] = []
    about = [f"load before: {machine.load():.1f}"]
    begun, failed = time.monotonic(), []
    for name in names:
        section = _measured(name)
        if section is None:
            failed.append(name)
        else:
            sections.append(section)
    about.append(f"took {(time.monotonic() - begun) / 60:.1f} minutes")
    about += [f"not measured, because it failed: {name}" for name in failed]
    if whole:
        RESULTS.write_text(report.markdown(sections, about))
    rows = [{"part": one.title, **asdict(row)} for one in sections for row in one.rows]
    print(json.dumps(rows, indent=2) if as_json else report.plain(sections))
    _say(f"{len(report.unmet(sections))} of {len(rows)} rows fall short of their goal")
    return 1 if failed else 0


def _measured(name: str) -> Section | None:
    """A part, or None where it broke: one that fails must not hide the others."""
    _say(f"measuring: {name}")
    begun = time.monotonic()
    try:
        section: Section = import_module(f"benchmarks.{PARTS[name]}").measure()
    except Exception:  # noqa: BLE001 - whatever it was is printed, and the exit code tells
        traceback.print_exc()
        return None
    _say(f"  {time.monotonic() - begun:.0f} s")
    return section


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
