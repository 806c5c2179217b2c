"""The window and the budget: how many jobs may be in flight, and how much money a day may cost.

Two items of the jobs table hold the sums. They change only in the transaction that moves a job, so
a sum and its jobs cannot drift apart: a place and a reservation are taken with the claim, and given
back with whatever ends the attempt. Everything here builds parts of transactions; the job store
writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from phonoscene.jobs import Reservation

if TYPE_CHECKING:
    from decimal import Decimal

#: The key of the item that counts the jobs in flight.
WINDOW = "window"


@dataclass(frozen=True)
class Limits:
    """What the operator allows: jobs at once, and US dollars a day (UTC)."""

    max_in_flight: int
    daily_budget_usd: Decimal

    def reservation(self, usd: Decimal, at: datetime) -> Reservation:
        """What a job of this cost sets aside, on the day of ``at``."""
        return Reservation(day=f"{at.astimezone(UTC):%Y-%m-%d}", usd=usd)


def budget_key(day: str) -> str:
    """The key of the item that sums up a day."""
    return f"budget#{day}"


def next_day(at: datetime) -> datetime:
    """When the next UTC day begins, and with it a new budget."""
    tomorrow = at.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC)


@dataclass(frozen=True)
class Change:
    """One item's part of a transaction, in Python's types."""

    key: str
    update: str
    condition: str | None
    values: dict[str, Any]


def take(limits: Limits, reservation: Reservation, at: str) -> list[Change]:
    """A place and a reservation, if there is room for both and dispatching is not paused."""
    window = Change(
        WINDOW,
        "SET in_flight = if_not_exists(in_flight, :zero) + :one, changed_at = :now",
        "(attribute_not_exists(in_flight) OR in_flight < :most) "
        "AND (attribute_not_exists(paused_until) OR paused_until <= :now)",
        {":zero": 0, ":one": 1, ":most": limits.max_in_flight, ":now": at},
    )
    budget = Change(
        budget_key(reservation.day),
        "SET committed_usd = if_not_exists(committed_usd, :zero) + :usd, "
        "reserved_usd = if_not_exists(reserved_usd, :zero) + :usd",
        "attribute_not_exists(committed_usd) OR committed_usd <= :room",
        {":zero": 0, ":usd": reservation.usd, ":room": limits.daily_budget_usd - reservation.usd},
    )
    return [window, budget]


def give_back(reservation: Reservation, at: str, *, spent: bool) -> list[Change]:
    """The place, and the reservation: what was spent stays committed for its day.

    Without conditions: whatever a sum says, no job may be kept from ending by it.
    """
    window = Change(
        WINDOW,
        "SET in_flight = if_not_exists(in_flight, :one) - :one, changed_at = :now",
        None,
        {":one": 1, ":now": at},
    )
    budget = Change(
        budget_key(reservation.day),
        "SET reserved_usd = if_not_exists(reserved_usd, :usd) - :usd, "
        "committed_usd = if_not_exists(committed_usd, :back) - :back",
        None,
        {":usd": reservation.usd, ":back": 0 if spent else reservation.usd},
    )
    return [window, budget]
