"""From a READY job to fal's queue: its files' URLs, claim, one POST, and what its answer means.

The claim is written before the POST and the answer after it. A process that dies in between leaves
a job SUBMITTING with an unknown outcome; it is never sent again from here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from phonoscene.errors import DropRefused, MustWait, UploadFailed, WriteRefused
from phonoscene.fal.requests import ACCOUNT, Accepted, Refused, Submission, SubmitOutcome, Unknown
from phonoscene.fal.webhook_message import hash_token, new_token
from phonoscene.jobs import LOOK_AGAIN_AFTER, UNANSWERED, ErrorDetail, Job, JobStatus
from phonoscene.limits import turn_after, turn_tomorrow
from phonoscene.retries import MAX_ACCOUNT_REFUSALS, MAX_REFUSALS, retry_at

if TYPE_CHECKING:
    from datetime import datetime

    from phonoscene.fal.queue import FalQueue
    from phonoscene.limits import SpendingLimits
    from phonoscene.table.job_store import JobStore
    from phonoscene.workflow.media_urls import MediaUrls

logger = logging.getLogger(__name__)

#: How long fal may take to read a file once it has started, in seconds: what the start timeout
#: stays below the URLs' life. fal reads the audio after its queue wait.
READING_MARGIN: Final = 300
#: How long nothing is dispatched after fal has refused the account; then the next job finds out.
PAUSE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class SubmissionSettings:
    """What the operator decides about submissions; times in seconds.

    Without ``webhook_base_url`` fal sends no webhook. ``ask_after``: when fal is polled.
    """

    webhook_base_url: str
    audio_url_ttl: int
    output_lifetime: int
    ask_after: timedelta = LOOK_AGAIN_AFTER[JobStatus.SUBMITTED]

    @property
    def start_timeout(self) -> int:
        """How long a request may wait at fal, so that it can still read its files."""
        return self.audio_url_ttl - READING_MARGIN

    def webhook_url(self, job_id: str, token: str) -> str | None:
        """Where fal delivers this job's webhook; the token is a capability and not stored."""
        base = self.webhook_base_url
        return f"{base}/webhooks/fal/{job_id}/{token}" if base else None


