"""The metadata of a drop: texts of the dropper that come back with its job, and never go to fal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.validation_errors import METADATA, shown, wrong_value
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_KEYS: Final = 50
MAX_KEY_LENGTH: Final = 40
MAX_VALUE_LENGTH: Final = 500
#: Of the whole as JSON. EventBridge takes an event of 256 KB, and DynamoDB an item of 400 KB; both
#: hold more than metadata. ASCII text without escapes fits whenever it keeps the other limits.
MAX_BYTES: Final = 32 * 1024

_KEY: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_KEY_LENGTH}}}")
#: What SQS takes in no message: a rule may send a value to a queue as it is.
_REFUSED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_KEYS: Final = f'1 to {MAX_KEY_LENGTH} letters (a to z), digits, "_", "-" and "."'
_TEXT: Final = f"text of 0 to {MAX_VALUE_LENGTH} characters, in quotes"
_VISIBLE: Final = "text without control characters, except tabs and line breaks"
_OBJECT: Final = f"an object of at most {MAX_KEYS} text values"


def merged(found: Sequence[tuple[str, Any]]) -> tuple[dict[str, str], list[ErrorDetail]]:
    """The metadata of several files, merged key by key, and all that is wrong with it.

    ``found``: each file's key and its metadata, the nearest first, which wins. Wrong entries are
    left out; if all the others are too large together, so are the files that exceed the limits.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    errors: list[ErrorDetail] = []
    for source, own in reversed(found):
        if isinstance(own, dict):
            values |= own
            origin |= dict.fromkeys(own, source)
        else:
            errors.append(wrong_value(METADATA, own, source, "wrong_type", _OBJECT))
    wrong = {key: _wrong_entry(key, value, origin[key]) for key, value in values.items()}
    errors += filter(None, wrong.values())
    right = {key: values[key] for key, error in wrong.items() if error is None}
    too_large = _wrong_whole(right, found[0][0]) if found else []
    if too_large:
        right = _within_limits(right, origin, [source for source, _ in found])
    return right, errors or too_large


def _within_limits(
    values: Mapping[str, str], origin: Mapping[str, str], sources: Sequence[str]
) -> dict[str, str]:
    """The entries of as many files as fit, the nearest first."""
    kept: dict[str, str] = {}
    for source in sources:
        more = kept | {key: value for key, value in values.items() if origin[key] == source}
        kept = kept if _wrong_whole(more, source) else more
    return kept


def _wrong_entry(key: str, value: object, source: str) -> ErrorDetail | None:
    """What is wrong with a key, or else with its value."""
    if not _KEY.fullmatch(key):
        return ErrorDetail(
            code="not_allowed",
            field=METADATA,
            value=shown(key),
            allowed=_KEYS,
            source=source,
            message=f"{METADATA} has the key {shown(key)}; allowed: {_KEYS}.",
        )
    if not isinstance(value, str):
        return wrong_value(f"{METADATA}.{key}", value, source, "wrong_type", _TEXT)
    if len(value) > MAX_VALUE_LENGTH:
        return wrong_value(f"{METADATA}.{key}", value, source, "wrong_length", _TEXT)
    if _REFUSED.search(value):
        return wrong_value(f"{METADATA}.{key}", value, source, "not_allowed", _VISIBLE)
    return None


def _wrong_whole(values: Mapping[str, str], source: str) -> list[ErrorDetail]:
    """What is wrong with the whole, although each entry is right."""
    size = len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode())
    limits = (
        (len(values), MAX_KEYS, "keys", "Remove some."),
        (size, MAX_BYTES, "bytes of JSON", "Shorten its values."),
    )
    return [
        ErrorDetail(
            code="metadata_too_large",
            field=METADATA,
            value=f"{count} {unit}",
            allowed=f"at most {most} {unit}",
            source=source,
            message=f"{METADATA} has {count:,} {unit}; at most {most:,} are allowed. {advice}",
        )
        for count, most, unit, advice in limits
        if count > most
    ]
