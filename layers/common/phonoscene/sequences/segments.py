"""What a segment asks fal for, and what its end means for its sequence."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from phonoscene.jobs import WITHOUT_VIDEO, ErrorDetail
from phonoscene.spending import cost_of_segments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as Listed

    from phonoscene.jobs import Actual, DropObject, Job, Sequence

FIRST, LAST = "image_url", "end_image_url"
_SIZES: Final = ("frames", "megapixels")
_DOLLARS: Final = ("lower_usd", "upper_usd")
#: Codes of a segment whose files were deleted: what helps depends on whose files they were.
_GONE: Final = frozenset({"drop_gone", "segment_gone"})


def arguments_of(
    job: Job, sequence: Sequence, number: int
) -> tuple[dict[str, Any], dict[str, DropObject]]:
    """The arguments of a segment, and its images by field; without the frame that it continues.

    A last frame that the sidecar asks for is that of the whole; one that a scene asks for, of the
    scene. The size is the one that was priced: ``auto`` would be that of each segment's image.
    """
    segment = sequence.segments[number]
    scene = sequence.scenes[segment.scene]
    length = {"match_audio_length": False, "num_frames": segment.frames}
    asked = job.arguments | scene.arguments | length
    if asked.get("video_size") == "auto" and job.estimate:
        asked["video_size"] = job.estimate.model_dump(include={"width", "height"})
    images = {field: one for field, one in job.images.items() if field not in scene.arguments}
    images |= scene.images
    is_whole = LAST not in scene.arguments
    is_end = number == len(sequence.segments) - 1 if is_whole else sequence.is_last_of_scene(number)
    without = set() if is_end else {LAST}
    arguments = {
        name: value for name, value in asked.items() if value is not None and name not in without
    }
    return arguments, {field: one for field, one in images.items() if field not in without}


def field_of(number: int) -> str:
    """What the ``field`` of an error calls a segment, which is counted from 0."""
    return f"segment {number + 1}"


def contents_of(images: Mapping[str, DropObject]) -> dict[str, str]:
    """What tells images apart, by field: their bytes, where S3 has a digest of them."""
    return {field: one.etag or one.version_id for field, one in images.items()}


def is_lost(job: Job) -> bool:
    """Whether a segment's job has ended without a video that a whole can be made of."""
    return job.status in WITHOUT_VIDEO or job.unusable is not None


def failures(sequence: Sequence, jobs: Mapping[str, Job]) -> tuple[ErrorDetail, ...]:
    """Why a sequence has no video: an error for each segment that has none of use."""
    found = ((number, jobs.get(one.job_id or "")) for number, one in enumerate(sequence.segments))
    return tuple(_failure(sequence, number, job) for number, job in found if job and is_lost(job))


def _failure(sequence: Sequence, number: int, job: Job) -> ErrorDetail:
    start = sequence.start_of(number)
    time = f"{clock(start)} to {clock(start + sequence.seconds_of(number))}"
    where = {"field": field_of(number), "value": time}
    if job.unusable:
        return job.unusable.error.model_copy(update=where)
    first = job.errors[0] if job.errors else None
    why = first.message if first else f"it was {job.status}."
    gone = first if first and first.code in _GONE else None
    return ErrorDetail(
        code=gone.code if gone else "segment_failed",
        source=gone.source if gone else None,
        **where,
        message=f"Segment {number + 1} of {len(sequence.segments)} ({time}) has no video: {why}",
        categories=first.categories if first else None,
        retryable=bool(first and first.retryable),
    )


def clock(seconds: float) -> str:
    """A time within the audio: ``0:42.5``."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def together(job: Job, segments: Listed[Job]) -> dict[str, Any]:
    """What came of a sequence, and what it cost: the dollars are those of its own segments.

    One that was made for another sequence was paid by that. ``actual`` is None where fal reported
    nothing of one.
    """
    spent = cost_of_segments(job, segments)
    came = [one.actual for one in segments if one.actual]
    if not came or len(came) < len(segments):
        return {"spent": spent, "actual": None}
    paid = [one.actual for one in segments if one.actual and one.part_of == job.job_id]
    delivered = [one.delivered_usd for one in paid]
    known = [one for one in delivered if one is not None]
    whole = sum(known, Decimal(0)) if len(known) == len(delivered) else None
    sums = _sums(came, _SIZES) | _sums(paid, _DOLLARS) | {"delivered_usd": whole}
    return {"spent": spent, "actual": came[0].model_copy(update=sums)}


def _sums(parts: Listed[Actual], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: sum((getattr(one, name) for one in parts), 0 if name == "frames" else Decimal(0))
        for name in names
    }
