"""The sidecar as a form: what its fields are called and take, and its texts as values and back.

A field that is empty is not in the sidecar, so the folder's defaults and then fal's apply. What a
text means is the product's to judge: a number that cannot be read stays the text that was typed.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args, get_origin

from phonoscene.drops.sidecar import Preset, Sidecar
from phonoscene.drops.validation_errors import CONTINUITY, METADATA, SCENES, allowed, shown
from phonoscene.jobs import ErrorDetail
from phonoscene.sequences.scenes import CUT, LAST_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Shown at once; all others are behind *More*.
FIRST: Final = ("prompt", "image_url", "video_size", "seed")
#: Keys of a sidecar that the form has no field for, as JSON.
OTHER: Final = "other"
#: What the template of the fields shows of a form that nothing has filled.
EMPTY: Final[Mapping[str, Any]] = MappingProxyType(
    {"values": {}, "images": (), "problem": "", "file": "", "kept": ()}
)
_SIZE: Final = re.compile(r"\s*(\d+)\s*[x×*]\s*(\d+)\s*", re.IGNORECASE)  # noqa: RUF001 - as people type it
_SCENE: Final = re.compile(r"\s*(\d[\d:.]*)(?:\s+(.*?))?\s*")

Kind = Literal["line", "text", "choice", "image"]
T = TypeVar("T")


@dataclass(frozen=True)
class FormField:
    """One field: ``choices`` are offered; of a ``choice`` they are all there are."""

    name: str
    description: str
    allowed: str
    default: str = ""
    kind: Kind = "line"
    choices: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name as words."""
        words = self.name.removesuffix("_url").replace("_", " ").capitalize()
        return words.replace("Fps", "FPS").replace("lora", "LoRA").replace("Num ", "Number of ")


def _text(value: Any, name: str) -> str | None:
    """A value as it is typed, or else as JSON; None where neither means it."""
    texts = (*_typed(value, name), json.dumps(value, ensure_ascii=False))
    return next((text for text in texts if text.strip() and _means(name, text, value)), None)


