"""From an S3 event to a job: find the other half, check everything, admit the job once.

An event is a hint that something happened under a name; what is true is read from the bucket. The same
event again, or the other half's, gives the same job id, and the table admits an id once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from phonoscene.documents import (
    LONGEST_SIDECAR,
    Document,
    parse,
    read_document,
    waits_for_sidecar,
)
from phonoscene.drops import (
    Kind,
    Pairing,
    beside,
    defaults_keys,
    family_prefix,
    half_id,
    job_id,
    kind_of,
    name_of,
    pairings,
    unsafe,
)
from phonoscene.errors import DropRefused, DropUnsettled, WriteRefused
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Estimate, Job, JobStatus
from phonoscene.pricing import PRESETS, estimate, needed_frames
from phonoscene.sidecar import Sidecar, VideoSize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from decimal import Decimal

    from phonoscene.job_store import JobStore
    from phonoscene.media import DropBucket, Found

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: How often a pair is read that changes under the reader's eyes, before its event goes back to the queue.
LOOKS = 3
MOST_ERRORS = 50


@dataclass(frozen=True)
class Announcement:
    """An object of the drop bucket, and when S3 finished creating it."""

    key: str
    happened_at: datetime


@dataclass(frozen=True)
class Rules:
    """What the operator decides about drops."""

    pair_grace: timedelta
    max_frames: int
    usd_per_megapixel: Decimal


@dataclass(frozen=True)
class Halves:
    """A drop as it lies in the bucket: its audio, and its sidecar with its text unless it needs none."""

    pairing: Pairing
    audio: Found
    sidecar: Found | None
    text: bytes

    def newer_than(self, announced: Announcement) -> bool:
        """Whether the *other* half was created after the announced one; its event starts the job.

        An object's date is never later than its event, so of two halves at most one stands back: were
        each dated after the other's event, each event would be before itself. Two halves of the same
        second both go on, and make the same job.
        """
        other = self.sidecar if announced.key == self.audio.key else self.audio
        return other is not None and other.modified > announced.happened_at

    def ids(self, bucket: str) -> tuple[str, list[str]]:
        """The job's id, and those of the waiting halves it replaces."""
        audio = (self.audio.key, self.audio.version_id)
        sidecar = (self.sidecar.key, self.sidecar.version_id) if self.sidecar else None
        keys = [half.key for half in (self.audio, self.sidecar) if half]
        return job_id(bucket, audio, sidecar), [half_id(bucket, key) for key in keys]


class Errors(list[ErrorDetail]):
    """Collects what is wrong, so that a dropper hears of all of it at once."""

    def caught(self, check: Callable[..., T], *arguments: Any) -> T | None:
        """The check's result, or None where it refused the drop."""
        try:
            return check(*arguments)
        except DropRefused as exc:
            self.extend(exc.errors)
            return None

    def told(self) -> tuple[ErrorDetail, ...]:
        """The first ``MOST_ERRORS`` of them: a record holds 400 KB."""
        rest = len(self) - MOST_ERRORS
        more = ErrorDetail(code="more_errors", message=f"There are {rest} more errors.")
        return (*self[:MOST_ERRORS], more) if rest > 0 else tuple(self)


