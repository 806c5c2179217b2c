"""What the world is told of a job: a receipt for its dropper, an event for other systems.

Both are functions of the record alone, so whatever is told twice, late or again is told alike. No
URL that opens anything is part of them, no token or its hash, and nothing of the fal key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, PlainSerializer, ValidationError

from phonoscene.drops import event_id, half_id, receipt_key
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Job, JobStatus, Record, Video
from phonoscene.meanings import STATES, WAITS, fix

_QUERY = re.compile(r"""(?i)(https?://[^\s?"']*)\?[^\s"']*""")
#: What an event tells of errors, and of each in characters: EventBridge takes 256 KB, and one that
#: it does not take would come back for hours. The receipt has all.
MOST_ERRORS = 10
LONGEST_TEXT = 500


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: In milliseconds, as the table has it.
Time = Annotated[AwareDatetime, PlainSerializer(_written, return_type=str, when_used="json")]


def _about(what: str, **more: Any) -> Any:
    return Field(description=what, **more)


class Wait(Record):
    """What a job waits for before anything more happens."""

    what: str = _about("sidecar, audio, window, budget, account or fal.")
    meaning: str = _about("The same in words.")
    until: Time | None = _about(
        "When it is looked at again, or given up where it is a half; absent where nobody can know.",
        default=None,
    )


class Problem(ErrorDetail):
    """One thing that is wrong: where, the value found, what is allowed, and what to do."""

    fix: str = _about("What the dropper can do about it.")


class Cost(Record):
    """What one run of the job should cost, in US dollars."""

    lower_usd: float = _about("At the exact number of pixels.")
    upper_usd: float = _about("At megapixels rounded up.")


class Told(Record):
    """What receipts and events have in common."""

    version: Literal["1"] = _about("Of this form; fields may be added within a version.")
    job_id: str = _about("The job's id; a half that waits for its other half has one of its own.")
    name: str = _about("The drop's key without its suffixes: what both halves share.")
    revision: int = _about("Grows with every write of a record; of two, the greater is the newer.")
    status: JobStatus = _about("Where the job stands.")
    state: str = _about("The same in words.")
    is_final: bool = _about("Whether nothing more will happen to the job.")
    waits: Wait | None = _about("What it waits for, if it does.", default=None)
    attempt: int = _about("How often it was sent to fal, those included that fal turned away.")
    resubmitted: bool = _about("Whether it was sent once more because fal's answer was lost.")
    duplicates: int = _about("Other requests at fal that made this job's video too: paid.")
    notes: tuple[str, ...] = _about("What is unusual, in words.")
    errors: tuple[Problem, ...] = _about("What is wrong.")
    video: Video | None = _about("The video, once it is in the output bucket.", default=None)
    cost: Cost | None = _about("Absent where it could not be told.", default=None)
    request_id: str | None = _about("fal's id, for questions to fal.", default=None)
    bucket: str = _about("The drop bucket.")
    audio: Audio | None = _about("The audio, pinned to its version.", default=None)
    sidecar: DropObject | None = _about("The sidecar, pinned to its version.", default=None)
    dropped_at: Time | None = _about("When S3 dates the newer of both.", default=None)
    created_at: Time = _about("When the record was made.")
    updated_at: Time = _about("When the job last took a step.")

    def to_json(self, indent: int | None = None) -> str:
        """As it is written; what is absent is left out."""
        return self.model_dump_json(exclude_none=True, indent=indent)


class Passed(Record):
    """A step of the job."""

    status: JobStatus
    state: str = _about("The same in words.")
    at: Time


class Receipt(Told):
    """What lies beside the videos of a name: how the newest job of that name stands."""

    history: tuple[Passed, ...] = _about("Every step the job took.")

    @classmethod
    def of(cls, job: Job, until: datetime | None) -> Self:
        """A record's; ``until`` is when somebody will look at it next."""
        history = tuple(
            Passed(status=step.status, state=STATES[step.status], at=step.at)
            for step in job.history
        )
        return cls(**_told(job, until), errors=_problems(job), history=history)

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
    def _rank(self) -> tuple[datetime, bool, datetime, str]:
        """Orders the records of a name. S3's dates first; nobody dates a drop but S3."""
        halves = (self.audio, self.sidecar)
        is_half = self.job_id in [half_id(self.bucket, half.key) for half in halves if half]
        return self.dropped_at or self.created_at, not is_half, self.created_at, self.job_id


class Place(Record):
    """An object of the output bucket."""

    bucket: str
    key: str


class StatusChanged(Told):
    """The detail of an event: a job has taken a step."""

    id: str = _about("The step's; an event that comes again has the same.")
    at: Time = _about("When the step was taken.")
    previous_status: JobStatus | None = _about("Absent for a new record.", default=None)
    error_count: int = _about(f"How many errors there are; the event has {MOST_ERRORS} at most.")
    receipt: Place = _about("Where the job's receipt lies, with all its errors and its history.")

    @classmethod
    def of(cls, before: Job | None, after: Job, until: datetime | None, output: str) -> Self | None:
        """The event of a write, or None where the write was no step; ``output`` is the bucket."""
        is_new = before is None or before.created_at != after.created_at
        if before and not is_new and before.history[-1:] == after.history[-1:]:
            return None
        born_at = _written(after.created_at)
        return cls(
            **_told(after, until),
            id=event_id(after.job_id, born_at, len(after.history)),
            at=after.history[-1].at if after.history else after.updated_at,
            previous_status=None if is_new or before is None else before.status,
            errors=tuple(map(_shortened, _problems(after)[:MOST_ERRORS])),
            error_count=len(after.errors),
            receipt=Place(bucket=output, key=receipt_key(after.name)),
        )


def _told(job: Job, until: datetime | None) -> dict[str, Any]:
    """The fields of ``Told``, but for the errors."""
    same = ("job_id", "name", "revision", "status", "is_final", "attempt", "resubmitted", "video",
            "bucket", "audio", "sidecar", "dropped_at", "created_at", "updated_at")  # fmt: skip
    cost = job.estimate
    return {name: getattr(job, name) for name in same} | {
        "version": "1",
        "state": STATES[job.status],
        "waits": _wait(job, until),
        "duplicates": len(job.duplicate_requests),
        "notes": tuple(_notes(job)),
        "cost": cost and Cost(lower_usd=float(cost.lower_usd), upper_usd=float(cost.upper_usd)),
        "request_id": job.request.request_id if job.request else None,
    }


def _wait(job: Job, until: datetime | None) -> Wait | None:
    if job.status is JobStatus.WAITING:
        what: str | None = "sidecar" if job.audio else "audio"
    else:
        what = job.waits_for
    if what is None:
        return None
    # a place is free when another job ends
    return Wait(what=what, meaning=WAITS.get(what, what), until=None if what == "window" else until)


def _notes(job: Job) -> list[str]:
    notes = []
    if job.resubmitted:
        notes.append("fal's answer was lost, and nothing was heard of it: it was sent once more.")
    times = len(job.duplicate_requests)
    if times and job.status in (JobStatus.GENERATED, JobStatus.SUCCEEDED):
        notes.append(f"fal made this video {times + 1} times: all are paid, one is stored.")
    elif times:
        notes.append(f"fal made a video all the same, {times} in number: paid, and not stored.")
    return notes


def _problems(job: Job) -> tuple[Problem, ...]:
    return tuple(_problem(job.status, error) for error in job.errors)


def _problem(status: JobStatus, error: ErrorDetail) -> Problem:
    """A dropper's own URL may open something: what follows its question mark is left out."""
    told = error.model_dump() | {"fix": fix(status, error)}
    return Problem(
        **{
            name: _QUERY.sub(r"\1?…", value) if isinstance(value, str) else value
            for name, value in told.items()
        }
    )


def _shortened(problem: Problem) -> Problem:
    texts = {name: getattr(problem, name) or "" for name in ("message", "value", "allowed")}
    long = {name: text for name, text in texts.items() if len(text) > LONGEST_TEXT}
    return problem.model_copy(
        update={name: text[: LONGEST_TEXT - 1] + "…" for name, text in long.items()}
    )
