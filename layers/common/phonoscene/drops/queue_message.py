"""What the drops queue carries: a dispatch, a cancellation, or an object that was created in S3."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Dispatch:
    """Submit this job, or end the wait of this half."""

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
    return ObjectCreated(detail["bucket"]["name"], detail["object"]["key"], created_at)
