"""The sidecar: the endpoint's input, as a dropper may write it.

The model is the schema: fields, ranges, choices and defaults are those of the endpoint's page
(https://fal.ai/models/fal-ai/ltx-2.3-22b/distilled/audio-to-video/llms.txt), and the README's table is
checked against it. Every default is sent explicitly, because public sources disagree on some.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Never
from urllib.parse import urlsplit

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from phonoscene.drops import DEFAULTS_NAME, IMAGE_SUFFIXES
from phonoscene.errors import DropRefused
from phonoscene.jobs import ErrorDetail

#: A sidecar is a page of parameters; more is a mistake, or an attack.
LONGEST_SIDECAR = 64 * 1024
#: A result of 10 KB or more shortens fal's result window from 1 h to 6 min, and the prompt is in it.
LONGEST_PROMPT = 5000
#: fal's toolkit refuses longer URLs.
LONGEST_URL = 2048
#: Key of ``_defaults.json`` only: an audio file of its folder starts without a sidecar when false.
WAIT_KEY = "wait_for_sidecar"

#: Fields of the endpoint that a sidecar may not set, and why.
NOT_YOURS = types.MappingProxyType(
    {
        "audio_url": "the audio is the file that was dropped; remove this field",
        "sync_mode": "the video would come inside the answer and be lost with it; remove this field",
        WAIT_KEY: f"it belongs in a {DEFAULTS_NAME}, beside the drop or in a folder above",
    }
)

Preset = Literal[
    "auto",
    "square_hd",
    "square",
    "portrait_4_3",
    "portrait_16_9",
    "landscape_4_3",
    "landscape_16_9",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class VideoSize(_Strict):
    """A size in pixels; fal allows each side up to 14142."""

    width: int = Field(ge=1, le=14142)
    height: int = Field(ge=1, le=14142)


def _image_reference(text: str) -> str:
    """An https URL of a public host, or the name of an image beside the file that mentions it."""
    if "://" in text or text.startswith("data:"):
        problem = _url_problem(text)
    else:
        problem = _image_name_problem(text)
    if problem:
        raise PydanticCustomError("image_reference", "{problem}", {"problem": problem})
    return text


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "it is not a URL"
    checks = (
        (parts.scheme != "https", "its scheme is not https"),
        (len(url) > LONGEST_URL, f"it is longer than {LONGEST_URL} characters"),
        (
            not url.isascii() or not url.isprintable() or " " in url,
            "it holds a space or a character a URL must escape",
        ),
        (parts.username is not None, "it carries a user name"),
        (port not in (None, 443), "it names a port"),
        (not _is_public_host(host), "its host is not a public name"),
    )
    return next((problem for is_wrong, problem in checks if is_wrong), None)


def _is_public_host(host: str) -> bool:
    """A dotted name, no address: an address says nothing about who answers there tomorrow."""
    private = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
    return "." in host.strip(".") and not host.endswith(private) and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return bool(re.fullmatch(r"(0x)?[0-9a-fA-F.]+", host)) and host[-1:].isdigit()
    return True


def _image_name_problem(name: str) -> str | None:
    if name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        return "it must be a name beside the sidecar, without leading / and without . or .. folders"
    if not name.lower().endswith(IMAGE_SUFFIXES):
        return f"its name must end in one of {' '.join(IMAGE_SUFFIXES)}"
    return None if name.isprintable() else "it contains a control character"


ImageReference = Annotated[str, MinLen(1), MaxLen(LONGEST_URL), AfterValidator(_image_reference)]
Strength = Annotated[float, Ge(0), Le(1)]


def _size_tag(value: object) -> str:
    return "size" if isinstance(value, Mapping | VideoSize) else "preset"


class Sidecar(_Strict):
    """What a dropper may ask of the endpoint."""

    prompt: str = Field(
        min_length=1, max_length=LONGEST_PROMPT, description="What the video shows."
    )
    negative_prompt: str = Field(
        default=(
            "news broadcast, 3d animation, computer graphics, pc game, console game, video game, "
            "cartoon, childish, watermark, logo, text, on screen text, subtitles, titles, signature, "
            "slowmo, static"
        ),
        max_length=LONGEST_PROMPT,
        description="What it should not show.",
    )
    enable_prompt_expansion: bool = Field(default=True, description="Let fal enrich the prompt.")
    image_url: ImageReference | None = Field(
        default=None,
        description="First frame: an https URL, or the name of an image beside the sidecar.",
    )
    end_image_url: ImageReference | None = Field(default=None, description="Last frame, likewise.")
    image_strength: Strength = Field(default=1, description="How strictly the first frame is kept.")
    end_image_strength: Strength = Field(
        default=1, description="How strictly the last frame is kept."
    )
    match_audio_length: bool = Field(
        default=True,
        description="As many frames as the audio is long; `num_frames` is then unused.",
    )
    num_frames: int = Field(
        default=121, ge=9, le=481, description="Length when it does not match the audio."
    )
    fps: float = Field(default=24, ge=1, le=60, description="Frames per second.")
    video_size: Annotated[
        Annotated[Preset, Tag("preset")] | Annotated[VideoSize, Tag("size")],
        Discriminator(_size_tag),
    ] = Field(
        default="landscape_16_9",
        description='A preset, or `{"width": …, "height": …}`; `auto` takes the first frame\'s.',
    )
    use_multiscale: bool = Field(
        default=True, description="Small first, then large: more coherent."
    )
    scheduler: Literal["ltx2", "linear_quadratic", "beta"] = Field(
        default="beta", description="The noise schedule."
    )
    acceleration: Literal["none", "regular", "high", "full"] = Field(
        default="none", description="Faster, and coarser."
    )
    camera_lora: Literal[
        "dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static", "none"
    ] = Field(default="none", description="A camera movement.")
    camera_lora_scale: Strength = Field(default=1, description="How much of it.")
    seed: int | None = Field(
        default=None,
        ge=-(2**63),
        lt=2**64,
        description="Fixes the randomness; fal picks one when absent.",
    )
    enable_safety_checker: bool = Field(default=True, description="fal's safety checker.")
    video_output_type: Literal["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)", "GIF (.gif)"] = (
        Field(default="X264 (.mp4)", description="The file that is made.")
    )
    video_quality: Literal["low", "medium", "high", "maximum"] = Field(
        default="high", description="Its quality."
    )
    video_write_mode: Literal["fast", "balanced", "small"] = Field(
        default="balanced", description="Encoding speed against size."
    )
    distill_lora_second_pass_scale: Strength = Field(
        default=0.5, description="Strength of the distillation in later passes."
    )
    audio_strength: Strength = Field(
        default=1, description="Below 1 the model may change the audio; 1 keeps it."
    )
    preprocess_audio: bool = Field(default=True, description="Prepare the audio for conditioning.")

    @model_validator(mode="after")
    def _auto_needs_an_image(self) -> Sidecar:
        """No source says what ``auto`` means without an image, so its cost could not be told."""
        if self.video_size == "auto" and self.image_url is None:
            raise PydanticCustomError("auto_size", "auto_size")
        return self

    @property
    def suffix(self) -> str:
        """The file name's suffix of the video that is asked for: ``.mp4``, ``.webm``, …"""
        return self.video_output_type.partition("(")[2].rstrip(")")

    def image_references(self) -> dict[str, str]:
        """The image fields that are set, by name."""
        found = {name: getattr(self, name) for name in ("image_url", "end_image_url")}
        return {name: reference for name, reference in found.items() if reference}

    def arguments(self) -> dict[str, Any]:
        """The JSON for the endpoint, every default written out; the audio's URL is added at the POST."""
        return self.model_dump(exclude_none=True) | {"sync_mode": False}


