"""What a job costs by its record: receipts, events, ``show`` and ``phonoscene cost`` agree."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.jobs import (
    BORN_AS,
    TRANSITIONS,
    Actual,
    ErrorDetail,
    Estimate,
    Job,
    JobCost,
    JobStatus,
    Scene,
    Segment,
    Sequence,
    Step,
)
from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.public_job import Cost
from phonoscene.publishing.receipts import Receipt
from phonoscene.spending import cost_of_segments, is_open, may_be_billed
from phonoscene_cli.follow.cancellation import Outcome
from phonoscene_cli.stack.spending import Spent
from phonoscene_cli.ui import formatting
from phonoscene_cli.ui.job_facts import facts
from phonoscene_cli.ui.job_json import as_data
from tests.support.invariants import spent
from tests.support.jobs import NOON, a_job

if TYPE_CHECKING:
    from collections.abc import Iterator

_S = JobStatus
SIZE: dict[str, Any] = {"width": 64, "height": 64, "frames": 25, "megapixels": "0.1"}
ASKED = Estimate(**SIZE, lower_usd="0.03", upper_usd="0.04")
CAME = Actual(**SIZE, source="frames", lower_usd="0.01", upper_usd="0.02", delivered_usd="0.02")
BILLED = CAME.model_copy(update={"source": "billable_units", "upper_usd": Decimal("0.05")})
LOST = ErrorDetail(code="result_lost", message="")
UNKNOWN = ErrorDetail(code="outcome_unknown", message="")
REFUSED = ErrorDetail(code="content_policy_violation", message="Unsafe.")
AT_FAL = (_S.READY, _S.SUBMITTING, _S.SUBMITTED)
MADE = (*AT_FAL, _S.GENERATED, _S.SUCCEEDED)
NOTHING = Cost(lower_usd=0, upper_usd=0)
PERHAPS = Cost(lower_usd=0, upper_usd=0.04, may_be_billed=True)


def took(*way: JobStatus, **fields: Any) -> Job:
    steps = tuple(Step(status=one, at=NOON + timedelta(seconds=n)) for n, one in enumerate(way))
    changes = {"history": steps, **fields}
    return a_job(way[-1], estimate=ASKED).model_copy(update=changes)


def again(*came: Actual, requests: int) -> dict[str, Any]:
    return {"duplicate_requests": frozenset("ab"[:requests]), "duplicate_actuals": came}


ESTIMATED = Cost(lower_usd=0.03, upper_usd=0.04)
DELIVERED = Cost(lower_usd=0.01, upper_usd=0.02, delivered_usd=0.02)


@pytest.mark.parametrize(
    ("job", "cost", "words"),
    [
        (took(_S.READY), ESTIMATED, "$0.0300 to $0.0400 estimated"),
        (took(*AT_FAL), ESTIMATED, "$0.0300 to $0.0400 estimated"),
        (took(_S.REJECTED), NOTHING, "nothing"),
        (took(_S.REJECTED, estimate=None), None, "-"),
        (took(_S.READY, _S.SUBMITTING, _S.FAILED, errors=(REFUSED,)), NOTHING, "nothing"),
        (took(_S.READY, _S.CANCELLED), NOTHING, "nothing"),
        (took(_S.READY, _S.SUBMITTING, _S.READY, _S.CANCELLED), NOTHING, "nothing"),
        (
            took(*AT_FAL, _S.CANCELLED),
            PERHAPS,
            "$0.0000 to $0.0400, because fal may bill a request that brought no video",
        ),
        (
            took(*AT_FAL[:-1], _S.CANCELLED),
            PERHAPS,
            "$0.0000 to $0.0400, because fal may bill a request that brought no video",
        ),
        (
            took(*AT_FAL, _S.FAILED, errors=(LOST,)),
            PERHAPS,
            "$0.0000 to $0.0400, because fal may bill a request that brought no video",
        ),
        (
            took(*AT_FAL[:-1], _S.UNCONFIRMED, _S.FAILED, errors=(UNKNOWN,), resubmitted=True),
            Cost(lower_usd=0, upper_usd=0.08, may_be_billed=True),
            "$0.0000 to $0.0800, because fal may bill a request that brought no video",
        ),
        (
            took(*AT_FAL, _S.CANCELLED, **again(CAME, requests=1)),
            DELIVERED,
            "$0.0200 delivered, $0.0100 to $0.0200 spent",
        ),
        (
            took(*AT_FAL, _S.CANCELLED, **again(requests=1)),
            ESTIMATED,
            "$0.0300 to $0.0400 spent",
        ),
        (took(*MADE, actual=CAME), DELIVERED, "$0.0200 delivered, $0.0100 to $0.0200 spent"),
        (took(*MADE[:-1], actual=CAME), DELIVERED, "$0.0200 delivered, $0.0100 to $0.0200 spent"),
        (
            took(*MADE, actual=CAME.model_copy(update={"delivered_usd": None})),
            DELIVERED,
            "$0.0200 delivered, $0.0100 to $0.0200 spent",
        ),
        (
            took(*MADE[:-1], _S.FAILED, actual=BILLED),
            Cost(lower_usd=0.01, upper_usd=0.05, delivered_usd=0.02, billed_usd=0.05),
            "$0.0200 delivered, $0.0500 billed by fal, $0.0100 to $0.0500 spent",
        ),
        (
            took(*MADE, actual=CAME, **again(BILLED, requests=1)),
            Cost(lower_usd=0.02, upper_usd=0.07, delivered_usd=0.04),
            "$0.0400 delivered, $0.0200 to $0.0700 spent",
        ),
        (
            took(*MADE, actual=CAME, **again(requests=1)),
            Cost(lower_usd=0.04, upper_usd=0.06),
            "$0.0400 to $0.0600 spent",
        ),
    ],
    ids=lambda value: " ".join(s.status for s in value.history) if isinstance(value, Job) else "",
)
def test_a_job_costs_what_it_should_until_it_has_its_video_or_has_ended(
    job: Job, cost: Cost | None, words: str
) -> None:
    event = StatusChanged.of(None, job, None, "outputs")

    assert event
    assert Receipt.of(job, None).cost == event.cost == cost
    assert event.summary.cost == words
    assert as_data(job)["cost"] == (cost and cost.model_dump())


def ways(way: tuple[JobStatus, ...]) -> Iterator[tuple[JobStatus, ...]]:
    """Each way through the states from there, no state twice."""
    yield way
    for status in sorted(TRANSITIONS[way[-1]] - set(way)):
        yield from ways((*way, status))


def all_jobs() -> Iterator[Job]:
    """Every way of a job, with and without what changes its cost."""
    every = [way for born in sorted(BORN_AS) for way in ways((born,))]
    more: list[dict[str, Any]] = [{}, again(requests=1), again(CAME, requests=2)]
    errors: list[tuple[ErrorDetail, ...]] = [(), (REFUSED,), (LOST,)]
    for way, error, resubmitted, actual, twice in product(
        every, errors, [False, True], [None, CAME, BILLED], more
    ):
        status, is_made = way[-1], _S.GENERATED in way
        if error and (status is not _S.FAILED or (is_made and error == (LOST,))):
            continue
        # what fal made beside is noted where a job has its video or was cancelled; before that, and
        # after a failure, it is the job's own
        if (actual and not is_made) or (twice and not is_made and status is not _S.CANCELLED):
            continue
        yield took(*way, errors=error, resubmitted=resubmitted, actual=actual, **twice)


def test_in_every_state_the_receipt_and_the_sums_of_costs_agree() -> None:
    seen = 0
    for job in all_jobs():
        cost, report = Receipt.of(job, None).cost, Spent.of(job)
        seen += 1
        assert cost
        if is_open(job):
            assert (cost.lower_usd, cost.upper_usd) == (0.03, 0.04)
            is_at_fal = job.status in (_S.SUBMITTING, _S.UNCONFIRMED, _S.SUBMITTED)
            assert report.reserved_usd == is_at_fal * ASKED.upper_usd
            assert report.upper_usd + report.unbilled_risk_usd == 0
            assert not cost.may_be_billed
            continue
        most = report.upper_usd + report.unbilled_risk_usd
        assert (cost.lower_usd, cost.upper_usd) == (float(report.lower_usd), float(most))
        assert cost.may_be_billed == bool(report.unbilled_risk_usd)
        assert report.reserved_usd == 0
        assert most >= spent(job)  # as the budget counts it
        if job.status is _S.CANCELLED:
            assert Outcome(job, job).may_be_billed == cost.may_be_billed
    assert seen > 1000


def test_what_was_sent_once_more_is_billed_unseen_only_once_the_job_has_ended() -> None:
    """A segment that another job uses goes on when this one is cancelled."""
    assert not may_be_billed(took(*AT_FAL, resubmitted=True))
    assert may_be_billed(took(*AT_FAL, _S.FAILED, errors=(REFUSED,), resubmitted=True))


@pytest.mark.parametrize(
    ("job", "costs"),
    [
        (took(_S.READY), "$0.0300 to $0.0400"),
        (took(_S.READY, _S.SUBMITTING, _S.FAILED, errors=(REFUSED,)), "$0"),
        (
            took(*AT_FAL, _S.CANCELLED),
            "$0 to $0.0400: fal may bill a request that brought no video",
        ),
        (took(*MADE, actual=CAME), "$0.0100 to $0.0200"),
    ],
)
def test_show_and_the_board_say_what_the_receipt_says(job: Job, costs: str) -> None:
    assert dict(facts(job))["costs"] == costs


@pytest.mark.parametrize(
    ("way", "segment", "more", "cost"),
    [
        ((_S.READY, _S.SUBMITTED), {"is_sent": True}, {}, ESTIMATED),
        ((_S.READY, _S.CANCELLED), {}, {}, NOTHING),
        ((_S.READY, _S.SUBMITTED, _S.CANCELLED), {"is_sent": True}, {}, PERHAPS),
        # as 0.1.0 notes it
        ((_S.READY, _S.SUBMITTED, _S.CANCELLED), {"request_id": "a"}, {}, PERHAPS),
        (
            (_S.READY, _S.SUBMITTED, _S.CANCELLED),
            {"is_sent": True, "is_reused": True},
            {},
            NOTHING,
        ),
        (
            (_S.READY, _S.SUBMITTED, _S.GENERATED, _S.SUCCEEDED),
            {"is_sent": True},
            {"actual": CAME},
            DELIVERED,
        ),
        (
            (_S.READY, _S.SUBMITTED, _S.CANCELLED),
            {"is_sent": True},
            {"spent": JobCost(lower_usd="0.01", upper_usd="0.02", delivered_usd="0.02")},
            DELIVERED,
        ),
    ],
)
def test_long_audio_costs_what_its_segments_do_as_far_as_its_record_says(
    way: tuple[JobStatus, ...], segment: dict[str, Any], more: dict[str, Any], cost: Cost
) -> None:
    listed = tuple(Segment(scene=0, first=9 * n, frames=9) for n in range(3))
    plan = Sequence(fps=24, scenes=(Scene(),), segments=listed).with_segment(0, **segment)
    job = took(*way, sequence=plan, **more)

    assert Receipt.of(job, None).cost == cost
    most = formatting.usd(Decimal(str(cost.upper_usd))) if cost.upper_usd else ""
    assert formatting.at_most(job) == most


def test_what_fal_delivered_of_long_audio_is_known_though_some_segments_cost_nothing() -> None:
    whole = took(_S.FAILED)
    segments = [
        took(*MADE, actual=CAME, part_of=whole.job_id),
        took(*AT_FAL, _S.FAILED, errors=(REFUSED,), part_of=whole.job_id),
        took(_S.FAILED, estimate=None, part_of=whole.job_id),
        took(*MADE, actual=CAME, part_of="another"),
    ]

    found = cost_of_segments(whole, segments)

    assert found == JobCost(lower_usd="0.01", upper_usd="0.02", delivered_usd="0.02")
    assert cost_of_segments(whole, segments[1:]) == JobCost(lower_usd=0, upper_usd=0)
