"""Shows the way of jobs to their end, and brings their videos home."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from phonoscene.meanings import STATES
from phonoscene_cli import advice, terminal, words
from phonoscene_cli.errors import NOT_FINE, CliError
from phonoscene_cli.following import Follower, has_no_video, typical_seconds
from phonoscene_cli.moments import span_of
from phonoscene_cli.pricing import tell_errors
from phonoscene_cli.standing import Standing
from phonoscene_cli.telling import as_data
from phonoscene_cli.videos import fetch, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from phonoscene.jobs import Job, Step
    from phonoscene_cli.stack import Stack

#: As many seconds after its rest a drop should have been looked at.
SOON: Final = 60.0


@dataclass
class Journey:
    """Some jobs, followed to their end; ``show`` is told each step as it appears."""

    stack: Stack
    job_ids: list[str]
    show: Callable[[Job, Step, terminal.Watch], None]
    timeout: str | None = None
    watch: terminal.Watch = field(default_factory=terminal.Watch)

    def run(self) -> list[Job]:
        """The jobs at their end.

        Raises:
            CliError: the time is up before, or a half is part of a job now.
        """
        most = span_of(self.timeout).total_seconds() if self.timeout else float("inf")
        follower = Follower(self.stack.jobs.many)
        standing = Standing(self.stack, typical_seconds(self.stack.jobs))
        patience = self.stack.parameters.settle.total_seconds() + SOON
        with terminal.working("the drop rests before it is looked at") as turn:

            def enough() -> bool:
                moving = [job for job in follower.jobs.values() if not job.is_final]
                if moving:
                    turn(standing.of(moving, len(self.job_ids)))
                elif self.watch.seconds > patience:
                    turn(f"no record after {self.watch}: see `phonoscene doctor`")
                return self.watch.seconds > most

            for job, step in follower.follow(self.job_ids, enough):
                self.show(job, step, self.watch)
        for half in follower.gone:
            name = follower.jobs[half].name
            raise CliError(f"The other half of {name} has come: `phonoscene watch {name}`.")
        if not follower.all_ended(self.job_ids):
            raise CliError(f"No end after {self.watch}: {_where(follower)}")
        return [follower.jobs[job_id] for job_id in self.job_ids]


def _where(follower: Follower) -> str:
    """How far the jobs have come."""
    seen = [f"{job.name} is {job.status}" for job in follower.jobs.values() if not job.is_final]
    return f"{'; '.join(seen)}." if seen else "there is no record of it: see `phonoscene doctor`."


def said(job: Job, step: Step, when: str, *, with_name: bool = False) -> Text:
    """A step as a line: when, what, and what it means."""
    return Text.assemble(
        (when, "dim"),
        "  ",
        (f"{step.status:<11}", words.COLOURS.get(step.status, "")),
        f"  {words.printable(job.name)}  " if with_name else "  ",
        STATES[step.status],
    )


def tell_person(job: Job, step: Step, watch: terminal.Watch) -> None:
    """Each step on stderr: it goes with a result that comes later."""
    terminal.people.print(said(job, step, f"{watch.seconds:6.1f} s"), soft_wrap=True)


def tell_nobody(_: Job, __: Step, ___: terminal.Watch) -> None:
    """For programs, which read the end."""


def complain(jobs: Sequence[Job]) -> None:
    """Of those that ended without a video: why, and what to do."""
    for job in jobs:
        if has_no_video(job):
            terminal.complain(f"{job.name} is {job.status}. {advice.next_step(job)}")
            tell_errors(job.errors)


def bring_home(stack: Stack, jobs: Sequence[Job], out: Path | None) -> dict[str, Path]:
    """Fetch the videos that there are; where each job's is."""
    if out is None:
        return {}
    pairs = zip(jobs, targets(out, jobs), strict=True)
    s3 = stack.client("s3")
    return {job.job_id: fetch(s3, job.video, target) for job, target in pairs if job.video}


@dataclass(frozen=True)
class Ending:
    """How a command that makes jobs is to end: at once, or with its jobs or their videos."""

    watch: bool
    out: Path | None
    timeout: str | None
    as_json: bool

    def come(self, stack: Stack, told: dict[str, Any]) -> int:
        """Follow the jobs of ``told`` if that is wished, tell the result; the exit code.

        Raises:
            CliError: the jobs could not be followed to their end; which they are is told.
        """
        try:
            jobs = self._follow(stack, told["job_ids"])
        except CliError:
            tell_end(told, as_json=self.as_json)
            raise
        videos = bring_home(stack, jobs, self.out)
        if not self.as_json:
            complain(jobs)
        told["jobs"] = [as_data(job) for job in jobs]
        told["videos"] = [str(path) for path in videos.values()]
        tell_end(told, as_json=self.as_json)
        return exit_code(jobs)

    def _follow(self, stack: Stack, job_ids: list[str]) -> list[Job]:
        if not (self.watch or self.out or self.timeout):
            return []
        show = tell_nobody if self.as_json else tell_person
        try:
            return Journey(stack, job_ids, show, self.timeout).run()
        except KeyboardInterrupt:
            terminal.say(f"The job goes on: phonoscene watch {' '.join(job_ids)}")
            raise


def too_late(job_ids: list[str]) -> None:
    """Of an interrupt that came when everything was done."""
    terminal.say(f"Too late: it is dropped. To stop it: phonoscene cancel {' '.join(job_ids)}")


def tell_end(told: dict[str, Any], *, as_json: bool) -> None:
    """The result on stdout: where the videos are, or which jobs there will be."""
    if as_json:
        terminal.print_json(told)
        return
    for video in told["videos"]:
        terminal.line(f"video: {video}")
    for job in told["jobs"]:
        if job["video"] and not told["videos"]:
            terminal.line(f"video: s3://{job['video']['bucket']}/{job['video']['key']}")
    for job_id in [] if told["jobs"] else told["job_ids"]:
        terminal.line(f"job: {job_id}")


def exit_code(jobs: Sequence[Job]) -> int:
    """Of jobs that were followed to their end."""
    return NOT_FINE if any(map(has_no_video, jobs)) else 0
