"""What states, reasons to wait and errors mean, in words for the person who dropped a file."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from phonoscene.jobs import JobStatus

if TYPE_CHECKING:
    from phonoscene.jobs import ErrorDetail

_S = JobStatus

STATES = MappingProxyType(
    {
        _S.WAITING: "one half of the drop is here",
        _S.READY: "paired, checked and priced",
        _S.SUBMITTING: "asking fal",
        _S.UNCONFIRMED: "fal's answer was lost; finding out, not asking twice",
        _S.SUBMITTED: "fal accepted, and generates",
        _S.GENERATED: "fal has made the video; copying it",
        _S.SUCCEEDED: "the video is in the output bucket",
        _S.FAILED: "no video",
        _S.REJECTED: "the drop is wrong; nothing was spent",
        _S.CANCELLED: "stopped",
    }
)

#: By ``Job.waits_for``; and the two that a half waits for.
WAITS = MappingProxyType(
    {
        "sidecar": "its sidecar",
        "audio": "the audio file of its name",
        "window": "a place: as many jobs are at fal as may be",
        "budget": "money: this day's is spent or set aside, and the next UTC day brings more",
        "account": "the operator: fal refuses the account, its key or its balance",
        "fal": "fal: it was busy or broke down, and is asked again",
        "storage": "fal's storage: it would not take the files, and they are sent again",
    }
)

_DROP_BOTH = "Drop both files again."
_DROP_AGAIN = "Drop the file again."
_OPERATOR = "Ask the operator: the video is paid for, and the record keeps where it lies."
_FIXES = MappingProxyType(
    {
        "missing_sidecar": _DROP_BOTH,
        "missing_audio": _DROP_BOTH,
        "unsafe_key": "Rename the file and drop it again.",
        "ambiguous_sidecar": "Give the sidecar the name of one audio file, as the message says.",
        "more_errors": "Correct the others first.",
        "content_policy_violation": "Change the prompt, the image or the audio, and drop it again.",
        "result_lost": _DROP_AGAIN,
        "outcome_unknown": _DROP_AGAIN,
        "video_unavailable": _DROP_AGAIN,
        "video_url_refused": _OPERATOR,
        "video_redirected": _OPERATOR,
        "video_too_large": _OPERATOR,
        "wrong_container": _OPERATOR,
    }
)


def fix(status: JobStatus, error: ErrorDetail) -> str:
    """What the dropper can do about an error of a job that stands at ``status``."""
    if error.code in _FIXES:
        return _FIXES[error.code]
    if status is JobStatus.REJECTED:
        return f"Correct {_place(error)} and drop it again; nothing was spent."
    if error.retryable:
        return "It may work now: drop the file again."
    return "Change what the message names, and drop the file again."


def _place(error: ErrorDetail) -> str:
    if error.source is None:
        return "the drop"
    is_within = error.field not in (None, "audio")
    return f"{error.field} in {error.source}" if is_within else error.source
