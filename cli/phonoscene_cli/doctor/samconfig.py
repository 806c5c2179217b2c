"""How a stack is deployed: samconfig.toml, as the SAM CLI reads it."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = "samconfig.toml"
_LONG_FORM: Final = re.compile(r"ParameterKey=([^,]+),ParameterValue=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Deployment:
    """One environment of the file: a stack, its region if it is named, and its parameters."""

    environment: str
    stack: str | None
    region: str | None
    parameters: Mapping[str, str]


def nearest() -> Path | None:
    """The file of this folder, or of one above."""
    here = Path.cwd()
    return next((f / FILE for f in (here, *here.parents) if (f / FILE).is_file()), None)


def read(file: Path) -> dict[str, Deployment]:
    """The deployments that a file describes, by environment.

    Raises:
        CliError: it cannot be read, or its parameters are in yet another file.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        return {
            name: _deployment(name, tables)
            for name, tables in content.items()
            if isinstance(tables, dict)
        }
    except (OSError, ValueError, AttributeError) as exc:
        raise CliError(f"{file} cannot be read: {exc}. Correct it.") from exc


def _deployment(name: str, tables: Mapping[str, Any]) -> Deployment:
    """What the command ``deploy`` is given; its own table goes before the one for all commands."""
    given: dict[str, Any] = {}
    for command in ("global", "deploy"):
        given |= tables.get(command, {}).get("parameters", {})
    found = overrides(given.get("parameter_overrides", {}))
    return Deployment(name, given.get("stack_name"), given.get("region"), found)


def overrides(value: Any) -> dict[str, str]:
    """Parameters in any of the forms that SAM takes: a table, ``"A=1 B=2"``, or a list of these.

    Raises:
        ValueError: they are in a file of their own.
    """
    if isinstance(value, str):
        return dict(map(_pair, shlex.split(value)))
    if isinstance(value, list):
        return {name: text for part in value for name, text in overrides(part).items()}
    if "$include" in value:
        raise ValueError("parameters that are in another file ($include) cannot be compared")
    return {name: _text(one) for name, one in value.items()}


def _pair(word: str) -> tuple[str, str]:
    long = _LONG_FORM.fullmatch(word)
    name, is_pair, text = (long[1], "=", long[2]) if long else word.partition("=")
    if not is_pair:
        raise ValueError(f"the parameter {word!r} is not NAME=VALUE, and files cannot be compared")
    return name, text


def _text(value: Any) -> str:
    return ",".join(str(one).strip() for one in value) if isinstance(value, list) else str(value)


def changes(wanted: Mapping[str, str], deployed: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The parameters that a deployment would change: the stack's value, and the new one."""
    return {
        name: (deployed[name], value)
        for name, value in wanted.items()
        if name in deployed and deployed[name] != value
    }
