"""Sends READY jobs on their way, oldest first, as many as there is room for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from phonoscene.limits import cost_of, day_of, next_day

if TYPE_CHECKING:
    from datetime import datetime

    from phonoscene.limits import SpendingLimits
    from phonoscene.queues import DropsQueue
    from phonoscene.table.job_store import JobStore

logger = logging.getLogger(__name__)

#: In it jobs have their turn that wait for the next day's budget.
FIRST_SECOND: Final = timedelta(seconds=1)
#: How many of them are read, to see what they cost.
MAX_LOOKED_AT: Final = 20


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

        ``at_least``: so many are read even if there is no room for them, for the oldest's age.
        """
        room, now = self.store.ledger.room(self.limits), self.store.clock()
        read = max(room, at_least)
        tomorrow = next_day(now)
        backlog = self.store.backlog(read, tomorrow + FIRST_SECOND) if read else []
        ready = [job_id for job_id, turn in backlog if turn <= now]
        put_off = [job_id for job_id, turn in backlog if turn >= tomorrow]
        jobs = [*self._affordable(put_off, room, now), *ready][:room]
        self.drops.dispatch(jobs)
        if jobs:
            logger.info("jobs.dispatched", extra={"count": len(jobs)})
        oldest = backlog[0][1] if ready else now
        return Dispatched(len(jobs), max(timedelta(0), now - oldest))

    def _affordable(self, put_off: list[str], most: int, at: datetime) -> list[str]:
        """Of the jobs that wait for tomorrow's budget, those that today's has room for after all.

        They have waited longer than those that are ready. Too dear a job keeps no other waiting.
        """
        found: list[str] = []
        if not (put_off and most):
            return found
        today = self.store.ledger.day(day_of(at))
        left = self.limits.daily_budget_usd - (today.committed if today else 0)
        for job_id in put_off[:MAX_LOOKED_AT]:
            if left <= 0 or len(found) == most:
                break
            job = self.store.get(job_id)
            if job and job.waits_for == "budget" and (cost := cost_of(job, at).usd) <= left:
                found.append(job_id)
                left -= cost
        return found
