"""The window and the budget: what a claim takes, every ending gives back, and nobody overdraws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phonoscene.errors import MustWait, WriteRefused
from phonoscene.jobs import FINAL, TRANSITIONS, Job, JobStatus
from phonoscene.limits import SpendingLimits, day_of
from phonoscene.table.dynamodb import MOST_CONFLICTS
from phonoscene.table.job_store import JobStore
from phonoscene.workflow.ledger_audit import LedgerAudit
from phonoscene.workflow.submission import PAUSE
from tests.integration.scene import (
    DAY,
    ENDINGS,
    START,
    USD,
    WAY,
    Scene,
    a_job,
    an_id,
    canceled,
)

if TYPE_CHECKING:
    from tests.integration.moto_stack import Cloud

ZERO = Decimal(0)
NOTHING = (0, ZERO, ZERO)
HOLDING = (
    JobStatus.SUBMITTING,
    JobStatus.UNCONFIRMED,
    JobStatus.SUBMITTED,
    JobStatus.GENERATED,
)
ENDS = [(before, after) for before in HOLDING for after in sorted(TRANSITIONS[before] & ENDINGS)]
GOES_ON = [(before, after) for before in HOLDING for after in sorted(TRANSITIONS[before] - ENDINGS)]


@pytest.fixture
def scene(cloud: Cloud) -> Scene:
    return Scene(cloud)


# Taking -----------------------------------------------------------------------------------------


def test_a_claim_takes_its_place_and_its_money_in_the_transaction_that_moves_the_job(
    scene: Scene,
) -> None:
    job = scene.admit()
    scene.wire.calls.clear()

    claimed = scene.store.claim(job, scene.limits, "hash")

    assert scene.wire.calls == ["transact_write_items"]
    assert scene.sums() == (1, USD, USD)
    assert scene.read() == claimed
    assert claimed.reservation
    assert (claimed.reservation.day, claimed.reservation.usd) == (DAY, USD)


def test_what_is_held_stays_held_while_the_job_goes_on(scene: Scene) -> None:
    scene.bring(JobStatus.GENERATED)

    assert scene.sums() == (1, USD, USD)


@pytest.mark.parametrize(("before", "after"), GOES_ON, ids=str)
def test_a_step_that_ends_no_attempt_changes_no_sum(
    scene: Scene, before: JobStatus, after: JobStatus
) -> None:
    job = scene.bring(before)

    moved = scene.step(job, after)

    assert scene.sums() == (1, USD, USD)
    assert moved.reservation == job.reservation


def test_a_job_whose_cost_is_not_known_takes_a_place_and_no_money(scene: Scene) -> None:
    job = scene.store.admit(a_job(estimate=None), ())

    scene.store.claim(job, scene.limits, "hash")

    assert scene.sums() == (1, ZERO, ZERO)


# Giving back ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), ENDS, ids=str)
def test_every_ending_gives_the_place_back_in_its_own_transaction(
    scene: Scene, before: JobStatus, after: JobStatus
) -> None:
    job = scene.bring(before)
    scene.wire.calls.clear()

    ended = scene.store.end(job, after)

    assert scene.wire.calls == ["transact_write_items"]
    in_flight, _, reserved = scene.sums()
    assert (in_flight, reserved) == (0, ZERO)
    assert ended.reservation is scene.read().reservation is None


@pytest.mark.parametrize(
    ("before", "after"), [pair for pair in ENDS if pair[0] is not JobStatus.GENERATED], ids=str
)
def test_what_was_not_spent_is_there_again_for_others(
    scene: Scene, before: JobStatus, after: JobStatus
) -> None:
    job = scene.bring(before)

    scene.store.end(job, after)

    assert scene.sums() == NOTHING


@pytest.mark.parametrize("after", [JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_what_was_spent_stays_committed_for_its_day_whatever_became_of_the_video(
    scene: Scene, after: JobStatus
) -> None:
    job = scene.bring(JobStatus.GENERATED)

    scene.store.end(job, after)

    assert scene.sums() == (0, USD, ZERO)


@pytest.mark.parametrize("after", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_job_that_never_held_anything_gives_nothing_back(scene: Scene, after: JobStatus) -> None:
    job = scene.admit(1)
    scene.bring(JobStatus.SUBMITTED, 2)

    scene.store.end(job, after)

    assert scene.sums() == (1, USD, USD)


def test_a_job_that_comes_back_takes_anew(scene: Scene) -> None:
    again = scene.step(scene.bring(JobStatus.SUBMITTED), JobStatus.READY)

    second = scene.store.claim(again, scene.limits, "second")

    assert second.attempt == 2
    assert scene.sums() == (1, USD, USD)


@pytest.mark.parametrize("before", sorted(set(JobStatus) - {JobStatus.WAITING}))
def test_a_refused_move_changes_no_sum(scene: Scene, before: JobStatus) -> None:
    scene.bring(JobStatus.SUBMITTED, 2)
    job = scene.bring(before, 1)
    sums = scene.sums()

    for after in set(JobStatus) - TRANSITIONS[before] - {JobStatus.WAITING}:
        with pytest.raises(WriteRefused):
            scene.step(job, after)

    assert scene.sums() == sums


@pytest.mark.parametrize("after", [JobStatus.CANCELLED, JobStatus.FAILED])
def test_an_end_decided_on_an_old_record_gives_nothing_back_twice(
    scene: Scene, after: JobStatus
) -> None:
    """The attempt was given up meanwhile, and what it held went back with it."""
    read = scene.bring(JobStatus.SUBMITTED)
    scene.step(read, JobStatus.READY)

    with pytest.raises(WriteRefused):
        scene.store.end(read, after)

    assert scene.sums() == NOTHING


# No room ----------------------------------------------------------------------------------------


def test_a_full_window_refuses_the_claim_and_takes_no_money(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(1, Decimal(10)))
    scene.bring(JobStatus.SUBMITTED, 1)
    second = scene.admit(2)

    with pytest.raises(MustWait) as refused:
        scene.store.claim(second, scene.limits, "hash")

    assert refused.value.waits_for == "slot"
    assert scene.sums() == (1, USD, USD)
    assert scene.read(2) == second


def test_a_spent_budget_refuses_the_claim_and_takes_no_place(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(4, USD * 2))
    scene.bring(JobStatus.SUCCEEDED, 1)
    scene.bring(JobStatus.SUBMITTED, 2)
    third = scene.admit(3, Decimal("0.0001"))

    with pytest.raises(MustWait) as refused:
        scene.store.claim(third, scene.limits, "hash")

    assert refused.value.waits_for == "budget"
    assert scene.sums() == (1, USD * 2, USD)
    assert scene.read(3) == third


def test_the_last_cent_of_a_day_can_be_spent(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(4, USD * 2))
    scene.bring(JobStatus.SUBMITTED, 1)

    scene.bring(JobStatus.SUBMITTING, 2)

    assert scene.sums() == (2, USD * 2, USD * 2)


def test_a_job_dearer_than_a_whole_day_is_refused_before_anything_is_written(
    cloud: Cloud,
) -> None:
    scene = Scene(cloud, SpendingLimits(4, USD))
    job = scene.admit(1, USD + Decimal("0.0001"))
    scene.wire.calls.clear()

    with pytest.raises(MustWait) as refused:
        scene.store.claim(job, scene.limits, "hash")

    assert refused.value.waits_for == "budget"
    assert scene.wire.calls == []
    assert scene.sums() == NOTHING


def test_a_pause_refuses_every_claim_until_it_is_over(scene: Scene) -> None:
    job = scene.admit()
    scene.store.ledger.pause(START + timedelta(minutes=5))
    scene.clock.go_on(minutes=4, seconds=59)
    with pytest.raises(MustWait) as refused:
        scene.store.claim(job, scene.limits, "hash")
    paused = (refused.value.waits_for, scene.store.ledger.room(scene.limits), scene.sums())

    scene.clock.go_on(seconds=1)
    scene.store.claim(job, scene.limits, "hash")

    assert paused == ("account", 0, NOTHING)
    assert scene.sums() == (1, USD, USD)


@pytest.mark.parametrize(("held", "room"), [(0, 3), (1, 2), (3, 0)])
def test_the_room_is_what_the_window_leaves(cloud: Cloud, held: int, room: int) -> None:
    scene = Scene(cloud, SpendingLimits(3, Decimal(10)))

    for n in range(held):
        scene.bring(JobStatus.SUBMITTED, n)

    assert scene.store.ledger.room(scene.limits) == room


def test_a_window_that_was_made_smaller_has_no_negative_room(scene: Scene) -> None:
    for n in range(3):
        scene.bring(JobStatus.SUBMITTED, n)

    assert scene.store.ledger.room(SpendingLimits(1, Decimal(10))) == 0


# Days -------------------------------------------------------------------------------------------


def test_a_new_day_has_a_new_budget(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(4, USD))
    scene.clock.now = datetime(2026, 11, 22, 23, 59, 59, 999_000, tzinfo=UTC)
    scene.bring(JobStatus.SUBMITTED, 1)
    second = scene.admit(2)
    with pytest.raises(MustWait):
        scene.store.claim(second, scene.limits, "hash")

    scene.clock.go_on(milliseconds=1)
    scene.store.claim(second, scene.limits, "hash")

    assert scene.sums("2026-11-22") == (2, USD, USD)
    assert scene.sums("2026-11-23") == (2, USD, USD)


@pytest.mark.parametrize(
    ("after", "committed"), [(JobStatus.FAILED, ZERO), (JobStatus.SUCCEEDED, USD)]
)
def test_money_goes_back_to_the_day_it_was_taken_from(
    scene: Scene, after: JobStatus, committed: Decimal
) -> None:
    job = scene.bring(JobStatus.GENERATED if committed else JobStatus.SUBMITTED)
    scene.clock.go_on(hours=20)

    scene.step(job, after)

    assert scene.sums("2026-11-22") == (0, committed, ZERO)
    assert scene.sums("2026-11-23") == NOTHING


def test_a_day_is_utcs_wherever_the_clock_stands() -> None:
    kyoto = datetime(2026, 11, 23, 8, 0, tzinfo=timezone(timedelta(hours=9)))

    assert day_of(kyoto) == "2026-11-22"


# Waiting ----------------------------------------------------------------------------------------


def test_a_job_that_finds_no_place_keeps_its_turn_and_says_what_it_waits_for(
    cloud: Cloud,
) -> None:
    scene = Scene(cloud, SpendingLimits(1, Decimal(10)))
    scene.bring(JobStatus.SUBMITTED, 1)
    job = scene.admit(2)
    scene.clock.go_on(minutes=10)

    told = scene.submitter.submit(job)

    assert told == scene.read(2)
    assert (told.status, told.waits_for, told.attempt) == (JobStatus.READY, "slot", 0)
    assert scene.turn(2) == START
    assert scene.fal.posts == []


def test_a_job_that_finds_no_money_waits_for_the_next_day(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(4, USD))
    scene.bring(JobStatus.SUBMITTED, 1)
    job = scene.admit(2)

    told = scene.submitter.submit(job)

    assert told == scene.read(2)
    assert (told.status, told.waits_for) == (JobStatus.READY, "budget")
    assert scene.turn(2) == datetime(2026, 11, 23, tzinfo=UTC)
    assert scene.store.oldest_ready(9, scene.clock()) == []


def test_a_job_that_finds_the_account_closed_is_tried_again_after_the_pause(
    scene: Scene,
) -> None:
    job = scene.admit()
    scene.store.ledger.pause(START + PAUSE)

    told = scene.submitter.submit(job)

    assert told.waits_for == "account"
    assert scene.turn() == START + PAUSE
    assert scene.fal.posts == []


def test_waiting_is_no_step_of_a_jobs_history(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(1, Decimal(10)))
    scene.bring(JobStatus.SUBMITTED, 2)
    job = scene.admit()
    scene.clock.go_on(minutes=10)

    told = scene.submitter.submit(job)

    assert (told.history, told.updated_at) == (job.history, job.updated_at)


@pytest.mark.parametrize("after", sorted(TRANSITIONS[JobStatus.READY]), ids=str)
def test_a_job_that_has_waited_forgets_what_for_whatever_becomes_of_it(
    scene: Scene, after: JobStatus
) -> None:
    waiting = scene.store.put_off(scene.admit(), "slot", START)

    moved = scene.step(waiting, after)

    assert moved.waits_for is scene.read().waits_for is None


def test_a_job_that_was_claimed_meanwhile_is_not_put_off(scene: Scene) -> None:
    read = scene.admit()
    claimed = scene.step(read, JobStatus.SUBMITTING)

    with pytest.raises(WriteRefused) as refused:
        scene.store.put_off(read, "slot", START)

    assert refused.value.found == scene.read() == claimed


def test_who_waited_longest_goes_first_however_often_he_was_put_off(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(1, Decimal(10)))
    first = scene.admit(9)
    scene.clock.go_on(minutes=1)
    scene.admit(1)
    holder = scene.bring(JobStatus.SUBMITTED, 2)
    scene.submitter.submit(first)
    scene.step(holder, JobStatus.FAILED)

    scene.reconciler.dispatcher.dispatch()

    assert scene.tray.dispatched == [an_id(9)]


# Any history ------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(sorted(JobStatus)), st.integers(0, 9)), max_size=16
)


def states(job: Job) -> set[JobStatus]:
    """All that it has ever been."""
    return {step.status for step in job.history}


def is_right(scene: Scene, jobs: list[Job]) -> None:
    """The sums are those of the jobs that hold something, and nothing is overdrawn."""
    held = [job.reservation for job in jobs if job.reservation]
    paid = [job for job in jobs if not job.reservation and JobStatus.GENERATED in states(job)]
    sums = {day: scene.sums(day) for day in (f"2026-11-{n}" for n in range(22, 30))}
    total = Decimal(0)
    for day, (in_flight, committed, reserved) in sums.items():
        assert in_flight == len(held) <= scene.limits.max_in_flight
        assert reserved == sum(one.usd for one in held if one.day == day)
        assert ZERO <= reserved <= committed <= scene.limits.daily_budget_usd
        total += committed
    assert total == USD * (len(held) + len(paid))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_after_any_history_the_sums_are_those_of_the_jobs_and_at_its_end_nobody_holds_a_thing(
    cloud: Cloud, steps: list[tuple[int, JobStatus, int]]
) -> None:
    cloud.empty()
    scene = Scene(cloud, SpendingLimits(2, USD * 2))
    jobs = [scene.admit(n) for n in range(3)]
    for n, status, hours in steps:
        scene.clock.go_on(hours=hours)
        # a verdict that comes after its attempt holds nothing: no sum can tell of it
        is_late = (jobs[n].status, status) == (JobStatus.READY, JobStatus.GENERATED)
        if status in TRANSITIONS[jobs[n].status] and not is_late:
            jobs[n] = taken(scene, jobs[n], status)
        is_right(scene, jobs)

    for n, job in enumerate(jobs):
        ends = {JobStatus.CANCELLED, JobStatus.SUCCEEDED} & TRANSITIONS[job.status]
        jobs[n] = scene.step(job, ends.pop()) if ends else job

    is_right(scene, jobs)
    assert scene.sums()[0] == 0
    assert [scene.read(n).reservation for n in range(3)] == [None] * 3


def taken(scene: Scene, job: Job, status: JobStatus) -> Job:
    """A step, where there is room for it."""
    try:
        return scene.step(job, status)
    except MustWait:
        return job


# Recounting -------------------------------------------------------------------------------------


def recounted(scene: Scene) -> list[str]:
    recounter = LedgerAudit(scene.store)
    recounter.recount()
    return recounter.corrected


def test_a_place_whose_job_holds_nothing_is_given_back(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(9, Decimal(10)))
    held = [scene.bring(status, n).job_id for n, status in enumerate(HOLDING)]
    others = [scene.bring(status, 10 + n).job_id for n, status in enumerate(sorted(FINAL))]
    scene.set_window(in_flight={*held, *others, an_id(99)})

    corrected = recounted(scene)

    assert corrected == sorted([*others, an_id(99)])
    assert scene.store.ledger.window().in_flight == set(held)
    assert recounted(scene) == []


def test_a_place_that_was_taken_away_from_its_job_is_taken_again(scene: Scene) -> None:
    job, other = scene.bring(JobStatus.SUBMITTED), scene.bring(JobStatus.SUBMITTED, 2)
    scene.set_window(in_flight={other.job_id})
    recounter = LedgerAudit(scene.store)

    for one in (job, other, scene.admit(3)):
        recounter.ensure_place(one)

    assert recounter.corrected == [job.job_id]
    assert scene.store.ledger.window().in_flight == {job.job_id, other.job_id}


@pytest.mark.parametrize("reserved", [ZERO, USD, USD * 3])
def test_what_a_day_has_set_aside_is_what_its_jobs_hold(scene: Scene, reserved: Decimal) -> None:
    scene.bring(JobStatus.SUBMITTED, 1)
    scene.bring(JobStatus.SUCCEEDED, 2)
    scene.set_sums(f"budget#{DAY}", reserved_usd=reserved, committed_usd=USD + reserved)

    recounted(scene)

    assert scene.sums() == (1, USD * 2, USD)


def test_a_day_is_recounted_until_the_next_is_over(scene: Scene) -> None:
    scene.bring(JobStatus.SUCCEEDED)
    scene.set_sums(f"budget#{DAY}", reserved_usd=USD, committed_usd=USD * 2)
    scene.clock.go_on(hours=24)

    recounted(scene)

    assert scene.sums() == (0, USD, ZERO)


MOVES = ("claim", "end")


@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("move", MOVES)
def test_whatever_moves_while_it_is_counted_is_not_undone(
    scene: Scene, move: str, call: int
) -> None:
    """A claim or an end at each of a count's calls, with a leak of both kinds to be put right."""
    holding, ready = scene.bring(JobStatus.SUBMITTED, 1), scene.admit(2)
    scene.set_window(in_flight={holding.job_id, an_id(99)})
    scene.set_sums(f"budget#{DAY}", reserved_usd=USD * 3, committed_usd=USD * 3)
    moves = {
        "claim": lambda: scene.store.claim(ready, scene.limits, "hash"),
        "end": lambda: scene.store.end(holding, JobStatus.FAILED),
    }
    seen: list[str] = []

    def meanwhile(name: str, _: dict[str, Any]) -> None:
        seen.append(name)
        if len(seen) == call:
            scene.wire.before = lambda _, __: None
            moves[move]()

    scene.wire.before = meanwhile
    recounted(scene)
    if len(seen) < call:  # the count was over before
        moves[move]()
    scene.wire.before = lambda _, __: None
    recounted(scene)

    held = {"claim": 2, "end": 0}[move]
    assert scene.sums() == (held, USD * held, USD * held)


