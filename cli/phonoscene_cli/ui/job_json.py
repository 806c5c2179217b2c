"""Results and jobs as JSON for programs: their keys are documented, and always all there."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from phonoscene.jobs import FrozenModel, Job
from phonoscene.publishing.public_job import segments_of
from phonoscene.spending import cost
from phonoscene_cli.results import Result

#: Of a job's record. Not: hashes of tokens, fal's URLs, what fal reported before the copy.
KEYS = (
    "job_id",
    "name",
    "revision",
    "phonoscene_version",
    "status",
    "waits_for",
    "missing_image",
    "waits_until",
    "bucket",
    "audio",
    "sidecar",
    "images",
    "arguments",
    "metadata",
    "take",
    "sequence",
    "segments",
    "part_of",
    "part",
    "wanted_by",
    "unusable",
    "estimate",
    "padding",
    "actual",
    "cost",
    "attempt",
    "refusals",
    "resubmitted",
    "request_id",
    "video",
    "video_flaws",
    "seed",
    "prompt_used",
    "source_url",
    "errors",
    "duplicate_requests",
    "duplicate_actuals",
    "repeats",
    "unused_metadata",
    "unused_sidecars",
    "history",
    "dropped_at",
    "created_at",
    "updated_at",
)


def plain(value: Any) -> Any:
    """A part of a result in terms of JSON's own: dollars are numbers, times ISO 8601."""
    if isinstance(value, Result):
        return {one.name: getattr(value, one.name) for one in fields(value)}  # type: ignore[arg-type]  # a dataclass
    if isinstance(value, Job):
        return as_data(value)
    if isinstance(value, FrozenModel):
        return value.model_dump(mode="json")
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def as_data(job: Job) -> dict[str, Any]:
    """The job; dollars and megapixels are numbers, times ISO 8601, what is unknown is null."""
    segments = segments_of(job)
    data = job.model_dump(mode="json") | {
        "estimate": _numbers(job.estimate),
        "actual": _numbers(job.actual),
        "cost": _numbers(cost(job)),
        "segments": segments and [one.model_dump(mode="json") for one in segments],
        "part": None if job.part is None else job.part + 1,
        "duplicate_actuals": [_numbers(one) for one in job.duplicate_actuals],
        "request_id": job.request.request_id if job.request else None,
        "duplicate_requests": sorted(job.duplicate_requests),
        "unused_sidecars": sorted(job.unused_sidecars),
        "wanted_by": sorted(job.wanted_by),
        "video_flaws": sorted(job.video_flaws),
    }
    return {key: data[key] for key in KEYS}


def _numbers(part: FrozenModel | None) -> dict[str, Any] | None:
    """A part of the record, its decimals as numbers."""
    if part is None:
        return None
    data = part.model_dump()
    return {
        name: float(value) if isinstance(value, Decimal) else value for name, value in data.items()
    }
