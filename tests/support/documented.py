"""What docs/command-line.md promises to programs."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()


def section(command: str) -> str:
    """What the page says of a command."""
    return PAGE.partition(f"\n## `{command}`\n")[2].partition("\n## ")[0]


def keys(command: str, part: str = "Keys") -> set[str]:
    """The keys of a command's JSON, or of a part of it: ``Keys of `missing` ``."""
    text = section(command) if command else PAGE
    return set(re.findall(r"`(\w+)`", text.partition(f"{part}: ")[2].partition(".")[0]))
