"""The sidecar: the endpoint's input, as a dropper may write it.

The model is the schema: fields, ranges, choices and defaults are those of the endpoint's page
(https://fal.ai/models/fal-ai/ltx-2.3-22b/distilled/audio-to-video/llms.txt), and the table of
docs/reference.md is checked against it. Every default is sent explicitly, because public sources
disagree on some. A field that fal adds later has the default None, which is not sent: a segment's
id contains what is sent, and must not change with an update.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from phonoscene.drops.image_references import ImageReference

#: A result of 10 KB or more shortens fal's result window from 1 h to 6 min, and the prompt is in
#: it.
MAX_PROMPT_LENGTH = 5000
#: The fields that may name an image of the drop bucket.
IMAGE_FIELDS = ("image_url", "end_image_url")

Preset = Literal[
    "auto",
    "square_hd",
    "square",
    "portrait_4_3",
    "portrait_16_9",
    "landscape_4_3",
    "landscape_16_9",
]


#: The type of the error that pydantic carries when a text shows nothing; its context has
#: ``problem``.
BLANK = "blank_text"
#: Unicode's categories of what shows nothing by itself: controls, formats, separators, marks.
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"})
#: What shows nothing and has a category of things that do: Hangul fillers and the empty Braille
#: cell.
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")


def _not_blank(text: str) -> str:
    """A text in which something can be seen."""
    if all(unicodedata.category(char) in _INVISIBLE or char in _FILLERS for char in text):
        problem = "it is blank: only spaces and characters that show nothing"
        raise PydanticCustomError(BLANK, "{problem}", {"problem": problem})
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


#: In pixels, by fal's schema.
MAX_SIDE: Final = 14142


class VideoSize(_Strict):
    """A size in pixels."""

    width: int = Field(ge=1, le=MAX_SIDE)
    height: int = Field(ge=1, le=MAX_SIDE)


Strength = Annotated[float, Ge(0), Le(1)]


def _size_tag(value: object) -> str:
    return "size" if isinstance(value, Mapping | VideoSize) else "preset"


class Sidecar(_Strict):
    """What a dropper may ask of the endpoint."""

    prompt: Annotated[str, AfterValidator(_not_blank)] = Field(
        min_length=1, max_length=MAX_PROMPT_LENGTH, description="What the video shows."
    )
    negative_prompt: str = Field(
        default=(
            "news broadcast, 3d animation, computer graphics, pc game, console game, video game, "
            "cartoon, childish, watermark, logo, text, on screen text, subtitles, titles, "
            "signature, slowmo, static"
        ),
        max_length=MAX_PROMPT_LENGTH,
        description="What the video should not show.",
    )
    enable_prompt_expansion: bool = Field(
        default=True, description="Whether fal adds details to the prompt."
    )
    image_url: ImageReference | None = Field(
        default=None,
        description="The image of the first frame.",
    )
    end_image_url: ImageReference | None = Field(
        default=None, description="The image of the last frame."
    )
    image_strength: Strength = Field(
        default=1, description="How closely the first frame follows its image."
    )
    end_image_strength: Strength = Field(
        default=1, description="How closely the last frame follows its image."
    )
    match_audio_length: bool = Field(
        default=True,
        description="Whether the video is as long as the audio; `num_frames` is then ignored.",
    )
    num_frames: int = Field(
        default=121,
        ge=9,
        le=481,
        description="The number of frames if `match_audio_length` is false.",
    )
    fps: float = Field(default=24, ge=1, le=60, description="Frames per second.")
    video_size: Annotated[
        Annotated[Preset, Tag("preset")] | Annotated[VideoSize, Tag("size")],
        Discriminator(_size_tag),
    ] = Field(
        default="landscape_16_9",
        description='A preset, or `{"width": …, "height": …}` in pixels; `auto` is the image\'s.',
    )
    use_multiscale: bool = Field(
        default=True,
        description="Whether fal makes a small video first, and refines it.",
    )
    scheduler: Literal["ltx2", "linear_quadratic", "beta"] = Field(
        default="beta", description="The noise schedule of the model."
    )
    acceleration: Literal["none", "regular", "high", "full"] = Field(
        default="none", description="Faster, with less detail in the video."
    )
    camera_lora: Literal[
        "dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static", "none"
    ] = Field(default="none", description="How the camera moves.")
    camera_lora_scale: Strength = Field(default=1, description="How strong the camera movement is.")
    seed: int | None = Field(
        default=None,
        ge=-(2**63),
        lt=2**64,
        description="The same seed and fields give a similar video. Without it, fal chooses.",
    )
    enable_safety_checker: bool = Field(
        default=True,
        description="Whether fal's safety checker is on.",
    )
    video_output_type: Literal["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)", "GIF (.gif)"] = (
        Field(default="X264 (.mp4)", description="Codec and file type of the video.")
    )
    video_quality: Literal["low", "medium", "high", "maximum"] = Field(
        default="high", description="Quality of the encoding; higher makes larger files."
    )
    video_write_mode: Literal["fast", "balanced", "small"] = Field(
        default="balanced", description="Whether to encode faster, or to a smaller file."
    )
    distill_lora_second_pass_scale: Strength = Field(
        default=0.5, description="Strength of the distillation LoRA from the second pass on."
    )
    audio_strength: Strength = Field(
        default=1, description="1 keeps the audio as it is; below 1 the model may change it."
    )
    preprocess_audio: bool = Field(
        default=True, description="Whether fal prepares the audio before the model uses it."
    )

    def image_references(self) -> dict[str, str]:
        """The image fields that are set, by name."""
        found = {name: getattr(self, name) for name in IMAGE_FIELDS}
        return {name: reference for name, reference in found.items() if reference}

    def arguments(self) -> dict[str, Any]:
        """The endpoint's JSON, every default written out; the audio's URL is added at the POST."""
        return self.model_dump(exclude_none=True) | {"sync_mode": False}


def chosen(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a request's arguments that a sidecar can set, and that are not the defaults."""
    return {
        name: arguments[name]
        for name, field in Sidecar.model_fields.items()
        if name in arguments and arguments[name] != field.default
    }