def test_before_the_first_claim_there_is_nothing_to_recount(scene: Scene) -> None:
    scene.store.ledger.pause(START)

    assert recounted(scene) == []
    assert scene.sums() == NOTHING


def test_a_job_in_motion_that_holds_no_place_gets_none(scene: Scene) -> None:
    """A late verdict brought a job on whose place had gone back with its attempt."""
    back = scene.step(scene.bring(JobStatus.SUBMITTED), JobStatus.READY)
    late = scene.step(back, JobStatus.GENERATED)
    recounter = LedgerAudit(scene.store)

    recounter.ensure_place(late)

    assert recounted(scene) == recounter.corrected == []
    assert scene.sums() == (0, USD, ZERO)


# Money that nobody had set aside ----------------------------------------------------------------


def test_a_video_that_comes_after_its_money_went_back_is_the_days_all_the_same(
    cloud: Cloud,
) -> None:
    scene = Scene(cloud, SpendingLimits(4, USD))
    back = scene.step(scene.bring(JobStatus.SUBMITTED), JobStatus.READY)

    late = scene.step(back, JobStatus.GENERATED)
    stored = scene.step(late, JobStatus.SUCCEEDED)

    assert stored.reservation is None
    assert scene.sums() == (0, USD, ZERO)
    with pytest.raises(MustWait, match="budget"):
        scene.store.claim(scene.admit(2), scene.limits, "hash")


