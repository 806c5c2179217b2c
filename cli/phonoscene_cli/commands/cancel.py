"""``phonoscene cancel``: stop jobs, and say what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Self

import typer

from phonoscene_cli.errors import NOT_FINE, CliError
from phonoscene_cli.follow.cancellation import Outcome
from phonoscene_cli.follow.cancellation import cancel as cancel_jobs
from phonoscene_cli.options import Json, stack_of
from phonoscene_cli.results import Result
from phonoscene_cli.stack.job_lookup import find_whole
from phonoscene_cli.ui import terminal
from phonoscene_cli.ui.formatting import number
from phonoscene_cli.ui.time_arguments import span_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phonoscene.jobs import JobStatus


@dataclass(frozen=True)
class CancelResult(Result):
    """One job, before and after; ``status`` is None where it became part of another."""

    job_id: str
    name: str
    before: JobStatus
    status: JobStatus | None
    cancelled: bool
    may_be_billed: bool

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Read it from what became of the job."""
        job, after = outcome.before, outcome.after.status if outcome.after else None
        ends = (outcome.is_cancelled, outcome.may_be_billed)
        return cls(job.job_id, job.name, job.status, after, *ends)


def cancel(
    context: typer.Context,
    jobs: Annotated[
        list[str],
        typer.Argument(metavar="JOB|NAME", help="Job ids, or drops (their newest takes)."),
    ],
    timeout: Annotated[
        timedelta,
        typer.Option(
            parser=span_of,
            metavar="SPAN",
            help="Wait at most this long for the result.",
        ),
    ] = "30s",  # type: ignore[assignment]  # Typer parses the default, too
    as_json: Json = False,
) -> None:
    """Cancel jobs, and ask fal to stop their requests.

    fal may still complete, and bill, a request that it already runs. A GENERATED job is paid for,
    so its video is copied.

    Example: phonoscene cancel talks/intro
    """
    stack = stack_of(context)
    try:
        found = {job.job_id: job for job in (find_whole(stack, text, "cancel") for text in jobs)}
    except CliError as exc:
        raise type(exc)(f"{exc} Nothing was cancelled.") from exc
    try:
        with terminal.working(f"cancelling {number(len(found), 'job')}"):
            outcomes = cancel_jobs(list(found.values()), stack.drops, stack.jobs.many, timeout)
    except KeyboardInterrupt:
        terminal.say("The requests that were sent still apply; `phonoscene jobs` shows the result.")
        raise
    results = [CancelResult.of(outcome) for outcome in outcomes]
    terminal.tell(results, lambda: _show(outcomes), as_json=as_json)
    others = [outcome.before.job_id for outcome in outcomes if not outcome.is_cancelled]
    if others:
        shown = ", ".join(f"`phonoscene show {job_id}`" for job_id in others[:3])
        terminal.complain(f"{number(len(others), 'job')} not CANCELLED. See {shown}.")
        raise typer.Exit(NOT_FINE)


def _show(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        terminal.line(f"{outcome.before.name}: {outcome.sentence}")