@dataclass(frozen=True)
class Intake:
    """Turns announcements into jobs."""

    bucket: DropBucket
    store: JobStore
    rules: Rules

    def take(self, announced: Announcement) -> list[Job]:
        """The records that this announcement makes, or has made before; most often one or none."""
        if kind_of(announced.key) is Kind.IGNORED:
            return []
        reason = unsafe(announced.key)
        if reason:
            return [self._refuse_key(announced.key, reason)]
        found = [self._pair(announced, pairing) for pairing in self._pairings(announced.key)]
        return [job for job in found if job is not None]

    def _pairings(self, key: str) -> list[Pairing]:
        return pairings(key, self.bucket.keys_under(family_prefix(key)))

    def _pair(self, announced: Announcement, pairing: Pairing) -> Job | None:
        if pairing.audio is None:
            return self._wait(announced.key, pairing)
        errors = Errors()
        defaults = self._defaults(pairing.audio, errors)
        if pairing.sidecar is None and not errors and waits_for_sidecar(defaults):
            return self._wait(announced.key, pairing)
        halves = self._look(pairing)
        if halves is None:
            return None
        if halves.newer_than(announced):
            self.store.stop_waiting(half_id(self.bucket.name, announced.key))
            logger.info("drop.left_to_newer_half", extra={"key": announced.key})
            return None
        return self._admit(halves, defaults, errors)

    def _look(self, pairing: Pairing) -> Halves | None:
        """Both halves' newest versions, or None where one went away since they were listed.

        The audio is looked at once more after the sidecar was read: two versions that were never there
        together are no pair, and would be paid for.
        """
        audio = self.bucket.find(str(pairing.audio))
        if pairing.sidecar is None:
            return Halves(pairing, audio, None, b"") if audio else None
        for _ in range(LOOKS):
            sidecar = self.bucket.read(pairing.sidecar, LONGEST_SIDECAR + 1)
            before, audio = audio, self.bucket.find(str(pairing.audio))
            if not (audio and sidecar):
                return None
            if audio == before:
                return Halves(pairing, audio, *sidecar)
        raise DropUnsettled

    def _defaults(self, audio: str, errors: Errors) -> list[Document]:
        """The ``_defaults.json`` that hold for an audio file, nearest first."""
        found = [(key, self.bucket.read(key, LONGEST_SIDECAR + 1)) for key in defaults_keys(audio)]
        documents = [errors.caught(read_document, key, read[1]) for key, read in found if read]
        return [document for document in documents if document]

    def _wait(self, key: str, pairing: Pairing) -> Job | None:
        """Record the half that is here, unless the other has come since the bucket was listed.

        Its event may by now have made the job and forgotten this half's record before it was written;
        the second look is what keeps that record from waiting for ever.
        """
        found = self.bucket.find(key)
        if found is None:
            return None
        pinned = {"key": key, "version_id": found.version_id}
        half = (
            {"audio": Audio(**pinned, bytes=found.bytes)}
            if pairing.audio
            else {"sidecar": DropObject(**pinned)}
        )
        at = self.store.clock()
        job = self._born(JobStatus.WAITING, half_id(self.bucket.name, key), key, **half)
        try:
            self.store.wait(job, at + self.rules.pair_grace)
        except WriteRefused:
            logger.info("drop.waits_already", extra={"key": key})
        if pairing not in self._pairings(key):
            self.store.stop_waiting(job.job_id)
            return None
        return job

    def _admit(self, halves: Halves, defaults: Sequence[Document], errors: Errors) -> Job:
        identifier, waiting = halves.ids(self.bucket.name)
        fields = self._examine(halves, defaults, errors)
        status = JobStatus.REJECTED if errors else JobStatus.READY
        job = self._born(status, identifier, halves.audio.key, errors=errors.told(), **fields)
        try:
            return self.store.admit(job, waiting)
        except WriteRefused as exc:
            logger.info("job.admitted_already", extra={"job_id": identifier})
            for half in waiting:
                self.store.stop_waiting(half)
            return exc.found or job

    def _examine(
        self, halves: Halves, defaults: Sequence[Document], errors: Errors
    ) -> dict[str, Any]:
        """Everything a job's record says of its drop; what is wrong goes to ``errors``."""
        if halves.pairing.rivals:
            errors.append(_ambiguous(halves.pairing))
        audio = errors.caught(self.bucket.measure, halves.audio)
        sidecar, origin = self._sidecar(halves, defaults, errors) or (None, {})
        images = self._images(sidecar, origin, errors) if sidecar else {}
        size = errors.caught(self._size, sidecar, images) if sidecar and not errors else None
        price = (
            errors.caught(self._price, sidecar, audio, size) if sidecar and audio and size else None
        )
        pinned = halves.audio
        return {
            "audio": audio
            or Audio(key=pinned.key, version_id=pinned.version_id, bytes=pinned.bytes),
            "sidecar": _pin(halves.sidecar),
            "images": {field: _pin(found) for field, found in images.items()},
            "arguments": sidecar.arguments() if sidecar else {},
            "estimate": price,
        }

    def _sidecar(
        self, halves: Halves, defaults: Sequence[Document], errors: Errors
    ) -> tuple[Sidecar, Mapping[str, str]] | None:
        own = (
            errors.caught(read_document, halves.sidecar.key, halves.text)
            if halves.sidecar
            else None
        )
        if halves.sidecar and own is None:
            return None
        documents = [own, *defaults] if own else [*defaults]
        return errors.caught(parse, documents)

    def _images(
        self, sidecar: Sidecar, origin: Mapping[str, str], errors: Errors
    ) -> dict[str, Found]:
        """The images that lie beside the file that mentions them, by field."""
        images = {}
        for field, reference in sidecar.image_references().items():
            if "://" in reference:
                continue
            key = beside(origin[field], reference)
            found = self.bucket.find(key) if not unsafe(key) else None
            if found and found.bytes:
                images[field] = found
            else:
                errors.append(_no_image(field, reference, key, origin[field]))
        return images

    def _size(self, sidecar: Sidecar, images: Mapping[str, Found]) -> tuple[int, int]:
        """Width and height of the video, in pixels."""
        if isinstance(sidecar.video_size, VideoSize):
            return sidecar.video_size.width, sidecar.video_size.height
        if sidecar.video_size != "auto":
            return PRESETS[sidecar.video_size]
        image = images.get("image_url")
        size = self.bucket.picture_size(image) if image else None
        if size is None:
            raise DropRefused(_unknown_size(str(sidecar.image_url)))
        return size

    def _price(self, sidecar: Sidecar, audio: Audio, size: tuple[int, int]) -> Estimate:
        frames = needed_frames(sidecar, audio.seconds or 0)
        if frames > self.rules.max_frames:
            raise DropRefused(_too_long(sidecar, audio, frames, self.rules.max_frames))
        return estimate(frames, size, self.rules.usd_per_megapixel)

    def _refuse_key(self, key: str, reason: str) -> Job:
        """A record for a key that nothing is done with; its name is shown with what is unsafe replaced."""
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in key)
        error = ErrorDetail(
            code="unsafe_key",
            field="key",
            value=shown[:100],
            message=f"The key {shown[:100]!r} is refused: {reason}. Rename the file and drop it again.",
        )
        job = self._born(JobStatus.REJECTED, half_id(self.bucket.name, key), shown, errors=(error,))
        try:
            return self.store.admit(job, ())
        except WriteRefused as exc:
            return exc.found or job

    def _born(self, status: JobStatus, identifier: str, key: str, **fields: Any) -> Job:
        at = self.store.clock()
        return Job.born(
            status, at, job_id=identifier, name=name_of(key), bucket=self.bucket.name, **fields
        )