def test_a_second_paid_request_of_a_job_is_the_days_too_and_only_once(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUCCEEDED)

    scene.store.note_paid_again(job, "another")
    with pytest.raises(WriteRefused):
        scene.store.note_paid_again(job, "another")

    assert scene.read().duplicate_requests == {"another"}
    assert scene.sums() == (0, USD * 2, ZERO)


# Conflicts --------------------------------------------------------------------------------------


def conflicting(scene: Scene, times: int, *reasons: Any) -> None:
    """Let the next transactions meet others on the same sums."""
    left = [canceled(scene.cloud.dynamodb, *reasons) for _ in range(times)]

    def conflict(name: str, _: dict[str, Any]) -> None:
        if name == "transact_write_items" and left:
            raise left.pop()

    scene.wire.before = conflict


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_transaction_that_meets_another_is_tried_again(scene: Scene, position: int) -> None:
    job = scene.admit()
    reasons = ["None", "None", "None"]
    reasons[position] = "TransactionConflict"
    conflicting(scene, 3, *reasons)

    claimed = scene.store.claim(job, scene.limits, "hash")

    assert claimed == scene.read()
    assert scene.sums() == (1, USD, USD)
    assert len(scene.slept) == 3
    assert all(0 <= slept <= 0.02 * 2**n for n, slept in enumerate(scene.slept))


