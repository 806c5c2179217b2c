"""What jobs have cost, as fal reported it or else as estimated: fal's bill has the last word."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Self

from phonoscene.drops.keys import drop_name
from phonoscene.jobs import MAYBE_BILLED, Job, JobStatus
from phonoscene_cli.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

_S = JobStatus
ZERO: Final = Decimal(0)
#: States in which fal has the job, or may have it, and its money is set aside.
AT_FAL: Final = frozenset({_S.SUBMITTING, _S.UNCONFIRMED, _S.SUBMITTED})
#: Final states after which it is unknown whether fal ran, and bills, the request.
UNKNOWN_ENDS: Final = MAYBE_BILLED | {"outcome_unknown"}


@dataclass(frozen=True)
class Spent(Result):
    """US dollars: ``lower_usd`` to ``upper_usd`` for what fal made.

    ``unbilled_risk_usd``: what it may bill although no video arrived; ``reserved_usd``: what is
    held for jobs on their way.
    """

    jobs: int = 0
    videos: int = 0
    lower_usd: Decimal = ZERO
    upper_usd: Decimal = ZERO
    unbilled_risk_usd: Decimal = ZERO
    reserved_usd: Decimal = ZERO

    @classmethod
    def of(cls, job: Job) -> Self:
        """What one job cost, and what it may still cost."""
        is_whole = job.part_of is None  # a segment is part of another job
        videos = int(is_whole and job.status is _S.SUCCEEDED)
        if job.estimate is None or job.sequence:  # its segments have its cost
            return cls(jobs=int(is_whole), videos=videos)
        made, high = job.paid, job.estimate.upper_usd
        is_held = job.status in AT_FAL
        return cls(
            jobs=int(is_whole),
            videos=videos,
            lower_usd=sum((one.lower_usd for one in made), ZERO),
            upper_usd=sum((one.upper_usd for one in made), ZERO),
            unbilled_risk_usd=ZERO if made or is_held else unseen_runs(job) * high,
            reserved_usd=high if is_held else ZERO,
        )

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.jobs + other.jobs,
            self.videos + other.videos,
            self.lower_usd + other.lower_usd,
            self.upper_usd + other.upper_usd,
            self.unbilled_risk_usd + other.unbilled_risk_usd,
            self.reserved_usd + other.reserved_usd,
        )


def unseen_runs(job: Job) -> int:
    """How many requests of a job that ended fal may have run, and may bill, unseen."""
    if job.sequence:
        stopped = job.sequence.segments if job.status is _S.CANCELLED else ()
        sent = (one for one in stopped if one.is_sent or one.request_id)
        return sum(one.status is _S.CANCELLED for one in sent)
    before = {step.status for step in job.history[-2:]}
    was_stopped = job.status is _S.CANCELLED and bool(AT_FAL & before)
    is_lost = any(error.code in UNKNOWN_ENDS for error in job.errors)
    return int(was_stopped or is_lost) + int(job.resubmitted and job.is_final)


def total(spent: Iterable[Spent]) -> Spent:
    """Add up what several jobs have cost."""
    return sum(spent, Spent())


def folder_of(job: Job) -> str:
    """The folder of the drop; of one at the top it is ``/``."""
    return drop_name(job.name).rpartition("/")[0] + "/"
