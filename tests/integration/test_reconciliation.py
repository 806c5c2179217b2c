"""Nothing waits for an event that never comes: what a pass does with each state, and when."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice, repeat
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import pytest
from moto.backends import get_backend

from phonoscene.fal.queue import FalQueue
from phonoscene.fal.requests import Ended, Lost, Pending, Unclear
from phonoscene.fal.results import from_webhook
from phonoscene.jobs import ANSWER_PATIENCE, LOOK_AGAIN_AFTER, JobStatus, Scene, Segment, Sequence
from phonoscene.limits import SpendingLimits
from phonoscene.publishing.wording import state_of
from phonoscene.queues import DropsQueue
from phonoscene.videos.video_formats import CUT_OFF
from phonoscene.workflow.ledger_audit import LedgerStatus
from phonoscene.workflow.reconciliation import (
    ASK_AGAIN,
    ASKED_FOR,
    COPY_AGAIN,
    END_AGAIN,
    RESULT_KEPT,
    ReconcileReport,
)
from phonoscene.workflow.storing import BECOMES_WHOLE_WITHIN, MAX_PAUSE, MIN_PAUSE
from tests.integration.fal_queue import FakeFalQueue
from tests.integration.loopback import Loopback, answer
from tests.integration.moto_stack import client
from tests.integration.workspace import (
    QUEUE,
    SILENCE,
    START,
    UNHEARD,
    USD,
    Clock,
    Workspace,
    a_request,
    an_id,
    failure,
    noted,
    numbered_half,
    numbered_job,
    request_of,
    result_message,
)
from tests.support.jobs import a_job
from tests.support.stack import ACCOUNT, FAL_KEY, JOBS, KEY_PARAMETER, REGION, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.integration.conftest import Context
    from tests.integration.moto_stack import Cloud

ZERO = Decimal(0)
SUCCESS = event("fal-success")
HOUR = timedelta(hours=1)
SEQUENCE = Sequence(fps=24.0, scenes=(Scene(),), segments=(Segment(scene=0, first=0, frames=9),))


@pytest.fixture
def workspace(cloud: Cloud) -> Workspace:
    return Workspace(cloud)


def later(workspace: Workspace, span: timedelta) -> Counter[str]:
    """One pass, after a while."""
    return a_pass(workspace, span).looked


def a_pass(workspace: Workspace, span: timedelta) -> ReconcileReport:
    workspace.clock.now += span
    return workspace.reconciler.run()


# A half that waits ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_audio", [True, False])
def test_a_half_whose_grace_is_over_is_handed_to_submit_until_its_wait_has_ended(
    workspace: Workspace, is_audio: bool
) -> None:
    half = numbered_half(is_audio=is_audio)
    workspace.store.wait(half, START + HOUR)

    seen = [
        later(workspace, HOUR),
        later(workspace, timedelta(minutes=5)),
        later(workspace, END_AGAIN),
    ]

    assert seen == [{"WAITING": 1}, {}, {"WAITING": 1}]
    assert workspace.queues.dispatched == [half.job_id] * 2
    assert workspace.read().status is JobStatus.WAITING
    assert workspace.sums() == (0, ZERO, ZERO)


def test_a_drop_that_waits_for_an_image_is_looked_at_more_and_more_rarely_until_its_wait_ends(
    workspace: Workspace,
) -> None:
    waits = {"waits_for": "image", "missing_image": "albums/a.png", "waits_until": START + HOUR}
    job = a_job(JobStatus.WAITING, START, job_id=an_id(1), **waits)
    workspace.store.admit(job, ())

    minute = timedelta(minutes=1)
    looks = [number for number in range(1, 71) if later(workspace, minute)]

    assert looks == [6, 12, 24, 48, 60, 66]
    assert workspace.queues.dispatched == [job.job_id] * 6


def test_a_half_within_its_grace_is_left_alone(workspace: Workspace) -> None:
    workspace.bring(JobStatus.WAITING)

    seen = later(workspace, HOUR - timedelta(milliseconds=1))

    assert seen == {}
    assert workspace.read().status is JobStatus.WAITING


def test_a_half_that_found_its_other_meanwhile_is_not_rejected(workspace: Workspace) -> None:
    half = workspace.bring(JobStatus.WAITING)
    workspace.clock.now += HOUR

    def pair(name: str, _: dict[str, Any]) -> None:
        if name == "update_item":
            workspace.recording_client.before = lambda _, __: None
            workspace.store.admit(numbered_job(2), (half.job_id,))

    workspace.recording_client.before = pair
    workspace.reconciler.run()

    assert workspace.store.get(half.job_id) is None
    assert workspace.read(2).status is JobStatus.READY


# A POST whose outcome no one knows --------------------------------------------------------------


def test_a_submission_whose_process_died_is_unconfirmed_and_never_sent_again(
    workspace: Workspace,
) -> None:
    workspace.bring(JobStatus.SUBMITTING)

    seen = later(workspace, LOOK_AGAIN_AFTER[JobStatus.SUBMITTING])

    assert seen == {"SUBMITTING": 1}
    assert workspace.read().status is JobStatus.UNCONFIRMED
    assert workspace.sums() == (1, USD, USD)
    assert (workspace.fal.posts, workspace.queues.dispatched) == ([], [])


def test_a_submission_that_is_under_way_is_left_alone(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTING)

    later(workspace, LOOK_AGAIN_AFTER[JobStatus.SUBMITTING] - timedelta(seconds=1))

    assert workspace.read() == job


def test_a_lost_answer_is_found_in_fals_list_by_the_mark_on_the_audios_url(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.UNCONFIRMED)
    workspace.fal.listed = {job.marker: a_request("found")}

    later(workspace, LOOK_AGAIN_AFTER[JobStatus.UNCONFIRMED])

    found = workspace.read()
    assert (found.status, found.request) == (JobStatus.SUBMITTED, a_request("found"))
    assert workspace.turn() == workspace.clock()  # the next pass asks how it ended
    assert workspace.sums() == (1, USD, USD)
    ((_, since, until),) = workspace.fal.searched
    assert since < START
    assert until == START + SILENCE  # what ends later was not sent by this attempt


def test_a_request_of_an_earlier_attempt_is_not_the_lost_one(workspace: Workspace) -> None:
    first = workspace.bring(JobStatus.SUBMITTED)
    second = workspace.step(workspace.step(first, JobStatus.READY), JobStatus.SUBMITTING)
    workspace.step(second, JobStatus.UNCONFIRMED)
    workspace.fal.listed = {first.marker: a_request("the-first")}

    later(workspace, LOOK_AGAIN_AFTER[JobStatus.UNCONFIRMED])

    assert workspace.read().status is JobStatus.UNCONFIRMED


@pytest.mark.parametrize("minutes", [1, 30, 134])
def test_before_the_silence_is_over_an_unconfirmed_job_is_only_looked_at_again(
    workspace: Workspace, minutes: int
) -> None:
    job = workspace.bring(JobStatus.UNCONFIRMED)

    later(workspace, timedelta(minutes=minutes))

    assert workspace.read() == noted(job)
    assert workspace.turn() == workspace.clock() + ASK_AGAIN


@pytest.mark.parametrize("waits", [300, 3300])
def test_a_silence_is_as_long_as_the_request_could_wait_and_run_whatever_a_later_one_may(
    workspace: Workspace, waits: int
) -> None:
    workspace.bring(JobStatus.UNCONFIRMED, start_timeout=waits)

    later(workspace, timedelta(seconds=waits, hours=1, minutes=15) - timedelta(seconds=1))
    before = workspace.read().status
    later(workspace, ASK_AGAIN)

    assert (before, workspace.read().status) == (JobStatus.UNCONFIRMED, JobStatus.READY)


def test_a_silence_that_is_over_allows_one_more_submission_and_the_record_says_so(
    workspace: Workspace,
) -> None:
    workspace.bring(JobStatus.UNCONFIRMED)

    later(workspace, SILENCE)

    again = workspace.read()
    assert (again.status, again.resubmitted, again.attempt) == (JobStatus.READY, True, 1)
    assert workspace.sums() == (0, ZERO, ZERO)
    assert workspace.queues.dispatched == [an_id(1)]


def test_a_second_silence_fails_the_job(workspace: Workspace) -> None:
    first = workspace.bring(JobStatus.UNCONFIRMED)
    later(workspace, SILENCE)
    again = workspace.step(workspace.read(), JobStatus.SUBMITTING)
    workspace.step(again, JobStatus.UNCONFIRMED)

    later(workspace, SILENCE)

    failed = workspace.read()
    assert failed.status is JobStatus.FAILED
    assert [error.code for error in failed.errors] == ["outcome_unknown"]
    assert [step.status for step in failed.history].count(JobStatus.SUBMITTING) == 2
    assert workspace.sums() == (0, ZERO, ZERO)
    assert first.marker != again.marker


def test_a_list_that_cannot_be_read_for_a_day_ends_the_job_and_its_money_stays_spent(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.UNCONFIRMED)
    workspace.fal.unlisted = UNHEARD

    later(workspace, SILENCE + ASKED_FOR)

    failed = workspace.read()
    assert (failed.status, failed.errors[0].code) == (JobStatus.FAILED, "outcome_unproven")
    assert workspace.fal.posts == []
    assert job.estimate
    assert workspace.sums() == (0, job.estimate.upper_usd, ZERO)


def test_a_job_has_had_its_turn_before_fal_is_asked_about_it(workspace: Workspace) -> None:
    """Should fal never answer, and the function end, the next pass begins with another job."""
    workspace.bring(JobStatus.SUBMITTED)
    turns: list[object] = []
    workspace.fal.on_question = lambda: turns.append(workspace.turn())

    later(workspace, timedelta(minutes=2))

    assert turns == [workspace.clock() + ASK_AGAIN]


def test_a_status_that_fal_does_not_document_is_asked_for_again_and_counted(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = Unclear("FAILED")

    this = a_pass(workspace, timedelta(minutes=2))
    after_all = a_pass(workspace, SILENCE + timedelta(minutes=1))

    assert (this.unclear, after_all.unclear) == (1, 1)
    assert workspace.read().problem == "its status is 'FAILED'"
    assert workspace.read().status is JobStatus.SUBMITTED
    assert workspace.fal.overdue == [False, True]  # the result decides, once fal must have ended it


def test_a_status_that_fal_does_not_document_is_no_answer(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.store.look_again(job, START, unanswered_since=START)
    workspace.fal.standing[request_of(job).request_id] = Unclear("FAILED")

    later(workspace, timedelta(minutes=2))

    assert workspace.read().unanswered_since == START


def test_a_request_of_which_fal_tells_nothing_for_a_day_ends(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = UNHEARD

    later(workspace, SILENCE + ASKED_FOR)

    assert [error.code for error in workspace.read().errors] == ["result_lost"]


@pytest.mark.parametrize("resubmitted", [False, True])
def test_while_fals_list_cannot_be_had_no_silence_proves_anything(
    workspace: Workspace, resubmitted: bool
) -> None:
    job = workspace.bring(JobStatus.UNCONFIRMED, resubmitted=resubmitted)
    workspace.fal.unlisted = UNHEARD

    later(workspace, SILENCE * 10)

    known = {"unanswered_since": workspace.clock(), "problem": str(UNHEARD)}
    assert workspace.read() == noted(job, writes=2, **known)
    assert workspace.turn() == workspace.clock() + ASK_AGAIN


@pytest.mark.parametrize("resubmitted", [False, True])
def test_a_result_that_comes_while_fal_is_asked_is_not_overwritten(
    workspace: Workspace, resubmitted: bool
) -> None:
    job = workspace.bring(JobStatus.UNCONFIRMED, resubmitted=resubmitted)
    workspace.fal.on_question = lambda: workspace.step(job, JobStatus.GENERATED)

    later(workspace, SILENCE)

    assert workspace.read().status is JobStatus.GENERATED
    assert workspace.sums() == (1, USD, USD)


# A webhook that does not come -------------------------------------------------------------------


def test_a_request_that_runs_is_asked_about_again(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = Pending()

    later(workspace, LOOK_AGAIN_AFTER[JobStatus.SUBMITTED])

    assert workspace.read() == noted(job)
    assert workspace.turn() == workspace.clock() + ASK_AGAIN
    assert workspace.queues.delivered == []


def test_a_request_is_asked_about_within_two_minutes_after_its_end() -> None:
    waits = (LOOK_AGAIN_AFTER[JobStatus.SUBMITTED], ASK_AGAIN)

    assert all(wait + timedelta(minutes=1) <= timedelta(minutes=2) for wait in waits)


@pytest.mark.parametrize(
    ("body", "becomes"),
    [
        (
            {"status": "OK", "payload": {"video": {"url": "https://v3.fal.media/files/x.mp4"}}},
            JobStatus.SUCCEEDED,
        ),
        (
            {
                "status": "ERROR",
                "payload": {
                    "detail": [
                        {"type": "content_policy_violation", "loc": ["body", "prompt"], "msg": "no"}
                    ]
                },
            },
            JobStatus.FAILED,
        ),
        (
            {"status": "ERROR", "payload": {"detail": "gone", "error_type": "runner_disconnected"}},
            JobStatus.READY,
        ),
    ],
    ids=["a success", "an error for good", "an error for now"],
)
def test_a_request_that_ended_goes_the_way_of_its_webhook(
    workspace: Workspace, body: dict[str, Any], becomes: JobStatus
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    name = request_of(job).request_id
    workspace.fal.standing[name] = Ended(json.dumps({"request_id": name, **body}))

    later(workspace, LOOK_AGAIN_AFTER[JobStatus.SUBMITTED])

    (message,) = workspace.queues.delivered
    assert workspace.read().status is JobStatus.SUBMITTED  # it is the store's to conclude
    assert workspace.turn() == workspace.clock() + ASK_AGAIN
    concluded = workspace.result_handler.handle(message)
    assert concluded == workspace.read()
    assert concluded.status is becomes
    assert workspace.sums()[0] == 0


def test_an_end_of_a_later_attempt_is_that_attempts_own(workspace: Workspace) -> None:
    back = workspace.step(workspace.bring(JobStatus.SUBMITTED), JobStatus.READY, request=None)
    job = workspace.step(workspace.step(back, JobStatus.SUBMITTING), JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = Ended(failure(job, "bad_request").body)

    later(workspace, LOOK_AGAIN_AFTER[JobStatus.SUBMITTED])
    (message,) = workspace.queues.delivered
    workspace.result_handler.handle(message)

    assert message.token_hash == job.token_hashes[1]
    assert workspace.read().status is JobStatus.FAILED


def test_a_status_that_was_odd_for_minutes_decides_no_more_than_the_result(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = UNHEARD
    begun = START + LOOK_AGAIN_AFTER[JobStatus.SUBMITTED]

    for _ in range(9):
        later(workspace, LOOK_AGAIN_AFTER[JobStatus.SUBMITTED])

    seconds = [n * ASK_AGAIN.total_seconds() for n in range(9)]
    assert workspace.read().unanswered_since == begun
    assert workspace.fal.overdue == [one > ANSWER_PATIENCE.total_seconds() for one in seconds]


def test_an_end_that_is_reported_twice_and_by_the_webhook_too_is_stored_once(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    name = request_of(job).request_id
    workspace.fal.standing[name] = Ended(result_message(job).body)
    later(workspace, timedelta(minutes=1))
    later(workspace, timedelta(minutes=1))

    for message in (*workspace.queues.delivered, result_message(job)):
        workspace.result_handler.handle(message)

    assert len(workspace.queues.delivered) == 2
    assert len(workspace.cdn.opened) == 1
    assert len(workspace.cloud.output_versions()) == 2  # a video and its manifest
    assert workspace.read().duplicate_requests == frozenset()


def test_a_request_that_fal_does_not_know_is_asked_about_as_long_as_its_result_may_live(
    workspace: Workspace,
) -> None:
    """Said soon after it was taken, that is a mishap of fal's, and the video is paid for."""
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = Lost()

    later(workspace, SILENCE + RESULT_KEPT - timedelta(seconds=1))

    assert workspace.read().status is JobStatus.SUBMITTED
    assert workspace.turn() == workspace.clock() + ASK_AGAIN
    assert workspace.read().unanswered_since == workspace.clock()
    assert "will poll it again: fal does not know" in state_of(workspace.read())


