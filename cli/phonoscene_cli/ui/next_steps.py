"""What a person may do about a job, state by state, and error by error."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from phonoscene.drops.keys import CONTENT_TYPES, suffix_of
from phonoscene.drops.sidecar import Sidecar
from phonoscene.jobs import Job, JobStatus

if TYPE_CHECKING:
    from phonoscene.jobs import ErrorDetail

_S = JobStatus
#: What READY jobs wait for, and what helps.
_WAITS: Final = {
    "cutting": "Nothing to do.",
    "slot": "Nothing to do. The parameter MaxInFlight sets how many jobs run at once.",
    "cdn": "Nothing to do. The first video that is copied ends the wait for all jobs.",
    "budget": "Nothing to do; or raise DailyBudgetUsd and deploy.",
    "account": "Check https://fal.ai/dashboard/billing and the API key (`phonoscene doctor`).",
    "fal": "Nothing to do. Phonoscene sends the request again.",
    "storage": "Nothing to do.",
}


_AUDIO: Final = frozenset({"audio", "audio_url"})
#: The codes of errors that other fields end, although they name none.
_OF_FIELDS: Final = frozenset({"missing_sidecar", "more_errors", "content_policy_violation"})
_ANOTHER_FILE: Final = "Drop another audio file: `phonoscene drop`."
_CORRECTED_FILES: Final = "Fix what the error names, then drop again with `phonoscene drop`."


class Remedy(Enum):
    """What helps a job that has ended to a video, or to another one."""

    ANOTHER_AUDIO = auto()
    #: A sidecar that can be read, an image, or what is no longer in the bucket.
    OTHER_FILES = auto()
    #: The same files with other fields.
    CORRECTION = auto()
    ANOTHER_TAKE = auto()
    #: The same, but there is a video that is paid for, or there may be one.
    SECOND_PAYMENT = auto()


def remedy(job: Job) -> Remedy:
    """What helps a job that has ended."""
    was_made = job.was_generated and not job.sequence
    if job.status is _S.FAILED and (was_made or job.source_url or job.is_maybe_billed):
        return Remedy.SECOND_PAYMENT
    lasting = [error for error in job.errors if not error.retryable]
    if any(_is_about_files(job, error) for error in lasting) or job.audio is None:
        return Remedy.OTHER_FILES
    if any(error.field in _AUDIO for error in lasting):
        return Remedy.ANOTHER_AUDIO
    is_of_segments = job.sequence and job.status is _S.FAILED
    may_change = any(error.field or error.code in _OF_FIELDS for error in lasting)
    return Remedy.CORRECTION if may_change and not is_of_segments else Remedy.ANOTHER_TAKE


def next_step(job: Job) -> str:
    """What to do about a job as it stands; empty where there is nothing to say."""
    if job.part_of and job.status in (_S.FAILED, _S.CANCELLED):
        return f"`phonoscene show {job.part_of}` shows the job that it is part of."
    is_complete = not any(_is_about_files(job, error) for error in job.errors)
    if job.sequence and job.status is _S.FAILED and is_complete:
        paid = "you pay only for segments without a usable video"
        change = ""
        if any(error.code == "segment_failed" and not error.retryable for error in job.errors):
            change = "If an error names what to change, drop the changed files. Otherwise: "
        return f"{change}Use `phonoscene retry {job.job_id}`: {paid}."
    if job.sequence and job.status in (_S.SUBMITTED, _S.GENERATED):
        return "Nothing to do. `phonoscene watch` follows its segments."
    steps = {
        _S.WAITING: _while_waiting(job),
        _S.READY: _WAITS.get(job.waits_for or "", ""),
        _S.UNCONFIRMED: "Nothing to do. fal's webhook or its list of requests resolves it.",
        _S.SUBMITTED: "Nothing to do. https://fal.ai/dashboard shows the request at fal.",
        _S.GENERATED: "Nothing to do. A failed copy is retried for as long as fal keeps the video.",
        _S.FAILED: _after_failure(job),
        _S.REJECTED: _after_rejection(job),
        _S.CANCELLED: _after_cancellation(job),
    }
    return steps.get(job.status, "")


def _while_waiting(job: Job) -> str:
    if job.missing_image:
        return f"Upload {job.missing_image} to the drop bucket."
    return "Drop the other half, or both halves with `phonoscene drop`."


def _after_failure(job: Job) -> str:
    again = f"`phonoscene retry {job.job_id}`"
    if job.source_url:
        where = f"The video is paid for and available for a while at {job.source_url}."
        return f"{where} To pay for another one, use {again}."
    if job.is_maybe_billed:
        return (
            "fal may have made and billed the video: look for the request at "
            f"https://fal.ai/dashboard first. {again} pays for another one."
        )
    way = remedy(job)
    if way is Remedy.ANOTHER_AUDIO:
        return f"{_ANOTHER_FILE} A retry would send the same file."
    if any(_is_about_files(job, error) for error in job.errors):
        return _CORRECTED_FILES
    if way is Remedy.CORRECTION:
        settings = _settings(job) or " --set FIELD=VALUE"
        return f"Change what the error names: `phonoscene retry {job.job_id}{settings}`."
    return f"To try again, use {again}."


def _after_cancellation(job: Job) -> str:
    if job.arguments:
        return f"To run it after all, use `phonoscene retry {job.job_id}`."
    return "To run it after all, drop both halves with `phonoscene drop`."


def _was_whole(job: Job) -> bool:
    """Whether it had all that it needed to start."""
    return job.audio is not None and bool(job.arguments or job.sidecar)


def _after_rejection(job: Job) -> str:
    """A retry can fix what ``--set`` can: it adds and replaces fields, and removes none."""
    if remedy(job) is Remedy.ANOTHER_AUDIO:
        return _ANOTHER_FILE
    if _was_whole(job) and all(_is_settable(error) for error in job.errors):
        again = f"`phonoscene retry {job.job_id}{_settings(job) or ' --set FIELD=VALUE'}`"
        return f"Fix the file and drop it again, or use {again}."
    return _CORRECTED_FILES


def _is_about_files(job: Job, error: ErrorDetail) -> bool:
    """Whether other files are needed, and not another audio file alone."""
    if error.code in ("image_not_found", "drop_gone"):
        return True
    if error.field not in _AUDIO and suffix_of(error.source or "") in CONTENT_TYPES:
        return True
    is_whole = error.field in (None, "sidecar") and error.code not in _OF_FIELDS
    return job.status is _S.REJECTED and is_whole


def _is_settable(error: ErrorDetail) -> bool:
    """Whether an option of ``retry`` can give what is missing or wrong."""
    return error.code != "image_not_found" and _top(error) in Sidecar.model_fields


def _top(error: ErrorDetail) -> str:
    """The field of the sidecar that an error is about, or within."""
    return (error.field or "").partition(".")[0]


def _settings(job: Job) -> str:
    """An option for each field that an error names and that can be set."""
    fields = dict.fromkeys(_top(error) for error in job.errors if _is_settable(error))
    return "".join(f" --set {field}=…" for field in fields)


def in_full(error: ErrorDetail, fix: str = "") -> list[tuple[str, str]]:
    """An error's parts with their names, those that it has, and what fixes it."""
    parts = (
        ("what", error.message),
        ("field", error.field),
        ("value", error.value),
        ("allowed", error.allowed),
        ("in", error.source),
        ("policy", ", ".join(error.categories or ())),
        ("retry", "fal reports that a retry may succeed" if error.retryable else None),
        ("fix", fix),
    )
    return [(name, text) for name, text in parts if text]
