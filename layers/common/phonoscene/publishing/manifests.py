"""The manifest beside a video: what the video was made from, and what it is.

It has no URL that opens anything.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from phonoscene.drops.image_references import without_secrets
from phonoscene.jobs import Audio, DropObject, FrozenModel, Job, Metadata, Video
from phonoscene.publishing.public_job import Cost, Time, Versioned, VideoFigures, described

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as Listed


class PlannedFigures(FrozenModel):
    """What was asked for, and what it should cost in US dollars."""

    width: int = described("In pixels.")
    height: int = described("Likewise.")
    frames: int = described("The most that fal may bill.")
    megapixels: float = described("Width x height x frames.")
    usd_per_megapixel: float | None = described(
        "fal's price; absent in a record of before 0.1.0.", default=None
    )
    lower_usd: float = described("For the fewest frames that fal may bill, at the exact area.")
    upper_usd: float = described("For the most frames and pixels, in whole megapixels.")


class ManifestSegment(FrozenModel):
    """One request of a video whose audio took several."""

    job_id: str = described("The job that made it.")
    frames: int = described("How many frames of it are in the video.")
    prompt: str = described("As it was sent to fal.")
    request_id: str | None = described("fal's id of its request.", default=None)
    seed: int | None = described("As fal reports it, up to 2^64.", default=None)
    video: Video | None = described("Its own video.", default=None)


class Manifest(Versioned):
    """The file beside a video that says what it was made from, and what it is."""

    job_id: str = described("The job that made the video.")
    name: str = described("The drop's key without its suffixes.")
    bucket: str = described("The drop bucket.")
    audio: Audio | None = described("The audio, pinned to its version.", default=None)
    sidecar: DropObject | None = described("The sidecar, pinned to its version.", default=None)
    images: dict[str, DropObject] = described(
        "The images in the drop bucket, pinned to their versions, by the field that names them.",
        default={},
    )
    arguments: dict[str, Any] = described("What fal was asked for, without the files' URLs.")
    metadata: Metadata = described("The sidecar's, unchanged.", default={})
    request_id: str | None = described("fal's id; each segment has its own.", default=None)
    seed: int | None = described(
        "As fal reports it, up to 2^64; each segment has its own.", default=None
    )
    prompt_used: str | None = described("The prompt as fal reports it.", default=None)
    output_lifetime: int | None = described(
        "For how many seconds after the run fal was asked to keep the video.", default=None
    )
    estimate: PlannedFigures | None = described("What was asked for.", default=None)
    actual: VideoFigures | None = described(
        "What came; absent where fal reports no figures.", default=None
    )
    cost: Cost | None = described("What was spent when the video was stored.", default=None)
    video: Video | None = described("The video.", default=None)
    video_flaws: tuple[str, ...] | None = described(
        "What is odd about the video; absent if nothing is.", default=None
    )
    segments: tuple[ManifestSegment, ...] | None = described(
        "The requests of a video whose audio took several; absent for any other.", default=None
    )
    created_at: Time = described("When the job's record was made.")

    @classmethod
    def of(cls, job: Job, segments: Listed[Job] = ()) -> Self:
        """That of a job; ``segments``: the jobs of a sequence's segments."""
        same = cls.model_fields.keys() & Job.model_fields.keys()
        return cls(
            **{name: getattr(job, name) for name in same}
            | {
                "version": "1",
                "arguments": _without_secrets(job.arguments),
                "request_id": job.request.request_id if job.request else None,
                "seed": None if segments else job.seed,
                "estimate": job.estimate and job.estimate.model_dump(),
                "actual": job.actual and job.actual.model_dump(),
                "cost": Cost.of(job),
                "video_flaws": tuple(sorted(job.video_flaws)) or None,
                "segments": tuple(map(_segment, segments)) or None,
            }
        )

    def fields(self) -> dict[str, Any]:
        """As JSON has them; what is absent is left out."""
        return self.model_dump(mode="json", exclude_none=True)


def _without_secrets(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments; the query of an image's URL may open it, and more."""
    return {
        name: without_secrets(value)
        if name.endswith("image_url") and "://" in str(value)
        else value
        for name, value in arguments.items()
    }


def _segment(job: Job) -> ManifestSegment:
    return ManifestSegment(
        job_id=job.job_id,
        frames=job.arguments["num_frames"],
        prompt=job.arguments["prompt"],
        request_id=job.request.request_id if job.request else None,
        seed=job.seed,
        video=job.video,
    )


def to_bytes(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as it is stored."""
    return json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"
