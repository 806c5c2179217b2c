"""From a READY sequence to one video: cut the audio, start segments, join their videos.

Each step is read off the records, and may be taken twice: slices and frames are kept by their
content, a segment's job has an id that follows from what decides its picture, and a key that exists
is not written again. So what was made once is not paid again.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from phonoscene.drops.keys import (
    frame_key,
    output_key,
    segment_id,
    segment_name,
    stable_keys,
)
from phonoscene.drops.pricing import estimate
from phonoscene.drops.validation_errors import Errors
from phonoscene.errors import DropRefused, EditorFailed, WriteRefused
from phonoscene.jobs import FINAL, WITHOUT_VIDEO, ErrorDetail, Job, JobStatus
from phonoscene.sequences.segments import (
    arguments_of,
    contents_of,
    failures,
    field_of,
    is_lost,
    together,
)
from phonoscene.spending import cost_of_segments
from phonoscene.videos.video_formats import suffix_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from phonoscene.jobs import Audio, DropObject, Estimate, Sequence, Video
    from phonoscene.queues import DropsQueue
    from phonoscene.table.job_store import JobStore

logger = logging.getLogger(__name__)

#: How long cutting may take until another process may begin it too.
CUTTING: Final = timedelta(minutes=5)
#: When a sequence is looked at again, should the end of a segment not be announced.
LOOK_AGAIN: Final = timedelta(seconds=90)
#: Between two tries of an edit that fails, and for how long it is tried.
MIN_PAUSE: Final = timedelta(seconds=30)
MAX_PAUSE: Final = timedelta(minutes=15)
EDITED_FOR: Final = timedelta(hours=24)
#: How many jobs of one segment may have failed, or expired, before no other is made.
MAX_JOBS: Final = 100
#: How often a step is taken again because the record changed meanwhile.
TRIES: Final = 5


class Editor(Protocol):
    """Cuts and joins media, in a function of its own.

    All methods raise ``DropRefused`` if the files cannot be edited, and ``EditorFailed`` if trying
    again may help.
    """

    def cut(self, job: Job) -> list[Audio]:
        """The slices of a sequence, one for each segment, written to the output bucket."""
        ...

    def last_frame(self, job: Job, number: int) -> DropObject:
        """The last frame of the video of segment ``number``, written to the output bucket.

        It is refused if the video is not as a join needs it.
        """
        ...

    def has(self, video: Video) -> bool:
        """Whether a segment's video is still in the output bucket."""
        ...

    def join(self, job: Job, segments: list[Job], key: str) -> Video:
        """The segments' videos and the job's audio as one video, written to the output bucket."""
        ...


