"""Takes of a drop whose content has a job already: they are not made, nor paid, again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from phonoscene.publishing.s3_conditions import HIDDEN
from phonoscene_cli.stack.video_download import VideoGone, see

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.upload.upload_plan import Plan


def repeats_of(planned: Plan, stack: Stack) -> dict[int, Job]:
    """The jobs that takes would repeat, by the takes' numbers: those are not made or paid again."""
    if not stack.parameters.skips_repeats:
        return {}
    contents = enumerate(planned.outlook.contents)
    found = ((number, stack.jobs.job_of(one)) for number, one in contents if one)
    return {number: job for number, job in found if job}


def sentences(planned: Plan, repeats: dict[int, Job], s3: S3Client) -> Iterator[str]:
    """What becomes of those takes, for a person."""
    for number, job in repeats.items():
        yield _repetition(job, s3)
        if planned.outlook.takes[number].fields["metadata"] != job.metadata:
            yield (
                f"This drop has other metadata, and job {job.job_id} keeps its own. For a new "
                f"video with other metadata: `phonoscene retry {job.job_id} --meta KEY=VALUE`"
            )


def _repetition(job: Job, s3: S3Client) -> str:
    """A sentence about a job whose content is dropped again."""
    if job.video:
        try:
            see(s3, job, job.video)
        except VideoGone as exc:
            return (
                f"Job {job.job_id} has made the video of this content, so no other is made. {exc}"
            )
        except ClientError as exc:  # who only drops need not be allowed to look
            if exc.response["Error"]["Code"] not in HIDDEN:
                raise
        where = f"s3://{job.video.bucket}/{job.video.key}"
        other = " --set seed=NUMBER" if job.sequence else ""  # its segments are used again
        return (
            f"Job {job.job_id} already has the video of this content, {where}; you pay nothing. "
            f"For another take: `phonoscene retry {job.job_id}{other}`"
        )
    return (
        f"Job {job.job_id} is {job.status} and makes the video of this content; you pay nothing "
        f"more. For another take after it has ended: `phonoscene retry {job.job_id}`"
    )
