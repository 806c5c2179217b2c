"""Slots and the budget: what a claim takes, every ending gives back, and no job overdraws."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from phonoscene.errors import MustWait, WriteRefused
from phonoscene.jobs import (
    FINAL,
    MAYBE_BILLED,
    NOT_COPIED,
    TRANSITIONS,
    ErrorDetail,
    Job,
    JobStatus,
    Scene,
    Segment,
    Sequence,
)
from phonoscene.limits import SpendingLimits, day_of, turn_tomorrow
from phonoscene.table.dynamodb import MAX_CONFLICTS
from phonoscene.table.job_store import JobStore
from phonoscene.table.ledger import MAX_UNCOPIED
from phonoscene.workflow.ledger_audit import LedgerAudit
from phonoscene.workflow.submission import PAUSE
from tests.integration.workspace import (
    DAY,
    ENDINGS,
    START,
    USD,
    WAY,
    Workspace,
    an_id,
    canceled,
    numbered_job,
    result_message,
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
def workspace(cloud: Cloud) -> Workspace:
    return Workspace(cloud)


# Taking -----------------------------------------------------------------------------------------


def test_a_claim_takes_its_slot_and_its_money_in_the_transaction_that_moves_the_job(
    workspace: Workspace,
) -> None:
    job = workspace.admit()
    workspace.recording_client.calls.clear()

    claimed = workspace.store.claim(job, workspace.limits, "hash")

    assert workspace.recording_client.calls == ["transact_write_items"]
    assert workspace.sums() == (1, USD, USD)
    assert workspace.read() == claimed
    assert claimed.reservation
    assert (claimed.reservation.day, claimed.reservation.usd) == (DAY, USD)


def test_what_is_held_stays_held_while_the_job_goes_on(workspace: Workspace) -> None:
    workspace.bring(JobStatus.GENERATED)

    assert workspace.sums() == (1, USD, USD)


@pytest.mark.parametrize(("before", "after"), GOES_ON, ids=str)
def test_a_step_that_ends_no_attempt_changes_no_sum(
    workspace: Workspace, before: JobStatus, after: JobStatus
) -> None:
    job = workspace.bring(before)

    moved = workspace.step(job, after)

    assert workspace.sums() == (1, USD, USD)
    assert moved.reservation == job.reservation


def test_a_job_whose_cost_is_not_known_takes_a_slot_and_no_money(workspace: Workspace) -> None:
    job = workspace.store.admit(numbered_job(estimate=None), ())

    workspace.store.claim(job, workspace.limits, "hash")

    assert workspace.sums() == (1, ZERO, ZERO)


# Giving back ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), ENDS, ids=str)
def test_every_ending_gives_the_slot_back_in_its_own_transaction(
    workspace: Workspace, before: JobStatus, after: JobStatus
) -> None:
    job = workspace.bring(before)
    workspace.recording_client.calls.clear()

    ended = workspace.store.end(job, after)

    assert workspace.recording_client.calls == ["transact_write_items"]
    in_flight, _, reserved = workspace.sums()
    assert (in_flight, reserved) == (0, ZERO)
    assert ended.reservation is workspace.read().reservation is None


@pytest.mark.parametrize(
    ("before", "after"), [pair for pair in ENDS if pair[0] is not JobStatus.GENERATED], ids=str
)
def test_what_was_not_spent_is_there_again_for_others(
    workspace: Workspace, before: JobStatus, after: JobStatus
) -> None:
    job = workspace.bring(before)

    workspace.store.end(job, after)

    assert workspace.sums() == NOTHING


@pytest.mark.parametrize("after", [JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_what_was_spent_stays_committed_for_its_day_whatever_became_of_the_video(
    workspace: Workspace, after: JobStatus
) -> None:
    job = workspace.bring(JobStatus.GENERATED)

    workspace.store.end(job, after)

    assert workspace.sums() == (0, USD, ZERO)


@pytest.mark.parametrize("after", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_job_that_never_held_anything_gives_nothing_back(
    workspace: Workspace, after: JobStatus
) -> None:
    job = workspace.admit(1)
    workspace.bring(JobStatus.SUBMITTED, 2)

    workspace.store.end(job, after)

    assert workspace.sums() == (1, USD, USD)


def test_a_job_that_comes_back_takes_anew(workspace: Workspace) -> None:
    again = workspace.step(workspace.bring(JobStatus.SUBMITTED), JobStatus.READY)

    second = workspace.store.claim(again, workspace.limits, "second")

    assert second.attempt == 2
    assert workspace.sums() == (1, USD, USD)


@pytest.mark.parametrize("before", sorted(set(JobStatus) - {JobStatus.WAITING}))
def test_a_refused_move_changes_no_sum(workspace: Workspace, before: JobStatus) -> None:
    workspace.bring(JobStatus.SUBMITTED, 2)
    job = workspace.bring(before, 1)
    sums = workspace.sums()

    for after in set(JobStatus) - TRANSITIONS[before] - {JobStatus.WAITING}:
        with pytest.raises(WriteRefused):
            workspace.step(job, after)

    assert workspace.sums() == sums


@pytest.mark.parametrize("after", [JobStatus.CANCELLED, JobStatus.FAILED])
def test_an_end_decided_on_an_old_record_gives_nothing_back_twice(
    workspace: Workspace, after: JobStatus
) -> None:
    """The attempt was given up meanwhile, and what it held went back with it."""
    read = workspace.bring(JobStatus.SUBMITTED)
    workspace.step(read, JobStatus.READY)

    with pytest.raises(WriteRefused):
        workspace.store.end(read, after)

    assert workspace.sums() == NOTHING


# Videos that cannot be copied -------------------------------------------------------------------


def generated(workspace: Workspace, *numbers: int) -> list[Job]:
    return [workspace.bring(JobStatus.GENERATED, n) for n in numbers]


@pytest.mark.parametrize("after", [JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_a_job_whose_video_cannot_be_copied_leaves_its_slot_to_others_and_keeps_its_money(
    workspace: Workspace, after: JobStatus
) -> None:
    [job] = generated(workspace, 1)

    freed = [workspace.store.ledger.free_uncopied(job.job_id) for _ in range(2)]
    meanwhile, room = workspace.sums(), workspace.store.ledger.room(workspace.limits)
    workspace.store.end(job, after)

    assert freed == [True, False]
    assert meanwhile == (0, USD, USD)
    assert room == workspace.limits.max_in_flight
    assert workspace.sums() == (0, USD, ZERO)
    assert workspace.store.ledger.window().holders == set()


def test_a_cdn_that_gives_no_video_away_stops_all_payments_in_the_end(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(20, Decimal(100)))
    jobs = generated(workspace, *range(MAX_UNCOPIED + 2))

    freed = [workspace.store.ledger.free_uncopied(job.job_id) for job in jobs]

    assert freed == [True] * MAX_UNCOPIED + [False] * 2
    assert workspace.sums()[0] == 2


def test_a_job_that_has_ended_meanwhile_frees_no_slot_again(workspace: Workspace) -> None:
    [job] = generated(workspace, 1)
    workspace.store.end(job, JobStatus.SUCCEEDED)

    assert not workspace.store.ledger.free_uncopied(job.job_id)
    assert workspace.store.ledger.window().holders == set()


def test_a_slot_that_was_left_to_others_is_no_leak(workspace: Workspace) -> None:
    [job] = generated(workspace, 1)
    workspace.store.ledger.free_uncopied(job.job_id)
    recounter = LedgerAudit(workspace.store)

    recounter.ensure_place(job)
    standing = recounter.recount()

    assert (recounter.corrected, standing.in_flight, standing.oldest) == ([], 0, timedelta(0))
    assert workspace.sums() == (0, USD, USD)


def test_of_a_video_that_holds_no_money_any_more_nothing_is_remembered(
    workspace: Workspace,
) -> None:
    workspace.set_window(uncopied={an_id(99)})

    assert recounted(workspace) == [an_id(99)]
    assert workspace.store.ledger.window().holders == set()


def lost(workspace: Workspace, job: Job) -> None:
    error = ErrorDetail(code=NOT_COPIED, message="The CDN answered 404.")
    workspace.store.end(job, JobStatus.FAILED, errors=(error,))


def test_after_a_video_was_lost_one_job_at_a_time_runs_until_a_video_is_copied(
    workspace: Workspace,
) -> None:
    """Else each life of a video would pay for as many, while fal's CDN is down."""
    [gone] = generated(workspace, 1)
    second, third = workspace.admit(2), workspace.admit(3)

    lost(workspace, gone)
    ready = workspace.store.ledger.room(workspace.limits)
    running = workspace.store.claim(second, workspace.limits, "hash")
    refused = workspace.submitter.submit(third)
    with pytest.raises(MustWait) as looked:
        workspace.store.hold(refused, workspace.limits, timedelta(minutes=1))

    assert ready == 1
    assert (refused.status, refused.waits_for) == (JobStatus.READY, "cdn")
    assert looked.value.waits_for == "cdn"
    assert workspace.turn(3) == START
    assert workspace.store.ledger.room(workspace.limits) == 0

    made = workspace.store.move(running, JobStatus.GENERATED)
    assert not workspace.store.ledger.free_uncopied(made.job_id)
    workspace.store.end(made, JobStatus.SUCCEEDED)

    assert workspace.store.ledger.room(workspace.limits) == workspace.limits.max_in_flight
    workspace.bring(JobStatus.SUBMITTED, 4)
    assert workspace.submitter.submit(refused).status is JobStatus.SUBMITTED


