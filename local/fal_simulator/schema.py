"""The input schema of `fal-ai/ltx-2.3-22b/distilled/audio-to-video`, as its page prints it.

Written apart from the product's own model, so that a mistake in one is caught by the other.
Unknown keys are ignored, as observed on sibling endpoints. Values are read as lax pydantic reads
them (`"5"` passes for 5): a guess, since fal's runners are pydantic without `strict`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ENDPOINT = "fal-ai/ltx-2.3-22b/distilled/audio-to-video"
APP = "fal-ai/ltx-2.3-22b"
MAX_FRAMES = 481


class Preset(StrEnum):
    """Named sizes; `auto` takes the size of the input image."""

    AUTO = "auto"
    SQUARE_HD = "square_hd"
    SQUARE = "square"
    PORTRAIT_4_3 = "portrait_4_3"
    PORTRAIT_16_9 = "portrait_16_9"
    LANDSCAPE_4_3 = "landscape_4_3"
    LANDSCAPE_16_9 = "landscape_16_9"


PIXELS = {
    Preset.SQUARE_HD: (1024, 1024),
    Preset.SQUARE: (512, 512),
    Preset.PORTRAIT_4_3: (768, 1024),
    Preset.PORTRAIT_16_9: (576, 1024),
    Preset.LANDSCAPE_4_3: (1024, 768),
    Preset.LANDSCAPE_16_9: (1024, 576),
}


class Scheduler(StrEnum):
    """Noise schedules."""

    LTX2 = "ltx2"
    LINEAR_QUADRATIC = "linear_quadratic"
    BETA = "beta"


class Acceleration(StrEnum):
    """How much quality to trade for speed."""

    NONE = "none"
    REGULAR = "regular"
    HIGH = "high"
    FULL = "full"


class CameraLora(StrEnum):
    """Camera movements."""

    DOLLY_IN = "dolly_in"
    DOLLY_OUT = "dolly_out"
    DOLLY_LEFT = "dolly_left"
    DOLLY_RIGHT = "dolly_right"
    JIB_UP = "jib_up"
    JIB_DOWN = "jib_down"
    STATIC = "static"
    NONE = "none"


class OutputType(StrEnum):
    """Codec and container of the video."""

    X264 = "X264 (.mp4)"
    VP9 = "VP9 (.webm)"
    PRORES = "PRORES4444 (.mov)"
    GIF = "GIF (.gif)"


class Quality(StrEnum):
    """Of the encoded video."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    MAXIMUM = "maximum"


class WriteMode(StrEnum):
    """How the encoder spends its time."""

    FAST = "fast"
    BALANCED = "balanced"
    SMALL = "small"


class ImageSize(BaseModel):
    """A size in pixels; fal's toolkit allows 1 to 14142 and defaults each side to 512."""

    width: int = Field(512, gt=0, le=14142)
    height: int = Field(512, gt=0, le=14142)


class Inputs(BaseModel):
    """What a job was asked for, valid and with the endpoint's defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: str
    audio_url: str
    image_url: str | None = None
    end_image_url: str | None = None
    match_audio_length: bool = True
    num_frames: int = Field(121, ge=9, le=MAX_FRAMES)
    video_size: ImageSize | Preset = Preset.LANDSCAPE_16_9
    use_multiscale: bool = True
    fps: float = Field(24, ge=1, le=60)
    scheduler: Scheduler = Scheduler.BETA
    acceleration: Acceleration = Acceleration.NONE
    camera_lora: CameraLora = CameraLora.NONE
    camera_lora_scale: float = Field(1, ge=0, le=1)
    negative_prompt: str = ""
    seed: int | None = None
    enable_prompt_expansion: bool = True
    enable_safety_checker: bool = True
    video_output_type: OutputType = OutputType.X264
    video_quality: Quality = Quality.HIGH
    video_write_mode: WriteMode = WriteMode.BALANCED
    sync_mode: bool = False
    distill_lora_second_pass_scale: float = Field(0.5, ge=0, le=1)
    image_strength: float = Field(1, ge=0, le=1)
    end_image_strength: float = Field(1, ge=0, le=1)
    audio_strength: float = Field(1, ge=0, le=1)
    preprocess_audio: bool = True


class InvalidInputError(ValueError):
    """The arguments break the schema; `detail` is fal's list, one entry for each mistake."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(detail)} mistakes in the arguments")
        self.detail = detail


def read(arguments: Any) -> Inputs:
    """Validate the arguments of a submission; raises `InvalidInputError`."""
    try:
        return Inputs.model_validate(arguments)
    except ValidationError as error:
        raise InvalidInputError([_entry(dict(item)) for item in error.errors()]) from error


def _entry(item: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "loc": ["body", *item["loc"]],
        "msg": item["msg"],
        "type": item["type"],
        "url": f"https://docs.fal.ai/errors#{item['type']}",
        "input": item["input"],
    }
    return entry | ({"ctx": item["ctx"]} if "ctx" in item else {})
