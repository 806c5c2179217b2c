"""What the drops queue carries: a dispatch, a cancellation, or an object that was created in S3."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

#: The reason of an event that is ours, not S3's: its object has rested, or need not rest.
RESTED: Final = "phonoscene"


@dataclass(frozen=True)
class Dispatch:
    """Submit this job; of a half or a drop that waits, look whether it has what it waits for."""

    job_id: str


@dataclass(frozen=True)
class Cancel:
    """A message that asks to cancel this job."""

    job_id: str


@dataclass(frozen=True)
class ObjectCreated:
    """S3's event about a new object. Its key is not decoded: EventBridge sends keys as they are."""

    bucket: str
    key: str
    created_at: datetime
    has_rested: bool


def read_message(message: Any) -> Dispatch | Cancel | ObjectCreated:
    """The parsed body of a message.

    Raises:
        KeyError, TypeError, ValueError: it is none of the three.
    """
    if "cancel" in message:
        return Cancel(str(message["cancel"]))
    if "job_id" in message:
        return Dispatch(str(message["job_id"]))
    detail = message["detail"]
    created_at = datetime.fromisoformat(message["time"])
    has_rested = detail.get("reason") == RESTED
    return ObjectCreated(detail["bucket"]["name"], detail["object"]["key"], created_at, has_rested)