def revived(workspace: Workspace, number: int) -> Job:
    """A job whose video came after it had failed."""
    error = ErrorDetail(code="result_lost", message="Lost.")
    failed = workspace.store.end(
        workspace.bring(JobStatus.SUBMITTED, number), JobStatus.FAILED, errors=(error,)
    )
    return workspace.store.move(failed, JobStatus.GENERATED)


def test_a_late_video_says_as_much_of_the_cdn_as_any_other(workspace: Workspace) -> None:
    [gone] = generated(workspace, 1)
    late, later = revived(workspace, 2), revived(workspace, 3)
    sums = workspace.sums()
    seen = []

    lost(workspace, late)
    seen.append(workspace.store.ledger.window().video_lost_at)
    workspace.store.end(later, JobStatus.SUCCEEDED)
    seen.append(workspace.store.ledger.window().video_lost_at)

    assert seen == [START, None]
    assert workspace.sums() == sums  # neither holds anything
    assert workspace.store.ledger.window().in_flight == {gone.job_id}


def test_a_joined_video_says_nothing_of_the_cdn(workspace: Workspace) -> None:
    [gone] = generated(workspace, 1)
    lost(workspace, gone)
    segments = (Segment(scene=0, first=0, frames=241),)
    plan = Sequence(fps=24, scenes=(Scene(),), segments=segments)
    whole = workspace.admit(2, sequence=plan)
    for status in (JobStatus.SUBMITTED, JobStatus.GENERATED):
        whole = workspace.store.move(whole, status)

    workspace.store.end(whole, JobStatus.SUCCEEDED)

    assert workspace.store.ledger.window().video_lost_at == START


