"""NotifyFunction: events become signed webhooks to the subscriber."""

from __future__ import annotations

import os
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)

from phonoscene.job_store import now
from phonoscene.observability import count, logger, metrics
from phonoscene.queues import NotificationsQueue
from phonoscene.settings import NotifySettings
from phonoscene.subscriber import Subscriber
from phonoscene.workflow.notification import Message, Notifier

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

#: How long the secret is kept, in seconds.
KEPT_FOR = 300

batch = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


@cache
def build() -> Notifier:
    """Read the settings and make the clients, at the first event."""
    settings = NotifySettings.from_env(os.environ)
    return Notifier(
        subscriber=Subscriber(settings.event_webhook_url),
        queue=NotificationsQueue(boto3.client("sqs"), settings.notifications_queue_url),
        secrets=partial(
            parameters.get_parameter,
            settings.event_webhook_secret_parameter,
            decrypt=True,
            max_age=KEPT_FOR,
        ),
        clock=now,
    )


def on_message(record: SQSRecord) -> None:
    """One event; an error leaves it in the queue, hidden until its next try."""
    tries = int(record.attributes.approximate_receive_count)
    try:
        answer = build().notify(Message(record.body, record.receipt_handle, tries))
        count("NotificationsUnwanted" if answer.is_gone else "NotificationsDelivered")
    except Exception as exc:
        count("NotificationsFailed")
        logger.warning("notification.error", extra={"error": type(exc).__name__})
        raise


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Lambda's entry: a batch of the notifications queue."""
    return process_partial_response(event, on_message, batch, context)
