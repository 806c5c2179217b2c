"""``phonoscene show``: everything about one job that a person may want to know."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Annotated, Final

import typer

from phonoscene.drops.sidecar import chosen
from phonoscene.jobs import Job, JobStatus
from phonoscene.publishing.public_job import notes, segments_of
from phonoscene.sequences.segments import clock
from phonoscene_cli.commands.options import Json, stack_of
from phonoscene_cli.stack.job_lookup import find_job
from phonoscene_cli.ui import formatting, next_steps, terminal
from phonoscene_cli.ui.status_line import StatusLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.jobs import DropObject
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
    """Show all about a job: its state, what it waits for, its drop, cost, errors, and history.

    Example: phonoscene show talks/intro
    """
    stack = stack_of(context)
    found = find_job(stack, job)
    terminal.tell(found, lambda: _show(stack, found), as_json=as_json)


def _show(stack: Stack, found: Job) -> None:
    _head(stack, found)
    for name, text in _facts(found):
        terminal.line(f"  {name:<11}", text)
    _segments(found)
    _history(found)
    if found.errors:
        terminal.line("errors")
        for error in found.errors:
            terminal.line(f"  {error.code}")
            for name, text in next_steps.in_full(error):
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


def _facts(job: Job) -> Iterator[tuple[str, str]]:
    """What is known, by a word for it."""
    yield "job", job.job_id
    if job.part_of:
        yield "part of", f"job {job.part_of}: its segment {(job.part or 0) + 1}"
    if job.audio:
        length = f", {job.audio.seconds:.2f} s" if job.audio.seconds else ""
        yield "audio", f"{_where(job.audio)}, {formatting.size(job.audio.bytes)}{length}"
    if job.sidecar:
        yield "sidecar", _where(job.sidecar)
    for field, image in job.images.items():
        yield field.removesuffix("_url"), _where(image)
    if job.estimate:
        yield "makes", formatting.picture(job.estimate)
        yield "costs", formatting.cost(job.estimate)
    if job.actual:
        yield "made", f"{formatting.picture(job.actual)}: {formatting.cost(job.actual)}"
    yield from _wishes(job)
    yield from (("metadata", f"{key}={value}") for key, value in job.metadata.items())
    yield from _attempts(job)
    yield from _result(job)
    yield from (("note", note) for note in notes(job))


def _where(found: DropObject) -> str:
    return f"{found.key} (version {found.version_id})"


def _wishes(job: Job) -> Iterator[tuple[str, str]]:
    """The arguments that are not fal's defaults, the prompt first."""
    for name, value in chosen(job.arguments).items():
        yield name, value if isinstance(value, str) else terminal.dumped(value)


def _attempts(job: Job) -> Iterator[tuple[str, str]]:
    if job.attempt:
        refused = f", {job.refusals} refused by fal" if job.refusals else ""
        again = ", sent again after fal showed no trace of it" if job.resubmitted else ""
        yield "attempts", f"{job.attempt}{refused}{again}"
    if job.request:
        yield "fal request", job.request.request_id
    if job.duplicate_requests:
        yield "paid again", f"for {', '.join(sorted(job.duplicate_requests))}"


def _result(job: Job) -> Iterator[tuple[str, str]]:
    if job.video:
        video = job.video
        yield "video", f"s3://{video.bucket}/{video.key}"
        yield "", f"{formatting.size(video.bytes)}, SHA-256 {video.sha256}"
        yield from (("copied to", f"s3://{video.bucket}/{key}") for key in video.stable_keys)
    if job.source_url:
        yield "at fal", job.source_url
    if job.seed is not None and job.seed != job.arguments.get("seed"):
        yield "seed", str(job.seed)
    if job.prompt_used and job.prompt_used != job.arguments.get("prompt"):
        yield "prompt used", job.prompt_used


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
        short = (one.job_id or "")[:8]
        terminal.row(table, f"  {one.index}", *times, state, short, one.request_id or "")
    terminal.show(table)


def _history(job: Job) -> None:
    """Each step, and how long it lasted."""
    terminal.line("history")
    ends = [after.at - step.at for step, after in pairwise(job.history)]
    for step, lasted in zip(job.history, [*ends, None], strict=True):
        long = "" if lasted is None else f"for {formatting.span(max(lasted, timedelta(0)))}"
        terminal.line(f"  {formatting.moment(step.at)}  ", terminal.state(step.status, 11), long)


def _other_takes(stack: Stack, job: Job) -> None:
    others = (take for take in stack.jobs.takes(job.name) if take.job_id != job.job_id)
    for number, take in enumerate(islice(others, TAKES)):
        head = "other takes" if number == 0 else " " * len("other takes")
        terminal.line(f"{head}  {take.job_id}  {formatting.moment(take.created_at)}  {take.status}")
