"""From a result to a stored video: record it, copy, finish.

The result is written before the copy and the video's record after it; the copy itself writes an
object once. So a webhook that is cut off, or comes twice, does again only what is not done.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from phonoscene.drops.keys import output_key, segment_key, stable_keys
from phonoscene.drops.pricing import actual
from phonoscene.errors import (
    CopyFailed,
    FalUnavailable,
    ResultMalformed,
    VideoRefused,
    VideoTooLarge,
    WriteRefused,
)
from phonoscene.fal.requests import Ended, Lost
from phonoscene.fal.results import Result, from_webhook, video_url_in
from phonoscene.jobs import UNANSWERED, ErrorDetail, Job, JobStatus, Request, Video
from phonoscene.publishing.manifests import Manifest, to_bytes
from phonoscene.retries import MAX_ATTEMPTS, retry_at
from phonoscene.videos.tracks import read_tracks
from phonoscene.videos.video_formats import CONTENT_TYPES, Examination, check_container, suffix_of

if TYPE_CHECKING:
    from datetime import datetime

    from phonoscene.fal.queue import FalQueue
    from phonoscene.fal.webhook_message import WebhookMessage
    from phonoscene.jobs import Actual
    from phonoscene.table.job_store import JobStore
    from phonoscene.videos.cdn import Cdn
    from phonoscene.videos.output_bucket import OutputBucket, Stored
    from phonoscene.videos.tracks import Tracks

logger = logging.getLogger(__name__)

#: How often a result is taken up again because its job moved while it was looked at.
TRIES = 3
#: Between two tries of a copy that fails.
MIN_PAUSE = timedelta(seconds=30)
MAX_PAUSE = timedelta(minutes=15)
#: Between two questions to fal after an answer that cannot be read, and how many of those it takes:
#: minutes may pass between two questions, and the next answer may be good.
ASK_AGAIN = timedelta(seconds=45)
MIN_UNREADABLE = 5
_UNREADABLE = (
    "fal's answer to request {request} cannot be read, and a video may have been made and billed. "
    "Show fal's support the request, and the SHA-256 of the answer: {digest}"
)
#: A video that was seen to be cut off, or too large, may still become another for so long: its
#: address may have been given out before its bytes. After that it is stored as it is, or refused.
BECOMES_WHOLE_WITHIN = timedelta(minutes=5)
#: S3 copies no larger object in one request.
MAX_COPY_BYTES = 5 * 1024**3


@dataclass(frozen=True)
class ResultHandler:
    """Records fal's results and stores their videos; StableKey is ``has_stable_keys``."""

    store: JobStore
    queue: FalQueue
    cdn: Cdn
    output: OutputBucket
    has_stable_keys: bool = True

    def handle(self, webhook: WebhookMessage) -> Job | None:
        """The job after its result, or None where the webhook is not for one of our jobs.

        A copy that fails is tried again by the record, which says when: no message has to come back
        for it.

        Raises:
            FalUnavailable: the result cannot be fetched now.
        """
        for _ in range(TRIES):
            with suppress(WriteRefused):  # the job moved on while it was looked at: look again
                return self._handle(webhook)
        return self._handle(webhook)

    def _handle(self, webhook: WebhookMessage) -> Job | None:
        job = self.store.get(webhook.job_id)
        if job is None or not _shows_token(job, webhook.token_hash):
            reason = "unknown_job" if job is None else "wrong_token"
            logger.warning("result.refused", extra={"reason": reason})
            return None
        if job.status is JobStatus.GENERATED and not _is_anothers(job, webhook):
            # it was recorded, and then cut off, or by a twin
            return self._store(job, is_retry=True)
        if job.is_final or job.status is JobStatus.GENERATED:
            return self._note_late(job, webhook)
        return self._conclude(job, webhook)

    def _note_late(self, job: Job, webhook: WebhookMessage) -> Job:
        """A result for a job that has its video, or has ended: again the same, or one too many.

        A success after a failure is the job's own video: it is paid for.
        """
        logger.info("result.late", extra={"status": job.status})
        is_revived = job.status is JobStatus.FAILED and not job.was_generated
        is_its_own = job.status is not JobStatus.CANCELLED and not _is_anothers(job, webhook)
        is_known = is_its_own and job.request is not None and not is_revived
        result = _read(webhook) if webhook.body and not is_known else None
        if result is None or result.errors:
            return job
        if is_revived:
            if result.must_be_fetched:
                result = self.queue.result(_request_of(job, result.request_id))
            return job if result.errors else self._store(self._record(job, result))
        came = _actual(job, result)
        with suppress(WriteRefused):  # it was noted before
            self.store.note_paid_again(job, webhook.request_id, came)
            _log_cost(job, came)
        return job

    def _conclude(self, job: Job, webhook: WebhookMessage) -> Job:
        result = _read(webhook)
        if result is None:
            return self._set_aside(job, webhook)
        if result.must_be_fetched:
            job = self._bind(job, webhook)
            result = self.queue.result(_request_of(job, result.request_id))
        elif result.is_unexplained:
            job = self._bind(job, webhook)
            webhook = self._explained(job, webhook)
            result = _read(webhook)
            if result is None:
                return self._set_aside(job, webhook)
        if result.errors and (_is_anothers(job, webhook) or _is_past(job, webhook)):
            logger.info("result.of_past_attempt")
            return job
        if result.errors:
            return self._fail_or_retry(job, result)
        return self._store(self._record(job, result))

    def _explained(self, job: Job, webhook: WebhookMessage) -> WebhookMessage:
        """A failure without a reason, as fal tells it when it is asked.

        It may be about fal's own trouble, and the video may exist.

        Raises:
            FalUnavailable: it is not known yet.
        """
        request = _request_of(job, webhook.request_id)
        match self.queue.poll(request, is_overdue=job.is_overdue(self.store.clock())):
            case Ended(body):
                return replace(webhook, body=body)
            case Lost():
                return webhook
        raise FalUnavailable("fal reports the failure of a request that has not ended")

    def _set_aside(self, job: Job, webhook: WebhookMessage) -> Job:
        """An answer that says nothing of how the request ended: fal is asked, for some minutes.

        Then the job ends, with what identifies the answer, and where it says that a video lies.
        """
        digest = hashlib.sha256(webhook.body.encode(errors="surrogatepass")).hexdigest()
        logger.error("result.unreadable", extra={"sha256": digest})
        if _is_anothers(job, webhook) or _is_past(job, webhook):
            return job
        job, now = self._bind(job, webhook), self.store.clock()
        since, unreadable = job.unanswered_since or now, (job.unreadable_results or 0) + 1
        if not job.is_overdue(now) or unreadable < MIN_UNREADABLE:
            self.store.look_again(
                job,
                now + ASK_AGAIN,
                since,
                unreadable_results=unreadable,
                problem="its answer cannot be read",
            )
            return job
        message = _UNREADABLE.format(request=webhook.request_id, digest=digest)
        error = ErrorDetail(code="result_unreadable", message=message)
        url = video_url_in(webhook.body)
        return self._finish(job, JobStatus.FAILED, errors=(error,), source_url=url)

    def _bind(self, job: Job, webhook: WebhookMessage) -> Job:
        """Write down which request has ended before its result is asked for.

        fal may keep it for six minutes only; from here on reconciling asks for it as well.
        """
        if job.status not in UNANSWERED or _is_past(job, webhook):
            return job
        return self.store.move(
            job,
            JobStatus.SUBMITTED,
            only_from=UNANSWERED,
            request=Request(request_id=webhook.request_id),
        )

    def _record(self, job: Job, result: Result) -> Job:
        """Write down that the video exists, before a byte of it is copied.

        Raises:
            WriteRefused: the job has moved on; a twin may have recorded the same result.
        """
        output: Any = result.output
        came = _actual(job, result)
        recorded = self.store.move(
            job,
            JobStatus.GENERATED,
            request=_request_of(job, result.request_id),
            errors=(),
            source_url=output.video.url,
            reported=output.video.model_dump(exclude={"url"}, exclude_none=True),
            actual=came,
            seed=output.seed,
            prompt_used=output.prompt,
        )
        _log_cost(job, came)
        return recorded

    def _copy(self, job: Job, key: str, examination: Examination) -> Stored:
        """Under the name that was promised, whatever container came: one job, one object."""
        with self.cdn.open(str(job.source_url)) as source:
            found = check_container(source.head, _suffix(job))
            return self.output.store(source, key, CONTENT_TYPES[found], examination)

    def _store(self, job: Job, *, is_retry: bool = False) -> Job:
        """Copy the video; a retry looks first whether it was copied already."""
        key = _key(job, _suffix(job))
        examination = self._examination(job)
        try:
            found = self.output.find(key, examination) if is_retry else None
            stored = found or self._copy(job, key, examination)
        except VideoRefused as exc:
            if isinstance(exc, VideoTooLarge) and not self._has_waited(job):
                later = CopyFailed(str(exc))
                return self._copy_later(job, later, job.unanswered_since or self.store.clock())
            # where it lies is kept: it is paid for, and a person may want it
            return self._finish(job, JobStatus.FAILED, errors=(exc.error,))
        except CopyFailed as exc:
            came = examination.length > 0 and examination.is_cut
            since = job.unanswered_since or (self.store.clock() if came else None)
            return self._copy_later(job, exc, since)
        tracks = read_tracks(examination.kind, examination.index)
        flaws = {"video": self._video(job, stored, tracks), "video_flaws": examination.flaws}
        kept = job.model_copy(update=flaws)
        self.output.put_manifest(_key(job, ".json"), to_bytes(Manifest.of(kept).fields()))
        # of a video that is cut off, where it lies and what fal said of it is kept: as above
        lay: dict[str, Any] = {"source_url": None, "reported": {}}
        forgotten = {} if examination.is_cut else lay
        return self._finish(job, JobStatus.SUCCEEDED, **flaws, **forgotten)

    def _video(self, job: Job, stored: Stored, tracks: Tracks) -> Video:
        is_copied = self.has_stable_keys and stored.bytes <= MAX_COPY_BYTES and not job.part_of
        keys = stable_keys(job.name, _suffix(job), job.take) if is_copied else ()
        data = job.reported
        return Video(
            **stored.__dict__,
            stable_keys=keys,
            width=data.get("width"),
            height=data.get("height"),
            fps=data.get("fps"),
            frames=data.get("num_frames"),
            duration=data.get("duration"),
            **tracks._asdict(),
        )

    def _examination(self, job: Job) -> Examination:
        reported = job.reported.get("file_size") or 0
        return Examination(_suffix(job), reported, takes_cut=self._has_waited(job))

    def _has_waited(self, job: Job) -> bool:
        """Whether the CDN has had its time to serve a better video than it first did."""
        since = job.unanswered_since
        return since is not None and self.store.clock() >= since + BECOMES_WHOLE_WITHIN

    def _copy_later(self, job: Job, reason: CopyFailed, since: datetime | None) -> Job:
        """Have the copy begun again, soon at first: each pause is as long as all tries so far.

        ``since``: when the video was first seen to be cut off, or too large. One try is when that
        is taken for the last word. The CDN may want more time.
        """
        now = self.store.clock()
        tried_for = now - job.last(JobStatus.GENERATED)
        at = now + min(max(tried_for, MIN_PAUSE), MAX_PAUSE)
        if since and now < since + BECOMES_WHOLE_WITHIN < at:
            at = since + BECOMES_WHOLE_WITHIN
        wanted = min(timedelta(seconds=reason.retry_after), MAX_PAUSE)
        logger.warning("video.unavailable", extra={"reason": str(reason)})
        self.store.look_again(job, max(at, now + wanted), since, problem=str(reason))
        self.store.ledger.free_uncopied(job.job_id)
        return job

    def _fail_or_retry(self, job: Job, result: Result) -> Job:
        """Back to READY where fal's errors may be gone next time, as often as is worth it."""
        taken = job.attempt - job.refusals
        if all(error.retryable for error in result.errors) and taken < MAX_ATTEMPTS:
            at = retry_at(taken, self.store.clock())
            return self._finish(job, JobStatus.READY, at=at, request=None, waits_for="fal")
        ended = {"errors": result.errors, "request": _request_of(job, result.request_id)}
        return self._finish(job, JobStatus.FAILED, source_url=None, reported={}, **ended)

    def _finish(self, job: Job, status: JobStatus, **changes: Any) -> Job:
        try:
            return self.store.end(job, status, only_from=frozenset({job.status}), **changes)
        except WriteRefused as exc:
            if exc.found is None or not exc.found.is_final:
                raise
            logger.info("job.finished_already", extra={"status": exc.found.status})  # by a twin
            return exc.found


