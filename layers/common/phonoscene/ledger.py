"""The window and the budget: how many jobs may be in flight, and how much money a day may cost.

Items of the jobs table hold both. They change only in the transaction that moves a job, so a sum
and its jobs cannot drift apart: a place and a reservation are taken with the claim, and given back
with whatever ends the attempt. Everything here builds parts of transactions; the job store writes
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from phonoscene.jobs import Reservation
from phonoscene.records import plain, update

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phonoscene.jobs import Actual, Job

Change = dict[str, Any]

#: The key of the item that counts the jobs in flight.
WINDOW = "window"


@dataclass(frozen=True)
class Limits:
    """What the operator allows: jobs at once, and US dollars a day (UTC)."""

    max_in_flight: int
    daily_budget_usd: Decimal


def day_of(at: datetime) -> str:
    """The day whose budget a job claimed at this time takes from: ``2026-11-22``, UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def budget_key(day: str) -> str:
    """The key of the item that sums up a day."""
    return f"budget#{day}"


def next_day(at: datetime) -> datetime:
    """When the next UTC day begins, and with it a new budget."""
    tomorrow = at.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC)


def cost_of(job: Job, at: datetime, actual: Actual | None = None) -> Reservation:
    """What a job may cost, or what came of it, on the day of ``at``."""
    cost = actual or job.estimate
    return Reservation(day=day_of(at), usd=cost.upper_usd if cost else Decimal(0))


def take(limits: Limits, job_id: str, cost: Reservation, at: datetime) -> list[Change]:
    """A place and a reservation, if there is room for both and dispatching is not paused.

    A place is the job's id in a set: taken or given back twice it changes nothing, and whose it is
    can be told. At most as many as fal runs at once are in it, some dozens.
    """
    window = update(
        WINDOW,
        "ADD in_flight :job",
        {":job": {job_id}, ":most": limits.max_in_flight, ":now": plain(at)},
        "(attribute_not_exists(in_flight) OR size(in_flight) < :most) "
        "AND (attribute_not_exists(paused_until) OR paused_until <= :now)",
    )
    budget = update(
        budget_key(cost.day),
        "SET committed_usd = if_not_exists(committed_usd, :zero) + :usd, "
        "reserved_usd = if_not_exists(reserved_usd, :zero) + :usd ADD changes :one",
        {
            ":zero": 0,
            ":one": 1,
            ":usd": cost.usd,
            ":room": limits.daily_budget_usd - cost.usd,
        },
        "attribute_not_exists(committed_usd) OR committed_usd <= :room",
    )
    return [window, budget]


def lacking(position: int, found: Mapping[str, Any], at: datetime) -> str:
    """What a job waits for whose ``take`` failed, by the position of the item that refused."""
    is_paused = str(found.get("paused_until", "")) > plain(at)
    return ("account" if is_paused else "window", "budget")[position]


def give_back(job_id: str, held: Reservation, *, spent: bool) -> list[Change]:
    """The place, and the reservation: what was spent stays committed for its day.

    Without conditions: whatever a sum says, no job may be kept from ending by it.
    """
    window = update(WINDOW, "DELETE in_flight :job", {":job": {job_id}})
    budget = update(
        budget_key(held.day),
        "SET reserved_usd = if_not_exists(reserved_usd, :usd) - :usd, "
        "committed_usd = if_not_exists(committed_usd, :back) - :back ADD changes :one",
        {":usd": held.usd, ":back": 0 if spent else held.usd, ":one": 1},
    )
    return [window, budget]


def settle(
    job: Job, actual: Actual | None, at: datetime
) -> tuple[Reservation | None, list[Change]]:
    """What a job holds once its video exists, and what its day must learn of that.

    What came takes the place of what was set aside. A job that holds nothing any more was paid for
    all the same, unless that was booked when it ended.
    """
    held, cost = job.reservation, cost_of(job, at, actual)
    if held is None:
        return None, [] if job.is_maybe_billed else [spend(cost)]
    if actual is None or cost.usd == held.usd:
        return held, []
    correction = update(
        budget_key(held.day),
        "SET committed_usd = if_not_exists(committed_usd, :zero) + :more, "
        "reserved_usd = if_not_exists(reserved_usd, :zero) + :more ADD changes :one",
        {":zero": 0, ":one": 1, ":more": cost.usd - held.usd},
    )
    return Reservation(day=held.day, usd=cost.usd), [correction]


def spend(cost: Reservation) -> Change:
    """What was paid without having been set aside; the day may be overdrawn by it, and knows it."""
    return update(
        budget_key(cost.day),
        "SET committed_usd = if_not_exists(committed_usd, :zero) + :usd, "
        "reserved_usd = if_not_exists(reserved_usd, :zero) ADD changes :one",
        {":zero": 0, ":one": 1, ":usd": cost.usd},
    )