@dataclass(frozen=True)
class Submitter:
    """Submits jobs, each attempt once."""

    media: MediaUrls
    store: JobStore
    queue: FalQueue
    terms: SubmissionSettings
    limits: SpendingLimits

    def submit(self, job: Job) -> Job:
        """Submit a READY job; a job in any other state is returned as it is.

        A job for which there is no room, or which fal would not take now, stays READY, and says
        why.
        """
        if job.status is not JobStatus.READY:
            return job
        token = new_token()
        try:  # what fails before the claim was not sent
            client = self.queue.ready()
            held_until = self._hold(job)
            submission = self._submission(job, token)
            claimed = self._claim(job, hash_token(token), held_until)
        except (MustWait, UploadFailed, DropRefused, WriteRefused) as exc:
            return self._leave(job, exc)
        is_ours = claimed.token_hashes[-1:] == (hash_token(token),)
        if claimed.status is not JobStatus.SUBMITTING or not is_ours:
            return claimed
        outcome = client.submit(submission)  # this line, and no other, spends money
        return self._settle(claimed, outcome)

    def _leave(self, job: Job, why: MustWait | UploadFailed | DropRefused | WriteRefused) -> Job:
        """What becomes of a job that was not claimed."""
        match why:
            case MustWait():
                return self._put_off(job, why)
            case UploadFailed():
                return self._upload_later(job, why)
            case DropRefused():
                return self._fail(job, why.errors)
            case WriteRefused():  # it is not READY any more, or its turn has not come
                return why.found or job

    def _hold(self, job: Job) -> datetime | None:
        """If preparing takes time: only with a free slot, and in one process at a time."""
        takes = self.media.takes
        return self.store.hold(job, self.limits, takes) if takes else None

    def _claim(self, job: Job, token_hash: str, held_until: datetime | None) -> Job:
        """The job once it is claimed, by whomever: the last token tells.

        A claim whose answer was lost is repeated by the SDK, and refused because it has succeeded;
        it is still ours.
        """
        try:
            return self.store.claim(
                job,
                self.limits,
                token_hash,
                held_until,
                start_timeout=self.terms.start_timeout,
                output_lifetime=self.terms.output_lifetime,
            )
        except WriteRefused as exc:
            return exc.found or job

    def _put_off(self, job: Job, why: MustWait) -> Job:
        """Note why the job waits. For a slot it keeps its turn; money comes with the next day.

        If it comes before, because the operator allows more or another job's is given back, the
        dispatcher finds the job. A segment has the turn of its drop: what has begun is finished,
        before the segments that are paid for are deleted.
        """
        at = self.store.clock()
        since = (job.dropped_at if job.part_of else None) or job.updated_at
        tomorrow = turn_tomorrow(since, at)
        turns = {"slot": job.updated_at, "cdn": job.updated_at, "budget": tomorrow}
        if why.waits_for in turns:
            return self._note(job, why.waits_for, turns[why.waits_for])
        # a pause without an end: the key cannot be used, so nothing was sent that fal could refuse
        until = why.until or self._pause()
        return self._note(job, why.waits_for, turn_after(until, job.updated_at))

    def _upload_later(self, job: Job, failure: UploadFailed) -> Job:
        """Nothing was claimed, and nothing is billed: like a refusal of fal's queue."""
        logger.warning("upload.failed", extra={"reason": str(failure)})
        if failure.waits_for == "account":
            return self._note(job, "account", self._pause())
        times = job.uploads_failed + 1
        if times > MAX_REFUSALS:
            return self._fail(job, (_NOT_UPLOADED,))
        turn = retry_at(times, self.store.clock())
        return self._note(job, failure.waits_for, turn, uploads_failed=times)

    def _note(self, job: Job, waits_for: str, turn: datetime, **changes: Any) -> Job:
        try:
            return self.store.put_off(job, waits_for, turn, **changes)
        except WriteRefused as exc:
            return exc.found or job

    def _fail(self, job: Job, errors: tuple[ErrorDetail, ...]) -> Job:
        """End a job before any claim."""
        try:
            ready = frozenset({JobStatus.READY})
            return self.store.end(job, JobStatus.FAILED, only_from=ready, errors=errors)
        except WriteRefused as exc:
            return exc.found or job

    def _submission(self, job: Job, token: str) -> Submission:
        return Submission(
            arguments=job.arguments | self.media.of(job),
            webhook_url=self.terms.webhook_url(job.job_id, token),
            start_timeout=self.terms.start_timeout,
            output_lifetime=self.terms.output_lifetime,
        )

    def _pause(self) -> datetime:
        """Pause claiming for a while, because fal refuses the account; returns until when."""
        until = self.store.clock() + PAUSE
        self.store.ledger.pause(until)
        logger.error("dispatch.paused", extra={"until": until.isoformat()})
        return until

    def _settle(self, job: Job, outcome: SubmitOutcome) -> Job:
        """Write down what fal made of the request."""
        busy = job.refusals - job.account_refusals
        match outcome:
            case Accepted(request):
                at = self.store.clock() + self.terms.ask_after
                job = self._move(job, JobStatus.SUBMITTED, at=at, request=request)
                if job.status is JobStatus.CANCELLED:  # meanwhile, before the request was known
                    self.queue.cancel(request)
                return job
            case Unknown(reason):
                logger.warning("job.unconfirmed", extra={"reason": reason})
                return self._move(job, JobStatus.UNCONFIRMED)
            case Refused(code) if code == ACCOUNT:
                at, of_account = self._pause(), job.account_refusals + 1
                if of_account > MAX_ACCOUNT_REFUSALS:
                    return self._end_refused(job, outcome)
                refused = {"refusals": job.refusals + 1, "account_refusals": of_account}
                return self._end(job, JobStatus.READY, at=at, waits_for="account", **refused)
            case Refused(retryable=True) if busy < MAX_REFUSALS:
                refused = {"refusals": job.refusals + 1}
                at = retry_at(busy + 1, self.store.clock())
                return self._end(job, JobStatus.READY, at=at, waits_for="fal", **refused)
            case Refused():
                return self._end_refused(job, outcome)

    def _end_refused(self, job: Job, refusal: Refused) -> Job:
        error = ErrorDetail(code=refusal.code, message=refusal.message)
        return self._end(job, JobStatus.FAILED, errors=(error,))

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


_NOT_UPLOADED: Final = ErrorDetail(
    code="fal_storage",
    message="fal's storage did not accept the files for a day. Drop them again.",
)
