"""Reads the jobs table: by id, by name, by day.

The command line reads it nowhere else, never writes there, and never scans it.
"""

from __future__ import annotations

import heapq
import time
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from phonoscene.drops.contents import Holders
from phonoscene.drops.keys import is_segment
from phonoscene.jobs import WITHOUT_VIDEO, Job, JobStatus
from phonoscene.limits import cost_of, day_of
from phonoscene.table.items import BUDGET_SHARD, SHARDS, same_as, to_dynamodb, to_job
from phonoscene.table.ledger import LedgerStore
from phonoscene.version import VERSION
from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from phonoscene.drops.contents import Content
    from phonoscene.limits import SpendingLimits
    from phonoscene.table.dynamodb import Item, Table
    from phonoscene.table.ledger import Window

#: As many records as are read at once.
PAGE: Final = 100
#: Of an index, which holds little of each.
MANY: Final = 500
#: Positions in a queue are counted up to this number.
FAR: Final = 1000
#: How far the clock that dated a job may be ahead of this one: AWS refuses a larger difference.
SKEW: Final = timedelta(minutes=5)
#: Seconds for which the window and the budget are not read again.
FRESH: Final = 2.0


@dataclass(frozen=True)
class Entry:
    """What the index ``by_day`` says of a job."""

    job_id: str
    name: str
    status: str
    created_at: datetime


@dataclass(frozen=True)
class QueuePosition:
    """Where a READY job stands: how many go first (``FAR``: that many or more), and from when."""

    ahead: int
    turn: datetime


