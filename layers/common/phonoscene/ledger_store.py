"""The window's and the budget's items: the only module that reads them, or writes them alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from phonoscene.errors import ConditionFailed, NoRoom
from phonoscene.jobs import Reservation
from phonoscene.ledger import WINDOW, Limits, budget_key
from phonoscene.records import plain, to_item, update

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from phonoscene.table import Table


@dataclass(frozen=True)
class Window:
    """The ids of the jobs that hold a place, and until when dispatching is paused."""

    in_flight: frozenset[str]
    paused_until: datetime | None

    def is_paused(self, at: datetime) -> bool:
        """Whether nobody gets a place at this time, because fal refuses the account."""
        return self.paused_until is not None and self.paused_until > at


@dataclass(frozen=True)
class Holding:
    """What a job holds, and when it moved last."""

    reservation: Reservation
    since: datetime


@dataclass(frozen=True)
class Day:
    """A day's sums in US dollars; ``reserved`` is part of ``committed``, ``changes`` counts."""

    day: str
    committed: Decimal
    reserved: Decimal
    changes: int


class LedgerStore:
    """The sums as they stand, and their correction."""

    def __init__(self, table: Table, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._clock = clock

    def window(self) -> Window:
        """Who holds a place, and until when nobody gets one."""
        item = self._table.get(WINDOW)
        paused = item.get("paused_until")
        until = datetime.fromisoformat(paused) if paused else None
        return Window(frozenset(item.get("in_flight", ())), until)

    def room(self, limits: Limits) -> int:
        """How many jobs could be claimed now, the budget aside."""
        window = self.window()
        if window.is_paused(self._clock()):
            return 0
        return max(0, limits.max_in_flight - len(window.in_flight))

    def look(self, cost: Reservation, limits: Limits) -> None:
        """See whether a claim would find room now. Nothing is taken: only the claim does.

        Raises:
            NoRoom: as the claim would.
        """
        window = self.window()
        if window.is_paused(self._clock()):
            raise NoRoom("account")
        if len(window.in_flight) >= limits.max_in_flight:
            raise NoRoom("window")
        committed = self._table.get(budget_key(cost.day)).get("committed_usd", 0)
        if committed + cost.usd > limits.daily_budget_usd:
            raise NoRoom("budget")

    def pause(self, until: datetime) -> None:
        """Let nobody claim before ``until``: fal refuses the account."""
        self._table.update(update(WINDOW, "SET paused_until = :until", {":until": plain(until)}))

    def day(self, day: str) -> Day | None:
        """A day's sums, or None where nothing was ever claimed."""
        item = self._table.get(budget_key(day))
        if "changes" not in item:
            return None
        return Day(day, item["committed_usd"], item["reserved_usd"], int(item["changes"]))

    def held_by(self, job_id: str) -> Holding | None:
        """What a job holds; its record may be one that this release cannot read."""
        item = self._table.get(job_id)
        if "reservation" not in item:
            return None
        since = datetime.fromisoformat(item["updated_at"])
        return Holding(Reservation.model_validate(item["reservation"]), since)

    def correct_place(self, job_id: str, *, is_held: bool) -> bool:
        """Put a job into the set of those in flight, or take it out; whether that was needed.

        Only if the job's record agrees at that moment.
        """
        verb, others, record = (
            ("ADD", "NOT contains(in_flight, :id)", "attribute_exists(reservation)")
            if is_held
            else ("DELETE", "contains(in_flight, :id)", "attribute_not_exists(reservation)")
        )
        check = {"Key": to_item({"job_id": job_id}), "ConditionExpression": record}
        values = {":job": {job_id}, ":id": job_id}
        window = update(WINDOW, f"{verb} in_flight :job", values, others)
        try:
            self._table.transact([("ConditionCheck", check), ("Update", window)])
        except ConditionFailed:  # it was claimed, or ended, meanwhile
            return False
        return True

    def correct_day(self, seen: Day, reserved: Decimal) -> bool:
        """Set what a day has reserved, unless it has changed since it was ``seen``; whether so."""
        correction = update(
            budget_key(seen.day),
            "SET reserved_usd = :held, committed_usd = committed_usd - :leaked ADD changes :one",
            {
                ":held": reserved,
                ":leaked": seen.reserved - reserved,
                ":one": 1,
                ":seen": seen.changes,
            },
            "changes = :seen",
        )
        try:
            self._table.update(correction)
        except ConditionFailed:
            return False
        return True
