"""From the takes of a drop to their records: new jobs, or jobs that have the same content already.

A drop that repeats a job is noted on that job, and nothing is paid for it. Whether it does is read
and written under conditions, so of two drops of one content that come at once one makes the job.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.contents import contents_of
from phonoscene.drops.keys import half_id, name_of, name_of_one
from phonoscene.errors import ContentContested, DropUnsettled, WriteRefused
from phonoscene.jobs import WITHOUT_VIDEO, Job, JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from phonoscene.drops.contents import Content, Holders
    from phonoscene.table.job_store import JobStore
    from phonoscene.workflow.examination import ExaminedTake
    from phonoscene.workflow.finding import DropFiles

logger = logging.getLogger(__name__)

#: How often a content is looked up again that others change, before the drop's event goes back.
TRIES: Final = 5
#: How many sidecars a record notes that are unused: a name has hundreds of spellings, and a record
#: and its event have limits.
MAX_UNUSED: Final = 9


@dataclass(frozen=True)
class Take:
    """One take of a drop: the record it would have, the halves that wait, and its content."""

    job: Job
    waiting: list[str]
    content: Content | None
    #: The record under its id that waits for an image, and that this one continues.
    waited: Job | None = None


@dataclass(frozen=True)
class Admission:
    """Admits drops. ``skips_repeats``: the same content again is the same job."""

    store: JobStore
    bucket: str
    skips_repeats: bool

    def admit(
        self,
        halves: DropFiles,
        examined: Sequence[ExaminedTake],
        dropped_at: datetime,
        waits_until: datetime | None,
    ) -> list[Job]:
        """The jobs of a drop's takes, each admitted once.

        A take that lacks only an image waits for it; with ``waits_until`` None it is rejected.
        """
        return [
            self._mentioned(self._admitted(take), take.job)
            for take in self._takes(halves, examined, dropped_at, waits_until)
        ]

    def _takes(
        self,
        halves: DropFiles,
        examined: Sequence[ExaminedTake],
        dropped_at: datetime,
        waits_until: datetime | None,
    ) -> list[Take]:
        asked = [(one.asked, one.images) for one in examined]
        contents = contents_of(self.bucket, halves.audio, halves.sidecar, asked)
        unused = [half_id(self.bucket, key) for key in halves.pairing.unused]
        takes, count, now = [], len(examined), self.store.clock()
        for number, (one, content) in enumerate(zip(examined, contents, strict=True)):
            is_one_of_several = count > 1
            identifier, waiting = halves.ids(self.bucket, number if is_one_of_several else None)
            take = number + 1 if is_one_of_several else None
            # a name's newest job is the last in its sidecar: records know milliseconds
            born_at = now - timedelta(milliseconds=count - 1 - number)
            fields = {"job_id": identifier, "dropped_at": dropped_at, "take": take}
            job = self._born(halves, one, waits_until, born_at, **fields)
            takes.append(Take(job, waiting + unused, content if self.skips_repeats else None))
        return takes

    def _born(
        self,
        halves: DropFiles,
        examined: ExaminedTake,
        waits_until: datetime | None,
        born_at: datetime,
        **fields: Any,
    ) -> Job:
        """The record of a take, with its audio's key as its name if others claim its sidecar.

        The name that they share may be that of another's job, whose receipt must stay.
        """
        key, rivals = halves.audio.key, halves.pairing.rivals
        status = JobStatus.REJECTED if examined.errors else JobStatus.READY
        if waits_until and examined.missing_image:
            status = JobStatus.WAITING
            fields |= {
                "waits_for": "image",
                "missing_image": examined.missing_image,
                "waits_until": waits_until,
            }
        else:
            fields["errors"] = examined.errors.listed()
        return Job.new(
            status,
            born_at,
            name=name_of_one(key) if rivals else name_of(key),
            bucket=self.bucket,
            unused_sidecars=frozenset(halves.pairing.unused[:MAX_UNUSED]),
            **examined.fields,
            **fields,
        )

    def _admitted(self, take: Take) -> Job:
        for _ in range(TRIES):
            try:
                return self._admit(take)
            except ContentContested:
                logger.info("content.contested", extra={"job_id": take.job.job_id})
        raise DropUnsettled

    def _admit(self, take: Take) -> Job:
        holders = self.store.holders(take.content.id) if take.content else None
        try:
            if take.content and holders:
                return self._repeat_or_admit(take, take.content, holders)
            return self._admit_alone(take)
        except WriteRefused as exc:
            job = exc.found or take.job
            if take.waited is None and _continues(take.job, job):
                return self._admit(replace(take, job=take.job.after_wait(job), waited=job))
            logger.info("job.admitted_already", extra={"job_id": take.job.job_id})
            self._end_waiting(take, job)
            return job

    def _repeat_or_admit(self, take: Take, content: Content, holders: Holders) -> Job:
        same = holders.of(content)
        jobs = [self.store.get(holder.job_id) for holder in same]
        original = next((job for job in jobs if job and job.status not in WITHOUT_VIDEO), None)
        drop_id = take.job.job_id
        if original and original.job_id != drop_id:
            logger.info("drop.repeats", extra={"job_id": original.job_id})
            learnt = holders.with_repeat(content, original.job_id)
            return self.store.repeat(take.job, original, learnt, take.waiting, take.waited)
        if take.job.status is not JobStatus.READY:
            return self._admit_alone(take)
        ended = {holder.job_id for holder in same}
        grown = holders.with_job(content, drop_id, ended)
        return self.store.admit(take.job, take.waiting, grown, take.waited)

    def _admit_alone(self, take: Take) -> Job:
        """A take whose content is not remembered."""
        if not _is_tied(take.job):
            return self.store.admit(take.job, take.waiting, None, take.waited)
        job = self.store.admit(take.job, (), None, take.waited)
        self._end_waiting(take, job)
        return job

    def _end_waiting(self, take: Take, job: Job) -> None:
        """Forget the halves that a job is made of; where a tie keeps it from that, reject them.

        The receipt of a half is replaced by its job's, but the one of a tie has another name.
        """
        for half in take.waiting:
            if _is_tied(job):
                self._reject(half, job)
            else:
                self.store.stop_waiting(half)

    def _reject(self, half_id: str, job: Job) -> None:
        """Reject a half, like the job that was made of it."""
        half = self.store.get(half_id)
        if half and half.status is JobStatus.WAITING:
            try:
                self.store.move(half, JobStatus.REJECTED, errors=job.errors, metadata=job.metadata)
            except WriteRefused:
                logger.info("half.moved", extra={"job_id": half_id})

    def _mentioned(self, job: Job, new: Job) -> Job:
        """See that a job's record names the sidecars beside the one that counts."""
        own = job.sidecar.key if job.sidecar else None
        for _ in range(TRIES):
            missing = sorted(new.unused_sidecars - job.unused_sidecars - {own})
            missing = missing[: max(0, MAX_UNUSED - len(job.unused_sidecars))]
            if not missing:
                return job
            try:
                self.store.mention(job, frozenset(missing), new.dropped_at or new.created_at)
            except ContentContested:
                job = self.store.get(job.job_id) or job
            else:
                return job
        raise DropUnsettled


def _continues(job: Job, there: Job) -> bool:
    """Whether a record is news of a job whose stored record waits for an image."""
    waits = there.status is JobStatus.WAITING
    return waits and (job.status, job.missing_image) != (there.status, there.missing_image)


def _is_tied(job: Job) -> bool:
    """Whether a record is of an audio file whose sidecar others claim: see ``_born``."""
    return job.audio is not None and job.name != name_of(job.audio.key)
