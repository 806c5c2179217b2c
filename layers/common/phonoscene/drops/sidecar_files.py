"""Reads sidecars and ``_defaults.json`` files, and merges them into one checked ``Sidecar``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never

from pydantic import ValidationError

from phonoscene.drops.keys import DEFAULTS_NAME, is_defaults
from phonoscene.drops.metadata import merged as merged_metadata
from phonoscene.drops.sidecar import Sidecar
from phonoscene.drops.validation_errors import (
    CONTINUITY,
    FOLDER_KEYS,
    IGNORE_KEY,
    METADATA,
    SCENES,
    WAIT_KEY,
    shown,
    to_error,
    wrong_value,
)
from phonoscene.errors import DropRefused
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from phonoscene.drops.validation_errors import Errors

#: Of a sidecar, and of all ``_defaults.json`` of a drop together. Many takes, or scenes, with the
#: longest prompts and metadata are as long.
MAX_SIDECAR_BYTES = 1024 * 1024
#: Of an object, and of all ``_defaults.json`` together: to report a wrong key takes time.
MAX_KEYS = 100
MAX_KEY_LENGTH = 1000
MAX_TAKES = 20
#: How every file that gzip has compressed begins.
GZIP = b"\x1f\x8b"
#: To convert a number takes time that grows with the square of its digits (CVE-2020-10735).
MAX_DIGITS = 1000
_STRAIGHT_QUOTES = 'Use straight double quotes ("), not typographic ones'
#: What stands where JSON's parser stops in files of other programs, and what to do about it.
_ADVICE = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r"[\u2018-\u201f«»]", _STRAIGHT_QUOTES),
        # a text that ends so; from its first such quote, because to try each takes quadratic time
        (r'(?m)"[^"\n\u201c-\u201f]*[\u201c-\u201f][^"\n]*$', _STRAIGHT_QUOTES),
        # a text that ends so before the end of a line
        (r"(?<=[\u201c-\u201f][,}])[\n\r]", _STRAIGHT_QUOTES),
        (r"(?<=[\u201c-\u201f])[\n\r]\s*}", _STRAIGHT_QUOTES),
        (r"'", 'Use double quotes ("), not single ones'),
        (r"(True|False|None|undefined)\b", "Write true, false or null"),
        (r"//|/\*|#", "Remove the comment: JSON has none"),
        (r"[\n\r]", "Write a line break within a text as \\n"),
        (r"\\rtf", "It is RTF. Save it as plain text"),
        (r'\\(?!")|(?<=\\)u', "Write a backslash as \\\\, and between folders write /"),
        (r"[^\S \t\r\n]|[\u200b\u200c\u200d\u2060\ufeff]", "Remove the invisible character there"),
    )
)


#: What a receipt, a manifest and a pointer have, and a sidecar may not.
_KEYS_OF_RESULTS = frozenset({"job_id", "name", "created_at"})


@dataclass(frozen=True)
class SidecarFile:
    """A sidecar or a ``_defaults.json``, parsed; ``source`` is its key."""

    source: str
    values: dict[str, Any]

    def may_say(self, name: str, value: object) -> bool:
        """Whether it is no field, and may be said; metadata and scenes are checked apart."""
        is_for_folder = is_defaults(self.source) and name in FOLDER_KEYS and isinstance(value, bool)
        is_apart = name in (METADATA, SCENES, CONTINUITY)
        return is_for_folder or is_apart or changes_nothing(name, value)


def changes_nothing(name: str, value: object) -> bool:
    """Whether it says what holds anyway."""
    return name == "sync_mode" and value is False


def read_sidecar_file(source: str, raw: bytes) -> SidecarFile:
    """Parse one file that holds one object.

    Raises:
        DropRefused: it is too long, not UTF-8 (a BOM is fine), not JSON, not an object, too deep,
            or holds a key twice or a number that JSON does not have.
    """
    return _document(source, _parsed(source, raw))


def is_result(raw: bytes) -> bool:
    """Whether a file is a receipt, a manifest or a pointer, copied from the output bucket."""
    try:
        values = _json(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.keys() >= _KEYS_OF_RESULTS


def read_takes(source: str, raw: bytes) -> list[SidecarFile]:
    """Parse a sidecar: one object, or an array of objects that make one job each.

    Raises:
        DropRefused: as above; or the array is empty, or has more than ``MAX_TAKES``.
    """
    values = _parsed(source, raw)
    if not isinstance(values, list):
        return [_document(source, values)]
    if not 1 <= len(values) <= MAX_TAKES:
        what = f"lists {len(values)} takes; it may list 1 to {MAX_TAKES}"
        raise _refused(source, "wrong_number_of_takes", what)
    return [_document(f"{source}[{n}]", take) for n, take in enumerate(values)]


def read_defaults(found: Iterable[tuple[str, bytes]], errors: Errors) -> list[SidecarFile]:
    """Parse the ``_defaults.json`` of a drop, nearest first; they are bounded together.

    What is wrong with a file goes to ``errors``.
    """
    files: list[SidecarFile] = []
    size, keys = 0, set[str]()
    for source, raw in found:
        size += len(raw)
        if size <= MAX_SIDECAR_BYTES:  # what is too long is not parsed
            file = errors.collect(read_sidecar_file, source, raw)
            if file is None:
                continue
            metadata = file.values.get(METADATA)
            keys |= file.values.keys() | (metadata.keys() if isinstance(metadata, dict) else set())
            if len(keys) <= MAX_KEYS:
                files.append(file)
                continue
        limits = f"{MAX_SIDECAR_BYTES:,} bytes or {MAX_KEYS} different keys"
        what = f"and the {DEFAULTS_NAME} below it together have more than {limits}"
        errors += _refused(source, "sidecar_too_long", what).errors
        break
    return files


def _parsed(source: str, raw: bytes) -> Any:
    if len(raw) > MAX_SIDECAR_BYTES:
        what = f"has more than the {MAX_SIDECAR_BYTES:,} bytes that are read"
        raise _refused(source, "sidecar_too_long", what)
    try:
        return _json(raw)
    except (ValueError, RecursionError) as exc:
        raise _refused(source, *_why(exc)) from None  # the context would carry the text


def _document(source: str, values: Any) -> SidecarFile:
    if not isinstance(values, dict):
        what = 'must hold one JSON object, such as {"prompt": "…"}'
        raise _refused(source, "not_an_object", what)
    return SidecarFile(source, values)


def _json(raw: bytes) -> Any:
    """Strict JSON; JSON's escapes can spell halves of surrogate pairs, which encoding finds."""
    encoding = json.detect_encoding(raw)
    if not encoding.startswith("utf-8"):  # without a mark, its characters are UTF-8's and zeros
        raise _OtherEncoding(encoding)
    values = json.loads(
        raw.decode("utf-8-sig"),
        object_pairs_hook=_object,
        parse_constant=_no_such_number,
        parse_int=_no_huge_number,
    )
    json.dumps(values, ensure_ascii=False).encode()
    return values


