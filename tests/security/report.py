"""One table of all that is done against attacks, and whether it holds; `make security`.

    python -m tests.security.report --only permissions

The parts: ``tests`` (every test that a row of the table names), ``suite`` (the whole end-to-end
suite, with its search for secrets), ``storm`` (forged webhooks), ``answers`` (odd ones of fal, its
CDN and an endpoint), ``permissions`` (every permission
taken away once, in two orders), ``template`` (checkov) and ``packages`` (advisories).

exit codes:
  0  nothing failed; what could not be found out here is named
  1  something failed; each failure is listed with the command that runs it alone
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.security import advisories
from tests.security.rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
CHECKOV: Final = ROOT / ".venv-audit" / "bin" / "checkov"
#: Each process has a stack of its own; more of them would wait for one another on two cores.
SIDE_BY_SIDE: Final = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
#: Odd answers that are drawn for each test of them.
ANSWERS: Final = 2500
#: The most CPU time, in milliseconds, that a forgery may cost at the 99th percentile. It costs 2.
MAX_MS: Final = 20


@dataclass(frozen=True)
class Line:
    """One line of the table; ``cases`` is a number or words, ``failures`` are whole sentences."""

    what: str
    cases: str
    failures: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what:<66} {self.cases:>22} {len(self.failures):>9}"


@dataclass
class Run:
    """What was asked for, and the tests that have run so far."""

    events: int
    seed: int
    cases: list[ET.Element] = field(default_factory=list)
    proofs: set[str] = field(default_factory=set)

    # The tests of the rows -----------------------------------------------------------------------

    def tests(self) -> list[Line]:
        """Every test that a row names, except the end-to-end ones."""
        named = {one for row in ROWS for one in row.proofs if "/e2e/" not in one}
        self._pytest(named, "-n", "auto", *sorted(named))
        return []

    def suite(self) -> list[Line]:
        """The whole end-to-end suite; what each process's stack has written is searched."""
        named = {one for row in ROWS for one in row.proofs if "/e2e/" in one}
        mine = self._pytest(named, *SIDE_BY_SIDE, "tests/e2e")
        missing = () if mine else ("No end-to-end test ran. Alone: make e2e",)
        whole = "the suite on a local cloud, whose traces are searched"
        return [Line(whole, str(len(mine)), failures_of(mine) + missing), _searched(mine)]

    def _pytest(
        self, named: set[str], *arguments: str, env: Mapping[str, str] | None = None
    ) -> list[ET.Element]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={file}", *arguments]
            subprocess.run(command, check=False, stdout=sys.stderr, cwd=ROOT, env=env)  # noqa: S603 - ourselves
            found = list(ET.parse(file).iter("testcase")) if file.is_file() else []  # noqa: S314 - pytest's own
        self.cases += found
        self.proofs |= named
        return found

    def rows(self) -> list[Line]:
        """The rows of the table, as far as their tests belong to the parts that ran."""
        return [
            line_of(row.threat, set(row.proofs) & self.proofs, self.cases)
            for row in ROWS
            if set(row.proofs) & self.proofs
        ]

    # The other parts -----------------------------------------------------------------------------

    def storm(self) -> list[Line]:
        """Forged webhooks."""
        answer = _json("tests.security.storm", "--events", str(self.events))
        alone = f"Alone: .venv/bin/python -m tests.security.storm --events {self.events}"
        failures = []
        if wrong := answer["breaches"] + answer["accepted"]:
            failures.append(f"{wrong} webhooks were answered wrongly. {alone}")
        if answer["p99_ms"] >= MAX_MS:
            failures.append(f"Expected: below {MAX_MS} ms. Seen: {answer['p99_ms']} ms. {alone}")
        what = f"forgeries believed or broken by, p99 {answer['p99_ms']} ms of CPU"
        return [Line(what, f"{answer['events']:,}", tuple(failures))]

    def answers(self) -> list[Line]:
        """Odd answers, drawn for every exchange and for whole jobs."""
        drawn = os.environ | {"ODD_ANSWERS": str(ANSWERS)}
        found = self._pytest(set(), "-n", "2", "tests/odd", env=drawn)
        missing = (
            () if found else ("No answer was drawn. Alone: make security ARGS='--only answers'",)
        )
        count = f"{ANSWERS * len(found):,}"
        return [
            Line("odd answers that broke an exchange or a job", count, failures_of(found) + missing)
        ]

    def permissions(self) -> list[Line]:
        """Every action of every role, taken away once in each of two orders."""
        answer = _json("tests.support.permissions.removals", "--seed", str(self.seed))
        count = str(len(answer["rows"]))
        missing = [] if answer["rows"] else ["No action was tried. Alone: make permissions"]
        return [Line("permissions not proven to be needed", count, (*answer["wrong"], *missing))]

    def template(self) -> list[Line]:
        """Checkov's findings in the template; .checkov.yaml explains what it skips."""
        command = [str(CHECKOV), "--file", "template.yaml", "--framework", "cloudformation"]
        options = ["--skip-download", "--output", "json"]
        result = subprocess.run(  # noqa: S603 - our own words
            [*command, *options], check=False, capture_output=True, text=True, cwd=ROOT
        )
        return [checked(json.loads(result.stdout)["summary"])]

    def packages(self) -> list[Line]:
        """Advisories about what is deployed."""
        code, lines = advisories.look()
        if code == advisories.UNKNOWN:
            return [Line("advisories (no database could be reached from here)", "unknown")]
        failures = tuple(f"{line}. Alone: make audit" for line in lines) if code else ()
        return [Line("advisories about deployed packages", lines[0][:22], failures)]


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


