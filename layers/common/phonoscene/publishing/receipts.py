"""What the dropper reads: one receipt a name, of its newest job."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AwareDatetime, ValidationError

from phonoscene.drops.keys import half_id, is_of_one, name_of_one, receipt_key
from phonoscene.jobs import DropObject, FrozenModel, Job, JobStatus
from phonoscene.publishing.public_job import PublicJob, Time, described, problems, public_fields
from phonoscene.publishing.wording import past_state

if TYPE_CHECKING:
    from datetime import datetime


class HistoryEntry(FrozenModel):
    """A step in the job's history, as the receipt shows it."""

    status: JobStatus
    state: str = described("The same in words.")
    at: Time


class ReceiptOrder(FrozenModel):
    """What decides which of two receipts is newer: of any release with this form."""

    version: Literal["1"]
    job_id: str
    bucket: str
    revision: int
    status: str
    audio: DropObject | None = None
    sidecar: DropObject | None = None
    dropped_at: AwareDatetime | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Receipt(PublicJob):
    """What lies beside the videos of a name: how the newest job of that name stands."""

    history: tuple[HistoryEntry, ...] = described("Every step the job took.")

    @classmethod
    def of(cls, job: Job, until: datetime | None) -> Self:
        """A record's; ``until`` is when somebody will look at it next."""
        history = tuple(
            HistoryEntry(status=step.status, state=past_state(job, step.status), at=step.at)
            for step in job.history
        )
        return cls(**public_fields(job, until), errors=problems(job), history=history)

    @classmethod
    def read(cls, body: bytes) -> Self | ReceiptOrder | None:
        """Return the receipt in a file, or None if the file is no receipt.

        Of a receipt that only a newer release can read it returns what orders it.
        """
        for kind in (cls, ReceiptOrder):
            with suppress(ValidationError):
                return kind.model_validate_json(body)
        return None

    @property
    def key(self) -> str:
        """Where it belongs in the output bucket."""
        return receipt_key(self.name)

    @property
    def audio_key(self) -> str:
        """The key of the receipt of its audio file alone, which may share its name with others."""
        return receipt_key(name_of_one(self.audio.key)) if self.audio else self.key

    @property
    def is_of_one(self) -> bool:
        """Whether its sidecar can be no other audio file's."""
        if self.audio is None or self.sidecar is None:
            return False
        return is_of_one(self.sidecar.key, self.audio.key)

    def is_newer_than(self, other: Receipt | ReceiptOrder) -> bool:
        """Whether it may take the other's place.

        Of one record the later write; of two the one of the newer drop. A job and the half that it
        began with are of the same drop, whatever the clocks of their writers say.
        """
        order = _age if self.job_id == other.job_id else _rank
        return order(self) > order(other)


def _age(receipt: Receipt | ReceiptOrder) -> tuple[Any, ...]:
    """Orders the writes of a record; a half that is dropped again is a new record."""
    return receipt.created_at, receipt.revision, receipt.updated_at


def _rank(receipt: Receipt | ReceiptOrder) -> tuple[Any, ...]:
    """Orders the records of a name. S3's dates first: only S3 dates a drop.

    Of one drop a take that waits for an image comes after its halves, and before other takes.
    """
    halves = (receipt.audio, receipt.sidecar)
    is_half = receipt.job_id in [half_id(receipt.bucket, half.key) for half in halves if half]
    stage = (not is_half) + (receipt.status != JobStatus.WAITING)
    created_at = receipt.created_at
    return receipt.dropped_at or created_at, stage, created_at, receipt.job_id
