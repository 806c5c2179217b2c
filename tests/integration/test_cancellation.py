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
from tests.integration.scene import (
    USD,
    Crash,
    Scene,
    a_request,
    an_id,
    failure,
    request_of,
    verdict,
)
from tests.support.stack import FAL_KEY, sqs

if TYPE_CHECKING:
    from types import ModuleType

    from phonoscene.fal.requests import Submission
    from tests.integration.conftest import Context
    from tests.integration.moto_stack import Cloud, Fal

ZERO = Decimal(0)
NOTHING = (0, ZERO, ZERO)
STOPPABLE = sorted(set(JobStatus) - FINAL - {JobStatus.GENERATED})
PAST_STOPPING = sorted((FINAL - {JobStatus.CANCELLED}) | {JobStatus.GENERATED})


@pytest.fixture
def scene(cloud: Cloud) -> Scene:
    return Scene(cloud)


# From every state -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STOPPABLE)
def test_a_job_that_has_no_video_yet_is_cancelled_and_holds_nothing(
    scene: Scene, status: JobStatus
) -> None:
    job = scene.bring(status)

    cancelled = scene.canceller.cancel(job.job_id)

    assert cancelled == scene.read()
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.reservation is None
    assert scene.sums() == NOTHING
    assert (scene.client.index("due"), scene.client.index("backlog")) == (set(), set())


@pytest.mark.parametrize("status", PAST_STOPPING)
def test_a_job_that_has_its_video_or_has_ended_stays_as_it_is(
    scene: Scene, status: JobStatus
) -> None:
    job = scene.bring(status)
    sums = scene.sums()

    told = scene.canceller.cancel(job.job_id)

    assert told == scene.read() == job
    assert scene.sums() == sums
    assert scene.fal.cancelled == []


def test_a_job_that_does_not_exist_cannot_be_cancelled(scene: Scene) -> None:
    assert scene.canceller.cancel(an_id(7)) is None
    assert scene.client.items() == []


def test_a_cancelled_job_leaves_its_place_to_the_next(scene: Scene) -> None:
    for n in range(4):
        scene.bring(JobStatus.SUBMITTED, n)
    waiting = scene.admit(9)

    scene.canceller.cancel(an_id(2))
    scene.reconciler.run()

    assert scene.tray.dispatched == [waiting.job_id]


# fal --------------------------------------------------------------------------------------------


def test_fal_is_asked_to_stop_the_request_that_the_record_names(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUBMITTED)

    scene.canceller.cancel(job.job_id)

    assert scene.fal.cancelled == [request_of(job)]


@pytest.mark.parametrize(
    "status", [JobStatus.WAITING, JobStatus.READY, JobStatus.SUBMITTING, JobStatus.UNCONFIRMED]
)
def test_where_no_request_is_known_nobody_is_asked(scene: Scene, status: JobStatus) -> None:
    job = scene.bring(status)

    scene.canceller.cancel(job.job_id)

    assert scene.fal.cancelled == []


