"""A new take of a job that has ended: its sidecar, or its audio, is put once more.

The object has a mark, so that the product makes another job of the same content. Nothing of the old
job changes. The bucket must still hold what that job was made of: otherwise the new one would be
another than the one meant.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from phonoscene.drops.contents import MARK
from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.keys import DEFAULTS_NAME, family_prefixes, job_id
from phonoscene.drops.pairing import pairings
from phonoscene.drops.sidecar_files import MAX_SIDECAR_BYTES, MAX_TAKES, read_takes
from phonoscene.errors import DropRefused
from phonoscene.jobs import Audio, DropObject, Job
from phonoscene_cli.errors import CliError
from phonoscene_cli.stack.video_download import may_be_gone
from phonoscene_cli.ui.formatting import typed
from phonoscene_cli.upload import sidecars
from phonoscene_cli.upload.dry_run import Forecast, Overlay, forecast
from phonoscene_cli.upload.segment_forecast import made_before
from phonoscene_cli.upload.upload import Dropped, FileUpload, in_doubt
from phonoscene_cli.upload.upload_plan import sidecar_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

    from phonoscene_cli.stack.jobs_reader import Reader
    from phonoscene_cli.stack.parameters import StackParameters


class NotEnded(CliError):
    """A job whose video may still arrive; ``what`` says so without a command."""

    def __init__(self, job: Job) -> None:
        self.what = f"{job.name} is {job.status}, so its video may still arrive."
        follow, stop = f"`phonoscene watch {job.job_id}`", f"`phonoscene cancel {job.job_id}`"
        super().__init__(f"{self.what} Use {follow}, or {stop} first.")


class NotNewest(CliError):
    """A job whose files were replaced; ``what`` says so without a command."""

    def __init__(self, job: Job, what: str) -> None:
        self.what = what
        again = f"`phonoscene retry {typed(job.name)}`"
        super().__init__(f"{what} Retry its newest take ({again}), or drop it again.")


@dataclass(frozen=True)
class Retake:
    """What would be put: a sidecar, or without one the audio that lies there, again."""

    bucket: str
    audio: DropObject
    sidecar: FileUpload | None
    outlook: Forecast

    def put(self, s3: S3Client) -> Dropped:
        """Put it, in one request: before it nothing has changed, after it everything."""
        key = self.sidecar.key if self.sidecar else self.audio.key
        with in_doubt(key, "Look for a new take before you try again: each take is paid."):
            return self._put(s3)

    def _put(self, s3: S3Client) -> Dropped:
        mark = {MARK: secrets.token_hex(8)}
        if self.sidecar:
            answer = s3.put_object(
                Bucket=self.bucket,
                Key=self.sidecar.key,
                Body=self.sidecar.source,  # type: ignore[arg-type]  # the text of a sidecar
                ContentType=self.sidecar.content_type,
                Metadata=mark,
            )
            put = DropObject(key=self.sidecar.key, version_id=answer["VersionId"])
            return Dropped(self.bucket, self.audio, put)
        source: CopySourceTypeDef = {
            "Bucket": self.bucket,
            "Key": self.audio.key,
            "VersionId": self.audio.version_id,
        }
        copied = s3.copy_object(  # REPLACE: S3 refuses to copy an object to itself unchanged
            Bucket=self.bucket,
            Key=self.audio.key,
            CopySource=source,
            MetadataDirective="REPLACE",
            Metadata=mark,
            ContentType=FileUpload(self.audio.key, b"").content_type,
        )
        again = DropObject(key=self.audio.key, version_id=copied["VersionId"])
        return Dropped(self.bucket, again, None)


def retake(
    job: Job,
    changes: Mapping[str, Any],
    s3: S3Client,
    bucket: str,
    parameters: StackParameters,
    reader: Reader,
) -> Retake:
    """What a new take of a job would be, and what would become of it.

    Raises:
        CliError: it cannot be taken again, and why.
    """
    audio = _retryable(job, changes)
    existing = DropBucket(s3, s3, bucket)
    present = existing.keys_under(*family_prefixes(audio.key))
    now = _unchanged(job, audio, existing, present, reader)
    piece = _sidecar(job, audio, changes, s3, present)
    files = {piece.key: piece.source} if piece else {}
    [pairing] = pairings(audio.key, present | set(files))
    overlay: Any = Overlay(s3, files)
    outlook = forecast(DropBucket(overlay, s3, bucket), parameters.rules(), pairing)
    if outlook.is_ignored:
        raise CliError(
            f"{audio.key} would be ignored, because a {DEFAULTS_NAME} excludes it. Drop it again "
            "in another folder."
        )
    if not outlook.takes:
        raise CliError(f"{audio.key} would wait for a sidecar. Set a prompt.")
    [take, *more] = outlook.takes
    made = (
        frozenset[int]() if more else made_before(job, take, reader.many, partial(may_be_gone, s3))
    )
    return Retake(bucket, now, piece, replace(outlook, made=made))


def _retryable(job: Job, changes: Mapping[str, Any]) -> Audio:
    """The audio of a job that may be taken again."""
    if not job.is_final:
        raise NotEnded(job)
    if job.audio is None:
        raise CliError(f"{job.name} has no audio. Drop both halves.")
    is_half = job.sidecar is None and not job.arguments
    if is_half and not changes:
        raise CliError(f"{job.name} has no sidecar. Set a prompt, or drop both halves.")
    return job.audio


def _unchanged(
    job: Job, audio: Audio, bucket: DropBucket, present: AbstractSet[str], reader: Reader
) -> DropObject:
    """The audio as it is in the bucket now, if that still holds what the job was made of.

    Raises:
        CliError: it does not, and what to do instead.
    """
    instead = "Drop it again."
    found = bucket.find(audio.key)
    if found is None:
        raise CliError(f"{audio.key} is no longer in the bucket. {instead}")
    [pairing] = pairings(audio.key, present)
    beside = bucket.find(pairing.sidecar) if pairing.sidecar else None
    now = (beside.key, beside.version_id) if beside else None
    then = (job.sidecar.key, job.sidecar.version_id) if job.sidecar else None
    here = DropObject(key=found.key, version_id=found.version_id)
    if (here.version_id, now) == (audio.version_id, then) or _repeats(job, here, now, reader):
        return here
    if here.version_id != audio.version_id:
        raise NotNewest(job, f"{audio.key} has been dropped again since.")
    what = f"is now {now[0]}, in another version" if now else "is no longer in the bucket"
    raise NotNewest(job, f"The sidecar of {audio.key} {what}.")


def _repeats(job: Job, audio: DropObject, sidecar: tuple[str, str] | None, reader: Reader) -> bool:
    """Whether what is in the bucket now is known to have the content of the job."""
    pair = (audio.key, audio.version_id), sidecar
    ids = [job_id(job.bucket, *pair, number) for number in (None, *range(MAX_TAKES))]
    return any(one.job_id == job.job_id for one in reader.many(ids).values())


def _sidecar(
    job: Job, audio: Audio, changes: Mapping[str, Any], s3: S3Client, present: AbstractSet[str]
) -> FileUpload | None:
    """The sidecar to put: the job's own with the changes; of several takes the job's alone."""
    if job.sidecar is None:
        text = sidecars.changed("", None, changes)
        return FileUpload(sidecar_key(audio.key, present), text) if text else None
    key, raw = job.sidecar.key, own_sidecar(job, audio, job.sidecar, s3)
    try:
        text = sidecars.changed(key, raw, changes)
    except DropRefused as exc:
        raise CliError(f"Fix the sidecar by hand and drop it again: {exc}") from exc
    return FileUpload(key, text or raw)


def own_sidecar(job: Job, audio: Audio, sidecar: DropObject, s3: S3Client) -> bytes:
    """The sidecar that a job was made of; of one that lists several takes the job's alone.

    Raises:
        CliError: it is no longer in the bucket, or cannot be read.
    """
    raw = _read(s3, job.bucket, sidecar.key, sidecar.version_id)
    number = _take(job, audio, sidecar)
    if number is None:
        return raw
    try:
        return sidecars.as_json(read_takes(sidecar.key, raw)[number].values)
    except DropRefused as exc:
        raise CliError(f"Fix the sidecar by hand and drop it again: {exc}") from exc


def _read(s3: S3Client, bucket: str, key: str, version: str) -> bytes:
    """A version of a sidecar in the drop bucket."""
    try:
        found = s3.get_object(Bucket=bucket, Key=key, VersionId=version)
    except ClientError as exc:
        if exc.response["Error"]["Code"] not in ("NoSuchVersion", "NoSuchKey"):
            raise
        raise CliError(
            f"The version of {key} that the job was made from is no longer in the bucket. "
            "Drop it again."
        ) from exc
    return found["Body"].read(MAX_SIDECAR_BYTES + 1)


def _take(job: Job, audio: Audio, sidecar: DropObject) -> int | None:
    """Which of the takes that its sidecar lists a job is; None where it is the only one."""
    pair = (audio.key, audio.version_id), (sidecar.key, sidecar.version_id)
    ids = {job_id(job.bucket, *pair, number): number for number in range(MAX_TAKES)}
    return ids.get(job.job_id)
