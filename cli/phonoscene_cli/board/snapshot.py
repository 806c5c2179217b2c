"""What the first screen shows of a stack, as it was read at one moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final

from phonoscene.drops.keys import is_segment, name_of
from phonoscene.jobs import FINAL, Job, JobStatus
from phonoscene.limits import day_of
from phonoscene.publishing.public_job import written
from phonoscene_cli.doctor.checks import examined
from phonoscene_cli.doctor.resources import alarms_are_quiet, dead_letters_are_none
from phonoscene_cli.failures import explained
from phonoscene_cli.ui.status_line import StatusLine
from phonoscene_cli.upload.upload import is_newest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from phonoscene_cli.doctor.findings import Check
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.jobs_reader import Entry
    from phonoscene_cli.upload.upload import Dropped

#: Jobs of the last days are shown; so many of them are looked through.
PERIOD: Final = timedelta(days=7)
MAX_ENTRIES: Final = 2000
MAX_MOVING: Final = 100
MAX_VIDEOS: Final = 12
MAX_PROBLEMS: Final = 8
MAX_TAKES: Final = 12
#: Seconds between two readings: of the parameters, of today's jobs, of those before, of queues and
#: alarms.
DESCRIBE_AGAIN: Final = 10.0
LIST_AGAIN: Final = 2.0
OLDER_AGAIN: Final = 30.0
HEALTH_AGAIN: Final = 30.0
HEALTH: Final = {"dead letters": dead_letters_are_none, "alarms": alarms_are_quiet}


@dataclass(frozen=True)
class Money:
    """A day's budget in US dollars."""

    budget: Decimal
    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)

    @property
    def left(self) -> Decimal:
        """What may still be claimed today; a day can be overdrawn by what fal delivered."""
        return max(self.budget - self.spent - self.reserved, Decimal(0))


