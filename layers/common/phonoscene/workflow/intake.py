"""From an S3 event to a job: find the other half, check everything, admit the job once.

An event is a hint that something happened under a name; what is true is read from the bucket. The
same event again, or the other half's, gives the same job id, and the table admits an id once.

The first two halves of a name are a job at once. All else rests before it is decided on: of a name
that is dropped again, the other half may be on its way.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from phonoscene.drops.keys import (
    Kind,
    family_prefixes,
    half_id,
    is_image,
    is_unsupported,
    kind_of,
    misspelt,
    name_of,
    refusal_id,
    unsafe,
)
from phonoscene.drops.near_names import alone, neighbourhoods, unsupported
from phonoscene.drops.pairing import Pairing, pairings, unsupported_pairings
from phonoscene.drops.validation_errors import Errors
from phonoscene.errors import DropRefused, DropUnsettled, WriteRefused
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Job, JobStatus
from phonoscene.workflow.admission import Admission
from phonoscene.workflow.finding import (
    DropFiles,
    NoDrop,
    find_drop,
    is_in_ignored_folder,
    read_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from phonoscene.drops.drop_bucket import DropBucket
    from phonoscene.table.job_store import JobStore
    from phonoscene.workflow.examination import ExaminedTake, Examiner

logger = logging.getLogger(__name__)

#: How many keys of a folder are looked through for a name that is nearly right.
MAX_NEIGHBOURS = 1000
#: How many jobs an image starts at once; the others are looked at a few minutes later.
MAX_WOKEN = 1000
#: How often a drop is examined again because an image arrived meanwhile.
TRIES = 5


@dataclass(frozen=True)
class Announcement:
    """An object of the drop bucket, when S3 created it, and how often its message came.

    ``has_rested``: the time is over in which another half of its name may follow.
    """

    key: str
    happened_at: datetime
    tries: int = 1
    has_rested: bool = False


@dataclass(frozen=True)
class Intake:
    """Turns announcements into jobs. ``on_gone`` gets each whose object is not there.

    ``rest`` sends an announcement once more, after the rest; None where drops do not rest.
    ``dispatch`` sends the ids of jobs whose image has arrived.
    """

    bucket: DropBucket
    store: JobStore
    examiner: Examiner
    pair_grace: timedelta
    skips_repeats: bool = True
    on_gone: Callable[[], None] = lambda: None
    rest: Callable[[Announcement], None] | None = None
    dispatch: Callable[[Sequence[str]], None] = lambda _: None

    def take(self, announced: Announcement) -> list[Job]:
        """The jobs an announcement leads to, as they stand now; most often one or none."""
        if is_image(announced.key):
            self._announce_image(announced.key)
        is_ignored = kind_of(announced.key) is Kind.IGNORED
        reason = misspelt(announced.key) if is_ignored else unsafe(announced.key)
        if is_ignored and not reason:
            return self._refuse_unsupported(announced)
        if reason:
            if is_in_ignored_folder(self.bucket.read_if_given, announced.key):
                return []
            shown = _printable(announced.key)
            refused = half_id(self.bucket.name, announced.key)
            error = _unsafe_key(shown, reason)
            return [self._refuse(announced, shown, (error,), identifier=refused)]
        found, pairs, versions = self._found(announced)
        if not pairs:
            logger.info("drop.gone", extra={"key": announced.key})
            self.on_gone()
        taken = [self._pair_or_refuse(found, pairing, versions) for pairing in pairs]
        jobs = [job for some in taken for job in some or ()]
        if self.rest and None in taken:
            logger.info("drop.rests", extra={"key": announced.key})
            self.rest(found)
        if announced.tries > 1:
            self._take_back(announced)
        return jobs

    def _announce_image(self, key: str) -> None:
        """Dispatch the jobs that wait for an image. It may be announced URL-encoded, as below."""
        for name in dict.fromkeys((key, unquote_plus(key))):
            waiting = self.store.waiting_for(self.bucket.name, name, MAX_WOKEN)
            self.dispatch(waiting)
            if waiting:
                logger.info("image.came", extra={"key": name, "count": len(waiting)})

    def _refuse_unsupported(self, announced: Announcement) -> list[Job]:
        """Of a file in an unsupported format reject the sidecar that waits, or the file alone.

        That is, where the defaults need no sidecar. Any other ignored file is no drop.
        """
        key = announced.key
        if not is_unsupported(key) or unsafe(key):
            return []
        present = self.bucket.keys_under(*family_prefixes(key))
        found = [pairing for pairing in unsupported_pairings(present) if pairing.audio == key]
        if found and self.rest and self._must_rest(announced):
            self.rest(announced)  # the same sound in another format may follow
            return []
        jobs = [job for pairing in found for job in self._reject_pairing(announced, pairing)]
        if announced.tries > 1:
            self._take_back(announced)
        return jobs

    def _reject_pairing(self, announced: Announcement, pairing: Pairing) -> list[Job]:
        errors = (unsupported(announced.key, pairing.sidecar),)
        identifier = self._refusal_id(announced, "unsupported")
        if pairing.sidecar:  # which finds the file itself if its event comes later
            half = self.store.get(half_id(self.bucket.name, pairing.sidecar))
            if half is None:
                return []
            if half.status is JobStatus.WAITING:
                return self._reject(half, errors)
            if errors[0] in half.errors:  # announced twice
                return [half]
            metadata = read_metadata(self.bucket, pairing.sidecar)
            refusal = self._refuse(
                announced, half.name, errors, identifier=identifier, metadata=metadata
            )
            return [refusal]
        try:
            drop = find_drop(self.bucket, pairing)
            is_drop = isinstance(drop, DropFiles) and not drop.errors
        except DropRefused:  # S3 does not give its bytes, which are not needed
            is_drop = True
        if not is_drop:
            return []
        shown, _, _ = announced.key.rpartition(".")
        metadata = read_metadata(self.bucket, announced.key)
        refusal = self._refuse(announced, shown, errors, identifier=identifier, metadata=metadata)
        return [refusal]

    def give_up(self, announced: Announcement, step: str) -> Job:
        """Record that a drop could not be examined, because of what happened at ``step``.

        ``take`` removes the record, should a later try succeed. It is dated a moment before the
        drop's own records, so that their receipts take its place: S3's date may be minutes before
        the event.
        """
        shown, there = _printable(announced.key), self.bucket.read_if_given(announced.key, 0)
        dropped_at = there[0].modified if there else announced.happened_at
        before = replace(announced, happened_at=dropped_at - timedelta(milliseconds=1))
        error = ErrorDetail(
            code="could_not_be_examined",
            source=shown,
            value=step,
            message=(
                f"{shown} could not be examined: {step}. Phonoscene keeps trying for a while; "
                "if that does not help, drop the file again or ask the operator."
            ),
        )
        return self._refuse(before, shown, (error,), identifier=self._refusal_id(announced))

    def _take_back(self, announced: Announcement) -> None:
        """Forget the record of an earlier try that gave up."""
        self.store.stop_waiting(self._refusal_id(announced))

    def _pair_or_refuse(
        self, announced: Announcement, pairing: Pairing, versions: Mapping[str, str | None]
    ) -> list[Job] | None:
        """As ``_pair``; S3's refusal to give a half's bytes becomes a record as well."""
        self.examiner.patience.check()
        try:
            if self._must_rest(announced):
                return self._pair_at_once(announced, pairing, versions)
            return self._pair(announced, pairing)
        except DropRefused as exc:
            if self._must_rest(announced):
                return None
            halves = [key for key in (pairing.audio, pairing.sidecar) if key]
            waiting = [half_id(self.bucket.name, key) for key in halves]
            refused = self._refusal_id(announced, "refused")
            metadata = read_metadata(self.bucket, halves[-1])
            refusal = self._refuse(
                announced, announced.key, exc.errors, waiting, identifier=refused, metadata=metadata
            )
            return [refusal]

    def _must_rest(self, announced: Announcement) -> bool:
        return self.rest is not None and not announced.has_rested

    def _found(
        self, announced: Announcement
    ) -> tuple[Announcement, list[Pairing], Mapping[str, str | None]]:
        """The announced key, or where nothing has it the one that it is the URL encoding of.

        EventBridge carries keys as they are, by all we know; S3's other notifications encode them.
        The versions, of keys that have had one, are known only of what has not rested.
        """
        decoded = unquote_plus(announced.key)
        for key in dict.fromkeys((announced.key, decoded)):
            is_drop = kind_of(key) is not Kind.IGNORED and not unsafe(key)
            versions = self._versions(announced, key) if is_drop else {}
            pairs = pairings(key, versions)
            if pairs:
                return replace(announced, key=key), pairs, versions
        return announced, [], {}

    def _versions(self, announced: Announcement, key: str) -> Mapping[str, str | None]:
        prefixes = family_prefixes(key)
        if self._must_rest(announced):
            return self.bucket.versions_under(*prefixes)
        return dict.fromkeys(self.bucket.keys_under(*prefixes))

    def look_again(self, waiting: Job) -> list[Job]:
        """The jobs of a half or a drop that waits: what it waits for may have come.

        After the grace its wait ends: with its job, or as REJECTED.
        """
        if waiting.status is not JobStatus.WAITING:
            return []
        return self._look_for_image(waiting) if waiting.missing_image else self._end_wait(waiting)

    def _look_for_image(self, waiting: Job) -> list[Job]:
        """The jobs of a drop whose image is there, or whose wait is over.

        Where a half was replaced, the newer one's own event makes the job of that.
        """
        key, until = waiting.missing_image or "", waiting.waits_until
        is_over = until is None or self.store.clock() >= until
        try:
            if not is_over and self.examiner.find_image(key) is None:
                return []
            drop = self._same_drop(waiting)
            if drop:
                return self._admit(drop, self.examiner.examine(drop), None if is_over else until)
        except DropRefused as exc:
            return self._reject(waiting, exc.errors)
        return self._reject(waiting, (_replaced(waiting),)) if is_over else []

    def _same_drop(self, waiting: Job) -> DropFiles | None:
        """The drop that waits, if both its halves are still what they were."""
        pins = [half and half.version_id for half in (waiting.audio, waiting.sidecar)]
        for pairing in self._pairings(_key_of(waiting)):
            drop = find_drop(self.bucket, pairing)
            if isinstance(drop, DropFiles):
                found = [half and half.version_id for half in (drop.audio, drop.sidecar)]
                if found == pins:
                    return drop
        return None

    def _reject(self, waiting: Job, errors: tuple[ErrorDetail, ...]) -> list[Job]:
        """Reject what waits. A half gets its metadata here, because it was never examined."""
        changes: dict[str, Any] = {"errors": Errors(errors).listed()}
        if not waiting.missing_image:
            changes["metadata"] = read_metadata(self.bucket, _key_of(waiting))
        try:
            return [self.store.move(waiting, JobStatus.REJECTED, **changes)]
        except WriteRefused:
            return []

    def _end_wait(self, half: Job) -> list[Job]:
        """End the wait of a half whose grace is over: with its job, if the other half is there.

        Otherwise reject it, with an error that names the nearest key of its folder.
        """
        now, key = self.store.clock(), _key_of(half)
        if now < half.created_at + self.pair_grace:
            return []
        announced = Announcement(key, now, has_rested=True)
        jobs = self.take(announced) if self._is_whole(key) else []
        there = self.store.get(half.job_id)
        if there is None or there.status is not JobStatus.WAITING:
            return jobs
        errors = (alone(half, self._neighbours(key)),)
        return self._reject(there, errors) or jobs

    def _is_whole(self, key: str) -> bool:
        """Whether a half has its other half, or needs none by its folder's defaults."""
        return any(
            pairing.is_whole or isinstance(find_drop(self.bucket, pairing), DropFiles)
            for pairing in self._pairings(key)
        )

    def _neighbours(self, key: str) -> set[str]:
        """Keys of the same folder; of a large folder the first, and those that begin alike."""
        folder, *parts = neighbourhoods(key)
        found, is_all = self.bucket.first_keys(folder, MAX_NEIGHBOURS)
        for prefix in parts if not is_all else ():
            found |= self.bucket.first_keys(prefix, MAX_NEIGHBOURS)[0]
        return found

    def _pairings(self, key: str) -> list[Pairing]:
        return pairings(key, self.bucket.keys_under(*family_prefixes(key)))

    def _pair(self, announced: Announcement, pairing: Pairing) -> list[Job]:
        """The jobs of a pairing that has rested, or the half that waits."""
        drop = find_drop(self.bucket, pairing)
        if drop is NoDrop.INCOMPLETE:
            return _present(self._wait(announced.key, pairing))
        if isinstance(drop, NoDrop):
            logger.info("drop.none", extra={"key": announced.key, "reason": drop.name.lower()})
            return []
        if self._is_left_to_newer(drop, announced):
            return []
        return self._admit(drop, self.examiner.examine(drop), self._grace_ends)

    def _pair_at_once(
        self, announced: Announcement, pairing: Pairing, versions: Mapping[str, str | None]
    ) -> list[Job] | None:
        """The jobs of the first two halves of a name; None for all else, which has to rest.

        What is wrong with them rests as well: a file that corrects it, or an image, may follow.
        """
        if not (pairing.is_whole and all(map(versions.get, pairing.keys))):
            return None
        drop = find_drop(self.bucket, pairing)
        if isinstance(drop, NoDrop) or not drop.is_first(versions, self.pair_grace):
            return None
        if self._is_left_to_newer(drop, announced):
            return []
        examined = self.examiner.examine(drop)
        if any(take.errors for take in examined):
            return None
        return self._admit(drop, examined, self._grace_ends)

    def _is_left_to_newer(self, drop: DropFiles, announced: Announcement) -> bool:
        if not drop.has_newer_than(announced.key, announced.happened_at):
            return False
        self.store.stop_waiting(half_id(self.bucket.name, announced.key))
        logger.info("drop.left_to_newer_half", extra={"key": announced.key})
        return True

    @property
    def _grace_ends(self) -> datetime:
        return self.store.clock() + self.pair_grace

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
        present = self.bucket.keys_under(*family_prefixes(key))
        if pairing not in pairings(key, present):
            self.store.stop_waiting(job.job_id)
            return None
        for other in unsupported_pairings(present):
            if other.audio and other.sidecar == key:
                rejected = self._reject(job, (unsupported(other.audio, key),))
                return next(iter(rejected), None)
        return job

    def _admit(
        self, drop: DropFiles, examined: Sequence[ExaminedTake], waits_until: datetime | None
    ) -> list[Job]:
        """The jobs of a drop; a take that lacks an image waits for it until ``waits_until``.

        Its image may come before the record that waits for it is written, and be announced in
        vain; so it is looked up once more.
        """
        unused = filter(None, map(self.bucket.find, drop.pairing.unused))
        dropped_at = max([drop.modified, *(found.modified for found in unused)])
        admission = Admission(self.store, self.bucket.name, self.skips_repeats)
        for _ in range(TRIES):
            jobs = admission.admit(drop, examined, dropped_at, waits_until)
            missing = {job.missing_image for job in jobs if job.status is JobStatus.WAITING}
            if not any(map(self.examiner.find_image, filter(None, sorted(missing, key=str)))):
                return jobs
            examined = self.examiner.examine(drop)
        raise DropUnsettled

    def _refuse(
        self,
        announced: Announcement,
        shown: str,
        errors: tuple[ErrorDetail, ...],
        waiting: Sequence[str] = (),
        *,
        identifier: str,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> Job:
        """Record that nothing comes of this announcement; ``shown`` is its key, printable."""
        data = {
            "errors": Errors(errors).listed(),
            "dropped_at": announced.happened_at,
            "metadata": dict(metadata),
        }
        job = self._born(JobStatus.REJECTED, identifier, shown, **data)
        try:
            return self.store.admit(job, waiting)
        except WriteRefused as exc:
            return exc.found or job

    def _refusal_id(self, announced: Announcement, *why: str) -> str:
        happened_at = " ".join((*why, announced.happened_at.isoformat()))
        return refusal_id(self.bucket.name, announced.key, happened_at)

    def _born(self, status: JobStatus, identifier: str, key: str, **fields: Any) -> Job:
        at = self.store.clock()
        return Job.new(
            status, at, job_id=identifier, name=name_of(key), bucket=self.bucket.name, **fields
        )


def _unsafe_key(shown: str, reason: str) -> ErrorDetail:
    return ErrorDetail(
        code="unsafe_key",
        field="key",
        value=shown[:100],
        message=f"The key {shown[:100]!r} is refused: {reason}.",
    )


def _printable(key: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in key)


def _replaced(waiting: Job) -> ErrorDetail:
    key = _key_of(waiting)
    message = (
        f"{key}, or the file beside it, was replaced or removed while the drop waited for "
        f"{waiting.missing_image}. Drop both again, unless the newer files have a job."
    )
    return ErrorDetail(code="drop_gone", message=message, source=key, field="audio")


def _key_of(half: Job) -> str:
    pinned = half.audio or half.sidecar
    return pinned.key if pinned else half.name


def _present(job: Job | None) -> list[Job]:
    return [job] if job else []
