"""Looks after jobs that are in motion for too long: none waits for an event that never comes.

The index ``due`` holds them with the time to look. What is found is brought home on the same way as
a webhook's: as a delivery in the verdicts queue, or as a dispatch in the drops queue.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from phonoscene.errors import VideoUnavailable, WriteRefused
from phonoscene.jobs import ErrorDetail, Job, JobStatus, Request
from phonoscene.submissions import Ended, Lost, Pending
from phonoscene.webhooks import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from phonoscene.fal_queue import FalQueue
    from phonoscene.job_store import JobStore
    from phonoscene.queues import VerdictsQueue
    from phonoscene.workflow.dispatch import Dispatcher

logger = logging.getLogger(__name__)

#: Between two questions to fal about one request.
ASK_AGAIN: Final = timedelta(seconds=45)
#: How long the sums must have stood still before they are recounted: longer than an index lags.
SETTLED: Final = timedelta(minutes=2)
#: How long a video is tried to be copied: fal is asked to keep it at least that long.
COPY_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Reconciler:
    """One pass over what is due.

    ``silence``: after it, a POST whose answer was lost, and of which fal shows no trace, was never
    taken. It is longer than fal could keep the request waiting (its start timeout) and running.
    """

    store: JobStore
    queue: FalQueue
    verdicts: VerdictsQueue
    dispatcher: Dispatcher
    silence: timedelta

    def run(self, has_time: Callable[[], bool] = lambda: True) -> Counter[str]:
        """Look at all that is due, dispatch, recount; how many jobs of each state were seen."""
        looked: Counter[str] = Counter()
        for job_id in self.store.due(self.store.clock()):
            if not has_time():  # the next pass goes on: what was looked at is due later now
                logger.warning("reconcile.out_of_time", extra={"looked": looked.total()})
                break
            looked[self._look(job_id)] += 1
        self.dispatcher.dispatch()
        leaked = self.store.recount(SETTLED)
        if leaked:
            logger.error("window.leaked", extra={"places": leaked})
        return looked

    def _look(self, job_id: str) -> str:
        """One job, and the state it was in; what happens to it must not stop the others."""
        try:
            job = self.store.get(job_id)
        except Exception:
            logger.exception("reconcile.unreadable", extra={"id": job_id})
            return "unreadable"
        if job is None:
            return "gone"
        try:
            self._reconcile(job)
        except WriteRefused:  # it moved meanwhile: good news
            logger.info("reconcile.moved", extra={"id": job_id})
        except VideoUnavailable as exc:
            logger.warning("reconcile.unanswered", extra={"id": job_id, "reason": str(exc)})
            self._try_later(job)
        except Exception:
            logger.exception("reconcile.failed", extra={"id": job_id})
            self._try_later(job)
        return job.status

    def _try_later(self, job: Job) -> None:
        try:
            self._later(job)
        except Exception:
            logger.exception("reconcile.failed", extra={"id": job.job_id})

    def _later(self, job: Job) -> None:
        self.store.look_again(job, self.store.clock() + ASK_AGAIN)

    def _reconcile(self, job: Job) -> None:
        match job.status:
            case JobStatus.WAITING:
                self._end(job, JobStatus.REJECTED, errors=(_alone(job),))
            case JobStatus.SUBMITTING:  # its submitter is dead: nobody knows what fal heard
                self._move(job, JobStatus.UNCONFIRMED)
            case JobStatus.UNCONFIRMED:
                self._settle(job)
            case JobStatus.SUBMITTED if job.request:
                self._ask(job, job.request)
            case JobStatus.GENERATED:
                self._copy(job)
            case _:
                logger.info("reconcile.not_due", extra={"id": job.job_id, "status": job.status})

    def _move(self, job: Job, status: JobStatus, **changes: Any) -> None:
        """Only from where it was read: while fal was asked, a webhook may have come."""
        self.store.move(job, status, only_from=frozenset({job.status}), **changes)

    def _end(self, job: Job, status: JobStatus, **changes: Any) -> None:
        """The same, for what ends an attempt."""
        self.store.end(job, status, only_from=frozenset({job.status}), **changes)

    def _ask(self, job: Job, request: Request) -> None:
        """The webhook is late: fal tells by itself what it would have said."""
        match self.queue.poll(request):
            case Ended(body):
                self._later(job)  # first: the verdict moves the job
                self._deliver(job, request.request_id, body)
            case Pending():
                self._later(job)
            case Lost():
                self._end(job, JobStatus.FAILED, errors=(_LOST,))

    def _settle(self, job: Job) -> None:
        """An unknown POST: fal's list may show it, or long silence prove that it was not taken."""
        asked_at = _last(job, JobStatus.SUBMITTING)
        found = self.queue.find(job.marker, asked_at - ASK_AGAIN, asked_at + self.silence)
        if found:
            self._move(job, JobStatus.SUBMITTED, request=found, at=self.store.clock())
        elif self.store.clock() < asked_at + self.silence:
            self._later(job)
        elif job.resubmitted:
            self._end(job, JobStatus.FAILED, errors=(_UNKNOWN,))
        else:
            logger.warning("job.resubmitted", extra={"id": job.job_id})
            self._end(job, JobStatus.READY, resubmitted=True)

    def _copy(self, job: Job) -> None:
        """The copy was cut off, or failed: once more, as long as fal keeps the video."""
        if self.store.clock() > _last(job, JobStatus.GENERATED) + COPY_FOR:
            logger.error("video.lost", extra={"id": job.job_id})
            self.store.end(
                job, JobStatus.FAILED, errors=(_NOT_COPIED,), source_url=None, reported={}
            )
            return
        self.store.look_again(job, self.store.clock() + COPY_AGAIN)
        self._deliver(job, job.request.request_id if job.request else "", "")

    def _deliver(self, job: Job, request_id: str, body: str) -> None:
        """As a webhook would; the job's own token hash vouches for it."""
        self.verdicts.deliver(Delivery(job.job_id, job.token_hashes[-1], request_id, body))


#: Between two tries of a copy: longer than the verdicts queue's own visibility timeout.
COPY_AGAIN: Final = timedelta(seconds=400)


def _last(job: Job, status: JobStatus) -> datetime:
    """When the job last became that."""
    return max((step.at for step in job.history if step.status is status), default=job.created_at)


def _alone(job: Job) -> ErrorDetail:
    """What a half is told that waited in vain."""
    if job.audio:
        key = job.audio.key
        short = key.rpartition(".")[0]
        return ErrorDetail(
            code="missing_sidecar",
            field="sidecar",
            source=key,
            message=f"{key} waited for its sidecar, {key}.json or {short}.json. Drop both.",
        )
    key = job.sidecar.key if job.sidecar else job.name
    return ErrorDetail(
        code="missing_audio",
        field="audio",
        source=key,
        message=f"{key} waited for the audio file of its name. Drop both.",
    )


_LOST = ErrorDetail(
    code="result_lost", message="fal keeps no result of this request any more. Drop the file again."
)
_UNKNOWN = ErrorDetail(
    code="outcome_unknown",
    message=(
        "fal's answer was lost twice, and fal shows no trace of the requests. Drop the file again."
    ),
)
_NOT_COPIED = ErrorDetail(
    code="video_unavailable", message="The video could not be copied while fal kept it."
)
