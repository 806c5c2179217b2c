"""Eight submitters at once: nothing is ever overdrawn."""

from __future__ import annotations

import random
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.fal.requests import ACCOUNT, Refused, Unknown
from phonoscene.jobs import Job, JobStatus
from phonoscene.limits import SpendingLimits
from tests.integration.workspace import USD, failure, result_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from phonoscene.fal.requests import SubmitOutcome
    from tests.integration.moto_stack import Cloud
from tests.integration.races import ROUNDS, Race

SUBMITTERS = 8
BUSY = Refused("fal_busy", "fal answered 503", retryable=True)
NEVER = Refused("fal_refused", "fal refused the job", retryable=False)


def test_the_last_slot_and_the_last_dollar_are_given_once(cloud: Cloud) -> None:
    orders, winners, reasons = set(), set(), set()
    for seed in range(ROUNDS):
        chance = random.Random(seed)  # noqa: S311 - a seed to repeat
        costs = [Decimal(chance.randint(1, 20)) / 10 for _ in range(SUBMITTERS)]
        race = Race.make(cloud, seed, SpendingLimits(chance.randint(1, 3), Decimal(2)), costs)

        race.turns.run([race.submitter(job) for job in race.jobs])

        jobs = race.ended()
        won = {n for n, job in enumerate(jobs) if job.status is JobStatus.SUBMITTED}
        assert len(race.posts) == len(won) > 0
        for job in (job for n, job in enumerate(jobs) if n not in won):
            assert job.status is JobStatus.READY
            assert job.waits_for == race.lacks(job) is not None
            reasons.add(job.waits_for)
        orders.add(tuple(race.turns.order))
        winners |= won
    assert reasons == {"slot", "budget"}
    assert winners == set(range(SUBMITTERS))  # the seeds do mix them
    assert len(orders) > ROUNDS / 2


def test_of_eight_that_read_the_same_job_one_sends_it(cloud: Cloud) -> None:
    for seed in range(ROUNDS // 5):
        race = Race.make(cloud, seed, SpendingLimits(9, Decimal(100)), [USD])

        race.turns.run([race.submitter(race.jobs[0])] * SUBMITTERS)

        (job,) = race.ended()
        assert (job.status, job.attempt, len(race.posts)) == (JobStatus.SUBMITTED, 1, 1)
        assert race.worst == (1, USD)


ANSWERS: list[SubmitOutcome | None] = [
    None,
    None,
    BUSY,
    NEVER,
    Unknown("ReadTimeout"),
    Refused(ACCOUNT, "no", retryable=True),
]


def test_whatever_fal_answers_and_however_they_interleave_the_sums_are_the_jobs(
    cloud: Cloud,
) -> None:
    seen = set()
    for seed in range(ROUNDS // 3):
        chance = random.Random(seed)  # noqa: S311 - a seed to repeat
        limits = SpendingLimits(chance.randint(1, 3), USD * chance.randint(1, 4))
        race = Race.make(cloud, seed, limits, [USD] * 6)
        answers = [chance.choice(ANSWERS) for _ in range(SUBMITTERS)]
        twice = [*race.jobs, race.jobs[0], race.jobs[1]]

        race.turns.run([race.submitter(*one) for one in zip(twice, answers, strict=True)])

        seen |= {job.status for job in race.ended()}
        assert len(race.posts) <= 6 + 2
    assert seen >= {"READY", "SUBMITTED", "UNCONFIRMED", "FAILED"}


@pytest.mark.parametrize(
    ("tells", "possible"),
    [(result_message, {"CANCELLED", "SUCCEEDED"}), (failure, {"CANCELLED"})],
    ids=["a success", "a failure for now"],
)
def test_a_cancel_and_two_results_that_meet_give_back_once(
    cloud: Cloud, tells: Callable[[Job], Any], possible: set[str]
) -> None:
    ends = set()
    for seed in range(ROUNDS // 8):
        race = Race.make(cloud, seed, SpendingLimits(2, Decimal(10)), [USD, USD])
        workspace = race.workspace
        job = workspace.step(
            workspace.step(race.jobs[0], JobStatus.SUBMITTING), JobStatus.SUBMITTED
        )
        other = workspace.step(race.jobs[1], JobStatus.SUBMITTING)

        race.turns.run(
            [
                partial(workspace.canceller.cancel, job.job_id),
                partial(workspace.result_handler.handle, tells(job)),
                partial(workspace.result_handler.handle, tells(job)),
            ]
        )

        ended, untouched = race.ended()
        assert untouched == other
        ends.add(ended.status)
    assert ends == possible
