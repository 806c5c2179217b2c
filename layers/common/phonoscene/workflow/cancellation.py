"""Stops a job: nothing more is done for it, and fal is asked to stop."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phonoscene.errors import WriteRefused
from phonoscene.jobs import Job, JobStatus

if TYPE_CHECKING:
    from phonoscene.fal.queue import FalQueue
    from phonoscene.table.job_store import JobStore

logger = logging.getLogger(__name__)
#: A job moves a few times in its life; more refusals than that are no coincidence.
TRIES = 5


@dataclass(frozen=True)
class Canceller:
    """Cancels jobs that have not been generated."""

    store: JobStore
    queue: FalQueue

    def cancel(self, job_id: str) -> Job | None:
        """The job, CANCELLED unless it was generated or had ended; None where there is none.

        A segment's job goes on while a sequence uses it. What a cancelled job held is given back.
        fal may still run and bill it: a late result is noted.

        Raises:
            WriteRefused: the record changes again and again; its message has to come back.
        """
        job = self._end(job_id)
        if job is None or job.status is not JobStatus.CANCELLED:
            return job
        segments = job.sequence.segments if job.sequence else ()
        # all of them first: asking fal takes time, and may fail
        ended = [job, *(self._end(one.job_id) for one in segments if one.job_id)]
        for one in ended:  # and again where a cancellation was cut off: it does no harm
            if one and one.status is JobStatus.CANCELLED and one.request:
                self.queue.cancel(one.request)
        return job

    def _end(self, job_id: str) -> Job | None:
        """Cancel one job in the table, without asking fal to stop it."""
        job = self.store.get(job_id)
        for _ in range(TRIES):
            if job is None or job.status is JobStatus.GENERATED or job.is_final:
                return job
            if job.part_of and self.store.is_wanted(job):
                return job
            # a sequence may begin to use a segment's job meanwhile
            revision = job.revision if job.part_of else None
            try:
                return self.store.end(job, JobStatus.CANCELLED, revision=revision)
            except WriteRefused as exc:
                job = exc.found
        raise WriteRefused(job)