def test_a_job_that_fails_or_is_cancelled_says_nothing_of_the_cdn(workspace: Workspace) -> None:
    [gone] = generated(workspace, 1)
    jobs = [workspace.bring(JobStatus.SUBMITTED, n) for n in (2, 3)]
    lost(workspace, gone)

    for job, status in zip(jobs, (JobStatus.FAILED, JobStatus.CANCELLED), strict=True):
        workspace.store.end(job, status)

    assert workspace.store.ledger.window().video_lost_at == START
    assert workspace.store.ledger.room(workspace.limits) == 1


def test_the_slot_is_free_as_soon_as_a_copy_has_failed(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.cdn.is_down = True

    failed = workspace.result_handler.handle(result_message(job))

    assert failed
    assert failed.status is JobStatus.GENERATED
    assert workspace.sums() == (0, USD, USD)


# No room ----------------------------------------------------------------------------------------


def test_a_claim_without_a_free_slot_is_refused_and_takes_no_money(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(1, Decimal(10)))
    workspace.bring(JobStatus.SUBMITTED, 1)
    second = workspace.admit(2)

    with pytest.raises(MustWait) as refused:
        workspace.store.claim(second, workspace.limits, "hash")

    assert refused.value.waits_for == "slot"
    assert workspace.sums() == (1, USD, USD)
    assert workspace.read(2) == second


def test_a_spent_budget_refuses_the_claim_and_takes_no_slot(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(4, USD * 2))
    workspace.bring(JobStatus.SUCCEEDED, 1)
    workspace.bring(JobStatus.SUBMITTED, 2)
    third = workspace.admit(3, Decimal("0.0001"))

    with pytest.raises(MustWait) as refused:
        workspace.store.claim(third, workspace.limits, "hash")

    assert refused.value.waits_for == "budget"
    assert workspace.sums() == (1, USD * 2, USD)
    assert workspace.read(3) == third


def test_the_last_cent_of_a_day_can_be_spent(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(4, USD * 2))
    workspace.bring(JobStatus.SUBMITTED, 1)

    workspace.bring(JobStatus.SUBMITTING, 2)

    assert workspace.sums() == (2, USD * 2, USD * 2)


def test_a_job_dearer_than_a_whole_day_is_refused_before_anything_is_written(
    cloud: Cloud,
) -> None:
    workspace = Workspace(cloud, SpendingLimits(4, USD))
    job = workspace.admit(1, USD + Decimal("0.0001"))
    workspace.recording_client.calls.clear()

    with pytest.raises(MustWait) as refused:
        workspace.store.claim(job, workspace.limits, "hash")

    assert refused.value.waits_for == "budget"
    assert workspace.recording_client.calls == []
    assert workspace.sums() == NOTHING


def test_a_pause_refuses_every_claim_until_it_is_over(workspace: Workspace) -> None:
    job = workspace.admit()
    workspace.store.ledger.pause(START + timedelta(minutes=5))
    workspace.clock.go_on(minutes=4, seconds=59)
    with pytest.raises(MustWait) as refused:
        workspace.store.claim(job, workspace.limits, "hash")
    paused = (
        refused.value.waits_for,
        workspace.store.ledger.room(workspace.limits),
        workspace.sums(),
    )

    workspace.clock.go_on(seconds=1)
    workspace.store.claim(job, workspace.limits, "hash")

    assert paused == ("account", 0, NOTHING)
    assert workspace.sums() == (1, USD, USD)


@pytest.mark.parametrize(("held", "room"), [(0, 3), (1, 2), (3, 0)])
def test_the_room_is_the_number_of_free_slots(cloud: Cloud, held: int, room: int) -> None:
    workspace = Workspace(cloud, SpendingLimits(3, Decimal(10)))

    for n in range(held):
        workspace.bring(JobStatus.SUBMITTED, n)

    assert workspace.store.ledger.room(workspace.limits) == room


def test_a_smaller_limit_leaves_no_negative_number_of_slots(workspace: Workspace) -> None:
    for n in range(3):
        workspace.bring(JobStatus.SUBMITTED, n)

    assert workspace.store.ledger.room(SpendingLimits(1, Decimal(10))) == 0


# Days -------------------------------------------------------------------------------------------


def test_a_new_day_has_a_new_budget(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(4, USD))
    workspace.clock.now = datetime(2026, 11, 22, 23, 59, 59, 999_000, tzinfo=UTC)
    workspace.bring(JobStatus.SUBMITTED, 1)
    second = workspace.admit(2)
    with pytest.raises(MustWait):
        workspace.store.claim(second, workspace.limits, "hash")

    workspace.clock.go_on(milliseconds=1)
    workspace.store.claim(second, workspace.limits, "hash")

    assert workspace.sums("2026-11-22") == (2, USD, USD)
    assert workspace.sums("2026-11-23") == (2, USD, USD)


@pytest.mark.parametrize(
    ("after", "committed"), [(JobStatus.FAILED, ZERO), (JobStatus.SUCCEEDED, USD)]
)
def test_money_goes_back_to_the_day_it_was_taken_from(
    workspace: Workspace, after: JobStatus, committed: Decimal
) -> None:
    job = workspace.bring(JobStatus.GENERATED if committed else JobStatus.SUBMITTED)
    workspace.clock.go_on(hours=20)

    workspace.step(job, after)

    assert workspace.sums("2026-11-22") == (0, committed, ZERO)
    assert workspace.sums("2026-11-23") == NOTHING


def test_a_day_is_utcs_at_any_time_of_day() -> None:
    kyoto = datetime(2026, 11, 23, 8, 0, tzinfo=timezone(timedelta(hours=9)))

    assert day_of(kyoto) == "2026-11-22"


# Waiting ----------------------------------------------------------------------------------------


def test_a_job_that_finds_no_slot_keeps_its_turn_and_says_what_it_waits_for(
    cloud: Cloud,
) -> None:
    workspace = Workspace(cloud, SpendingLimits(1, Decimal(10)))
    workspace.bring(JobStatus.SUBMITTED, 1)
    job = workspace.admit(2)
    workspace.clock.go_on(minutes=10)

    submitted = workspace.submitter.submit(job)

    assert submitted == workspace.read(2)
    assert (submitted.status, submitted.waits_for, submitted.attempt) == (
        JobStatus.READY,
        "slot",
        0,
    )
    assert workspace.turn(2) == START
    assert workspace.fal.posts == []


def test_a_job_that_finds_no_money_waits_for_the_next_day(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(4, USD))
    workspace.bring(JobStatus.SUBMITTED, 1)
    job = workspace.admit(2)

    submitted = workspace.submitter.submit(job)

    assert submitted == workspace.read(2)
    assert (submitted.status, submitted.waits_for) == (JobStatus.READY, "budget")
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    turn = workspace.turn(2)
    assert turn
    assert midnight < turn < midnight + timedelta(minutes=2)
    assert workspace.store.oldest_ready(9, workspace.clock()) == []


def dispatched(workspace: Workspace, limits: SpendingLimits) -> list[str]:
    """The jobs that are dispatched within these limits; each is sent then."""
    workspace.queues.dispatched.clear()
    dispatcher = replace(workspace.reconciler.dispatcher, limits=limits)
    dispatcher.dispatch()
    submitter = replace(workspace.submitter, limits=limits)
    for job_id in workspace.queues.dispatched:
        job = workspace.store.get(job_id)
        assert job
        assert submitter.submit(job).status is JobStatus.SUBMITTED
    return list(workspace.queues.dispatched)


def poor(cloud: Cloud, jobs: int) -> Workspace:
    """Jobs, from 1 on, that came in this order and wait for money, which job 0 has."""
    workspace = Workspace(cloud, SpendingLimits(4, USD))
    workspace.bring(JobStatus.SUBMITTED, 0)
    for number in range(1, jobs + 1):
        workspace.clock.go_on(minutes=5)
        assert workspace.submitter.submit(workspace.admit(number)).waits_for == "budget"
    return workspace


def test_jobs_that_wait_for_money_are_sent_when_the_operator_allows_more(cloud: Cloud) -> None:
    workspace = poor(cloud, 4)

    assert dispatched(workspace, SpendingLimits(4, USD)) == []
    assert dispatched(workspace, SpendingLimits(4, USD * 3)) == [an_id(1), an_id(2)]
    assert dispatched(workspace, SpendingLimits(4, USD * 9)) == [an_id(3)]  # there is one slot
    assert dispatched(workspace, SpendingLimits(9, USD * 9)) == [an_id(4)]


def test_money_that_is_given_back_goes_to_who_has_waited_longest(cloud: Cloud) -> None:
    workspace = poor(cloud, 2)
    workspace.step(workspace.read(0), JobStatus.FAILED)
    workspace.clock.go_on(minutes=1)
    workspace.admit(3)

    assert dispatched(workspace, SpendingLimits(1, USD)) == [an_id(1)]


def test_a_job_too_dear_for_today_keeps_no_other_waiting(cloud: Cloud) -> None:
    workspace = poor(cloud, 0)
    for job in (workspace.admit(2, USD * 4), workspace.admit(1)):
        assert workspace.submitter.submit(job).waits_for == "budget"
        workspace.clock.go_on(minutes=5)

    assert dispatched(workspace, SpendingLimits(4, USD * 2)) == [an_id(1)]


def test_a_job_that_finds_no_money_once_more_keeps_its_place(cloud: Cloud) -> None:
    workspace = poor(cloud, 3)
    full, broke = SpendingLimits(1, USD * 9), SpendingLimits(4, Decimal(0))
    for hours in (1, 24, 72):
        workspace.clock.go_on(hours=hours)
        for number, limits in product((3, 1, 2), (full, broke)):
            submitter = replace(workspace.submitter, limits=limits)
            waits = submitter.submit(workspace.read(number)).waits_for
            assert waits == ("slot" if limits is full else "budget")

        assert workspace.store.put_off_until_tomorrow(9) == [an_id(n) for n in (1, 2, 3)]


def test_jobs_that_found_no_money_have_their_turn_as_they_came_on_the_next_day(
    cloud: Cloud,
) -> None:
    workspace = poor(cloud, 3)
    workspace.clock.go_on(hours=24)

    assert dispatched(workspace, SpendingLimits(4, USD * 3)) == [an_id(n) for n in (1, 2, 3)]


def test_on_the_next_day_a_segment_has_the_turn_of_its_drop(cloud: Cloud) -> None:
    workspace = poor(cloud, 2)
    segment = numbered_job(
        3,
        at=workspace.clock(),
        estimate=workspace.read(1).estimate,
        part_of=an_id(9),
        part=1,
        dropped_at=START - timedelta(days=3),
    )
    workspace.submitter.submit(workspace.store.admit(segment, ()))
    workspace.clock.go_on(hours=24)

    assert dispatched(workspace, SpendingLimits(4, USD * 3)) == [an_id(n) for n in (3, 1, 2)]


def test_of_two_that_find_a_job_that_waited_for_money_one_prepares_it(cloud: Cloud) -> None:
    workspace = poor(cloud, 1)
    more = SpendingLimits(4, USD * 2)
    read = workspace.read(1)

    until = workspace.store.hold(read, more, timedelta(seconds=100))

    with pytest.raises(WriteRefused):
        workspace.store.hold(read, more, timedelta(seconds=100))
    with pytest.raises(WriteRefused):
        workspace.store.claim(read, more, "0" * 64)
    assert workspace.store.claim(read, more, "0" * 64, until).status is JobStatus.SUBMITTING


def test_a_job_whose_process_died_while_it_prepared_with_todays_money_has_its_turn(
    cloud: Cloud,
) -> None:
    workspace = poor(cloud, 1)
    more = SpendingLimits(4, USD * 2)
    workspace.store.hold(workspace.read(1), more, timedelta(seconds=100))

    assert dispatched(workspace, more) == []
    workspace.clock.go_on(seconds=100)
    assert dispatched(workspace, more) == [an_id(1)]


def test_a_job_that_waited_for_money_and_then_for_fal_waits_as_any_other(cloud: Cloud) -> None:
    workspace = poor(cloud, 1)
    workspace.store.put_off(workspace.read(1), "fal", workspace.clock() + timedelta(hours=20))

    assert dispatched(workspace, SpendingLimits(4, USD * 2)) == []
    workspace.clock.go_on(hours=20)
    assert dispatched(workspace, SpendingLimits(4, USD * 2)) == [an_id(1)]


def test_a_job_that_finds_the_account_closed_is_tried_again_after_the_pause(
    workspace: Workspace,
) -> None:
    """Within ten seconds of its end, in the order in which the jobs came."""
    workspace.store.ledger.pause(START + PAUSE)
    turns: list[Any] = []
    for number in range(30):
        submitted = workspace.submitter.submit(workspace.admit(number))
        turns.append(workspace.turn(number))
        workspace.clock.go_on(seconds=10)

        assert submitted.waits_for == "account"
    assert turns == sorted(set(turns))
    assert turns[0] > START + PAUSE
    assert turns[-1] <= START + PAUSE + timedelta(seconds=10)
    assert workspace.fal.posts == []


def test_waiting_is_no_step_of_a_jobs_history(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(1, Decimal(10)))
    workspace.bring(JobStatus.SUBMITTED, 2)
    job = workspace.admit()
    workspace.clock.go_on(minutes=10)

    submitted = workspace.submitter.submit(job)

    assert (submitted.history, submitted.updated_at) == (job.history, job.updated_at)


@pytest.mark.parametrize("after", sorted(TRANSITIONS[JobStatus.READY]), ids=str)
def test_a_job_that_has_waited_forgets_what_for_whatever_becomes_of_it(
    workspace: Workspace, after: JobStatus
) -> None:
    waiting = workspace.store.put_off(workspace.admit(), "slot", START)

    moved = workspace.step(waiting, after)

    assert moved.waits_for is workspace.read().waits_for is None


def test_a_job_that_was_claimed_meanwhile_is_not_postponed(workspace: Workspace) -> None:
    read = workspace.admit()
    claimed = workspace.step(read, JobStatus.SUBMITTING)

    with pytest.raises(WriteRefused) as refused:
        workspace.store.put_off(read, "slot", START)

    assert refused.value.found == workspace.read() == claimed


def test_the_job_that_waited_longest_goes_first_however_often_it_was_postponed(
    cloud: Cloud,
) -> None:
    workspace = Workspace(cloud, SpendingLimits(1, Decimal(10)))
    first = workspace.admit(9)
    workspace.clock.go_on(minutes=1)
    workspace.admit(1)
    holder = workspace.bring(JobStatus.SUBMITTED, 2)
    workspace.submitter.submit(first)
    workspace.step(holder, JobStatus.FAILED)

    workspace.reconciler.dispatcher.dispatch()

    assert workspace.queues.dispatched == [an_id(9)]


def test_without_a_free_slot_the_backlog_is_not_read(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(1, Decimal(10)))
    workspace.bring(JobStatus.SUBMITTED, 2)
    workspace.clock.go_on(minutes=1)
    workspace.admit(1)
    workspace.clock.go_on(minutes=1)
    workspace.recording_client.calls.clear()

    unread = workspace.reconciler.dispatcher.dispatch()
    calls = list(workspace.recording_client.calls)
    read = workspace.reconciler.dispatcher.dispatch(at_least=1)

    assert "query" not in calls
    assert (unread.jobs, unread.oldest_ready) == (0, timedelta(0))
    assert (read.jobs, read.oldest_ready) == (0, timedelta(minutes=1))


@pytest.mark.parametrize("waits_for", ["slot", "budget"])
def test_jobs_that_this_release_cannot_read_keep_no_other_waiting(
    cloud: Cloud, waits_for: str
) -> None:
    workspace = Workspace(cloud, SpendingLimits(2, Decimal(10)))
    jobs = []
    for n in range(70):
        jobs.append(workspace.admit(n))
        workspace.clock.go_on(seconds=1)
    at = workspace.clock()
    for job in jobs:
        budget = waits_for == "budget"
        turn = turn_tomorrow(job.updated_at, at) if budget else job.updated_at
        workspace.store.put_off(job, waits_for, turn)
    for job in jobs[:68]:
        workspace.set_sums(job.job_id, estimate="of a later release")

    workspace.reconciler.run()

    assert workspace.queues.dispatched == [jobs[68].job_id, jobs[69].job_id]


# Any history ------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(sorted(JobStatus)), st.integers(0, 9)), max_size=16
)


