"""The crash matrix: processes die before and after every I/O call, and then once more.

    python -m tests.crash.matrix                            all pairs
    python -m tests.crash.matrix --pairs 500 --seed 7       a sample of them
    python -m tests.crash.matrix --only "a drop" --at "store: PutObject #1 after"

Each call also fails, loses its answer, and is made twice by the SDK, where the caller lives on.

The calls are not listed anywhere: they are those of an undisturbed run, so a new call is covered
when it is first made. Two crashes of one invocation between which the world did not change leave
the same world behind. Singles are run at every point all the same; pairs at one point of each such
moment, which is every pair.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from tests.support.fakes.calls import FAULTS, Calls, Point
from tests.support.fakes.world import load
from tests.support.invariants import broken, gave_up, jobs_of
from tests.support.scenarios import MATRIX, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROCESSES = 2
#: In one run of so many, what was written is published and checked: no crash can touch it but one
#: of its own, and those are ``test_publication``'s.
SAMPLE = 4


@dataclass(frozen=True)
class Run:
    """One run of a scenario with its crashes, and what is wrong at its end."""

    scenario: str
    plan: tuple[Point, ...]
    wrong: tuple[str, ...]
    #: What a second crash can be put to, one for each moment that makes a difference.
    moments: tuple[Point, ...] = ()
    #: How many points each of them stands for.
    weights: tuple[int, ...] = ()
    calls: int = 0
    uploads_left: int = 0
    given_up: int = 0
    log: tuple[str, ...] = ()

    def __str__(self) -> str:
        at = " ".join(f'--at "{point}"' for point in self.plan)
        return f'{"; ".join(self.wrong)}\n    --only "{self.scenario}" {at}'


def run(scenario: str, plan: Sequence[Point] = (), *, tell_moments: bool = False) -> Run:
    """Play a scenario with crashes where the plan says."""
    calls = Calls(tuple(plan))
    world = SCENARIOS[scenario].world(calls)
    world.publishes = crc32(str(plan).encode()) % SAMPLE == 0
    if tell_moments:
        calls.state = world.state
    world.run()
    wrong = broken(world, SCENARIOS[scenario])
    if calls.crashes < len(plan):
        wrong.append(f"the call of {plan[calls.crashes]} was never made")
    moments = calls.moments()
    return Run(
        scenario=scenario,
        plan=tuple(plan),
        wrong=tuple(wrong),
        moments=tuple(moments),
        weights=tuple(moments.values()),
        calls=len(calls.names),
        uploads_left=len(world.buckets.uploads),
        given_up=sum(gave_up(world, job) for job in jobs_of(world)),
        log=tuple(world.log),
    )


def points(scenario: str) -> list[Point]:
    """Before and after every call of the undisturbed run, and each fault of it."""
    calls = Calls(state=lambda: 0)
    world = SCENARIOS[scenario].world(calls)
    world.run()
    faults = [Point(name, fault) for name in calls.names for fault in FAULTS]
    return [passed.point for passed in calls.passed] + faults


@dataclass
class Row:
    """A scenario's line of the table."""

    scenario: str
    calls: int = 0
    singles: int = 0
    faults: int = 0
    moments: int = 0
    pairs: int = 0
    stand_for: int = 0
    given_up: int = 0
    uploads_left: int = 0

    def add(self, one: Run) -> None:
        """Count a run."""
        is_fault = any(point.when in FAULTS for point in one.plan)
        self.faults += is_fault
        self.singles += len(one.plan) == 1 and not is_fault
        self.pairs += len(one.plan) == 2
        self.given_up += one.given_up
        self.uploads_left += one.uploads_left