@dataclass(frozen=True)
class Document:
    """One JSON file that contributes fields: a sidecar or a ``_defaults.json``; ``source`` is its key."""

    source: str
    values: dict[str, Any]

    def may_say(self, name: str, value: object) -> bool:
        """Whether it is something a document may say that is no field: nobody asks for ``sync_mode`` false."""
        is_defaults = self.source.rpartition("/")[2] == DEFAULTS_NAME
        return (is_defaults and name == WAIT_KEY) or (name == "sync_mode" and value is False)


def read_document(source: str, raw: bytes) -> Document:
    """Parse one file.

    Raises:
        DropRefused: it is too long, not UTF-8 (a BOM is fine), not JSON, not an object, too deep, or
            holds a key twice or a number that JSON does not have.
    """
    if len(raw) > LONGEST_SIDECAR:
        _refuse(
            source,
            "sidecar_too_long",
            f"{source} has {len(raw):,} bytes; at most {LONGEST_SIDECAR:,} are read.",
        )
    try:
        text = raw.decode("utf-8-sig")
        values = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_such_number)
    except UnicodeDecodeError as exc:
        _refuse(
            source,
            "not_utf8",
            f"{source} is not UTF-8 text: byte {exc.start} cannot be read. Save it as UTF-8.",
        )
    except json.JSONDecodeError as exc:
        _refuse(
            source,
            "not_json",
            f"{source} is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}.",
        )
    except RecursionError:
        _refuse(source, "not_json", f"{source} is nested too deeply; a sidecar is a flat object.")
    except ValueError as exc:
        _refuse(source, "not_json", f"{source} is refused: {exc}.")
    if not _is_unicode(values):
        _refuse(
            source,
            "not_utf8",
            f"{source} holds half of a surrogate pair (\\ud800 to \\udfff), which is no character.",
        )
    if not isinstance(values, dict):
        _refuse(
            source,
            "not_an_object",
            f'{source} must hold one JSON object, such as {{"prompt": "…"}}.',
        )
    return Document(source, values)


