"""The stack's own queues: the only module that sends to them."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from phonoscene.drops.queue_message import RESTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mypy_boto3_sqs import SQSClient

    from phonoscene.drops.drop_bucket import Found
    from phonoscene.fal.webhook_message import WebhookMessage


class _Queue:
    """One queue: each subclass says what is done with it."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url


class DropsQueue(_Queue):
    """What ``submit`` reads: dispatches, cancellations, and what S3 tells through EventBridge."""

    def dispatch(self, job_ids: Sequence[str]) -> None:
        """Ask ``submit`` to submit these jobs at once."""
        for job_id in job_ids:
            self._send({"job_id": job_id})

    def cancel(self, job_id: str) -> None:
        """Ask ``submit`` to cancel a job."""
        self._send({"cancel": job_id})

    def rest(self, bucket: str, key: str, happened_at: datetime, seconds: int) -> None:
        """Send the event of an object once more, in ``seconds``; ``submit`` acts on it then."""
        self._send(_created(bucket, happened_at, key=key), seconds)

    def _send(self, message: dict[str, Any], delay: int = 0) -> None:
        self._client.send_message(
            QueueUrl=self._url, MessageBody=json.dumps(message), DelaySeconds=delay
        )

    def announce(self, bucket: str, objects: Sequence[Found]) -> list[Found]:
        """Send the events of at most ten objects, as S3 would; return those that were refused.

        For a pair, one event is enough if it has the date of the newer half: an older event is
        ignored, because the newer half has an event of its own.
        """
        entries: list[Any] = [
            {
                "Id": str(number),
                "MessageBody": json.dumps(_of(bucket, found)),
                "DelaySeconds": 0,
            }
            for number, found in enumerate(objects)
        ]
        answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        return [objects[int(failure["Id"])] for failure in answer.get("Failed", [])]


class NotificationsQueue(_Queue):
    """What ``notify`` reads; the stack's rule fills it."""

    def hold_back(self, receipt_handle: str, seconds: int) -> None:
        """Hide a message from now on for so long, and no more than 12 hours since its receipt."""
        self._client.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )


class UnpublishedQueue(_Queue):
    """Records that ``publish`` cannot read; only a person reads this queue."""

    def set_aside(self, job_id: str, reason: str) -> None:
        """Keep the id of a record that will not be readable the next time either."""
        data = {"job_id": job_id, "reason": reason}
        self._client.send_message(QueueUrl=self._url, MessageBody=json.dumps(data))


class VerdictsQueue(_Queue):
    """The queue that invokes ``store``."""

    def send(self, webhook: WebhookMessage) -> None:
        """Send a verified webhook to ``store``."""
        self._client.send_message(QueueUrl=self._url, MessageBody=webhook.to_message())


def _of(bucket: str, found: Found) -> dict[str, Any]:
    """The event of an object in the bucket; never dated too early."""
    at = found.modified + timedelta(microseconds=999_999)
    return _created(bucket, at, **{"key": found.key, "version-id": found.version_id})


def _created(bucket: str, happened_at: datetime, **described: str) -> dict[str, Any]:
    """EventBridge's event, as much of it as ``submit`` reads, of an object that has rested."""
    at = happened_at.astimezone(UTC)
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "detail": {
            "bucket": {"name": bucket},
            "object": described,
            "reason": RESTED,
        },
    }
