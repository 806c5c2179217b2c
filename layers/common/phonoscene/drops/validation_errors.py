"""What is wrong with a field, for its dropper: its value, what is allowed, the nearest name."""

from __future__ import annotations

import difflib
import json
import types
import typing
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from phonoscene.drops.image_references import REFUSED, without_secrets
from phonoscene.drops.keys import DEFAULTS_NAME, is_defaults
from phonoscene.drops.sidecar import BLANK, Preset, Sidecar, VideoSize
from phonoscene.errors import DropRefused
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

#: What a record keeps of its errors: of 400 KB these bytes, and a dropper does not read more.
MAX_ERRORS = 50
MAX_ERROR_BYTES = 64 * 1024
#: Characters of one of an error's texts.
MAX_TEXT_LENGTH = 1000
#: Characters of the longest value that is searched for secrets, and shown.
MAX_SEARCHED_LENGTH = 2_000
#: Key of ``_defaults.json`` only: an audio file of its folder starts without a sidecar when false.
WAIT_KEY = "wait_for_sidecar"
#: Key of ``_defaults.json`` only: nothing in its folder or below is a drop when true.
IGNORE_KEY = "ignore"
#: Key of a sidecar or a ``_defaults.json`` that is no field of the endpoint.
METADATA = "metadata"
#: Likewise: when the scenes of long audio begin, and how its segments follow each other.
SCENES = "scenes"
CONTINUITY = "continuity"
#: What only a ``_defaults.json`` may say, all of it true or false.
FOLDER_KEYS = frozenset({WAIT_KEY, IGNORE_KEY})

#: Fields of the endpoint that a sidecar may not set, and why.
NOT_YOURS = types.MappingProxyType(
    {
        "audio_url": "the audio is the file that was dropped; remove this field",
        "sync_mode": "the video would come inside the answer and be lost with it; remove it",
        **dict.fromkeys(
            FOLDER_KEYS, f"it belongs in a {DEFAULTS_NAME}, beside the drop or in a folder above"
        ),
    }
)


class Errors(list[ErrorDetail]):
    """Collects what is wrong, so that a dropper hears of all of it at once."""

    def collect(self, check: Callable[..., T], *arguments: Any) -> T | None:
        """The check's result, or None where it refused the drop."""
        try:
            return check(*arguments)
        except DropRefused as exc:
            self.extend(exc.errors)
            return None

    def locate(self, origin: Mapping[str, str]) -> None:
        """Name the file to correct in each error that names none: the key that sets its field."""
        self[:] = [
            error.model_copy(update={"source": error.source or origin.get(error.field or "")})
            for error in self
        ]

    def listed(self) -> tuple[ErrorDetail, ...]:
        """As many of them as a record keeps, each with short texts.

        If that is not all, the first of each code goes before the others.
        """
        found, codes = list(self), [error.code for error in self]
        if len(found) > MAX_ERRORS:
            firsts = {codes.index(code) for code in codes}
            order = sorted(range(len(found)), key=lambda number: number not in firsts)
            found = [found[number] for number in order]
        kept = [_shortened(error) for error in found[:MAX_ERRORS]]
        sizes = accumulate(len(error.model_dump_json().encode()) for error in kept)
        kept = kept[: sum(size <= MAX_ERROR_BYTES for size in sizes)]
        rest = len(self) - len(kept)
        count = "is 1 more error" if rest == 1 else f"are {rest} more errors"
        more = ErrorDetail(code="more_errors", message=f"There {count}.")
        return (*kept, more) if rest else tuple(kept)


def _shortened(error: ErrorDetail) -> ErrorDetail:
    texts = error.model_dump(include={"message", "field", "value", "allowed"}, exclude_none=True)
    return error.model_copy(update={name: shortened(text) for name, text in texts.items()})


def shortened(text: str, longest: int = MAX_TEXT_LENGTH) -> str:
    """A text of no more characters; of a longer one its beginning and its end."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[: half - 1]}…{text[-half:]}"


def to_error(error: Any, origin: Mapping[str, str], home: str) -> ErrorDetail:
    """A pydantic error in the dropper's words."""
    path = [str(part) for part in error["loc"]]
    if path[:1] == ["video_size"]:
        del path[1:2]  # the union's tag
    field, kind = ".".join(path), error["type"]
    source = origin.get(path[0], home) if path else home
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
    if kind in (REFUSED, BLANK):
        why = error["ctx"]["problem"]
        return wrong_value(
            field, error["input"], source, "not_allowed", f"{allowed(field)} ({why})"
        )
    return wrong_value(field, error["input"], source, _code(kind), allowed(field))


def _code(kind: str) -> str:
    if kind.startswith(("greater", "less")):
        return "out_of_range"
    if kind.startswith("string_too"):
        return "wrong_length"
    return "not_allowed" if kind == "literal_error" else "wrong_type"


def _unknown(field: str, value: object, source: str) -> ErrorDetail:
    if field in FOLDER_KEYS and is_defaults(source):
        return wrong_value(field, value, source, "wrong_type", "true or false")
    if field in NOT_YOURS:
        return ErrorDetail(
            code="not_allowed",
            field=field,
            value=shown(value),
            source=source,
            message=f"{field} cannot be set: {NOT_YOURS[field]}.",
        )
    home = VideoSize if field.startswith("video_size.") else Sidecar
    apart = [METADATA, SCENES, CONTINUITY]
    known = [*home.model_fields, *(apart if home is Sidecar else [])]
    name = field.rpartition(".")[2].lower()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    label = _printable(without_secrets(field))
    hint = f"did you mean {near[0]}?" if near else "remove it."
    return ErrorDetail(
        code="unknown_field",
        field=label,
        value=shown(value),
        source=source,
        allowed=near[0] if near else None,
        message=f"{label} is not a field of the sidecar; {hint}",
    )


def wrong_value(field: str, value: object, source: str, code: str, allowed: str) -> ErrorDetail:
    """The error of a field whose value is not what is allowed."""
    found = shown(value)
    return ErrorDetail(
        code=code,
        field=field,
        value=found,
        allowed=allowed,
        source=source,
        message=f"{field} is {found}; allowed: {allowed}.",
    )


def shown(value: object) -> str:
    """A value as its dropper wrote it, shortened, and safe to print, to store and to publish."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        if len(text) > MAX_SEARCHED_LENGTH:
            return f"a value of {len(text):,} characters"
        text = json.dumps(_without_secrets(value), ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = "a value too large to show"
    text = _printable(text)
    return text if len(text) <= 100 else text[:97] + "…"  # noqa: PLR2004 - one line of a terminal


def _without_secrets(value: object) -> object:
    """A value of JSON whose texts are without secrets, should they be URLs."""
    if isinstance(value, dict):
        return {without_secrets(str(key)): _without_secrets(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_secrets(one) for one in value]
    return without_secrets(value) if isinstance(value, str) else value


def _printable(text: str) -> str:
    """Its beginning, with surrogates and control characters escaped."""
    escaped = text[:200].encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped)[:200]


def allowed(field: str) -> str:
    """What a field takes, in words: the text of errors and of the table in docs/reference.md."""
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
