"""Job records as DynamoDB holds them: numbers, times and indexes in its types."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from pydantic import BaseModel

from phonoscene.drops.keys import image_number
from phonoscene.jobs import LOOK_AGAIN_AFTER, Job, JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Partitions of the indexes ``due``, ``backlog`` and ``by_day``, so that no key of theirs is hot.
SHARDS: Final = 16
#: The partition of ``backlog`` with the READY jobs that wait for a new budget, in their order.
BUDGET_SHARD: Final = -1
#: DynamoDB's smallest number but zero, nearly.
TINIEST: Final = 1e-129


def image_shard(bucket: str, key: str) -> int:
    """The partition of ``backlog`` with the jobs that wait for an image: none of READY jobs."""
    return SHARDS + image_number(bucket, key)


def own_shard(job_id: str) -> int:
    """The partition of a job in ``due``, and in ``backlog`` while it is in its turn."""
    return int(job_id[:8], 16) % SHARDS


def index_attributes(job: Job, at: datetime | None) -> dict[str, Any]:
    """The attributes that put a record in the sparse indexes, and None where it must leave one."""
    shard = backlog_shard = own_shard(job.job_id)
    backlog: datetime | None
    if job.status is JobStatus.READY:
        backlog, due = at or job.updated_at, None
    else:
        wait = LOOK_AGAIN_AFTER.get(job.status)
        backlog, due = job.waits_until, at or (job.updated_at + wait if wait else None)
    if job.missing_image:
        backlog_shard = image_shard(job.bucket, job.missing_image)
    return {
        "due_shard": shard if due else None,
        "due_at": to_dynamodb(due),
        "backlog_shard": backlog_shard if backlog else None,
        "dispatch_at": to_dynamodb(backlog),
    }


def to_record(job: Job) -> dict[str, Any]:
    """A whole item; what is empty is left out."""
    shard = own_shard(job.job_id)
    day = {"day_shard": f"{job.created_at:%Y-%m-%d}#{shard}"}
    filled = {
        name: value
        for name, value in to_dynamodb(job.model_dump()).items()
        if value not in ([], {})
    }
    return filled | day


def to_item(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """In DynamoDB's types; None is left out."""
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in attributes.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Out of DynamoDB's types; numbers are Decimal."""
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


def to_job(item: Mapping[str, Any]) -> Job | None:
    """The job in an item, or None where there is no item."""
    return Job.model_validate(item) if item else None


def to_repeat(drop_id: str, job_id: str) -> dict[str, Any]:
    """The item of a drop that repeats a job: under the id that the drop's own job would have."""
    return {"job_id": drop_id, "same_as": job_id}


def same_as(item: Mapping[str, Any]) -> str | None:
    """The id of the job that an item's drop repeats; None of any other item."""
    return item.get("same_as")


def update(
    key: str, expression: str, values: Mapping[str, Any], condition: str | None = None
) -> dict[str, Any]:
    """The request of an update, in DynamoDB's words."""
    request = {
        "Key": to_item({"job_id": key}),
        "UpdateExpression": expression,
        "ExpressionAttributeValues": to_item(values),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    return request | ({"ConditionExpression": condition} if condition else {})


def to_dynamodb(value: Any, *, has_nulls: bool = False) -> Any:
    """What DynamoDB can hold: numbers as Decimal, times as sortable text, no empty set, no None.

    But for arguments: by null, a scene sets aside what the whole has.
    """
    if isinstance(value, BaseModel):
        return to_dynamodb(value.model_dump())
    if isinstance(value, dict):
        return {
            name: to_dynamodb(inner, has_nulls=name == "arguments")
            for name, inner in value.items()
            if has_nulls or inner is not None
        }
    if isinstance(value, list | tuple):
        return [to_dynamodb(inner) for inner in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, float):
        # DynamoDB's smallest is 1E-130; nothing of ours is that near nothing
        return Decimal(repr(value)) if abs(value) > TINIEST else Decimal(0)
    return (set(value) or None) if isinstance(value, frozenset) else value