def states(job: Job) -> set[JobStatus]:
    """All that it has ever been."""
    return {step.status for step in job.history}


def is_right(workspace: Workspace, jobs: list[Job]) -> None:
    """The sums are those of the jobs that hold something, and nothing is overdrawn."""
    held = [job.reservation for job in jobs if job.reservation]
    paid = [job for job in jobs if not job.reservation and JobStatus.GENERATED in states(job)]
    sums = {day: workspace.sums(day) for day in (f"2026-11-{n}" for n in range(22, 30))}
    total = Decimal(0)
    for day, (in_flight, committed, reserved) in sums.items():
        assert in_flight == len(held) <= workspace.limits.max_in_flight
        assert reserved == sum(one.usd for one in held if one.day == day)
        assert ZERO <= reserved <= committed <= workspace.limits.daily_budget_usd
        total += committed
    assert total == USD * (len(held) + len(paid))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
@example(
    steps=[
        (0, status, 0)
        for status in (JobStatus.FAILED, JobStatus.GENERATED, JobStatus.FAILED, JobStatus.GENERATED)
    ]
)
def test_after_any_history_the_sums_are_those_of_the_jobs_and_at_its_end_no_job_holds_anything(
    cloud: Cloud, steps: list[tuple[int, JobStatus, int]]
) -> None:
    cloud.empty()
    workspace = Workspace(cloud, SpendingLimits(2, USD * 2))
    jobs = [workspace.admit(n) for n in range(3)]
    for n, status, hours in steps:
        workspace.clock.go_on(hours=hours)
        # a result that comes after its attempt holds nothing: no sum can tell of it
        is_late = (jobs[n].status, status) == (JobStatus.READY, JobStatus.GENERATED)
        if status in TRANSITIONS[jobs[n].status] and not is_late:
            jobs[n] = taken(workspace, jobs[n], status)
        is_right(workspace, jobs)

    for n, job in enumerate(jobs):
        ends = {JobStatus.CANCELLED, JobStatus.SUCCEEDED} & TRANSITIONS[job.status]
        jobs[n] = workspace.step(job, ends.pop()) if ends else job

    is_right(workspace, jobs)
    assert workspace.sums()[0] == 0
    assert [workspace.read(n).reservation for n in range(3)] == [None] * 3


