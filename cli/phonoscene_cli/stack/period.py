"""The time of which jobs are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Self

from phonoscene_cli.errors import WrongUsage

#: Without ``--since`` and ``--day``.
USUAL: Final = timedelta(weeks=1)


@dataclass(frozen=True)
class Period:
    """From when to when jobs are looked for; ``day`` where it is one whole UTC day."""

    first: datetime
    last: datetime
    day: date | None = None

    @classmethod
    def of(cls, day: date | None, since: datetime | None) -> Self:
        """What ``--day`` and ``--since`` ask for; without either, the last week.

        Raises:
            WrongUsage: both are given.
        """
        if day is None:
            now = datetime.now(UTC)
            return cls(since or now - USUAL, now)
        if since is not None:
            raise WrongUsage("--day and --since cannot be combined. Use one of them.")
        first, last = (datetime.combine(day, at, UTC) for at in (time.min, time.max))
        return cls(first, last, day)

    @property
    def end(self) -> datetime | None:
        """The last moment of the day; None: now, even for a job dated by a clock ahead of this."""
        return self.last if self.day else None

    def holds(self, at: datetime) -> bool:
        """Whether a time is in it."""
        return self.first <= at and (self.end is None or at <= self.end)
