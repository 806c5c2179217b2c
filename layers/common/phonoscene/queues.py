"""The stack's own queues: the only module that sends to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_sqs import SQSClient

    from phonoscene.webhooks import Delivery


class DropsQueue:
    """What ``submit`` reads."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def dispatch(self, job_ids: Sequence[str]) -> None:
        """Have these jobs submitted now: nothing has to settle."""
        for job_id in job_ids:
            self._client.send_message(
                QueueUrl=self._url, MessageBody=json.dumps({"job_id": job_id}), DelaySeconds=0
            )


class NotificationsQueue:
    """What ``notify`` reads; the stack's rule fills it."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def hold_back(self, receipt_handle: str, seconds: int) -> None:
        """Hide a message from now on for so long, and no more than 12 hours since its receipt."""
        self._client.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )


class UnpublishedQueue:
    """What ``publish`` cannot tell the world of: nobody reads it but a person."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def set_aside(self, job_id: str, reason: str) -> None:
        """Keep the id of a record that will not be readable the next time either."""
        told = {"job_id": job_id, "reason": reason}
        self._client.send_message(QueueUrl=self._url, MessageBody=json.dumps(told))


class VerdictsQueue:
    """What ``store`` reads."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def deliver(self, delivery: Delivery) -> None:
        """Hand a believed delivery over."""
        self._client.send_message(QueueUrl=self._url, MessageBody=delivery.to_message())