def name_of(case: ET.Element) -> str:
    """``tests/unit/test_x.py::test_y``, without its parameters."""
    file = str(case.get("classname")).replace(".", "/") + ".py"
    return f"{file}::{str(case.get('name')).partition('[')[0]}"


def failures_of(cases: Sequence[ET.Element]) -> tuple[str, ...]:
    """What did not pass; a test that was skipped has shown nothing."""
    return tuple(
        f"{name_of(case)}: {kind}: {str(found.get('message'))[:200]}. "
        f"Alone: .venv/bin/python -m pytest {name_of(case)}"
        for case in cases
        for kind in ("failure", "error", "skipped")
        if (found := case.find(kind)) is not None
    )


def line_of(threat: str, proofs: set[str], found: Sequence[ET.Element]) -> Line:
    """One row; a test that never ran is a failure."""
    mine = [case for case in found if name_of(case) in proofs]
    never = sorted(proofs - {name_of(case) for case in mine})
    absent = [f"{one} did not run. Alone: .venv/bin/python -m pytest {one}" for one in never]
    return Line(threat, str(len(mine)), (*failures_of(mine), *absent))


def _searched(found: Sequence[ET.Element]) -> Line:
    counts = [
        int(str(one.get("value")))
        for case in found
        for one in case.iter("property")
        if one.get("name") == "searched_at_the_end"
    ]
    searched = sum(counts)
    traces = [case for case in found if "test_written_traces" in name_of(case)]
    nothing = () if searched else ("Nothing was searched. Alone: make e2e",)
    what = "secrets in all that the suite wrote"
    return Line(what, f"{searched:,} bytes", failures_of(traces) + nothing)


def checked(summary: dict[str, int]) -> Line:
    """Checkov's summary; a template that it could not read has no findings either."""
    failed, broken = summary["failed"], summary["parsing_errors"]
    failures = [f"{failed} checks failed. Alone: make audit"] * bool(failed)
    if broken or not summary["passed"]:
        failures.append(f"checkov read nothing ({broken} parsing errors). Alone: make audit")
    return Line("findings of checkov in the template", str(summary["passed"]), tuple(failures))


def _json(module: str, *arguments: str) -> Any:
    """What one of our commands prints as JSON; it is judged by that, not by its exit code."""
    command = [sys.executable, "-W", "ignore", "-m", module, "--json", *arguments]
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603 - ourselves
    return json.loads(result.stdout)


PARTS: Final[dict[str, Callable[[Run], list[Line]]]] = {
    "tests": Run.tests,
    "suite": Run.suite,
    "storm": Run.storm,
    "answers": Run.answers,
    "permissions": Run.permissions,
    "template": Run.template,
    "packages": Run.packages,
}


def timed(part: str, run: Run) -> list[Line]:
    """Run one part; if it breaks, that is its only line."""
    say(f"{part} …")
    began = time.monotonic()
    try:
        return PARTS[part](run)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the other parts still run
        alone = f'make security ARGS="--only {part}"'
        return [Line(f"{part} broke", "none", (f"{part}: {exc!r}. Alone: {alone}",))]
    finally:
        say(f"{part}: {time.monotonic() - began:.0f} s")


def main(given: Sequence[str] | None = None) -> int:
    """Print the table; 1 if anything failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    parser.add_argument("--events", type=int, default=100_000, help="forgeries (100000)")
    parser.add_argument("--seed", type=int, help="of the orders of the permissions")
    asked = parser.parse_args(given)
    seed = random.randrange(10_000) if asked.seed is None else asked.seed  # noqa: S311 - an order
    run = Run(asked.events, seed)
    others = [line for part in asked.only or PARTS for line in timed(part, run)]
    lines = [*run.rows(), *others]
    failures = list(dict.fromkeys(one for line in lines for one in line.failures))
    head = f"{'threat, or what was looked for':<66} {'cases':>22} {'failures':>9}"
    print(head, *lines, *failures, f"{len(failures)} failures", sep="\n")  # noqa: T201 - for a person
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