def taken(workspace: Workspace, job: Job, status: JobStatus) -> Job:
    """A step, where there is room for it; a video is made once."""
    try:
        return workspace.step(job, status)
    except MustWait:
        return job
    except WriteRefused:
        assert status is JobStatus.GENERATED
        assert JobStatus.GENERATED in states(job)
        return job


def test_two_late_successes_that_meet_are_booked_once(workspace: Workspace) -> None:
    failed = workspace.step(workspace.bring(JobStatus.SUBMITTED), JobStatus.FAILED)

    revived = workspace.step(failed, JobStatus.GENERATED)
    workspace.step(revived, JobStatus.FAILED)  # its video could not be copied
    with pytest.raises(WriteRefused):
        workspace.step(failed, JobStatus.GENERATED)  # by a process that had read it before

    assert workspace.sums() == (0, USD, ZERO)


# Recounting -------------------------------------------------------------------------------------


def recounted(workspace: Workspace) -> list[str]:
    recounter = LedgerAudit(workspace.store)
    recounter.recount()
    return recounter.corrected


def test_a_slot_whose_job_holds_nothing_is_given_back(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(9, Decimal(10)))
    held = [workspace.bring(status, n).job_id for n, status in enumerate(HOLDING)]
    others = [workspace.bring(status, 10 + n).job_id for n, status in enumerate(sorted(FINAL))]
    workspace.set_window(in_flight={*held, *others, an_id(99)})

    corrected = recounted(workspace)

    assert corrected == sorted([*others, an_id(99)])
    assert workspace.store.ledger.window().in_flight == set(held)
    assert recounted(workspace) == []


