"""The jobs table's records: the only module that reads or writes them.

Every write is conditional, and the condition is generated from ``jobs.TRANSITIONS``. A write that
the table refuses raises ``WriteRefused`` with the record found, so it need not be read again.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from phonoscene.drops.contents import Holders
from phonoscene.errors import ConditionFailed, ContentContested, MustWait, WriteRefused
from phonoscene.jobs import (
    FINAL,
    MAYBE_BILLED,
    NOT_COPIED,
    WITHOUT_VIDEO,
    Job,
    JobStatus,
    Unusable,
)
from phonoscene.limits import cost_of, next_day
from phonoscene.table import ledger
from phonoscene.table.dynamodb import Table
from phonoscene.table.items import (
    BUDGET_SHARD,
    SHARDS,
    image_shard,
    index_attributes,
    own_shard,
    same_as,
    to_dynamodb,
    to_item,
    to_job,
    to_record,
    to_repeat,
    update,
)
from phonoscene.table.ledger import LedgerStore
from phonoscene.table.transition import FOR_BUDGET, Transition, dropped_again, for_budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mypy_boto3_dynamodb import DynamoDBClient

    from phonoscene.jobs import Actual, ErrorDetail, JobCost
    from phonoscene.jobs import Sequence as JobSequence
    from phonoscene.limits import SpendingLimits
    from phonoscene.table.ledger import Change

ANY = frozenset(JobStatus)
#: Until a job that waits for an image is looked at, should the image's event be lost.
LOOK_FOR_IMAGE = timedelta(minutes=6)
#: How many sequences may wait for a segment that another one pays for: its record has a limit, and
#: each of its steps wakes all of them. Those beyond look for its video by themselves.
MAX_USERS = 100


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class JobStore:
    """One table of jobs. ``on_change`` gets every record written; ``ledger`` has the sums."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        on_change: Callable[[Job], None] = lambda _: None,
        clock: Callable[[], datetime] = now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = Table(client, table, sleep)
        self._on_change = on_change
        self.clock = clock
        self.ledger = LedgerStore(self._table, clock)

    def get(self, job_id: str) -> Job | None:
        """The job as it stands now, or None; by a repeat's id the job that it repeats."""
        return self._job(self._table.get(job_id))

    def _job(self, item: dict[str, Any]) -> Job | None:
        original = same_as(item)
        return self.get(original) if original else to_job(item)

    def wait(self, half: Job, due_at: datetime) -> None:
        """Record that half of a drop is here; the same version announced again changes nothing.

        Raises:
            WriteRefused: it is recorded already.
        """
        kind = "audio" if half.audio else "sidecar"
        item = to_record(half) | index_attributes(half, due_at)
        condition = f"attribute_not_exists(job_id) OR {kind}.version_id <> :new"
        with self._refusals():
            self._table.put(item, condition, {":new": item[kind]["version_id"]})
        self._on_change(half)

    def stop_waiting(self, half_id: str) -> None:
        """Forget a half that waits; it is part of a job now, or gone."""
        self._table.delete(half_id)

    def admit(
        self,
        job: Job,
        replacing: Iterable[str],
        holders: Holders | None = None,
        waited: Job | None = None,
    ) -> Job:
        """Write a job's first record, and forget its waiting halves, in one transaction.

        ``holders``: the jobs of its content, with this one. ``waited``: the record that waits for
        an image under the job's id, which this one continues.

        Raises:
            WriteRefused: the job exists, or is not as ``waited``, or repeats another; ``found`` is
                it.
            ContentContested: another job of that content was admitted meanwhile.
        """
        until = job.waits_until
        next_look = min(self.clock() + LOOK_FOR_IMAGE, until) if until else None
        put = to_record(job) | index_attributes(job, next_look)
        self._write_drop(put, [_held(holders)] if holders else [], replacing, waited)
        self._on_change(job)
        return job

    def admit_segment(self, job: Job, sequence: Job) -> Job:
        """Write the first record of a segment's job, as long as its sequence wants it.

        Raises:
            WriteRefused: the job exists, or the sequence is not SUBMITTED; ``found`` is the job,
                or the sequence.
        """
        put = {
            "Item": to_item(to_record(job) | index_attributes(job, None)),
            "ConditionExpression": "attribute_not_exists(job_id)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        check = {
            "Key": to_item({"job_id": sequence.job_id}),
            "ConditionExpression": "#status = :submitted",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": to_item({":submitted": str(JobStatus.SUBMITTED)}),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            self._table.transact([("Put", put), ("ConditionCheck", check)])
        except ConditionFailed as exc:
            raise WriteRefused(self._job(exc.found)) from exc
        self._on_change(job)
        return job

    def share_segment(self, segment: Job, sequence: Job) -> None:
        """Note on the record of a segment's job that one more sequence uses it.

        Raises:
            WriteRefused: it has ended, or ``MAX_USERS`` use it; ``found`` is it.
        """
        still_open = {f":open{n}": one for n, one in enumerate(sorted(set(JobStatus) - FINAL))}
        request = update(
            segment.job_id,
            "ADD wanted_by :sequence, revision :one",
            {":sequence": {sequence.job_id}, ":one": 1, ":most": MAX_USERS, **still_open},
            f"#status IN ({', '.join(still_open)}) "
            "AND (attribute_not_exists(wanted_by) OR size(wanted_by) < :most)",
        )
        with self._refusals():
            self._table.update(request | {"ExpressionAttributeNames": {"#status": "status"}})

    def is_wanted(self, segment: Job, but_by: str | None = None) -> bool:
        """Whether a sequence that has not ended, other than ``but_by``, uses a segment's job."""
        users = sorted(segment.users - {but_by})
        return any(not one.is_final for one in self.many(users).values())

    def many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of the jobs that are there, by id."""
        found = map(to_job, self._table.get_many(job_ids))
        return {job.job_id: job for job in found if job}

    def repeat(
        self,
        drop: Job,
        job: Job,
        holders: Holders,
        replacing: Iterable[str],
        waited: Job | None = None,
    ) -> Job:
        """Note that ``drop`` has the content of a job, under the id that its own would have had.

        Raises:
            WriteRefused: the drop's own job exists, or the repeat is noted; ``found`` is the job.
            ContentContested: the job ended without a video meanwhile, or was repeated by another.
        """
        counts = {"repeats": 1} | ({"unused_metadata": 1} if drop.metadata != job.metadata else {})
        dropped_at = drop.dropped_at or drop.created_at
        noted = dropped_again(job, dropped_at, counts, ANY - WITHOUT_VIDEO)
        writes = [("Update", noted), _held(holders)]
        self._write_drop(to_repeat(drop.job_id, job.job_id), writes, replacing, waited)
        return job

    def mention(self, job: Job, unused: frozenset[str], dropped_at: datetime) -> None:
        """Note on a job which sidecars are unused beside its own, and when they were dropped.

        Raises:
            ContentContested: the job was repeated meanwhile.
        """
        try:
            self._table.update(
                dropped_again(job, dropped_at, {"unused_sidecars": set(unused)}, ANY)
            )
        except ConditionFailed as exc:
            raise ContentContested from exc

    def holders(self, content_id: str) -> Holders:
        """The jobs that ask for the same under one key."""
        item = self._table.get(content_id)
        return Holders.model_validate(item) if item else Holders(job_id=content_id)

    def _write_drop(
        self,
        item: dict[str, Any],
        writes: list[tuple[str, dict[str, Any]]],
        replacing: Iterable[str],
        waited: Job | None,
    ) -> None:
        """Put an item, make the writes that belong to it, and forget halves that waited."""
        put = {
            "Item": to_item(item),
            "ConditionExpression": "attribute_not_exists(job_id)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if waited:
            seen = {":waiting": str(JobStatus.WAITING), ":seen": waited.revision}
            put |= {
                "ConditionExpression": "#status = :waiting AND revision = :seen",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": to_item(seen),
            }
        deletes = [("Delete", {"Key": to_item({"job_id": half})}) for half in replacing]
        try:
            self._table.transact([("Put", put), *writes, *deletes])
        except ConditionFailed as exc:
            if exc.position == 0:
                raise WriteRefused(self._job(exc.found)) from exc
            raise ContentContested from exc

    def move(
        self,
        job: Job,
        status: JobStatus,
        *,
        at: datetime | None = None,
        only_from: frozenset[JobStatus] = ANY,
        **changes: Any,
    ) -> Job:
        """Move a job to ``status`` and change some of its fields; None removes one.

        ``at`` is when somebody should look at it next; without it ``LOOK_AGAIN_AFTER`` decides.
        ``only_from`` narrows what ``TRANSITIONS`` allows. The attempt must be the one read:
        what is learnt of an earlier attempt cannot move a later one.

        Raises:
            WriteRefused: the record's status or attempt does not allow it; ``found`` is it.
        """
        clock = self.clock()
        if status is not JobStatus.GENERATED:
            return self._move(Transition(job, status, clock, at, only_from, changes), [])
        if job.was_generated:  # its video was booked then; one more would be booked apart
            raise WriteRefused(job)
        held, sums = (
            (None, []) if job.sequence else ledger.settle(job, changes.get("actual"), clock)
        )
        changes |= {"reservation": held} if sums else {}
        # a failed job may meanwhile have been generated, and have failed again
        revision = job.revision if job.status is JobStatus.FAILED else None
        step = Transition(
            job, status, clock, at, only_from, changes, settles=True, revision=revision
        )
        return self._move(step, sums)

    def hold(self, job: Job, limits: SpendingLimits, span: timedelta) -> datetime:
        """Postpone a READY job, so that no other process prepares it meanwhile; returns until when.

        For what takes time before the claim. It takes no place and no money, and ends by itself.

        Raises:
            MustWait: the claim would find none now.
            WriteRefused: the job is not READY any more, or its turn has not come.
        """
        now = self.clock()
        self.ledger.look(cost_of(job, now), limits)
        self._note(
            job,
            "SET dispatch_at = :until",
            {":until": now + span, ":now": now, **for_budget(now)},
            f"AND (dispatch_at <= :now OR ({FOR_BUDGET.format('')}))",
        )
        return now + span

    def claim(
        self,
        job: Job,
        limits: SpendingLimits,
        token_hash: str,
        held_until: datetime | None = None,
        **changes: Any,
    ) -> Job:
        """Move a READY job to SUBMITTING, with a place in flight and its cost set aside.

        ``held_until``: the caller postponed the job itself, and may claim it all the same.

        Raises:
            MustWait: there is none now.
            WriteRefused: the job is not READY any more, or was put off and its turn has not come.
        """
        clock = self.clock()
        cost = cost_of(job, clock)
        if cost.usd > limits.daily_budget_usd:
            raise MustWait("budget")
        changes |= {
            "attempt": job.attempt + 1,
            "token_hashes": (*job.token_hashes, token_hash),
            "reservation": cost,
        }
        turn = max(clock, held_until or clock)
        move = Transition(job, JobStatus.SUBMITTING, clock, None, ANY, changes, turn=turn)
        return self._move(move, ledger.take(limits, job.job_id, cost, clock))

    def end(
        self,
        job: Job,
        status: JobStatus,
        *,
        at: datetime | None = None,
        only_from: frozenset[JobStatus] = ANY,
        revision: int | None = None,
        **changes: Any,
    ) -> Job:
        """End an attempt: ``move``, and give back what the job holds, in one transaction.

        ``revision``: the record must still have it.
        """
        held = job.reservation
        changes = changes | ({"reservation": None} if held else {})
        is_maybe_billed = any(error.code in MAYBE_BILLED for error in changes.get("errors", ()))
        was_made = status is JobStatus.SUCCEEDED or job.status is JobStatus.GENERATED
        spent = was_made or is_maybe_billed
        is_lost = any(error.code == NOT_COPIED for error in changes.get("errors", ()))
        copied = True if status is JobStatus.SUCCEEDED else False if is_lost else None
        copied = None if job.sequence else copied  # no video of its own is copied
        returned = ledger.give_back(job.job_id, held, self.clock(), spent=spent, copied=copied)
        move = Transition(
            job, status, self.clock(), at, only_from, changes, settles=True, revision=revision
        )
        return self._move(move, returned)

    def _move(self, move: Transition, with_it: list[Change]) -> Job:
        """Write a move, and what must change with it or not at all."""
        if not move.allowed:
            raise WriteRefused(self.get(move.job.job_id))
        with self._refusals():
            if with_it:
                sums = [("Update", change) for change in with_it]
                self._table.transact([("Update", move.request()), *sums])
                moved = move.after
            else:
                moved = Job.model_validate(self._table.update(move.request()))
        self._on_change(moved)
        return moved

    def put_off(self, job: Job, waits_for: str, at: datetime, **changes: Any) -> Job:
        """Note on a READY job why it waits, and until when; no step of its history."""
        shard = BUDGET_SHARD if waits_for == "budget" else own_shard(job.job_id)
        noted = {"waits_for": waits_for, "backlog_shard": shard, **changes}
        sets = "".join(f", #{name} = :{name}" for name in noted)
        values = {f":{name}": value for name, value in noted.items()}
        return self._note(job, f"SET dispatch_at = :at{sets}", {":at": at, **values}, "", *noted)

    def look_again(
        self, job: Job, at: datetime, unanswered_since: datetime | None = None, **noted: Any
    ) -> None:
        """Look at a job in motion again at ``at``.

        ``unanswered_since``: since when fal has not answered about it; without it the job's own is
        removed, because fal has answered. ``noted``: other fields; None removes one.
        """
        noted["unanswered_since"] = unanswered_since
        gone = ", ".join(f"#{name}" for name, value in noted.items() if value is None)
        kept = {name: value for name, value in noted.items() if value is not None}
        changed = "SET due_at = :at" + "".join(f", #{name} = :{name}" for name in kept)
        values = {f":{name}": value for name, value in kept.items()}
        removed = f" REMOVE {gone}" if gone else ""
        self._note(job, changed + removed, {":at": at, **values}, "", *noted)

    def note_sequence(
        self, job: Job, sequence: JobSequence, at: datetime, waits_for: str | None = None
    ) -> Job:
        """Note how the segments of a sequence stand, and when to look at it again.

        ``waits_for``: what a segment waits for, if one does.

        Raises:
            WriteRefused: the record is not as it was read.
        """
        values: dict[str, Any] = {":at": at, ":sequence": sequence, ":revision": job.revision}
        changed = "SET due_at = :at, #sequence = :sequence"
        if waits_for:
            values[":waits_for"] = waits_for
            changed += ", waits_for = :waits_for"
        else:
            changed += " REMOVE waits_for"
        return self._note(job, changed, values, "AND revision = :revision", "sequence")

    def note_ended(self, job: Job, sequence: JobSequence, spent: JobCost) -> Job:
        """Note how the segments of a sequence stand that has ended before them, and their cost.

        Raises:
            WriteRefused: the record is not as it was read.
        """
        values = {":sequence": sequence, ":spent": spent, ":revision": job.revision}
        changed = "SET #sequence = :sequence, spent = :spent"
        return self._note(job, changed, values, "AND revision = :revision", "sequence")

    def note_unusable(self, segment: Job, error: ErrorDetail) -> None:
        """Note that the video of a segment cannot be part of a whole.

        Raises:
            WriteRefused: the record is not as it was read.
        """
        noted = Unusable(since=self.clock(), error=error)
        self._note(segment, "SET unusable = :unusable", {":unusable": noted})

    def _note(
        self,
        job: Job,
        expression: str,
        values: dict[str, Any],
        condition: str = "",
        *reserved: str,
    ) -> Job:
        """Change a record that stands as it was read, without a step of its history.

        ``reserved``: attributes whose names DynamoDB knows as words; the expression has ``#name``.
        """
        seen = {":status": str(job.status), ":seen": job.attempt, ":one": 1}
        request = update(
            job.job_id,
            f"{expression} ADD revision :one",
            {name: to_dynamodb(value) for name, value in values.items()} | seen,
            f"#status = :status AND attempt = :seen {condition}",
        )
        with self._refusals():
            names = {f"#{name}": name for name in ("status", *reserved)}
            noted = self._table.update(request | {"ExpressionAttributeNames": names})
            return Job.model_validate(noted)

    def note_paid_again(self, job: Job, request_id: str, actual: Actual | None = None) -> None:
        """Record that another request answered for a job too: money that was not reserved.

        Raises:
            WriteRefused: it is recorded already.
        """
        noted = update(
            job.job_id,
            "SET duplicate_actuals = list_append(if_not_exists(duplicate_actuals, :none), :came) "
            "ADD duplicate_requests :request, revision :one",
            {
                ":request": {request_id},
                ":id": request_id,
                ":one": 1,
                ":none": [],
                ":came": [to_dynamodb(actual)] if actual else [],
            },
            "attribute_exists(job_id) AND NOT contains(duplicate_requests, :id)",
        )
        spent = ledger.spend(cost_of(job, self.clock(), actual))
        with self._refusals():
            self._table.transact([("Update", noted), ("Update", spent)])

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """What a failed condition says of the job, or of the room for it.

        The job's own write stands first in its transaction, then the window's and the budget's.
        """
        try:
            yield
        except ConditionFailed as exc:
            if exc.position == 0:
                raise WriteRefused(self._job(exc.found)) from exc
            raise ledger.lacking(exc.position - 1, exc.found, self.clock()) from exc

    def due(self, before: datetime) -> Iterator[tuple[str, datetime]]:
        """The ids of the jobs that should be looked at, and since when; each shard's oldest first.

        A pass that runs out of time must not always leave the same shards: it begins anywhere.
        """
        first = random.randrange(SHARDS)  # noqa: S311 - no secret
        for shard in (*range(first, SHARDS), *range(first)):
            values = {":shard": shard, ":before": to_dynamodb(before)}
            for page in self._table.pages(
                "due", "due_shard = :shard AND due_at <= :before", values
            ):
                yield from ((item["job_id"], _time(item["due_at"])) for item in page)

    def waiting_for(self, bucket: str, image: str, most: int) -> list[str]:
        """The ids of at most ``most`` jobs that wait for an image, the oldest first."""
        values = {":shard": image_shard(bucket, image)}
        pages = self._table.pages("backlog", "backlog_shard = :shard", values, Limit=most)
        return [item["job_id"] for item in next(pages)]

    def put_off_until_tomorrow(self, most: int) -> list[str]:
        """The ids of at most ``most`` READY jobs that wait for a new budget, the first first."""
        tomorrow = to_dynamodb(next_day(self.clock()))
        condition = "backlog_shard = :shard AND dispatch_at >= :tomorrow"
        values = {":shard": BUDGET_SHARD, ":tomorrow": tomorrow}
        pages = self._table.pages("backlog", condition, values, Limit=most)
        return [item["job_id"] for item in next(pages)]

    def oldest_ready(self, most: int, before: datetime) -> list[tuple[str, datetime]]:
        """At most ``most`` READY jobs that may be sent, by id, and since when; oldest first."""
        found: list[tuple[str, str]] = []
        condition = "backlog_shard = :shard AND dispatch_at <= :before"
        for shard in (BUDGET_SHARD, *range(SHARDS)):
            values = {":shard": shard, ":before": to_dynamodb(before)}
            first = next(self._table.pages("backlog", condition, values, Limit=most))
            found += [(item["dispatch_at"], item["job_id"]) for item in first]
        return [(job_id, _time(turn)) for turn, job_id in sorted(found)[:most]]


def _held(holders: Holders) -> tuple[str, dict[str, Any]]:
    """The write of the jobs of a content, unless they are others than were read."""
    request = {
        "Item": to_item(to_dynamodb(holders)),
        "ConditionExpression": "attribute_not_exists(job_id) OR revision = :seen",
        "ExpressionAttributeValues": to_item({":seen": holders.revision - 1}),
    }
    return "Put", request


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
