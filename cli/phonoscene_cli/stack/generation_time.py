"""How long fal takes for a video, by the last ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import Job, JobStatus

if TYPE_CHECKING:
    from phonoscene_cli.stack.jobs_reader import Reader

#: As many videos tell how long one takes.
SAMPLE: Final = 20
#: They are looked for among so many jobs: a backlog is newer than the last videos.
LOOKED_AT: Final = 20_000
#: Where no video shows how long fal takes.
ASSUMED_SECONDS: Final = 60.0


def typical_seconds(reader: Reader, now: datetime | None = None) -> float | None:
    """How long fal has a job, from its acceptance to its webhook: the last videos' median."""
    until = now or datetime.now(UTC)
    entries = reader.since(until - timedelta(days=7), until, with_segments=True)
    recent = islice(entries, LOOKED_AT)
    videos = (entry.job_id for entry in recent if entry.status == JobStatus.SUCCEEDED)
    took = [generation(job) for job in reader.many(islice(videos, SAMPLE)).values()]
    known = [seconds for seconds in took if seconds is not None]
    return median(known) if known else None


def generation(job: Job) -> float | None:
    """Seconds from fal's acceptance to its webhook; None where one of the two is not known.

    A sequence has neither: its segments are what fal has.
    """
    if job.sequence:
        return None
    times = {step.status: step.at for step in job.history}
    if not {JobStatus.SUBMITTED, JobStatus.GENERATED} <= times.keys():
        return None
    return (times[JobStatus.GENERATED] - times[JobStatus.SUBMITTED]).total_seconds()