def test_a_slot_that_was_taken_away_from_its_job_is_taken_again(workspace: Workspace) -> None:
    job, other = workspace.bring(JobStatus.SUBMITTED), workspace.bring(JobStatus.SUBMITTED, 2)
    workspace.set_window(in_flight={other.job_id})
    recounter = LedgerAudit(workspace.store)

    for one in (job, other, workspace.admit(3)):
        recounter.ensure_place(one)

    assert recounter.corrected == [job.job_id]
    assert workspace.store.ledger.window().in_flight == {job.job_id, other.job_id}


@pytest.mark.parametrize("reserved", [ZERO, USD, USD * 3])
def test_what_a_day_has_set_aside_is_what_its_jobs_hold(
    workspace: Workspace, reserved: Decimal
) -> None:
    workspace.bring(JobStatus.SUBMITTED, 1)
    workspace.bring(JobStatus.SUCCEEDED, 2)
    workspace.set_sums(f"budget#{DAY}", reserved_usd=reserved, committed_usd=USD + reserved)

    recounted(workspace)

    assert workspace.sums() == (1, USD * 2, USD)


@pytest.mark.parametrize(("reserved", "committed", "right"), [(9, 2, 2), (9, 0, 1), (0, 2, 3)])
def test_a_sum_that_cannot_be_is_corrected_without_more_money_to_spend(
    workspace: Workspace, reserved: int, committed: int, right: int
) -> None:
    workspace.bring(JobStatus.SUBMITTED, 1)
    sums = {"reserved_usd": USD * reserved, "committed_usd": USD * committed}
    workspace.set_sums(f"budget#{DAY}", **sums)

    recounted(workspace)

    assert workspace.sums() == (1, USD * right, USD)


