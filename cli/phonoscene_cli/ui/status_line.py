"""What is known of jobs that are on their way, in a line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import JobStatus
from phonoscene.publishing.wording import WAITS
from phonoscene_cli.stack.jobs_reader import FAR
from phonoscene_cli.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.jobs_reader import QueuePosition

#: Seconds between two looks at what a job waits for: it takes more questions than its state does.
SELDOM: Final = 5.0
#: What a sequence waits for that has its turn.
CUTTING: Final = "cutting"


def counted(jobs: Sequence[Job]) -> str:
    """How many jobs are in each state."""
    counts = {status: sum(job.status is status for job in jobs) for status in JobStatus}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


@dataclass
class StatusLine:
    """Makes it; ``usual`` is how many seconds fal usually takes, ``moment`` writes a time.

    fal shows positions in its queue only to the holder of its key. So a job at fal is shown with
    the time since it was sent, and a job that waits here with its position.
    """

    stack: Stack
    usual: float | None
    moment: Callable[[datetime], str] = formatting.moment
    _places: dict[str, str] = field(default_factory=dict)
    _asked: float = float("-inf")

    def of(self, moving: Sequence[Job], total: int, done: int = 0) -> str:
        """Of one job how it stands; of several how many do where.

        The others of ``total`` have no record yet.
        """
        if total == 1:
            return self.one(moving[0])
        unknown = total - done - len(moving)
        rest = f"{unknown} without a record yet" if unknown else ""
        return f"{done} of {total} done; {', '.join(filter(None, (counted(moving), rest)))}"

    def one(self, job: Job) -> str:
        """How one job stands, and for how long."""
        since = formatting.span(datetime.now(UTC) - job.last(job.status))
        if job.status is JobStatus.READY:
            return f"READY for {since}: {self.standing(job)}"
        if job.sequence and job.status is JobStatus.SUBMITTED:
            return f"{formatting.meaning(job)}; SUBMITTED for {since}"
        if job.status is JobStatus.SUBMITTED:
            position = "its position in fal's queue is not public"
            return f"at fal for {since}{self._usual()} ({position})"
        return f"{job.status} for {since}"

    def standing(self, job: Job) -> str:
        """What a job waits for, or what happens to it now."""
        return self.standings([job])[job.job_id]

    def standings(self, jobs: Collection[Job]) -> dict[str, str]:
        """The same of many jobs, by id."""
        ready = [job for job in jobs if job.status is JobStatus.READY and job.waits_for != CUTTING]
        known = self._placed(ready)
        places = {job.job_id: known[job.job_id] for job in ready}
        return {job.job_id: formatting.meaning(job) for job in jobs} | places

    def _usual(self) -> str:
        if self.usual is None:
            return ""
        return f"; {formatting.span(timedelta(seconds=self.usual))} is usual"

    def _placed(self, jobs: Collection[Job]) -> dict[str, str]:
        """Where READY jobs stand in our own queue, by id, as of some seconds ago at most."""
        now = time.monotonic()
        is_old = now - self._asked > SELDOM
        if jobs and (is_old or any(job.job_id not in self._places for job in jobs)):
            found = self.stack.jobs.places(job.job_id for job in jobs)
            window = self.stack.jobs.ledger.window()
            used = formatting.slots(window, self.stack.parameters.max_in_flight)
            self._places = {
                job.job_id: self._place(job, found.get(job.job_id), used) for job in jobs
            }
            self._asked = now
        return self._places

    def _place(self, job: Job, place: QueuePosition | None, used: str) -> str:
        if place is None:
            return "it is next"
        is_early = place.turn > datetime.now(UTC)
        if is_early and job.waits_for != "slot":
            why = WAITS.get(job.waits_for or "", "its turn")
            return f"waits until {self.moment(place.turn)} for {why}"
        if is_early:  # it was put off until tomorrow, and today has money for it after all
            return used
        ahead = f"{FAR:,} or more" if place.ahead == FAR else formatting.number(place.ahead, "job")
        return f"{ahead} before it, {used}"
