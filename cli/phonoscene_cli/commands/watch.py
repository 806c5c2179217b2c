"""``phonoscene watch``: the steps of jobs, as they happen."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from phonoscene.drops.sidecar_files import MAX_TAKES
from phonoscene.jobs import FINAL
from phonoscene_cli.errors import CliError
from phonoscene_cli.follow import follow
from phonoscene_cli.follow.downloads import Downloads
from phonoscene_cli.options import Json, Out, Timeout, stack_of
from phonoscene_cli.stack.job_lookup import find_job, folder_in, key_in, name_in, takes_of
from phonoscene_cli.stack.video_download import checked, video_of
from phonoscene_cli.ui import formatting, terminal
from phonoscene_cli.ui.job_json import as_data

if TYPE_CHECKING:
    from phonoscene.jobs import Job, Step
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.jobs_reader import Entry, Reader

#: A job that is still on its way was created within this time, or waits for its budget without end.
IN_MOTION: Final = timedelta(days=7)
#: A drop that has rested should be a job after this time.
ON_ITS_WAY: Final = timedelta(seconds=5)


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

    For a drop with several takes, it follows the newest and names the others in progress. For a
    folder, it follows the jobs in progress when it starts, and ends with them; if there are none,
    it waits long enough for a new drop to become a job.

    fal shows a request's position in fal's own queue only to the owner of the key, at
    https://fal.ai/dashboard.

    Example: phonoscene watch talks/
    """
    stack = stack_of(context)
    named = Named(stack, timeout)
    ids = list(dict.fromkeys(one for text in which for one in named.ids(text)))
    if not ids:
        terminal.say("No jobs are in progress there.")
        return
    found = list(stack.jobs.whole(ids))
    labels = follow.Labels(ids, Counter(job.name for job in found))
    names = {job.job_id: video_of(job) for job in found}
    checked(out, names.values())
    downloads = Downloads(stack.client("s3"), out, names) if out else None

    def tell(job: Job, step: Step, _: terminal.Watch) -> None:
        if as_json:
            terminal.print_json_line(as_data(job) | {"step": step.model_dump(mode="json")})
        else:
            terminal.line(follow.said(job, step, formatting.moment(step.at), labels.of(job)))

    again = follow.watching(which, out)
    jobs = follow.FollowedJobs(stack, labels, tell, again, timeout, downloads, watch=named.watch)
    outcome = jobs.run()
    for video in outcome.videos:
        terminal.say(f"video: {video}")
    raise typer.Exit(follow.conclude(outcome.jobs, labels, outcome.problems))


@dataclass(frozen=True)
class Named:
    """Finds the jobs that words mean, and waits for one until ``watch`` shows ``timeout``."""

    stack: Stack
    timeout: timedelta | None
    watch: terminal.Watch = field(default_factory=terminal.Watch)

    def ids(self, text: str) -> list[str]:
        """Those of a folder that are on their way, or one job.

        Raises:
            CliError: there is none: no job of that name, or none at all in the folder.
        """
        stack = self.stack
        if text.endswith("/") or (text and not key_in(stack, text)):
            return self._moving_soon(folder_in(stack, text))
        try:
            job = find_job(stack, text)
        except CliError:
            if ids := _moving(_recent(stack.jobs, f"{name_in(stack, text)}/")):
                return ids
            raise
        if text != job.job_id:
            _tell_others(stack, text, job)
        return [job.job_id]

    def _moving_soon(self, folder: str) -> list[str]:
        """What is on its way in a folder; if nothing is, once more after a drop would have rested.

        Raises:
            CliError: it has no job at all.
        """
        found = _recent(self.stack.jobs, folder)
        if not _moving(found):
            self._rest()
            found = _recent(self.stack.jobs, folder)
        if not found:
            raise CliError(
                f"No job was created in {folder or 'the drop bucket'} in the last "
                f"{IN_MOTION.days} days. Check the name of the folder: `phonoscene jobs` lists the "
                "recent jobs. A new drop may get its job only after SettleSeconds."
            )
        return _moving(found)

    def _rest(self) -> None:
        """Wait until what was dropped before the command has become a job; once for all words."""
        rest = self.stack.parameters.settle + ON_ITS_WAY
        left = min(rest, self.timeout or rest).total_seconds() - self.watch.seconds
        with terminal.working("waiting for SettleSeconds before pairing"):
            time.sleep(max(0.0, left))


def _tell_others(stack: Stack, text: str, newest: Job) -> None:
    """Name the other takes of a drop that are in progress."""
    takes = islice(takes_of(stack, text), MAX_TAKES)
    others = [one.job_id for one in takes if one.job_id != newest.job_id and not one.is_final]
    if others:
        ids = " ".join([newest.job_id, *others])
        terminal.say(
            f"{newest.name} has other takes in progress. For all: `phonoscene watch {ids}`"
        )


def _recent(reader: Reader, folder: str) -> list[Entry]:
    """The jobs of what was dropped in a folder or below, the newest first."""
    first = datetime.now(UTC) - IN_MOTION
    return [one for one in reader.since(first) if one.name.startswith(folder)]


def _moving(entries: list[Entry]) -> list[str]:
    """The ids of those that have not ended."""
    return [one.job_id for one in entries if one.status not in FINAL]