def _request_of(job: Job, request_id: str) -> Request:
    """The request of this id: the job's, or one whose token proves it."""
    is_the_jobs = job.request and job.request.request_id == request_id
    return job.request if job.request and is_the_jobs else Request(request_id=request_id)


def _read(webhook: WebhookMessage) -> Result | None:
    """The result, or None where fal signed something that is none."""
    try:
        return from_webhook(webhook.body)
    except ResultMalformed as exc:
        logger.warning("result.malformed", extra={"reason": str(exc)})
        return None


def _shows_token(job: Job, token_hash: str) -> bool:
    """Whether one of the job's attempts was given this token; compared in constant time."""
    matches = [secrets.compare_digest(known, token_hash) for known in job.token_hashes]
    return any(matches)


def _is_past(job: Job, webhook: WebhookMessage) -> bool:
    """Whether it is about an attempt that was given up: its failure is not the job's."""
    return job.status is JobStatus.READY or job.token_hashes[-1] != webhook.token_hash


def _is_anothers(job: Job, webhook: WebhookMessage) -> bool:
    """Whether the job is bound to a request already, and this result is of another one."""
    return job.request is not None and job.request.request_id != webhook.request_id


def _actual(job: Job, result: Result) -> Actual | None:
    """What came, where fal reports figures of it."""
    if result.output is None:
        return None
    return actual(job, result.output.video, result.billable_units)


def _log_cost(job: Job, came: Actual | None) -> None:
    """Warn where what came may cost more than was reserved, or cannot be compared."""
    if came is None:
        logger.warning("result.unmeasured")
    elif job.estimate and came.upper_usd > job.estimate.upper_usd:
        figures = {"source": came.source, "usd": str(came.upper_usd)}
        logger.error("result.over_reserved", extra=figures)


def _suffix(job: Job) -> str:
    """The suffix of the container that was asked for."""
    return suffix_of(str(job.arguments["video_output_type"]))


def _key(job: Job, suffix: str) -> str:
    """The key of a job's video, or with ``.json`` of its manifest."""
    if job.part_of:
        return segment_key(job.job_id, suffix)
    return output_key(job.name, job.job_id, suffix)
