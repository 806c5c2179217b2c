"""Tells what was measured: one table for a terminal, and RESULTS.md with what explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.figures import HEADINGS, NO, Section, Table
from benchmarks.machine import described

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGINNING: Final = """\
# Results

Written by `make bench`; the newest run replaces the whole file. *ours* is the deployed code,
*theirs* what it is compared with, the ratio is ours to theirs. Medians, with the least and the
most where there are several.
"""


def markdown(sections: Sequence[Section], about: Sequence[str]) -> str:
    """The whole report."""
    machine = "".join(f"- {line}\n" for line in (*described(), *about))
    short = "".join(f"- {what}\n" for what in unmet(sections))
    parts = [BEGINNING, machine, *map(_section, sections)]
    if short:
        parts.insert(2, f"Short of their goal (the notes below say why):\n\n{short}")
    return "\n".join(parts)


def _section(section: Section) -> str:
    rows = Table(HEADINGS, tuple(row.cells for row in section.rows))
    parts = [f"## {section.title}", _table(rows)]
    parts += [f"{title}\n\n{_table(table)}" for title, table in section.tables]
    parts += ["".join(f"- {note}\n" for note in section.notes)]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _table(table: Table) -> str:
    lines = [table.headings, tuple("---" for _ in table.headings), *table.lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(sections: Sequence[Section]) -> str:
    """The rows alone, in columns, for a terminal."""
    rows = [HEADINGS, *(row.cells for section in sections for row in section.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def unmet(sections: Sequence[Section]) -> list[str]:
    """What fell short."""
    return [row.what for section in sections for row in section.rows if row.met == NO]
