"""The public fields of a job: what receipts and events have in common.

Both are functions of the record alone, so a record that is published twice or late looks the same
each time. They have no URL that opens anything, no token or its hash, and nothing of the fal key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, PlainSerializer

from phonoscene.comparison import differences, is_noted
from phonoscene.jobs import (
    Audio,
    DropObject,
    ErrorDetail,
    FrozenModel,
    Job,
    JobStatus,
    Metadata,
    Source,
    Video,
)
from phonoscene.publishing.wording import WAITS, fix, over_reserved, past_state, state_of
from phonoscene.spending import cost
from phonoscene.videos.video_formats import CUT_OFF, FEWER_BYTES, OTHER_CONTAINER

_QUERY = re.compile(r"""(?i)(https?://[^\s?"']*)\?[^\s"']*""")


def written(at: datetime) -> str:
    """A time as the table has it, in milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[AwareDatetime, PlainSerializer(written, return_type=str, when_used="json")]


def described(what: str, **more: Any) -> Any:
    """A field with its description in the schema."""
    return Field(description=what, **more)


class Wait(FrozenModel):
    """What a job waits for before anything more happens."""

    what: str = described(f"One of {', '.join(WAITS)}.")
    meaning: str = described("The same in words.")
    key: str | None = described("The key of the image that it waits for.", default=None)
    until: Time | None = described(
        "When it is checked again, or given up if it is WAITING; absent if unknown.",
        default=None,
    )


class Problem(ErrorDetail):
    """One thing that is wrong: where, the value found, what is allowed, and what to do."""

    fix: str = described("What the dropper can do about it.")


class Cost(FrozenModel):
    """What the job should cost, and once its video is made or it has ended, what was spent.

    In US dollars; of long audio for the segments that this job had made.
    """

    lower_usd: float = described("The least that fal may bill; 0 if nothing was spent.")
    upper_usd: float = described("The most; 0 if nothing was spent. All videos made are counted.")
    may_be_billed: bool = described(
        "Whether upper_usd counts a request that brought no video, and that fal may bill.",
        default=False,
    )
    delivered_usd: float | None = described(
        "The most for the frames and pixels that fal reports; absent if it does not report them "
        "for every video that counts.",
        default=None,
    )
    billed_usd: float | None = described(
        "What fal bills; absent if fal does not report it for every video, as in a webhook.",
        default=None,
    )

    @classmethod
    def of(cls, job: Job) -> Self | None:
        """That of a job; None if it was never priced."""
        found = cost(job)
        return cls(**found.model_dump()) if found else None


class VideoFigures(FrozenModel):
    """What fal reports it made, and what that costs in US dollars."""

    source: Source = described(
        "Where the cost comes from: fal's bill, or the frames, length or size that fal reports."
    )
    width: int = described("In pixels; as asked for where fal reports no size.")
    height: int = described("Likewise.")
    frames: int = described("As asked for where fal reports neither frames nor a length.")
    megapixels: float = described("Width x height x frames, or the units that fal bills.")
    lower_usd: float = described("The least that fal may bill for it.")
    upper_usd: float = described("The most; the day's budget counts this.")


class PublicSegment(FrozenModel):
    """One request of a job whose audio takes several."""

    index: int = described("Its place, from 1.")
    start: float = described("When it begins, in seconds of the audio.")
    seconds: float = described("How long it is.")
    status: JobStatus | None = described("Absent before its turn.", default=None)
    job_id: str | None = described("The job that makes it.", default=None)
    request_id: str | None = described("fal's id of its request.", default=None)


class Versioned(FrozenModel):
    """How receipts, events and manifests begin."""

    version: Literal["1"] = described("The version of this form; it may get more fields.")
    phonoscene_version: str | None = described(
        "The release that wrote the job's last step; absent if that was before 0.1.0.", default=None
    )


class PublicJob(Versioned):
    """What receipts and events have in common."""

    job_id: str = described(
        "The job's id; a half that waits for its other half has one of its own."
    )
    name: str = described("The drop's key without its suffixes: what both halves share.")
    revision: int = described(
        "Increases with every write of a record; of two with the same created_at, the higher is "
        "more recent."
    )
    status: JobStatus = described("Where the job stands.")
    state: str = described("The same in words.")
    is_final: bool = described(
        "Whether the job has ended. If fal delivers a video after all, GENERATED and SUCCEEDED "
        "may follow FAILED, with a higher revision; and fal may still bill a cancelled job."
    )
    waits: Wait | None = described("What it waits for, if it does.", default=None)
    attempt: int = described("How often it was sent to fal, including attempts that fal refused.")
    resubmitted: bool = described("Whether it was sent once more because fal's answer was lost.")
    duplicates: int = described(
        "How many requests made a video of this job that was billed and is not stored. The own "
        "request of a cancelled job may be one."
    )
    notes: tuple[str, ...] = described(
        "What is unusual, in words; and which segments another job paid for."
    )
    errors: tuple[Problem, ...] = described("What is wrong.")
    video: Video | None = described("The video, once it is in the output bucket.", default=None)
    cost: Cost | None = described("Absent if the job was never priced.", default=None)
    actual: VideoFigures | None = described(
        "What fal made; absent until there is a video, or if fal reports no figures.", default=None
    )
    request_id: str | None = described("fal's id, for questions to fal.", default=None)
    segments: tuple[PublicSegment, ...] | None = described(
        "The requests of a job whose audio takes several; absent for any other.", default=None
    )
    bucket: str = described("The drop bucket.")
    audio: Audio | None = described("The audio, pinned to its version.", default=None)
    sidecar: DropObject | None = described("The sidecar, pinned to its version.", default=None)
    metadata: Metadata = described("The sidecar's, unchanged.", default={})
    dropped_at: Time | None = described("S3's date of the later half.", default=None)
    created_at: Time = described(
        "When the record was made. A half that is dropped again gets a new one, with the same id."
    )
    updated_at: Time = described("When the job last took a step.")

    def to_json(self, indent: int | None = None) -> str:
        """As it is written; what is absent is left out."""
        return self.model_dump_json(exclude_none=True, indent=indent)


def public_fields(job: Job, until: datetime | None) -> dict[str, Any]:
    """The fields of ``PublicJob``, but for the errors."""
    same = PublicJob.model_fields.keys() & Job.model_fields.keys() - {"errors"}
    return {name: getattr(job, name) for name in same} | {
        "version": "1",
        "state": _state(job),
        "is_final": job.is_final,
        "segments": segments_of(job),
        "waits": _wait(job, until),
        "duplicates": len(job.duplicate_requests),
        "notes": tuple(notes(job)),
        "cost": Cost.of(job),
        "actual": job.actual and VideoFigures(**job.actual.model_dump()),
        "request_id": job.request.request_id if job.request else None,
    }


def _state(job: Job) -> str:
    """The status in words; of a sequence how many segments have their video.

    Other takes of the same sidecar may be made and paid.
    """
    sequence = job.sequence
    if job.take and job.status is JobStatus.REJECTED:
        return f"take {job.take} of the sidecar is not valid; nothing was spent on it"
    if sequence is None or job.status not in (JobStatus.SUBMITTED, JobStatus.GENERATED):
        return state_of(job)
    if job.status is JobStatus.GENERATED:
        return past_state(job, job.status)
    return f"{sequence.done} of {len(sequence.segments)} segments have their videos"


def segments_of(job: Job) -> tuple[PublicSegment, ...] | None:
    """The segments of a sequence, as they were last seen."""
    sequence = job.sequence
    if sequence is None:
        return None
    return tuple(
        PublicSegment(
            index=number + 1,
            start=round(sequence.start_of(number), 3),
            seconds=round(sequence.seconds_of(number), 3),
            status=one.status,
            job_id=one.job_id,
            request_id=one.request_id,
        )
        for number, one in enumerate(sequence.segments)
    )


def _wait(job: Job, until: datetime | None) -> Wait | None:
    what = job.waits_for
    if job.status is JobStatus.WAITING and what is None:
        what = "sidecar" if job.audio else "audio"
    if what is None:
        return None
    # a slot is free when another job ends; a sequence is looked at while a segment of it waits
    is_open = what in {"slot", "cdn"} or (job.sequence and job.status is JobStatus.SUBMITTED)
    when = None if is_open else job.waits_until or until
    return Wait(what=what, meaning=WAITS.get(what, what), key=job.missing_image, until=when)


def notes(job: Job) -> list[str]:
    """What is unusual about a job, and which segments it did not pay for, in words."""
    return [*oddities(job), *_notes_on_reuse(job)]


def oddities(job: Job) -> list[str]:
    """What is unusual about a job, in words."""
    return [*_notes_on_drops(job), *_notes_on_payment(job), *_notes_on_video(job)]


def _notes_on_drops(job: Job) -> list[str]:
    unused = sorted(job.unused_sidecars)
    found = [f"{key} is not used: another sidecar is." for key in unused]
    if job.repeats:
        times = "once" if job.repeats == 1 else f"{job.repeats} times"
        retry = "" if job.sequence else ", or use phonoscene retry"
        found.append(
            f"The same content was dropped again, {times}: it belongs to this job, and nothing "
            f"more is paid. For another take, set another seed{retry}."
        )
    if job.unused_metadata:
        found.append(
            "The same content was dropped again with other metadata: the job keeps its own. For a "
            "new video with other metadata, use phonoscene retry with --meta."
        )
    if is_noted(job.padding):
        found.append(
            f"The last {job.padding:.2f} s of the audio are not in the video, which is as long as "
            f"one request can be ({job.arguments['num_frames']} frames)."
        )
    return found


def _notes_on_payment(job: Job) -> list[str]:
    notes = []
    if job.resubmitted:
        notes.append("fal's answer was lost, with no trace of the request: it was sent once more.")
    if job.costs_more_than_reserved:
        notes.append(over_reserved(job))
    times = len(job.duplicate_requests)
    if times and job.status in (JobStatus.GENERATED, JobStatus.SUCCEEDED):
        notes.append(f"fal made this video {times + 1} times: you pay for all, and one is stored.")
    elif times:
        made = "a video" if times == 1 else f"{times} videos"
        notes.append(f"fal made {made} anyway: billed, and not stored.")
    return notes


def _notes_on_reuse(job: Job) -> list[str]:
    segments = job.sequence.segments if job.sequence else ()
    made = [one for one in segments if one.status is JobStatus.SUCCEEDED]
    reused = sum(one.is_reused for one in made)
    if not reused:
        return []
    was, them = ("was", "it") if reused == 1 else ("were", "them")
    return [
        f"{reused} of {len(segments)} segments {was} made for another job, which paid for {them}."
    ]


def _notes_on_video(job: Job) -> list[str]:
    if job.video is None:
        return []
    size, reported = job.video.bytes, job.reported.get("file_size") or 0
    said = {
        FEWER_BYTES: f"fal reported {reported:,} bytes, and only {size:,} could be read",
        CUT_OFF: "its own headers show that bytes are missing",
    }
    why = "; ".join(words for flaw, words in said.items() if flaw in job.video_flaws)
    cut = f"The video may be cut off: {why}. The job's record keeps its address at fal."
    asked = str(job.arguments.get("video_output_type", ""))
    other = f"fal made {job.video.content_type}, not {asked}: it is stored as it came."
    flaws = [cut] * bool(why) + [other] * (OTHER_CONTAINER in job.video_flaws)
    return [*flaws, *differences(job)]


def problems(job: Job) -> tuple[Problem, ...]:
    """All that is wrong with a job."""
    return tuple(_problem(job.status, error) for error in job.errors)


def _problem(status: JobStatus, error: ErrorDetail) -> Problem:
    """Errors hold no secret of a dropper's URL; those of older records may hold its query."""
    public_fields = error.model_dump() | {"fix": fix(status, error)}
    return Problem(
        **{
            name: _QUERY.sub(r"\1?…", value) if isinstance(value, str) else value
            for name, value in public_fields.items()
        }
    )