def test_a_cancellation_that_was_cut_off_before_fal_was_asked_is_finished_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.bring(JobStatus.SUBMITTED)

    def crash(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(scene.fal, "cancel", crash)
        with pytest.raises(Crash):
            scene.canceller.cancel(job.job_id)

    scene.canceller.cancel(job.job_id)

    assert scene.read().status is JobStatus.CANCELLED
    assert scene.fal.cancelled == [request_of(job)]
    assert scene.sums() == NOTHING


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
def test_our_key_is_shown_to_nobody_but_fal(internet: Loopback, url: str | None) -> None:
    FalQueue(lambda **_: FAL_KEY).cancel(Request(request_id="r1", cancel_url=url))

    assert [seen.target for seen in internet.requests("queue.fal.run", "PUT")] == [
        "/fal-ai/ltx-2.3-22b/requests/r1/cancel"
    ]
    assert set(internet.tunnels) == {"queue.fal.run"}


# What comes afterwards --------------------------------------------------------------------------


def test_a_video_that_comes_too_late_is_noted_and_not_stored(scene: Scene, cloud: Cloud) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    scene.canceller.cancel(job.job_id)

    scene.deliverer.deliver(verdict(job))

    told = scene.read()
    assert told.status is JobStatus.CANCELLED
    assert told.duplicate_requests == {request_of(job).request_id}
    assert (scene.reel.opened, cloud.outputs()) == ([], {})
    assert scene.sums() == (0, USD, ZERO)  # fal made it, and bills it


def test_a_late_failure_of_a_cancelled_job_is_no_second_payment(scene: Scene) -> None:
    """It is how a request ends that fal has stopped."""
    job = scene.bring(JobStatus.SUBMITTED)
    cancelled = scene.canceller.cancel(job.job_id)

    scene.deliverer.deliver(failure(job, "client_cancelled"))

    assert scene.read() == cancelled


def test_a_cancelled_job_that_is_dispatched_is_not_sent(scene: Scene) -> None:
    job = scene.admit()
    scene.canceller.cancel(job.job_id)

    told = scene.submitter.submit(job)

    assert told.status is JobStatus.CANCELLED
    assert scene.fal.posts == []
    assert scene.sums() == NOTHING


def test_a_cancelled_job_is_not_looked_after_any_more(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    scene.canceller.cancel(job.job_id)
    scene.clock.go_on(hours=5)

    seen = scene.reconciler.run()

    assert (seen.looked.total(), scene.fal.polled) == (0, [])


# Races ------------------------------------------------------------------------------------------


def test_a_cancel_while_the_post_is_under_way_stops_the_request_as_soon_as_it_is_known(
    scene: Scene,
) -> None:
    job = scene.admit()

    def cancel(_: Submission) -> None:
        scene.canceller.cancel(job.job_id)

    scene.fal.on_post = cancel
    told = scene.submitter.submit(job)

    assert told == scene.read()
    assert told.status is JobStatus.CANCELLED
    assert [request.request_id for request in scene.fal.cancelled] == ["request-1"]
    assert scene.sums() == NOTHING


def meanwhile(scene: Scene, what: Any) -> None:
    """Before the canceller's write, and after its read."""

    def once(name: str, _: dict[str, Any]) -> None:
        if name in {"update_item", "transact_write_items"}:
            scene.wire.before = lambda _, __: None
            what()

    scene.wire.before = once


def test_a_cancel_that_meets_a_claim_cancels_the_claimed_job(scene: Scene) -> None:
    job = scene.admit()
    meanwhile(scene, lambda: scene.step(job, JobStatus.SUBMITTING))

    cancelled = scene.canceller.cancel(job.job_id)

    assert cancelled == scene.read()
    assert (cancelled.status, cancelled.attempt) == (JobStatus.CANCELLED, 1)
    assert scene.sums() == NOTHING


def test_a_cancel_that_meets_a_success_leaves_the_video_alone(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    meanwhile(scene, lambda: scene.step(job, JobStatus.GENERATED))

    told = scene.canceller.cancel(job.job_id)

    assert told == scene.read()
    assert told.status is JobStatus.GENERATED
    assert scene.fal.cancelled == []
    assert scene.sums() == (1, USD, USD)


def test_a_cancel_that_read_an_attempt_which_is_given_up_meanwhile_gives_back_once(
    scene: Scene,
) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    other = scene.bring(JobStatus.SUBMITTED, 2)
    meanwhile(scene, lambda: scene.deliverer.deliver(failure(job)))

    cancelled = scene.canceller.cancel(job.job_id)

    assert cancelled == scene.read()
    assert cancelled.status is JobStatus.CANCELLED
    assert scene.read(2) == other
    assert scene.sums() == (1, USD, USD)


def test_two_cancels_give_back_once(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    scene.bring(JobStatus.SUBMITTED, 2)
    meanwhile(scene, lambda: scene.canceller.cancel(job.job_id))

    told = scene.canceller.cancel(job.job_id)

    assert told == scene.read()
    assert [step.status for step in told.history].count(JobStatus.CANCELLED) == 1
    assert scene.sums() == (1, USD, USD)


def test_a_verdict_that_meets_a_cancel_stores_nothing(scene: Scene, cloud: Cloud) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    meanwhile(scene, lambda: scene.canceller.cancel(job.job_id))

    told = scene.deliverer.deliver(verdict(job))

    assert told
    assert told.status is scene.read().status is JobStatus.CANCELLED
    assert cloud.outputs() == {}
    assert scene.sums() == (0, USD, ZERO)


def test_a_record_that_moves_at_every_look_is_given_up_after_a_few(scene: Scene) -> None:
    job = scene.bring(JobStatus.SUBMITTED)
    looks = []

    def move_on(name: str, _: dict[str, Any]) -> None:
        if name == "transact_write_items":
            looks.append(name)
            raise WriteRefused(job)

    scene.wire.before = move_on
    told = scene.canceller.cancel(job.job_id)

    assert told == job
    assert 1 < len(looks) <= 10


# Through the queue ------------------------------------------------------------------------------


def test_a_message_of_the_drops_queue_cancels_the_job_it_names_and_no_other(
    cloud: Cloud, submit: ModuleType, fal: Fal, context: Context
) -> None:
    scene = Scene.on_moto(cloud)
    job, other = scene.bring(JobStatus.SUBMITTED, 1), scene.bring(JobStatus.SUBMITTED, 2)

    told = submit.handler(sqs({"cancel": job.job_id}), context)

    assert told == {"batchItemFailures": []}
    assert scene.read(1).status is JobStatus.CANCELLED
    assert scene.read(2) == other
    assert fal.cancelled == [request_of(job)]
    assert fal.posts == []


def test_a_message_that_comes_twice_or_names_no_job_is_no_failure(
    cloud: Cloud, submit: ModuleType, fal: Fal, context: Context
) -> None:
    scene = Scene.on_moto(cloud)
    job = scene.bring(JobStatus.READY)
    batch = sqs({"cancel": job.job_id}, {"cancel": job.job_id}, {"cancel": an_id(9)})

    told = submit.handler(batch, context)

    assert told == {"batchItemFailures": []}
    assert scene.read().status is JobStatus.CANCELLED
    assert [item["job_id"] for item in cloud.items()] == [job.job_id]
    assert fal.posts == []


@pytest.mark.parametrize("body", [{"cancel": "window"}, {"cancel": None}, {"cancel": {"a": 1}}])
def test_a_cancel_of_what_is_no_job_harms_nothing(
    cloud: Cloud, submit: ModuleType, fal: Fal, context: Context, body: Any
) -> None:
    scene = Scene.on_moto(cloud)
    job = scene.bring(JobStatus.SUBMITTED)

    submit.handler(sqs(json.dumps(body)), context)

    assert scene.read() == job
    assert scene.sums() == (1, USD, USD)
    assert fal.cancelled == []
