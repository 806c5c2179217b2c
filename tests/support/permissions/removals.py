"""Takes every action away from every role, one at a time, on a deployed stack.

    python -m tests.support.permissions.removals --only "StoreFunction s3:" --seed 7

For each action there is a case (``permission_cases``). Before its first action is taken away, a
case runs with all permissions, and its effect must be seen. Then it runs without the action: AWS
must deny exactly that action, and the effect must not be seen. Each run begins from a state of its
own, and each result rests on what was seen: a slow machine makes it later, not another one.

Cases must not help each other. So they run in two shuffled orders, each on a local cloud of its
own, and both orders must give the same results.

exit codes:
  0  every action is needed by its case, or explained
  1  a row is not proven; its line says what was expected, what was seen, and how to run it alone
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.local_stack import deployed, eventually
from tests.support.permissions.bench import Bench, bench
from tests.support.permissions.cases import BOUND, CASES, NOT_ENFORCED, reach, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.permissions.cases import Case, Effect, Steps

ROOT: Final = Path(__file__).parents[3]
#: The most seconds that a denied effect is watched for: as long as it took with permission.
MAX_GRACE: Final = 3.0


class Verdict(StrEnum):
    """What became of one action."""

    NEEDED = "needed"
    EXPLAINED = "explained"
    #: No case, and no reason why there is none.
    NO_CASE = "no case"
    #: The case fails with all permissions.
    BROKEN = "broken"
    #: The effect is seen without the action.
    UNUSED = "unused"
    #: Neither the effect nor a denial was seen.
    UNPROVEN = "unproven"
    #: Another action was denied as well.
    OTHER_DENIAL = "other denial"


@dataclass(frozen=True)
class Row:
    """One action of one role; ``seen`` is what the result rests on."""

    function: str
    action: str
    case: str
    verdict: Verdict
    seen: str
    seconds: float = 0.0
    order: int = 0
    seed: int = 0

    @property
    def is_proven(self) -> bool:
        """Whether this row holds."""
        return self.verdict in {Verdict.NEEDED, Verdict.EXPLAINED}

    def __str__(self) -> str:
        at = f"{self.function:<18} {self.action:<28}"
        if self.is_proven:
            return f"{at} {self.verdict}: {self.case} ({self.seen}; {self.seconds:.0f} s in all)"
        expected = f"“{self.case}” with {self.action}, and a denial of it without"
        alone = f"make permissions ARGS='--only \"{self.function} {self.action}\"'"
        return (
            f"{at} NOT PROVEN ({self.verdict}). Expected: {expected}. Seen in order {self.order} "
            f"of seed {self.seed}: {self.seen}. Alone: {alone}"
        )


# One action --------------------------------------------------------------------------------------


@dataclass
class Trials:
    """Runs the cases on one stack, with and without their actions."""

    bench: Bench
    #: How many seconds the effect of a case took with all permissions.
    _took: dict[Case, float] = field(default_factory=dict)

    def run(self, function: str, action: str) -> Row:
        """The result on one action of a function's role."""
        case = CASES.get(function, {}).get(action)
        if case is None:
            reason = NOT_ENFORCED.get(function, {}).get(action)
            result = Verdict.EXPLAINED if reason else Verdict.NO_CASE
            return Row(
                function, action, reason or "a case", result, "the emulator does not enforce it"
            )
        began = time.monotonic()
        result, seen = self._try(function, action, case)
        took = time.monotonic() - began
        return Row(function, action, sentence(case), result, seen, took)

    def _try(self, function: str, action: str, case: Case) -> tuple[Verdict, str]:
        try:
            if case not in self._took:
                self._took[case] = self._with_all(case)
        except AssertionError as exc:
            return Verdict.BROKEN, f"with all permissions, {exc}"
        try:
            return self._without(function, action, case)
        except AssertionError as exc:
            return Verdict.UNPROVEN, f"without {action}, {exc}"

    def _with_all(self, case: Case) -> float:
        """The control: how many seconds the effect took."""
        with self.bench.prepared(case) as steps:
            effect = act(steps)
            began = time.monotonic()
            reach("the effect", effect.is_seen)
            return time.monotonic() - began

    def _without(self, function: str, action: str, case: Case) -> tuple[Verdict, str]:
        denials = self.bench.monitor.denials
        with self.bench.prepared(case) as steps, self.bench.without(function, action):
            self.bench.restart(function)  # so that it forgets what it has read
            before = len(denials)
            effect = act(steps)

            def denied() -> bool:
                is_reported = self.bench.is_denied(function, action, before)
                return is_reported or bool(effect.is_denied())

            result, seen = judge(effect, denied, self._took[case])
            others = {str(one) for one in denials[before:] if action not in one.actions}
        if result is Verdict.NEEDED and others:
            return Verdict.OTHER_DENIAL, f"denied as well: {', '.join(sorted(others))}"
        return result, seen


