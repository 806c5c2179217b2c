"""Follows jobs by their records: each step of a history once, as it appears."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import FINAL, Job, JobStatus, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: Between two looks, in seconds; a job moves a few times a minute.
PAUSE: Final = 1.0
#: As many jobs are looked at each second; more of them less often.
AT_EASE: Final = 200


@dataclass
class Follower:
    """Looks at some jobs again and again; ``read`` gives their records by id."""

    read: Callable[[list[str]], Mapping[str, Job]]
    pause: float = PAUSE
    sleep: Callable[[float], None] = field(default_factory=lambda: time.sleep)
    #: The records as they were read last.
    jobs: dict[str, Job] = field(default_factory=dict)
    #: Those of them whose records are read no more, such as halves that have become part of a job.
    gone: set[str] = field(default_factory=set)
    _shown: Counter[str] = field(default_factory=Counter)
    _states: dict[str, tuple[str | None, int]] = field(default_factory=dict)

    def look(self, job_ids: Iterable[str]) -> Iterator[tuple[Job, Step]]:
        """The steps that are new since the last look, of all jobs in the order of time.

        A job that has begun to wait for something else, or has a segment's video more, takes no
        step; it is shown as a step of now.
        """
        moving = [one for one in job_ids if not self._has_ended(one)]
        found, fresh = self.read(moving), []
        self.gone |= {one for one in moving if one in self.jobs and one not in found}
        for job_id, job in found.items():
            steps = job.history[self._shown[job_id] :]
            before, state = self._states.get(job_id), _state(job)
            if not steps and any(state) and state != before:
                steps = (Step(status=job.status, at=datetime.now(UTC)),)
            self._shown[job_id], self._states[job_id] = len(job.history), state
            self.jobs[job_id] = job
            fresh += [(job, step) for step in steps]
        yield from sorted(fresh, key=lambda pair: pair[1].at)

    def follow(
        self, job_ids: list[str], until: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Job, Step]]:
        """Every step of these jobs, until all have ended or ``until`` says that it is enough."""
        while True:
            yield from self.look(job_ids)
            if self.all_ended(job_ids) or until():
                return
            left = len(job_ids) - self.ended(job_ids)
            self.sleep(self.pause * max(1.0, left / AT_EASE))

    def all_ended(self, job_ids: Iterable[str]) -> bool:
        """Whether nothing more can happen to any of them."""
        return all(map(self._has_ended, job_ids))

    @property
    def moving(self) -> list[Job]:
        """The jobs to which something more can happen."""
        return [job for job_id, job in self.jobs.items() if not self._has_ended(job_id)]

    def ended(self, job_ids: Iterable[str]) -> int:
        """To how many of them nothing more can happen."""
        return sum(map(self._has_ended, job_ids))

    def _has_ended(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        return job_id in self.gone or (job is not None and job.is_final)


def _state(job: Job) -> tuple[str | None, int]:
    """What may change between two steps: what it waits for, and how many segments have videos."""
    return job.waits_for, job.sequence.done if job.sequence else 0


def has_no_video(job: Job) -> bool:
    """Whether it ended without one."""
    return job.status in FINAL - {JobStatus.SUCCEEDED}
