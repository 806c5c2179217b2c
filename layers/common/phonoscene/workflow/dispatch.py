"""Sends READY jobs on their way, oldest first, as many as there is room for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from phonoscene.limits import cost_of, day_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from phonoscene.jobs import Job
    from phonoscene.limits import SpendingLimits
    from phonoscene.queues import DropsQueue
    from phonoscene.table.job_store import JobStore

logger = logging.getLogger(__name__)

#: How many jobs that wait for tomorrow's budget are read, to see what they cost.
MAX_LOOKED_AT: Final = 50
#: How many jobs that this release cannot read may be older than those that it dispatches.
MAX_UNREADABLE: Final = 200


@dataclass(frozen=True)
class Dispatched:
    """How many jobs were announced, and for how long the oldest READY job could have been sent."""

    jobs: int
    oldest_ready: timedelta


@dataclass(frozen=True)
class Dispatcher:
    """Knows the backlog and the room there is; the claim itself is the submitter's."""

    store: JobStore
    drops: DropsQueue
    limits: SpendingLimits

    def dispatch(self, at_least: int = 0) -> Dispatched:
        """Queue the READY jobs that there is room for; queued twice, a job is claimed once.

        First those that wait for tomorrow's budget, if today's has room for them after all: they
        have waited longer. ``at_least``: so many of the others are read even if there is no room
        for them, for the oldest's age.
        """
        room, now = self.store.ledger.room(self.limits), self.store.clock()
        jobs = self._affordable(room, now) if room else []
        room -= len(jobs)
        read = max(room, at_least)
        backlog = self.store.oldest_ready(read + MAX_UNREADABLE, now) if read else []
        ready = self._readable(job_id for job_id, _ in backlog)
        jobs += [job.job_id for job in islice(ready, room)]
        self.drops.dispatch(jobs)
        if jobs:
            logger.info("jobs.dispatched", extra={"count": len(jobs)})
        oldest = backlog[0][1] if backlog else now
        return Dispatched(len(jobs), max(timedelta(0), now - oldest))

    def _affordable(self, most: int, at: datetime) -> list[str]:
        """At most ``most`` jobs that were put off until tomorrow, and that today has money for.

        Too dear a job keeps no other waiting.
        """
        found: list[str] = []
        put_off = self.store.put_off_until_tomorrow(MAX_LOOKED_AT + MAX_UNREADABLE)
        today = self.store.ledger.day(day_of(at)) if put_off else None
        left = self.limits.daily_budget_usd - (today.committed if today else 0)
        for job in islice(self._readable(put_off), MAX_LOOKED_AT):
            if left <= 0 or len(found) == most:
                break
            if job.waits_for == "budget" and (cost := cost_of(job, at).usd) <= left:
                found.append(job.job_id)
                left -= cost
        return found

    def _readable(self, job_ids: Iterable[str]) -> Iterator[Job]:
        """Those of these jobs that this release can read. The others must keep none waiting."""
        unread: list[str] = []
        try:
            for job_id in job_ids:
                try:
                    job = self.store.get(job_id)
                except ValueError:  # it stays as it is
                    unread.append(job_id)
                    continue
                if job:
                    yield job
        finally:
            if unread:
                some = {"job_id": unread[0], "count": len(unread)}
                logger.error("dispatch.unreadable", extra=some)
