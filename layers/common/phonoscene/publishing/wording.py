"""What states, reasons to wait and errors mean, in words for the person who dropped a file."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from phonoscene.drops.keys import is_defaults
from phonoscene.jobs import MAYBE_BILLED, JobStatus

if TYPE_CHECKING:
    from phonoscene.jobs import ErrorDetail, Job

_S = JobStatus

STATES = MappingProxyType(
    {
        _S.WAITING: "waiting for the other half, or for an image",
        _S.READY: "paired, checked and priced",
        _S.SUBMITTING: "sending the request to fal",
        _S.UNCONFIRMED: "fal's answer was lost; checking before anything is sent again",
        _S.SUBMITTED: "fal accepted the request and is generating the video",
        _S.GENERATED: "fal has generated the video; copying it",
        _S.SUCCEEDED: "the video is in the output bucket",
        _S.FAILED: "no video",
        _S.REJECTED: "the drop is not valid; nothing was spent",
        _S.CANCELLED: "cancelled",
    }
)

#: What differs for a sequence: its segments take the steps of a request.
_OF_A_SEQUENCE = MappingProxyType(
    {
        _S.SUBMITTED: "the audio is cut, and segments are sent to fal",
        _S.GENERATED: "all segments have their videos; joining them",
    }
)

#: The same of a job with a ``problem``, which follows.
_HELD_UP = MappingProxyType(
    {
        _S.UNCONFIRMED: "fal's answer was lost; Phonoscene will look for the request at fal again",
        _S.SUBMITTED: "fal accepted the request; Phonoscene will poll it again",
        _S.GENERATED: "fal has generated the video; Phonoscene will try the copy again",
    }
)

#: By ``Job.waits_for``; and the two that a half waits for.
WAITS = MappingProxyType(
    {
        "sidecar": "its sidecar",
        "audio": "the audio file with its name",
        "image": "an image that the sidecar or its defaults name",
        "cutting": "its audio to be cut into segments",
        "slot": "a slot: as many jobs are in flight as MaxInFlight allows",
        "cdn": "fal's CDN: it lost a video, so one job at a time runs until a video is copied",
        "budget": "budget: today's is spent or reserved; a new one starts at 00:00 UTC",
        "account": "the account: fal refuses its key or its balance, and the operator must act",
        "fal": "fal: it was busy or asked for a retry, and the request will be sent again",
        "storage": "fal's storage: it did not accept the files, and they will be sent again",
    }
)

_DROP_MISSING = "Drop the missing file."
_DROP_AGAIN = "Drop the file again."
_OPERATOR = "Ask the operator. The video is paid for, and the record keeps its address."
_LOOK_AT_FAL = (
    "Check fal's dashboard for the request before you drop the file again; it may have been billed."
)
_RETRY_SEGMENTS = "Use phonoscene retry: you pay again only for segments without a usable video."
_CHANGE_SEGMENTS = (
    "Change what the message names and drop the sidecar again: you pay again only for segments "
    "without a usable video. If it names nothing, use phonoscene retry."
)
_RESTORE = "Restore the object in S3, then drop it again."
#: What the audio is called, and what fal calls it, as records of before have it.
_AUDIO = frozenset({"audio", "audio_url"})
#: The image that helps, by the code of an error whose ``source`` is an image and no JSON file.
_BETTER_IMAGE = MappingProxyType(
    {
        "not_an_image": "a PNG or JPEG image",
        "empty_image": "a PNG or JPEG image",
        "image_cut_off": "the whole image",
        "image_too_large": "a smaller image",
    }
)
#: What is wrong with the video of a segment.
_MADE_WRONG = ("unreadable_video", "segments_differ", "wrong_frames", "wrong_frame_rate")
_FIXES = MappingProxyType(
    {
        "archived_object": _RESTORE,
        "customer_key": "Upload it without a customer-provided key, or with a KMS key.",
        "unusable_key": "Enable the KMS key or upload with another one, then drop the file again.",
        "access_denied": (
            "Ask the operator to allow Phonoscene to read the object, then drop it again."
        ),
        "audio_cut_off": "Upload the whole file.",
        "could_not_be_examined": (
            "Convert the file and drop it again. If this does not help, ask the operator."
        ),
        "missing_sidecar": _DROP_MISSING,
        "missing_audio": _DROP_MISSING,
        "unsupported_format": "Convert the file and drop the result as the message says.",
        "unsafe_key": "Rename the file and drop it again.",
        "ambiguous_sidecar": "Give each audio file a sidecar of its own, or keep one of them.",
        "more_errors": "Correct the other errors first.",
        "drop_gone": _DROP_AGAIN,
        "image_not_found": "Drop the image, then the sidecar again.",
        "segment_failed": _RETRY_SEGMENTS,
        "segment_gone": _RETRY_SEGMENTS,
        "not_edited": "Ask the operator, then use phonoscene retry: you pay for no segment again.",
        **dict.fromkeys(_MADE_WRONG, _RETRY_SEGMENTS),
        "outcome_unknown": _DROP_AGAIN,
        "fal_account": "Ask the operator to check fal's key and balance, then drop the file again.",
        **dict.fromkeys(MAYBE_BILLED, _LOOK_AT_FAL),
        "video_unavailable": _DROP_AGAIN,
        "video_url_refused": _OPERATOR,
        "video_too_large": _OPERATOR,
    }
)


def state_of(job: Job) -> str:
    """A job's status in words, with the problem that it has at fal."""
    held_up = _HELD_UP.get(job.status)
    return f"{held_up}: {job.problem}" if job.problem and held_up else STATES[job.status]


