"""What the operator allows, the days that count, and what a job costs one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from phonoscene.jobs import Reservation

if TYPE_CHECKING:
    from phonoscene.jobs import Actual, Job


@dataclass(frozen=True)
class SpendingLimits:
    """What the operator allows: jobs at once, and US dollars a day (UTC)."""

    max_in_flight: int
    daily_budget_usd: Decimal


def day_of(at: datetime) -> str:
    """The day whose budget a job claimed at this time takes from: ``2026-11-22``, UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def next_day(at: datetime) -> datetime:
    """When the next UTC day begins, and with it a new budget."""
    tomorrow = at.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC)


def turn_tomorrow(since: datetime, at: datetime) -> datetime:
    """When a job that finds no money has its turn: in the first two minutes of the next day.

    There jobs stand in the order in which they became READY (``since``), whatever they waited for
    and however often: those of today in the second minute, earlier ones before.
    """
    return _in_order(next_day(at), since, within=timedelta(minutes=2), half=timedelta(days=1))


def turn_after(pause_end: datetime, since: datetime) -> datetime:
    """When a job that met a pause has its turn: within ten seconds of the end, in the same order.

    Those of the last minute before it come in the second half of these seconds.
    """
    return _in_order(pause_end, since, within=timedelta(seconds=10), half=timedelta(minutes=1))


def _in_order(start: datetime, since: datetime, *, within: timedelta, half: timedelta) -> datetime:
    """A turn ``within`` so long after ``start``, later for a later ``since``.

    What came less than ``half`` before the start is in the second half of that time.
    """
    return start + within / (1 + (start - since) / half)


def cost_of(job: Job, at: datetime, actual: Actual | None = None) -> Reservation:
    """What a job may cost, or what came of it, on the day of ``at``."""
    cost = actual or job.estimate
    return Reservation(day=day_of(at), usd=cost.upper_usd if cost else Decimal(0))
