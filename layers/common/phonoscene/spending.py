"""What a job costs by its record alone: receipts, events and the command line have it from here.

Until fal has made its video or the job has ended, that is what it should cost; then what was spent,
as fal reported it or else as estimated. fal's bill has the last word.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import MAYBE_BILLED, Actual, Estimate, Job, JobCost, JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_S = JobStatus
ZERO: Final = Decimal(0)
#: States in which fal has the job, or may have it, and its money is set aside.
AT_FAL: Final = frozenset({_S.SUBMITTING, _S.UNCONFIRMED, _S.SUBMITTED})
#: Codes of errors after which it is unknown whether fal ran, and bills, the request.
_UNKNOWN_ENDS: Final = MAYBE_BILLED | {"outcome_unknown"}


def is_open(job: Job) -> bool:
    """Whether it is not decided yet what a job costs."""
    return not job.is_final and job.status is not _S.GENERATED


def cost(job: Job) -> JobCost | None:
    """What a job costs; None if it was never priced."""
    if job.estimate is None:
        return None
    if job.sequence:
        return job.spent or _without_segments(job, job.estimate)
    videos = [*job.paid, *[job.estimate] * is_open(job)]
    if videos:
        return _total(map(_of_video, videos))
    return _perhaps(unseen_runs(job) * job.estimate.upper_usd, may_be_billed=may_be_billed(job))


def cost_of_segments(job: Job, segments: Sequence[Job]) -> JobCost:
    """What a sequence that goes no further pays for: the segments that it asked for first.

    One that has not ended goes on for another sequence, or is about to be stopped.
    """
    own = [(one, cost(one)) for one in segments if one.part_of == job.job_id]
    return _total(
        _perhaps(found.upper_usd, may_be_billed=True) if is_open(one) else found
        for one, found in own
        if found
    )


def may_be_billed(job: Job) -> bool:
    """Whether fal may bill a request of a job that ended, although no video is known of."""
    return bool(unseen_runs(job)) and not job.paid


def unseen_runs(job: Job) -> int:
    """How many requests of a job that ended fal may have run, and may bill, unseen."""
    if job.sequence:
        stopped = job.sequence.segments if job.status is _S.CANCELLED else ()
        sent = (one for one in stopped if one.is_sent or one.request_id)
        return sum(one.status is _S.CANCELLED for one in sent)
    before = {step.status for step in job.history[-2:]}
    was_stopped = job.status is _S.CANCELLED and bool(AT_FAL & before)
    is_lost = any(error.code in _UNKNOWN_ENDS for error in job.errors)
    return int(was_stopped or is_lost) + int(job.resubmitted and job.is_final)


def _without_segments(job: Job, asked: Estimate) -> JobCost:
    """What a sequence costs whose record does not say what its segments cost."""
    if is_open(job) or job.was_generated:
        return _of_video(job.actual or asked)
    own = [one for one in job.plan.segments if not one.is_reused]
    is_sent = any(one.is_sent or one.request_id for one in own)
    return _perhaps(asked.upper_usd if is_sent else ZERO, may_be_billed=is_sent)


def _perhaps(usd: Decimal, *, may_be_billed: bool) -> JobCost:
    return JobCost(lower_usd=ZERO, upper_usd=usd, may_be_billed=may_be_billed)


def _of_video(video: Actual | Estimate) -> JobCost:
    """A video's price as it came, or as it was estimated."""
    dollars = {"lower_usd": video.lower_usd, "upper_usd": video.upper_usd}
    if isinstance(video, Estimate):
        return JobCost(**dollars)
    if video.source == "billable_units":
        return JobCost(**dollars, delivered_usd=video.delivered_usd, billed_usd=video.upper_usd)
    return JobCost(**dollars, delivered_usd=video.delivered_usd or video.upper_usd)


def _total(costs: Iterable[JobCost]) -> JobCost:
    """Add up costs; what fal delivered or bills is known only if it is of each that has a price."""
    found = [one for one in costs if one.upper_usd or one.may_be_billed]
    return JobCost(
        lower_usd=sum((one.lower_usd for one in found), ZERO),
        upper_usd=sum((one.upper_usd for one in found), ZERO),
        delivered_usd=_sum_if_known([one.delivered_usd for one in found]),
        billed_usd=_sum_if_known([one.billed_usd for one in found]),
        may_be_billed=any(one.may_be_billed for one in found),
    )


def _sum_if_known(dollars: Sequence[Decimal | None]) -> Decimal | None:
    known = [one for one in dollars if one is not None]
    return sum(known, ZERO) if known and len(known) == len(dollars) else None
