"""Downloads the videos of jobs that are followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from phonoscene_cli.errors import CliError
from phonoscene_cli.stack.video_download import VideoGone, fetch, video_of
from phonoscene_cli.ui import terminal

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.video_download import Destination, VideoName


@dataclass
class Downloads:
    """Fetches videos into ``out``; ``names`` are those of all jobs, by their ids, in their order.

    A job's name may get its suffix only when the job has its arguments.
    """

    s3: S3Client
    out: Destination
    names: dict[str, VideoName]
    #: Where each video is that was fetched, and a sentence for each that stays in its bucket.
    files: dict[str, Path] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """Where the videos are that were fetched, in the order of ``names``."""
        return [self.files[job_id] for job_id in self.names if job_id in self.files]

    def fetch(self, job_id: str, job: Job) -> None:
        """Fetch a job's video, if it has one that was not fetched before.

        ``job_id`` is one of ``names``: of a drop that repeats a job it is not the job's own.
        """
        if job.video is None or job_id in self.files | self.problems:
            return
        self.names[job_id] = video_of(job)
        files = dict(zip(self.names, self.out.files(self.names.values()), strict=True))
        how = f"`phonoscene watch {job.job_id} --out FILE` fetches it."
        try:
            self.files[job_id] = fetch(self.s3, job, job.video, files[job_id])
        except VideoGone as exc:
            self.problems[job_id] = str(exc)
        except CliError as exc:
            self.problems[job_id] = f"{exc} {how}"
        except KeyboardInterrupt:
            terminal.say(f"The video stays in its bucket: {how}")
            raise
