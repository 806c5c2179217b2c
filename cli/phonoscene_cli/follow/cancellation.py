"""Has jobs stopped, by message, and waits to see what became of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import Job, JobStatus
from phonoscene_cli.stack.spending import unseen_runs
from phonoscene_cli.ui.formatting import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from phonoscene.queues import DropsQueue

_S = JobStatus
#: States that a cancellation leaves as they are.
SETTLED: Final = frozenset({_S.GENERATED, _S.SUCCEEDED, _S.FAILED, _S.REJECTED, _S.CANCELLED})


@dataclass(frozen=True)
class Outcome:
    """What became of one job; ``after`` is None where its record is gone: it became a job.

    ``segments``: the jobs of its segments.
    """

    before: Job
    after: Job | None
    segments: tuple[Job, ...] = ()

    @property
    def is_cancelled(self) -> bool:
        """Whether it stands still now."""
        return self.after is not None and self.after.status is _S.CANCELLED

    @property
    def may_be_billed(self) -> bool:
        """Whether fal had it: what runs there may end, and be billed."""
        ended = self.segments if self.before.sequence else filter(None, [self.after])
        return self.is_cancelled and any(map(unseen_runs, ended))

    @property
    def sentence(self) -> str:
        """What became of it, and what that means."""
        if self.after is None:
            return "its other half has arrived, so a job started; see `phonoscene jobs`"
        if self.before.is_final:
            return f"had already ended: {self.before.status}"
        if self.is_cancelled:
            return f"CANCELLED; {self._bill(self.after)}"
        if self.after.status in SETTLED:
            return f"too late: {self.after.status}"
        return f"still {self.after.status}; the request is in the drops queue. Check again later"

    def _bill(self, after: Job) -> str:
        """What a cancelled job may cost all the same."""
        made = sum(one.was_generated for one in self.segments)
        paid = f"{number(made, 'segment')} had been made and paid; " if made else ""
        if not self.may_be_billed:
            return paid + ("nothing more is billed" if made else "nothing was spent")
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
    after = _with_segments(asked, read)
    while _are_moving(after) and time.monotonic() < deadline:
        time.sleep(0.5)
        after = _with_segments(asked, read)
    return [_outcome(job, after if job.job_id in asked else {job.job_id: job}) for job in jobs]


def _with_segments(
    asked: list[str], read: Callable[[list[str]], Mapping[str, Job]]
) -> dict[str, Job]:
    """The jobs as they stand, and those of their segments."""
    after = dict(read(asked))
    segments = [one for job in after.values() for one in _segments_of(job)]
    return {**after, **(read(segments) if segments else {})}


def _segments_of(job: Job) -> list[str]:
    return [one.job_id for one in job.sequence.segments if one.job_id] if job.sequence else []


def _outcome(job: Job, found: Mapping[str, Job]) -> Outcome:
    after = found.get(job.job_id)
    ids = _segments_of(after) if after else []
    return Outcome(job, after, tuple(found[one] for one in ids if one in found))


def _are_moving(jobs: Mapping[str, Job]) -> bool:
    return any(job.status not in SETTLED for job in jobs.values())