class Reader:
    """One jobs table; ``ledger`` has the window and the budget.

    A READY job's record has what its last try found. With ``limits`` it says what it waits for now.
    """

    def __init__(self, table: Table, limits: Callable[[], SpendingLimits] | None = None) -> None:
        self._table = table
        self._limits = limits
        self.ledger = LedgerStore(table, lambda: datetime.now(UTC))
        self._seen: tuple[float, Window, Decimal] | None = None
        #: Records that were left out because this release cannot read them.
        self.unreadable: set[str] = set()

    def get(self, job_id: str) -> Job | None:
        """The job as it stands now, or None.

        Raises:
            CliError: the record is none that this release can read.
        """
        try:
            item = self._table.get(job_id)
            if original := same_as(item):
                item = self._table.get(original)
            job = to_job(item)
            return self._as_of_now(job, item) if job else None
        except ValidationError as exc:
            fields = ", ".join(sorted({str(error["loc"][0]) for error in exc.errors()}))
            raise CliError(
                f"Version {VERSION} cannot read the record {job_id}. Fields that are missing, or "
                f"have values that it does not know: {fields}. Update this command line if a newer "
                "release wrote the record. If somebody edited the table, restore the fields."
            ) from exc

    def many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Those of the jobs that are there and can be read, by id; by a repeat's its original."""
        found = ((one, self._readable(item)) for one, item in self._items(job_ids).items())
        return {one: job for one, job in found if job}

    def job_of(self, content: Content) -> Job | None:
        """The job that a drop of this content would repeat."""
        item = self._table.get(content.id)
        holders = Holders.model_validate(item) if item else Holders(job_id=content.id)
        ids = [holder.job_id for holder in holders.of(content)]
        jobs = self.many(ids)
        found = (jobs[one] for one in ids if one in jobs)
        return next((job for job in found if job.status not in WITHOUT_VIDEO), None)

    def _readable(self, item: Item) -> Job | None:
        """The job of an item, or None where a newer release, or a hand, has written it."""
        try:
            return self._as_of_now(Job.model_validate(item), item)
        except ValidationError:
            self.unreadable.add(item["job_id"])
            return None

    def _as_of_now(self, job: Job, item: Item) -> Job:
        """The job as it stands now: if what it waited for is over, it waits for what lacks now."""
        if job.status is not JobStatus.READY or not self._limits or not job.waits_for:
            return job
        at, limits = datetime.now(UTC), self._limits()
        match job.waits_for:
            case "account" | "fal" | "storage":
                is_over = str(item.get("dispatch_at", "")) <= to_dynamodb(at)
            case "cdn":
                is_over = self._sums(at)[0].video_lost_at is None
            case "budget":
                is_over = self._has_money(job, limits, at)
            case "slot":  # of a backlog, only the next few are tried again
                is_over = job.sequence is None
            case _:
                is_over = False
        if not is_over:
            return job
        return job.model_copy(update={"waits_for": self._lacking(job, limits, at)})

    def _lacking(self, job: Job, limits: SpendingLimits, at: datetime) -> str:
        """What a claim would wait for now; a slot, too, if the job's turn has not come yet."""
        window = self._sums(at)[0]
        if not window.room(limits.max_in_flight, at):
            return window.lacking(at).waits_for
        return "slot" if self._has_money(job, limits, at) else "budget"

    def _has_money(self, job: Job, limits: SpendingLimits, at: datetime) -> bool:
        left = limits.daily_budget_usd - self._sums(at)[1]
        return cost_of(job, at).usd <= left

    def _sums(self, at: datetime) -> tuple[Window, Decimal]:
        """The window, and what is committed today; as of some seconds ago at most."""
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > FRESH:
            today = self.ledger.day(day_of(at))
            self._seen = now, self.ledger.window(), today.committed if today else Decimal(0)
        return self._seen[1:]

    def versions(self, job_ids: Iterable[str]) -> dict[str, Item]:
        """Of each job that is there its status, and which objects it was made of.

        Of a drop that repeats a job (``same_as``) these are the job's.
        """
        return self._items(job_ids, ("job_id", "status", "audio", "sidecar", "same_as"))

    def _items(self, job_ids: Iterable[str], attributes: Sequence[str] = ()) -> dict[str, Item]:
        """Those of the items that are there, by id; in the place of a repeat what it repeats."""
        found: dict[str, Item] = {
            item["job_id"]: item for item in self._table.get_many(list(job_ids), attributes)
        }
        repeats = {one: original for one, item in found.items() if (original := same_as(item))}
        jobs = {
            item["job_id"]: item
            for item in self._table.get_many(list(repeats.values()), attributes)
        }
        repeated = {
            one: jobs[original] | {"same_as": original}
            for one, original in repeats.items()
            if original in jobs
        }
        return {one: item for one, item in found.items() if one not in repeats} | repeated

    def versions_of(self, name: str) -> Iterator[Item]:
        """What ``versions`` has of a name's takes, the newest first."""
        ids = self.ids_of(name)
        while page := list(islice(ids, PAGE)):
            found = self.versions(page)
            yield from (found[job_id] for job_id in page if job_id in found)

    def ids_of(self, name: str) -> Iterator[str]:
        """The ids of a drop's takes, the newest first."""
        names = {"#name": "name"}  # a reserved word
        more = {"ExpressionAttributeNames": names, "ScanIndexForward": False}
        for page in self._table.pages("by_name", "#name = :name", {":name": name}, **more):
            yield from (item["job_id"] for item in page)

    def takes(self, name: str) -> Iterator[Job]:
        """A drop's takes, the newest first; a half that has just become a job is gone."""
        return self.whole(self.ids_of(name))

    def whole(self, job_ids: Iterable[str]) -> Iterator[Job]:
        """The records of these ids, in their order, read by the hundred."""
        ids = iter(job_ids)
        while page := list(islice(ids, PAGE)):
            found = self.many(page)
            yield from (found[job_id] for job_id in page if job_id in found)

    def of_day(self, day: str) -> Iterator[Entry]:
        """The jobs that were created on a day (``2026-11-22``, UTC), the newest first."""
        shards = [self._shard(f"{day}#{shard}") for shard in range(SHARDS)]
        with ThreadPoolExecutor(SHARDS) as pool:  # the first page of each: mostly there is no other
            firsts: list[list[Item]] = list(pool.map(lambda pages: next(pages, []), shards))
        entries = (
            map(_entry, chain(first, chain.from_iterable(rest)))
            for first, rest in zip(firsts, shards, strict=True)
        )
        return heapq.merge(*entries, key=lambda entry: entry.created_at, reverse=True)

    def _shard(self, key: str) -> Iterator[list[Item]]:
        more = {"ScanIndexForward": False, "Limit": MANY}
        return self._table.pages("by_day", "day_shard = :key", {":key": key}, **more)

    def since(
        self, first: datetime, last: datetime | None = None, *, with_segments: bool = False
    ) -> Iterator[Entry]:
        """The jobs that were created between two times, the newest first; None: until now.

        ``with_segments``: those of segments too, which long audio is made of.
        """
        last = last or datetime.now(UTC) + SKEW
        day = last.astimezone(UTC).date()
        while day >= first.astimezone(UTC).date():
            for entry in self.of_day(f"{day}"):
                if entry.created_at < first:
                    return
                if entry.created_at <= last and (with_segments or not is_segment(entry.name)):
                    yield entry
            day -= timedelta(days=1)

    def places(self, job_ids: Iterable[str]) -> dict[str, QueuePosition]:
        """Where jobs stand in our own queue, by id; without those that are READY no more.

        The queue is read once for all of them, and to its ``FAR``-th place only.
        """
        items = self._table.get_many(list(job_ids), ("job_id", "dispatch_at"))
        turns = {one["job_id"]: one["dispatch_at"] for one in items if "dispatch_at" in one}
        if not turns:
            return {}
        last = max(turns.values())
        queues = (self._before(shard, last) for shard in (BUDGET_SHARD, *range(SHARDS)))
        queue = list(islice(heapq.merge(*queues), FAR))
        return {
            one: QueuePosition(bisect_left(queue, turn), datetime.fromisoformat(turn))
            for one, turn in turns.items()
        }

    def _before(self, shard: int, dispatch_at: str) -> Iterator[str]:
        """The turns of a shard's jobs, in their order, up to one."""
        condition = "backlog_shard = :shard AND dispatch_at < :last"
        values = {":shard": shard, ":last": dispatch_at}
        for page in self._table.pages("backlog", condition, values, Limit=PAGE):
            yield from (item["dispatch_at"] for item in page)


def _entry(item: Item) -> Entry:
    return Entry(
        item["job_id"],
        str(item.get("name", "")),
        str(item.get("status", "")),
        datetime.fromisoformat(item["created_at"]),
    )
