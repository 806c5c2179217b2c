"""A new take of a job that ended without a video: its sidecar, or its audio, is put once more.

A new version of either half is a new job; nothing of the old one changes. What lies in the bucket
must still be what the job was made of: otherwise it would be another job than the one meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phonoscene.documents import LONGEST_SIDECAR, MOST_TAKES, read_takes
from phonoscene.drops import family_prefix, job_id, pairings
from phonoscene.errors import DropRefused
from phonoscene.jobs import Audio, DropObject, Job, JobStatus
from phonoscene.media import DropBucket
from phonoscene_cli import sidecars
from phonoscene_cli.dropping import sidecar_key
from phonoscene_cli.errors import CliError
from phonoscene_cli.preview import Outlook, Overlay, foresee
from phonoscene_cli.uploads import Dropped, Piece
from phonoscene_cli.words import typed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from phonoscene_cli.parameters import Parameters


@dataclass(frozen=True)
class Retake:
    """What would be put: a sidecar, or without one the audio that lies there, again."""

    bucket: str
    audio: Audio
    sidecar: Piece | None
    outlook: Outlook

    def put(self, s3: Any) -> Dropped:
        """Put it, in one request: before it nothing has changed, after it everything."""
        if self.sidecar:
            answer = s3.put_object(
                Bucket=self.bucket,
                Key=self.sidecar.key,
                Body=self.sidecar.source,
                ContentType=self.sidecar.content_type,
            )
            put = DropObject(key=self.sidecar.key, version_id=answer["VersionId"])
            return Dropped(self.bucket, self.audio, put)
        source = {"Bucket": self.bucket, "Key": self.audio.key, "VersionId": self.audio.version_id}
        answer = s3.copy_object(  # REPLACE: S3 refuses to copy an object to itself unchanged
            Bucket=self.bucket,
            Key=self.audio.key,
            CopySource=source,
            MetadataDirective="REPLACE",
            ContentType=Piece(self.audio.key, b"").content_type,
        )
        again = DropObject(key=self.audio.key, version_id=answer["VersionId"])
        return Dropped(self.bucket, again, None)


def retake(
    job: Job, changes: Mapping[str, Any], s3: Any, bucket: str, parameters: Parameters
) -> Retake:
    """What a new take of a job would be, and what would become of it.

    Raises:
        CliError: it cannot be taken again, and why.
    """
    audio = _retryable(job, changes)
    lying = DropBucket(s3, s3, bucket)
    present = lying.keys_under(family_prefix(audio.key))
    _is_unchanged(job, audio, lying, present)
    piece = _sidecar(job, audio, changes, s3, present)
    files = {piece.key: piece.source} if piece else {}
    [pairing] = pairings(audio.key, present | set(files))
    overlay: Any = Overlay(s3, files)
    outlook = foresee(DropBucket(overlay, s3, bucket), parameters.rules(), pairing)
    if not outlook.takes:
        raise CliError(f"{audio.key} would wait for a sidecar: give one with --set prompt=…")
    return Retake(bucket, audio, piece, outlook)


def _retryable(job: Job, changes: Mapping[str, Any]) -> Audio:
    """The audio of a job that may be taken again."""
    if job.status is JobStatus.SUCCEEDED:
        raise CliError(
            f"{job.name} has its video: `phonoscene show {job.job_id}`. For another take, drop it "
            "again: `phonoscene drop`."
        )
    if not job.is_final:
        raise CliError(
            f"{job.name} is {job.status}, and may still have its video: `phonoscene watch "
            f"{job.job_id}`, or `phonoscene cancel {job.job_id}` first."
        )
    if job.audio is None:
        raise CliError(f"{job.name} never had its audio: drop both halves, `phonoscene drop`.")
    is_half = job.sidecar is None and not job.arguments
    if is_half and not changes:
        raise CliError(
            f"{job.name} never had its sidecar: give one with --set prompt=…, or drop both halves."
        )
    return job.audio


def _is_unchanged(job: Job, audio: Audio, bucket: DropBucket, present: AbstractSet[str]) -> None:
    """Whether the bucket still holds what the job was made of.

    Raises:
        CliError: it does not, and what to do instead.
    """
    instead = "Drop it again: `phonoscene drop`."
    found = bucket.find(audio.key)
    if found is None:
        raise CliError(f"{audio.key} is not in the bucket any more. {instead}")
    if found.version_id != audio.version_id:
        raise CliError(
            f"{audio.key} has been dropped again since: `phonoscene jobs --name {typed(job.name)}`."
        )
    [pairing] = pairings(audio.key, present)
    beside = bucket.find(pairing.sidecar) if pairing.sidecar else None
    now = (beside.key, beside.version_id) if beside else None
    then = (job.sidecar.key, job.sidecar.version_id) if job.sidecar else None
    if now != then:
        what = f"is now {now[0]}, of another version" if now else "is not in the bucket any more"
        raise CliError(
            f"The sidecar of {audio.key} {what} than this job's. Retry its newest take "
            f"(`phonoscene jobs --name {typed(job.name)}`), or drop it again."
        )


def _sidecar(
    job: Job, audio: Audio, changes: Mapping[str, Any], s3: Any, present: AbstractSet[str]
) -> Piece | None:
    """The sidecar to put: the job's own with the changes; of several takes the job's alone."""
    if job.sidecar is None:
        text = sidecars.changed("", None, changes)
        return Piece(sidecar_key(audio.key, present), text) if text else None
    key, version = job.sidecar.key, job.sidecar.version_id
    at = {"Bucket": job.bucket, "Key": key, "VersionId": version}
    raw = s3.get_object(**at)["Body"].read(LONGEST_SIDECAR + 1)
    number = _take(job, audio, job.sidecar)
    try:
        if number is not None:
            raw = sidecars.as_json(read_takes(key, raw)[number].values)
        text = sidecars.changed(key, raw, changes)
    except DropRefused as exc:
        raise CliError(f"The sidecar must be mended by hand, and dropped again: {exc}") from exc
    return Piece(key, text or raw)


def _take(job: Job, audio: Audio, sidecar: DropObject) -> int | None:
    """Which of the takes that its sidecar lists a job is; None where it is the only one."""
    pair = (audio.key, audio.version_id), (sidecar.key, sidecar.version_id)
    ids = {job_id(job.bucket, *pair, number): number for number in range(MOST_TAKES)}
    return ids.get(job.job_id)
