"""Lists jobs: the recent ones, or the takes of a drop, that match a filter."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from phonoscene.jobs import Job, JobStatus
    from phonoscene_cli.stack.jobs_reader import Reader
    from phonoscene_cli.stack.period import Period


@dataclass(frozen=True)
class Filter:
    """Which jobs are meant; what is empty means all."""

    states: Collection[JobStatus]
    folder: str
    metadata: Collection[tuple[str, str]] = ()
    #: What the name contains, in any case.
    part: str = ""

    def matches(self, name: str, status: str) -> bool:
        """Whether a job of this name and state is one of them."""
        is_named = name.startswith(self.folder) and self.part.casefold() in name.casefold()
        return is_named and (not self.states or status in self.states)

    def has_metadata(self, job: Job) -> bool:
        """Whether the job's metadata has all entries that are asked for."""
        return all(job.metadata.get(key) == value for key, value in self.metadata)


def takes(takes: Iterator[Job], times: Period | None, wanted: Filter) -> Iterator[Job]:
    """The takes that match, of any age or within ``times``."""
    for job in takes:
        is_then = times is None or times.holds(job.created_at)
        if is_then and wanted.matches(job.name, job.status) and wanted.has_metadata(job):
            yield job


def recent_ids(reader: Reader, period: Period, wanted: Filter) -> Iterator[str]:
    """The newest jobs' ids; metadata is not compared, because no index has it."""
    entries = reader.since(period.first, period.end)
    return (entry.job_id for entry in entries if wanted.matches(entry.name, entry.status))


def recent(reader: Reader, period: Period, wanted: Filter, limit: int) -> Iterator[Job]:
    """The newest jobs; without metadata to compare, only ``limit`` are read."""
    ids = recent_ids(reader, period, wanted)
    jobs = reader.whole(ids if wanted.metadata else islice(ids, limit))
    return filter(wanted.has_metadata, jobs)