@dataclass(frozen=True)
class Sequencer:
    """Takes sequences as far as they can go now. StableKey is ``has_stable_keys``."""

    store: JobStore
    editor: Editor
    drops: DropsQueue
    max_in_flight: int
    has_stable_keys: bool = True

    def advance(self, job: Job) -> Job:
        """Take the next steps of a sequence; the end of each segment leads here again."""
        for _ in range(TRIES):
            try:
                return self._advance(job)
            except WriteRefused as exc:  # another process took the step, or it was cancelled
                logger.info("sequence.moved", extra={"found": exc.found and exc.found.status})
                job = exc.found or job
            except EditorFailed as exc:
                logger.warning("sequence.not_edited", extra={"reason": str(exc)})
                return self._try_later(self.store.get(job.job_id) or job)
        return job

    def _try_later(self, job: Job) -> Job:
        """Look again soon at first, and ever more rarely; after a day end the sequence.

        The day begins with the first try that failed since the sequence, or one of its segments,
        took its last step.
        """
        _, jobs = self._look(job)
        last = max([job.last(job.status), *(one.updated_at for one in jobs.values())])
        now, failed = self.store.clock(), job.unanswered_since
        since = failed if failed and failed >= last else now
        at = now + min(max(now - since, MIN_PAUSE), MAX_PAUSE)
        with suppress(WriteRefused):  # another process went on
            if now > since + EDITED_FOR:
                return self._fail(job, (_NOT_EDITED,), **together(job, list(jobs.values())))
            if job.status is JobStatus.READY:
                return self.store.put_off(job, "cutting", at, unanswered_since=since)
            self.store.look_again(job, at, unanswered_since=since)
        return job

    def _advance(self, job: Job) -> Job:
        if job.status is JobStatus.READY:
            job = self._cut(job)
        if job.status is JobStatus.SUBMITTED:
            job = self._go_on(job)
        if job.is_final:
            return self._follow(job)
        return self._join(job) if job.status is JobStatus.GENERATED else job

    def _cut(self, job: Job) -> Job:
        job = self.store.put_off(job, "cutting", self.store.clock() + CUTTING)
        sequence = job.plan
        try:
            slices = self.editor.cut(job)
        except DropRefused as exc:
            return self._fail(job, exc.errors)
        for number, one in enumerate(slices):
            sequence = sequence.with_segment(number, slice=one)
        at = self.store.clock() + LOOK_AGAIN
        only = frozenset({JobStatus.READY})
        return self.store.move(job, JobStatus.SUBMITTED, at=at, only_from=only, sequence=sequence)

    def _go_on(self, job: Job) -> Job:
        """Start the segments whose turn it is; when all have ended, end the sequence, or join."""
        sequence, jobs = _without_cancelled(*self._look(job))
        if any(map(is_lost, jobs.values())):
            return self._give_up(job, sequence, jobs)
        if sequence.done == len(sequence.segments):
            return self._generated(job, sequence, jobs)
        # noted by a process that died before it wrote them
        unborn = {
            number: self._job(job, sequence, number, jobs)
            for number, one in enumerate(sequence.segments)
            if one.job_id and one.job_id not in jobs
        }
        new = self._next(job, sequence, jobs)
        for number, one in new.items():
            sequence = sequence.with_segment(number, job_id=one.job_id, status=one.status)
        # noted before they exist, so that a cancellation finds every one that may
        job = self._note(job, sequence, jobs)
        started = [self._start(job, one) for one in (unborn | new).values()]
        self._share(job, [*jobs.values(), *started])
        has_ended = any(one.is_final for one in started)
        return self._go_on(job) if has_ended else job

    def _give_up(self, job: Job, sequence: Sequence, jobs: Mapping[str, Job]) -> Job:
        """Start no further segment of a sequence that has lost one; end it when none runs."""
        if self._stop_waiting(job, jobs):
            sequence, jobs = _without_cancelled(*self._look(job))
        if all(one.is_final for one in jobs.values()):
            ended = _without_unborn(sequence, jobs)
            cost = together(job, list(jobs.values()))
            return self._fail(job, failures(sequence, jobs), sequence=ended, **cost)
        return self._note(job, sequence, jobs)

    def _stop_waiting(self, job: Job, jobs: Mapping[str, Job]) -> bool:
        """Cancel the segments that have not been sent, and that no other sequence uses.

        Raises:
            WriteRefused: one has moved meanwhile: look at the sequence again.
        """
        ready = [one for one in jobs.values() if one.status is JobStatus.READY]
        stopped = [one for one in ready if not self.store.is_wanted(one, but_by=job.job_id)]
        only = frozenset({JobStatus.READY})
        with _refused_for(job):
            for one in stopped:
                self.store.end(one, JobStatus.CANCELLED, only_from=only, revision=one.revision)
        return bool(stopped)

    def _follow(self, job: Job) -> Job:
        """Note how the segments of a sequence that has ended end, and what they cost."""
        sequence, jobs = self._look(job)
        ended = _without_unborn(sequence, jobs)
        spent = cost_of_segments(job, list(jobs.values()))
        if (ended, spent) == (job.plan, job.spent):
            return job
        return self.store.note_ended(job, ended, spent)

    def _note(self, job: Job, sequence: Sequence, jobs: Mapping[str, Job]) -> Job:
        """Note how the segments stand, and what one waits for."""
        waits_for = next((one.waits_for for one in jobs.values() if one.waits_for), None)
        return self.store.note_sequence(job, sequence, self.store.clock() + LOOK_AGAIN, waits_for)

    def _look(self, job: Job) -> tuple[Sequence, dict[str, Job]]:
        """The sequence with each segment as its job stands now, and those jobs by id."""
        sequence = job.plan
        jobs = self.store.many([one.job_id for one in sequence.segments if one.job_id])
        for number, segment in enumerate(sequence.segments):
            found = jobs.get(segment.job_id or "")
            if found:
                request = found.request.request_id if found.request else None
                changes = {"status": found.status, "request_id": request, "is_sent": found.is_sent}
                is_reused = found.part_of != job.job_id
                sequence = sequence.with_segment(number, **changes, is_reused=is_reused)
        return sequence, jobs

    def _next(self, job: Job, sequence: Sequence, jobs: Mapping[str, Job]) -> dict[int, Job]:
        """The jobs of the segments that may start now, by their places; some exist already.

        As many run at once as fal takes, and the next has its turn after drops that came before.
        """
        found: dict[int, Job] = {}
        past = FINAL | {JobStatus.GENERATED}  # fal is done with them
        running = sum(bool(one.job_id) and one.status not in past for one in sequence.segments)
        for number, segment in enumerate(sequence.segments):
            if running >= self.max_in_flight:
                break
            before = sequence.segments[number - 1]
            is_ready = not sequence.continues(number) or before.status is JobStatus.SUCCEEDED
            if segment.job_id or not is_ready:
                continue
            found[number] = self._job(job, sequence, number, jobs)
            running += found[number].status not in FINAL
        return found

    def _job(self, job: Job, sequence: Sequence, number: int, jobs: Mapping[str, Job]) -> Job:
        """The job of a segment: the one that has made it, or makes it; else a new one."""
        segment = sequence.segments[number]
        arguments, images = arguments_of(job, sequence, number)
        known = contents_of(images)
        before = None
        if sequence.continues(number):
            before = jobs[str(sequence.segments[number - 1].job_id)]
            frame = {"image_url": frame_key(before.job_id)}
            arguments |= frame
            known |= frame
        sound: Any = segment.slice
        # equal stretches of audio, of silence for example, get a picture each
        equal = [one.slice for one in sequence.segments[:number]].count(sound)
        decides = json.dumps([sound.key, equal, arguments, known, sequence.twin], sort_keys=True)
        for tries in range(MAX_JOBS):
            job_id = segment_id(job.bucket, decides, str(tries))
            if segment.job_id not in (None, job_id):
                continue
            there = self.store.get(job_id)
            if there is None:
                images |= {"image_url": self._frame(job, before, number - 1)} if before else {}
                return self._new(job, number, job_id, arguments, images)
            if segment.job_id or not self._is_past(there, job):
                return there
        raise WriteRefused(job)

    def _frame(self, job: Job, before: Job, number: int) -> DropObject:
        """The last frame of a segment's video.

        Raises:
            WriteRefused: the video is of no use, which is noted: look at the sequence again.
        """
        try:
            return self.editor.last_frame(before, number)
        except DropRefused as exc:
            self._mark(before, exc.errors[0])
            raise WriteRefused(job) from exc

    def _mark(self, segment: Job, error: ErrorDetail) -> None:
        """Have no later sequence use a segment's video."""
        logger.warning("segment.unusable", extra={"job": segment.job_id, "code": error.code})
        with suppress(WriteRefused):  # it is gone
            self.store.note_unusable(segment, error)

    def _new(
        self,
        job: Job,
        number: int,
        job_id: str,
        arguments: dict[str, Any],
        images: dict[str, DropObject],
    ) -> Job:
        segment, whole = job.plan.segments[number], cast("Estimate", job.estimate)
        price = whole.usd_per_megapixel or Decimal(0)
        return Job.new(
            JobStatus.READY,
            self.store.clock(),
            job_id=job_id,
            name=segment_name(job.name),
            bucket=job.bucket,
            audio=segment.slice,
            images=images,
            arguments=arguments,
            metadata=job.metadata,
            take=job.take,
            estimate=estimate(segment.frames, (whole.width, whole.height), price),
            part_of=job.job_id,
            part=number,
            dropped_at=job.dropped_at,
        )

    def _is_past(self, there: Job, job: Job) -> bool:
        """Whether a segment's job is of no use to a sequence: it failed before, or has expired.

        Before the sequence began, that is: what fails while it runs ends it. What was cancelled was
        so with another sequence.
        """
        if there.status is JobStatus.CANCELLED:
            return True
        if there.status in WITHOUT_VIDEO:
            return there.updated_at < job.created_at
        if there.unusable:
            return there.unusable.since < job.created_at
        return there.video is not None and not self.editor.has(there.video)

    def _start(self, job: Job, segment: Job) -> Job:
        """See that a segment's job exists, and is sent; the job as it stands."""
        if segment.status is not JobStatus.READY:
            return segment
        try:
            self.store.admit_segment(segment, job)
        except WriteRefused as exc:
            if exc.found is None or exc.found.job_id == job.job_id:  # it is not wanted any more
                raise
            segment = exc.found
        self.drops.dispatch([segment.job_id])
        return segment

    def _share(self, job: Job, segments: Iterable[Job]) -> None:
        """Note the sequence on what runs for another one, so that it is not cancelled with that.

        Raises:
            WriteRefused: one has ended meanwhile: look at the sequence again.
        """
        with _refused_for(job):
            for one in segments:
                if not one.is_final and job.job_id not in one.users:
                    self.store.share_segment(one, job)

    def _generated(self, job: Job, sequence: Sequence, jobs: Mapping[str, Job]) -> Job:
        made = [jobs[str(one.job_id)] for one in sequence.segments]
        return self.store.move(
            job,
            JobStatus.GENERATED,
            only_from=frozenset({JobStatus.SUBMITTED}),
            sequence=sequence,
            seed=made[0].seed,
            **together(job, made),
        )

    def _join(self, job: Job) -> Job:
        sequence, jobs = self._look(job)
        segments = [jobs[str(one.job_id)] for one in sequence.segments]
        fields = {field_of(number): one for number, one in enumerate(segments)}
        suffix = suffix_of(str(job.arguments["video_output_type"]))
        try:
            video = self.editor.join(job, segments, output_key(job.name, job.job_id, suffix))
        except DropRefused as exc:
            for error in exc.errors:
                if error.field in fields:
                    self._mark(fields[error.field], error)
            return self._fail(job, exc.errors)
        keys = stable_keys(job.name, suffix, job.take) if self.has_stable_keys else ()
        kept = video.model_copy(update={"stable_keys": keys})
        only = frozenset({JobStatus.GENERATED})
        return self.store.end(job, JobStatus.SUCCEEDED, only_from=only, video=kept)

    def _fail(self, job: Job, errors: tuple[ErrorDetail, ...], **changes: Any) -> Job:
        only, kept = frozenset({job.status}), Errors(errors).listed()
        return self.store.end(job, JobStatus.FAILED, only_from=only, errors=kept, **changes)


