"""WebhookFunction: checks fal's POST and queues its result; the one door to the internet."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.errors import SigningKeysUnavailable, WebhookRefused
from phonoscene.fal.signing_keys import SigningKeys
from phonoscene.fal.webhook_signature import USER_ID
from phonoscene.observability import count, logger, metrics
from phonoscene.queues import VerdictsQueue
from phonoscene.settings import WebhookSettings
from phonoscene.workflow.receiving import Post, receive

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True)
class App:
    """The clients and settings that an invocation needs."""

    settings: WebhookSettings
    keys: SigningKeys
    verdicts: VerdictsQueue


@cache
def build() -> App:
    """Read the settings and make the client, at the first event."""
    # fal waits 15 s for the first webhook: two tries of 3 s each, and the rest is fal's own retry
    hasty = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2})
    settings = WebhookSettings.from_env(os.environ)
    sqs = boto3.client("sqs", config=hasty)
    return App(settings, SigningKeys(), VerdictsQueue(sqs, settings.verdicts_queue_url))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: Any, context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Lambda's entry: 202 queued, 401 refused (whatever the reason), 503 try again."""
    app = build()
    try:
        post = _post(event)
        webhook = receive(post, app.keys, app.settings.fal_user_id)
        logger.append_keys(job_id=webhook.job_id)
        if not app.settings.fal_user_id:  # so that an operator can learn it, and pin it
            logger.warning("webhook.unpinned", extra={"fal_user_id": post.headers[USER_ID]})
        app.verdicts.send(webhook)
    except WebhookRefused as exc:
        return _answer(401, "WebhooksRefused", exc.reason)
    except (SigningKeysUnavailable, ClientError, BotoCoreError) as exc:
        return _answer(503, "WebhooksPutOff", type(exc).__name__)
    return _answer(202, "WebhooksAccepted", "")


def _post(event: Any) -> Post:
    """HTTP API's payload 2.0, by hand: Powertools' classes cost more to import than all else.

    Whatever is not as documented is as good as absent, and refused as that.
    """
    event = _object(event)
    path, headers = _object(event.get("pathParameters")), _object(event.get("headers"))
    return Post(
        job_id=str(path.get("job_id", "")),
        token=str(path.get("token", "")),
        headers={name.lower(): str(value) for name, value in headers.items()},
        body=_raw_body(event),
        at=time.time(),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _raw_body(event: dict[str, Any]) -> bytes:
    body = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return body.encode(errors="surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as exc:
        raise WebhookRefused("body_not_base64") from exc


def _answer(status: int, metric: str, reason: str) -> dict[str, Any]:
    """Always the same empty answer: a sender learns nothing but the status. Never a redirect."""
    count(metric)
    logger.info("webhook.answered", extra={"status": status, "reason": reason})
    return {"statusCode": status, "headers": {"content-type": "text/plain"}, "body": ""}