def _is_unicode(values: object) -> bool:
    """Whether every text in it is one: JSON's escapes can spell code points that no text may hold."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(source: str, code: str, message: str) -> Never:
    raise DropRefused(ErrorDetail(code=code, message=message, source=source)) from None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"the key {_shown(key)} stands in it twice")
        seen[key] = value
    return seen


def _no_such_number(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON number")


def waits_for_sidecar(defaults: Sequence[Document]) -> bool:
    """Whether an audio file waits for its sidecar, given the defaults nearest first.

    Raises:
        DropRefused: the value is not true or false.
    """
    document = next((d for d in defaults if WAIT_KEY in d.values), None)
    wait = document.values[WAIT_KEY] if document else True
    if document and not isinstance(wait, bool):
        error = _detail(WAIT_KEY, wait, document.source, "wrong_type", "true or false")
        raise DropRefused(error)
    return bool(wait)


def parse(documents: Sequence[Document]) -> tuple[Sidecar, Mapping[str, str]]:
    """Merge the documents, the first winning key by key, and check what comes out.

    Returns:
        The sidecar, and for each field that was set the key of the file that set it.

    Raises:
        DropRefused: with every error of every file.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for document in reversed(documents):
        values = {
            name: value
            for name, value in document.values.items()
            if not document.may_say(name, value)
        }
        merged |= values
        origin |= dict.fromkeys(values, document.source)
    try:
        return Sidecar.model_validate(merged), origin
    except ValidationError as exc:
        home = documents[0].source if documents else ""
        raise DropRefused(*(_explain(error, origin, home) for error in exc.errors())) from exc


def _explain(error: Any, origin: Mapping[str, str], home: str) -> ErrorDetail:
    """A pydantic error in the dropper's words."""
    path = [str(part) for part in error["loc"] if part not in ("preset", "size")]
    field, kind = ".".join(path), error["type"]
    source = origin.get(path[0], home) if path else home
    if kind == "auto_size":
        return _detail(
            "video_size",
            "auto",
            source,
            "not_allowed",
            "a preset or a size, or image_url beside auto",
        )
    if kind == "missing":
        return ErrorDetail(
            code="missing_field",
            field=field,
            source=source,
            allowed=allowed(field),
            message=f"{field} is missing; give {allowed(field)}.",
        )
    if kind == "extra_forbidden":
        return _unknown(field, error["input"], source)
    if kind == "image_reference":
        why = error["ctx"]["problem"]
        return _detail(field, error["input"], source, "not_allowed", f"{allowed(field)} ({why})")
    return _detail(field, error["input"], source, _code(kind), allowed(field))


def _code(kind: str) -> str:
    if kind.startswith(("greater", "less")):
        return "out_of_range"
    if kind.startswith("string_too"):
        return "wrong_length"
    return "not_allowed" if kind == "literal_error" else "wrong_type"


def _unknown(field: str, value: object, source: str) -> ErrorDetail:
    if field in NOT_YOURS:
        return ErrorDetail(
            code="not_allowed",
            field=field,
            value=_shown(value),
            source=source,
            message=f"{field} cannot be set: {NOT_YOURS[field]}.",
        )
    home = VideoSize if field.startswith("video_size.") else Sidecar
    near = difflib.get_close_matches(field.rpartition(".")[2], home.model_fields, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "remove it"
    return ErrorDetail(
        code="unknown_field",
        field=_printable(field),
        value=_shown(value),
        source=source,
        allowed=near[0] if near else None,
        message=f"{_printable(field)} is not a field of the sidecar; {hint}",
    )


def _detail(field: str, value: object, source: str, code: str, allowed: str) -> ErrorDetail:
    return ErrorDetail(
        code=code,
        field=field,
        value=_shown(value),
        allowed=allowed,
        source=source,
        message=f"{field} is {_shown(value)}; allowed is {allowed}.",
    )


def _shown(value: object) -> str:
    """A value as its dropper wrote it, shortened, and safe to print and to store."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = "a value too large to show"
    text = _printable(text)
    return text if len(text) <= 100 else text[:97] + "…"  # noqa: PLR2004 - one line of a terminal


def _printable(text: str) -> str:
    """Surrogates and control characters escaped."""
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped)[:200]


def allowed(field: str) -> str:
    """What a field takes, in words: the text of errors and of the README's table."""
    home = VideoSize if field.startswith("video_size.") else Sidecar
    info = home.model_fields.get(field.rpartition(".")[2])
    if info is None:
        return "a field of the sidecar"
    if field == "video_size":
        return f"one of {_choices(Preset)}, or an object with width and height"
    if "image_url" in field:
        return "an https URL of a public host, or the name of an image beside the sidecar"
    return _in_words(info.annotation, [*info.metadata])


def _in_words(annotation: Any, metadata: list[Any]) -> str:
    while typing.get_origin(annotation) is typing.Union or isinstance(annotation, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is Literal:
        return f"one of {_choices(annotation)}"
    noun = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[
        annotation
    ]
    bounds = {
        name: getattr(m, name)
        for m in metadata
        for name in ("ge", "le", "lt", "min_length", "max_length")
        if hasattr(m, name)
    }
    return noun + _range(bounds)


def _range(bounds: Mapping[str, Any]) -> str:
    if "max_length" in bounds:
        return f" of {bounds.get('min_length', 0)} to {bounds['max_length']:,} characters"
    if "le" in bounds:
        return f" from {bounds['ge']} to {bounds['le']}"
    return " of 64 bits" if "lt" in bounds else ""


def _choices(literal: Any) -> str:
    return ", ".join(f'"{choice}"' for choice in typing.get_args(literal))
