"""Shows the steps of jobs until they end, and downloads their videos."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text

from phonoscene.drops.keys import name_of
from phonoscene.jobs import JobStatus
from phonoscene_cli.errors import NOT_FINE, CliError
from phonoscene_cli.follow.downloads import Downloads
from phonoscene_cli.follow.poller import Follower, has_no_video
from phonoscene_cli.stack.generation_time import typical_seconds
from phonoscene_cli.ui import formatting, next_steps, terminal
from phonoscene_cli.ui.status_line import StatusLine, counted
from phonoscene_cli.upload.drop_report import tell_errors
from phonoscene_cli.upload.upload import is_newest

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from phonoscene.jobs import Job, Step
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.video_download import Destination, VideoName
    from phonoscene_cli.upload.drop_report import NewJobs
    from phonoscene_cli.upload.upload import Dropped

#: As many seconds after its rest a drop should have been looked at.
SOON: Final = 60.0
#: As many unfinished jobs are named at the end; of more it is said how many are in each state.
FEW: Final = 5


class Outcome(NamedTuple):
    """The jobs as they are at the end, their files, and a sentence for each problem with others.

    Jobs have ended unless a problem says that the time is up.
    """

    jobs: list[Job]
    videos: list[Path]
    problems: list[str]


@dataclass
class FollowedJobs:
    """Some jobs, followed to their end; ``show`` is called with each step as it appears.

    Each video is downloaded as soon as it is there, if that is asked for.
    """

    stack: Stack
    labels: Labels
    show: Callable[[Job, Step, terminal.Watch], None]
    #: The command that goes on.
    again: str
    timeout: timedelta | None = None
    downloads: Downloads | None = None
    #: What jobs are to be made of, by their ids, where that was dropped just now.
    dropped: Mapping[str, Dropped] = field(default_factory=dict)
    watch: terminal.Watch = field(default_factory=terminal.Watch)

    def __post_init__(self) -> None:
        self._follower = Follower(self.stack.jobs.many, sleep=self._sleep)
        self._patience = self.stack.parameters.settle.total_seconds() + SOON
        self._is_said = False

    def _sleep(self, seconds: float) -> None:
        """Between two looks, which are rare at many jobs; no longer than there is time."""
        if self.timeout is not None:
            seconds = min(seconds, max(0.0, self.timeout.total_seconds() - self.watch.seconds))
        time.sleep(seconds)

    def run(self) -> Outcome:
        """The jobs at their end, or when the time is up; of the others, why there are none."""
        try:
            self._follow()
            return self._outcome()
        except KeyboardInterrupt:
            if not self._follower.all_ended(self.labels.job_ids):
                is_one = len(self.labels.job_ids) == 1
                jobs, them = ("job continues", "it") if is_one else ("jobs continue", "them")
                terminal.say(f"The {jobs}. To follow {them} again: `{self.again}`")
            raise

    def _follow(self) -> None:
        with terminal.working("waiting for SettleSeconds before pairing") as turn:
            enough = partial(self._is_enough, turn)
            for job, step in self._follower.follow(self.labels.job_ids, enough):
                self.show(job, step, self.watch)
                if self.downloads and step.status is JobStatus.SUCCEEDED:
                    for job_id, known in self._follower.jobs.items():
                        if known.job_id == job.job_id:
                            self.downloads.fetch(job_id, known)

    @cached_property
    def _standing(self) -> StatusLine:
        return StatusLine(self.stack, typical_seconds(self.stack.jobs))

    def _is_enough(self, turn: Callable[[str], None]) -> bool:
        """Whether to stop looking; meanwhile the status line says how far the jobs have come."""
        moving, ids = self._follower.moving, self.labels.job_ids
        if self._follower.jobs:
            turn(self._standing.of(moving, len(ids), self._follower.ended(ids)))
        if not moving and self.watch.seconds > self._patience:
            if self._all_ended(self._replaced()):
                return True
            if not self._is_said:
                terminal.say(
                    f"After {self.watch} there is still no record of the drop. "
                    "See `phonoscene doctor`."
                )
            self._patience, self._is_said = self.watch.seconds + SOON, True
        return self.timeout is not None and self.watch.seconds > self.timeout.total_seconds()

    def _all_ended(self, replaced: Mapping[str, str]) -> bool:
        return self._follower.all_ended(one for one in self.labels.job_ids if one not in replaced)

    def _outcome(self) -> Outcome:
        known, replaced = self._follower.jobs, self._replaced()
        missing = {one: self._gone(known[one]) for one in self._follower.gone} | replaced
        problems = list(dict.fromkeys(missing.values()))
        if not self._all_ended(replaced):
            problems.append(f"Not finished after {self.watch}: {self._where()}")
        problems += self.downloads.problems.values() if self.downloads else ()
        jobs = [known[one] for one in self.labels.job_ids if one in known and one not in missing]
        return Outcome(jobs, self.downloads.paths if self.downloads else [], problems)

    def _gone(self, job: Job) -> str:
        """What became of a job whose record is no longer read."""
        if job.status is JobStatus.WAITING and job.job_id not in self.stack.jobs.unreadable:
            again = f"`phonoscene watch {formatting.typed(job.name)}`"
            return f"The other half of {job.name} has arrived. Use {again}."
        return (
            f"The record of {job.name} is gone or cannot be read: `phonoscene show {job.job_id}` "
            "says which."
        )

    def _where(self) -> str:
        """How far the jobs have come, and how to go on watching."""
        moving = self._follower.moving
        if not moving:
            return "there is no record of it: see `phonoscene doctor`."
        named = (f"{self.labels.with_name(job)} is {job.status}" for job in moving)
        seen = counted(moving) if len(moving) > FEW else "; ".join(named)
        return f"{seen}. `{self.again}` continues."

    def _replaced(self) -> dict[str, str]:
        """The jobs that will not be made, because their files were replaced, each with a reason."""
        started = {one for job_id, one in self.dropped.items() if job_id in self._follower.jobs}
        waiting = dict.fromkeys(one for one in self.dropped.values() if one not in started)
        s3 = self.stack.client("s3")
        gone = {one: _replacement(one) for one in waiting if not is_newest(s3, one)}
        return {job_id: gone[one] for job_id, one in self.dropped.items() if one in gone}


def _replacement(dropped: Dropped) -> str:
    name = formatting.typed(name_of(dropped.audio.key))
    return (
        f"The files of {name} were replaced, or deleted, before they became a job: nothing is "
        f"paid for them. `phonoscene watch {name}` follows what came instead."
    )


@dataclass(frozen=True)
class Labels:
    """Tells several jobs apart: takes of a drop by number, other jobs by name, or name and id."""

    job_ids: list[str]
    #: How many of the jobs have each name; without it they are takes of one drop.
    names: Counter[str] | None = None

    def of(self, job: Job) -> str:
        """What is put before a job's step; nothing where there is one job."""
        if self.names is None or len(self.job_ids) == 1:
            return self._mark(job)
        return f"{job.name} {self._mark(job)}".strip()

    def with_name(self, job: Job) -> str:
        """A job's name, with what else tells it apart."""
        mark = self._mark(job)
        return f"{job.name} ({mark})" if mark else job.name

    def _mark(self, job: Job) -> str:
        """What tells a job from the others of its name, if there are any."""
        if self.names is None and job.job_id in self.job_ids:
            number = self.job_ids.index(job.job_id) + 1
            return f"take {number}" if len(self.job_ids) > 1 else ""
        is_alone = len(self.job_ids) == 1 or (self.names and self.names[job.name] == 1)
        return "" if is_alone else job.job_id[:8]  # a take that repeats a job has the job's id