@dataclass(frozen=True)
class Matrix:
    """Which scenarios, and how many of their pairs; None: all."""

    scenarios: Sequence[str]
    most_pairs: int | None = None
    seed: int = 0
    every_point: bool = True

    def play(self) -> tuple[list[Row], list[Run]]:
        """Run it all: the table, and what failed."""
        load()
        with ProcessPoolExecutor(PROCESSES) as pool:
            undisturbed = list(pool.map(partial(run, tell_moments=True), self.scenarios))
            first = [(one.scenario, (point,)) for one in undisturbed for point in one.moments]
            firsts = _followed("a crash", len(first), pool.map(_first, first, chunksize=4))
            rest = self._other_points(first)
            others = _followed("a fault", len(rest), pool.map(_plain, rest, chunksize=16))
            second = self._sampled(
                [(one.scenario, (*one.plan, point)) for one in firsts for point in one.moments]
            )
            seconds = _followed("two crashes", len(second), pool.map(_plain, second, chunksize=16))
        rows = {one.scenario: Row(one.scenario, one.calls) for one in undisturbed}
        for one in undisturbed:
            rows[one.scenario].moments = len(one.moments)
            rows[one.scenario].stand_for = _literal(one, firsts)
        for one in (*undisturbed, *firsts, *others, *seconds):
            rows[one.scenario].add(one)
        runs = (*undisturbed, *firsts, *others, *seconds)
        return list(rows.values()), [one for one in runs if one.wrong]

    def _sampled(
        self, pairs: list[tuple[str, tuple[Point, ...]]]
    ) -> list[tuple[str, tuple[Point, ...]]]:
        if self.most_pairs is None or self.most_pairs >= len(pairs):
            return pairs
        return random.Random(self.seed).sample(pairs, self.most_pairs)  # noqa: S311 - a sample

    def _other_points(
        self, known: Iterable[tuple[str, tuple[Point, ...]]]
    ) -> list[tuple[str, tuple[Point, ...]]]:
        if not self.every_point:
            return []
        every = {(name, (point,)) for name in self.scenarios for point in points(name)}
        return sorted(every - set(known), key=str)


def _literal(undisturbed: Run, firsts: Sequence[Run]) -> int:
    """How many pairs of points there are, of which each pair of moments stands for many."""
    weights = dict(zip(undisturbed.moments, undisturbed.weights, strict=True))
    mine = [one for one in firsts if one.scenario == undisturbed.scenario]
    return sum(weights[one.plan[0]] * sum(one.weights) for one in mine)


def _followed(what: str, count: int, runs: Iterable[Run]) -> list[Run]:
    """All runs; how far they are, and each failure at once, on stderr."""
    done = []
    for run_ in runs:
        done.append(run_)
        if run_.wrong:
            print(f"FAILED {run_}", file=sys.stderr, flush=True)  # noqa: T201 - for a person
        if len(done) % max(1, count // 50) == 0:
            line = f"{what}: {len(done):,} of {count:,}"
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - for a person
    return done


def _first(what: tuple[str, tuple[Point, ...]]) -> Run:
    return run(*what, tell_moments=True)


def _plain(what: tuple[str, tuple[Point, ...]]) -> Run:
    return run(*what)


COLUMNS = {
    "calls": "I/O calls",
    "singles": "single crashes",
    "faults": "faults",
    "moments": "moments",
    "pairs": "pairs",
    "stand_for": "which stand for",
    "given_up": "given up",
}


def table(rows: Sequence[Row], failed: Sequence[Run], seconds: float) -> str:
    """For a person to read."""
    names = (*COLUMNS, "uploads_left")
    total = Row("all", **{name: sum(getattr(row, name) for row in rows) for name in names})
    lines = [f"{'':36}{''.join(f'{column:>16}' for column in COLUMNS.values())}"]
    for row in (*rows, total):
        figures = "".join(f"{getattr(row, name):16,}" for name in COLUMNS)
        lines.append(f"{row.scenario:36}{figures}")
    lines += [f"FAILED {one}" for one in failed]
    runs = total.singles + total.faults + total.pairs
    lines.append(
        f"{runs:,} runs, {len(failed)} failed, {seconds:.0f} s; "
        f"{total.uploads_left} uploads cut off, which the bucket's rule aborts"
    )
    return "\n".join(lines)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.matrix")
    parser.add_argument(
        "--pairs", default="all", help="how many pairs of crashes: all, or a sample"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario alone")
    parser.add_argument("--at", action="append", type=Point.read, default=[], help="one run alone")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Print the table; 1 where anything failed."""
    asked = _arguments(given)
    scenarios = asked.only or MATRIX
    if asked.at:
        one = run(scenarios[0], asked.at)
        print(*one.log, one, sep="\n")  # noqa: T201 - for a person
        return int(bool(one.wrong))
    started = time.monotonic()
    most = None if asked.pairs == "all" else int(asked.pairs)
    rows, failed = Matrix(scenarios, most, asked.seed).play()
    print(table(rows, failed, time.monotonic() - started))  # noqa: T201 - for a person
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
