"""``phonoscene backfill``: make jobs for drops in the bucket that have none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phonoscene_cli.audit.audit import Audit, Unreadable, settled_at
from phonoscene_cli.audit.backfill import Backfill
from phonoscene_cli.audit.backfill_estimate import Plan, examine
from phonoscene_cli.audit.checkpoint import CursorFile, Progress, default_path
from phonoscene_cli.audit.rate_limit import DEEP, Pace, rate_of
from phonoscene_cli.errors import NOT_FINE
from phonoscene_cli.options import MOST, Json, OlderThan, Yes, stack_of
from phonoscene_cli.results import Result
from phonoscene_cli.stack.generation_time import typical_seconds
from phonoscene_cli.stack.job_lookup import key_in
from phonoscene_cli.stack.jobs_reader import FAR
from phonoscene_cli.ui import formatting, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phonoscene_cli.audit.audit import UnreadableDrop
    from phonoscene_cli.audit.bucket_listing import BucketDrop
    from phonoscene_cli.stack.connection import Stack


@dataclass(frozen=True)
class BackfillResult(Result):
    """What was sent of the drops under a prefix, and what was passed over or left."""

    prefix: str
    sent: int
    complete: bool
    failed: Sequence[UnreadableDrop]
    remaining: int


def backfill(
    context: typer.Context,
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help='The prefix to search; "" is the whole bucket.')
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count and price the drops.")
    ] = False,
    rate: Annotated[
        float,
        typer.Option(parser=rate_of, metavar="N/s", help="At most this many drops per second."),
    ] = "10/s",  # type: ignore[assignment]  # Typer parses the default, too
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=MOST, help="At most this many drops.")
    ] = None,
    older_than: OlderThan = None,
    cursor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file that stores the progress; default: in your state folder."
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over instead of resuming.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make jobs for drops in the bucket that have none, at a limited rate.

    For files that are older than the stack, or whose events were lost. Use --dry-run first to see
    the price. You can press ^C at any time: the same command resumes, and no drop becomes two jobs,
    because a job's id follows from the versions of its files. It pauses while 500 messages wait.
    It skips a drop that cannot be read or sent, names it at the end, and exits with 1.

    Example: phonoscene backfill archive/ --dry-run
    """
    stack = stack_of(context)
    this = Audit(stack, key_in(stack, prefix), settled_at(stack, older_than))
    if dry_run:
        priced = _new_plan(stack)
        _tell_plan(priced, _look(this, None, limit, priced), this, as_json=as_json)
        _end(priced.unreadable)
        return
    if not yes:
        terminal.must_be_able_to_ask()
    file = CursorFile(cursor or default_path(this.bucket, this.prefix))
    file.check()
    progress = _progress(file, this, restart=restart)
    plan = None if yes else _new_plan(stack)
    look = _look(this, progress.after, limit, plan)
    if plan and plan.drops and not _agreed(plan, this, rate):
        terminal.say("Nothing was sent.")
        raise typer.Exit(NOT_FINE)
    run = Backfill(stack, _again(this), file, progress, Pace(rate), limit)
    _run(run, look.drops)
    _tell_run(run, look, as_json=as_json)
    _end(run.audit.unreadable)


@dataclass
class _Look:
    """The drops without a job: how many are to be sent, how many more there are."""

    drops: int = 0
    #: Beyond --limit; ``FAR``: so many or more.
    more: int = 0
    resting: int = 0


def _new_plan(stack: Stack) -> Plan:
    """A plan without any drop yet."""
    return Plan(stack.parameters, typical_seconds(stack.jobs))


def _again(this: Audit) -> Audit:
    """The same look, with all counts at zero."""
    return Audit(this.stack, this.prefix, this.settled)


def _progress(file: CursorFile, this: Audit, *, restart: bool) -> Progress:
    """From where to go on. The file stays until something is sent."""
    if restart:
        return Progress(this.bucket, this.prefix)
    progress = file.load(this.bucket, this.prefix)
    if progress.after is not None:
        terminal.say(
            f"Resuming after {progress.after} "
            f"({formatting.number(progress.sent, 'drop')} sent before). "
            "Use --restart to start over."
        )
    return progress


def _look(this: Audit, after: str | None, limit: int | None, plan: Plan | None) -> _Look:
    """Count what is missing, before anything is sent; with a ``plan``, examine and price it."""
    again = _again(this)
    missing, look = again.missing(after), _Look()
    if plan:
        _examine(plan, this, islice(missing, limit))
        look.drops = plan.drops
    else:
        with terminal.working("searching for drops without a job") as turn:
            for look.drops, _ in enumerate(islice(missing, limit), 1):
                turn(f"{look.drops:,} drops without a job")
    with terminal.working("counting the drops beyond --limit") as turn:
        for look.more, _ in enumerate(islice(missing, FAR), 1):
            turn(f"{look.more:,} drops beyond --limit")
    look.resting = again.resting
    return look


