"""From a verdict to a stored video: record it, copy, finish.

The verdict is written before the copy and the video's record after it; the copy itself writes an
object once. So a delivery that is cut off, or comes twice, does again only what is not done.
"""

from __future__ import annotations

import json
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phonoscene.containers import CONTENT_TYPES, checked, suffix_of
from phonoscene.drops import output_key
from phonoscene.errors import VideoRefused, WriteRefused
from phonoscene.jobs import ErrorDetail, Job, JobStatus, Request, Video
from phonoscene.verdicts import Verdict, from_webhook

if TYPE_CHECKING:
    from phonoscene.cdn import Cdn
    from phonoscene.fal_queue import FalQueue
    from phonoscene.job_store import JobStore
    from phonoscene.output import OutputBucket, Stored
    from phonoscene.webhooks import Delivery

logger = logging.getLogger(__name__)

#: How often a verdict is taken up again because its job moved while it was looked at.
TRIES = 3


@dataclass(frozen=True)
class Deliverer:
    """Brings verdicts home."""

    store: JobStore
    queue: FalQueue
    cdn: Cdn
    output: OutputBucket

    def deliver(self, delivery: Delivery) -> Job | None:
        """The job after its verdict, or None where the delivery is not for one of our jobs.

        Raises:
            VideoUnavailable: the copy, or the result, must be tried again.
            VerdictMalformed: fal signed what cannot be understood; it belongs in the dead-letter
            queue.
        """
        for _ in range(TRIES):
            with suppress(WriteRefused):  # the job moved on while it was looked at: look again
                return self._deliver(delivery)
        return self._deliver(delivery)

    def _deliver(self, delivery: Delivery) -> Job | None:
        job = self.store.get(delivery.job_id)
        if job is None or not _shows_token(job, delivery.token_hash):
            reason = "unknown_job" if job is None else "wrong_token"
            logger.warning("verdict.refused", extra={"reason": reason})
            return None
        if self._is_another_requests(job, delivery.request_id):
            return job
        if job.is_final:
            logger.info("verdict.duplicate", extra={"status": job.status})
            return job
        return self._conclude(job, delivery)

    def _is_another_requests(self, job: Job, request_id: str) -> bool:
        """Whether the job is bound to a request already, and this verdict is of another one."""
        if job.request is None or job.request.request_id == request_id:
            return False
        logger.warning("verdict.of_another_request", extra={"request_id": request_id})
        self.store.note_duplicate(job, request_id)
        return True

    def _conclude(self, job: Job, delivery: Delivery) -> Job:
        if (
            job.status is JobStatus.GENERATED
        ):  # recorded by a delivery that was cut off, or by a twin
            return self._store(job)
        verdict = from_webhook(delivery.body)
        if verdict.must_be_fetched:
            verdict = self.queue.result(_bound(job, verdict))
        if verdict.errors and _is_of_past_attempt(job, delivery.token_hash):
            logger.info("verdict.of_past_attempt")
            return job
        if verdict.errors:
            return self._fail(job, *verdict.errors, request=_bound(job, verdict))
        return self._store(self._record(job, verdict))

    def _record(self, job: Job, verdict: Verdict) -> Job:
        """Write down that the video exists, before a byte of it is copied.

        Raises:
            WriteRefused: the job has moved on; a twin may have recorded the same verdict.
        """
        output: Any = verdict.output
        return self.store.move(
            job,
            JobStatus.GENERATED,
            request=_bound(job, verdict),
            source_url=output.video.url,
            reported=output.video.model_dump(exclude={"url"}, exclude_none=True),
            seed=output.seed,
            prompt_used=output.prompt,
        )

    def _store(self, job: Job) -> Job:
        suffix = suffix_of(str(job.arguments["video_output_type"]))
        key = output_key(job.name, job.job_id, suffix)
        try:
            with self.cdn.open(str(job.source_url)) as parts:
                stored = self.output.store(checked(parts, suffix), key, CONTENT_TYPES[suffix])
        except VideoRefused as exc:
            return self._fail(job, exc.error)
        video = _video(job, stored)
        self.output.put_manifest(output_key(job.name, job.job_id, ".json"), _manifest(job, video))
        return self._finish(job, JobStatus.SUCCEEDED, video=video, source_url=None, reported=None)

    def _fail(self, job: Job, *errors: ErrorDetail, **changes: Any) -> Job:
        return self._finish(
            job, JobStatus.FAILED, errors=errors, source_url=None, reported=None, **changes
        )

    def _finish(self, job: Job, status: JobStatus, **changes: Any) -> Job:
        try:
            return self.store.move(job, status, only_from=frozenset({job.status}), **changes)
        except WriteRefused as exc:
            if exc.found is None or not exc.found.is_final:
                raise
            logger.info("job.finished_already", extra={"status": exc.found.status})  # by a twin
            return exc.found


def _shows_token(job: Job, token_hash: str) -> bool:
    """Whether one of the job's attempts was given this token; compared in constant time."""
    matches = [secrets.compare_digest(known, token_hash) for known in job.token_hashes]
    return any(matches)


def _is_of_past_attempt(job: Job, token_hash: str) -> bool:
    """Whether the verdict is about an attempt that was given up: its failure is not the job's."""
    return job.status is JobStatus.READY or job.token_hashes[-1] != token_hash


def _bound(job: Job, verdict: Verdict) -> Request:
    """The job's request, or the one its token proves, where our POST's answer was lost."""
    return job.request or Request(request_id=verdict.request_id)


def _video(job: Job, stored: Stored) -> Video:
    told = job.reported
    return Video(
        **stored.__dict__,
        width=told.get("width"),
        height=told.get("height"),
        fps=told.get("fps"),
        frames=told.get("num_frames"),
        duration=told.get("duration"),
    )


def _manifest(job: Job, video: Video) -> bytes:
    """What lies beside the video: where it came from and what it is. No URL that opens anything."""
    known = job.model_dump(
        mode="json",
        include={"job_id", "name", "bucket", "audio", "sidecar", "images", "arguments", "estimate",
        "seed",
                 "prompt_used", "created_at"},
        exclude_none=True,
    )  # fmt: skip
    request = job.request.request_id if job.request else None
    manifest = known | {
        "request_id": request,
        "video": video.model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"
