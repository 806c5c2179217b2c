"""SubmitFunction: what the drops queue carries, drops and dispatches, becomes submissions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import phonoscene.fal.client  # noqa: F401 - nearly every first event calls fal: import it with the rest
from phonoscene.batch import Message, each
from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.queue_message import Cancel, Dispatch, ObjectCreated, read_message
from phonoscene.errors import (
    BucketUnversioned,
    ConditionFailed,
    DropUnsettled,
    EditorFailed,
    ObjectUnreadable,
    OutOfTime,
    ProbeFailed,
)
from phonoscene.fal.api_key import FalKey
from phonoscene.fal.queue import FalQueue
from phonoscene.fal.storage import FalStorage
from phonoscene.jobs import JobStatus
from phonoscene.limits import SpendingLimits
from phonoscene.observability import announce, count, logger, metrics
from phonoscene.probe.remote import RemoteProber
from phonoscene.queues import DropsQueue
from phonoscene.sequences.remote_editor import RemoteEditor
from phonoscene.sequences.sequencer import Sequencer
from phonoscene.sequences.work_files import WorkFiles
from phonoscene.settings import SubmitSettings
from phonoscene.table.job_store import JobStore
from phonoscene.workflow.cancellation import Canceller
from phonoscene.workflow.examination import DropLimits, Examiner, Patience
from phonoscene.workflow.intake import Announcement, Intake
from phonoscene.workflow.media_urls import Presigned, Uploaded
from phonoscene.workflow.submission import SubmissionSettings, Submitter

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from phonoscene.jobs import Job
    from phonoscene.workflow.media_urls import MediaUrls

#: A claim is followed by a POST; what is slow must show itself before it.
FAIL_FAST = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3})
#: botocore would presign with SigV2 in us-east-1, and elsewhere for the global host, whose redirect
#: breaks a signature that covers the host.
PRESIGNING = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
#: What a claim needs of the function's time, in milliseconds; and with uploads before it.
MIN_TIME_MS = 60_000
MIN_TIME_TO_UPLOAD_MS = 100_000
#: Longer than the wait for the function edit.
MIN_TIME_TO_JOIN_MS = 112_000
#: How long at most from the first upload to the POST, from which fal's start timeout counts: a copy
#: lives that much longer than a presigned URL.
UPLOADING = timedelta(seconds=100)
FAL_STORAGE = "fal-storage"
#: Longer than the function probe may take; throttling is tried again, a lost answer as well.
PROBING = Config(connect_timeout=2, read_timeout=80, retries={"total_max_attempts": 3})
#: A longer join goes on, and its video is found at its key by the next question.
EDITING = Config(connect_timeout=2, read_timeout=110, retries={"total_max_attempts": 1})
#: Errors of AWS, of the network, and of a drop that changes while it is read.
PASSING = (
    BotoCoreError,
    BucketUnversioned,
    ClientError,
    ConditionFailed,
    DropUnsettled,
    EditorFailed,
    ObjectUnreadable,
    ProbeFailed,
)
PATIENT_TRIES = 3
#: After so many seconds no further image or drop of a message is examined: the function probe may
#: need its whole time for the last one.
MAX_EXAMINING_SECONDS = 40.0
#: The value of SameContent with which the same content again is the same job.
SKIP = "skip"
#: The value of LongAudio with which audio longer than one request becomes a sequence.
SPLIT = "split"


@dataclass(frozen=True)
class App:
    """The clients and settings that an invocation needs."""

    store: JobStore
    intake: Intake
    submitter: Submitter
    sequencer: Sequencer
    canceller: Canceller
    min_time_ms: int

    def send(self, job: Job, time_left_ms: int) -> None:
        """Submit a job, or take a sequence as far as it can go now.

        Where too little time is left for a join, the sequence's message goes to the queue's end.
        """
        if not job.sequence:
            self.submitter.submit(job)
        elif job.status is JobStatus.READY or time_left_ms > MIN_TIME_TO_JOIN_MS:
            self.sequencer.advance(job)
        else:
            self.sequencer.drops.dispatch([job.job_id])

    def jobs(self, message: Dispatch | Cancel | ObjectCreated, tries: int) -> list[Job]:
        """The jobs that a message names or starts, to be submitted."""
        self.intake.examiner.patience.begin()
        match message:
            case Cancel(job_id):
                job = self.canceller.cancel(job_id)
                return [job] if job and job.sequence else []  # to note how its segments ended
            case Dispatch(job_id):
                job = self.store.get(job_id)
                if job and job.status is JobStatus.WAITING:
                    return self.intake.look_again(job)
                return [job] if job else []
            case ObjectCreated(bucket, key, created_at, has_rested):
                if bucket != self.intake.bucket.name:
                    raise ValueError("an event of another bucket")
                return self._examine(Announcement(key, created_at, tries, has_rested))

    def _examine(self, announced: Announcement) -> list[Job]:
        """Take the drop; an unexpected error is recorded where the dropper sees it, and raised.

        Errors that usually pass get some retries first, so that no record has to be withdrawn a
        minute later.
        """
        try:
            return self.intake.take(announced)
        except Exception as exc:
            may_pass = isinstance(exc, PASSING)
            if not may_pass or announced.tries >= PATIENT_TRIES:
                self.intake.give_up(announced, type(exc).__name__)
                count("DropsNotExamined")
            raise


@cache
def build() -> App:
    """Read the settings and make the clients, at the first event."""
    settings = SubmitSettings.from_env(os.environ)
    store = JobStore(
        boto3.client("dynamodb", config=FAIL_FAST), settings.jobs_table, on_change=announce
    )
    patience = Patience(MAX_EXAMINING_SECONDS)
    bucket = DropBucket(
        boto3.client("s3", config=FAIL_FAST),
        boto3.client("s3", config=PRESIGNING),
        settings.drop_bucket,
        patience.check,
    )
    key = FalKey(settings.fal_key_parameter, partial(boto3.client, "ssm"))
    queue = FalQueue(key)
    uploads = settings.audio_delivery == FAL_STORAGE
    rules = DropLimits(
        max_frames=settings.max_frames,
        usd_per_megapixel=settings.price_per_megapixel_usd,
        max_job_cost_usd=settings.max_job_cost_usd,
        daily_budget_usd=settings.daily_budget_usd,
        uploads=uploads,
        max_sequence_seconds=settings.max_sequence_seconds if settings.long_audio == SPLIT else 0,
    )
    drops = DropsQueue(boto3.client("sqs", config=FAIL_FAST), settings.drops_queue_url)

    def rest(announced: Announcement) -> None:
        drops.rest(bucket.name, announced.key, announced.happened_at, settings.settle_seconds)

    prober = RemoteProber(boto3.client("lambda", config=PROBING), settings.probe_function)
    work = WorkFiles(boto3.client("s3", config=FAIL_FAST), settings.output_bucket)
    editor = RemoteEditor(boto3.client("lambda", config=EDITING), settings.edit_function, work)
    intake = Intake(
        bucket,
        store,
        Examiner(
            bucket,
            rules,
            prober,
            lru_cache(1)(editor.silences),  # each take asks
            patience,
        ),
        timedelta(minutes=settings.pair_grace_minutes),
        skips_repeats=settings.same_content == SKIP,
        on_gone=lambda: count("DropsGone"),
        rest=rest if settings.settle_seconds else None,
        dispatch=drops.dispatch,
    )
    terms = SubmissionSettings(
        webhook_base_url=settings.webhook_base_url,
        audio_url_ttl=settings.audio_url_ttl_seconds,
        output_lifetime=settings.output_lifetime_seconds,
        ask_after=timedelta(seconds=settings.ask_fal_seconds),
    )
    limits = SpendingLimits(settings.max_in_flight, settings.daily_budget_usd)
    life = settings.audio_url_ttl_seconds
    media: MediaUrls = (
        Uploaded(bucket, FalStorage(key), life + UPLOADING.seconds, UPLOADING)
        if uploads
        else Presigned(bucket, life)
    )
    submitter = Submitter(media, store, queue, terms, limits)
    min_time_ms = MIN_TIME_TO_UPLOAD_MS if uploads else MIN_TIME_MS
    sequencer = Sequencer(
        store, editor, drops, settings.max_in_flight, settings.stable_key == "true"
    )
    return App(store, intake, submitter, sequencer, Canceller(store, queue), min_time_ms)


def on_message(message: Message, lambda_context: LambdaContext) -> None:
    """One message; an error returns it to the queue, and its neighbours go on."""
    count("DropMessages")
    if lambda_context.get_remaining_time_in_millis() < MIN_TIME_MS:
        raise OutOfTime
    try:
        app = build()
        for job in app.jobs(read_message(message.json()), message.tries):
            time_left_ms = lambda_context.get_remaining_time_in_millis()
            if time_left_ms < app.min_time_ms:
                logger.warning("job.left_to_dispatch")  # it is READY: its turn comes
                break
            logger.append_keys(job_id=job.job_id)
            app.send(job, time_left_ms)
    except Exception:
        logger.exception("drop.failed")
        raise
    finally:
        logger.remove_keys(["job_id"])


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=False)
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Lambda's entry: a batch of the drops queue."""
    return each(event, partial(on_message, lambda_context=context))
