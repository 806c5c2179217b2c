"""Looks after jobs that are in motion for too long: none waits for an event that never comes.

The index ``due`` holds them with the time to look. What is found takes the same way as
a webhook: a message in the verdicts queue, or a dispatch in the drops queue.
"""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from phonoscene.errors import FalUnavailable, WriteRefused
from phonoscene.fal.requests import Ended, Lost, Pending, Unclear
from phonoscene.fal.webhook_message import WebhookMessage
from phonoscene.jobs import NOT_COPIED, ErrorDetail, Job, JobStatus, Request
from phonoscene.workflow.ledger_audit import LedgerAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from phonoscene.fal.queue import FalQueue
    from phonoscene.queues import VerdictsQueue
    from phonoscene.table.job_store import JobStore
    from phonoscene.workflow.dispatch import Dispatcher
    from phonoscene.workflow.ledger_audit import LedgerStatus

logger = logging.getLogger(__name__)

#: Jobs that one pass looks at side by side: fal may take seconds to answer for each.
JOBS_AT_ONCE: Final = 8
#: Between two questions to fal that it did not answer, or to its list of requests.
ASK_AGAIN: Final = timedelta(seconds=45)
#: Between two tries of a copy that was cut off: longer than one may take.
COPY_AGAIN: Final = timedelta(seconds=400)
#: Between two times that ``submit`` is asked to end the wait of a half, or at least between two
#: that it is asked to look for an image, whose own event may be lost.
END_AGAIN: Final = timedelta(minutes=6)
#: fal's longest run where an app sets no limit of its own: an hour, by fal's documentation of
#: ``request_timeout``. And a margin for its webhook.
RUN_AND_CALL: Final = timedelta(minutes=75)
#: What fal was asked for by records that do not say it: the longest start timeout, the usual
#: lifetime of a video.
START_TIMEOUT: Final = timedelta(hours=1)
OUTPUT_LIFETIME: Final = timedelta(days=1)
#: How long fal keeps a result for sure after the run.
RESULT_KEPT: Final = timedelta(hours=1)
#: How long fal is asked in vain after the time in which it must have ended a request.
ASKED_FOR: Final = timedelta(hours=24)
#: When a person should know that a paid video is not stored: after the second copy at the latest,
#: and after two minutes without an answer of fal, which may delete a large result after six.
COPY_SHOULD_TAKE: Final = timedelta(minutes=10)
ANSWER_SHOULD_TAKE: Final = timedelta(minutes=2)


class Look(NamedTuple):
    """What one look at a due job saw: its status, or None where it is gone."""

    status: str | None
    #: For how long it had been due.
    overdue: timedelta
    is_at_risk: bool = False
    is_unclear: bool = False


@dataclass
class ReconcileReport:
    """What one run saw, for its metrics."""

    #: Jobs that were due, by state, and for how long the first of them had been.
    looked: Counter[str] = field(default_factory=Counter)
    overdue: timedelta = timedelta(0)
    #: Jobs whose video may be paid for and is not stored although it should be.
    at_risk: int = 0
    #: Requests whose status is none that fal documents.
    unclear: int = 0
    #: Sums that were not the jobs', and were put right.
    corrected: int = 0
    #: The places that are taken, the day's money, and whether dispatching is paused.
    standing: LedgerStatus | None = None
    dispatched: int = 0
    #: For how long the oldest READY job could have been sent.
    ready_for: timedelta = timedelta(0)

    def count(self, looks: Iterable[Look]) -> None:
        """Add up what was seen of the due jobs."""
        for look in looks:
            self.looked.update([look.status] if look.status else [])
            self.overdue = max(self.overdue, look.overdue)
            self.at_risk += look.is_at_risk
            self.unclear += look.is_unclear


