"""StoreFunction: results become stored videos."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from phonoscene.batch import Message, each
from phonoscene.errors import FalUnavailable
from phonoscene.fal.api_key import FalKey
from phonoscene.fal.queue import FalQueue
from phonoscene.fal.webhook_message import WebhookMessage
from phonoscene.jobs import FINAL, JobStatus
from phonoscene.limits import SpendingLimits
from phonoscene.observability import announce, count, logger, metrics
from phonoscene.queues import DropsQueue
from phonoscene.settings import StoreSettings
from phonoscene.table.job_store import JobStore
from phonoscene.videos.cdn import Cdn
from phonoscene.videos.output_bucket import MAX_FLOWS, OutputBucket
from phonoscene.workflow.dispatch import Dispatcher
from phonoscene.workflow.storing import ResultHandler

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

#: Each body has a checksum of its own, in a header that is signed; the SDK would hash it once more.
UNSIGNED = Config(s3={"payload_signing_enabled": False}, max_pool_connections=MAX_FLOWS)


#: A job that comes out of a result like this may have freed its slot.
FREES = FINAL | {JobStatus.READY, JobStatus.GENERATED}


@dataclass(frozen=True)
class App:
    """The clients and settings that an invocation needs."""

    result_handler: ResultHandler
    dispatcher: Dispatcher


@cache
def build() -> App:
    """Read the settings and make the clients, at the first event."""
    settings = StoreSettings.from_env(os.environ)
    store = JobStore(boto3.client("dynamodb"), settings.jobs_table, on_change=announce)
    result_handler = ResultHandler(
        store=store,
        queue=FalQueue(FalKey(settings.fal_key_parameter, partial(boto3.client, "ssm"))),
        cdn=Cdn(settings.max_video_bytes),
        output=OutputBucket(boto3.client("s3", config=UNSIGNED), settings.output_bucket),
        has_stable_keys=settings.stable_key == "true",
    )
    limits = SpendingLimits(settings.max_in_flight, settings.daily_budget_usd)
    drops = DropsQueue(boto3.client("sqs"), settings.drops_queue_url)
    return App(result_handler, Dispatcher(store, drops, limits))


def on_message(message: Message) -> None:
    """One result; an error returns it to the queue."""
    count("Verdicts")
    try:
        webhook = WebhookMessage.read(message.json())
        logger.append_keys(job_id=webhook.job_id)
        app = build()
        job = app.result_handler.handle(webhook)
        if job and job.status in FREES:
            app.dispatcher.dispatch()
    except FalUnavailable as exc:
        logger.warning("result.unavailable", extra={"reason": str(exc)})
        raise
    except Exception:
        logger.exception("result.failed")
        raise
    finally:
        logger.remove_keys(["job_id"])


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:  # noqa: ARG001 - Lambda's signature
    """Lambda's entry: a batch of the verdicts queue."""
    return each(event, on_message)
