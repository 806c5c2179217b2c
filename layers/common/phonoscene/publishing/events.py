"""What other systems hear: one event a step of a job. Its schema lies in events/schemas/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from phonoscene.drops.keys import event_id, receipt_key
from phonoscene.jobs import FrozenModel, Job, JobStatus
from phonoscene.publishing.public_job import (
    Problem,
    PublicJob,
    Time,
    described,
    problems,
    public_fields,
    written,
)

if TYPE_CHECKING:
    from datetime import datetime

#: What an event tells of errors, and of each in characters: EventBridge takes 256 KB, and one that
#: it does not take would come back for hours. The receipt has all.
MAX_ERRORS = 10
MAX_TEXT_LENGTH = 500


class ObjectLocation(FrozenModel):
    """An object of the output bucket."""

    bucket: str
    key: str


class StatusChanged(PublicJob):
    """The detail of an event: a job has taken a step."""

    id: str = described("The step's; an event that comes again has the same.")
    at: Time = described("When the step was taken.")
    previous_status: JobStatus | None = described("Absent for a new record.", default=None)
    error_count: int = described(f"How many errors there are; the event has {MAX_ERRORS} at most.")
    receipt: ObjectLocation = described("The job's receipt, with all its errors and its history.")

    @classmethod
    def of(cls, before: Job | None, after: Job, until: datetime | None, output: str) -> Self | None:
        """The event of a write, or None where the write was no step; ``output`` is the bucket."""
        # a half that is dropped again is a new record by the same id
        earlier = before if before and before.created_at == after.created_at else None
        if earlier and earlier.history[-1:] == after.history[-1:]:
            return None
        born_at = written(after.created_at)
        return cls(
            **public_fields(after, until),
            id=event_id(after.job_id, born_at, len(after.history)),
            at=after.history[-1].at if after.history else after.updated_at,
            previous_status=earlier.status if earlier else None,
            errors=tuple(map(_shortened, problems(after)[:MAX_ERRORS])),
            error_count=len(after.errors),
            receipt=ObjectLocation(bucket=output, key=receipt_key(after.name)),
        )


def _shortened(problem: Problem) -> Problem:
    texts = {name: getattr(problem, name) or "" for name in ("message", "value", "allowed")}
    long = {name: text for name, text in texts.items() if len(text) > MAX_TEXT_LENGTH}
    return problem.model_copy(
        update={name: text[: MAX_TEXT_LENGTH - 1] + "…" for name, text in long.items()}
    )
