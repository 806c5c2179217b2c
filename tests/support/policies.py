"""The policies of docs/permissions.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

PAGE: Final = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text(encoding="utf-8")
_NAMED: Final = re.compile(
    r"^`(phonoscene-\w[\w-]*)`[^\n]*\n(?:[^`]|`(?!``))*?```json\n(.*?)```", re.MULTILINE | re.DOTALL
)


def policies() -> dict[str, Any]:
    """Each policy by its name."""
    return {name: json.loads(body) for name, body in _NAMED.findall(PAGE)}
