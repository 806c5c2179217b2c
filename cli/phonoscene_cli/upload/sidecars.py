"""Sidecars from what a person has: a file beside the audio, and options that change it."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from os.path import isfile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from phonoscene.drops.keys import SIDECAR_SUFFIX, composed
from phonoscene.drops.near_names import near_sidecar
from phonoscene.drops.sidecar_files import read_takes
from phonoscene.drops.validation_errors import METADATA
from phonoscene.errors import DropRefused
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.ui.assignments import assigned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


#: A key that names a field with parts, or a part of it: a scene, or a side of the size.
#: ``metadata`` is set by key.
_WITH_PARTS: Final = re.compile(r"(scenes|video_size)(?:\Z|(?P<part>[.\[]))")
#: In the place of a value: the field is taken out.
REMOVED: Final = object()


class Setting(NamedTuple):
    """A field of the sidecar and the value it is given."""

    field: str
    value: Any


def setting(text: str) -> Setting:
    """``KEY=VALUE``: the value is JSON where it can be read as such, else a text.

    Raises:
        WrongUsage: it is no such pair, the key is a part of a field, or the value lost its quotes.
    """
    key, value = assigned(text, "KEY=VALUE. Example: --set fps=30")
    structured = _WITH_PARTS.match(key)
    if structured and structured["part"]:
        raise WrongUsage(
            f"{key} is a part of {structured[1]}, and --set takes whole fields. Change it in the "
            "sidecar, and drop that again: segments of long audio that stay the same are not paid "
            "again."
        )
    try:
        return Setting(key, json.loads(value))
    except (ValueError, RecursionError) as exc:
        if structured and value.startswith(("{", "[")):
            raise WrongUsage(
                f"{text} is not JSON. Many shells remove its double quotes: put single quotes "
                "around it (bash, zsh, PowerShell 7), or write the field into the sidecar."
            ) from exc
        return Setting(key, value)


def metadata_entry(text: str) -> Setting:
    """``KEY=VALUE`` of the metadata: the value is always a text.

    Raises:
        WrongUsage: it is no such pair.
    """
    return Setting(*assigned(text, "KEY=VALUE. Example: --meta order=A-17"))


def changes_of(
    settings: Iterable[Setting] | None, metadata: Iterable[Setting] | None
) -> dict[str, Any]:
    """What ``--set`` and ``--meta`` change; ``metadata.KEY`` is one key of the metadata."""
    entries = {f"{METADATA}.{key}": value for key, value in metadata or ()}
    return dict(settings or ()) | entries


def beside(audio: Path) -> Path | None:
    """The sidecar of a file on disk: ``song.mp3.json`` if it is there, else ``song.json``.

    As in the bucket, the suffix may be in any case, and accents in either Unicode form.
    """
    stems = (audio.name, audio.stem)
    files = [audio.with_name(stem + SIDECAR_SUFFIX) for stem in stems]
    with suppress(PermissionError):  # the usual names are found in a folder that is not listed, too
        files += sorted(audio.parent.iterdir())
    named = (file for stem in stems for file in files if is_named(file, stem))
    return next(filter(isfile, named), None)  # False for a name that is too long


def near(audio: Path) -> str:
    """What to say of a file that was perhaps meant to be the sidecar; "" if there is none."""
    try:
        found = near_sidecar(audio.name, {one.name for one in audio.parent.iterdir()})
    except PermissionError:
        return ""
    if found is None:
        return ""
    return f" {found} is beside it: rename it to {audio.stem}.json if it is the one you meant."


def is_named(sidecar: Path, stem: str) -> bool:
    """Whether a file is the sidecar of this name."""
    is_sidecar = sidecar.suffix.lower() == SIDECAR_SUFFIX
    return is_sidecar and composed(sidecar.stem) == composed(stem)


def changed(source: str, raw: bytes | None, changes: Mapping[str, Any]) -> bytes | None:
    """A sidecar with some fields set, in every take if it lists several; None where there is none.

    Without changes it stays as it was written: what is wrong in it is the product's to say.

    Raises:
        DropRefused: it must be changed, and cannot be read.
    """
    if not changes:
        return raw
    if raw is None:
        return as_json(_with({}, changes))
    takes = [_with(take.values, changes) for take in read_takes(source, raw)]
    return as_json(takes if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") else takes[0])


def _with(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A take with some fields set, and some keys of its metadata, unless that is no object."""
    start = f"{METADATA}."
    entries = {
        name.removeprefix(start): value for name, value in changes.items() if name.startswith(start)
    }
    fields = {name: value for name, value in changes.items() if not name.startswith(start)}
    changed = {k: v for k, v in {**values, **fields}.items() if v is not REMOVED}
    before = changed.get(METADATA, {})
    is_changed = entries and isinstance(before, dict)
    return changed | ({METADATA: before | entries} if is_changed else {})


def as_json(value: Any) -> bytes:
    """As a person would write it; what no text can hold is left for the product to refuse."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode(errors="surrogatepass")


def takes_of_sidecar(source: str, raw: bytes) -> list[dict[str, Any]]:
    """The fields of each take that a sidecar lists.

    Raises:
        DropRefused: it cannot be read.
    """
    return [dict(take.values) for take in read_takes(source, raw)]


def takes_in(raw: bytes) -> int:
    """How many jobs a sidecar makes; one that cannot be read makes one, which is REJECTED."""
    try:
        return len(read_takes("", raw))
    except DropRefused:
        return 1
