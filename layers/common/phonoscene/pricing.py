"""What a job will cost: frames, megapixels, dollars.

fal charges width x height x frames, in megapixels, "rounded up"; its own example contradicts itself
on the rounding, so a cost is an interval: the exact area, and whole megapixels.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

from phonoscene.jobs import Estimate

if TYPE_CHECKING:
    from phonoscene.sidecar import Sidecar

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

#: The fewest frames the endpoint makes.
FEWEST_FRAMES = 9


def needed_frames(sidecar: Sidecar, seconds: float) -> int:
    """How many frames the sidecar asks for, given the audio's length in seconds."""
    if not sidecar.match_audio_length:
        return sidecar.num_frames
    return max(FEWEST_FRAMES, math.ceil(round(seconds * sidecar.fps, 3)))


def billed_frames(frames: int) -> int:
    """The next number of the form 8n + 1.

    The model's latent grid is 8 frames and one more, and all of the endpoint's own figures
    (9, 121, 481) are of that form. How fal rounds is not published; upwards is the safe side.
    """
    return math.ceil((frames - 1) / 8) * 8 + 1


def estimate(frames: int, size: tuple[int, int], usd_per_megapixel: Decimal) -> Estimate:
    """The cost of ``frames`` frames of ``size`` (width, height in pixels)."""
    width, height = size
    billed = billed_frames(frames)
    megapixels = Decimal(width * height * billed) / 1_000_000
    return Estimate(
        width=width,
        height=height,
        frames=billed,
        megapixels=megapixels,
        lower_usd=_rounded(megapixels * usd_per_megapixel, ROUND_FLOOR),
        upper_usd=_rounded(math.ceil(megapixels) * usd_per_megapixel, ROUND_CEILING),
    )


def _rounded(usd: Decimal, rounding: str) -> Decimal:
    """Dollars to a hundredth of a cent."""
    return usd.quantize(Decimal("0.0001"), rounding=rounding)
