"""What the dropper reads: one receipt a name, of its newest job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from phonoscene.drops.keys import half_id, receipt_key
from phonoscene.jobs import FrozenModel, Job, JobStatus
from phonoscene.publishing.public_job import PublicJob, Time, described, problems, public_fields
from phonoscene.publishing.wording import STATES

if TYPE_CHECKING:
    from datetime import datetime


class HistoryEntry(FrozenModel):
    """A step in the job's history, as the receipt shows it."""

    status: JobStatus
    state: str = described("The same in words.")
    at: Time


class Receipt(PublicJob):
    """What lies beside the videos of a name: how the newest job of that name stands."""

    history: tuple[HistoryEntry, ...] = described("Every step the job took.")

    @classmethod
    def of(cls, job: Job, until: datetime | None) -> Self:
        """A record's; ``until`` is when somebody will look at it next."""
        history = tuple(
            HistoryEntry(status=step.status, state=STATES[step.status], at=step.at)
            for step in job.history
        )
        return cls(**public_fields(job, until), errors=problems(job), history=history)

    @classmethod
    def read(cls, body: bytes) -> Self | None:
        """One that was written before; None where it is none of ours."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return None

    @property
    def key(self) -> str:
        """Where it belongs in the output bucket."""
        return receipt_key(self.name)

    def is_newer_than(self, other: Receipt) -> bool:
        """Whether it may take the other's place.

        Of one record the later write; of two the one of the newer drop. A job and the half that it
        began with are of the same drop, whatever the clocks of their writers say.
        """
        if self.job_id == other.job_id:
            return self._age > other._age
        return self._rank > other._rank

    @property
    def _age(self) -> tuple[datetime, int, datetime]:
        """Orders the writes of a record; a half that is dropped again is a new record."""
        return self.created_at, self.revision, self.updated_at

    @property
    def _rank(self) -> tuple[datetime, int, datetime, str]:
        """Orders the records of a name. S3's dates first: only S3 dates a drop.

        Of one drop a take that waits for an image comes after its halves, and before other takes.
        """
        halves = (self.audio, self.sidecar)
        is_half = self.job_id in [half_id(self.bucket, half.key) for half in halves if half]
        stage = (not is_half) + (self.status is not JobStatus.WAITING)
        return self.dropped_at or self.created_at, stage, self.created_at, self.job_id
