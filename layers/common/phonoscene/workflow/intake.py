"""From an S3 event to a job: find the other half, check everything, admit the job once.

An event is a hint that something happened under a name; what is true is read from the bucket. The
same event again, or the other half's, gives the same job id, and the table admits an id once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phonoscene.documents import LONGEST_SIDECAR, Document, waits_for_sidecar
from phonoscene.drops import (
    Kind,
    Pairing,
    family_prefix,
    half_id,
    kind_of,
    name_of,
    pairings,
    refusal_id,
    unsafe,
)
from phonoscene.errors import DropRefused, DropUnsettled, WriteRefused
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Job, JobStatus
from phonoscene.workflow.examination import Errors, Examined, Examiner, Halves

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from phonoscene.job_store import JobStore
    from phonoscene.media import DropBucket

logger = logging.getLogger(__name__)

#: How often a pair is read that changes under the reader's eyes, before its event goes back to the
#: queue.
LOOKS = 3


@dataclass(frozen=True)
class Announcement:
    """An object of the drop bucket, when S3 created it, and how often its message came."""

    key: str
    happened_at: datetime
    tries: int = 1


@dataclass(frozen=True)
class Intake:
    """Turns announcements into jobs."""

    bucket: DropBucket
    store: JobStore
    examiner: Examiner
    pair_grace: timedelta

    def take(self, announced: Announcement) -> list[Job]:
        """The records that this announcement makes, or has made before; most often one or none."""
        if kind_of(announced.key) is Kind.IGNORED:
            return []
        reason = unsafe(announced.key)
        if reason:
            shown = "".join(c if c.isprintable() else "?" for c in announced.key)
            return [self._refuse(announced, shown, (_unsafe_key(shown, reason),))]
        pairs = self._pairings(announced.key)
        if not pairs:
            logger.info("drop.gone", extra={"key": announced.key})
        return [job for pairing in pairs for job in self._pair_or_refuse(announced, pairing)]

    def give_up(self, announced: Announcement, step: str) -> Job:
        """Record that a drop could not be examined, because of what happened at ``step``.

        The record makes way for the job, should a later try succeed.
        """
        shown = "".join(c if c.isprintable() else "?" for c in announced.key)
        error = ErrorDetail(
            code="could_not_be_examined",
            source=shown,
            value=step,
            message=(
                f"{shown} could not be examined: {step}. Phonoscene tries again for a while; "
                "if this stays, drop the file again or ask the operator."
            ),
        )
        return self._refuse(announced, shown, (error,))

    def _pair_or_refuse(self, announced: Announcement, pairing: Pairing) -> list[Job]:
        """As ``_pair``; S3's refusal to give a half's bytes becomes a record as well."""
        try:
            return self._pair(announced, pairing)
        except DropRefused as exc:
            halves = [key for key in (pairing.audio, pairing.sidecar) if key]
            waiting = [half_id(self.bucket.name, key) for key in halves]
            return [self._refuse(announced, announced.key, exc.errors, waiting)]

    def _pairings(self, key: str) -> list[Pairing]:
        return pairings(key, self.bucket.keys_under(family_prefix(key)))

    def _pair(self, announced: Announcement, pairing: Pairing) -> list[Job]:
        if pairing.audio is None:
            return _present(self._wait(announced.key, pairing))
        errors = Errors()
        defaults = self.examiner.defaults(pairing.audio, errors)
        if pairing.sidecar is None and not errors and waits_for_sidecar(defaults):
            return _present(self._wait(announced.key, pairing))
        halves = self._look(pairing)
        if halves is None:
            return []
        if halves.has_newer_than(announced.key, announced.happened_at):
            self.store.stop_waiting(half_id(self.bucket.name, announced.key))
            logger.info("drop.left_to_newer_half", extra={"key": announced.key})
            return []
        given_up = [self._refusal_id(announced)] if announced.tries > 1 else []
        return self._admit(halves, defaults, errors, given_up)

    def _look(self, pairing: Pairing) -> Halves | None:
        """Both halves' newest versions, or None where one went away since they were listed.

        The audio is looked at once more after the sidecar was read: two versions that were never
        there together are no pair, and would be paid for.
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

    def _wait(self, key: str, pairing: Pairing) -> Job | None:
        """Record the half that is here, unless the other has come since the bucket was listed.

        Its event may by now have made the job and forgotten this half's record before it was
        written; the second look is what keeps that record from waiting for ever.
        """
        found = self.bucket.find(key)
        if found is None:
            return None
        pinned = {"key": key, "version_id": found.version_id}
        half: dict[str, Any] = {"dropped_at": found.modified}
        half |= (
            {"audio": Audio(**pinned, bytes=found.bytes)}
            if pairing.audio
            else {"sidecar": DropObject(**pinned)}
        )
        at = self.store.clock()
        job = self._born(JobStatus.WAITING, half_id(self.bucket.name, key), key, **half)
        try:
            self.store.wait(job, at + self.pair_grace)
        except WriteRefused:
            logger.info("drop.waits_already", extra={"key": key})
        if pairing not in self._pairings(key):
            self.store.stop_waiting(job.job_id)
            return None
        return job

    def _admit(
        self,
        halves: Halves,
        defaults: Sequence[Document],
        errors: Errors,
        given_up: Sequence[str],
    ) -> list[Job]:
        examined = self.examiner.examine(halves, defaults, errors)
        takes = range(len(examined)) if len(examined) > 1 else [None]
        return [
            self._admit_take(halves, *one, given_up) for one in zip(takes, examined, strict=True)
        ]

    def _admit_take(
        self, halves: Halves, take: int | None, examined: Examined, given_up: Sequence[str]
    ) -> Job:
        identifier, halves_waiting = halves.ids(self.bucket.name, take)
        waiting = [*halves_waiting, *given_up]
        status = JobStatus.REJECTED if examined.errors else JobStatus.READY
        fields = examined.fields | {
            "errors": examined.errors.told(),
            "dropped_at": halves.modified,
        }
        job = self._born(status, identifier, halves.audio.key, **fields)
        try:
            return self.store.admit(job, waiting)
        except WriteRefused as exc:
            logger.info("job.admitted_already", extra={"job_id": identifier})
            for half in waiting:
                self.store.stop_waiting(half)
            return exc.found or job

    def _refuse(
        self,
        announced: Announcement,
        shown: str,
        errors: tuple[ErrorDetail, ...],
        waiting: Sequence[str] = (),
    ) -> Job:
        """Record that nothing comes of this announcement; ``shown`` is its key, printable."""
        identifier = self._refusal_id(announced)
        told = {"errors": errors, "dropped_at": announced.happened_at}
        job = self._born(JobStatus.REJECTED, identifier, shown, **told)
        try:
            return self.store.admit(job, waiting)
        except WriteRefused as exc:
            return exc.found or job

    def _refusal_id(self, announced: Announcement) -> str:
        happened_at = announced.happened_at.isoformat()
        return refusal_id(self.bucket.name, announced.key, happened_at)

    def _born(self, status: JobStatus, identifier: str, key: str, **fields: Any) -> Job:
        at = self.store.clock()
        return Job.born(
            status, at, job_id=identifier, name=name_of(key), bucket=self.bucket.name, **fields
        )


def _unsafe_key(shown: str, reason: str) -> ErrorDetail:
    return ErrorDetail(
        code="unsafe_key",
        field="key",
        value=shown[:100],
        message=f"The key {shown[:100]!r} is refused: {reason}. Rename the file and drop it again.",
    )


def _present(job: Job | None) -> list[Job]:
    return [job] if job else []
