"""``phonoscene cancel``: stop jobs, and say what became of them."""

from __future__ import annotations

from typing import Annotated

import typer

from phonoscene_cli import terminal
from phonoscene_cli.cancelling import Outcome
from phonoscene_cli.cancelling import cancel as cancel_jobs
from phonoscene_cli.choosing import find_job
from phonoscene_cli.commands.options import Json, stack_of
from phonoscene_cli.errors import NOT_FINE
from phonoscene_cli.moments import span_of
from phonoscene_cli.words import number


def cancel(
    context: typer.Context,
    jobs: Annotated[
        list[str],
        typer.Argument(metavar="JOB|NAME", help="Job ids, or drops: their newest takes."),
    ],
    timeout: Annotated[
        str, typer.Option(metavar="SPAN", help="Wait no longer than this to see it done.")
    ] = "30s",
    as_json: Json = False,
) -> None:
    """Stop jobs: nothing more is done for them, and fal is asked to stop.

    What fal runs already may end all the same, and be billed; what is generated is copied.

    Example: phonoscene cancel talks/intro
    """
    stack = stack_of(context)
    seconds = span_of(timeout).total_seconds()
    found = {job.job_id: job for job in (find_job(stack.jobs, text) for text in jobs)}
    try:
        with terminal.working(f"cancelling {number(len(found), 'job')}"):
            outcomes = cancel_jobs(list(found.values()), stack.drops, stack.jobs.many, seconds)
    except KeyboardInterrupt:
        terminal.say("Messages that were sent still count: `phonoscene show` tells what became.")
        raise
    if as_json:
        terminal.print_json([_as_data(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            terminal.line(f"{outcome.before.name}: {outcome.sentence}")
    if not all(outcome.is_cancelled for outcome in outcomes):
        raise typer.Exit(NOT_FINE)


def _as_data(outcome: Outcome) -> dict[str, object]:
    """For programs."""
    return {
        "job_id": outcome.before.job_id,
        "name": outcome.before.name,
        "before": outcome.before.status,
        "status": outcome.after.status if outcome.after else None,
        "cancelled": outcome.is_cancelled,
        "may_be_billed": outcome.may_be_billed,
    }