def test_a_day_is_recounted_until_the_next_is_over(workspace: Workspace) -> None:
    workspace.bring(JobStatus.SUCCEEDED)
    workspace.set_sums(f"budget#{DAY}", reserved_usd=USD, committed_usd=USD * 2)
    workspace.clock.go_on(hours=24)

    recounted(workspace)

    assert workspace.sums() == (0, USD, ZERO)


MOVES = ("claim", "end")


@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("move", MOVES)
def test_whatever_moves_while_it_is_counted_is_not_undone(
    workspace: Workspace, move: str, call: int
) -> None:
    """A claim or an end at each of a count's calls, with a leak of both kinds to be put right."""
    holding, ready = workspace.bring(JobStatus.SUBMITTED, 1), workspace.admit(2)
    workspace.set_window(in_flight={holding.job_id, an_id(99)})
    workspace.set_sums(f"budget#{DAY}", reserved_usd=USD * 3, committed_usd=USD * 3)
    moves = {
        "claim": lambda: workspace.store.claim(ready, workspace.limits, "hash"),
        "end": lambda: workspace.store.end(holding, JobStatus.FAILED),
    }
    seen: list[str] = []

    def meanwhile(name: str, _: dict[str, Any]) -> None:
        seen.append(name)
        if len(seen) == call:
            workspace.recording_client.before = lambda _, __: None
            moves[move]()

    workspace.recording_client.before = meanwhile
    recounted(workspace)
    if len(seen) < call:  # the count was over before
        moves[move]()
    workspace.recording_client.before = lambda _, __: None
    held = {"claim": 2, "end": 0}[move]
    assert workspace.sums()[2] >= USD * held  # no other job may have that money meanwhile
    recounted(workspace)

    assert workspace.sums() == (held, USD * held, USD * held)


def test_before_the_first_claim_there_is_nothing_to_recount(workspace: Workspace) -> None:
    workspace.store.ledger.pause(START)

    assert recounted(workspace) == []
    assert workspace.sums() == NOTHING


def test_a_job_in_motion_that_holds_no_slot_gets_none(workspace: Workspace) -> None:
    """A late result advanced a job whose slot had gone back with its attempt."""
    back = workspace.step(workspace.bring(JobStatus.SUBMITTED), JobStatus.READY)
    late = workspace.step(back, JobStatus.GENERATED)
    recounter = LedgerAudit(workspace.store)

    recounter.ensure_place(late)

    assert recounted(workspace) == recounter.corrected == []
    assert workspace.sums() == (0, USD, ZERO)


# Money that no one had set aside ----------------------------------------------------------------