class _OtherEncoding(ValueError):
    """JSON in another of Unicode's encodings than UTF-8."""


def _why(exc: Exception) -> tuple[str, str]:
    match exc:
        case _OtherEncoding(args=(name,)):
            return "not_utf8", f"is {name[:6].upper()} text. Save it as UTF-8"
        case UnicodeDecodeError(object=raw, start=start):
            what = f"is not UTF-8 text: byte {start} cannot be read. Save it as UTF-8"
            is_compressed = raw.startswith(GZIP)
            return "not_utf8", "is compressed by gzip. Upload it as text" if is_compressed else what
        case UnicodeEncodeError():
            return "not_utf8", "holds half of a surrogate pair, which is no character"
        case json.JSONDecodeError(doc=text, pos=at, msg=what, lineno=line, colno=column):
            what = what.removesuffix(" at")  # Python's own words sometimes end so
            place = f"is not JSON: {what} at line {line}, column {column}{_advice(text, at)}"
            return "not_json", place if text.strip() else "is empty"
        case RecursionError():
            return "not_json", "is nested too deeply; a sidecar is a flat object"
        case _:
            return "not_json", f"is refused: {exc}"


def _advice(text: str, at: int) -> str:
    """A sentence on what stands in a file where JSON's parser stopped; empty if it is not known."""
    found = (advice for pattern, advice in _ADVICE if pattern.match(text, at))
    unlike_json = 'It must hold one JSON object, such as {"prompt": "…"}'
    advice = next(found, "" if text[:at].strip() else unlike_json)
    return f". {advice}" if advice else ""