def act(steps: Steps) -> Effect:
    """Take a case's second step."""
    effect = next(steps)
    assert effect is not None, "a case yields its effect at its second step"
    return effect


def judge(
    effect: Effect, denied: Callable[[], object], took: float, bound: float = BOUND
) -> tuple[Verdict, str]:
    """Watch until the action is denied or the effect is seen; what that means.

    ``took`` is how long the effect took with permission. After a denial it has that long again to
    come about in another way.
    """
    began = time.monotonic()
    if not eventually(lambda: denied() or effect.is_seen(), bound):
        return Verdict.UNPROVEN, f"neither a denial nor the effect within {bound:.0f} s"
    after = time.monotonic() - began
    if not denied():
        return Verdict.UNUSED, f"the effect after {after:.1f} s, and no denial"
    if eventually(effect.is_seen, min(took, MAX_GRACE)):
        return Verdict.UNUSED, f"a denial after {after:.1f} s, and the effect nevertheless"
    return Verdict.NEEDED, f"seen after {took:.1f} s, denied after {after:.1f} s"


# The orders --------------------------------------------------------------------------------------


def run_order(order: int, seed: int, only: str) -> list[Row]:
    """Every action of every function in one shuffled order, on a local cloud of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="phonoscene-removals-") as folder,
        deployed(Path(folder)) as phonoscene,
        phonoscene.stopped_clock(),
        bench(phonoscene) as found,
    ):
        wanted = shuffled(found, f"{seed}/{order}", only)
        trials, rows = Trials(found), []
        for number, (function, action) in enumerate(wanted, 1):
            rows.append(replace(trials.run(function, action), order=order, seed=seed))
            say(f"[order {order}, {number}/{len(wanted)}] {rows[-1]}")
        return rows


def shuffled(found: Bench, seed: str, only: str) -> list[tuple[str, str]]:
    """Each function with each of its actions; what runs no case comes last."""
    pairs = [(name, action) for name in found.functions for action in found.granted(name)]
    wanted = [pair for pair in pairs if only in " ".join(pair)]
    random.Random(seed).shuffle(wanted)  # noqa: S311 - repeatable
    return sorted(wanted, key=lambda pair: pair[1] not in CASES.get(pair[0], {}))


def run_orders(orders: int, seed: int, only: str) -> list[Row]:
    """Several orders side by side, each in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.permissions.removals", "--json"]
    options = ["--seed", str(seed), "--only", only]
    running = [
        subprocess.Popen(  # noqa: S603 - ourselves
            [*command, *options, "--order", str(order)], stdout=subprocess.PIPE, cwd=ROOT
        )
        for order in range(1, orders + 1)
    ]
    answers = [process.communicate()[0] for process in running]
    return [
        Row(**{**row, "verdict": Verdict(row["verdict"])})
        for answer in answers
        for row in json.loads(answer)["rows"]
    ]


def disagreements(rows: Sequence[Row]) -> list[str]:
    """The actions on which two orders disagree: there, one case helps or hinders another."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.function, row.action), []).append(row)
    return [
        f"{function:<18} {action:<28} NOT PROVEN. Expected: the same verdict in each order. Seen: "
        + ", ".join(f"{row.verdict} in order {row.order}" for row in mine)
        + f". Repeat: make permissions ARGS='--seed {mine[0].seed}'"
        for (function, action), mine in found.items()
        if len({row.verdict for row in mine}) > 1
    ]


# The command -------------------------------------------------------------------------------------


def say(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m tests.support.permissions.removals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--only", default="", help="actions that contain this: “StoreFunction s3:”")
    found.add_argument("--seed", type=int, help="of the orders; chance, unless given")
    found.add_argument("--orders", type=int, help="how many, side by side (2; with --only, 1)")
    found.add_argument("--order", type=int, help="only this one, in this process")
    found.add_argument("--json", action="store_true", help="the rows as JSON")
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Print the rows; 1 if one is not proven."""
    asked = parser().parse_args(given)
    seed = random.randrange(10_000) if asked.seed is None else asked.seed  # noqa: S311 - an order
    if asked.order:
        rows = run_order(asked.order, seed, asked.only)
    else:
        orders = asked.orders or (1 if asked.only else 2)
        say(f"shuffled orders: {orders}, seed: {seed}")
        rows = run_orders(orders, seed, asked.only)
    wrong = [str(row) for row in rows if not row.is_proven] + disagreements(rows)
    lines = [*wrong, f"{len(rows)} rows, {len(wrong)} not proven (seed {seed})"]
    fields = {"rows": [asdict(row) for row in rows], "wrong": wrong}
    print(json.dumps(fields) if asked.json else "\n".join(lines))  # noqa: T201 - for a person
    return int(bool(wrong or not rows))


if __name__ == "__main__":
    sys.exit(main())
