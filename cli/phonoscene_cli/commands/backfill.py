"""``phonoscene backfill``: admit what lies in the drop bucket and has no job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phonoscene_cli import terminal, words
from phonoscene_cli.auditing import Audit, settled_at
from phonoscene_cli.backfilling import Backfill
from phonoscene_cli.commands.options import Json, OlderThan, Yes, stack_of
from phonoscene_cli.cursor import CursorFile, Progress, default_path
from phonoscene_cli.errors import NOT_FINE
from phonoscene_cli.following import typical_seconds
from phonoscene_cli.pacing import Pace, rate_of
from phonoscene_cli.planning import Plan, outlooks

if TYPE_CHECKING:
    from phonoscene_cli.stack import Stack


def backfill(
    context: typer.Context,
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help='What to look at; "" is the whole bucket.')
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count and price what would be admitted.")
    ] = False,
    rate: Annotated[str, typer.Option(metavar="N/s", help="Drops a second, at most.")] = "10/s",
    limit: Annotated[int | None, typer.Option(min=1, help="No more than so many drops.")] = None,
    older_than: OlderThan = None,
    cursor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to remember how far it came; one of your state folder."
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="From the beginning, not where it was interrupted.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Admit drops that lie in the bucket and have no job, at a pace.

    For files that were there before the stack, or whose events were lost. --dry-run says first what
    it comes to. ^C at any time: the same command goes on where it stopped, and nothing becomes two
    jobs, because a job's id follows from the versions of its files. It holds back while 500
    messages wait, so that fresh drops need not queue behind.

    Example: phonoscene backfill archive/ --dry-run
    """
    stack = stack_of(context)
    this = Audit(stack, prefix, settled_at(stack, older_than))
    if dry_run:
        _tell_plan(_plan(stack, this, limit), this, as_json=as_json)
        return
    file = CursorFile(cursor or default_path(this.bucket, prefix))
    if restart:
        file.remove()
    progress = file.load(this.bucket, prefix)
    if progress.after is not None:
        terminal.say(
            f"Going on behind {progress.after}: {words.number(progress.sent, 'drop')} sent before. "
            "--restart begins anew."
        )
    pace = Pace(rate_of(rate))
    total = _count(this, progress, limit)
    if total and not terminal.agreed(_question(total, pace), yes=yes):
        terminal.say("Nothing was sent.")
        raise typer.Exit(NOT_FINE)
    run = Backfill(stack, _again(this), file, progress, pace, limit)
    _run(run, total)
    if as_json:
        told = {"prefix": prefix, "sent": run.sent, "complete": run.is_complete}
        terminal.print_json(told)
    else:
        terminal.line(f"sent {words.number(run.sent, 'drop')} on their way")


def _again(this: Audit) -> Audit:
    """The same look, counted anew."""
    return Audit(this.stack, this.prefix, this.settled)


def _count(this: Audit, progress: Progress, limit: int | None) -> int:
    """How many are to be sent, for the question and the bar."""
    missing = _again(this).missing(progress.after)
    total = 0
    with terminal.working("looking for drops without a job") as turn:
        for total, _ in enumerate(islice(missing, limit), 1):
            turn(f"{total:,} drops without a job")
    return total


def _question(total: int, pace: Pace) -> str:
    takes = words.span(timedelta(seconds=total / pace.per_second))
    return f"Admit {words.number(total, 'drop')} without a job, in {takes} or more?"


def _run(run: Backfill, total: int) -> None:
    try:
        with terminal.advancing("sending", total) as advance:
            run.on_sent = advance
            run.run()
    except KeyboardInterrupt:
        terminal.say(
            f"Interrupted after {words.number(run.sent, 'drop')}. The same command goes on where "
            f"this one stopped ({run.cursor.path})."
        )
        raise


def _plan(stack: Stack, this: Audit, limit: int | None) -> Plan:
    """Examine every drop that is missing."""
    plan = Plan(stack.parameters, typical_seconds(stack.jobs, datetime.now(UTC)))
    missing = islice(this.missing(), limit)
    found = outlooks(stack.client("s3"), this.bucket, stack.parameters.rules(), missing)
    with terminal.working("examining drops without a job") as turn:
        for outlook in found:
            plan.add(outlook)
            turn(f"{plan.drops:,} drops examined, {words.usd(plan.jobs.upper_usd)} so far")
    return plan


def _tell_plan(plan: Plan, this: Audit, *, as_json: bool) -> None:
    data = plan.as_data()
    if as_json:
        terminal.print_json({"prefix": this.prefix} | data)
        return
    jobs = plan.jobs
    terminal.line(f"{words.number(plan.drops, 'drop')} under {this.prefix!r} without a job")
    if plan.waiting:
        terminal.line(f"  {words.number(plan.waiting, 'half', 'halves')} would wait for the other")
    if plan.rejected:
        codes = ", ".join(f"{count:,} {code}" for code, count in plan.errors.most_common())
        terminal.line(f"  {words.number(plan.rejected, 'job')} would be REJECTED: {codes}")
    terminal.line(f"  {words.number(jobs.jobs, 'job')} would be made, {jobs.frames:,} frames")
    terminal.line(f"  {jobs.megapixels:,.1f} megapixels: {_dollars(plan)}")
    how = "assumed; no video yet tells" if plan.usual is None else "as the last videos took"
    terminal.line(
        f"  {words.span(timedelta(hours=plan.hours))} at {plan.seconds_per_job:.0f} s a job "
        f"({how}), {plan.parameters.max_in_flight} at once"
    )
    terminal.line(
        f"  {words.number(plan.days, 'day')} at {words.usd(plan.parameters.daily_budget_usd)} a day"
    )


def _dollars(plan: Plan) -> str:
    return words.interval(plan.jobs.lower_usd, plan.jobs.upper_usd)