def _pin(found: Found | None) -> DropObject | None:
    return DropObject(key=found.key, version_id=found.version_id) if found else None


def _ambiguous(pairing: Pairing) -> ErrorDetail:
    files = " and ".join(sorted((str(pairing.audio), *pairing.rivals)))
    return ErrorDetail(
        code="ambiguous_sidecar",
        field="sidecar",
        source=pairing.sidecar,
        message=(
            f"{pairing.sidecar} could belong to {files}. "
            f"Name it {pairing.audio}.json, or keep one audio file of that name."
        ),
    )


def _no_image(field: str, reference: str, key: str, source: str) -> ErrorDetail:
    return ErrorDetail(
        code="image_not_found",
        field=field,
        value=reference,
        source=source,
        allowed="an image that is in the bucket before its sidecar",
        message=f"{field} names {reference}, but there is no image {key}. Upload it, then drop the sidecar again.",
    )


def _unknown_size(reference: str) -> ErrorDetail:
    return ErrorDetail(
        code="unknown_size",
        field="video_size",
        value="auto",
        allowed="a preset, a width and height, or an image that lies beside the sidecar",
        message=(
            f"video_size is auto, but the size of {reference[:100]} cannot be read, so neither can the "
            "cost. Give a size, or put the image beside the sidecar."
        ),
    )


def _too_long(sidecar: Sidecar, audio: Audio, frames: int, most: int) -> ErrorDetail:
    if not sidecar.match_audio_length:
        return ErrorDetail(
            code="too_many_frames",
            field="num_frames",
            value=str(frames),
            allowed=f"at most {most}",
            message=f"num_frames is {frames}; this stack makes at most {most}.",
        )
    seconds = most / sidecar.fps
    return ErrorDetail(
        code="audio_too_long",
        field="audio",
        value=f"{audio.seconds:.2f} s",
        allowed=f"at most {most} frames",
        message=(
            f"{audio.seconds:.2f} s at {sidecar.fps:g} fps are {frames} frames; at most {most} can be made. "
            f"Trim the audio to {seconds:.2f} s, or lower fps to {most / (audio.seconds or 1):.2f} or less, "
            "or set match_audio_length to false and choose num_frames."
        ),
    )
