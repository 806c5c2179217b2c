"""How large the item of a job is, as DynamoDB counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phonoscene.table.items import index_attributes, to_item, to_record
from tests.support.jobs import NOON

if TYPE_CHECKING:
    from phonoscene.jobs import Job

#: Bytes of the largest item that DynamoDB takes.
LARGEST = 400 * 1024


def bytes_of(value: Any) -> int:
    """The size of a value, as DynamoDB's guide counts it."""
    [(kind, inner)] = value.items()
    match kind:
        case "S":
            return len(inner.encode())
        case "N":
            return len(inner) // 2 + 2
        case "M":
            return 3 + sum(len(name.encode()) + bytes_of(one) + 1 for name, one in inner.items())
        case "L":
            return 3 + sum(bytes_of(one) + 1 for one in inner)
        case "SS":
            return sum(len(one.encode()) for one in inner)
    return 1


def size_of(job: Job) -> int:
    """Bytes of a job's item."""
    return bytes_of({"M": to_item(to_record(job) | index_attributes(job, NOON))})
