"""``phonoscene cost``: what was spent, as the records have it, and on what."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from phonoscene.limits import day_of
from phonoscene_cli.commands.options import Day, Json, Since, stack_of
from phonoscene_cli.stack.spending import Spent, folder_of, total
from phonoscene_cli.ui import formatting, terminal
from phonoscene_cli.ui.time_arguments import Period

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.jobs_reader import Reader

#: Budgets are shown for the last days only, at most this many.
MOST_DAYS: Final = 31


class By(StrEnum):
    """How costs can be grouped."""

    DAY = "day"
    FOLDER = "folder"
    NAME = "name"


def cost(
    context: typer.Context,
    day: Day = None,
    since: Since = None,
    by: Annotated[By, typer.Option(case_sensitive=False, help="Group by this.")] = By.DAY,
    as_json: Json = False,
) -> None:
    """Show the spending, from the least to the most that fal may bill, and the daily budgets.

    The figures come from the job records: videos (as fal reported them, or else as estimated),
    requests that fal may bill although no video arrived (cancelled while running, or lost), and
    reservations of jobs in progress.

    Example: phonoscene cost --since 30d --by folder
    """
    period = Period.of(day, since)
    stack, first, last = stack_of(context), period.first, period.last
    groups: dict[str, Spent] = defaultdict(Spent)
    with terminal.working("reading records"):
        for job in _jobs(stack.jobs, first, last):
            groups[_group(job, by)] += Spent.of(job)
    terminal.tell_unreadable(stack.jobs.unreadable)
    budgets = list(_budgets(stack, first, last))
    if as_json:
        terminal.print_json(_as_data(groups, budgets, first, last))
        return
    terminal.show(_table(groups, by))
    for budget in budgets:
        terminal.line(
            f"{budget['day']}: {formatting.usd(budget['committed'])} of the day's "
            f"{formatting.usd(stack.parameters.daily_budget_usd)} budget is spent or reserved"
        )


def _jobs(reader: Reader, first: datetime, last: datetime) -> Iterator[Job]:
    return reader.whole(entry.job_id for entry in reader.since(first, last))


def _group(job: Job, by: By) -> str:
    if by is By.DAY:
        return day_of(job.created_at)
    return job.name if by is By.NAME else folder_of(job)


def _budgets(stack: Stack, first: datetime, last: datetime) -> Iterator[dict[str, Any]]:
    """The sums of each day, of those on which anything was claimed."""
    days = (last.astimezone(UTC).date() - first.astimezone(UTC).date()).days
    for ago in range(min(days, MOST_DAYS - 1), -1, -1):
        found = stack.jobs.ledger.day(day_of(last - timedelta(days=ago)))
        if found:
            yield {"day": found.day, "committed": found.committed, "reserved": found.reserved}


def _table(groups: dict[str, Spent], by: By) -> Table:
    table = terminal.grid(by.value, "jobs", "videos", "spent", "may be billed", "reserved")
    rows = sorted(groups.items())
    if len(rows) != 1:
        rows.append(("total", total(groups.values())))
    for name, spent in rows:
        terminal.row(
            table,
            name,
            f"{spent.jobs:,}",
            f"{spent.videos:,}",
            formatting.interval(spent.lower, spent.upper),
            formatting.usd(spent.perhaps) if spent.perhaps else "",
            formatting.usd(spent.aside) if spent.aside else "",
        )
    return table


def _as_data(
    groups: dict[str, Spent], budgets: list[dict[str, Any]], first: datetime, last: datetime
) -> dict[str, Any]:
    return {
        "since": first.isoformat(),
        "until": last.isoformat(),
        "groups": [{"group": name} | spent.as_data() for name, spent in sorted(groups.items())],
        "total": total(groups.values()).as_data(),
        "budgets": [
            {
                "day": budget["day"],
                "committed_usd": float(budget["committed"]),
                "reserved_usd": float(budget["reserved"]),
            }
            for budget in budgets
        ],
    }
