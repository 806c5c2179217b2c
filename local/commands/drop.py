"""``python -m local drop``: drop a file, follow its job, and fetch its video."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from local.cloud.real_fal import RealFal, key_is_set
from local.cloud.run_state import Options
from local.commands.options import cloud_of, shown
from local.drops import drops, spending_consent
from local.drops.jobs import follow
from local.errors import LocalCloudError
from phonoscene_cli.follow.follow import Labels, conclude
from phonoscene_cli.options import Set, Yes
from phonoscene_cli.ui import terminal

if TYPE_CHECKING:
    from local.cloud.cloud import LocalCloud
    from local.cloud.endpoints import Endpoints
    from phonoscene_cli.upload.upload import Drop


def drop(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audio file.")],
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the video shows.")
    ] = None,
    settings: Set = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The video's first frame.")
    ] = None,
    start: Annotated[
        bool,
        typer.Option(
            "--start",
            help="Start the cloud if it is down: with the real fal if FAL_KEY is set.",
        ),
    ] = False,
    yes: Yes = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch/--no-watch",
            " /--no-wait",
            help="Follow the job and fetch the video.",
        ),
    ] = True,
) -> None:
    """Drop a file with its sidecar, follow the job, and fetch its video.

    The sidecar is the file beside it (song.mp3.json or song.json); options change it.

    Example: python -m local drop song.mp3 --prompt "Rain on a window" --set fps=30
    """
    cloud = cloud_of(context)
    changes = dict(settings or []) | ({"prompt": prompt} if prompt is not None else {})
    dropped = drops.file_drop(file, changes, image)
    endpoints = _endpoints_for(cloud, dropped, start=start, yes=yes)
    if watch:
        put_and_fetch(endpoints, dropped, cloud.state.videos)
    else:
        drops.upload(endpoints, dropped)
        terminal.line(f"dropped: s3://{endpoints.drop_bucket}/{dropped.audio.key}")


def _endpoints_for(cloud: LocalCloud, drop: Drop, *, start: bool, yes: bool) -> Endpoints:
    """The cloud that a drop goes to; what it costs is agreed upon before one is started for it."""
    run = cloud.run()
    if run and run.dead and not start:
        raise LocalCloudError(f"The {run.dead[0]} has ended: `make up` starts it again.")
    if run is None and not start:
        return cloud.endpoints()
    real = RealFal.from_env(os.environ) if run is None and key_is_set() else None
    if real or (run and run.real):
        spending_consent.agree_to_drop(drop, run.parameters if run else {}, yes=yes)
    else:
        terminal.say(spending_consent.simulated(is_running=run is not None))
    return cloud.up(Options(real=real)) if run is None or run.dead else cloud.endpoints()


def put_and_fetch(endpoints: Endpoints, drop: Drop, videos: Path) -> None:
    """Put a drop, show what becomes of it, and save its videos.

    Raises:
        typer.Exit: a job ended without a video.
    """
    job_ids = drops.upload(endpoints, drop)
    sidecar = f" with its sidecar {drop.sidecar.key}" if drop.sidecar else ""
    terminal.say(f"dropped {drop.audio.key}{sidecar}")
    jobs = follow(endpoints, job_ids)
    for video in drops.fetch_all(endpoints, jobs, videos):
        terminal.line(f"video: {shown(video)}")
    if code := conclude(jobs, Labels(job_ids)):
        raise typer.Exit(code)
