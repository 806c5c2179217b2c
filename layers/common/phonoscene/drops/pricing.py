"""What a job will cost, and what it did cost: frames, megapixels, dollars.

fal charges width x height x frames, in megapixels, "rounded up". Before a run it is unknown which
frames and sides fal will choose, so a cost is an interval:

* frames: for 17.894 s at 24 fps fal may bill 430 (whole frames, measured), 425 (down to 8n + 1, as
  Lightricks' own code does) or 433 (up to 8n + 1, as all of fal's own figures are);
* sides: fal bills those that were asked for, by its own example, 1280 x 720; but its text on
  multiscale says "at or above", and the model works in steps of 64 pixels;
* megapixels: exact or rounded up. fal's own example contradicts its text.

The lower bound takes the smallest of each, the upper bound the largest. Limits and reservations go
by the upper bound. What fal reports of a video is priced in the same way.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from phonoscene.comparison import MIN_FRAMES, frames_of
from phonoscene.jobs import Actual, Estimate

if TYPE_CHECKING:
    from phonoscene.drops.sidecar import Sidecar
    from phonoscene.fal.results import ReportedVideo
    from phonoscene.jobs import Job, Source

#: Width and height of the presets, in pixels (fal's toolkit; the endpoint prints none).
PRESETS = MappingProxyType(
    {
        "square_hd": (1024, 1024),
        "square": (512, 512),
        "portrait_4_3": (768, 1024),
        "portrait_16_9": (576, 1024),
        "landscape_4_3": (1024, 768),
        "landscape_16_9": (1024, 576),
    }
)

#: The model's latent grid: 8 frames and one more; 32 pixels, and 64 where the first of two passes
#: has half the size.
STEP_FRAMES: Final = 8
STEP_PIXELS: Final = 64
#: How much longer than the longest video audio may be: encoders pad a nominal 20 s to 20.06 s.
PADDING_SECONDS: Final = 0.25
#: A report beyond this, in megapixels, is no measure: the schema's largest video has 96,198.
MAX_MEGAPIXELS: Final = 1_000_000_000


def needed_frames(sidecar: Sidecar, seconds: float) -> int:
    """How many frames the sidecar asks for, given the audio's length in seconds."""
    if not sidecar.match_audio_length:
        return sidecar.num_frames
    return frames_of(seconds, sidecar.fps)


def billed_frames(frames: int) -> int:
    """The most frames that fal may bill for so many: the next number of the form 8n + 1."""
    return max(MIN_FRAMES, math.ceil((frames - 1) / STEP_FRAMES) * STEP_FRAMES + 1)


def _fewest_frames(frames: int) -> int:
    """The fewest: the number of that form before it."""
    return max(MIN_FRAMES, (frames - 1) // STEP_FRAMES * STEP_FRAMES + 1)


def estimate(
    frames: int, size: tuple[int, int], usd_per_megapixel: Decimal, *, from_audio: bool = False
) -> Estimate:
    """The cost of ``frames`` frames of ``size`` (width, height in pixels).

    ``from_audio``: the last frame may be begun only, so that fal could also make one less.
    """
    width, height = size
    most = billed_frames(frames)
    least = width * height * _fewest_frames(frames - from_audio)
    lower, upper = _interval(least, _grown(width) * _grown(height) * most, usd_per_megapixel)
    return Estimate(
        width=width,
        height=height,
        frames=most,
        megapixels=_megapixels(width * height * most),
        usd_per_megapixel=usd_per_megapixel,
        lower_usd=lower,
        upper_usd=upper,
    )


def actual(job: Job, video: ReportedVideo, billable_units: Decimal | None) -> Actual | None:
    """The cost of the video that fal reports, at the price of the job's estimate.

    What fal leaves out counts as it was asked for. None where fal reports no figure, or none that
    can be true.
    """
    asked = job.estimate
    if asked is None or asked.usd_per_megapixel is None:
        return None
    frames, source = _reported_frames(job, video)
    size = _reported_size(video)
    width, height = size or (asked.width, asked.height)
    shown = frames or asked.frames
    if width * height * shown > MAX_MEGAPIXELS * 1_000_000:
        return None
    least = width * height * _fewest_frames(frames or asked.frames - 1)
    largest = width * height if size else _grown(width) * _grown(height)
    lower, upper = _interval(least, largest * billed_frames(shown), asked.usd_per_megapixel)
    came = Actual(
        source=source if frames else "size",
        width=width,
        height=height,
        frames=shown,
        megapixels=_megapixels(width * height * shown),
        lower_usd=lower,
        upper_usd=upper,
        delivered_usd=upper,
    )
    if billable_units is not None and billable_units >= _megapixels(least):
        return _billed(came, billable_units, asked.usd_per_megapixel)
    return came if frames or size else None


def _billed(came: Actual, units: Decimal, usd_per_megapixel: Decimal) -> Actual:
    """The same by what fal says it bills; ``units`` are megapixels."""
    usd = units * usd_per_megapixel
    return came.model_copy(
        update={
            "source": "billable_units",
            "megapixels": units,
            "lower_usd": _rounded(usd, ROUND_FLOOR),
            "upper_usd": _rounded(usd, ROUND_CEILING),
        }
    )


def _reported_frames(job: Job, video: ReportedVideo) -> tuple[int, Source]:
    """How many frames fal says it made, or 0; counted, or from the length in seconds."""
    if video.num_frames and video.num_frames > 0:
        return video.num_frames, "frames"
    fps = video.fps or job.arguments.get("fps") or 0
    return round((video.duration or 0) * fps), "duration"


def _reported_size(video: ReportedVideo) -> tuple[int, int] | None:
    """Width and height in pixels, where fal reports both."""
    width, height = video.width or 0, video.height or 0
    return (width, height) if width > 0 and height > 0 else None


def _interval(least: int, most: int, usd_per_megapixel: Decimal) -> tuple[Decimal, Decimal]:
    """Dollars for the fewest pixels, exactly, and for the most, in whole megapixels."""
    lower = _megapixels(least) * usd_per_megapixel
    upper = math.ceil(_megapixels(most)) * usd_per_megapixel
    return _rounded(lower, ROUND_FLOOR), _rounded(upper, ROUND_CEILING)


def _megapixels(pixels: int) -> Decimal:
    return Decimal(pixels) / 1_000_000


def _grown(side: int) -> int:
    """A side in pixels as the model's grid may make it larger."""
    return math.ceil(side / STEP_PIXELS) * STEP_PIXELS


def _rounded(usd: Decimal, rounding: str) -> Decimal:
    """Dollars to a hundredth of a cent."""
    return usd.quantize(Decimal("0.0001"), rounding=rounding)
