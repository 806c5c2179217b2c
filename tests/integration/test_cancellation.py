"""A cancelled job: nothing more is done for it, what it held is free, and fal is asked to stop."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.errors import WriteRefused
from phonoscene.fal.queue import FalQueue
from phonoscene.jobs import FINAL, JobStatus, Request
from tests.integration.loopback import Loopback, answer, vanish
from tests.integration.workspace import (
    USD,
    Workspace,
    a_request,
    an_id,
    failure,
    request_of,
    result_message,
)
from tests.support.fakes.calls import Crash
from tests.support.stack import FAL_KEY, sqs

if TYPE_CHECKING:
    from types import ModuleType

    from phonoscene.fal.requests import Submission
    from tests.integration.conftest import Context
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

ZERO = Decimal(0)
NOTHING = (0, ZERO, ZERO)
STOPPABLE = sorted(set(JobStatus) - FINAL - {JobStatus.GENERATED})
PAST_STOPPING = sorted((FINAL - {JobStatus.CANCELLED}) | {JobStatus.GENERATED})


@pytest.fixture
def workspace(cloud: Cloud) -> Workspace:
    return Workspace(cloud)


# From every state -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STOPPABLE)
def test_a_job_that_has_no_video_yet_is_cancelled_and_holds_nothing(
    workspace: Workspace, status: JobStatus
) -> None:
    job = workspace.bring(status)

    cancelled = workspace.canceller.cancel(job.job_id)

    assert cancelled == workspace.read()
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.reservation is None
    assert workspace.sums() == NOTHING
    assert (workspace.client.index("due"), workspace.client.index("backlog")) == (set(), set())


@pytest.mark.parametrize("status", PAST_STOPPING)
def test_a_job_that_has_its_video_or_has_ended_stays_as_it_is(
    workspace: Workspace, status: JobStatus
) -> None:
    job = workspace.bring(status)
    sums = workspace.sums()

    result = workspace.canceller.cancel(job.job_id)

    assert result == workspace.read() == job
    assert workspace.sums() == sums
    assert workspace.fal.cancelled == []


def test_a_job_that_does_not_exist_cannot_be_cancelled(workspace: Workspace) -> None:
    assert workspace.canceller.cancel(an_id(7)) is None
    assert workspace.client.items() == []


def test_a_cancelled_job_leaves_its_slot_to_the_next(workspace: Workspace) -> None:
    for n in range(4):
        workspace.bring(JobStatus.SUBMITTED, n)
    waiting = workspace.admit(9)

    workspace.canceller.cancel(an_id(2))
    workspace.reconciler.run()

    assert workspace.queues.dispatched == [waiting.job_id]


# fal --------------------------------------------------------------------------------------------


def test_fal_is_asked_to_stop_the_request_that_the_record_names(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)

    workspace.canceller.cancel(job.job_id)

    assert workspace.fal.cancelled == [request_of(job)]


@pytest.mark.parametrize(
    "status", [JobStatus.WAITING, JobStatus.READY, JobStatus.SUBMITTING, JobStatus.UNCONFIRMED]
)
def test_where_no_request_is_known_fal_is_not_asked(
    workspace: Workspace, status: JobStatus
) -> None:
    job = workspace.bring(status)

    workspace.canceller.cancel(job.job_id)

    assert workspace.fal.cancelled == []


def test_a_cancellation_that_was_cut_off_before_fal_was_asked_is_finished_by_the_next(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)

    def crash(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(workspace.fal, "cancel", crash)
        with pytest.raises(Crash):
            workspace.canceller.cancel(job.job_id)

    workspace.canceller.cancel(job.job_id)

    assert workspace.read().status is JobStatus.CANCELLED
    assert workspace.fal.cancelled == [request_of(job)]
    assert workspace.sums() == NOTHING


def test_fal_gets_one_put_at_the_url_that_it_gave_us(internet: Loopback) -> None:
    internet.plays["queue.fal.run"] = answer({"status": "CANCELLATION_REQUESTED"}, 202)

    FalQueue(lambda **_: FAL_KEY).cancel(a_request("r1"))

    (seen,) = internet.requests("queue.fal.run", "PUT")
    assert seen.target == "/fal-ai/ltx-2.3-22b/requests/r1/cancel"
    assert seen.headers["authorization"] == f"Key {FAL_KEY}"


@pytest.mark.parametrize("play", [answer({"status": "ALREADY_COMPLETED"}, 400), vanish])
def test_a_fal_that_will_not_stop_is_no_error_and_not_asked_twice(
    internet: Loopback, play: Any
) -> None:
    internet.plays["queue.fal.run"] = play

    FalQueue(lambda **_: FAL_KEY).cancel(a_request("r1"))

    assert len(internet.requests("queue.fal.run", "PUT")) == 1


@pytest.mark.parametrize("url", [None, "https://evil.example.com/cancel"])
def test_our_key_is_shown_to_fal_alone(internet: Loopback, url: str | None) -> None:
    FalQueue(lambda **_: FAL_KEY).cancel(Request(request_id="r1", cancel_url=url))

    assert [seen.target for seen in internet.requests("queue.fal.run", "PUT")] == [
        "/fal-ai/ltx-2.3-22b/requests/r1/cancel"
    ]
    assert set(internet.tunnels) == {"queue.fal.run"}


# What comes afterwards --------------------------------------------------------------------------


def test_a_video_that_comes_too_late_is_noted_and_not_stored(
    workspace: Workspace, cloud: Cloud
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.canceller.cancel(job.job_id)

    workspace.result_handler.handle(result_message(job))

    after = workspace.read()
    assert after.status is JobStatus.CANCELLED
    assert after.duplicate_requests == {request_of(job).request_id}
    assert (workspace.cdn.opened, cloud.outputs()) == ([], {})
    assert workspace.sums() == (0, USD, ZERO)  # fal made it, and bills it


def test_a_late_failure_of_a_cancelled_job_is_no_second_payment(workspace: Workspace) -> None:
    """It is how a request ends that fal has stopped."""
    job = workspace.bring(JobStatus.SUBMITTED)
    cancelled = workspace.canceller.cancel(job.job_id)

    workspace.result_handler.handle(failure(job, "client_cancelled"))

    assert workspace.read() == cancelled


def test_a_cancelled_job_that_is_dispatched_is_not_sent(workspace: Workspace) -> None:
    job = workspace.admit()
    workspace.canceller.cancel(job.job_id)

    submitted = workspace.submitter.submit(job)

    assert submitted.status is JobStatus.CANCELLED
    assert workspace.fal.posts == []
    assert workspace.sums() == NOTHING


def test_a_cancelled_job_is_not_looked_after_any_more(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.canceller.cancel(job.job_id)
    workspace.clock.go_on(hours=5)

    seen = workspace.reconciler.run()

    assert (seen.looked.total(), workspace.fal.polled) == (0, [])


# Races ------------------------------------------------------------------------------------------


def test_a_cancel_while_the_post_is_under_way_stops_the_request_as_soon_as_it_is_known(
    workspace: Workspace,
) -> None:
    job = workspace.admit()

    def cancel(_: Submission) -> None:
        workspace.canceller.cancel(job.job_id)

    workspace.fal.on_post = cancel
    submitted = workspace.submitter.submit(job)

    assert submitted == workspace.read()
    assert submitted.status is JobStatus.CANCELLED
    assert [request.request_id for request in workspace.fal.cancelled] == ["request-1"]
    assert workspace.sums() == NOTHING


def meanwhile(workspace: Workspace, what: Any) -> None:
    """Before the canceller's write, and after its read."""

    def once(name: str, _: dict[str, Any]) -> None:
        if name in {"update_item", "transact_write_items"}:
            workspace.recording_client.before = lambda _, __: None
            what()

    workspace.recording_client.before = once


