"""``phonoscene jobs``: recent jobs, or those of a name or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from phonoscene.jobs import Job, JobStatus
from phonoscene_cli import terminal, words
from phonoscene_cli.choosing import takes_of
from phonoscene_cli.commands.options import Json, stack_of
from phonoscene_cli.moments import period
from phonoscene_cli.telling import as_data

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from phonoscene_cli.reading import Reader

RECENTLY: Final = "7d"
#: Columns of a terminal that has room for ids, too.
WIDE: Final = 110


@dataclass(frozen=True)
class Filter:
    """Which jobs are meant; what is empty means all."""

    states: Collection[JobStatus] = ()
    folder: str = ""

    def takes(self, name: str, status: str) -> bool:
        """Whether a job of this name and state is one of them."""
        return name.startswith(self.folder) and (not self.states or status in self.states)


def jobs(
    context: typer.Context,
    status: Annotated[
        list[JobStatus] | None,
        typer.Option(case_sensitive=False, help="Only in this state; may be repeated."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The takes of one drop, however old; its key will do."),
    ] = None,
    folder: Annotated[
        str, typer.Option(metavar="FOLDER", help="Only what was dropped in this folder or below.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Born since: 12h, 3d, 2026-11-22.")
    ] = RECENTLY,
    day: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="Born on this day (UTC): 2026-11-22, today, yesterday."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="No more than the newest so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first: when they were born, their state, what they cost at most.

    A terminal of 110 columns shows their ids, too, as a pipe does; `show` tells those of one name.

    Example: phonoscene jobs --status FAILED --since 3d
    """
    reader = stack_of(context).jobs
    wanted = Filter(frozenset(status or ()), f"{folder.strip('/')}/" if folder.strip("/") else "")
    first, last = period(day, since, datetime.now(UTC))
    if name:
        takes = takes_of(reader, name)
        found = list(islice((job for job in takes if wanted.takes(job.name, job.status)), limit))
    else:
        found = list(reader.whole(islice(_recent(reader, first, last, wanted), limit)))
    if as_json:
        terminal.print_json([as_data(job) for job in found])
    elif found:
        terminal.show(_table(found))
    else:
        when = "" if name else f" since {words.moment(first)}"
        terminal.say(f"No such jobs{when}: --since and --status widen the search.")


def _recent(reader: Reader, first: datetime, last: datetime, wanted: Filter) -> Iterator[str]:
    entries = reader.since(first, last)
    return (entry.job_id for entry in entries if wanted.takes(entry.name, entry.status))


def _table(found: list[Job]) -> Table:
    table = terminal.grid("born", "state", "name", "at most", "")
    with_ids = not terminal.results.is_terminal or terminal.results.width >= WIDE
    if with_ids:
        table.add_column("job", no_wrap=True)
    for job in found:
        upper = words.usd(job.estimate.upper_usd) if job.estimate else ""
        born, last = words.moment(job.created_at), [job.job_id] if with_ids else []
        state = terminal.state(job.status)
        terminal.row(table, born, state, job.name, upper, _remark(job), *last)
    return table


def _remark(job: Job) -> str:
    """The one thing to know of a job beside its state."""
    if job.errors:
        more = f" and {len(job.errors) - 1} more" if len(job.errors) > 1 else ""
        return f"{job.errors[0].code}{more}"
    return f"waits for {job.waits_for}" if job.waits_for else ""