def said(job: Job, step: Step, when: str, label: str) -> Text:
    """A step as a line: when, whose, what, and what it means, or what the job waits for."""
    return Text.assemble(
        (when, "dim"),
        "  ",
        (f"{step.status:<11}", formatting.COLOURS.get(step.status, "")),
        f"  {formatting.printable(label)}  " if label else "  ",
        formatting.step_meaning(job, step),
    )


def complain(jobs: Sequence[Job], labels: Labels) -> None:
    """Say why jobs ended without a video, and what to do about each."""
    for job in jobs:
        if has_no_video(job):
            tell_errors(job.errors)
            which = labels.with_name(job)
            terminal.complain(f"{which} is {job.status}. {next_steps.next_step(job)}")


@dataclass(frozen=True)
class Ending:
    """How a command that makes jobs is to end: at once, or with its jobs or their videos."""

    watch: bool
    out: Destination | None
    timeout: timedelta | None
    as_json: bool
    #: What the jobs' videos are called, in the jobs' order.
    videos: Sequence[VideoName]
    #: Jobs that had their videos before; their steps are not shown as if they were new.
    done_before: frozenset[str] = frozenset()
    #: As ``FollowedJobs.dropped``, and as ``Labels.names``.
    dropped: Mapping[str, Dropped] = field(default_factory=dict)
    names: Counter[str] | None = None

    def come(self, stack: Stack, result: NewJobs) -> int:
        """Follow the jobs of ``result`` if asked to, and print the result; returns the exit code.

        After an error or ^C, the ids of the jobs, and the videos that were downloaded, are printed
        first: they exist.
        """
        labels = Labels(list(result.job_ids), self.names)
        names = dict(zip(labels.job_ids, self.videos, strict=True))
        downloads = Downloads(stack.client("s3"), self.out, names) if self.out else None
        try:
            outcome = self._follow(stack, labels, downloads)
        except BaseException:  # ^C, too: no other process knows the ids
            there = [str(one) for one in downloads.paths] if downloads else []
            tell_end(replace(result, videos=there), as_json=self.as_json)
            raise
        result = replace(result, jobs=outcome.jobs, videos=[str(one) for one in outcome.videos])
        tell_end(result, as_json=self.as_json)
        return conclude(outcome.jobs, labels, outcome.problems)

    def _follow(self, stack: Stack, labels: Labels, downloads: Downloads | None) -> Outcome:
        if not self.watch and self.out is None and self.timeout is None:
            return Outcome([], [], [])

        def show(job: Job, step: Step, watch: terminal.Watch) -> None:
            """On stderr: it goes with a result that comes later."""
            if not self.as_json and job.job_id not in self.done_before:
                line = said(job, step, f"{watch.seconds:6.1f} s", labels.of(job))
                terminal.people.print(line, soft_wrap=True)

        again = watching(labels.job_ids, self.out)
        return FollowedJobs(stack, labels, show, again, self.timeout, downloads, self.dropped).run()


