"""Times as a person types them: ``90m``, ``3d``, ``2026-11-22``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.ui.formatting import UNITS

LONGEST: Final = timedelta(days=36_500)


def span_of(text: str) -> timedelta:
    """``90s``, ``5m``, ``12h``, ``3d``, ``2w``.

    Raises:
        WrongUsage: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    span = timedelta(seconds=UNITS[found[2]] * int(found[1])) if found else LONGEST
    if span >= LONGEST:  # what is longer would reach back beyond the calendar
        raise WrongUsage(f"{text!r} is not a duration. Use 90s, 5m, 12h, 3d or 2w.")
    return span


def moment_of(text: str, now: datetime) -> datetime:
    """A span before ``now``, a day (UTC) from its beginning, or an ISO time (UTC if it is naive).

    Raises:
        WrongUsage: it is none of these.
    """
    if re.fullmatch(r"\s*\d{1,6}[smhdw]\s*", text):
        return now - span_of(text)
    try:
        data = datetime.fromisoformat(text.strip())
    except ValueError as exc:
        raise WrongUsage(
            f"{text!r} is not a time. Use 12h or 3d, a day such as 2026-11-22, or 2026-11-22T10:15."
        ) from exc
    return data if data.tzinfo else data.replace(tzinfo=UTC)


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
        raise WrongUsage(f"{text!r} is not a day. Use 2026-11-22, today or yesterday.") from exc


def since(text: str) -> datetime:
    """The moment that ``--since`` names; a span counts back from now."""
    return moment_of(text, datetime.now(UTC))
