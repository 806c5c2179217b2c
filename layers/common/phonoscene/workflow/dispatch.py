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
class Dispatcher:
    """Knows the backlog and the room there is; the claim itself is the submitter's."""

    store: JobStore
    drops: DropsQueue
    limits: SpendingLimits

    def dispatch(self) -> int:
        """Announce the jobs whose turn it is; how many. Announced twice, a job is claimed once."""
        room = self.store.ledger.room(self.limits)
        jobs = self.store.oldest_ready(room, self.store.clock()) if room else []
        self.drops.dispatch(jobs)
        if jobs:
            logger.info("jobs.dispatched", extra={"count": len(jobs)})
        return len(jobs)

    def waiting_for(self) -> timedelta:
        """For how long the oldest READY job could have been sent, had there been room."""
        now = self.store.clock()
        return max(timedelta(0), now - (self.store.first_turn(now) or now))
