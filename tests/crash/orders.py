"""Every order in which the events of one job can come, and every way its POST can be answered.

An order is a string of letters, one for each event of ``EVENTS``. What comes between the POST and
its answer (``r``, ``l`` or ``d``) happens while the submitter waits. Time stands still but for the
ticks, so two orders that lead to the same world are followed once.

    python -m tests.crash.orders ASRWVTC        every order of these events
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx

from phonoscene.drops.keys import half_id
from phonoscene.jobs import JobStatus
from tests.support import stack
from tests.support.fakes.calls import Calls, Crash
from tests.support.fakes.fal import Play
from tests.support.fakes.world import World
from tests.support.invariants import broken
from tests.support.scenarios import AUDIO, LARGER, SHORTER, SIDECAR, SOUND, WISH, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENTS: Final = {
    "A": "the audio is dropped, or its event comes again",
    "S": "the sidecar is dropped, or its event comes again",
    "P": "a tool copies the audio in place",
    "r": "the POST's answer arrives",
    "l": "the POST's answer is lost",
    "d": "the submitter dies before the POST's answer",
    "W": "fal sends its webhook, or sends it again",
    "V": "a verdict is taken from its queue",
    "T": "the schedule ticks, ten minutes later, or half a minute while the POST is under way",
    "C": "somebody cancels the job",
}
ANSWERS: Final = "rld"
WITHOUT_C: Final = Scenario(tell=lambda _: None)
WITH_C: Final = Scenario(tell=lambda _: None, may_end=frozenset({JobStatus.CANCELLED}))


class Paused(BaseException):
    """The order ends while the submitter waits for its answer."""


@dataclass
class Story:
    """One order, played as far as it goes; ``left`` is what may still be said after it."""

    order: str
    left: str = ""
    world: World = field(
        default_factory=lambda: World(Calls(), Play(webhooks=False, makes=(LARGER, SHORTER)))
    )
    #: The world where the order ended, and what may come next there.
    state: int = 0
    next: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._ahead = list(self.order)
        self._waits = False
        self.world.play.meanwhile = self._wait

    def play(self) -> Story:
        """Play it, and let the rest happen by itself where nothing is left to be said."""
        with self.world.under():
            try:
                while self._ahead:
                    self._do(self._ahead.pop(0))
                self._look()
            except Paused:
                return self
            if not self.next:
                self.world.play.meanwhile = lambda: None
                self.world.settle()
                self.wrong = tuple(broken(self.world, WITH_C if "C" in self.order else WITHOUT_C))
        return self

    def _look(self) -> None:
        """See what may follow, and tell this world from others."""
        self.next = tuple(
            event for event in EVENTS if _kind(event) in self.left and self._is_possible(event)
        )
        self.state = hash((self.world.state(), self.world.now, self._waits))

    def _wait(self) -> object:
        """The submitter waits for its answer, and the world continues."""
        if self._waits:  # the POST of another process, answered at once
            return None
        self._waits = True
        try:
            while self._ahead:
                event = self._ahead.pop(0)
                if event in ANSWERS:
                    return self._answer(event)
                self._do(event)
            self._look()
            raise Paused
        finally:
            self._waits = False

    @staticmethod
    def _answer(event: str) -> None:
        """What the submitter learns of its POST."""
        if event == "l":
            raise httpx.ReadTimeout("the answer is lost")
        if event == "d":
            raise Crash

    def _is_possible(self, event: str) -> bool:
        world = self.world
        if event in ANSWERS:
            return self._waits
        if event == "V":
            return any(m.visible_at <= world.now for m in world.queues["verdicts"].messages)
        possible = {
            "W": bool(world.fal.requests),
            "C": self._job() is not None,
            "P": (stack.DROPS, AUDIO) in world.buckets.versions,
        }
        return possible.get(event, True)

    def _do(self, event: str) -> None:
        if event in "AS":
            self._announce(*((AUDIO, SOUND) if event == "A" else (SIDECAR, WISH)))
        elif event == "P":
            self.world.touch(AUDIO, 0)
            self.world.receive("drops")
        elif event == "W":
            self.world.fal.send(self.world.fal.requests[-1])
        elif event == "V":
            self.world.receive("verdicts")
        elif event == "C":
            self.world.send("drops", f'{{"cancel": "{self._job()}"}}', 0)
            self.world.receive("drops")
        else:
            self._tick()

    def _announce(self, key: str, body: Any) -> None:
        if (stack.DROPS, key) in self.world.buckets.versions:
            self.world.announce(key, 0)
        else:
            self.world.drop(key, body, delay=0)
        self.world.receive("drops")

    def _tick(self) -> None:
        self.world.now += timedelta(seconds=30 if self._waits else 600)
        self.world.invoke("reconcile", {})
        if not self._waits:
            self.world.receive_all("drops")

    def _job(self) -> str | None:
        """The job's id, once there is one."""
        halves = {half_id(stack.DROPS, key) for key in (AUDIO, SIDECAR)}
        ids = {item["job_id"]["S"] for item in self.world.table.items() if "status" in item}
        return min(ids - halves, default=None)


def _kind(event: str) -> str:
    return "R" if event in ANSWERS else event


@dataclass
class Explored:
    """How many orders there are, how many worlds they lead through, and what failed."""

    events: str
    worlds: dict[tuple[int, str], int] = field(default_factory=dict)
    wrong: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def follow(self, order: str = "") -> int:
        """Play an order and all that it may become; how many those are."""
        left = "".join((Counter(self.events) - Counter(map(_kind, order))).elements())
        story = Story(order, left).play()
        world = (story.state, left)
        if story.wrong:
            self.wrong.append((order, story.wrong))
        if world not in self.worlds:
            self.worlds[world] = sum(self.follow(order + event) for event in story.next) or 1
        return self.worlds[world]


def main(every: Sequence[str]) -> int:
    """Print a line for each set of events; 1 where an order ends wrongly."""
    failed = 0
    for events in every:
        started = time.monotonic()
        found = Explored(events)
        orders, seconds = found.follow(), time.monotonic() - started
        told = f"{orders:,} orders through {len(found.worlds):,} worlds, {len(found.wrong)} failed"
        print(f"{events}: {told}, {seconds:.0f} s")  # noqa: T201 - for a person
        for order, wrong in found.wrong:
            print(f"FAILED {order}: {'; '.join(wrong)}")  # noqa: T201 - for a person
        failed += len(found.wrong)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ("ASRWWVVTC", "AASSRWVTC", "ASRWVTTCC", "ASPPRWVT")))
