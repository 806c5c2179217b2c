"""Compares the window and the budget with the jobs, and puts right what differs.

Both change in the transaction that moves a job, so they can only differ by what somebody did to the
table by hand. Every correction holds only if nothing has moved since it was found necessary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from phonoscene.limits import day_of

if TYPE_CHECKING:
    from phonoscene.jobs import Job, Reservation
    from phonoscene.table.job_store import JobStore
    from phonoscene.table.ledger import Day

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LedgerStatus:
    """How window and budget stand: for how long no job in flight has moved; US dollars today."""

    in_flight: int
    oldest: timedelta
    committed_usd: Decimal
    is_paused: bool


class LedgerAudit:
    """Compares slots and reservations with the jobs, and corrects what differs."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._holders = store.ledger.window().holders
        #: The jobs whose place was wrong, and the days whose sum was.
        self.corrected: list[str] = []

    def ensure_place(self, job: Job) -> None:
        """Give a job the place that it should have, and has not."""
        if job.reservation and job.job_id not in self._holders:
            self._correct(job.job_id, is_held=True)

    def recount(self) -> LedgerStatus:
        """Free the slots of jobs that hold none, and correct the days' sums; returns the result."""
        now, ledger = self._store.clock(), self._store.ledger
        # days, then places, then jobs: what moves meanwhile changes a day that was read before
        days = [ledger.day(day_of(at)) for at in (now, now - timedelta(days=1))]
        window = ledger.window()
        held = {job_id: ledger.held_by(job_id) for job_id in sorted(window.holders)}
        for job_id, holding in held.items():
            if holding is None:
                self._correct(job_id, is_held=False)
        holdings = [holding for holding in held.values() if holding]
        for day in days:
            if day:
                self._recount(day, [holding.reservation for holding in holdings])
        moves = [one.since for job_id, one in held.items() if one and job_id in window.in_flight]
        committed = days[0].committed if days[0] else Decimal(0)
        return LedgerStatus(
            len(moves), now - min(moves, default=now), committed, window.is_paused(now)
        )

    def _recount(self, day: Day, held: list[Reservation]) -> None:
        reserved = sum((one.usd for one in held if one.day == day.day), Decimal(0))
        if reserved != day.reserved and self._store.ledger.correct_day(day, reserved):
            logger.error("budget.corrected", extra={"by_usd": str(reserved - day.reserved)})
            self.corrected.append(day.day)

    def _correct(self, job_id: str, *, is_held: bool) -> None:
        if self._store.ledger.correct_place(job_id, is_held=is_held):
            logger.error("window.corrected", extra={"job_id": job_id, "is_held": is_held})
            self.corrected.append(job_id)