def test_a_video_that_comes_after_its_money_went_back_is_the_days_all_the_same(
    cloud: Cloud,
) -> None:
    workspace = Workspace(cloud, SpendingLimits(4, USD))
    back = workspace.step(workspace.bring(JobStatus.SUBMITTED), JobStatus.READY)

    late = workspace.step(back, JobStatus.GENERATED)
    stored = workspace.step(late, JobStatus.SUCCEEDED)

    assert stored.reservation is None
    assert workspace.sums() == (0, USD, ZERO)
    with pytest.raises(MustWait, match="budget"):
        workspace.store.claim(workspace.admit(2), workspace.limits, "hash")


def test_a_sequence_whose_segments_were_paid_costs_its_day_nothing_itself(
    workspace: Workspace,
) -> None:
    plan = Sequence(fps=24, scenes=(Scene(),), segments=(Segment(scene=0, first=0, frames=9),))
    job = workspace.store.move(workspace.admit(sequence=plan), JobStatus.SUBMITTED)

    joined = workspace.store.move(job, JobStatus.GENERATED)
    workspace.store.end(joined, JobStatus.SUCCEEDED)

    assert workspace.sums() == NOTHING


@pytest.mark.parametrize("code", sorted(MAYBE_BILLED))
def test_a_video_that_was_booked_when_its_job_ended_without_it_is_not_booked_again(
    workspace: Workspace, code: str
) -> None:
    why = (ErrorDetail(code=code, message=""),)
    lost = workspace.step(workspace.bring(JobStatus.SUBMITTED), JobStatus.FAILED, errors=why)
    booked = workspace.sums()

    workspace.step(lost, JobStatus.GENERATED)

    assert booked == workspace.sums() == (0, USD, ZERO)


def test_a_second_paid_request_of_a_job_is_the_days_too_and_only_once(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUCCEEDED)

    workspace.store.note_paid_again(job, "another")
    with pytest.raises(WriteRefused):
        workspace.store.note_paid_again(job, "another")

    assert workspace.read().duplicate_requests == {"another"}
    assert workspace.sums() == (0, USD * 2, ZERO)


# Conflicts --------------------------------------------------------------------------------------


def conflicting(workspace: Workspace, times: int, *reasons: Any) -> None:
    """Let the next transactions meet others on the same sums."""
    left = [canceled(workspace.cloud.dynamodb, *reasons) for _ in range(times)]

    def conflict(name: str, _: dict[str, Any]) -> None:
        if name == "transact_write_items" and left:
            raise left.pop()

    workspace.recording_client.before = conflict


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_transaction_that_meets_another_is_tried_again(
    workspace: Workspace, position: int
) -> None:
    job = workspace.admit()
    reasons = ["None", "None", "None"]
    reasons[position] = "TransactionConflict"
    conflicting(workspace, 3, *reasons)

    claimed = workspace.store.claim(job, workspace.limits, "hash")

    assert claimed == workspace.read()
    assert workspace.sums() == (1, USD, USD)
    assert len(workspace.slept) == 3
    assert all(0 <= slept <= 0.02 * 2**n for n, slept in enumerate(workspace.slept))


def test_an_ending_that_meets_another_gives_back_once(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    conflicting(workspace, 2, "None", "TransactionConflict", "None")

    workspace.store.end(job, JobStatus.FAILED)

    assert workspace.sums() == NOTHING


def test_conflicts_without_an_end_rise_after_a_few_seconds(workspace: Workspace) -> None:
    job = workspace.admit()
    conflicting(workspace, 99, "None", "TransactionConflict", "None")
    workspace.recording_client.calls.clear()

    with pytest.raises(workspace.cloud.dynamodb.exceptions.TransactionCanceledException):
        workspace.store.claim(job, workspace.limits, "hash")

    assert workspace.recording_client.calls == ["transact_write_items"] * MAX_CONFLICTS
    assert sum(workspace.slept) <= 5
    assert workspace.sums() == NOTHING


def test_a_conflict_beside_a_failed_condition_is_the_conditions_answer(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTING)
    conflicting(workspace, 9, "ConditionalCheckFailed", "TransactionConflict", "None")

    with pytest.raises(WriteRefused):
        workspace.store.claim(job, workspace.limits, "hash")

    assert workspace.slept == []


@pytest.mark.parametrize("reason", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_throttled_transaction_rises_untouched_and_the_message_comes_back(
    workspace: Workspace, reason: str
) -> None:
    job = workspace.admit()
    conflicting(workspace, 1, "None", reason, "None")

    with pytest.raises(workspace.cloud.dynamodb.exceptions.TransactionCanceledException):
        workspace.submitter.submit(job)

    assert workspace.fal.posts == []
    assert workspace.read() == job
    assert workspace.submitter.submit(job).status is JobStatus.SUBMITTED


def test_the_ways_of_these_tests_lead_where_they_say(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(9, Decimal(10)))

    reached = {status: workspace.bring(status, n).status for n, status in enumerate(JobStatus)}

    assert reached == {status: status for status in JobStatus}
    assert set(WAY) == set(JobStatus) - {JobStatus.WAITING, JobStatus.REJECTED}
    assert isinstance(workspace.store, JobStore)
    assert FINAL < ENDINGS
