"""The jobs table: the only module that reads or writes it.

Every write is conditional, and the condition is generated from ``jobs.MAY_FOLLOW``. A write that
the table refuses raises ``WriteRefused`` with the record found, so nobody has to read it again.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from phonoscene import ledger
from phonoscene.errors import NoRoom, WriteRefused
from phonoscene.jobs import Job, JobStatus
from phonoscene.moves import Move, change_of
from phonoscene.records import (
    SHARDS,
    from_item,
    index_attributes,
    plain,
    to_item,
    to_job,
    to_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

    from phonoscene.ledger import Change, Limits

#: How often a transaction is tried that meets another on the same items: 20 ms doubled, 5 s in all.
MOST_CONFLICTS: Final = 8


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class JobStore:
    """One table of jobs; the key is ``job_id``. ``on_change`` hears of every record written."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        on_change: Callable[[Job], None] = lambda _: None,
        clock: Callable[[], datetime] = now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._sleep = sleep
        self._on_change = on_change
        self.clock = clock

    def get(self, job_id: str) -> Job | None:
        """The job as it stands now, or None."""
        answer = self._client.get_item(
            TableName=self._table, Key=to_item({"job_id": job_id}), ConsistentRead=True
        )
        return to_job(answer.get("Item"))

    def wait(self, half: Job, due_at: datetime) -> None:
        """Record that half of a drop is here; the same version announced again changes nothing.

        Raises:
            WriteRefused: it is recorded already.
        """
        kind = "audio" if half.audio else "sidecar"
        item = to_record(half) | index_attributes(half, due_at)
        version = item[kind]["version_id"]
        with self._refusals():
            self._client.put_item(
                TableName=self._table,
                Item=to_item(item),
                ConditionExpression=f"attribute_not_exists(job_id) OR {kind}.version_id <> :new",
                ExpressionAttributeValues=to_item({":new": version}),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        self._on_change(half)

    def stop_waiting(self, half_id: str) -> None:
        """Forget a half that waits; it is part of a job now, or gone."""
        self._client.delete_item(TableName=self._table, Key=to_item({"job_id": half_id}))

    def admit(self, job: Job, replacing: Iterable[str]) -> Job:
        """Write a new job, READY or REJECTED, and forget its waiting halves, in one transaction.

        Raises:
            WriteRefused: the job exists; ``found`` is it.
        """
        put = {
            "TableName": self._table,
            "Item": to_item(to_record(job) | index_attributes(job, None)),
            "ConditionExpression": "attribute_not_exists(job_id)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        deletes = [
            {"Delete": {"TableName": self._table, "Key": to_item({"job_id": half})}}
            for half in replacing
        ]
        self._transact([{"Put": put}, *deletes])
        self._on_change(job)
        return job

    def move(
        self,
        job: Job,
        status: JobStatus,
        *,
        at: datetime | None = None,
        only_from: frozenset[JobStatus] = frozenset(JobStatus),
        **changes: Any,
    ) -> Job:
        """Move a job to ``status`` and change some of its fields; None removes one.

        ``at`` is when somebody should look at it next; without it ``LOOK_AGAIN_AFTER`` decides.
        ``only_from`` narrows what ``MAY_FOLLOW`` allows. The attempt must be the one that was read:
        what is learnt of an earlier attempt cannot move a later one.

        Raises:
            WriteRefused: the record's status or attempt does not allow it; ``found`` is it.
        """
        return self._move(Move(job, status, self.clock(), at, only_from, changes), [])

    def claim(self, job: Job, limits: Limits, token_hash: str) -> Job:
        """Move a READY job to SUBMITTING, with a place in flight and its cost set aside.

        Raises:
            NoRoom: there is none now.
            WriteRefused: the job is not READY any more.
        """
        at = self.clock()
        usd = job.estimate.upper_usd if job.estimate else Decimal(0)
        reservation = limits.reservation(usd, at)
        if usd > limits.daily_budget_usd:
            raise NoRoom("budget")
        changes = {
            "attempt": job.attempt + 1,
            "token_hashes": (*job.token_hashes, token_hash),
            "reservation": reservation,
        }
        move = Move(job, JobStatus.SUBMITTING, at, None, frozenset(JobStatus), changes)
        return self._move(move, ledger.take(limits, reservation, plain(at)))

    def end(
        self,
        job: Job,
        status: JobStatus,
        *,
        at: datetime | None = None,
        only_from: frozenset[JobStatus] = frozenset(JobStatus),
        **changes: Any,
    ) -> Job:
        """End an attempt: ``move``, and give back what the job holds, in one transaction."""
        held, clock = job.reservation, self.clock()
        changes = changes | ({"reservation": None} if held else {})
        spent = status is JobStatus.SUCCEEDED or job.status is JobStatus.GENERATED
        returned = ledger.give_back(held, plain(clock), spent=spent) if held else []
        return self._move(Move(job, status, clock, at, only_from, changes, ends=True), returned)

    def _move(self, move: Move, with_it: list[Change]) -> Job:
        """Write a move, and what must change with it or not at all."""
        if not move.allowed:
            raise WriteRefused(self.get(move.job.job_id))
        update = {"TableName": self._table, **move.expressions()}
        if with_it:
            changes = [{"Update": {"TableName": self._table, **change_of(one)}} for one in with_it]
            self._transact([{"Update": update}, *changes])
            moved = move.after
        else:
            with self._refusals():
                answer = self._client.update_item(**update, ReturnValues="ALL_NEW")
            moved = Job.model_validate(from_item(answer["Attributes"]))
        self._on_change(moved)
        return moved

    def _transact(self, items: list[Any]) -> None:
        """One transaction: the job's item first, then the window's and the budget's.

        A conflict with another transaction on the same sums is nobody's fault and is tried again.

        Raises:
            WriteRefused, NoRoom: whose condition failed.
        """
        for attempt in range(MOST_CONFLICTS):
            try:
                self._client.transact_write_items(TransactItems=items)
            except self._client.exceptions.TransactionCanceledException as exc:
                reasons: list[Any] = list(exc.response["CancellationReasons"])
                _raise_refusal(reasons, plain(self.clock()), exc)
                is_conflict = any(reason["Code"] == "TransactionConflict" for reason in reasons)
                if not is_conflict or attempt == MOST_CONFLICTS - 1:
                    raise
                self._sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter
            else:
                return

    def put_off(self, job: Job, waits_for: str, at: datetime) -> Job:
        """Note on a READY job why it waits, and until when; no step of its history."""
        after = job.model_copy(update={"waits_for": waits_for})
        shard = index_attributes(after, at)
        with self._refusals():
            self._client.update_item(
                TableName=self._table,
                Key=to_item({"job_id": job.job_id}),
                UpdateExpression="SET waits_for = :why, dispatch_at = :at",
                ConditionExpression="#status = :ready AND attempt = :seen",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {
                        ":why": waits_for,
                        ":at": shard["dispatch_at"],
                        ":ready": str(JobStatus.READY),
                        ":seen": job.attempt,
                    }
                ),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        return after

    def look_again(self, job: Job, at: datetime) -> None:
        """Look at a job in motion again at ``at``, and not before."""
        with self._refusals():
            self._client.update_item(
                TableName=self._table,
                Key=to_item({"job_id": job.job_id}),
                UpdateExpression="SET due_at = :at",
                ConditionExpression="#status = :seen_status AND attempt = :seen",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {":at": plain(at), ":seen_status": str(job.status), ":seen": job.attempt}
                ),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )

    def pause(self, until: datetime) -> None:
        """Let nobody claim before ``until``: fal refuses the account."""
        self._client.update_item(
            TableName=self._table,
            Key=to_item({"job_id": ledger.WINDOW}),
            UpdateExpression="SET paused_until = :until",
            ExpressionAttributeValues=to_item({":until": plain(until)}),
        )

    def room(self, limits: Limits) -> int:
        """How many jobs could be claimed now, the budget aside."""
        window = self._sums(ledger.WINDOW)
        if str(window.get("paused_until", "")) > plain(self.clock()):
            return 0
        return max(0, limits.max_in_flight - int(window.get("in_flight", 0)))

    def _sums(self, key: str) -> dict[str, Any]:
        answer = self._client.get_item(
            TableName=self._table, Key=to_item({"job_id": key}), ConsistentRead=True
        )
        return from_item(answer.get("Item", {}))

    def recount(self, settled_for: timedelta) -> int:
        """Set the window's count to the jobs that hold a place, where they differ; by how many.

        Sums and jobs change together, so a difference can only come from outside. The index lags
        behind the table, so nothing is touched that changed within ``settled_for``.
        """
        window = self._sums(ledger.WINDOW)
        changed_at = window.get("changed_at")
        if changed_at is None or changed_at > plain(self.clock() - settled_for):
            return 0
        held = sum(self._held(shard) for shard in range(SHARDS))
        leaked = int(window["in_flight"]) - held
        if leaked:
            with suppress(self._client.exceptions.ConditionalCheckFailedException):
                self._client.update_item(
                    TableName=self._table,
                    Key=to_item({"job_id": ledger.WINDOW}),
                    UpdateExpression="SET in_flight = :held",
                    ConditionExpression="changed_at = :seen",
                    ExpressionAttributeValues=to_item({":held": held, ":seen": changed_at}),
                )
        return leaked

    def _held(self, shard: int) -> int:
        """How many jobs of a shard hold a place: all in motion, but late ones that gave it back."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="due",
            KeyConditionExpression="due_shard = :shard",
            FilterExpression="attribute_exists(reservation)",
            ExpressionAttributeValues=to_item({":shard": shard}),
            Select="COUNT",
        )
        return sum(page["Count"] for page in pages)

    def due(self, before: datetime) -> Iterator[str]:
        """The ids of the jobs that should be looked at, each shard's oldest first.

        A pass that runs out of time must not always leave the same shards: it begins anywhere.
        """
        first = random.randrange(SHARDS)  # noqa: S311 - no secret
        for shard in (*range(first, SHARDS), *range(first)):
            yield from self._ids("due", "due_shard", "due_at", shard, before)

    def oldest_ready(self, most: int, before: datetime) -> list[str]:
        """The ids of at most ``most`` READY jobs whose turn has come, oldest first."""
        found: list[tuple[str, str]] = []
        for shard in range(SHARDS):
            page = self._page("backlog", "backlog_shard", "dispatch_at", shard, before, most)
            found += [(item["dispatch_at"], item["job_id"]) for item in page]
        return [job_id for _, job_id in sorted(found)[:most]]

    def _ids(
        self, index: str, partition: str, sort: str, shard: int, before: datetime
    ) -> Iterator[str]:
        pages = self._client.get_paginator("query").paginate(
            **self._query(index, partition, sort, shard, before)
        )
        for page in pages:
            yield from (from_item(item)["job_id"] for item in page["Items"])

    def _page(
        self, index: str, partition: str, sort: str, shard: int, before: datetime, most: int
    ) -> list[dict[str, Any]]:
        query = self._query(index, partition, sort, shard, before)
        return [from_item(item) for item in self._client.query(**query, Limit=most)["Items"]]

    def _query(
        self, index: str, partition: str, sort: str, shard: int, before: datetime
    ) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "IndexName": index,
            "KeyConditionExpression": f"{partition} = :shard AND {sort} <= :before",
            "ExpressionAttributeValues": to_item({":shard": shard, ":before": plain(before)}),
        }

    def note_duplicate(self, job: Job, request_id: str) -> None:
        """Record that another request answered for a job too: money spent twice, worth knowing."""
        with self._refusals():
            self._client.update_item(
                TableName=self._table,
                Key=to_item({"job_id": job.job_id}),
                UpdateExpression="ADD duplicate_requests :request",
                ConditionExpression="attribute_exists(job_id)",
                ExpressionAttributeValues=to_item({":request": {request_id}}),
            )

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """A failed condition as ``WriteRefused`` with the record that failed it."""
        try:
            yield
        except self._client.exceptions.ConditionalCheckFailedException as exc:
            raise WriteRefused(to_job(exc.response.get("Item"))) from exc


def _raise_refusal(reasons: list[Any], at: str, exc: Exception) -> None:
    """The first failed condition: the job's own, the window's, the budget's."""
    failed = [reason["Code"] == "ConditionalCheckFailed" for reason in reasons]
    if failed[0]:
        raise WriteRefused(to_job(reasons[0].get("Item"))) from exc
    if any(failed):
        position = failed.index(True)
        window = from_item(reasons[position].get("Item", {}))
        is_paused = str(window.get("paused_until", "")) > at
        raise NoRoom(("", "account" if is_paused else "window", "budget")[position]) from exc