@dataclass(frozen=True)
class Reconciler:
    """One pass over what is due. ``ask_again``: between two questions about one request."""

    store: JobStore
    queue: FalQueue
    verdicts: VerdictsQueue
    dispatcher: Dispatcher
    ask_again: timedelta = ASK_AGAIN

    def run(self, has_time: Callable[[], bool] = lambda: True) -> ReconcileReport:
        """Look at all that is due, recount, dispatch."""
        report = ReconcileReport()
        recounter = LedgerAudit(self.store)
        now = self.store.clock()
        due, turn = self.store.due(now), Lock()

        def next_due() -> tuple[str, datetime] | None:
            with turn:
                return next(due, None) if has_time() else None

        def looks() -> list[Look]:
            """What one thread sees, of one due job after the other."""
            return [self._look(id_, now - at, recounter) for id_, at in iter(next_due, None)]

        with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
            threads = [pool.submit(looks) for _ in range(JOBS_AT_ONCE)]
            for thread in threads:
                report.count(thread.result())
        if next(due, None):  # the next pass goes on: what was looked at is due later now
            logger.warning("reconcile.out_of_time", extra={"looked": report.looked.total()})
        report.standing = recounter.recount()
        report.corrected = len(recounter.corrected)
        dispatched = self.dispatcher.dispatch(at_least=1)
        report.dispatched, report.ready_for = dispatched.jobs, dispatched.oldest_ready
        return report

    def _look(self, job_id: str, overdue: timedelta, recounter: LedgerAudit) -> Look:
        """One job; what happens to it must not stop the others."""
        try:
            job = self.store.get(job_id)
        except Exception:
            logger.exception("reconcile.unreadable", extra={"job_id": job_id})
            return Look("unreadable", overdue)
        if job is None:
            return Look(None, overdue)
        is_at_risk, is_unclear = self._is_at_risk(job), False
        try:
            recounter.ensure_place(job)
            is_unclear = self._reconcile(job)
        except WriteRefused:  # it moved meanwhile: good news
            logger.info("reconcile.moved", extra={"job_id": job_id})
        except FalUnavailable as exc:
            logger.warning("reconcile.unanswered", extra={"job_id": job_id, "reason": str(exc)})
            self._try_later(job, problem=str(exc))
        except Exception:
            logger.exception("reconcile.failed", extra={"job_id": job_id})
            self._try_later(job)
        return Look(job.status, overdue, is_at_risk, is_unclear)

    def _is_at_risk(self, job: Job) -> bool:
        """Whether a video that may be paid for is not stored although it should be."""
        now = self.store.clock()
        if job.sequence:  # what is joined is kept for a month, and joining may take long
            return False
        if job.status is JobStatus.GENERATED:
            return now - job.last(JobStatus.GENERATED) > COPY_SHOULD_TAKE
        return job.unanswered_since is not None and now - job.unanswered_since > ANSWER_SHOULD_TAKE

    def _try_later(self, job: Job, **noted: str) -> None:
        """Where fal, or we, could not tell how the job stands."""
        at = self.store.clock()
        try:
            self.store.look_again(job, at + ASK_AGAIN, job.unanswered_since or at, **noted)
        except WriteRefused:
            logger.info("reconcile.moved", extra={"job_id": job.job_id})
        except Exception:
            logger.exception("reconcile.failed", extra={"job_id": job.job_id})

    def _later(self, job: Job, pause: timedelta = ASK_AGAIN) -> None:
        """After an answer of fal that does not end the request."""
        self.store.look_again(job, self.store.clock() + pause, problem=None)

    def _reconcile(self, job: Job) -> bool:
        """Look after one job; whether fal's status of it is none that is known."""
        match job.status:
            case JobStatus.WAITING:  # submit sees the bucket, and what is beside the half
                self.store.look_again(job, self._after_wait(job))
                self.dispatcher.drops.dispatch([job.job_id])
            case JobStatus.SUBMITTED | JobStatus.GENERATED if job.sequence:
                # submit sees its segments, or joins them
                at = self.store.clock() + COPY_AGAIN
                self.store.look_again(job, at, job.unanswered_since)
                self.dispatcher.drops.dispatch([job.job_id])
            case JobStatus.SUBMITTING:  # its process died, before or after the POST
                self._move(job, JobStatus.UNCONFIRMED)
            case JobStatus.UNCONFIRMED:
                self._settle(job)
            case JobStatus.SUBMITTED if job.request:
                return self._ask(job, job.request)
            case JobStatus.GENERATED:
                self._copy(job)
            case _:
                logger.info("reconcile.not_due", extra={"job_id": job.job_id, "status": job.status})
        return False

    def _after_wait(self, job: Job) -> datetime:
        """When to look at a WAITING job again: more and more rarely, and when its wait ends."""
        now = self.store.clock()
        if job.waits_until is None or job.waits_until <= now:
            return now + END_AGAIN
        return min(now + max(END_AGAIN, now - job.created_at), job.waits_until)

    def _move(self, job: Job, status: JobStatus, **changes: Any) -> None:
        """Only from where it was read: while fal was asked, a webhook may have come."""
        self.store.move(job, status, only_from=frozenset({job.status}), **changes)

    def _end(self, job: Job, status: JobStatus, **changes: Any) -> None:
        """The same, for what ends an attempt."""
        self.store.end(job, status, only_from=frozenset({job.status}), **changes)

    def _ask(self, job: Job, request: Request) -> bool:
        """Poll fal, because the webhook is late; whether fal's status is none that is known."""
        now = self.store.clock()
        # first: should this process die while fal is asked, other jobs have their turn
        self.store.look_again(job, now + self.ask_again, job.unanswered_since)
        is_late = now > job.last(JobStatus.SUBMITTED) + _silence_of(job)
        try:
            answer = self.queue.poll(request, is_overdue=job.is_overdue(now) or is_late)
        except FalUnavailable:
            if now < job.last(JobStatus.SUBMITTED) + _silence_of(job) + ASKED_FOR:
                raise
            answer = Lost()
        match answer:
            case Ended(body):
                self._deliver(job, request.request_id, body)
            case Pending() if job.unanswered_since or job.problem:
                self._later(job, self.ask_again)
            case Unclear(status):
                logger.error("status.unknown", extra={"job_id": job.job_id, "status": status})
                problem, at = f"its status is {status!r}", now + self.ask_again
                self.store.look_again(job, at, job.unanswered_since, problem=problem)
                return True
            case Lost():
                self._lose(job)
        return False

    def _lose(self, job: Job) -> None:
        """Fal knows nothing of a request that it took. Said soon, that is an outage of fal's."""
        kept_until = job.last(JobStatus.SUBMITTED) + _silence_of(job) + RESULT_KEPT
        if self.store.clock() < kept_until:
            raise FalUnavailable("fal does not know a request that it accepted")
        self._end(job, JobStatus.FAILED, errors=(_LOST,))

    def _settle(self, job: Job) -> None:
        """An unknown POST: fal's list may show it, or long silence prove that it was not taken.

        A list that cannot be read proves nothing. After a day of that the job ends, and its money
        stays spent.
        """
        asked_at = job.last(JobStatus.SUBMITTING)
        self.store.look_again(job, self.store.clock() + ASK_AGAIN, job.unanswered_since)
        try:
            found = self.queue.find(job.marker, asked_at - ASK_AGAIN, asked_at + _silence_of(job))
        except FalUnavailable:
            if self.store.clock() < asked_at + _silence_of(job) + ASKED_FOR:
                raise
            self._end(job, JobStatus.FAILED, errors=(_UNPROVEN,))
            return
        if found:
            self._move(job, JobStatus.SUBMITTED, request=found, at=self.store.clock())
        elif self.store.clock() < asked_at + _silence_of(job):
            if job.unanswered_since or job.problem:
                self._later(job)
        elif job.resubmitted:
            self._end(job, JobStatus.FAILED, errors=(_UNKNOWN,))
        else:
            logger.warning("job.resubmitted", extra={"job_id": job.job_id})
            self._end(job, JobStatus.READY, resubmitted=True)

    def _copy(self, job: Job) -> None:
        """The copy was cut off, or failed: once more, as long as fal keeps the video."""
        if self.store.clock() > job.last(JobStatus.GENERATED) + _kept_for(job):
            logger.error("video.lost", extra={"job_id": job.job_id})
            self.store.end(
                job, JobStatus.FAILED, errors=(_not_copied(job),), source_url=None, reported={}
            )
            return
        self.store.look_again(job, self.store.clock() + COPY_AGAIN, job.unanswered_since)
        self._deliver(job, job.request.request_id if job.request else "", "")

    def _deliver(self, job: Job, request_id: str, body: str) -> None:
        """As a webhook would; the job's own token hash vouches for it."""
        self.verdicts.send(WebhookMessage(job.job_id, job.token_hashes[-1], request_id, body))


