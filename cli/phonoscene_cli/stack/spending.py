"""What jobs have cost, as fal reported it or else as estimated: fal's bill has the last word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from phonoscene.drops.keys import drop_name
from phonoscene.jobs import Job, JobStatus
from phonoscene.spending import AT_FAL, ZERO, cost, is_open
from phonoscene_cli.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal


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
        none = cls(int(is_whole), int(is_whole and job.status is JobStatus.SUCCEEDED))
        found = cost(job)
        if found is None or job.sequence:  # its segments have its cost
            return none
        if is_open(job):
            return replace(none, reserved_usd=found.upper_usd) if job.status in AT_FAL else none
        if found.may_be_billed:
            return replace(none, unbilled_risk_usd=found.upper_usd)
        return replace(none, lower_usd=found.lower_usd, upper_usd=found.upper_usd)

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.jobs + other.jobs,
            self.videos + other.videos,
            self.lower_usd + other.lower_usd,
            self.upper_usd + other.upper_usd,
            self.unbilled_risk_usd + other.unbilled_risk_usd,
            self.reserved_usd + other.reserved_usd,
        )


def total(spent: Iterable[Spent]) -> Spent:
    """Add up what several jobs have cost."""
    return sum(spent, Spent())


def folder_of(job: Job) -> str:
    """The folder of the drop; of one at the top it is ``/``."""
    return drop_name(job.name).rpartition("/")[0] + "/"
