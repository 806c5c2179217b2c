"""The segments of a take before it is dropped: when each begins, what it costs, and if it exists.

A take whose audio needs several requests is cut by the product's own plan. ``made_before`` compares
it with an earlier job: what decides a segment's picture decides whether it is paid again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.pricing import estimate
from phonoscene.jobs import Estimate, Job, JobStatus, Sequence
from phonoscene.sequences.segments import arguments_of, contents_of
from phonoscene.spending import ZERO
from phonoscene_cli.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal

    from phonoscene.jobs import Video
    from phonoscene.workflow.examination import ExaminedTake

#: The stack deletes the videos of segments after 30 days; one that may go today counts as gone.
KEPT: Final = timedelta(days=29)


@dataclass(frozen=True)
class SegmentForecast(Result):
    """One request of a long drop, and its price; ``take`` is None if there is only one take.

    ``is_made``: its video exists, and is used again; then it costs nothing.
    """

    take: int | None
    index: int
    scene: int
    start: float
    seconds: float
    frames: int
    lower_usd: Decimal
    upper_usd: Decimal
    is_made: bool


@dataclass(frozen=True)
class TakeForecast:
    """What a take without errors makes; ``made``: its segments, from 0, that exist already."""

    fields: Mapping[str, Any]
    made: frozenset[int] = frozenset()

    @property
    def sequence(self) -> Sequence | None:
        """Its segments, if it needs several requests."""
        found: Sequence | None = self.fields.get("sequence")
        return found

    @property
    def estimate(self) -> Estimate:
        """The price of what is still to be made."""
        whole: Estimate = self.fields["estimate"]
        if self.sequence is None or not self.made:
            return whole
        new = [self._price(one.frames) for one in self._new()]
        sums = {
            name: sum((getattr(one, name) for one in new), type(getattr(whole, name))(0))
            for name in ("frames", "megapixels", "lower_usd", "upper_usd")
        }
        return whole.model_copy(update=sums)

    @property
    def requests(self) -> int:
        """How many requests fal gets."""
        return len(self._new()) if self.sequence else 1

    @property
    def in_a_row(self) -> int:
        """How many of them have to follow each other, because each needs the frame before."""
        longest = run = 0
        for number, _ in enumerate(self.sequence.segments if self.sequence else ()):
            run = run + 1 if self.sequence and self.sequence.continues(number) else 1
            longest = max(longest, run)
        return min(longest, self.requests) if self.sequence else 1

    def rounds(self, max_in_flight: int) -> int:
        """How many times as long as one request they take, at least."""
        return max(math.ceil(self.requests / max_in_flight), self.in_a_row)

    def segments(self, take: int | None = None) -> list[SegmentForecast]:
        """Each segment with its times and its price."""
        sequence = self.sequence
        if sequence is None:
            return []
        priced = [(one, self._price(one.frames)) for one in sequence.segments]
        return [
            SegmentForecast(
                take=take,
                index=number + 1,
                scene=one.scene + 1,
                start=round(sequence.start_of(number), 3),
                seconds=round(sequence.seconds_of(number), 3),
                frames=one.frames,
                lower_usd=price.lower_usd,
                upper_usd=price.upper_usd,
                is_made=number in self.made,
            )
            for number, (one, price) in enumerate(priced)
        ]

    def _new(self) -> list[Any]:
        segments = self.sequence.segments if self.sequence else ()
        return [one for number, one in enumerate(segments) if number not in self.made]

    def _price(self, frames: int) -> Estimate:
        whole: Estimate = self.fields["estimate"]
        per_megapixel = whole.usd_per_megapixel or ZERO  # None only in a record of before
        return estimate(frames, (whole.width, whole.height), per_megapixel)


def made_before(
    job: Job,
    take: ExaminedTake,
    read: Callable[[Iterable[str]], Mapping[str, Job]],
    may_be_gone: Callable[[Video], bool],
) -> frozenset[int]:
    """The segments, from 0, of a take of the same audio that an earlier job has the videos of.

    ``may_be_gone``: whether a video is perhaps not in its bucket any more; then it is priced.
    """
    there, here = job.sequence, take.fields.get("sequence")
    if there is None or here is None or there.twin != here.twin:
        return frozenset()
    videos = _videos(there, read, may_be_gone)
    again = job.model_copy(
        update={name: take.fields[name] for name in ("arguments", "estimate", "images", "sequence")}
    )
    made: set[int] = set()
    for number in range(len(here.segments)):
        before = _equal(job, again, number, videos)
        continues = here.continues(number)
        is_same = before is not None and there.continues(before) == continues
        if is_same and (not continues or (number - 1 in made and before == number)):
            made.add(number)
    return frozenset(made)


def _videos(
    sequence: Sequence,
    read: Callable[[Iterable[str]], Mapping[str, Job]],
    may_be_gone: Callable[[Video], bool],
) -> set[int]:
    """The segments whose videos are kept."""
    jobs = read([one.job_id for one in sequence.segments if one.job_id])
    oldest = datetime.now(UTC) - KEPT
    found = ((number, jobs.get(one.job_id or "")) for number, one in enumerate(sequence.segments))
    return {
        number
        for number, one in found
        if one and one.last(one.status) > oldest and _is_usable(one, may_be_gone)
    }


def _is_usable(segment: Job, may_be_gone: Callable[[Video], bool]) -> bool:
    is_made = segment.status is JobStatus.SUCCEEDED and not segment.unusable
    return is_made and segment.video is not None and not may_be_gone(segment.video)


def _equal(job: Job, again: Job, number: int, videos: set[int]) -> int | None:
    """The segment of a job with the frames, the arguments and the images of another's."""
    mine = again.plan.segments[number]
    arguments, images = arguments_of(again, again.plan, number)
    for other in sorted(videos):
        one = job.plan.segments[other]
        is_there = (one.first, one.frames) == (mine.first, mine.frames)
        before, theirs = arguments_of(job, job.plan, other)
        if is_there and before == arguments and contents_of(theirs) == contents_of(images):
            return other
    return None
