"""What is known of a job, each fact with a word for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonoscene.drops.image_references import without_secrets
from phonoscene.drops.sidecar import chosen
from phonoscene.publishing.public_job import notes
from phonoscene.spending import cost
from phonoscene_cli.ui import formatting
from phonoscene_cli.ui.terminal import dumped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.jobs import DropObject, Job


def facts(job: Job) -> Iterator[tuple[str, str]]:
    """What is known, by a word for it."""
    yield "job", job.job_id
    if job.part_of:
        yield "part of", f"job {job.part_of}: its segment {(job.part or 0) + 1}"
    yield from (("used by", f"job {one}, too") for one in sorted(job.wanted_by))
    if job.audio:
        length = f", {job.audio.seconds:.2f} s" if job.audio.seconds else ""
        yield "audio", f"{_where(job.audio)}, {formatting.size(job.audio.bytes)}{length}"
    if job.sidecar:
        yield "sidecar", _where(job.sidecar)
    for field, image in job.images.items():
        yield field.removesuffix("_url"), _where(image)
    if job.estimate:
        yield "makes", formatting.picture(job.estimate)
        yield "costs", formatting.cost(cost(job))
    if job.actual:
        yield "made", f"{formatting.picture(job.actual)}: {formatting.cost(job.actual)}"
    yield from _arguments(job)
    yield from (("metadata", f"{key}={value}") for key, value in job.metadata.items())
    yield from _attempts(job)
    yield from _result(job)
    yield from (("note", note) for note in notes(job))


def _where(found: DropObject) -> str:
    return f"{found.key} (version {found.version_id})"


def _arguments(job: Job) -> Iterator[tuple[str, str]]:
    """The arguments that are not fal's defaults, the prompt first."""
    for name, value in chosen(job.arguments).items():
        text = value if isinstance(value, str) else dumped(value)
        yield name, without_secrets(text) if "image_url" in name else text


def _attempts(job: Job) -> Iterator[tuple[str, str]]:
    if job.attempt:
        refused = f", {job.refusals} refused by fal" if job.refusals else ""
        again = ", sent again after fal showed no trace of it" if job.resubmitted else ""
        yield "attempts", f"{job.attempt}{refused}{again}"
    if job.request:
        yield "fal request", job.request.request_id
    own = {job.request.request_id} if job.request else set()
    if own & job.duplicate_requests:
        yield "paid", "the request, and its video was not stored"
    if others := sorted(job.duplicate_requests - own):
        yield "also paid", f"request {', '.join(others)}"


def _result(job: Job) -> Iterator[tuple[str, str]]:
    if job.video:
        video = job.video
        yield "video", f"s3://{video.bucket}/{video.key}"
        yield "", f"{formatting.size(video.bytes)}, SHA-256 {video.sha256}"
        yield from (("copied to", f"s3://{video.bucket}/{key}") for key in video.stable_keys)
    if job.unusable:
        yield "unusable", f"{job.unusable.error.message} A retry makes another."
    if job.source_url:
        yield "at fal", job.source_url
    if job.seed is not None and job.seed != job.arguments.get("seed"):
        yield "seed", str(job.seed)
    if job.prompt_used and job.prompt_used != job.arguments.get("prompt"):
        yield "prompt used", job.prompt_used
