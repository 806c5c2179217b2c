"""``phonoscene retry``: a new take of a job that has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from phonoscene.jobs import JobStatus
from phonoscene_cli.errors import NOT_FINE
from phonoscene_cli.follow import follow
from phonoscene_cli.options import Follow, Json, Meta, Out, Set, Timeout, Yes, stack_of
from phonoscene_cli.stack.job_lookup import find_whole
from phonoscene_cli.stack.video_download import checked
from phonoscene_cli.ui import formatting, terminal
from phonoscene_cli.upload.drop_report import NewJobs, Sum, refuse_if_wrong, tell_price
from phonoscene_cli.upload.retry_plan import retake
from phonoscene_cli.upload.sidecars import changes_of
from phonoscene_cli.upload.upload import UploadedDespiteInterrupt, unbroken

if TYPE_CHECKING:
    from phonoscene.jobs import Job
    from phonoscene_cli.upload.dry_run import Forecast


@dataclass(frozen=True, kw_only=True)
class RetryResult(NewJobs):
    """The new take, and the id of the job that it repeats."""

    retry_of: str


def retry(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB|NAME", help="A job id, or a drop (its newest take).")
    ],
    settings: Set = None,
    meta: Meta = None,
    watch: Follow = False,
    out: Out = None,
    timeout: Timeout = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a new take of a job that has ended, with or without a video.

    It uploads the job's sidecar again, with the changes of --set and --meta, and with a mark that
    makes it a new job. If the job had no sidecar, it uploads the audio again, or with --set a
    sidecar. If the sidecar has several takes, only this one is uploaded. The old job remains.

    It refuses a job that may still get its video, and one whose files have been changed since. You
    pay for a new take even if the old one has its video, or fal may still bill it.

    Example: phonoscene retry talks/intro --set fps=12 --watch
    """
    stack = stack_of(context)
    found = find_whole(stack, job, "retry")
    s3, bucket = stack.client("s3"), stack.outputs["DropBucketName"]
    changes = changes_of(settings, meta)
    planned = retake(found, changes, s3, bucket, stack.parameters, stack.jobs)
    result = RetryResult(
        retry_of=found.job_id,
        estimate=Sum.of(planned.outlook.estimates),
        segments=planned.outlook.segments,
        errors=planned.outlook.errors,
    )
    step = "Correct the field with --set, or drop corrected files."
    refuse_if_wrong(result, "It would be REJECTED again", step, as_json=as_json)
    videos = checked(out, planned.outlook.videos(found.name))
    if found.take:
        terminal.say(
            f"This is take {found.take} of its sidecar. It replaces the sidecar, which listed "
            f"several: `phonoscene jobs --name {formatting.typed(found.name)}` shows the others."
        )
    tell_price(planned.outlook, stack)
    if not terminal.agreed(_question(found, planned.outlook), yes=yes):
        terminal.say("Nothing was changed.")
        raise typer.Exit(NOT_FINE)
    try:
        dropped = unbroken(lambda: planned.put(s3))
    except UploadedDespiteInterrupt as exc:
        follow.too_late(exc.dropped.job_ids(len(planned.outlook.takes)))
        raise
    result = replace(result, job_ids=dropped.job_ids(len(planned.outlook.takes)))
    ending = follow.Ending(
        watch, out, timeout, as_json, videos, dropped=dict.fromkeys(result.job_ids, dropped)
    )
    raise typer.Exit(ending.come(stack, result))


def _question(job: Job, outlook: Forecast) -> str:
    is_paid = any(take.requests for take in outlook.priced)
    if job.status is JobStatus.SUCCEEDED and is_paid:
        return f"{job.name} already has its video. Make another take and pay for it?"
    return f"Make a new take of {job.name}?"
