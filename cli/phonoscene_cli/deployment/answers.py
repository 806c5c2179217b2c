"""The file that keeps the answers for one stack: its bucket and the parameters that were given.

It is outside of any repository: below XDG_CONFIG_HOME, or ~/.config. It contains no secret.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from phonoscene_cli.errors import CliError
from phonoscene_cli.whole_files import written_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD: Final = (
    "# How `phonoscene deploy` deploys this stack. Change a parameter here, or with --parameter,\n"
    "# then deploy again. A parameter that is not here keeps the stack's value.\n"
)


@dataclass(frozen=True)
class Answers:
    """The bucket for the code, and the parameters that the deployer chose."""

    bucket: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


def path_of(stack: str, account: str, region: str) -> Path:
    """The file of a stack: names of stacks repeat in accounts and regions."""
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    config = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return config / "phonoscene" / account / region / f"{stack}.toml"


def read(file: Path) -> Answers:
    """The answers of a file; none if there is no file.

    Raises:
        CliError: it cannot be read.
    """
    try:
        return _answers(tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Answers()
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise CliError(f"{file} cannot be read: {exc}. Correct it, or delete it.") from exc


def _answers(content: Mapping[str, Any]) -> Answers:
    bucket, parameters = content.get("bucket"), content.get("parameters", {})
    if not isinstance(bucket, str | None):
        raise TypeError("bucket must be a string")
    return Answers(bucket, {name: _text(value) for name, value in parameters.items()})


def write(file: Path, answers: Answers) -> None:
    """Replace the file, as a whole or not at all."""
    lines = [f"bucket = {_quoted(answers.bucket)}\n"] if answers.bucket else []
    rows = [f"{name} = {_quoted(value)}\n" for name, value in sorted(answers.parameters.items())]
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as made:
        made.write("".join([HEAD, *lines, "\n[parameters]\n", *rows]).encode())


def _text(value: object) -> str:
    """A value as CloudFormation takes it; a person may have written `true` or `4`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    """A text of TOML: JSON's escapes are TOML's, but TOML escapes DEL as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