def test_a_cancel_that_meets_a_claim_cancels_the_claimed_job(workspace: Workspace) -> None:
    job = workspace.admit()
    meanwhile(workspace, lambda: workspace.step(job, JobStatus.SUBMITTING))

    cancelled = workspace.canceller.cancel(job.job_id)

    assert cancelled == workspace.read()
    assert (cancelled.status, cancelled.attempt) == (JobStatus.CANCELLED, 1)
    assert workspace.sums() == NOTHING


def test_a_cancel_that_meets_a_success_leaves_the_video_alone(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    meanwhile(workspace, lambda: workspace.step(job, JobStatus.GENERATED))

    result = workspace.canceller.cancel(job.job_id)

    assert result == workspace.read()
    assert result.status is JobStatus.GENERATED
    assert workspace.fal.cancelled == []
    assert workspace.sums() == (1, USD, USD)


def test_a_cancel_that_read_an_attempt_which_is_given_up_meanwhile_gives_back_once(
    workspace: Workspace,
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    other = workspace.bring(JobStatus.SUBMITTED, 2)
    meanwhile(workspace, lambda: workspace.result_handler.handle(failure(job)))

    cancelled = workspace.canceller.cancel(job.job_id)

    assert cancelled == workspace.read()
    assert cancelled.status is JobStatus.CANCELLED
    assert workspace.read(2) == other
    assert workspace.sums() == (1, USD, USD)


def test_two_cancels_give_back_once(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    workspace.bring(JobStatus.SUBMITTED, 2)
    meanwhile(workspace, lambda: workspace.canceller.cancel(job.job_id))

    result = workspace.canceller.cancel(job.job_id)

    assert result == workspace.read()
    assert [step.status for step in result.history].count(JobStatus.CANCELLED) == 1
    assert workspace.sums() == (1, USD, USD)


def test_a_result_that_meets_a_cancel_stores_nothing(workspace: Workspace, cloud: Cloud) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    meanwhile(workspace, lambda: workspace.canceller.cancel(job.job_id))

    result = workspace.result_handler.handle(result_message(job))

    assert result
    assert result.status is workspace.read().status is JobStatus.CANCELLED
    assert cloud.outputs() == {}
    assert workspace.sums() == (0, USD, ZERO)


def test_a_record_that_moves_at_every_look_is_given_up_after_a_few(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    looks = []

    def move_on(name: str, _: dict[str, Any]) -> None:
        if name == "transact_write_items":
            looks.append(name)
            raise WriteRefused(job)

    workspace.recording_client.before = move_on
    with pytest.raises(WriteRefused):  # its message comes back
        workspace.canceller.cancel(job.job_id)

    assert 1 < len(looks) <= 10


# Through the queue ------------------------------------------------------------------------------


def test_a_message_of_the_drops_queue_cancels_the_job_it_names_and_no_other(
    cloud: Cloud, submit: ModuleType, fal: FakeFalQueue, context: Context
) -> None:
    workspace = Workspace.on_moto(cloud)
    job, other = workspace.bring(JobStatus.SUBMITTED, 1), workspace.bring(JobStatus.SUBMITTED, 2)

    result = submit.handler(sqs({"cancel": job.job_id}), context)

    assert result == {"batchItemFailures": []}
    assert workspace.read(1).status is JobStatus.CANCELLED
    assert workspace.read(2) == other
    assert fal.cancelled == [request_of(job)]
    assert fal.posts == []


def test_a_message_that_comes_twice_or_names_no_job_is_no_failure(
    cloud: Cloud, submit: ModuleType, fal: FakeFalQueue, context: Context
) -> None:
    workspace = Workspace.on_moto(cloud)
    job = workspace.bring(JobStatus.READY)
    batch = sqs({"cancel": job.job_id}, {"cancel": job.job_id}, {"cancel": an_id(9)})

    result = submit.handler(batch, context)

    assert result == {"batchItemFailures": []}
    assert workspace.read().status is JobStatus.CANCELLED
    assert [item["job_id"] for item in cloud.items()] == [job.job_id]
    assert fal.posts == []


@pytest.mark.parametrize("body", [{"cancel": "window"}, {"cancel": None}, {"cancel": {"a": 1}}])
def test_a_cancel_of_what_is_no_job_harms_nothing(
    cloud: Cloud, submit: ModuleType, fal: FakeFalQueue, context: Context, body: Any
) -> None:
    workspace = Workspace.on_moto(cloud)
    job = workspace.bring(JobStatus.SUBMITTED)

    submit.handler(sqs(json.dumps(body)), context)

    assert workspace.read() == job
    assert workspace.sums() == (1, USD, USD)
    assert fal.cancelled == []
