"""Puts a drop in the local cloud, follows its job, and fetches the video: what a user does.

The command line's own parts do it; what is said of it is said here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av

from local.cloud.endpoints import Endpoints
from local.drops import sample
from local.errors import LocalCloudError
from phonoscene.jobs import Actual, Estimate, Job
from phonoscene_cli.stack import video_download
from phonoscene_cli.ui import terminal
from phonoscene_cli.upload import sidecars
from phonoscene_cli.upload.upload import Drop, FileUpload, Upload, put
from phonoscene_cli.upload.upload_plan import PICTURES, DropOptions, assemble


def sample_drop() -> Drop:
    """The drop that `make demo` makes."""
    sidecar = FileUpload("demo/song.json", sidecars.as_json(sample.SIDECAR))
    return Drop(FileUpload("demo/song.wav", sample.make()), sidecar)


def long_sample_drop() -> Drop:
    """The drop that `make demo ARGS=--long` makes: audio of several requests, in two scenes."""
    sidecar = FileUpload("demo/long.json", sidecars.as_json(sample.LONG_SIDECAR))
    return Drop(FileUpload("demo/long.wav", sample.make_long()), sidecar)


def file_drop(file: Path, settings: Mapping[str, Any], image: Path | None) -> Drop:
    """A file from disk with its sidecar and images, as `phonoscene drop` would upload it.

    Raises:
        WrongUsage, CliError: the product would not look at a file of that name, or it, its sidecar
            or an image cannot be read, or there is no sidecar.
    """
    pictures = {PICTURES["image"]: str(image)} if image else {}
    drop = assemble(DropOptions(file, changes=settings, pictures=pictures))
    if drop.sidecar is None:
        raise LocalCloudError(
            f"{file} has no sidecar. Use --prompt (with make: PROMPT=…), or put a JSON file "
            "beside it."
        )
    return drop


def upload(endpoints: Endpoints, drop: Drop) -> list[str]:
    """Put everything, the sidecar last; the ids of the jobs that there will be."""
    dropped = put(Upload(endpoints.client("s3"), endpoints.drop_bucket, drop))
    return dropped.job_ids(_takes(drop))


def _takes(drop: Drop) -> int:
    """How many jobs there will be."""
    text = drop.sidecar.source if drop.sidecar else b""
    return sidecars.takes_in(text) if isinstance(text, bytes) else 1


def fetch_all(endpoints: Endpoints, jobs: Sequence[Job], folder: Path) -> list[Path]:
    """Save the videos of a drop's jobs under `folder`; where they are."""
    out = video_download.Destination((folder / jobs[0].name).parent, is_folder=True)
    targets = out.files(map(video_download.video_of, jobs))
    found = [(job, target) for job, target in zip(jobs, targets, strict=True) if job.video]
    for job, target in found:
        fetch(endpoints, job, target)
    return [target for _, target in found]


def fetch(endpoints: Endpoints, job: Job, target: Path) -> None:
    """Save a job's video, and describe it."""
    if job.video:
        video_download.fetch(endpoints.client("s3"), job, job.video, target)
        terminal.say(describe(target))
    if cost := job.actual or job.estimate:
        terminal.say(_cost(cost, is_real=not endpoints.simulator_url))


def describe(video: Path) -> str:
    """Length, size and codecs, read from the file itself."""
    try:
        with av.open(str(video)) as container:
            seconds = (container.duration or 0) / av.time_base
            picture = container.streams.video[0]
            codecs = " + ".join(stream.codec_context.name for stream in container.streams)
            size = f"{picture.width}x{picture.height}"
    except (av.FFmpegError, IndexError) as error:
        raise LocalCloudError(f"{video} was stored, but does not play: {error}.") from error
    return f"{seconds:.1f} s, {size}, {codecs}, {video.stat().st_size / 1e6:.1f} MB"


def _cost(estimate: Actual | Estimate, *, is_real: bool) -> str:
    dollars = f"${estimate.lower_usd:.4f} to ${estimate.upper_usd:.4f}"
    if is_real:
        return f"fal charges {dollars} for it"
    return f"fal would charge {dollars} for it; the simulator does not"
