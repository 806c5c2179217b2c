"""``phonoscene jobs``: recent jobs, or those of a name or a folder."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from phonoscene.jobs import JobStatus
from phonoscene_cli.options import MOST, Day, Json, Since, stack_of
from phonoscene_cli.stack.job_listing import Filter, recent, takes
from phonoscene_cli.stack.job_lookup import folder_in, takes_of
from phonoscene_cli.stack.period import Period
from phonoscene_cli.ui import formatting, terminal
from phonoscene_cli.upload.sidecars import Setting, metadata_entry

if TYPE_CHECKING:
    from phonoscene.jobs import Job

#: Columns of a terminal that has room for ids, too.
WIDE: Final = 110


def jobs(
    context: typer.Context,
    status: Annotated[
        list[JobStatus] | None,
        typer.Option(
            metavar="STATE",
            case_sensitive=False,
            help="Only jobs in this state, such as FAILED; can be repeated.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="All takes of one drop, by its name or key."),
    ] = None,
    folder: Annotated[
        str, typer.Option(metavar="FOLDER", help="Only drops in this folder and its subfolders.")
    ] = "",
    meta: Annotated[
        list[Setting] | None,
        typer.Option(
            parser=metadata_entry,
            metavar="KEY=VALUE",
            help="Only jobs with this metadata; can be repeated, and then all must match.",
        ),
    ] = None,
    since: Since = None,
    day: Day = None,
    limit: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MOST, help="Show at most this many jobs, newest first."
        ),
    ] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first: when each was created, its state, and its highest cost.

    Ids appear in terminals of at least 110 columns, and in pipes. `show NAME` lists a name's ids.

    Example: phonoscene jobs --status FAILED --since 3d
    """
    period = Period.of(day, since)
    stack = stack_of(context)
    wanted = Filter(frozenset(status or ()), folder_in(stack, folder), meta or ())
    if name:
        times = period if day or since else None
        found = list(islice(takes(takes_of(stack, name), times, wanted), limit))
    else:
        found = list(islice(recent(stack.jobs, period, wanted, limit), limit))
    terminal.tell_unreadable(stack.jobs.unreadable)
    if len(found) + len(stack.jobs.unreadable) >= limit:
        terminal.say(f"These are the newest {limit:,}; there may be more. Use --limit to see them.")
    if as_json:
        terminal.print_json(found)
    elif found:
        terminal.show(_table(found), terminal.results)
    elif name and not (day or since):
        terminal.say("No jobs match. `phonoscene jobs` lists the recent ones.")
    else:
        when = formatting.period(period)
        terminal.say(f"No jobs match {when}. Use --since to look further back.")


def _table(found: list[Job]) -> Table:
    """Columns in which no job has anything are left out, and ids where there is no room."""
    columns: dict[str, list[Any]] = {
        "created": [formatting.moment(job.created_at) for job in found],
        "state": [terminal.state(job.status) for job in found],
        "name": [job.name for job in found],
        "at most": [formatting.at_most(job) for job in found],
        "note": [formatting.remark(job) for job in found],
        "job": [job.job_id for job in found],
    }
    if terminal.results.is_terminal and terminal.results.width < WIDE:
        del columns["job"]
    shown = {header: cells for header, cells in columns.items() if any(cells)}
    table = terminal.grid(*shown)
    for cells in zip(*shown.values(), strict=True):
        terminal.row(table, *cells)
    return table
