"""The jobs table: the only module that reads or writes it.

Every write is conditional, and the condition is generated from ``jobs.MAY_FOLLOW``. A write that
the table refuses raises ``WriteRefused`` with the record found, so nobody has to read it again.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from pydantic import BaseModel

from phonoscene.errors import WriteRefused
from phonoscene.jobs import LOOK_AGAIN_AFTER, Job, JobStatus, Step, may_precede

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

#: Partitions of the indexes ``due``, ``backlog`` and ``by_day``, so that no key of theirs is hot.
SHARDS: Final = 16
#: DynamoDB's smallest number but zero, nearly.
TINIEST: Final = 1e-129


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
    ) -> None:
        self._client = client
        self._table = table
        self._on_change = on_change
        self.clock = clock

    def get(self, job_id: str) -> Job | None:
        """The job as it stands now, or None."""
        answer = self._client.get_item(
            TableName=self._table, Key=_item({"job_id": job_id}), ConsistentRead=True
        )
        return _job(answer.get("Item"))

    def wait(self, half: Job, due_at: datetime) -> None:
        """Record that half of a drop is here; the same version announced again changes nothing.

        Raises:
            WriteRefused: it is recorded already.
        """
        kind = "audio" if half.audio else "sidecar"
        item = _record(half) | _indexes(half, due_at)
        version = item[kind]["version_id"]
        with self._refusals():
            self._client.put_item(
                TableName=self._table,
                Item=_item(item),
                ConditionExpression=f"attribute_not_exists(job_id) OR {kind}.version_id <> :new",
                ExpressionAttributeValues=_item({":new": version}),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        self._on_change(half)

    def stop_waiting(self, half_id: str) -> None:
        """Forget a half that waits; it is part of a job now, or gone."""
        self._client.delete_item(TableName=self._table, Key=_item({"job_id": half_id}))

    def admit(self, job: Job, replacing: Iterable[str]) -> Job:
        """Write a new job, READY or REJECTED, and forget its waiting halves, in one transaction.

        Raises:
            WriteRefused: the job exists; ``found`` is it.
        """
        put = {
            "TableName": self._table,
            "Item": _item(_record(job) | _indexes(job, None)),
            "ConditionExpression": "attribute_not_exists(job_id)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        deletes: list[Any] = [
            {"Delete": {"TableName": self._table, "Key": _item({"job_id": half})}}
            for half in replacing
        ]
        try:
            self._client.transact_write_items(TransactItems=[{"Put": put}, *deletes])  # type: ignore[typeddict-item]  # the literal is a put
        except self._client.exceptions.TransactionCanceledException as exc:
            reason: Any = exc.response["CancellationReasons"][0]
            if reason["Code"] == "ConditionalCheckFailed":
                raise WriteRefused(_job(reason.get("Item"))) from exc
            raise
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
        clock = self.clock()
        after = job.model_copy(update={"status": status, "updated_at": clock, **changes})
        step = Step(status=status, at=clock)
        changed = ("status", "updated_at", *changes)
        update = _Update(
            {name: _plain(getattr(after, name)) for name in changed} | _indexes(after, at)
        )
        allowed = {
            f":from{n}": before for n, before in enumerate(sorted(may_precede(status) & only_from))
        }
        if not allowed:
            raise WriteRefused(self.get(job.job_id))
        values = {
            **update.values,
            ":step": [_plain(step.model_dump())],
            ":none": [],
            ":seen": job.attempt,
            **{name: str(before) for name, before in allowed.items()},
        }
        with self._refusals():
            answer = self._client.update_item(
                TableName=self._table,
                Key=_item({"job_id": job.job_id}),
                UpdateExpression=update.expression,
                ConditionExpression=f"#status IN ({', '.join(allowed)}) AND attempt = :seen",
                ExpressionAttributeNames=update.names | {"#status": "status"},
                ExpressionAttributeValues=_item(values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        moved = Job.model_validate(_python(answer["Attributes"]))
        self._on_change(moved)
        return moved

    def note_duplicate(self, job: Job, request_id: str) -> None:
        """Record that another request answered for a job too: money spent twice, worth knowing."""
        with self._refusals():
            self._client.update_item(
                TableName=self._table,
                Key=_item({"job_id": job.job_id}),
                UpdateExpression="ADD duplicate_requests :request",
                ConditionExpression="attribute_exists(job_id)",
                ExpressionAttributeValues=_item({":request": {request_id}}),
            )

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """A failed condition as ``WriteRefused`` with the record that failed it."""
        try:
            yield
        except self._client.exceptions.ConditionalCheckFailedException as exc:
            raise WriteRefused(_job(exc.response.get("Item"))) from exc


class _Update:
    """An update expression: a value sets its attribute, None removes it."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        kept = {name: value for name, value in attributes.items() if value is not None}
        removed = [f"#{name}" for name in attributes if name not in kept]
        sets = [f"#{name} = :{name}" for name in kept]
        history = "history = list_append(if_not_exists(history, :none), :step)"
        self.names = {f"#{name}": name for name in attributes}
        self.values = {f":{name}": value for name, value in kept.items()}
        self.expression = f"SET {', '.join([*sets, history])}"
        if removed:
            self.expression += f" REMOVE {', '.join(removed)}"


def _indexes(job: Job, at: datetime | None) -> dict[str, Any]:
    """The attributes that put a record in the sparse indexes, and None where it must leave one."""
    shard = int(job.job_id[:8], 16) % SHARDS
    if job.status is JobStatus.READY:
        backlog, due = at or job.updated_at, None
    else:
        wait = LOOK_AGAIN_AFTER.get(job.status)
        backlog, due = None, at or (job.updated_at + wait if wait else None)
    return {
        "due_shard": shard if due else None,
        "due_at": _plain(due),
        "backlog_shard": shard if backlog else None,
        "dispatch_at": _plain(backlog),
    }


def _record(job: Job) -> dict[str, Any]:
    """A whole item; what is empty is left out."""
    shard = int(job.job_id[:8], 16) % SHARDS
    day = {"day_shard": f"{job.created_at:%Y-%m-%d}#{shard}"}
    filled = {
        name: value for name, value in _plain(job.model_dump()).items() if value not in ([], {})
    }
    return filled | day


def _item(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """In DynamoDB's types; None is left out."""
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in attributes.items() if value is not None}


def _python(item: Mapping[str, Any]) -> dict[str, Any]:
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


def _job(item: Any) -> Job | None:
    return Job.model_validate(_python(item)) if item else None


def _plain(value: Any) -> Any:
    """What DynamoDB can hold: numbers as Decimal, times as sortable text, no empty set, no None."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(
        value, float
    ):  # DynamoDB's smallest is 1E-130; nothing of ours is that near nothing
        return Decimal(repr(value)) if abs(value) > TINIEST else Decimal(0)
    return (set(value) or None) if isinstance(value, frozenset) else value
