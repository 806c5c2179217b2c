"""Times as a person types them: ``90m``, ``3d``, ``2026-11-22``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from phonoscene_cli.errors import WrongUsage

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span_of(text: str) -> timedelta:
    """``90s``, ``5m``, ``12h``, ``3d``, ``2w``.

    Raises:
        WrongUsage: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if not found:
        raise WrongUsage(f"{text!r} is not a time span: say 90s, 5m, 12h, 3d or 2w.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def moment_of(text: str, now: datetime) -> datetime:
    """A span before ``now``, a day (UTC) from its beginning, or an ISO time (UTC if it is naive).

    Raises:
        WrongUsage: it is none of these.
    """
    if re.fullmatch(r"\s*\d{1,6}[smhdw]\s*", text):
        return now - span_of(text)
    try:
        told = datetime.fromisoformat(text.strip())
    except ValueError as exc:
        raise WrongUsage(
            f"{text!r} is not a time: say 12h or 3d, a day as 2026-11-22, or 2026-11-22T10:15."
        ) from exc
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def day_of(text: str) -> date:
    """``2026-11-22``, ``today`` or ``yesterday``, in UTC.

    Raises:
        WrongUsage: it is none of these.
    """
    today = datetime.now(UTC).date()
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise WrongUsage(f"{text!r} is not a day: say 2026-11-22, today or yesterday.") from exc


def period(day: str | None, since: str, now: datetime) -> tuple[datetime, datetime]:
    """From when to when: one day, or since a time until ``now``."""
    if day is None:
        return moment_of(since, now), now
    first = datetime.combine(day_of(day), datetime.min.time(), UTC)
    return first, first + timedelta(days=1) - timedelta(microseconds=1)