def test_an_ending_that_meets_another_gives_back_once(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    conflicting(scene, 2, "None", "TransactionConflict", "None")

    scene.store.end(job, JobStatus.FAILED)

    assert scene.sums() == NOTHING


def test_conflicts_without_an_end_rise_after_a_few_seconds(scene: Scene) -> None:
    job = scene.admit()
    conflicting(scene, 99, "None", "TransactionConflict", "None")
    scene.wire.calls.clear()

    with pytest.raises(scene.cloud.dynamodb.exceptions.TransactionCanceledException):
        scene.store.claim(job, scene.limits, "hash")

    assert scene.wire.calls == ["transact_write_items"] * MOST_CONFLICTS
    assert sum(scene.slept) <= 5
    assert scene.sums() == NOTHING


def test_a_conflict_beside_a_failed_condition_is_the_conditions_answer(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUBMITTING)
    conflicting(scene, 9, "ConditionalCheckFailed", "TransactionConflict", "None")

    with pytest.raises(WriteRefused):
        scene.store.claim(job, scene.limits, "hash")

    assert scene.slept == []


@pytest.mark.parametrize("reason", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_throttled_transaction_rises_untouched_and_the_message_comes_back(
    scene: Scene, reason: str
) -> None:
    job = scene.admit()
    conflicting(scene, 1, "None", reason, "None")

    with pytest.raises(scene.cloud.dynamodb.exceptions.TransactionCanceledException):
        scene.submitter.submit(job)

    assert scene.fal.posts == []
    assert scene.read() == job
    assert scene.submitter.submit(job).status is JobStatus.SUBMITTED


def test_the_ways_of_these_tests_lead_where_they_say(cloud: Cloud) -> None:
    scene = Scene(cloud, SpendingLimits(9, Decimal(10)))

    reached = {status: scene.bring(status, n).status for n, status in enumerate(JobStatus)}

    assert reached == {status: status for status in JobStatus}
    assert set(WAY) == set(JobStatus) - {JobStatus.WAITING, JobStatus.REJECTED}
    assert isinstance(scene.store, JobStore)
    assert FINAL < ENDINGS
