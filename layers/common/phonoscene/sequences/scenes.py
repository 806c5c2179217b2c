"""The scenes of a sidecar: when each begins, and what it asks for; checked like the sidecar."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from phonoscene.drops.sidecar import IMAGE_FIELDS, Sidecar
from phonoscene.drops.sidecar_files import changes_nothing, merged
from phonoscene.drops.validation_errors import (
    CONTINUITY,
    MAX_ERRORS,
    METADATA,
    SCENES,
    Errors,
    to_error,
    wrong_value,
)
from phonoscene.errors import DropRefused
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phonoscene.drops.sidecar_files import SidecarFile

MAX_SCENES: Final = 60
#: The values of ``continuity``: segments apart, or each from the last frame of the one before.
CUT, LAST_FRAME = "cut", "last_frame"
START: Final = "start"
#: What a scene may not set: what all segments share, because their packets become one stream, and
#: what is about the whole drop.
SHARED: Final = frozenset(
    {
        CONTINUITY,
        METADATA,
        SCENES,
        "fps",
        "video_size",
        "video_output_type",
        "video_quality",
        "video_write_mode",
        "match_audio_length",
        "num_frames",
    }
)
_TIME: Final = re.compile(r"(?:(\d{1,2}):)?(\d{1,3}):([0-5]?\d(?:\.\d{1,6})?)")
_TIMES: Final = 'seconds, "m:ss" or "h:mm:ss", such as 42.5 or "0:42.5"'


@dataclass(frozen=True)
class AskedScene:
    """A scene: its start, the fields that it sets, and the file that sets them."""

    start: float
    #: The start as the file has it; ``start`` is in seconds.
    written: object
    fields: Mapping[str, Any]
    source: str
    #: The whole of what it asks for.
    sidecar: Sidecar


@dataclass(frozen=True)
class Scenes:
    """What a sidecar says of its scenes; without any it is one scene, the whole."""

    listed: tuple[AskedScene, ...] = ()
    is_chained: bool = False


def read_scenes(documents: Sequence[SidecarFile]) -> Scenes:
    """The scenes of the nearest file that has some, and the continuity.

    Raises:
        DropRefused: with every error of every scene.
    """
    errors = Errors()
    continuity = errors.collect(_continuity, documents)
    holder = next((one for one in documents if SCENES in one.values), None)
    listed = errors.collect(_listed, holder, documents) if holder else ()
    if errors:
        raise DropRefused(*errors)
    return Scenes(tuple(listed or ()), continuity == LAST_FRAME)


def without_prompt(documents: Sequence[SidecarFile]) -> dict[str, Any]:
    """The prompt of the first scene, where the sidecar itself may lack one."""
    scenes = next((one.values[SCENES] for one in documents if SCENES in one.values), None)
    first = scenes[0] if isinstance(scenes, list) and scenes else None
    return {"prompt": first["prompt"]} if isinstance(first, dict) and "prompt" in first else {}


def named_images(documents: Sequence[SidecarFile]) -> tuple[dict[str, str], dict[str, str]]:
    """The images that files name for the whole and for scenes, by field, as they are written.

    And the file that names each. Other fields may be wrong.
    """
    values, origin = merged(documents)
    named = {field: values.get(field) for field in IMAGE_FIELDS}
    holder = next((one for one in documents if SCENES in one.values), None)
    listed = holder.values[SCENES] if holder else None
    if not isinstance(listed, list) or len(listed) > MAX_SCENES:
        listed = []
    for number, scene in enumerate(listed):
        if holder and isinstance(scene, dict):
            own = {f"{SCENES}[{number}].{field}": scene.get(field) for field in IMAGE_FIELDS}
            named |= own
            origin |= dict.fromkeys(own, holder.source)
    return {field: one for field, one in named.items() if isinstance(one, str)}, origin


def _continuity(documents: Sequence[SidecarFile]) -> str:
    said = next((one for one in documents if CONTINUITY in one.values), None)
    value = said.values[CONTINUITY] if said else CUT
    if said and value not in (CUT, LAST_FRAME):
        allowed = f'"{CUT}" or "{LAST_FRAME}"'
        raise DropRefused(wrong_value(CONTINUITY, value, said.source, "not_allowed", allowed))
    return str(value)


def _listed(holder: SidecarFile, documents: Sequence[SidecarFile]) -> list[AskedScene]:
    values = holder.values[SCENES]
    if not isinstance(values, list):
        allowed = f'a list of 1 to {MAX_SCENES} scenes, such as [{{"start": 0}}]'
        raise DropRefused(wrong_value(SCENES, values, holder.source, "wrong_type", allowed))
    if not 1 <= len(values) <= MAX_SCENES:
        raise DropRefused(_wrong_number(len(values), holder.source))
    errors, found = Errors(), []
    base, origin = merged(documents)
    known = {name: value for name, value in base.items() if name in Sidecar.model_fields}
    base = without_prompt(documents) | known
    for number, value in enumerate(values):
        if len(errors) > MAX_ERRORS:
            errors.append(_unread(number, holder.source))
            break
        scene = errors.collect(_scene, number, value, holder.source, base, origin)
        if scene:
            found.append(scene)
    else:
        errors += _out_of_order(values, holder.source)
    if errors:
        raise DropRefused(*errors)
    return found


def _wrong_number(count: int, source: str) -> ErrorDetail:
    return ErrorDetail(
        code="wrong_number_of_scenes",
        field=SCENES,
        value=f"{count} scenes",
        allowed=f"1 to {MAX_SCENES} scenes",
        source=source,
        message=f"{SCENES} lists {count} scenes; it may list 1 to {MAX_SCENES}.",
    )


def _unread(number: int, source: str) -> ErrorDetail:
    message = f"{SCENES}[{number}] and later scenes are not checked: correct those before it first."
    return ErrorDetail(code="more_errors", field=SCENES, source=source, message=message)


def _scene(
    number: int,
    value: object,
    source: str,
    base: Mapping[str, Any],
    origin: Mapping[str, str],
) -> AskedScene:
    label = f"{SCENES}[{number}]"
    if not isinstance(value, dict):
        allowed = "an object with start and the fields that differ"
        raise DropRefused(wrong_value(label, value, source, "wrong_type", allowed))
    errors = Errors()
    start = seconds_of(value.get(START))
    if start is None or (number == 0 and start):
        allowed = _TIMES if number else "0, because the first scene begins with the audio"
        field = f"{label}.{START}"
        errors.append(wrong_value(field, value.get(START), source, "not_allowed", allowed))
    fields = {
        name: inner
        for name, inner in value.items()
        if name != START and not changes_nothing(name, inner)
    }
    for name in sorted(SHARED & fields.keys()):
        allowed = "one value for the whole video, outside the scenes"
        field = f"{label}.{name}"
        errors.append(wrong_value(field, fields.pop(name), source, "not_allowed", allowed))
    sidecar = errors.collect(_checked, label, fields, source, base, origin)
    if errors or sidecar is None or start is None:
        raise DropRefused(*errors)
    return AskedScene(start, value[START], fields, source, sidecar)


def _checked(
    label: str,
    fields: Mapping[str, Any],
    source: str,
    base: Mapping[str, Any],
    origin: Mapping[str, str],
) -> Sidecar:
    """The sidecar as a scene changes it; the errors are those of the fields that it sets."""
    sources = {**origin, **dict.fromkeys(fields, source)}
    try:
        return Sidecar.model_validate({**base, **fields})
    except ValidationError as exc:
        errors = [
            to_error(error, sources, source)
            for error in exc.errors()
            if error["loc"] and error["loc"][0] in fields
        ]
    if not errors:  # the sidecar's own, which are reported with it
        raise DropRefused
    raise DropRefused(*(_of_scene(error, label) for error in errors))


def _of_scene(error: ErrorDetail, label: str) -> ErrorDetail:
    field = f"{label}.{error.field}"
    message = error.message.replace(str(error.field), field, 1)
    return error.model_copy(update={"field": field, "message": message})


def _out_of_order(values: Sequence[Any], source: str) -> list[ErrorDetail]:
    """The scenes that do not begin after the one before, if both starts can be read."""
    written = [value.get(START) if isinstance(value, dict) else None for value in values]
    starts = [0.0, *map(seconds_of, written[1:])]  # what else the first says is wrong by itself
    return [
        wrong_value(
            f"{SCENES}[{number}].{START}",
            written[number],
            source,
            "out_of_range",
            f"later than the scene before, which begins at {before:g} s",
        )
        for number, (before, start) in enumerate(pairwise(starts), 1)
        if before is not None and start is not None and start <= before
    ]


def seconds_of(value: object) -> float | None:
    """A time in seconds: a number, or ``m:ss.s`` or ``h:mm:ss.s``; None where it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value <= sys.float_info.max else None  # JSON's may be larger
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