def test_a_request_that_fal_has_forgotten_fails_the_job(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = Lost()

    later(workspace, SILENCE + RESULT_KEPT)

    failed = workspace.read()
    assert failed.status is JobStatus.FAILED
    assert [error.code for error in failed.errors] == ["result_lost"]
    assert failed.estimate
    assert workspace.sums() == (0, failed.estimate.upper_usd, ZERO)  # fal may bill it


def test_a_request_that_is_listed_is_not_that_of_a_job_which_meanwhile_waits_to_be_sent_again(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.UNCONFIRMED)
    workspace.fal.listed[job.marker] = request_of(job)
    workspace.fal.on_question = lambda: workspace.step(job, JobStatus.READY)

    later(workspace, timedelta(minutes=2))

    assert workspace.read().status is JobStatus.READY
    assert workspace.sums() == (0, ZERO, ZERO)


@pytest.mark.parametrize("meanwhile", [JobStatus.GENERATED, JobStatus.READY])
def test_what_fal_has_forgotten_does_not_fail_a_job_that_moved_while_it_was_asked(
    workspace: Workspace, meanwhile: JobStatus
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = Lost()
    workspace.fal.on_question = lambda: workspace.step(job, meanwhile)

    later(workspace, SILENCE + RESULT_KEPT)

    assert workspace.read().status is meanwhile
    assert workspace.sums()[0] == (1 if meanwhile is JobStatus.GENERATED else 0)


def test_a_fal_that_cannot_be_reached_changes_nothing_but_when_it_is_asked_again(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = UNHEARD

    later(workspace, timedelta(hours=5))

    known = {"unanswered_since": workspace.clock(), "problem": str(UNHEARD)}
    assert workspace.read() == noted(job, writes=2, **known)
    assert workspace.turn() == workspace.clock() + ASK_AGAIN


# A copy that was cut off ------------------------------------------------------------------------


def test_a_copy_that_was_cut_off_is_begun_again(workspace: Workspace) -> None:
    workspace.bring(JobStatus.GENERATED)

    later(workspace, LOOK_AGAIN_AFTER[JobStatus.GENERATED])

    (message,) = workspace.queues.delivered
    assert workspace.turn() == workspace.clock() + COPY_AGAIN
    stored = workspace.result_handler.handle(message)
    assert stored
    assert stored.status is workspace.read().status is JobStatus.SUCCEEDED
    assert workspace.sums() == (0, USD, ZERO)


def test_a_copy_that_fails_is_begun_again_soon_and_then_ever_more_rarely(
    workspace: Workspace,
) -> None:
    workspace.cdn.is_down = True
    workspace.result_handler.handle(result_message(workspace.bring(JobStatus.SUBMITTED)))
    pauses = []
    for _ in range(12):
        turn = workspace.turn()
        assert turn
        pauses.append(turn - workspace.clock())
        later(workspace, pauses[-1])
        workspace.result_handler.handle(workspace.queues.delivered[-1])

    assert pauses[0] == MIN_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE
    assert len(workspace.queues.delivered) == 12
    workspace.cdn.is_down = False
    workspace.result_handler.handle(workspace.queues.delivered[-1])
    assert workspace.read().status is JobStatus.SUCCEEDED


def test_a_video_that_stays_cut_off_is_stored_as_it_is_after_some_minutes(
    workspace: Workspace,
) -> None:
    workspace.cdn.body = workspace.cdn.body[:-1]
    workspace.result_handler.handle(result_message(workspace.bring(JobStatus.SUBMITTED)))
    while workspace.read().status is JobStatus.GENERATED:
        turn = workspace.turn()
        assert turn
        later(workspace, turn - workspace.clock())
        workspace.result_handler.handle(workspace.queues.delivered[-1])

    stored = workspace.read()
    assert (stored.status, stored.video_flaws) == (JobStatus.SUCCEEDED, frozenset({CUT_OFF}))
    assert workspace.clock() == START + BECOMES_WHOLE_WITHIN


def test_a_copy_is_not_begun_again_while_the_last_may_still_run(workspace: Workspace) -> None:
    workspace.bring(JobStatus.GENERATED)
    later(workspace, LOOK_AGAIN_AFTER[JobStatus.GENERATED])

    later(workspace, COPY_AGAIN - timedelta(seconds=1))

    assert len(workspace.queues.delivered) == 1


@pytest.mark.parametrize("asked", [None, 3600, 200_000])
def test_a_video_that_cannot_be_copied_while_fal_keeps_it_fails_its_job(
    cloud: Cloud, asked: int | None
) -> None:
    workspace, kept = Workspace(cloud), timedelta(seconds=asked or 86400)
    job = workspace.bring(JobStatus.GENERATED, output_lifetime=asked)
    workspace.store.look_again(job, workspace.clock(), problem="the CDN answered 404")
    while workspace.read().status is JobStatus.GENERATED:
        later(workspace, COPY_AGAIN)

    failed = workspace.read()
    assert [error.code for error in failed.errors] == ["video_unavailable"]
    assert "The last time, the CDN answered 404." in failed.errors[0].message
    assert kept < failed.updated_at - START <= kept + COPY_AGAIN
    assert len(workspace.queues.delivered) == kept // COPY_AGAIN
    assert (failed.source_url, failed.reported) == (None, {})
    assert workspace.sums() == (0, USD, ZERO)  # fal made it, and bills it
    assert workspace.store.ledger.window().video_lost_at == failed.updated_at


def test_fal_keeps_a_video_from_when_it_was_made_however_long_its_job_had_waited(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.clock.now += timedelta(days=3)
    workspace.step(job, JobStatus.GENERATED)

    later(workspace, COPY_AGAIN)

    assert workspace.read().status is JobStatus.GENERATED
    assert len(workspace.queues.delivered) == 1


# A pass -----------------------------------------------------------------------------------------


def test_a_job_that_fails_to_be_looked_at_does_not_stop_the_others(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(4):
        workspace.bring(JobStatus.SUBMITTED, n)
    workspace.fal.standing[request_of(workspace.read(0)).request_id] = RuntimeError("a bug")
    waiting = workspace.admit(5)
    workspace.limits = SpendingLimits(5, Decimal(10))

    seen = later(workspace, timedelta(minutes=2))

    assert seen == {"SUBMITTED": 4}
    assert len(workspace.fal.polled) == 4
    assert workspace.turn(0) == workspace.clock() + ASK_AGAIN
    assert workspace.read(0).unanswered_since == workspace.clock()
    assert workspace.queues.dispatched == [waiting.job_id]
    assert "reconcile.failed" in caplog.messages


def test_a_webhook_that_comes_while_fal_does_not_answer_is_no_failure(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)

    def answer() -> None:
        workspace.result_handler.handle(result_message(job))
        raise UNHEARD

    workspace.fal.on_question = answer
    later(workspace, timedelta(minutes=2))

    assert workspace.read().status is JobStatus.SUCCEEDED
    assert "reconcile.failed" not in caplog.messages


def test_a_record_that_cannot_be_read_does_not_stop_the_others(workspace: Workspace) -> None:
    """A release that was rolled back may have left a state that this one does not know."""
    for n in range(2):
        workspace.bring(JobStatus.SUBMITTED, n)
    workspace.client.update_item(
        TableName=JOBS,
        Key={"job_id": {"S": an_id(0)}},
        UpdateExpression="SET #status = :unknown",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":unknown": {"S": "UPSCALING"}},
    )
    waiting = workspace.admit(5)

    later(workspace, timedelta(minutes=2))

    assert workspace.fal.polled == [request_of(workspace.read(1)).request_id]
    assert workspace.queues.dispatched == [waiting.job_id]


def test_a_job_that_cannot_even_be_postponed_does_not_stop_the_others(workspace: Workspace) -> None:
    for n in range(3):
        workspace.bring(JobStatus.SUBMITTED, n)
    waiting = workspace.admit(5)
    slow = workspace.cloud.dynamodb.exceptions.ProvisionedThroughputExceededException(
        {"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, "UpdateItem"
    )

    def throttle(name: str, request: dict[str, Any]) -> None:
        if name == "update_item" and request["Key"]["job_id"]["S"] == an_id(0):
            raise slow

    workspace.recording_client.before = throttle
    later(workspace, timedelta(minutes=2))

    assert len(workspace.fal.polled) == 2
    assert workspace.queues.dispatched == [waiting.job_id]


def clock_that_ends_after(looks: int) -> Iterator[bool]:
    yield from (True for _ in range(looks))
    while True:
        yield False


def test_a_pass_that_runs_out_of_time_still_dispatches_and_the_next_one_goes_on(
    workspace: Workspace,
) -> None:
    workspace.limits = SpendingLimits(9, Decimal(10))
    for n in range(5):
        workspace.bring(JobStatus.SUBMITTED, n)
    waiting = workspace.admit(9)
    workspace.clock.go_on(minutes=2)

    first = workspace.reconciler.run(clock_that_ends_after(3).__next__)
    polled = set(workspace.fal.polled)
    workspace.clock.go_on(seconds=1)
    second = workspace.reconciler.run()

    assert (first.looked.total(), second.looked.total()) == (3, 2)
    assert workspace.queues.dispatched[0] == waiting.job_id
    assert len(polled) == 3
    assert len(set(workspace.fal.polled)) == len(workspace.fal.polled) == 5


def test_a_slow_answer_of_fal_keeps_no_other_job_from_its_turn(workspace: Workspace) -> None:
    workspace.limits = SpendingLimits(9, Decimal(10))
    for n in range(9):
        workspace.bring(JobStatus.SUBMITTED, n)
    first, others_had_their_turn = Lock(), Event()

    def answer() -> None:
        if first.acquire(blocking=False):  # this one waits until all the others were polled
            assert others_had_their_turn.wait(20)
        elif len(workspace.fal.polled) == 9:
            others_had_their_turn.set()

    workspace.fal.on_question = answer
    seen = later(workspace, timedelta(minutes=2))

    assert seen == {"SUBMITTED": 9}
    assert len(set(workspace.fal.polled)) == len(workspace.fal.polled) == 9


def test_passes_that_run_out_of_time_come_to_every_job_nevertheless(workspace: Workspace) -> None:
    """Fal answers slowly: what was looked at first is due again before the last was looked at."""
    workspace.limits = SpendingLimits(16, Decimal(10))
    ids = {workspace.bring(JobStatus.SUBMITTED, n).job_id for n in range(16)}
    workspace.clock.go_on(minutes=2)

    passes = [
        {one for one, _ in islice(workspace.store.due(workspace.clock()), 8)} for _ in range(30)
    ]

    # a pass begins anywhere: 30 that see half of them miss one of 16 once in 67 million times
    assert set().union(*passes) == ids


# Dispatching ------------------------------------------------------------------------------------


def test_ready_jobs_are_dispatched_oldest_first_up_to_the_room_there_is(
    workspace: Workspace,
) -> None:
    ages = [7, 3, 9, 1, 5]  # in an order that is not the shards'
    for n, minutes in enumerate(ages):
        workspace.store.admit(numbered_job(n, at=START - timedelta(minutes=minutes)), ())
    workspace.bring(JobStatus.SUBMITTED, 9)

    workspace.reconciler.run()

    oldest = sorted(range(5), key=lambda n: -ages[n])[:3]
    assert workspace.queues.dispatched == [an_id(n) for n in oldest]


def test_a_job_whose_turn_has_not_come_is_not_dispatched(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.store.end(job, JobStatus.READY, at=START + timedelta(minutes=10))

    later(workspace, timedelta(minutes=9, seconds=59))
    before = list(workspace.queues.dispatched)
    later(workspace, timedelta(seconds=1))

    assert before == []
    assert workspace.queues.dispatched == [job.job_id]


def test_nothing_is_dispatched_without_room(workspace: Workspace) -> None:
    for n in range(4):
        workspace.bring(JobStatus.SUBMITTED, n)
    workspace.admit(9)

    workspace.reconciler.run()

    assert workspace.queues.dispatched == []


def test_nothing_is_dispatched_during_a_pause_which_ends_by_itself(workspace: Workspace) -> None:
    job = workspace.admit()
    workspace.store.ledger.pause(START + timedelta(minutes=5))

    later(workspace, timedelta(minutes=4, seconds=59))
    during = list(workspace.queues.dispatched)
    later(workspace, timedelta(seconds=1))

    assert during == []
    assert workspace.queues.dispatched == [job.job_id]


def test_a_slot_that_leaked_is_given_back_by_a_pass_that_says_so(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.set_window(in_flight={job.job_id, an_id(7)})

    this = workspace.reconciler.run()

    assert this.standing
    assert (this.corrected, this.standing.in_flight, workspace.sums()[0]) == (1, 1, 1)
    (line,) = [record for record in caplog.records if record.message == "window.corrected"]
    assert (line.__dict__["job_id"], line.__dict__["is_held"]) == (an_id(7), False)


def test_a_job_that_lost_its_slot_takes_it_again_when_it_is_looked_at(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.set_window(in_flight={an_id(7)})

    this = a_pass(workspace, timedelta(minutes=2))

    assert this.corrected == 2
    assert workspace.store.ledger.window().in_flight == {job.job_id}


# What a pass tells ------------------------------------------------------------------------------


def test_a_pass_tells_how_long_the_oldest_of_each_kind_has_waited(workspace: Workspace) -> None:
    workspace.bring(JobStatus.SUBMITTED, 1)
    workspace.clock.go_on(minutes=3)
    workspace.bring(JobStatus.SUBMITTED, 2)
    workspace.admit(3)
    workspace.limits = SpendingLimits(2, Decimal(10))

    this = a_pass(workspace, timedelta(minutes=2))

    assert this.standing
    assert this.standing.oldest == timedelta(minutes=5)
    assert this.ready_for == timedelta(minutes=2)
    assert this.overdue == timedelta(minutes=5) - LOOK_AGAIN_AFTER[JobStatus.SUBMITTED]
    assert (this.standing.in_flight, this.standing.committed_usd) == (2, USD * 2)
    assert not this.standing.is_paused


def test_a_quiet_table_has_nothing_to_tell(workspace: Workspace) -> None:
    this = workspace.reconciler.run()

    nothing = timedelta(0)
    assert (this.overdue, this.ready_for, this.dispatched, this.at_risk) == (nothing, nothing, 0, 0)
    assert this.standing == LedgerStatus(0, nothing, ZERO, is_paused=False)


def test_a_pause_is_reported_as_long_as_it_lasts(workspace: Workspace) -> None:
    workspace.store.ledger.pause(START + timedelta(minutes=5))

    shown = [a_pass(workspace, timedelta(minutes=minutes)).standing for minutes in (4, 1)]

    assert [one and one.is_paused for one in shown] == [True, False]


# Long audio ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [JobStatus.SUBMITTED, JobStatus.GENERATED])
def test_long_audio_is_handed_to_submit_with_the_time_since_when_it_cannot_be_edited(
    workspace: Workspace, status: JobStatus
) -> None:
    job = workspace.bring(status, sequence=SEQUENCE)
    workspace.store.look_again(job, START + HOUR, unanswered_since=START)

    seen = [later(workspace, HOUR), later(workspace, COPY_AGAIN)]

    assert seen == [{status: 1}] * 2
    assert workspace.queues.dispatched == [job.job_id] * 2
    assert workspace.read().unanswered_since == START


# A paid video that is not stored ---------------------------------------------------------------


def test_a_video_that_is_joined_for_long_is_not_at_risk(workspace: Workspace) -> None:
    """The videos of its segments are kept for a month."""
    workspace.bring(JobStatus.GENERATED, sequence=SEQUENCE)

    assert a_pass(workspace, COPY_AGAIN + timedelta(minutes=10)).at_risk == 0


def test_a_copy_that_takes_more_than_ten_minutes_is_at_risk(workspace: Workspace) -> None:
    workspace.bring(JobStatus.GENERATED)

    soon = a_pass(workspace, timedelta(minutes=10))
    late = a_pass(workspace, COPY_AGAIN)

    assert (soon.at_risk, late.at_risk) == (0, 1)


@pytest.mark.parametrize("status", [JobStatus.SUBMITTED, JobStatus.UNCONFIRMED])
def test_a_job_of_which_fal_tells_nothing_for_two_minutes_is_at_risk_until_it_does(
    workspace: Workspace, status: JobStatus
) -> None:
    job = workspace.bring(status)
    name = request_of(job).request_id
    workspace.fal.standing[name] = workspace.fal.unlisted = UNHEARD

    risks = [a_pass(workspace, timedelta(minutes=1)).at_risk for _ in range(5)]
    workspace.fal.unlisted = None
    workspace.fal.standing[name] = Pending()
    held_up = workspace.read().problem
    after = [a_pass(workspace, timedelta(minutes=1)).at_risk for _ in range(2)]

    assert held_up == str(UNHEARD)
    assert risks == [0, 0, 0, 1, 1]
    assert after == [1, 0]
    assert (workspace.read().unanswered_since, workspace.read().problem) == (None, None)


def test_what_fal_did_not_tell_is_forgotten_when_the_job_moves(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.fal.standing[request_of(job).request_id] = UNHEARD
    a_pass(workspace, timedelta(minutes=1))

    moved = workspace.step(workspace.read(), JobStatus.GENERATED)

    assert moved.unanswered_since is workspace.read().unanswered_since is None


def test_a_request_is_asked_about_as_often_as_the_stack_wants(workspace: Workspace) -> None:
    workspace.bring(JobStatus.SUBMITTED)
    eager = dataclasses.replace(workspace.reconciler, ask_again=timedelta(seconds=3))
    workspace.clock.go_on(minutes=1)

    asked = []
    for _ in range(3):
        eager.run()
        asked.append((workspace.turn() or workspace.clock()) - workspace.clock())
        workspace.clock.go_on(seconds=3)

    assert asked == [timedelta(seconds=3)] * 3
    assert len(workspace.fal.polled) == 3


def test_what_fal_does_not_answer_and_its_list_are_asked_no_more_often(
    workspace: Workspace,
) -> None:
    workspace.bring(JobStatus.SUBMITTED, 1)
    workspace.bring(JobStatus.UNCONFIRMED, 2)
    workspace.fal.standing[request_of(workspace.read(1)).request_id] = UNHEARD
    eager = dataclasses.replace(workspace.reconciler, ask_again=timedelta(seconds=3))
    workspace.clock.go_on(minutes=2)

    eager.run()

    assert [workspace.turn(n) for n in (1, 2)] == [workspace.clock() + ASK_AGAIN] * 2


# The function -----------------------------------------------------------------------------------


@pytest.fixture
def reconcile(
    function: Callable[..., ModuleType], cloud: Cloud, environment: pytest.MonkeyPatch
) -> ModuleType:
    drops = cloud.sqs.create_queue(QueueName="drops-of-reconcile")["QueueUrl"]
    get_backend("sqs")[ACCOUNT][REGION].queues["drops-of-reconcile"]._messages = []
    module = function(
        "reconcile",
        JOBS_TABLE=JOBS,
        FAL_KEY_PARAMETER=KEY_PARAMETER,
        DROPS_QUEUE_URL=drops,
        VERDICTS_QUEUE_URL=cloud.verdicts_url,
        ASK_FAL_SECONDS="45",
        MAX_IN_FLIGHT="2",
        DAILY_BUDGET_USD="25",
    )
    environment.setattr(module, "FalQueue", lambda _: FakeFalQueue())
    return module


def due_jobs(cloud: Cloud, count: int) -> None:
    """As many records, of every state that can be due, as they were half an hour ago."""
    clock = Clock(datetime.now(UTC) - timedelta(minutes=30))
    states = sorted(LOOK_AGAIN_AFTER)
    jobs = []
    for n in range(count):
        job = numbered_half(n, clock()) if n % 5 == 0 else numbered_job(n, at=clock())
        if n % 5:
            status = states[n % 5 - 1]
            step = job.history[0].model_copy(update={"status": status})
            changes = {"status": status, "attempt": 1, "history": (*job.history, step)}
            fields = {"token_hashes": ("hash",), "request": a_request(f"request-{n}")}
            job = job.model_copy(update=changes | fields)
        jobs.append(job)
    cloud.put_jobs(jobs, clock())


def test_a_tick_leaves_to_the_next_one_what_it_has_no_time_for(
    cloud: Cloud, reconcile: ModuleType, context: Context, environment: pytest.MonkeyPatch
) -> None:
    due_jobs(cloud, 5)
    left = chain([25_001] * 2, repeat(25_000))
    environment.setattr(type(context), "get_remaining_time_in_millis", lambda _: next(left))

    assert reconcile.handler({}, context).total() == 2


def calls_of_a_pass(
    cloud: Cloud, reconcile: ModuleType, context: Context, count: int
) -> tuple[dict[str, int], Counter[str]]:
    """What a pass over so many jobs saw, and its requests to AWS by name."""
    cloud.empty()
    due_jobs(cloud, count)
    calls: list[str] = []

    def count_call(event_name: str, **_: Any) -> None:
        calls.append(event_name.rpartition(".")[2])

    clients = [client("dynamodb"), client("sqs")]
    for one in clients:
        one.meta.events.register("before-call", count_call)
    try:
        return reconcile.handler({}, context), Counter(calls)
    finally:
        for one in clients:
            one.meta.events.unregister("before-call", count_call)


def test_a_minutes_tick_looks_at_200_due_jobs_at_a_constant_cost_each(
    cloud: Cloud, reconcile: ModuleType, context: Context
) -> None:
    _, none = calls_of_a_pass(cloud, reconcile, context, 0)
    few, of_20 = calls_of_a_pass(cloud, reconcile, context, 20)
    seen, of_200 = calls_of_a_pass(cloud, reconcile, context, 200)

    each = ["WAITING", "SUBMITTING", "UNCONFIRMED", "SUBMITTED", "GENERATED"]
    assert seen == dict.fromkeys(each, 40)
    assert few == dict.fromkeys(each, 4)
    assert of_200.total() - none.total() == 10 * (of_20.total() - none.total())
    assert (of_200.total() - none.total()) / 200 <= 3
    assert none["Query"] == of_200["Query"]
    assert "Scan" not in of_200


def test_a_tick_announces_the_jobs_whose_turn_it_is(
    cloud: Cloud, reconcile: ModuleType, context: Context
) -> None:
    workspace = Workspace.on_moto(cloud, clock=Clock(datetime.now(UTC) - timedelta(minutes=3)))
    for n in (3, 1, 2):
        workspace.admit(n)
        workspace.clock.go_on(seconds=30)

    reconcile.handler({}, context)

    url = cloud.sqs.get_queue_url(QueueName="drops-of-reconcile")["QueueUrl"]
    got = cloud.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(message["Body"]) for message in got] == [
        {"job_id": an_id(3)},
        {"job_id": an_id(1)},
    ]


def test_a_queue_of_drops_is_not_made_to_wait_for_anything_to_settle(cloud: Cloud) -> None:
    url = cloud.sqs.create_queue(QueueName="slow-drops", Attributes={"DelaySeconds": "900"})

    DropsQueue(cloud.sqs, url["QueueUrl"]).dispatch([an_id(1)])

    got = cloud.sqs.receive_message(QueueUrl=url["QueueUrl"])
    assert [json.loads(one["Body"]) for one in got["Messages"]] == [{"job_id": an_id(1)}]


# As fal answers ---------------------------------------------------------------------------------

STATUS = {"status": "COMPLETED", "request_id": "r1"}


def asked(
    internet: Loopback, status: Any, result: Any = None, code: int = 200, **headers: str
) -> Any:
    """What a poll makes of a status and a result."""
    plays = {"/status": status, "": answer(result, code, headers)}

    async def play(seen: Any, request: Any) -> Any:
        return await plays["/status" if seen.target.endswith("/status") else ""](seen, request)

    internet.plays["queue.fal.run"] = play
    return FalQueue(lambda **_: FAL_KEY).poll(a_request("r1"))


@pytest.mark.parametrize("state", ["IN_QUEUE", "IN_PROGRESS"])
@pytest.mark.parametrize("code", [200, 202])
def test_a_request_in_fals_queue_is_pending(internet: Loopback, state: str, code: int) -> None:
    result = asked(internet, answer({"status": state}, code))

    assert result == Pending()
    assert [seen.target for seen in internet.requests("queue.fal.run")] == [
        QUEUE.removeprefix("https://queue.fal.run") + "/r1/status"
    ]


def test_a_completed_request_is_reported_as_its_webhook_would_report_it(internet: Loopback) -> None:
    result = asked(internet, answer(STATUS), SUCCESS["payload"])

    assert isinstance(result, Ended)
    assert json.loads(result.body) == {
        "request_id": "r1",
        "status": "OK",
        "payload": SUCCESS["payload"],
    }


def test_what_fal_bills_for_a_polled_result_travels_with_it(internet: Loopback) -> None:
    bill: Any = {"X-Fal-Billable-Units": "71.5"}

    result = asked(internet, answer(STATUS), SUCCESS["payload"], **bill)

    assert from_webhook(result.body).billable_units == Decimal("71.5")


def test_a_completed_request_whose_run_failed_is_an_error(internet: Loopback) -> None:
    detail = [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]

    result = asked(internet, answer(STATUS | {"error": "no"}), {"detail": detail}, 422)

    assert isinstance(result, Ended)
    body = json.loads(result.body)
    assert (body["status"], body["payload"]) == ("ERROR", {"detail": detail})


@pytest.mark.parametrize("field", ["error", "error_type"])
def test_a_run_that_failed_is_no_lost_result_where_fal_keeps_none(
    internet: Loopback, field: str
) -> None:
    result = asked(internet, answer(STATUS | {field: "no"}), {"detail": "gone"}, 404)

    assert isinstance(result, Ended)
    assert json.loads(result.body)["status"] == "ERROR"


@pytest.mark.parametrize("code", [404, 410])
def test_a_result_that_is_gone_is_lost(internet: Loopback, code: int) -> None:
    assert asked(internet, answer(STATUS), {"detail": "gone"}, code) == Lost()


@pytest.mark.parametrize("code", [401, 403, 408, 429, 500, 502, 503, 504])
def test_an_error_that_is_not_the_runs_own_word_fails_no_paid_video(
    internet: Loopback, code: int
) -> None:
    """The status says that the run succeeded: whatever the result's door answers is the door's."""
    with pytest.raises(type(UNHEARD)):
        asked(internet, answer(STATUS), {"detail": "not now"}, code)


@pytest.mark.parametrize("code", [401, 429, 500, 504])
def test_a_status_that_cannot_be_had_is_no_answer(internet: Loopback, code: int) -> None:
    with pytest.raises(type(UNHEARD)):
        asked(internet, answer({"detail": "not now"}, code))