def _typed(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    if name == "video_size" and isinstance(value, dict) and value.keys() == {"width", "height"}:
        yield f"{value['width']}x{value['height']}"
    if name == METADATA and isinstance(value, dict):
        yield "\n".join(f"{key}={inner}" for key, inner in value.items())
    if name == SCENES and isinstance(value, list) and all(isinstance(one, dict) for one in value):
        yield "\n".join(f"{one.get('start')} {one.get('prompt', '')}".strip() for one in value)


def _means(name: str, text: str, value: Any) -> bool:
    try:
        return json.dumps(_value(name, text)) == json.dumps(value)
    except ValueError:
        return False


def _plain(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def _field(name: str) -> FormField:
    info = Sidecar.model_fields[name]
    has_default = not info.is_required() and info.default is not None
    default = _plain(info.default) if has_default else ""
    kind: Kind = "line"
    choices: tuple[str, ...] = ()
    if "image_url" in name:
        kind = "image"
    elif name == "video_size":
        choices = get_args(Preset)
    elif info.annotation is bool:
        kind, choices = "choice", ("true", "false")
    elif get_origin(info.annotation) is Literal:
        kind, choices = "choice", get_args(info.annotation)
    elif info.annotation is str:
        kind = "text"
    return FormField(name, info.description or "", allowed(name), default, kind, choices)


ENDPOINT: Final = tuple(map(_field, Sidecar.model_fields))
OWN: Final = (
    FormField(
        SCENES,
        "For long audio: one line for each scene, with its start and what it shows.",
        "lines such as: 0:42.5 Embers in the dark",
        kind="text",
    ),
    FormField(
        CONTINUITY,
        "For long audio: each segment begins anew, or with the last frame of the one before.",
        f"one of {CUT}, {LAST_FRAME}",
        CUT,
        "choice",
        (CUT, LAST_FRAME),
    ),
    FormField(
        METADATA,
        "Your own keys and values. They come back with the job, and are not sent to fal.",
        "lines such as: order=A-17",
        kind="text",
    ),
)
FIELDS: Final = (*ENDPOINT, *OWN)
NAMES: Final = frozenset(field.name for field in FIELDS)
_TEXTS: Final = frozenset(
    field.name
    for field in ENDPOINT
    if field.kind in ("text", "image") or (field.kind == "choice" and "true" not in field.choices)
)


@dataclass(frozen=True)
class Filled:
    """What a form says: the sidecar, and what is wrong before the product can look at it."""

    sidecar: dict[str, Any]
    errors: tuple[ErrorDetail, ...] = ()


def filled(form: Mapping[str, str]) -> Filled:
    """The sidecar that a form's texts mean."""
    errors: list[ErrorDetail] = []
    sidecar: dict[str, Any] = {}
    if form.get(OTHER, "").strip():
        other = _json(form[OTHER])
        if isinstance(other, dict):
            sidecar |= other
        else:
            errors.append(_wrong(OTHER, form[OTHER], "a JSON object, or nothing"))
    for field in FIELDS:
        text = form.get(field.name, "")
        if text.strip():
            try:
                sidecar[field.name] = _value(field.name, text)
            except ValueError as exc:
                errors.append(_wrong(field.name, text, field.allowed, exc))
    return Filled(sidecar, tuple(errors))


def texts(sidecar: Mapping[str, Any]) -> dict[str, str]:
    """The form's texts for a sidecar; what no field can say is under ``other``."""
    typed = {name: _text(value, name) for name, value in sidecar.items() if name in NAMES}
    found = {name: text for name, text in typed.items() if text is not None}
    other = {name: value for name, value in sidecar.items() if name not in found}
    return found | ({OTHER: json.dumps(other, ensure_ascii=False)} if other else {})


def refilled(
    form: Mapping[str, str], before: Mapping[str, str], new: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The texts of a form that a file fills anew, and the typed fields that the file also sets.

    ``before`` are the texts that came from files. What was typed stays.
    """
    typed = {
        name: text
        for name in (*NAMES, OTHER)
        if (text := form.get(name, "")).split() != before.get(name, "").split() and text.strip()
    }
    kept = [field.label for field in FIELDS if _differs(field.name, typed, new)]
    return {**new, **typed}, kept


def _differs(name: str, typed: Mapping[str, str], new: Mapping[str, str]) -> bool:
    return name in typed and name in new and typed[name].split() != new[name].split()


class _WrongLine(ValueError):
    """A line of a field that cannot be read, and its number."""

    def __init__(self, number: int, line: str) -> None:
        super().__init__(line)
        self.number = number
        self.line = line


def _wrong(field: str, value: str, takes: str, why: Exception | None = None) -> ErrorDetail:
    message = f"{field} is {shown(value)}; allowed: {takes}."
    if isinstance(why, json.JSONDecodeError):
        message = f"{field} is broken JSON at line {why.lineno}, column {why.colno}: {why.msg}."
    if isinstance(why, _WrongLine):
        message = f"{field} has {shown(why.line)} in line {why.number}; allowed: {takes}."
    return ErrorDetail(
        code="wrong_type", message=message, field=field, value=value[:200], allowed=takes
    )


def _value(name: str, text: str) -> Any:
    """The value of a field.

    Raises:
        ValueError: metadata or scenes are not written as they should be.
    """
    if name in _TEXTS or name == CONTINUITY:
        return text if name in ("prompt", "negative_prompt") else text.strip()
    if name == METADATA:
        return _metadata(text)
    if name == SCENES:
        return _scenes(text)
    if name == "video_size":
        size = _SIZE.fullmatch(text)
        return {"width": int(size[1]), "height": int(size[2])} if size else text.strip()
    value = _json(text.strip())
    is_whole = isinstance(value, float) and value.is_integer() and "e" in text.lower()
    return int(value) if is_whole else value


def _json(text: str) -> Any:
    try:
        return _strict_json(text)
    except ValueError:
        return text


def _strict_json(text: str) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as exc:
        raise ValueError(text) from exc


def _no_number(name: str) -> Any:
    """NaN and Infinity are not JSON."""
    raise ValueError(name)


def _finite(text: str) -> float:
    """A number that JSON can be written with.

    Raises:
        ValueError: it is too large, and would become Infinity.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _metadata(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return _strict_json(text)
    pairs = _lines(text, lambda line: line.partition("=") if "=" in line else None)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _scenes(text: str) -> Any:
    if text.lstrip().startswith("["):
        return _strict_json(text)
    lines = _lines(text, _SCENE.fullmatch)
    return [{"start": _json(line[1])} | ({"prompt": line[2]} if line[2] else {}) for line in lines]


def _lines(text: str, read: Callable[[str], T | None]) -> list[T]:
    """Each line as it is read; blank ones are passed over.

    Raises:
        _WrongLine: one cannot be read.
    """
    found: list[T] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            value = read(line)
            if value is None:
                raise _WrongLine(number, line.strip())
            found.append(value)
    return found
