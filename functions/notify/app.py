"""NotifyFunction: events become signed webhooks to the subscriber."""

from __future__ import annotations

import os
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.utilities import parameters

from phonoscene.batch import Message, each
from phonoscene.observability import count, logger, metrics
from phonoscene.publishing.endpoint import Endpoint
from phonoscene.queues import NotificationsQueue
from phonoscene.settings import NotifySettings
from phonoscene.table.job_store import now
from phonoscene.workflow.notification import Notifier

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

#: How long the secret is kept, in seconds.
KEPT_FOR = 300


@cache
def build() -> Notifier:
    """Read the settings and make the clients, at the first event."""
    settings = NotifySettings.from_env(os.environ)
    return Notifier(
        subscriber=Endpoint(settings.event_webhook_url),
        queue=NotificationsQueue(boto3.client("sqs"), settings.notifications_queue_url),
        secrets=partial(
            parameters.get_parameter,
            settings.event_webhook_secret_parameter,
            decrypt=True,
            max_age=KEPT_FOR,
        ),
        clock=now,
    )


def on_message(message: Message) -> None:
    """One event; an error leaves it in the queue, hidden until its next try."""
    try:
        answer = build().notify(message)
        count("NotificationsUnwanted" if answer.is_gone else "NotificationsDelivered")
    except Exception as exc:
        count("NotificationsFailed")
        logger.warning("notification.error", extra={"error": type(exc).__name__})
        raise


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:  # noqa: ARG001 - Lambda's signature
    """Lambda's entry: a batch of the notifications queue."""
    return each(event, on_message)
