"""ProbeFunction: measures one object of the drop bucket, for SubmitFunction, which waits for it.

FFmpeg is C code that strangers feed. It runs here, where it can read drops and nothing else: no
table, no queue, no fal key. A file that breaks it ends this process, and not a submission.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.media_facts import StoredObject
from phonoscene.errors import DropRefused, DropUnsettled
from phonoscene.observability import logger
from phonoscene.probe.prober import LocalProber
from phonoscene.settings import ProbeSettings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

READING = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3})


@cache
def build() -> LocalProber:
    """Read the settings and make the client, at the first event."""
    client = boto3.client("s3", config=READING)
    return LocalProber(DropBucket(client, client, ProbeSettings.from_env(os.environ).drop_bucket))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Lambda's entry: what ``RemoteProber`` sends, and what it understands as an answer."""
    if not event:  # doctor asks whether the function starts
        return {"starts": build() is not None}
    stored = StoredObject(key=event["key"], etag=event["etag"], bytes=event["bytes"])
    prober = build()
    probe = {"audio": prober.audio, "image": prober.image}[event["kind"]]
    try:
        facts = vars(probe(stored))
    except DropRefused as exc:
        logger.info("probe.refused", extra={"errors": [error.code for error in exc.errors]})
        return {"errors": [error.model_dump(exclude_none=True) for error in exc.errors]}
    except DropUnsettled:
        return {"unsettled": True}
    logger.info("probe.measured", extra=facts | {"bytes": stored.bytes})
    return {"facts": facts}
