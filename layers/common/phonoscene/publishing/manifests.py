"""The manifest beside a video: what the video was made from, and what it is.

It has no URL that opens anything.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phonoscene.jobs import Job

_FIELDS: Final = frozenset(
    {
        "job_id",
        "name",
        "bucket",
        "audio",
        "sidecar",
        "images",
        "arguments",
        "metadata",
        "estimate",
        "actual",
        "seed",
        "video",
        "prompt_used",
        "output_lifetime",
        "created_at",
        "phonoscene_version",
    }
)


def manifest_fields(job: Job) -> dict[str, Any]:
    """The fields of a job's record that its manifest has; what is absent is left out."""
    return job.model_dump(mode="json", include=set(_FIELDS), exclude_none=True)


def to_bytes(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as it is stored."""
    return json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"
