"""What fal made, compared with what the job asked for: each difference in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.jobs import Job, Video

#: The fewest frames the endpoint makes.
MIN_FRAMES: Final = 9
#: Two rates within this, in frames per second, are the same: fal may report a rounded one.
SAME_RATE: Final = 0.01
#: The type of a container that has no sound.
_SILENT: Final = "image/gif"


def frames_of(seconds: float, fps: float) -> int:
    """How many frames a length in seconds asks for.

    A frame that has only begun counts: fal was seen to make it. Rounding removes what a float adds
    by mistake, which is less than a sample of any audio.
    """
    return max(MIN_FRAMES, math.ceil(round(seconds * fps, 6)))


def is_noted(seconds: float | None) -> bool:
    """Whether a time is long enough for a note, which would not show it as 0.00 s."""
    return seconds is not None and seconds >= 0.005  # noqa: PLR2004 - half of what is shown


def differences(job: Job) -> list[str]:
    """How the stored video differs from the request, in words; empty before there is one."""
    if job.video is None:
        return []
    made = "; ".join(_figures(job, job.video))
    return [f"The video differs from the request: {made}."] * bool(made) + [
        *_lengths(job, job.video)
    ]


def _figures(job: Job, video: Video) -> Iterator[str]:
    """What fal reports: sides, frames and rate."""
    asked, frames, fps = job.estimate, _asked_frames(job), job.arguments.get("fps")
    if asked and video.width and video.height:
        sizes = f"{asked.width}x{asked.height}", f"{video.width}x{video.height}"
        if sizes[0] != sizes[1]:
            yield f"asked {sizes[0]} pixels, got {sizes[1]}"
    if frames and video.frames and frames != video.frames:
        yield f"asked {frames} frames, got {video.frames}"
    if fps and video.fps and abs(fps - video.fps) > SAME_RATE:
        yield f"asked {fps:g} frames per second, got {video.fps:g}"


def _lengths(job: Job, video: Video) -> Iterator[str]:
    """What is shorter than asked by more than a frame: the picture, or the sound in it."""
    frames, fps = _asked_frames(job), job.arguments.get("fps")
    if not frames or not fps:
        return
    audio = job.audio.seconds if job.audio else None
    asked = min(audio or math.inf, frames / fps)
    length, sound = video.seconds or video.duration, video.sound_seconds
    if length and length < asked - 1 / fps:
        yield f"The video lasts {length:.2f} s instead of {asked:.2f} s."
    if video.content_type == _SILENT or not audio or sound is None:
        return
    if not sound:
        yield "The video has no sound, although the drop does."
    elif sound < asked - 1 / fps:
        yield f"The video's sound lasts {sound:.2f} s instead of {asked:.2f} s."


def _asked_frames(job: Job) -> int | None:
    """How many frames the request asks for; None where the record does not say."""
    if job.sequence:
        return sum(one.frames for one in job.sequence.segments)
    arguments, seconds = job.arguments, job.audio.seconds if job.audio else None
    if not arguments.get("match_audio_length"):
        return arguments.get("num_frames")
    fps = arguments.get("fps")
    return frames_of(seconds, fps) if seconds and fps else None
