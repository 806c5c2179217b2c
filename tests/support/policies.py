"""The policies of docs/permissions.md."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE: Final = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text(encoding="utf-8")
_NAMED: Final = re.compile(
    r"^`(phonoscene-\w[\w-]*)`[^\n]*\n(?:[^`]|`(?!``))*?```json\n(.*?)```", re.MULTILINE | re.DOTALL
)


def policies() -> dict[str, Any]:
    """Each policy by its name."""
    return {name: json.loads(body) for name, body in _NAMED.findall(PAGE)}


def granted(*names: str) -> list[str]:
    """What policies allow, of anything: actions or patterns of them."""
    every = policies()
    return [
        action for name in names for one in every[name]["Statement"] for action in one["Action"]
    ]


def is_like(action: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits an action."""
    return any(fnmatchcase(action, pattern) for pattern in patterns)