def past_state(job: Job, status: JobStatus) -> str:
    """What a status meant that a job has or had, in words."""
    known = _OF_A_SEQUENCE.get(status) if job.sequence else None
    return known or STATES[status]


def fix(status: JobStatus, error: ErrorDetail) -> str:
    """What the dropper can do about an error of a job that stands at ``status``."""
    if known := _known_fix(error):
        return known
    if status is JobStatus.REJECTED:
        return f"{_correction(error)} again; nothing was spent."
    if error.retryable:
        return "It may work now. Drop the file again."
    if error.field in _AUDIO:
        return "Drop another audio file. This one would fail again."
    if error.field:
        return f"Change {error.field} and drop the sidecar again."
    return "Change what the message names, then drop the file again."


def _known_fix(error: ErrorDetail) -> str | None:
    if error.code == "content_policy_violation":
        return _policy_fix(error)
    if error.code == "segment_failed" and not error.retryable:  # fal would refuse it again
        return _CHANGE_SEGMENTS
    return _FIXES.get(error.code)


def _policy_fix(error: ErrorDetail) -> str:
    """What to change after a violation of fal's policy: the field, and the policies' names."""
    what = error.field or "the prompt, the image or the audio"
    if error.field in _AUDIO:
        what = "the audio"
    because = f" (fal's policy: {', '.join(error.categories)})" if error.categories else ""
    return f"Change {what}{because}, and drop it again."


def over_reserved(job: Job) -> str:
    """A note on a job whose video may cost more than was reserved for it."""
    came, asked = job.actual, job.estimate
    if came is None or asked is None:
        return ""
    if came.source == "billable_units":
        made = f"fal bills {came.megapixels:,.2f} megapixels"
    else:
        made = f"fal reports {came.width}x{came.height}x{came.frames} frames"
    return f"{made}: up to ${came.upper_usd}, ${asked.upper_usd} was reserved."


def _correction(error: ErrorDetail) -> str:
    """What to change in a rejected drop, up to the word "again"."""
    if error.source and error.code in _BETTER_IMAGE:
        image = _BETTER_IMAGE[error.code]
        return f"Replace {error.source} with {image}, then drop the sidecar"
    if error.source and is_defaults(error.source):
        return f"Correct {_place(error)}, then drop the sidecar or the audio"
    if error.source and error.code == "missing_field":
        return f"Add {error.field} to {error.source} and drop it"
    return f"Correct {_place(error)} and drop it"


def _place(error: ErrorDetail) -> str:
    if error.source is None:
        return "the drop"
    is_within = error.field is not None and error.field not in _AUDIO
    return f"{error.field} in {error.source}" if is_within else error.source
