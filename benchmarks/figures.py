"""What a measurement gives: rows of one table, with a goal and whether it is met, and notes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

YES, NO, NONE = "yes", "**no**", "–"


@dataclass(frozen=True)
class Sample:
    """One quantity, measured several times."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Sample:
        """In the order in which they were measured."""
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """What is compared."""
        return statistics.median(self.values)

    def percentile(self, percent: float) -> float:
        """The value below which so many per cent of the others lie."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def formatted(self, unit: Callable[[float], str]) -> str:
        """The median and, where there are several, from least to most."""
        if len(self.values) == 1:
            return unit(self.median)
        return f"{unit(self.median)} ({unit(min(self.values))} to {unit(max(self.values))})"


def seconds(value: float) -> str:
    """Seconds, or milliseconds where they are few."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def milliseconds(value: float) -> str:
    """Milliseconds of seconds."""
    return f"{value * 1000:.2f} ms"


def megabytes(value: float) -> str:
    """Megabytes of bytes."""
    return f"{value / 1e6:.0f} MB"


@dataclass(frozen=True)
class Row:
    """One line of the table; all of it as it is printed."""

    what: str
    ours: str
    theirs: str = NONE
    ratio: str = NONE
    goal: str = NONE
    met: str = NONE

    @classmethod
    def at_most(
        cls,
        what: str,
        ours: tuple[float, str],
        theirs: tuple[float, str],
        most: float | None = None,
    ) -> Row:
        """A ratio of ours to theirs, each with its text; ``most`` is the goal, if any."""
        ratio = ours[0] / theirs[0] if theirs[0] else float("inf")
        text = f"{ratio:.2f} ×"
        if most is None:
            return cls(what, ours[1], theirs[1], text)
        return cls(what, ours[1], theirs[1], text, f"≤ {most:g} ×", met(ratio <= most))

    @classmethod
    def held(cls, what: str, ours: str, goal: str, is_met: bool, theirs: str = NONE) -> Row:
        """A figure with a goal of its own."""
        return cls(what, ours, theirs, NONE, goal, met(is_met))

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of ``HEADINGS``."""
        return (self.what, self.ours, self.theirs, self.ratio, self.goal, self.met)


HEADINGS = ("what", "ours", "theirs", "ratio", "goal", "met")


def met(is_met: bool) -> str:
    """The last column."""
    return YES if is_met else NO


def paragraphs(text: str) -> list[str]:
    """Notes as they are written in a module: wrapped, with an empty line between two."""
    return [" ".join(one.split()) for one in text.split("\n\n")]


@dataclass(frozen=True)
class Table:
    """A table beside the rows: for what has no goal, or needs other columns."""

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass
class Section:
    """What one module measured."""

    title: str
    rows: list[Row] = field(default_factory=list)
    #: Sentences a reader needs to judge the rows.
    notes: list[str] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)
