"""Finds a drop's files: both halves as they are in the bucket now, and their folders' defaults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from phonoscene.drops.keys import Kind, defaults_keys, half_id, job_id, kind_of
from phonoscene.drops.sidecar_files import (
    MAX_SIDECAR_BYTES,
    SidecarFile,
    ignores,
    is_result,
    metadata_of,
    read_defaults,
    read_takes,
    waits_for_sidecar,
)
from phonoscene.drops.validation_errors import Errors
from phonoscene.errors import DropUnsettled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from phonoscene.drops.drop_bucket import DropBucket, Found
    from phonoscene.drops.pairing import Pairing
    from phonoscene.jobs import ErrorDetail

#: How often a pair is read that changes meanwhile, before its event goes back to the queue.
TRIES: Final = 3
#: S3's dates and EventBridge's times are whole seconds, and need not be rounded alike.
ROUNDED_TO: Final = timedelta(seconds=1)


class NoDrop(Enum):
    """Why there is nothing to examine."""

    #: The defaults of its folder say so, or it is a result of Phonoscene's.
    IGNORED = auto()
    #: Its other half is not here.
    INCOMPLETE = auto()
    #: A half was deleted after the bucket was listed.
    GONE = auto()


@dataclass(frozen=True)
class DropFiles:
    """A drop as it is in the bucket: its audio, and its sidecar and its text, if any.

    ``defaults``: the ``_defaults.json`` that apply, nearest first. ``errors``: what is wrong with
    those.
    """

    pairing: Pairing
    audio: Found
    sidecar: Found | None
    text: bytes
    defaults: Sequence[SidecarFile] = ()
    errors: Sequence[ErrorDetail] = ()

    def has_newer_than(self, key: str, happened_at: datetime) -> bool:
        """Whether the half other than ``key`` is newer than that one's event, and starts the job.

        S3 dates an object no later than its event, give or take the second to which both are
        rounded. So of two halves at most one leaves the job to the other: were each dated after the
        other's event, each event would be before itself. Two halves within a second of each other
        both go on, and make the same job.
        """
        other = self.sidecar if key == self.audio.key else self.audio
        return other is not None and other.modified > happened_at + ROUNDED_TO

    def is_first(self, versions: Mapping[str, str | None], within: timedelta) -> bool:
        """Whether these are the first two halves of their name, so that no newer one is on its way.

        ``versions``: of each key its only version, or None. A half that is older than ``within``
        before the other is no longer waited for: the dropper may be replacing it.
        """
        if self.sidecar is None:  # one may be on its way
            return False
        is_only = all(versions.get(one.key) == one.version_id for one in (self.audio, self.sidecar))
        return is_only and abs(self.audio.modified - self.sidecar.modified) <= within

    @property
    def modified(self) -> datetime:
        """When S3 dates the newer of the two."""
        return max(half.modified for half in (self.audio, self.sidecar) if half)

    def ids(self, bucket: str, take: int | None) -> tuple[str, list[str]]:
        """The id of a take's job, and those of the waiting halves it replaces."""
        audio = (self.audio.key, self.audio.version_id)
        sidecar = (self.sidecar.key, self.sidecar.version_id) if self.sidecar else None
        keys = [half.key for half in (self.audio, self.sidecar) if half]
        return job_id(bucket, audio, sidecar, take), [half_id(bucket, key) for key in keys]


def find_drop(bucket: DropBucket, pairing: Pairing) -> DropFiles | NoDrop:
    """The files of a pairing, or why there is no drop.

    Raises:
        DropUnsettled: the audio is overwritten again and again while the sidecar is read.
    """
    errors = Errors()
    defaults = _defaults(bucket.read, pairing.keys[0], errors)
    if ignores(defaults):
        return NoDrop.IGNORED
    is_alone = pairing.sidecar is None and not errors and waits_for_sidecar(defaults)
    if pairing.audio is None:
        return NoDrop.IGNORED if is_own_result(bucket, pairing) else NoDrop.INCOMPLETE
    if is_alone:
        return NoDrop.INCOMPLETE
    found = _halves(bucket, pairing.audio, pairing.sidecar)
    return DropFiles(pairing, *found, defaults, errors) if found else NoDrop.GONE


def is_in_ignored_folder(read: Callable[[str, int], tuple[Found, bytes] | None], key: str) -> bool:
    """Whether the defaults of a key's folder, as far as ``read`` gives them, hide all there."""
    return ignores(_defaults(read, key, Errors()))


def is_own_result(bucket: DropBucket, pairing: Pairing) -> bool:
    """Whether what would be a sidecar without audio is a result of Phonoscene's.

    Who keeps drops and results in one folder, and syncs it, would get a receipt of each receipt.
    """
    if pairing.audio or not pairing.sidecar:
        return False
    read = bucket.read_if_given(pairing.sidecar, MAX_SIDECAR_BYTES + 1)
    return read is not None and is_result(read[1])


def read_metadata(bucket: DropBucket, key: str) -> dict[str, str]:
    """The metadata of a half with its defaults, for a drop that is rejected unexamined.

    Of several takes, what all of them have. A file that S3 does not give now is left out, because
    no answer may delay a rejection.
    """
    errors = Errors()
    defaults = _defaults(bucket.read_if_given, key, errors)
    is_sidecar = kind_of(key) is Kind.SIDECAR
    read = bucket.read_if_given(key, MAX_SIDECAR_BYTES + 1) if is_sidecar else None
    takes = errors.collect(read_takes, key, read[1]) if read else None
    found = [metadata_of([take, *defaults]) for take in takes or ()] or [metadata_of(defaults)]
    return {
        name: value
        for name, value in found[0].items()
        if all(one.get(name) == value for one in found)
    }


def _defaults(
    read: Callable[[str, int], tuple[Found, bytes] | None], key: str, errors: Errors
) -> list[SidecarFile]:
    """The ``_defaults.json`` that apply to a file, nearest first."""
    found = (
        (name, there[1])
        for name in defaults_keys(key)
        if (there := errors.collect(read, name, MAX_SIDECAR_BYTES + 1))
    )
    return read_defaults(found, errors)


def _halves(
    bucket: DropBucket, audio_key: str, sidecar_key: str | None
) -> tuple[Found, Found | None, bytes] | None:
    """Both halves' newest versions, or None if one was deleted after the bucket was listed.

    The audio is looked up once more after the sidecar was read: two versions that were never
    there together are no pair, and would be paid for.
    """
    audio = bucket.find(audio_key)
    if sidecar_key is None:
        return (audio, None, b"") if audio else None
    for _ in range(TRIES):
        sidecar = bucket.read(sidecar_key, MAX_SIDECAR_BYTES + 1)
        before, audio = audio, bucket.find(audio_key)
        if not (audio and sidecar):
            return None
        if audio == before:
            return audio, *sidecar
    raise DropUnsettled