def watching(which: Iterable[str], out: Destination | None) -> str:
    """The command that follows jobs, and downloads their videos if that was asked for."""
    words = ["phonoscene", "watch", *which, *(("--out", str(out)) if out else ())]
    return " ".join(map(formatting.typed, words))


def too_late(new: list[str]) -> None:
    """Say that an interrupt came after the upload; ``new``: the jobs that repeat no other.

    By the id of a repeat, ``cancel`` would stop the job that is repeated.
    """
    stop = f"To stop it, use `phonoscene cancel {' '.join(new)}`" if new else "It costs nothing."
    terminal.say(f"Too late: it has been dropped. {stop}")


def tell_end(result: NewJobs, *, as_json: bool) -> None:
    """The result on stdout: where the videos are, or which jobs there will be."""
    terminal.tell(result, lambda: _tell_jobs(result), as_json=as_json)


def _tell_jobs(result: NewJobs) -> None:
    stored = [f"s3://{job.video.bucket}/{job.video.key}" for job in result.jobs if job.video]
    for video in result.videos or stored:
        terminal.line(f"video: {video}")
    have_ended = len(result.jobs) == len(result.job_ids) and all(
        job.is_final for job in result.jobs
    )
    for job_id in [] if have_ended else result.job_ids:
        terminal.line(f"job: {job_id}")


def conclude(jobs: Sequence[Job], labels: Labels, problems: Sequence[str] = ()) -> int:
    """Say why jobs that were followed have no video, or none yet; returns the exit code.

    Raises:
        CliError: there are problems.
    """
    complain(jobs, labels)
    if problems:
        raise CliError(" ".join(problems))
    return NOT_FINE if any(map(has_no_video, jobs)) else 0
