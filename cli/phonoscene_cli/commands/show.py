"""``phonoscene show``: everything about one job that a person may want to know."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from phonoscene.jobs import Job, JobStatus
from phonoscene.publishing.public_job import segments_of
from phonoscene.publishing.wording import fix
from phonoscene.sequences.segments import clock
from phonoscene_cli.options import Json, stack_of
from phonoscene_cli.stack.job_lookup import find_job
from phonoscene_cli.ui import formatting, next_steps, terminal
from phonoscene_cli.ui.job_facts import facts
from phonoscene_cli.ui.status_line import StatusLine

if TYPE_CHECKING:
    from phonoscene_cli.stack.connection import Stack

#: As many of a drop's takes are listed.
TAKES: Final = 10


def show(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB|NAME", help="A job id, or a drop (its newest take).")
    ],
    as_json: Json = False,
) -> None:
    """Show everything about a job: state, what it waits for, drop, cost, errors, and history.

    Example: phonoscene show talks/intro
    """
    stack = stack_of(context)
    found = find_job(stack, job)
    terminal.tell(found, lambda: _show(stack, found), as_json=as_json)


def _show(stack: Stack, found: Job) -> None:
    _head(stack, found)
    for name, text in facts(found):
        terminal.line(f"  {name:<11}", text)
    _segments(found)
    _history(found)
    if found.errors:
        terminal.line("errors")
        for error in found.errors:
            terminal.line(f"  {error.code}")
            for name, text in next_steps.in_full(error, fix(found.status, error)):
                terminal.line(f"    {name:<9}", text)
    if step := next_steps.next_step(found):
        terminal.line("next       ", step)
    if not found.part_of:
        _other_takes(stack, found)


def _head(stack: Stack, job: Job) -> None:
    terminal.line(job.name, terminal.state(job.status))
    terminal.line(f"  {formatting.meaning(job)}")
    is_at_fal = job.status is JobStatus.SUBMITTED and not job.sequence
    if job.status is JobStatus.READY or is_at_fal:
        terminal.line(f"  {StatusLine(stack, None).one(job)}")


def _segments(job: Job) -> None:
    """The requests of a job whose audio takes several."""
    segments = segments_of(job)
    if not segments:
        return
    terminal.line("segments")
    table = terminal.grid("", "start", "length", "state", "job", "fal request")
    for one in segments:
        times = clock(one.start), f"{one.seconds:.2f} s"
        state = terminal.state(one.status) if one.status else "not yet"
        ids = one.job_id or "", one.request_id or ""
        terminal.row(table, f"  {one.index}", *times, state, *ids)
    terminal.show(table, terminal.results)


def _history(job: Job) -> None:
    """Each step, and how long it lasted."""
    terminal.line("history")
    for step, lasted in formatting.steps(job):
        long = f"for {lasted}" if lasted else ""
        terminal.line(f"  {formatting.moment(step.at)}  ", terminal.state(step.status, 11), long)


def _other_takes(stack: Stack, job: Job) -> None:
    others = (take for take in stack.jobs.takes(job.name) if take.job_id != job.job_id)
    for number, take in enumerate(islice(others, TAKES)):
        head = "other takes" if number == 0 else " " * len("other takes")
        terminal.line(f"{head}  {take.job_id}  {formatting.moment(take.created_at)}  {take.status}")
    if next(others, None):
        name = formatting.typed(job.name)
        terminal.line(f"{' ' * len('other takes')}  and more: `phonoscene jobs --name {name}`")
