"""One table of all that is done against attacks, and whether it holds; `make security`.

    python -m tests.security.report

It runs every test that a row of the table names, the whole end-to-end suite with its search for
secrets, a storm of forgeries, the removal of every permission, checkov, and the advisories.

exit codes:
  0  nothing failed; what could not be told here is said
  1  something failed
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.security import advisories
from tests.security.rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]
CHECKOV: Final = ROOT / ".venv-audit" / "bin" / "checkov"


@dataclass(frozen=True)
class Line:
    """One line of the table; ``cases`` is a number or words."""

    what: str
    cases: str
    failures: int = 0

    def __str__(self) -> str:
        return f"{self.what:<66} {self.cases:>22} {self.failures:>9}"


def say(text: str) -> None:
    """Tell a person what goes on."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


def tests() -> list[Line]:
    """The rows, each with how many cases its tests had; the search for secrets."""
    others = sorted({one for row in ROWS for one in row.proofs if "/e2e/" not in one})
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("fast.xml", "e2e.xml")]
        say("the tests of the rows")
        _pytest(files[0], "-n", "auto", *others)
        say("the whole suite on a local cloud")
        _pytest(files[1], "tests/e2e")
        found = [case for file in files for case in _cases(file)]
    lines = [_line(row.threat, set(row.proofs), found) for row in ROWS]
    return [*lines, _whole(found), _searched(found)]


def _pytest(report: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    subprocess.run(command, check=False, stdout=sys.stderr, cwd=ROOT)  # noqa: S603 - ourselves


def _cases(report: Path) -> list[ET.Element]:
    return list(ET.parse(report).iter("testcase")) if report.is_file() else []  # noqa: S314 - pytest's own


def _name(case: ET.Element) -> str:
    """``tests/unit/test_x.py::test_y``, without its parameters."""
    file = str(case.get("classname")).replace(".", "/") + ".py"
    return f"{file}::{str(case.get('name')).partition('[')[0]}"


def _has_failed(case: ET.Element) -> bool:
    return any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))


def _line(threat: str, proofs: set[str], found: list[ET.Element]) -> Line:
    mine = [case for case in found if _name(case) in proofs]
    never = proofs - {_name(case) for case in mine}
    return Line(threat, str(len(mine)), sum(map(_has_failed, mine)) + len(never))


def _whole(found: list[ET.Element]) -> Line:
    """What is searched must be what a suite wrote that went through."""
    mine = [case for case in found if "/e2e/" in _name(case)]
    failures = sum(map(_has_failed, mine)) + (not mine)
    return Line("the suite on a local cloud, whose traces are searched", str(len(mine)), failures)


def _searched(found: list[ET.Element]) -> Line:
    properties = [one for case in found for one in case.iter("property")]
    told = {one.get("name"): one.get("value") for one in properties}
    searched = int(told.get("searched_bytes") or 0)
    traces = [case for case in found if "test_written_traces" in _name(case)]
    failures = sum(map(_has_failed, traces)) + (not searched)
    return Line("secrets in all that the suite wrote", f"{searched:,} bytes", failures)


def storm(events: int) -> Line:
    """Forgeries at the webhook."""
    say(f"a storm of {events:,} forgeries")
    told = _json("tests.security.storm", "--events", str(events))
    wrong = told["breaches"] + told["accepted"] + (told["p99_ms"] >= MOST_MS)
    return Line(f"forgeries believed or broken by, p99 {told['p99_ms']} ms", f"{events:,}", wrong)


#: What a forgery may cost, in milliseconds, at the 99th percentile.
MOST_MS: Final = 20


def permissions() -> Line:
    """Every action of every role, taken away once."""
    say("every permission taken away once")
    rows: list[dict[str, Any]] = _json("tests.security.removals")
    missed = Counter(row["is_missed"] for row in rows)
    return Line("permissions that nobody misses", str(len(rows)), missed[False])


def _json(module: str, *arguments: str) -> Any:
    """What one of our commands prints as JSON; it is judged by that, not by its exit code."""
    command = [sys.executable, "-W", "ignore", "-m", module, "--json", *arguments]
    told = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603 - ourselves
    return json.loads(told.stdout)


def template() -> Line:
    """Checkov's findings in the template that are not explained beside their resource."""
    say("checkov")
    command = [str(CHECKOV), "--file", "template.yaml", "--framework", "cloudformation"]
    options = ["--skip-download", "--output", "json"]
    told = subprocess.run([*command, *options], check=False, capture_output=True, text=True)  # noqa: S603 - our own words
    summary = json.loads(told.stdout)["summary"]
    cases = f"{summary['passed']} + {summary['skipped']} explained"
    return Line("findings of checkov in the template", cases, summary["failed"])


def packages() -> Line:
    """Advisories about what is deployed."""
    code, lines = advisories.look()
    if code == advisories.UNKNOWN:
        return Line("advisories (no database could be reached from here)", "not told")
    return Line("advisories about deployed packages", lines[0][:22], len(lines) if code else 0)


def main(given: Sequence[str] | None = None) -> int:
    """Print the table; 1 where anything failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=100_000, help="forgeries (100000)")
    asked = parser.parse_args(given)
    lines = [*tests(), storm(asked.events), permissions(), template(), packages()]
    failures = sum(line.failures for line in lines)
    head = f"{'threat, or what was looked for':<66} {'cases':>22} {'failures':>9}"
    print(head, *lines, f"{failures} failures", sep="\n")  # noqa: T201 - for a person
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