def _silence_of(job: Job) -> timedelta:
    """How long fal shows no trace of a POST until that proves that it was never accepted.

    It is longer than fal could let the request of this attempt wait, and run.
    """
    waits = timedelta(seconds=job.start_timeout) if job.start_timeout else START_TIMEOUT
    return waits + RUN_AND_CALL


def _kept_for(job: Job) -> timedelta:
    """How long fal was asked to keep the video."""
    return timedelta(seconds=job.output_lifetime) if job.output_lifetime else OUTPUT_LIFETIME


def _not_copied(job: Job) -> ErrorDetail:
    why = f" The last time, {job.problem}." if job.problem else ""
    message = f"The video could not be copied while fal kept it.{why}"
    return ErrorDetail(code=NOT_COPIED, message=message)


_LOST = ErrorDetail(
    code="result_lost",
    message=(
        "fal no longer has the result of this request. It may have made a video, and may bill it."
    ),
)
_UNKNOWN = ErrorDetail(
    code="outcome_unknown",
    message="fal's answer was lost twice, and fal shows no trace of the requests.",
)
_UNPROVEN = ErrorDetail(
    code="outcome_unproven",
    message=(
        "fal's answer was lost, and its list of requests could not be read for a day: fal may have "
        "made a video, and bill it."
    ),
)
