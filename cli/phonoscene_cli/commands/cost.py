"""``phonoscene cost``: what was spent, as the records have it, and on what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from phonoscene_cli.options import Day, Json, Since, stack_of
from phonoscene_cli.stack.cost_report import BY_METADATA, WAYS, CostResult, cost_report, grouping
from phonoscene_cli.stack.period import Period
from phonoscene_cli.ui import formatting, terminal

if TYPE_CHECKING:
    from decimal import Decimal

    from phonoscene_cli.stack.spending import Spent


def cost(
    context: typer.Context,
    day: Day = None,
    since: Since = None,
    by: Annotated[
        str,
        typer.Option(
            parser=grouping,
            autocompletion=lambda: [*WAYS, BY_METADATA],
            metavar="day|folder|name|meta.KEY",
            help="Group by this; meta.KEY is a key of the metadata.",
        ),
    ] = "day",
    as_json: Json = False,
) -> None:
    """Show the spending, from the least to the most that fal may bill, and the daily budgets.

    The figures come from the job records: videos (as fal reported them, or else as estimated),
    requests that fal may bill although no video arrived (cancelled while running, or lost), and
    reservations of jobs in progress.

    Example: phonoscene cost --since 30d --by folder
    """
    period = Period.of(day, since)
    stack = stack_of(context)
    with terminal.working("reading records"):
        result = cost_report(stack, period, by)
    terminal.tell_unreadable(stack.jobs.unreadable)
    daily = stack.parameters.daily_budget_usd
    terminal.tell(result, lambda: _show(result, by, daily), as_json=as_json)


def _show(result: CostResult, by: str, daily_budget_usd: Decimal) -> None:
    terminal.show(_table(result, by), terminal.results)
    for budget in result.budgets:
        terminal.line(
            f"{budget.day}: {formatting.usd(budget.committed_usd)} of the day's "
            f"{formatting.usd(daily_budget_usd)} budget is spent or reserved"
        )


def _table(result: CostResult, by: str) -> Table:
    table = terminal.grid(by, "jobs", "videos", "spent", "may be billed", "reserved")
    none = f"(no {by.removeprefix(BY_METADATA)})"
    rows: list[tuple[str, Spent]] = [
        (none if one.group is None else one.group, one) for one in result.groups
    ]
    if len(rows) != 1:
        rows.append(("total", result.total))
    for name, spent in rows:
        terminal.row(
            table,
            name,
            f"{spent.jobs:,}",
            f"{spent.videos:,}",
            formatting.interval(spent.lower_usd, spent.upper_usd),
            formatting.usd(spent.unbilled_risk_usd) if spent.unbilled_risk_usd else "",
            formatting.usd(spent.reserved_usd) if spent.reserved_usd else "",
        )
    return table
