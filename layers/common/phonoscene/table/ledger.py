"""The window and the budget: how many jobs may be in flight, and how much money a day may cost.

Items of the jobs table hold both. They change only in the transaction that moves a job, so a sum
and its jobs cannot drift apart: a place and a reservation are taken with the claim, and given back
with whatever ends the attempt. The functions here build those parts of the job store's
transactions; ``LedgerStore`` reads the sums, and is all that writes them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from phonoscene.errors import ConditionFailed, MustWait
from phonoscene.jobs import Reservation
from phonoscene.limits import cost_of
from phonoscene.table.items import to_dynamodb, to_item, update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from phonoscene.jobs import Actual, Job
    from phonoscene.limits import SpendingLimits
    from phonoscene.table.dynamodb import Table

Change = dict[str, Any]

#: The key of the item that counts the jobs in flight.
WINDOW = "window"
#: How many jobs whose videos cannot be copied leave their slots to others. More of them are no
#: fault of a video: if fal's CDN is down, nothing should be paid that cannot be fetched.
MAX_UNCOPIED = 10


def budget_key(day: str) -> str:
    """The key of the item that sums up a day."""
    return f"budget#{day}"


def take(limits: SpendingLimits, job_id: str, cost: Reservation, at: datetime) -> list[Change]:
    """A place and a reservation, if there is room for both and dispatching is not paused.

    A place is the job's id in a set: taken or given back twice it changes nothing, and its job is
    known. At most as many as fal runs at once are in it, some dozens. After a video was lost, one
    job at a time has a place, until a video is copied.
    """
    window = update(
        WINDOW,
        "ADD in_flight :job",
        {":job": {job_id}, ":most": limits.max_in_flight, ":now": to_dynamodb(at)},
        "(attribute_not_exists(in_flight) "
        "OR (size(in_flight) < :most AND attribute_not_exists(video_lost_at))) "
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


def lacking(position: int, found: Mapping[str, Any], at: datetime) -> MustWait:
    """Why a job has to wait whose ``take`` was refused, by the position of that write."""
    return MustWait("budget") if position else Window.of(found).lacking(at)


def give_back(
    job_id: str, held: Reservation | None, at: datetime, *, spent: bool, copied: bool | None
) -> list[Change]:
    """The place, and the reservation: what was spent stays committed for its day.

    ``held`` is None if the job has neither: its video came after it had ended. ``copied``: whether
    its video was; False if it is lost, None if there was none to be copied. Without conditions:
    whatever a sum says, no job may be kept from ending by it.
    """
    if held is None and copied is None:
        return []
    values: dict[str, Any] = {":job": {job_id}}
    seen = ""
    if copied:
        seen = " REMOVE video_lost_at"
    elif copied is False:
        seen = " SET video_lost_at = :now"
        values[":now"] = to_dynamodb(at)
    window = update(WINDOW, f"DELETE in_flight :job, uncopied :job{seen}", values)
    if held is None:
        return [window]
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


@dataclass(frozen=True)
class Window:
    """The ids of the jobs that hold a place, and until when dispatching is paused.

    ``uncopied`` have a reservation and no place: their videos are made, and cannot be copied yet.
    ``video_lost_at``: when a video was lost, if none was copied after it.
    """

    in_flight: frozenset[str]
    paused_until: datetime | None
    uncopied: frozenset[str] = frozenset()
    video_lost_at: datetime | None = None

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Window:
        """The window that an item of the table holds."""
        times = (item.get(name) for name in ("paused_until", "video_lost_at"))
        until, lost_at = (datetime.fromisoformat(at) if at else None for at in times)
        in_flight, uncopied = (frozenset(item.get(name, ())) for name in ("in_flight", "uncopied"))
        return cls(in_flight, until, uncopied, lost_at)

    @property
    def holders(self) -> frozenset[str]:
        """The jobs with a reservation."""
        return self.in_flight | self.uncopied

    def is_paused(self, at: datetime) -> bool:
        """Whether no job gets a slot at this time, because fal refuses the account."""
        return self.paused_until is not None and self.paused_until > at

    def slots(self, most: int) -> int:
        """How many jobs may be in flight, where the operator allows ``most``."""
        return 1 if self.video_lost_at else most

    def room(self, most: int, at: datetime) -> int:
        """How many jobs could get a slot at this time."""
        return 0 if self.is_paused(at) else max(0, self.slots(most) - len(self.in_flight))

    def lacking(self, at: datetime) -> MustWait:
        """What a job waits for that finds no place here."""
        if self.is_paused(at):
            return MustWait("account", self.paused_until)
        return MustWait("cdn" if self.video_lost_at else "slot")


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
        """Which jobs hold a slot, and until when dispatching is paused."""
        return Window.of(self._table.get(WINDOW))

    def room(self, limits: SpendingLimits) -> int:
        """How many jobs could be claimed now, the budget aside."""
        return self.window().room(limits.max_in_flight, self._clock())

    def look(self, cost: Reservation, limits: SpendingLimits) -> None:
        """See whether a claim would find room now. Nothing is taken: only the claim does.

        Raises:
            MustWait: as the claim would.
        """
        window, now = self.window(), self._clock()
        if not window.room(limits.max_in_flight, now):
            raise window.lacking(now)
        committed = self._table.get(budget_key(cost.day)).get("committed_usd", 0)
        if committed + cost.usd > limits.daily_budget_usd:
            raise MustWait("budget")

    def pause(self, until: datetime) -> None:
        """Let no job be claimed before ``until``: fal refuses the account."""
        self._table.update(
            update(WINDOW, "SET paused_until = :until", {":until": to_dynamodb(until)})
        )

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

    def free_uncopied(self, job_id: str) -> bool:
        """Give a job's place to others while its video cannot be copied; whether that was done.

        Not if the job has none any more, because it has ended or has left it before, if too many
        have left theirs, or after a video was lost. Its reservation stays.
        """
        window = update(
            WINDOW,
            "DELETE in_flight :job ADD uncopied :job",
            {":job": {job_id}, ":id": job_id, ":most": MAX_UNCOPIED},
            "contains(in_flight, :id) AND attribute_not_exists(video_lost_at) "
            "AND (attribute_not_exists(uncopied) OR size(uncopied) < :most)",
        )
        return self._updated(window)

    def correct_place(self, job_id: str, *, is_held: bool) -> bool:
        """Put a job into the set of those in flight, or take it out; whether that was needed.

        Only if the job's record agrees at that moment.
        """
        has_it = "contains(in_flight, :id) OR contains(uncopied, :id)"
        change, others, record = (
            ("ADD in_flight :job", f"NOT ({has_it})", "attribute_exists(reservation)")
            if is_held
            else (
                "DELETE in_flight :job, uncopied :job",
                has_it,
                "attribute_not_exists(reservation)",
            )
        )
        check = {"Key": to_item({"job_id": job_id}), "ConditionExpression": record}
        window = update(WINDOW, change, {":job": {job_id}, ":id": job_id}, others)
        try:
            self._table.transact([("ConditionCheck", check), ("Update", window)])
        except ConditionFailed:  # it was claimed, or ended, meanwhile
            return False
        return True

    def correct_day(self, seen: Day, reserved: Decimal) -> bool:
        """Set what a day has reserved, unless it has changed since it was ``seen``; whether so.

        What was reserved for no job is no longer committed. If more was reserved than committed,
        that was no reservation, and what is committed stays.
        """
        leaked = seen.reserved - reserved if seen.reserved <= seen.committed else 0
        correction = update(
            budget_key(seen.day),
            "SET reserved_usd = :held, committed_usd = :committed ADD changes :one",
            {
                ":held": reserved,
                ":committed": max(seen.committed - leaked, reserved),
                ":one": 1,
                ":seen": seen.changes,
            },
            "changes = :seen",
        )
        return self._updated(correction)

    def _updated(self, request: Change) -> bool:
        """Make an update; whether its condition allowed it."""
        try:
            self._table.update(request)
        except ConditionFailed:
            return False
        return True
