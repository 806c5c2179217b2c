"""JSON as fal may send it, which is not always as the standard has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def read_json(
    text: str, pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None
) -> Any:
    """Parse a text, perhaps after a byte order mark; NaN and Infinity are null.

    ``pairs`` makes an object of its keys and values. Halves of characters are kept as they are.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    return json.loads(
        text.removeprefix("\ufeff"), parse_constant=lambda _: None, object_pairs_hook=pairs
    )