@dataclass(frozen=True)
class Snapshot:
    """One look. ``problem``: why there is none, and what to do; the rest is then of before."""

    problem: str = ""
    money: Money | None = None
    #: Slots in use, and how many there are.
    slots: tuple[int, int] = (0, 0)
    paused_until: datetime | None = None
    health: tuple[Check, ...] = ()
    moving: tuple[Job, ...] = ()
    videos: tuple[Job, ...] = ()
    #: The newest take of a name that ended without a video.
    without_video: tuple[Job, ...] = ()
    #: How many more there are of both than are shown.
    more_moving: int = 0
    more_without_video: int = 0
    #: Whether older jobs were left unread: then there may be more of each.
    is_cut: bool = False
    #: Jobs that a page shows, by id.
    watched: Mapping[str, Job] = field(default_factory=dict)
    #: The takes of each of their names, by the job's id, the newest first.
    takes: Mapping[str, tuple[Job, ...]] = field(default_factory=dict)
    #: The names of drops that have no record; of those in ``replaced`` others have the files.
    names: Mapping[str, str] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    #: What each job that has not ended waits for.
    standing: Mapping[str, str] = field(default_factory=dict)
    unreadable: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was dropped lately."""
        return not (self.moving or self.videos or self.without_video)


@dataclass
class Observer:
    """Reads a stack again and again, what changes often more often; by one thread at a time.

    ``find`` returns the stack anew: a local cloud that is started again has other ports.
    """

    find: Callable[[], Stack]
    last: Snapshot = field(default_factory=Snapshot)
    #: What the board has dropped, by the id that its job should get.
    dropped: dict[str, Dropped] = field(default_factory=dict)
    _stack: Stack | None = None
    _line: StatusLine | None = None
    _moving: list[str] = field(default_factory=list)
    _videos: list[str] = field(default_factory=list)
    _without_video: list[str] = field(default_factory=list)
    _more_without_video: int = 0
    _is_cut: bool = False
    #: Jobs that have ended, as they were read once.
    _ended: dict[str, Job] = field(default_factory=dict)
    #: Of the days before ``_older_than``: the index has a key for each day, and these change less.
    _older: list[Entry] = field(default_factory=list)
    _older_than: datetime | None = None
    #: The names of the jobs that pages show: a half that is part of a job has no record.
    _names: dict[str, str] = field(default_factory=dict)
    _takes: dict[str, tuple[Job, ...]] = field(default_factory=dict)
    _replaced: frozenset[str] = frozenset()
    _older_due: float = 0.0
    _list_due: float = 0.0
    _takes_due: float = 0.0
    _health_due: float = 0.0
    _description_due: float = 0.0

    @property
    def stack(self) -> Stack:
        """The stack as it was found last; its parameters may be changed at any time."""
        found, now = self._stack, time.monotonic()  # which another thread may forget
        if found is None:
            found = self._stack = self.find()
            self._line = StatusLine(found, None, written)
            self._list_due = self._older_due = self._takes_due = self._health_due = 0.0
        elif now >= self._description_due:
            found.describe_again()
        else:
            return found
        self._description_due = now + DESCRIBE_AGAIN
        return found

    def forget(self) -> None:
        """Find the stack again when it is next read."""
        self._stack = None

    def look(self, now: float, watched: Collection[str] = ()) -> Snapshot:
        """Read what is due at ``now``, seconds of a steady clock; an error becomes a sentence."""
        try:
            self.last = self._look(self.stack, now, list(watched))
        except Exception as exc:  # noqa: BLE001 - the page says what happened, and looks again
            self.last = replace(self.last, problem=explained(exc)[0])
            self.forget()
        return self.last

    def _look(self, stack: Stack, now: float, watched: list[str]) -> Snapshot:
        if now >= self._list_due:
            self._read_list(stack, now)
        window = stack.jobs.ledger.window()
        shown_ids, more_moving = self._in_progress(stack, window.in_flight)
        jobs = stack.jobs.many(dict.fromkeys([*shown_ids, *watched]))
        listed = set(self._moving)  # without songs that have ended and have segments at fal
        if any(one in listed and one in jobs and jobs[one].is_final for one in shown_ids):
            self._older_due = now
            self._read_list(stack, now)
        unrecorded = (one for one in watched if one not in jobs)
        missing = {one: self.dropped[one] for one in unrecorded if one in self.dropped}
        names = {one: name_of(dropped.audio.key) for one, dropped in missing.items()}
        known = names | self._names | {one: job.name for one, job in jobs.items()}
        self._names = {one: known[one] for one in watched if one in known}
        self._read_takes(stack, now, missing)
        moving = [jobs[one] for one in shown_ids if one in jobs and not jobs[one].is_final]
        shown = {job.job_id: job for job in (*moving, *(jobs[i] for i in watched if i in jobs))}
        return Snapshot(
            money=_money(stack),
            slots=(len(window.in_flight), window.slots(stack.parameters.max_in_flight)),
            paused_until=window.paused_until if window.is_paused(datetime.now(UTC)) else None,
            health=self._health(stack, now),
            moving=tuple(moving),
            videos=self._of(self._videos),
            without_video=self._of(self._without_video),
            more_moving=more_moving,
            more_without_video=self._more_without_video,
            is_cut=self._is_cut,
            watched={one: jobs[one] for one in watched if one in jobs},
            takes={
                one: tuple(jobs.get(take.job_id, take) for take in self._takes.get(name, ()))
                for one, name in self._names.items()
            },
            names=names,
            replaced=self._replaced & missing.keys(),
            standing=self._standings([job for job in shown.values() if not job.is_final]),
            unreadable=len(stack.jobs.unreadable),
        )

    def _read_list(self, stack: Stack, now: float) -> None:
        """The jobs that move, the newest videos, and what needs a person."""
        self._list_due = now + LIST_AGAIN
        at = datetime.now(UTC)
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        if now >= self._older_due or self._older_than != midnight:
            before = stack.jobs.since(at - PERIOD, midnight - timedelta.resolution)
            self._older = list(islice(before, MAX_ENTRIES))
            self._older_due, self._older_than = now + OLDER_AGAIN, midnight
        today = list(islice(stack.jobs.since(midnight), MAX_ENTRIES))
        self._is_cut = MAX_ENTRIES in (len(today), len(self._older))
        entries = [*today, *self._older]
        newest = {entry.name: entry.job_id for entry in reversed(entries)}
        moving = [one.job_id for one in entries if one.status not in FINAL]
        videos = [one.job_id for one in entries if one.status == JobStatus.SUCCEEDED]
        others = [
            one.job_id
            for one in entries
            if one.status in (JobStatus.REJECTED, JobStatus.FAILED)
            and newest[one.name] == one.job_id
        ]
        self._moving = moving
        self._without_video = others[:MAX_PROBLEMS]
        self._more_without_video = len(others[MAX_PROBLEMS:])
        self._videos = videos[:MAX_VIDEOS]
        wanted = [*self._videos, *self._without_video]
        new = stack.jobs.many([one for one in wanted if one not in self._ended])
        known = self._ended | new
        self._ended = {one: known[one] for one in wanted if one in known}

    def _in_progress(self, stack: Stack, at_fal: frozenset[str]) -> tuple[list[str], int]:
        """The jobs in progress that are shown, and how many more there are.

        Of many the oldest are at fal, and would not be among the newest: so they go first.
        """
        found = dict.fromkeys(self._moving)
        if self._is_cut or len(found) > MAX_MOVING:
            held = stack.jobs.many(sorted(at_fal)[:MAX_MOVING])
            found = dict.fromkeys(job.part_of or one for one, job in held.items()) | found
        return list(found)[:MAX_MOVING], len(list(found)[MAX_MOVING:])

    def _read_takes(self, stack: Stack, now: float, missing: Mapping[str, Dropped]) -> None:
        """The takes of the jobs that pages show; a segment's page shows none.

        Of drops that have no record also whether the bucket still has their files.
        """
        names = {name for name in self._names.values() if not is_segment(name)}
        if now >= self._takes_due or names - self._takes.keys():
            self._takes_due = now + LIST_AGAIN
            newest = {name: islice(stack.jobs.ids_of(name), MAX_TAKES) for name in names}
            self._takes = {name: tuple(stack.jobs.whole(ids)) for name, ids in newest.items()}
            s3 = stack.client("s3")
            self._replaced = frozenset(one for one in missing if not is_newest(s3, missing[one]))

    def _of(self, job_ids: list[str]) -> tuple[Job, ...]:
        return tuple(self._ended[one] for one in job_ids if one in self._ended)

    def _standings(self, jobs: list[Job]) -> dict[str, str]:
        return self._line.standings(jobs) if self._line else {}

    def _health(self, stack: Stack, now: float) -> tuple[Check, ...]:
        if now < self._health_due:
            return self.last.health
        self._health_due = now + HEALTH_AGAIN
        return tuple(examined(name, look, stack) for name, look in HEALTH.items())


def _money(stack: Stack) -> Money:
    day = stack.jobs.ledger.day(day_of(datetime.now(UTC)))
    budget = stack.parameters.daily_budget_usd
    return Money(budget, day.committed - day.reserved, day.reserved) if day else Money(budget)