def _without_unborn(sequence: Sequence, jobs: Mapping[str, Job]) -> Sequence:
    """The sequence without the jobs that were noted, but will not be written any more."""
    noted = {one.job_id for one in sequence.segments if one.job_id}
    return _without(sequence, noted - jobs.keys())


def _without_cancelled(
    sequence: Sequence, jobs: Mapping[str, Job]
) -> tuple[Sequence, dict[str, Job]]:
    """The same without the jobs that were cancelled with another sequence: others are made."""
    kept = {name: one for name, one in jobs.items() if one.status is not JobStatus.CANCELLED}
    return _without(sequence, jobs.keys() - kept.keys()), kept


def _without(sequence: Sequence, job_ids: Container[str | None]) -> Sequence:
    """The sequence as if the segments with these jobs had none."""
    segments = (one.without_job() if one.job_id in job_ids else one for one in sequence.segments)
    return sequence.model_copy(update={"segments": tuple(segments)})


@contextmanager
def _refused_for(job: Job) -> Iterator[None]:
    """A refused write of a segment is about its sequence, which is looked at again."""
    try:
        yield
    except WriteRefused as exc:
        raise WriteRefused(job) from exc


_NOT_EDITED: Final = ErrorDetail(
    code="not_edited",
    message=(
        "The audio could not be cut, or the videos could not be joined, for a day. "
        "The log of the function edit says why."
    ),
)
