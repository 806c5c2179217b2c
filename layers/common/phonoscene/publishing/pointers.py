"""Which job's video a stable key holds: the newest take that succeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import AwareDatetime, ValidationError

from phonoscene.drops.keys import pointer_key
from phonoscene.jobs import FrozenModel, Job, JobStatus, Video

if TYPE_CHECKING:
    from datetime import datetime


class Pointer(FrozenModel):
    """The contents of ``{stable key}.newest.json``."""

    version: Literal["1"] = "1"
    stable_key: str
    job_id: str
    name: str
    video: Video
    dropped_at: AwareDatetime | None = None
    created_at: AwareDatetime

    @classmethod
    def all_of(cls, job: Job) -> tuple[Self, ...]:
        """Return a pointer for each stable key of a job; none unless it succeeded."""
        if job.status is not JobStatus.SUCCEEDED or job.video is None:
            return ()
        return tuple(
            cls(
                stable_key=key,
                job_id=job.job_id,
                name=job.name,
                video=job.video,
                dropped_at=job.dropped_at,
                created_at=job.created_at,
            )
            for key in job.video.stable_keys
        )

    @classmethod
    def read(cls, body: bytes) -> Self | None:
        """Return the pointer in a file, or None if the file is no pointer."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return None

    @property
    def key(self) -> str:
        """The pointer's own key in the output bucket."""
        return pointer_key(self.stable_key)

    def is_newer_than(self, other: Pointer) -> bool:
        """Return whether it replaces the other: the more recent drop does, as for receipts."""
        return recency(self) > recency(other)

    def to_json(self) -> str:
        """Return the file's text; what is absent is left out."""
        return self.model_dump_json(exclude_none=True, indent=2) + "\n"


def recency(job: Job | Pointer) -> tuple[datetime, datetime, str]:
    """Return the order of a name's videos: S3's date of the drop first, as only S3 dates a drop."""
    return job.dropped_at or job.created_at, job.created_at, job.job_id
