"""From a READY job to fal's queue: claim, presign, one POST, and what its answer means.

The claim is written before the POST and the answer after it. A process that dies in between leaves
a job SUBMITTING whose outcome nobody knows; it is never sent again from here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from phonoscene.errors import NoRoom, WriteRefused
from phonoscene.jobs import UNANSWERED, ErrorDetail, Job, JobStatus
from phonoscene.ledger import next_day
from phonoscene.retries import MOST_REFUSALS, retry_at
from phonoscene.submissions import ACCOUNT, Accepted, Answer, Refused, Submission, Unknown
from phonoscene.webhooks import hash_token, new_token

if TYPE_CHECKING:
    from phonoscene.fal_queue import FalQueue
    from phonoscene.job_store import JobStore
    from phonoscene.ledger import Limits
    from phonoscene.media import DropBucket

logger = logging.getLogger(__name__)

#: How long fal may take to read a file once it has started, in seconds: what the start timeout
#: stays below the URL's life. fal reads the audio after its queue wait.
READING_MARGIN: Final = 300
#: How long nothing is dispatched after fal has refused the account; then the next job finds out.
PAUSE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Terms:
    """What the operator decides about submissions; times in seconds."""

    webhook_base_url: str
    audio_url_ttl: int
    output_lifetime: int

    def webhook_url(self, job_id: str, token: str) -> str:
        """Where fal delivers this job's webhook; the token is a capability and not stored."""
        return f"{self.webhook_base_url}/webhooks/fal/{job_id}/{token}"


@dataclass(frozen=True)
class Submitter:
    """Submits jobs, each attempt once."""

    bucket: DropBucket
    store: JobStore
    queue: FalQueue
    terms: Terms
    limits: Limits

    def submit(self, job: Job) -> Job:
        """Submit a READY job; a job in any other state is returned as it is.

        A job for which there is no room, or which fal would not take now, stays READY, and says
        why.
        """
        if job.status is not JobStatus.READY:
            return job
        token = new_token()
        submission = self._submission(job, token)  # before the claim: what fails here was not sent
        try:
            poster = self.queue.ready()
            claimed = self._claim(job, hash_token(token))
        except NoRoom as exc:
            return self._put_off(job, exc.waits_for)
        is_ours = claimed.token_hashes[-1:] == (hash_token(token),)
        if claimed.status is JobStatus.SUBMITTING and is_ours:
            return self._settle(claimed, poster.submit(submission))
        return claimed

    def _claim(self, job: Job, token_hash: str) -> Job:
        """The job once it is claimed, by whomever: the last token tells.

        A claim whose answer was lost is repeated by the SDK, and refused because it has succeeded;
        it is still ours.
        """
        try:
            lifetime = self.terms.output_lifetime
            return self.store.claim(job, self.limits, token_hash, output_lifetime=lifetime)
        except WriteRefused as exc:
            return exc.found or job

    def _put_off(self, job: Job, waits_for: str) -> Job:
        """Note why the job waits. For a place it keeps its turn; money comes with the next day."""
        at = self.store.clock()
        turn = {"window": job.updated_at, "budget": next_day(at)}.get(waits_for, at + PAUSE)
        try:
            return self.store.put_off(job, waits_for, turn)
        except WriteRefused as exc:
            return exc.found or job

    def _submission(self, job: Job, token: str) -> Submission:
        ttl = self.terms.audio_url_ttl
        return Submission(
            arguments=job.arguments | self._media_urls(job, ttl),
            webhook_url=self.terms.webhook_url(job.job_id, token),
            start_timeout=ttl - READING_MARGIN,
            output_lifetime=self.terms.output_lifetime,
        )

    def _media_urls(self, job: Job, ttl: int) -> dict[str, Any]:
        pinned = {"audio_url": job.audio, **job.images}
        marker = job.model_copy(update={"attempt": job.attempt + 1}).marker
        return {
            field: self.bucket.presign(found, ttl, marker)
            for field, found in pinned.items()
            if found
        }

    def _settle(self, job: Job, answer: Answer) -> Job:
        match answer:
            case Accepted(request):
                job = self._move(job, JobStatus.SUBMITTED, request=request)
                if job.status is JobStatus.CANCELLED:  # meanwhile, when nobody knew the request
                    self.queue.cancel(request)
                return job
            case Unknown(reason):
                logger.warning("job.unconfirmed", extra={"reason": reason})
                return self._move(job, JobStatus.UNCONFIRMED)
            case Refused(code, _, retryable=True) if code == ACCOUNT:
                until = self.store.clock() + PAUSE
                self.store.ledger.pause(until)
                logger.error("dispatch.paused", extra={"until": until.isoformat()})
                refused = {"refusals": job.refusals + 1, "waits_for": "account"}
                return self._end(job, JobStatus.READY, at=until, **refused)
            case Refused(_, _, retryable=True) if job.refusals < MOST_REFUSALS:
                refused = {"refusals": job.refusals + 1, "waits_for": "fal"}
                at = retry_at(job.refusals + 1, self.store.clock())
                return self._end(job, JobStatus.READY, at=at, **refused)
            case Refused(code, message):
                return self._end(
                    job, JobStatus.FAILED, errors=(ErrorDetail(code=code, message=message),)
                )

    def _move(self, job: Job, status: JobStatus, **changes: Any) -> Job:
        """Write the answer, unless fal's webhook has overtaken it: then the record knows more."""
        try:
            return self.store.move(job, status, only_from=UNANSWERED, **changes)
        except WriteRefused as exc:
            logger.info("job.overtaken", extra={"answer": status})
            return exc.found or job

    def _end(self, job: Job, status: JobStatus, **changes: Any) -> Job:
        """The same for an answer that ends the attempt: what the job holds is given back."""
        try:
            return self.store.end(job, status, only_from=UNANSWERED, **changes)
        except WriteRefused as exc:
            logger.info("job.overtaken", extra={"answer": status})
            return exc.found or job
