"""Has jobs stopped, by message, and waits to see what became of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import Job, JobStatus, may_precede
from phonoscene.spending import may_be_billed
from phonoscene_cli.ui.formatting import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from phonoscene.queues import DropsQueue

_S = JobStatus
#: States that a cancellation leaves as they are.
SETTLED: Final = frozenset(JobStatus) - may_precede(_S.CANCELLED)


@dataclass(frozen=True)
class Outcome:
    """What became of one job; ``after`` is None where its record is gone: it became a job.

    ``segments``: the jobs of its segments; ``shared`` of them go on, because another job uses them.
    """

    before: Job
    after: Job | None
    segments: tuple[Job, ...] = ()
    shared: int = 0

    @property
    def is_cancelled(self) -> bool:
        """Whether it stands still now."""
        return self.after is not None and self.after.status is _S.CANCELLED

    @property
    def may_be_billed(self) -> bool:
        """Whether fal had it: what runs there may end, and be billed."""
        ended = self.segments if self.before.sequence else filter(None, [self.after])
        return self.is_cancelled and any(map(may_be_billed, ended))

    @property
    def sentence(self) -> str:
        """What became of it, and what that means."""
        if self.after is None:
            return "its other half has arrived, so a job started; see `phonoscene jobs`"
        if self.before.is_final:
            return f"had already ended as {self.before.status}"
        if self.is_cancelled:
            return f"CANCELLED; {self._bill(self.after)}"
        if self.after.status in SETTLED:
            return f"too late: {self.after.status}"
        return f"still {self.after.status}; the request is in the drops queue. Check again later"

    def _bill(self, after: Job) -> str:
        """What a cancelled job may cost all the same."""
        own = (one for one in self.segments if one.part_of == self.before.job_id)
        made = sum(bool(one.paid) for one in own)
        paid = f"{number(made, 'segment')} had been made and paid; " if made else ""
        if self.shared:
            goes, them = ("goes", "it") if self.shared == 1 else ("go", "them")
            paid += (
                f"{number(self.shared, 'segment')} {goes} on, because another job uses {them}, and "
                "the one that asked first pays; "
            )
        if after.paid:
            return "fal made and billed it anyway"
        if not self.may_be_billed:
            return paid + ("nothing else is billed" if paid else "nothing was spent")
        if after.request is None and after.sequence is None:
            return "fal's answer was lost, so there is nothing to stop; it may still be billed"
        return f"{paid}fal was asked to stop, but a run that has started may still be billed"


def cancel(
    jobs: list[Job],
    queue: DropsQueue,
    read: Callable[[list[str]], Mapping[str, Job]],
    timeout: timedelta,
) -> list[Outcome]:
    """Ask for those that have not ended, and look at them for ``timeout`` at most."""
    asked = [job.job_id for job in jobs if job.status not in SETTLED]
    for job_id in asked:
        queue.cancel(job_id)
    deadline = time.monotonic() + timeout.total_seconds()
    seen = _look(asked, read)
    while seen.are_moving and time.monotonic() < deadline:
        time.sleep(0.5)
        seen = _look(asked, read)
    return [seen.outcome(job) if job.job_id in asked else Outcome(job, job) for job in jobs]


@dataclass(frozen=True)
class _Seen:
    """The jobs that are to stop and those of their segments, as they stand.

    ``shared``: the segments that another job uses, which has not ended.
    """

    jobs: Mapping[str, Job]
    shared: frozenset[str]

    @property
    def are_moving(self) -> bool:
        """Whether one of them will still change."""
        stopped = (job for job_id, job in self.jobs.items() if job_id not in self.shared)
        return any(job.status not in SETTLED for job in stopped)

    def outcome(self, job: Job) -> Outcome:
        """What became of a job."""
        after = self.jobs.get(job.job_id)
        segments = [self.jobs[one] for one in _segments_of(after) if one in self.jobs]
        shared = sum(one.job_id in self.shared for one in segments)
        return Outcome(job, after, tuple(segments), shared)


def _look(asked: list[str], read: Callable[[list[str]], Mapping[str, Job]]) -> _Seen:
    found = read(asked)
    segments = read([one for job in found.values() for one in _segments_of(job)])
    users = {one for segment in segments.values() for one in segment.users}
    others = read(sorted(users.difference(asked)))
    working = {job.job_id for job in others.values() if not job.is_final}
    open_ones = (job for job in segments.values() if job.status not in SETTLED)
    shared = {job.job_id for job in open_ones if job.users & working}
    return _Seen({**found, **segments}, frozenset(shared))


def _segments_of(job: Job | None) -> list[str]:
    return [one.job_id for one in job.plan.segments if one.job_id] if job and job.sequence else []
