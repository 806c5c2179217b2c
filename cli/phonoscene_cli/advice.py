"""What a person may do about a job, state by state, and error by error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from phonoscene.jobs import Job, JobStatus

if TYPE_CHECKING:
    from phonoscene.jobs import ErrorDetail

_S = JobStatus
#: What READY jobs wait for, and what helps.
_WAITS: Final = {
    "window": "Nothing to do; MaxInFlight is the stack's parameter.",
    "budget": "Nothing to do, or raise DailyBudgetUsd and deploy.",
    "account": "Look at https://fal.ai/dashboard/billing and at the key: `phonoscene doctor`.",
    "fal": "Nothing to do.",
    "storage": "Nothing to do.",
}


def next_step(job: Job) -> str:
    """What to do about a job as it stands; empty where there is nothing to say."""
    steps = {
        _S.WAITING: "Drop the other half, or drop both: `phonoscene drop`.",
        _S.READY: _WAITS.get(job.waits_for or "", ""),
        _S.UNCONFIRMED: "Nothing to do: its webhook, or fal's list of requests, will tell.",
        _S.SUBMITTED: "Nothing to do. https://fal.ai/dashboard shows fal's own view of it.",
        _S.GENERATED: "Nothing to do: a copy that fails is tried again while fal keeps the video.",
        _S.FAILED: _after_failure(job),
        _S.REJECTED: _after_rejection(job),
        _S.CANCELLED: f"To have it after all: `phonoscene retry {job.job_id}`.",
    }
    return steps.get(job.status, "")


def _after_failure(job: Job) -> str:
    again = f"`phonoscene retry {job.job_id}`"
    if job.source_url:
        return f"It is paid for and lies at {job.source_url} for a while. Or {again}, paid again."
    return f"{again}, with --set where an error names a field."


def _after_rejection(job: Job) -> str:
    is_about_audio = any(error.field == "audio" for error in job.errors)
    if is_about_audio or not (job.audio and (job.arguments or job.sidecar)):
        return "Mend what the error names, and drop again: `phonoscene drop`."
    return f"Mend the file and drop it again, or `phonoscene retry {job.job_id} --set FIELD=VALUE`."


def in_full(error: ErrorDetail) -> list[tuple[str, str]]:
    """An error's parts with their names, those that it has."""
    parts = (
        ("what", error.message),
        ("field", error.field),
        ("value", error.value),
        ("allowed", error.allowed),
        ("in", error.source),
        ("again", "fal says that it may be gone at another try" if error.retryable else None),
    )
    return [(name, text) for name, text in parts if text]
