"""Every order in which the events of one job can come, and every way its POST can be answered.

An order is a string of letters, one for each event of ``EVENTS``. What comes between the POST and
its answer (``r``, ``l`` or ``d``) happens while the submitter waits. Time stands still but for the
ticks, so two orders that lead to the same world are followed once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx

from phonoscene.drops import half_id
from phonoscene.jobs import JobStatus
from tests.crash.calls import Calls, Crash
from tests.crash.fal import Play
from tests.crash.invariants import broken
from tests.crash.scenarios import AUDIO, SIDECAR, SOUND, WISH, Scenario
from tests.crash.world import World
from tests.integration import cloud as stack

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS: Final = {
    "A": "the audio is dropped, or its event comes again",
    "S": "the sidecar is dropped, or its event comes again",
    "r": "the POST's answer arrives",
    "l": "the POST's answer is lost",
    "d": "the submitter dies before the POST's answer",
    "W": "fal sends its webhook, or sends it again",
    "V": "a verdict is taken from its queue",
    "T": "the schedule ticks, ten minutes later, or half a minute while the POST is under way",
    "C": "somebody cancels the job",
}
ANSWERS: Final = "rld"
TOLD: Final = Scenario(tell=lambda _: None)
CANCELLED: Final = frozenset({JobStatus.CANCELLED})


class Paused(BaseException):
    """The order ends while the submitter waits for its answer."""


@dataclass
class Story:
    """One order, played as far as it goes."""

    order: str
    world: World = field(default_factory=lambda: World(Calls(), Play(webhooks=False)))
    #: The world where the order ended, and what may come next there.
    state: int = 0
    next: frozenset[str] = frozenset()
    wrong: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._ahead = list(self.order)
        self._waits = False
        self.world.play.meanwhile = self._wait

    def play(self) -> Story:
        """Play it, and let the rest happen by itself where nothing is left to be said."""
        with self.world.under():
            try:
                self._go_on()
                self._look()
            except Paused:
                return self
            self.world.settle()
            ends = CANCELLED if "C" in self.order else frozenset[JobStatus]()
            told = Scenario(tell=TOLD.tell, may_end=ends)
            self.wrong = tuple(broken(self.world, told))
        return self

    def _look(self) -> None:
        self.next = frozenset(event for event in EVENTS if self._is_possible(event))
        self.state = hash((self.world.state(), self.world.now, self._waits))

    def _go_on(self) -> None:
        while self._ahead and not self._waits:
            self._do(self._ahead.pop(0))

    def _wait(self) -> None:
        """The submitter waits for its answer, and the world goes on."""
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
        return {"W": bool(world.fal.requests), "C": self._job() is not None}.get(event, True)

    def _do(self, event: str) -> None:
        if event in "AS":
            self._announce(*((AUDIO, SOUND) if event == "A" else (SIDECAR, WISH)))
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


@dataclass
class Explored:
    """How many orders there are, how many were played, and what failed."""

    ends: int = 0
    played: int = 0
    wrong: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


def explore(events: str) -> Explored:
    """Every order of these events; ``R`` stands for an answer, of any kind."""
    found, seen = Explored(), set[tuple[int, str]]()
    waiting = [""]
    while waiting:
        order = waiting.pop()
        story = Story(order).play()
        found.played += 1
        if story.wrong:
            found.wrong.append((order, story.wrong))
        left = _left(events, order)
        key = (story.state, left)
        if key in seen:
            continue
        seen.add(key)
        following = list(_following(story, left))
        found.ends += not following
        waiting += [order + event for event in following]
    return found


def _left(events: str, order: str) -> str:
    used = Counter("R" if event in ANSWERS else event for event in order)
    return "".join(sorted((Counter(events) - used).elements()))


def _following(story: Story, left: str) -> Iterator[str]:
    for event in story.next:
        if ("R" if event in ANSWERS else event) in left:
            yield event
