"""PublishFunction: what is written to the jobs table becomes stable keys, receipts and events."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from phonoscene.batch import in_order
from phonoscene.errors import OutOfTime, RecordUnreadable, StableKeyRefused
from phonoscene.observability import count, logger, metrics
from phonoscene.publishing.event_bus import EventBus
from phonoscene.publishing.receipt_bucket import ReceiptBucket
from phonoscene.publishing.stable_videos import StableVideos
from phonoscene.queues import DropsQueue, UnpublishedQueue
from phonoscene.settings import PublishSettings
from phonoscene.table.items import from_item
from phonoscene.workflow.publication import Publisher, Write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.utilities.typing import LambdaContext

#: A shard's other records wait for this one.
FAIL_FAST = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3})
#: S3 may take a minute to copy 5 GB. No retry by the SDK: the next look shows whether it did.
COPYING = Config(connect_timeout=2, read_timeout=80, retries={"total_max_attempts": 1})
#: What a record needs of the function's time, in milliseconds; one with a copy needs more.
MIN_TIME_MS = 20_000
MIN_COPY_TIME_MS = 110_000


@dataclass(frozen=True)
class App:
    """The clients and settings that an invocation needs."""

    publisher: Publisher
    unpublished: UnpublishedQueue


@cache
def build() -> App:
    """Read the settings and make the clients, at the first event."""
    settings = PublishSettings.from_env(os.environ)
    receipts = ReceiptBucket(boto3.client("s3", config=FAIL_FAST), settings.output_bucket)
    videos = StableVideos(boto3.client("s3", config=COPYING), settings.output_bucket)
    bus = EventBus(boto3.client("events", config=FAIL_FAST), settings.event_bus)
    sqs = boto3.client("sqs", config=FAIL_FAST)
    drops = DropsQueue(sqs, settings.drops_queue_url)
    unpublished = UnpublishedQueue(sqs, settings.unpublished_queue_url)
    return App(Publisher(receipts, videos, bus, drops), unpublished)


def on_record(
    record: dict[str, Any], lambda_context: LambdaContext, newest: Mapping[str, dict[str, Any]]
) -> None:
    """One write, in its turn.

    ``newest`` has the last image of each job in this batch: the receipt need not pass through what
    is past already.
    """
    count("StreamRecords")
    change = record["dynamodb"]
    image = change.get("NewImage", {})
    before, after = from_item(change.get("OldImage", {})), from_item(image)
    if "status" not in after:  # a sum, or a deletion, which the event source's filter holds back
        return
    job_id = str(after["job_id"])
    last = newest.get(job_id, image)
    needed = MIN_COPY_TIME_MS if "video" in last else MIN_TIME_MS
    if lambda_context.get_remaining_time_in_millis() < needed:
        raise OutOfTime
    _publish(job_id, before, after, None if last == image else from_item(last))


def _publish(
    job_id: str, before: dict[str, Any], after: dict[str, Any], later: dict[str, Any] | None
) -> None:
    """Publish a write, or set it aside if it cannot be read."""
    logger.append_keys(job_id=job_id)
    app = build()
    try:
        write = Write.of(before, after)
        app.publisher.publish(write, Write.later(later) if later else None)
    except RecordUnreadable:  # it would hold up all that follow
        logger.exception("record.unreadable")
        count("RecordsUnreadable")
        app.unpublished.set_aside(job_id, "unreadable")
    except StableKeyRefused as exc:  # receipt and event are published
        logger.error("stable_key.refused", extra={"reason": str(exc)})
        app.unpublished.set_aside(job_id, "stable key refused")
    except Exception:
        logger.exception("record.unpublished")
        raise
    finally:
        logger.remove_keys(["job_id"])


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Lambda's entry: a batch of the table's stream."""
    return in_order(event, partial(on_record, lambda_context=context, newest=_newest(event)))


def _newest(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The last image of each job in a batch, which is in the order of the writes."""
    images = (record["dynamodb"].get("NewImage", {}) for record in event.get("Records", []))
    return {image["job_id"]["S"]: image for image in images if "status" in image}
