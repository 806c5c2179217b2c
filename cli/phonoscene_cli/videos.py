"""Fetches a job's video from the output bucket: whole and unaltered, or not at all."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

from phonoscene.containers import suffix_of
from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from phonoscene.jobs import Job, Video

CHUNK: Final = 1024 * 1024


def targets(out: Path, jobs: Sequence[Job]) -> list[Path]:
    """Where each job's video goes: in the folder ``out``, or in that file, numbered if several."""
    suffixes = [suffix_of(str(job.arguments.get("video_output_type", ""))) for job in jobs]
    if out.is_dir():
        stems = [job.name.rpartition("/")[2] for job in jobs]
        out, names = out / "_", stems
    else:
        names, suffixes = [out.stem] * len(jobs), [out.suffix or one for one in suffixes]
    numbers = [""] if len(jobs) == 1 else [f".{number}" for number in range(1, len(jobs) + 1)]
    parts = zip(names, numbers, suffixes, strict=True)
    return [out.with_name(f"{name}{number}{suffix}") for name, number, suffix in parts]


def fetch(s3: Any, video: Video, target: Path) -> Path:
    """Write the video; ``target`` appears when its last byte is there and its digest is right.

    Raises:
        CliError: it cannot be written, or is not what was stored.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = _write(s3, video, part)
        if digest != video.sha256:
            raise CliError(f"{video.key} came with other bytes than were stored: try again.")
        part.replace(target)
    except OSError as exc:
        raise CliError(f"{target} cannot be written: {exc.strerror}.") from exc
    finally:
        part.unlink(missing_ok=True)
    return target


def _write(s3: Any, video: Video, part: Path) -> str:
    """The SHA-256 of what was written, in hex."""
    digest = hashlib.sha256()
    at = {"Bucket": video.bucket, "Key": video.key, "VersionId": video.version_id}
    with part.open("wb") as file:
        for chunk in s3.get_object(**at)["Body"].iter_chunks(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def can_write(out: Path) -> None:
    """Find out before anything is paid.

    Raises:
        CliError: nothing can be written there.
    """
    folder = out if out.is_dir() else out.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise CliError(f"{folder} is no folder that can be written to: choose another --out.")
