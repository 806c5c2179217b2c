"""Very many forged webhooks at the door to the internet; none is believed, none breaks it.

    python -m tests.security.storm --events 100000 --seed 7

A genuine webhook comes before and after them, and must be let in: a door that refuses everything
proves nothing. What a forgery costs is CPU time, which a busy machine does not change much.

exit codes:
  0  no forgery believed, nothing broken
  1  a breach; the seed that repeats it is printed
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from tests.security.doors import Breach, WebhookDoor
from tests.security.forgeries import forgery

if TYPE_CHECKING:
    from collections.abc import Sequence


#: After so many events, progress is shown.
STEP: Final = 20_000


@dataclass
class Storm:
    """What became of the events; seconds of CPU time of each."""

    answers: Counter[int] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def run(self, events: int, seed: int) -> None:
        """Deliver so many, each of a seed of its own."""
        door = WebhookDoor()
        self._let_in(door, "before the storm")
        for number in range(events):
            event = forgery(random.Random(f"{seed}/{number}"), door)  # noqa: S311 - repeatable
            began = time.process_time()
            try:
                self.answers[door.knock(event)] += 1
            except Breach as exc:
                self.breaches.append(f"--seed {seed}, event {number}: {exc}")
            self.took.append(time.process_time() - began)
            if len(self.took) % STEP == 0:
                print(f"{len(self.took):,} of {events:,} forgeries", file=sys.stderr, flush=True)  # noqa: T201 - progress
        self._let_in(door, "after the storm")

    def _let_in(self, door: WebhookDoor, when: str) -> None:
        """The control: a genuine webhook."""
        try:
            status = door.knock(door.event())
        except Breach as exc:
            self.breaches.append(f"a genuine webhook {when}: {exc}")
        else:
            if status != HTTPStatus.ACCEPTED:
                self.breaches.append(f"a genuine webhook {when} was answered {status}")

    def figures(self) -> dict[str, Any]:
        """For a table or a program."""
        took = sorted(self.took) or [0.0]
        return {
            "events": len(self.took),
            "refused": self.answers[401],
            "accepted": self.answers[202],
            "breaches": len(self.breaches),
            "median_ms": round(took[len(took) // 2] * 1000, 3),
            "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 3),
            "most_ms": round(took[-1] * 1000, 3),
        }


def storm(events: int, seed: int) -> Storm:
    """One storm, without its log."""
    found = Storm()
    logging.disable()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found.run(events, seed)
    finally:
        logging.disable(logging.NOTSET)
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Print the figures; 1 on any breach."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.storm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(given)
    found = storm(asked.events, asked.seed)
    figures = found.figures()
    lines = [f"{name:<12}{value:>12,}" for name, value in figures.items()]
    print(json.dumps(figures) if asked.json else "\n".join(lines))  # noqa: T201 - for a person
    for breach in found.breaches[:20]:
        print(f"BREACH {breach}", file=sys.stderr)  # noqa: T201
    return int(bool(found.breaches or figures["accepted"]))


if __name__ == "__main__":
    sys.exit(main())
