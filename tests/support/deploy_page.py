"""docs/deploy.md as a list of what a person types and writes, section by section."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deploy.md"
_BLOCK = re.compile(r"^```(console|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r"^\[[\w.]+\]$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A line of a console block, with those that continue it."""

    text: str


@dataclass(frozen=True)
class Lines:
    """What belongs in samconfig.toml."""

    text: str


def steps(title: str, page: str | None = None) -> list[Command | Lines]:
    """What a section has one do, in its order."""
    text = PAGE.read_text(encoding="utf-8") if page is None else page
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found: list[Command | Lines] = []
    for kind, body in _BLOCK.findall(section):
        found += [Lines(body)] if kind == "toml" else _commands(body)
    return found


def titles() -> list[str]:
    """The page's sections."""
    return re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def _commands(block: str) -> list[Command]:
    """A prompt begins each; a backslash at the end of a line goes on with it."""
    return [Command(one) for one in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE)]


def write(file: Path, lines: Lines) -> None:
    """Put lines where a person would: below their table's header, or at the end."""
    text = file.read_text(encoding="utf-8")
    for header, body in _tables(lines.text):
        if f"\n{header}\n" in text:
            text = text.replace(f"\n{header}\n", f"\n{header}\n{body}", 1)
        else:
            text += f"\n{header}\n{body}"
    file.write_text(text, encoding="utf-8")


def _tables(text: str) -> list[tuple[str, str]]:
    headers = _HEADER.findall(text)
    bodies = [body.strip() + "\n" for body in _HEADER.split(text)[1:]]
    return list(zip(headers, bodies, strict=True))
