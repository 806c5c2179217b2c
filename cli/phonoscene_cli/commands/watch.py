"""``phonoscene watch``: the steps of jobs, as they happen."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from phonoscene.drops.sidecar_files import MAX_TAKES
from phonoscene.jobs import FINAL
from phonoscene_cli.errors import CliError
from phonoscene_cli.follow import follow
from phonoscene_cli.options import Json, Out, Timeout, stack_of
from phonoscene_cli.stack.job_lookup import find_job, folder_in, key_in, name_in, takes_of
from phonoscene_cli.stack.video_download import video_of
from phonoscene_cli.ui import formatting, terminal
from phonoscene_cli.ui.job_json import as_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.jobs import Job, Step
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.jobs_reader import Reader

#: A job that is still on its way was created within this time, or waits for its budget without end.
IN_MOTION: Final = timedelta(days=7)


def watch(
    context: typer.Context,
    which: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB|NAME|FOLDER",
            help="Job ids, drops (their newest takes), or folders/ (jobs in progress when it"
            " starts).",
        ),
    ],
    out: Out = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Follow jobs to their end: each step as it happens, and what they wait for.

    Of a drop with several takes it follows the newest, and names the others in progress. Of a
    folder it follows the jobs in progress when it starts, and ends with them.

    fal shows a request's position in fal's own queue only to the owner of the key, at
    https://fal.ai/dashboard.

    Example: phonoscene watch talks/
    """
    stack = stack_of(context)
    ids = list(dict.fromkeys(one for text in which for one in _ids(stack, text)))
    if not ids:
        terminal.say("No jobs are in progress there.")
        return
    found = list(stack.jobs.whole(ids))
    labels = follow.Labels(ids, Counter(job.name for job in found))
    if out:
        out.check(map(video_of, found))

    def tell(job: Job, step: Step, _: terminal.Watch) -> None:
        if as_json:
            terminal.print_json_line(as_data(job) | {"step": step.model_dump(mode="json")})
        else:
            terminal.line(follow.said(job, step, formatting.moment(step.at), labels.of(job)))

    try:
        jobs = follow.FollowedJobs(stack, labels, tell, timeout).run()
    except KeyboardInterrupt:
        terminal.say(f"The jobs continue. To follow them again: `phonoscene watch {' '.join(ids)}`")
        raise
    for video in follow.bring_home(stack, jobs, out).values():
        terminal.say(f"video: {video}")
    follow.complain(jobs, labels)
    raise typer.Exit(follow.exit_code(jobs))


def _ids(stack: Stack, text: str) -> Iterator[str]:
    """The jobs that a word means: those of a folder that are on their way, or one job.

    Raises:
        CliError: there is none.
    """
    if text.endswith("/") or (text and not key_in(stack, text)):
        yield from _moving(stack.jobs, folder_in(stack, text))
        return
    try:
        job = find_job(stack, text)
        ids = [job.job_id]
    except CliError:
        ids = list(_moving(stack.jobs, f"{name_in(stack, text)}/"))
        if not ids:
            raise
    else:
        if text != job.job_id:
            _tell_others(stack, text, job)
    yield from ids


def _tell_others(stack: Stack, text: str, newest: Job) -> None:
    """Name the other takes of a drop that are in progress."""
    takes = islice(takes_of(stack, text), MAX_TAKES)
    others = [one.job_id for one in takes if one.job_id != newest.job_id and not one.is_final]
    if others:
        ids = " ".join([newest.job_id, *others])
        terminal.say(
            f"{newest.name} has other takes in progress. For all: `phonoscene watch {ids}`"
        )


def _moving(reader: Reader, folder: str) -> Iterator[str]:
    """What was dropped in a folder or below and has not ended, the newest first."""
    now = datetime.now(UTC)
    for entry in reader.since(now - IN_MOTION, now):
        if entry.name.startswith(folder) and entry.status not in FINAL:
            yield entry.job_id
