"""``phonoscene share``: a link to a video, for people without AWS credentials."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from phonoscene.publishing.pointers import recency
from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.options import Json, stack_of
from phonoscene_cli.results import Result
from phonoscene_cli.stack.job_lookup import find_job, takes_of
from phonoscene_cli.stack.share_link import MAX_LIFE, EndsWith, Link, sign
from phonoscene_cli.ui import formatting, next_steps, terminal
from phonoscene_cli.ui.time_arguments import span_of

if TYPE_CHECKING:
    from phonoscene.jobs import Job, Video
    from phonoscene_cli.stack.connection import Stack


@dataclass(frozen=True)
class ShareResult(Result):
    """A link and what it leads to."""

    job_id: str
    name: str
    url: str
    expires_at: datetime
    ends_with: EndsWith


def share(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB|NAME", help="A job id, or a drop (its newest video).")
    ],
    life: Annotated[
        timedelta,
        typer.Option(
            "--for",
            parser=span_of,
            metavar="SPAN",
            help="The link's lifetime: 30m, 12h, 7d at most.",
        ),
    ] = "7d",  # type: ignore[assignment]  # Typer parses the default, too
    open_: Annotated[bool, typer.Option("--open", help="Open the link in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Print a link to a video. Anyone who has the link can watch the video until the link expires.

    Example: phonoscene share talks/intro --for 2d
    """
    if not timedelta(0) < life <= MAX_LIFE:
        raise WrongUsage("A link lasts from 1s to 7d, S3's limit. Choose another --for.")
    stack = stack_of(context)
    newest = find_job(stack, job)
    found, video = _with_video(stack, job, newest)
    link = sign(stack, found, video, life)
    result = ShareResult(found.job_id, found.name, link.url, link.expires_at, link.ends_with)
    terminal.tell(result, lambda: terminal.line(link.url), as_json=as_json)
    if found.job_id != newest.job_id:
        terminal.say(
            f"This is the video of job {found.job_id}: the newest take is {newest.status}."
        )
    terminal.say(_end(link))
    if open_ and not webbrowser.open(link.url):
        raise CliError("No browser can be opened here. Open the link yourself.")


def _with_video(stack: Stack, text: str, newest: Job) -> tuple[Job, Video]:
    """Return the job itself, or the take of its name whose video is the newest.

    Raises:
        CliError: there is no video.
    """
    takes = [newest] if text == newest.job_id else takes_of(stack, text)
    found = max((take for take in takes if take.video), key=recency, default=newest)
    if found.video:
        return found, found.video
    step = next_steps.next_step(newest) or f"Follow it with `phonoscene watch {newest.job_id}`."
    raise CliError(f"{newest.name} has no video: {formatting.meaning(newest)}. {step}")


def _end(link: Link) -> str:
    """A sentence about when the link ends, and why."""
    at = formatting.moment(link.expires_at)
    if link.ends_with == "session":
        return (
            f"It expires at {at}, with the session of your credentials. "
            "For a longer one, sign with an IAM user's keys (--profile)."
        )
    if link.ends_with == "unknown":
        return (
            f"It expires at {at}, or when the session of your credentials ends, if that is earlier."
        )
    return f"It expires at {at}. To revoke it earlier, remove the video or the key that signed it."
