"""What docs/command-line.md promises to programs."""

from __future__ import annotations

import re
from pathlib import Path

from phonoscene.jobs import JobStatus

FILE = "docs/command-line.md"
PAGE = (Path(__file__).parents[2] / FILE).read_text()


def section(command: str) -> str:
    """What the page says of a command."""
    return PAGE.partition(f"\n## `{command}`\n")[2].partition("\n## ")[0]


def keys(command: str, part: str = "Keys") -> set[str]:
    """The keys of a command's JSON, or of a part of it: ``Keys of `missing` ``."""
    text = section(command) if command else PAGE
    return set(re.findall(r"`(\w+)`", text.partition(f"{part}: ")[2].partition(".")[0]))


def samples(page: str) -> dict[str, list[str]]:
    """The lines below each command of a page's consoles."""
    found: dict[str, list[str]] = {}
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for typed, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            found.setdefault(typed, []).extend(shown.splitlines())
    return found


def shape(line: str) -> str:
    """A line without what differs from run to run: ids, numbers, paths, plurals, room."""
    line = re.sub(r"\b[0-9a-f]{8}[-0-9a-f]{24,}|\b[0-9a-f]{32}\b", "ID", line)
    line = re.sub(r"s3://[^/ ]+/", "s3://BUCKET/", line)
    line = re.sub(r"\$?\d[\d,.:-]*", "#", line)
    line = re.sub(r"# (min|kB|MB|h|bytes?)( # s)?", "# s", line)
    line = re.sub(rf"\b({'|'.join(JobStatus)})$", "STATE", line.strip())
    return " ".join(re.sub(r"\b(jobs|drops|days)\b", lambda m: m[0][:-1], line).split())
