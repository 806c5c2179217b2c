"""Consent before the real fal is paid, and care that no paid video is lost."""

from collections.abc import Mapping
from pathlib import Path

from local.cloud.endpoints import Endpoints
from local.drops.drops import fetch
from local.drops.estimates import deciding, estimate_drop, example, interval
from local.drops.jobs import Jobs
from local.errors import LocalCloudError
from local.progress import tell
from phonoscene.jobs import Job, JobStatus, Video
from phonoscene_cli.ui import terminal
from phonoscene_cli.upload.upload import Drop

REAL = "the real one, paid by the account of FAL_KEY"
#: Where fal may have made, or be making, a video that is not here yet.
AT_STAKE = {
    JobStatus.SUBMITTING,
    JobStatus.UNCONFIRMED,
    JobStatus.SUBMITTED,
    JobStatus.GENERATED,
}


def simulated(*, is_running: bool) -> str:
    """Shown if nothing is paid, so that the videos are not mistaken for fal's."""
    data = "The fal simulator answers: nothing is paid, and the video only shows the sound."
    if is_running:
        return f"{data} To use the real fal, run `make down` and set FAL_KEY."
    return f"{data} To use the real fal, set FAL_KEY."


def agree_to_pay(parameters: Mapping[str, str], *, yes: bool) -> None:
    """Tell what jobs may cost, and go on only if the person says so."""
    prices = deciding(parameters)
    usual = interval([example(prices)])
    tell(
        "Real money:",
        "red",
        f"every job dropped in this cloud is paid to fal.ai, by the "
        f"account of FAL_KEY.\n"
        f"Ten seconds of 1024x576 at 24 fps cost {usual}. At most ${prices.max_job_cost_usd} a "
        f"job and ${prices.daily_budget_usd} a day are spent (parameters MaxJobCostUsd and\n"
        "DailyBudgetUsd), as long as this cloud is up: `make down` forgets what was spent.",
    )
    _confirm("Start it?", yes=yes)


def agree_to_drop(drop: Drop, parameters: Mapping[str, str], *, yes: bool) -> None:
    """The same for one drop, whose cost is known."""
    estimates = estimate_drop(drop, deciding(parameters))
    videos = "1 video" if len(estimates) == 1 else f"{len(estimates)} videos"
    frames = ", ".join(f"{one.width}x{one.height}, {one.frames} frames" for one in estimates)
    tell(
        "Real money:",
        "red",
        f"{videos} ({frames}) for {interval(estimates)}, paid to fal.ai by the account of FAL_KEY.",
    )
    _confirm("Drop it?", yes=yes)


def bring_home(endpoints: Endpoints, videos: Path) -> None:
    """Before a cloud is forgotten: save what lies there only, and refuse while more is to come."""
    jobs = Jobs(endpoints).all()
    waited_for = [job for job in jobs if job.status in AT_STAKE]
    if waited_for:
        raise LocalCloudError(
            f"fal has {len(waited_for)} of this cloud's jobs: they will be paid, and their videos "
            "are not here yet. Wait, or give them up with `python -m local down --force`."
        )
    for job in jobs:
        if job.video and not _is_here(job, job.video, videos):
            target = videos / job.job_id / f"{job.name}{Path(job.video.key).suffix}"
            fetch(endpoints, job, target)
            terminal.say(f"saved {target}")


def _is_here(job: Job, video: Video, videos: Path) -> bool:
    """Whether `drop` has fetched it."""
    file = videos / f"{job.name}{Path(video.key).suffix}"
    return file.is_file() and file.stat().st_size == video.bytes


def _confirm(question: str, *, yes: bool) -> None:
    """Money is not spent on a guess."""
    if not terminal.agreed(question, yes=yes):
        raise LocalCloudError("Nothing was started, and nothing is spent.")