def _refused(source: str, code: str, what: str) -> DropRefused:
    return DropRefused(ErrorDetail(code=code, message=f"{source} {what}.", source=source))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that has each key once, and neither too many of them nor too long ones."""
    if len(pairs) > MAX_KEYS:
        raise ValueError(f"an object in it has {len(pairs):,} keys; at most {MAX_KEYS} are read")
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if len(key) > MAX_KEY_LENGTH:
            most = f"at most {MAX_KEY_LENGTH:,} are read"
            raise ValueError(f"a key in it has {len(key):,} characters; {most}")
        if key in seen:
            raise ValueError(f"it has the key {shown(key)} twice")
        seen[key] = value
    return seen


def _no_huge_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number in it has {len(digits):,} digits")
    return int(digits)


def _no_such_number(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON number")


def waits_for_sidecar(defaults: Sequence[SidecarFile]) -> bool:
    """Whether an audio file waits for its sidecar, given the defaults nearest first.

    A value that is neither true nor false does not wait: ``parse`` refuses it, and the dropper
    should hear of it now.
    """
    return _nearest(WAIT_KEY, defaults, default=True) is True


def ignores(defaults: Sequence[SidecarFile]) -> bool:
    """Whether nothing is made of a drop, given the defaults nearest first.

    A value that is neither true nor false does not hide a drop: ``parse`` refuses it.
    """
    return _nearest(IGNORE_KEY, defaults, default=False) is True


def _nearest(key: str, defaults: Sequence[SidecarFile], *, default: bool) -> object:
    """What the nearest of the defaults that has a key says."""
    values = (document.values[key] for document in defaults if key in document.values)
    return next(values, default)


def parse(documents: Sequence[SidecarFile]) -> tuple[Sidecar, Mapping[str, str]]:
    """Merge the documents, the first winning key by key, and check what comes out.

    Returns:
        The sidecar, and for each field that was set the key of the file that set it.

    Raises:
        DropRefused: with every error of every file.
    """
    values, origin = merged(documents)
    home = documents[0].source if documents else ""
    errors = [*_auto_without_image(values, origin), *_metadata(documents)[1]]
    try:
        sidecar = Sidecar.model_validate(values)
    except ValidationError as exc:
        errors += [to_error(error, origin, home) for error in exc.errors()]
    if errors:
        raise DropRefused(*errors)
    return sidecar, origin


def merged(documents: Sequence[SidecarFile]) -> tuple[dict[str, Any], dict[str, str]]:
    """The endpoint's fields of the documents, and the file that sets each; the first file wins."""
    fields: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for document in reversed(documents):
        values = {
            name: value
            for name, value in document.values.items()
            if not document.may_say(name, value)
        }
        fields |= values
        origin |= dict.fromkeys(values, document.source)
    return fields, origin


def metadata_of(documents: Sequence[SidecarFile]) -> dict[str, str]:
    """The metadata of the documents, merged key by key, without what ``parse`` refuses."""
    return _metadata(documents)[0]


def _metadata(documents: Sequence[SidecarFile]) -> tuple[dict[str, str], list[ErrorDetail]]:
    files = [(one.source, one.values[METADATA]) for one in documents if METADATA in one.values]
    return merged_metadata(files)


def _auto_without_image(merged: Mapping[str, Any], origin: Mapping[str, str]) -> list[ErrorDetail]:
    """No source says what ``auto`` means without an image, so its cost is unknown."""
    if merged.get("video_size") != "auto" or merged.get("image_url") is not None:
        return []
    allowed = "a preset or a size, or image_url beside auto"
    return [wrong_value("video_size", "auto", origin["video_size"], "not_allowed", allowed)]
