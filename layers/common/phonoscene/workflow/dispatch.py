"""Sends READY jobs on their way, oldest first, as many as there is room for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonoscene.limits import SpendingLimits
    from phonoscene.queues import DropsQueue
    from phonoscene.table.job_store import JobStore

logger = logging.getLogger(__name__)


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
        backlog = self.store.oldest_ready(read, now) if read else []
        jobs = [job_id for job_id, _ in backlog[:room]]
        self.drops.dispatch(jobs)
        if jobs:
            logger.info("jobs.dispatched", extra={"count": len(jobs)})
        oldest = backlog[0][1] if backlog else now
        return Dispatched(len(jobs), max(timedelta(0), now - oldest))