def _agreed(plan: Plan, this: Audit, rate: float) -> bool:
    """Whether the person wants that, at that price."""
    for line in _lines(plan, this):
        terminal.say(line)
    takes = formatting.span(timedelta(seconds=plan.drops / rate))
    question = f"Admit {formatting.number(plan.drops, 'drop')} without a job, in {takes} or more?"
    return terminal.agreed(question, yes=False)


def _run(run: Backfill, total: int) -> None:
    try:
        with terminal.advancing("sending", total) as advance:
            run.on_sent, run.on_pause = advance, _tell_pause
            run.run()
    except KeyboardInterrupt:
        terminal.say(
            f"Interrupted after {formatting.number(run.sent, 'drop')}. "
            f"Run the same command to resume ({run.cursor.path})."
        )
        raise


def _tell_pause() -> None:
    terminal.say(
        f"More than {DEEP} messages are in the drops queue: sending continues when fewer wait. "
        "If that takes long, see `phonoscene doctor`."
    )


def _tell_run(run: Backfill, look: _Look, *, as_json: bool) -> None:
    """Print how many drops were sent, and how many remain."""

    def show() -> None:
        terminal.line(f"sent {formatting.number(run.sent, 'drop')}")
        _tell_rest(look, "The same command continues with them.")

    failed = run.audit.unreadable.named
    result = BackfillResult(run.audit.prefix, run.sent, run.is_complete, failed, look.more)
    terminal.tell(result, show, as_json=as_json)


def _end(failed: Unreadable) -> None:
    """Name what was passed over.

    Raises:
        typer.Exit: something was.
    """
    for line in failed.lines():
        terminal.say(line)
    if failed.count:
        terminal.complain(
            f"{formatting.number(failed.count, 'drop')} skipped. "
            "Fix the errors above, then run the command again."
        )
        raise typer.Exit(NOT_FINE)


def _tell_rest(look: _Look, how: str) -> None:
    """Print what was left out, and how to include it."""
    if look.more:
        count = f"{FAR:,} or" if look.more == FAR else f"{look.more:,}"
        terminal.say(f"{count} more are left. {how}")
    if look.resting:
        terminal.say(
            f"{formatting.number(look.resting, 'drop')} skipped as too recent. "
            "Change the age with --older-than."
        )


def _examine(plan: Plan, this: Audit, missing: Iterator[BucketDrop]) -> None:
    """Add each of these drops to the plan."""
    with terminal.working("examining drops without a job") as turn:
        for _ in examine(plan, this.stack.client("s3"), this.bucket, missing):
            turn(f"{plan.drops:,} drops examined, {formatting.usd(plan.jobs.upper_usd)} so far")


def _tell_plan(plan: Plan, look: _Look, this: Audit, *, as_json: bool) -> None:
    """Print what would be sent, and its price."""

    def show() -> None:
        for line in _lines(plan, this):
            terminal.line(line)
        _tell_rest(look, "Omit --limit to count them too.")

    terminal.tell(plan.result(this.prefix, look.more), show, as_json=as_json)


def _lines(plan: Plan, this: Audit) -> Iterator[str]:
    """What the drops need in total: jobs, dollars, hours, days."""
    jobs = plan.jobs
    yield f"{formatting.number(plan.drops, 'drop')} under {this.prefix!r} without a job"
    if plan.waiting:
        yield f"  {plan.waiting:,} would be WAITING for their other half or an image"
    if plan.rejected:
        codes = ", ".join(f"{count:,} {code}" for code, count in plan.errors.most_common())
        yield f"  {formatting.number(plan.rejected, 'job')} would be REJECTED: {codes}"
    if plan.unreadable.count:
        yield f"  {formatting.number(plan.unreadable.count, 'drop')} cannot be read"
    more = f", {plan.requests:,} requests" if plan.requests > jobs.jobs else ""
    yield f"  {formatting.number(jobs.jobs, 'job')} would be created{more}, {jobs.frames:,} frames"
    dollars = formatting.interval(jobs.lower_usd, jobs.upper_usd)
    yield f"  {jobs.megapixels:,.1f} megapixels: {dollars}"
    how = "assumed: there is no recent video" if plan.usual is None else "the recent average"
    each = formatting.span(timedelta(seconds=plan.seconds_per_job))
    yield (
        f"  {formatting.span(timedelta(hours=plan.hours))} at {each} a request ({how}), "
        f"{plan.parameters.max_in_flight} at once"
    )
    budget = formatting.usd(plan.parameters.daily_budget_usd)
    yield f"  {formatting.number(plan.days, 'day')} at {budget} a day"
