"""Every call of the product to the outside passes here: named, counted, and cut off where planned.

A crash ends the process that made the call: whatever its code still tries is dead as well, so that
no ``finally`` does what a killed process could not have done.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import httpx
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

BEFORE: Final = "before"
AFTER: Final = "after"
#: What the caller lives to see: the call does not get through; its answer is lost; the SDK, whose
#: answer was lost, makes it twice.
FAILS: Final = "fails"
LOST: Final = "lost"
TWICE: Final = "twice"
FAULTS: Final = (FAILS, LOST, TWICE)


class Crash(BaseException):
    """The process is gone; no ``except`` of the product may catch it."""


class NotModelled(BaseException):
    """The product asks for what this world does not know yet: teach it, and it is covered."""


@dataclass(frozen=True)
class Point:
    """A crash before or after one call, or a fault of it: ``store: PutObject #2``, ``after``."""

    call: str
    when: str

    def __str__(self) -> str:
        return f"{self.call} {self.when}"

    @classmethod
    def read(cls, text: str) -> Point:
        """As it is printed; ``#1`` may be left out."""
        call, _, when = text.rpartition(" ")
        if when not in (BEFORE, AFTER, *FAULTS):
            raise ValueError(f"{text!r} ends with none of {BEFORE}, {AFTER}, {', '.join(FAULTS)}")
        return cls(call if "#" in call else f"{call} #1", when)


def _error(what: str, *, is_lost: bool) -> Exception:
    """What the caller's library raises: urllib or http.client, httpx, or botocore."""
    if what in {"GET rest.fal.ai", "GET v3.fal.media"}:
        return TimeoutError("a fault") if is_lost else ConnectionRefusedError("a fault")
    if " " in what:
        return httpx.ReadTimeout("a fault") if is_lost else httpx.ConnectError("a fault")
    url = "https://aws.example"
    return (
        ReadTimeoutError(endpoint_url=url) if is_lost else EndpointConnectionError(endpoint_url=url)
    )


@dataclass(frozen=True)
class Passed:
    """A point that was passed; equal moments leave the same world behind when the process dies."""

    point: Point
    moment: int


@dataclass
class Calls:
    """The calls of one run. ``state`` distinguishes worlds; without it moments are not recorded."""

    plan: Sequence[Point] = ()
    state: Callable[[], int] | None = None
    #: Every point passed since the last planned crash.
    passed: list[Passed] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    #: Instead of a plan: how many points are passed until a process dies.
    dies_after: int | None = None
    crashes: int = 0
    _function: str = ""
    _invocations: int = 0
    _invocation: int = 0
    _is_dead: bool = False
    _counts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def of(self, function: str) -> Iterator[None]:
        """What is called within is called by this function, in one invocation of it."""
        outer = self._function, self._invocation, self._is_dead
        self._invocations += 1
        self._function, self._invocation, self._is_dead = function, self._invocations, False
        try:
            yield
        finally:
            self._function, self._invocation, self._is_dead = outer

    def make(self, what: str, act: Callable[[], T]) -> T:
        """Let a call through; a crash after it loses its answer, be it good or bad."""
        if self._is_dead:
            raise Crash
        name = self._named(f"{self._function}: {what}")
        self._pass(name, BEFORE)
        try:
            return self._disturbed(name, what, act)
        finally:
            self._pass(name, AFTER)

    def _disturbed(self, name: str, what: str, act: Callable[[], T]) -> T:
        """Make the call, with the fault that is planned for it."""
        planned = self.plan[self.crashes] if self.crashes < len(self.plan) else None
        if planned is None or planned.call != name or planned.when not in FAULTS:
            return act()
        self.crashes += 1
        if planned.when == FAILS:
            raise _error(what, is_lost=False)
        if planned.when == LOST:
            act()
            raise _error(what, is_lost=True)
        if " " not in what:  # boto3 makes a call again; what speaks HTTP itself does not
            with suppress(Exception):
                act()
        return act()

    def _named(self, what: str) -> str:
        number = self._counts[what] = self._counts.get(what, 0) + 1
        self.names.append(f"{what} #{number}")
        return self.names[-1]

    def _pass(self, call: str, when: str) -> None:
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                self.dies_after = None
                self._die()
        if self.crashes < len(self.plan):
            planned = self.plan[self.crashes]
            if planned.call == call and planned.when == when:
                self._die()
        elif self.state:
            moment = hash((self._invocation, self.state()))
            self.passed.append(Passed(Point(call, when), moment))

    def _die(self) -> None:
        self.crashes += 1
        self._is_dead = True
        raise Crash

    def moments(self) -> dict[Point, int]:
        """One point for each crash that makes a difference, of those passed since the last one.

        With each how many points it represents.
        """
        weights = Counter(passed.moment for passed in self.passed)
        first: dict[int, Point] = {}
        for passed in self.passed:
            first.setdefault(passed.moment, passed.point)
        return {point: weights[moment] for moment, point in first.items()}
