"""Renders an input transformer as EventBridge does, within its documented limits.

Values are put into the template as they are: EventBridge escapes none of them. A variable whose
path leads nowhere leaves nothing.
"""

from __future__ import annotations

import re
from typing import Any, Final

MAX_VARIABLES: Final = 100
MAX_TEMPLATE: Final = 8192
MAX_PATH: Final = 256
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_PATH: Final = re.compile(r"\$(\.[A-Za-z0-9_-]+)+")
_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"')
_VARIABLE: Final = re.compile(r"<([A-Za-z0-9_-]+)>")


def render(transformer: dict[str, Any], event: dict[str, Any]) -> str:
    """The text that the target gets; every variable of the template is within a string."""
    paths, template = transformer["InputPathsMap"], transformer["InputTemplate"]
    assert len(paths) <= MAX_VARIABLES
    assert 0 < len(template) <= MAX_TEMPLATE
    for key, path in paths.items():
        assert _KEY.fullmatch(key)
        assert not key.startswith("AWS")
        assert _PATH.fullmatch(path)
        assert len(path) <= MAX_PATH
    used = set(_VARIABLE.findall(template))
    assert used == set(paths)
    assert not _VARIABLE.search(_STRING.sub("", template))
    return _VARIABLE.sub(lambda found: _value(event, paths[found[1]]), template)


def _value(event: Any, path: str) -> str:
    for name in path.split(".")[1:]:
        event = event.get(name, {})
    assert isinstance(event, str), f"{path} is no text: {event!r}"
    return event
