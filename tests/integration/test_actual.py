"""What came against what was asked: the day's budget is what the records say fal made."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phonoscene.drops.pricing import estimate
from phonoscene.errors import MustWait, WriteRefused
from phonoscene.fal.queue import FalQueue
from phonoscene.jobs import Audio, Estimate, Job, JobStatus
from phonoscene.limits import SpendingLimits
from phonoscene.observability import announce
from phonoscene.publishing.receipts import Receipt
from phonoscene.workflow.ledger_audit import LedgerAudit
from phonoscene.workflow.reconciliation import OUTPUT_LIFETIME
from phonoscene.workflow.storing import ResultHandler
from tests.integration.loopback import answer
from tests.integration.races import ROUNDS, Race
from tests.integration.workspace import (
    VIDEO_URL,
    Workspace,
    failure,
    request_of,
    result_message,
)
from tests.support import schemas
from tests.support.fakes.calls import Crash
from tests.support.invariants import spent
from tests.support.media.films import film
from tests.support.stack import FAL_KEY

if TYPE_CHECKING:
    from phonoscene.fal.webhook_message import WebhookMessage
    from tests.integration.loopback import Loopback
    from tests.integration.moto_stack import Cloud

S = JobStatus
PRICE = Decimal("0.001205")
ASKED = estimate(121, (1024, 576), PRICE)
FIVE_SECONDS = Audio(key="albums/song1.mp3", version_id="v1", bytes=9, seconds=5.0)
#: The film that the CDN of these tests has is a sixth of a second long, whatever fal reports.
SHORT = "The video lasts 0.17 s instead of 5.04 s."
RESERVED = Decimal("0.0868")
ARGUMENTS = {
    "prompt": "A stage",
    "video_output_type": "X264 (.mp4)",
    "match_audio_length": False,
    "num_frames": 121,
    "fps": 24.0,
}
ZERO = Decimal(0)
MOTION = (S.SUBMITTING, S.UNCONFIRMED, S.SUBMITTED)

#: What fal may report, and the most that it may bill for that, by hand.
AS_ASKED: dict[str, Any] = {"width": 1024, "height": 576, "num_frames": 121}
LARGER: dict[str, Any] = {"width": 3840, "height": 2160, "num_frames": 961}
SMALLER: dict[str, Any] = {"width": 512, "height": 288, "num_frames": 57}
COSTS = [
    (AS_ASKED, "0.0868"),  # 72 megapixels
    (LARGER, "9.6051"),  # 7,971
    (SMALLER, "0.0109"),  # 9
    ({"num_frames": 122}, "0.0928"),  # 77: 129 frames
    ({"width": 1024, "height": 576, "duration": 10.04, "fps": 24.0}, "0.1724"),  # 143: 241 frames
    ({}, "0.0868"),
]


@pytest.fixture
def workspace(cloud: Cloud) -> Workspace:
    return Workspace(cloud, SpendingLimits(9, Decimal(1000)))


def bring(workspace: Workspace, status: JobStatus = S.SUBMITTED, n: int = 1) -> Job:
    return workspace.bring(status, n, estimate=ASKED, arguments=ARGUMENTS)


def came(job: Job, reported: dict[str, Any], attempt: int | None = None) -> WebhookMessage:
    """fal's webhook for a video of these figures."""
    return result_message(job, attempt, payload={"video": {"url": VIDEO_URL, **reported}})


def budget_is_what_the_records_say(workspace: Workspace, *numbers: int) -> None:
    jobs = [workspace.read(n) for n in numbers or (1,)]
    held = sum((job.reservation.usd for job in jobs if job.reservation), ZERO)
    _, committed, reserved = workspace.sums()
    assert (committed, reserved) == (held + sum(map(spent, jobs), ZERO), held)
    recounter = LedgerAudit(workspace.store)
    recounter.recount()
    assert recounter.corrected == []


@pytest.mark.parametrize("before", MOTION, ids=str)
@pytest.mark.parametrize(("reported", "usd"), COSTS)
def test_the_day_counts_what_came_and_not_what_was_reserved(
    workspace: Workspace, before: JobStatus, reported: dict[str, Any], usd: str
) -> None:
    job = bring(workspace, before)

    stored = workspace.result_handler.handle(came(job, reported))

    assert stored
    assert stored.status is S.SUCCEEDED
    assert workspace.sums() == (0, Decimal(usd), ZERO)
    budget_is_what_the_records_say(workspace)


@pytest.mark.parametrize(("reported", "usd"), COSTS)
def test_the_day_knows_it_while_the_video_is_still_to_be_copied(
    workspace: Workspace, reported: dict[str, Any], usd: str
) -> None:
    workspace.cdn.is_down = True
    job = bring(workspace)

    workspace.result_handler.handle(came(job, reported))

    generated = workspace.read()
    assert generated.status is S.GENERATED
    assert generated.reservation
    assert workspace.sums() == (0, Decimal(usd), Decimal(usd))
    budget_is_what_the_records_say(workspace)


@pytest.mark.parametrize(("reported", "usd"), COSTS)
def test_a_paid_video_that_could_not_be_copied_stays_counted_as_it_came(
    workspace: Workspace, reported: dict[str, Any], usd: str
) -> None:
    workspace.cdn.is_down = True
    workspace.result_handler.handle(came(bring(workspace), reported))
    workspace.clock.now += OUTPUT_LIFETIME + timedelta(minutes=1)

    workspace.reconciler.run()

    assert workspace.read().status is S.FAILED
    assert workspace.sums() == (0, Decimal(usd), ZERO)


def test_an_actual_cost_as_asked_for_takes_no_transaction(workspace: Workspace) -> None:
    job = bring(workspace)
    workspace.recording_client.calls.clear()

    stored = workspace.result_handler.handle(came(job, AS_ASKED))

    assert stored
    assert stored.status is S.SUCCEEDED
    assert workspace.recording_client.calls.count("transact_write_items") == 1  # the end's


def test_the_record_keeps_what_came_beside_what_was_asked(workspace: Workspace) -> None:
    workspace.result_handler.handle(came(bring(workspace), LARGER))

    job = workspace.read()
    assert job.estimate == ASKED
    assert job.actual
    assert job.actual.model_dump() == {
        "source": "frames",
        "width": 3840,
        "height": 2160,
        "frames": 961,
        "megapixels": Decimal("7970.9184"),
        "lower_usd": Decimal("9.6049"),
        "upper_usd": Decimal("9.6051"),
        "delivered_usd": Decimal("9.6051"),
    }
    assert job.costs_more_than_reserved
    assert Receipt.of(job, None).notes == (
        "fal reports 3840x2160x961 frames: up to $9.6051, $0.0868 was reserved.",
        (
            "The video differs from the request: asked 1024x576 pixels, got 3840x2160; "
            "asked 121 frames, got 961."
        ),
        SHORT,
    )


def test_more_than_was_reserved_is_counted_once_and_what_fits_is_not(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr("phonoscene.observability.count", counted.append)
    monkeypatch.setattr("phonoscene.observability.gauge", lambda *_: None)
    monkeypatch.setattr(workspace.store, "_on_change", announce)
    for n, (reported, _) in enumerate(COSTS):
        job = bring(workspace, n=n)
        workspace.result_handler.handle(came(job, reported))
        workspace.result_handler.handle(came(job, reported))

    over = [usd for _, usd in COSTS if Decimal(usd) > RESERVED]
    assert counted.count("OverReserved") == len(over) == 3


def test_what_was_not_needed_is_there_for_other_jobs(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(9, RESERVED * 2 - Decimal("0.05")))
    job = bring(workspace)
    other = workspace.admit(2, estimate=ASKED)
    with pytest.raises(MustWait):
        workspace.store.claim(other, workspace.limits, "hash")

    workspace.result_handler.handle(came(job, SMALLER))

    assert workspace.store.claim(other, workspace.limits, "hash").status is S.SUBMITTING


def test_what_came_too_large_leaves_less_for_other_jobs(cloud: Cloud) -> None:
    workspace = Workspace(cloud, SpendingLimits(9, RESERVED * 2))
    workspace.result_handler.handle(came(bring(workspace), LARGER))

    with pytest.raises(MustWait, match="budget"):
        workspace.store.claim(workspace.admit(2, estimate=ASKED), workspace.limits, "hash")


def test_the_day_that_reserved_is_the_day_that_is_corrected(workspace: Workspace) -> None:
    job = bring(workspace)
    workspace.clock.go_on(hours=20)

    workspace.result_handler.handle(came(job, LARGER))

    assert workspace.sums("2026-11-22")[1:] == (Decimal("9.6051"), ZERO)
    assert workspace.sums("2026-11-23")[1:] == (ZERO, ZERO)


# Twice, late, cut off ----------------------------------------------------------------------------


@pytest.mark.parametrize(("reported", "usd"), COSTS)
def test_a_webhook_that_comes_again_corrects_nothing_again(
    workspace: Workspace, reported: dict[str, Any], usd: str
) -> None:
    job = bring(workspace)
    for _ in range(3):
        workspace.result_handler.handle(came(job, reported))

    workspace.result_handler.handle(came(job, LARGER))  # and with other figures neither

    assert workspace.sums() == (0, Decimal(usd), ZERO)


def test_a_correction_whose_answer_was_lost_is_not_made_again(workspace: Workspace) -> None:
    """The process dies after the table's write and before it hears of it."""
    job = bring(workspace)
    client = workspace.recording_client._client
    write = client.transact_write_items

    def dying(name: str, request: dict[str, Any]) -> None:
        if name == "transact_write_items":
            workspace.recording_client.before = lambda _, __: None
            write(**request)
            raise Crash

    workspace.recording_client.before = dying
    with pytest.raises(Crash):
        workspace.result_handler.handle(came(job, LARGER))
    cut = workspace.sums()

    workspace.result_handler.handle(came(job, LARGER))

    assert cut == (1, Decimal("9.6051"), Decimal("9.6051"))
    assert workspace.sums() == (0, Decimal("9.6051"), ZERO)
    budget_is_what_the_records_say(workspace)


@pytest.mark.parametrize(("reported", "usd"), COSTS)
def test_a_video_that_comes_after_its_money_went_back_costs_what_came(
    workspace: Workspace, reported: dict[str, Any], usd: str
) -> None:
    job = bring(workspace)
    workspace.step(job, S.READY)

    workspace.result_handler.handle(came(job, reported))

    assert workspace.sums() == (0, Decimal(usd), ZERO)
    budget_is_what_the_records_say(workspace)


def test_a_result_that_meets_the_end_of_its_attempt_is_paid_all_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read while the attempt holds its money, and recorded when that went back."""
    read = bring(workspace, S.SUBMITTING)
    workspace.step(read, S.READY)
    stale, get = iter([read]), workspace.store.get
    monkeypatch.setattr(workspace.store, "get", lambda job_id: next(stale, None) or get(job_id))

    workspace.result_handler.handle(came(read, LARGER))

    assert workspace.sums() == (0, Decimal("9.6051"), ZERO)
    budget_is_what_the_records_say(workspace)


@pytest.mark.parametrize(("reported", "usd"), COSTS)
def test_a_video_of_a_cancelled_job_costs_what_came_once(
    workspace: Workspace, reported: dict[str, Any], usd: str
) -> None:
    job = bring(workspace)
    workspace.canceller.cancel(job.job_id)

    for _ in range(2):
        workspace.result_handler.handle(came(job, reported))

    assert workspace.read().duplicate_requests == {request_of(job).request_id}
    assert workspace.sums() == (0, Decimal(usd), ZERO)
    budget_is_what_the_records_say(workspace)


def test_each_request_that_answers_costs_what_came_of_it(workspace: Workspace) -> None:
    job = workspace.step(workspace.step(bring(workspace), S.READY), S.SUBMITTING)

    workspace.result_handler.handle(came(job, SMALLER, 2))
    for reported in (LARGER, {}, LARGER):
        workspace.result_handler.handle(came(job, reported, 1))

    found = workspace.read()
    assert [one.upper_usd for one in found.duplicate_actuals] == [Decimal("9.6051")]
    assert workspace.sums() == (0, Decimal("9.6051") + Decimal("0.0109"), ZERO)
    assert Receipt.of(found, None).duplicates == 1
    budget_is_what_the_records_say(workspace)


def test_another_request_that_reports_nothing_costs_what_was_estimated(
    workspace: Workspace,
) -> None:
    job = workspace.step(workspace.step(bring(workspace), S.READY), S.SUBMITTING)

    workspace.result_handler.handle(came(job, SMALLER, 2))
    workspace.result_handler.handle(came(job, {}, 1))

    assert workspace.sums() == (0, RESERVED + Decimal("0.0109"), ZERO)
    budget_is_what_the_records_say(workspace)


FIGURES = st.sampled_from([reported for reported, _ in COSTS])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("webhook"), st.integers(1, 2), FIGURES),
        st.tuples(st.just("failure"), st.integers(1, 2), st.just({})),
        st.tuples(st.sampled_from(["cancel", "tick", "claim", "cdn"]), st.just(0), st.just({})),
    ),
    max_size=10,
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=EVENTS)
def test_in_whatever_order_things_come_the_budget_is_what_the_records_say(
    cloud: Cloud, events: list[tuple[str, int, dict[str, Any]]]
) -> None:
    cloud.empty()
    workspace = Workspace(cloud, SpendingLimits(9, Decimal(1000)))
    bring(workspace)
    for kind, attempt, reported in events:
        job = workspace.read()
        workspace.clock.go_on(minutes=1)
        if kind == "cancel":
            workspace.canceller.cancel(job.job_id)
        elif kind == "tick":
            workspace.reconciler.run()
        elif kind == "cdn":
            workspace.cdn.is_down = not workspace.cdn.is_down
        elif kind == "claim" and job.status is S.READY:
            workspace.step(job, S.SUBMITTING)
        elif kind == "failure" and attempt <= job.attempt:
            workspace.result_handler.handle(failure(job, attempt=attempt))
        elif kind == "webhook" and attempt <= job.attempt:
            workspace.result_handler.handle(came(job, reported, attempt))
        budget_is_what_the_records_say(workspace)


def test_two_webhooks_a_poll_and_a_cancel_that_meet_correct_once(cloud: Cloud) -> None:
    ends = set()
    for seed in range(ROUNDS // 4):
        race = Race.make(cloud, seed, SpendingLimits(2, Decimal(1000)), [RESERVED, RESERVED])
        workspace = race.workspace
        ready = workspace.admit(5, estimate=ASKED)
        job = workspace.step(workspace.step(ready, S.SUBMITTING), S.SUBMITTED)
        chance = random.Random(seed)  # noqa: S311 - a seed to repeat
        reported, _ = chance.choice(COSTS)
        tasks: list[Any] = [
            partial(workspace.result_handler.handle, came(job, reported)),
            partial(workspace.result_handler.handle, came(job, reported)),
            partial(
                workspace.result_handler.handle, came(job, LARGER)
            ),  # polled, with another figure
            partial(workspace.canceller.cancel, job.job_id),
        ]

        race.turns.run(tasks[: 2 + seed % 3])

        found = workspace.read(5)
        ends.add(found.status)
        _, committed, reserved = workspace.sums()
        assert (committed, reserved) == (spent(found), ZERO)
        assert found.paid
    assert ends == {S.SUCCEEDED, S.CANCELLED}


# fal's bill --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "source", "usd"),
    [
        ("72", "billable_units", "0.0868"),
        ("71.368704", "billable_units", "0.0860"),
        ("9000", "billable_units", "10.8450"),
        ("0", "frames", "0.0868"),
        ("a lot", "frames", "0.0868"),
        (None, "frames", "0.0868"),
    ],
)
def test_a_result_that_is_fetched_costs_what_its_header_says(
    workspace: Workspace, internet: Loopback, units: str | None, source: str, usd: str
) -> None:
    job = bring(workspace)
    payload = {"video": {"url": VIDEO_URL, **AS_ASKED}}
    headers = {"X-Fal-Billable-Units": units} if units else {}
    internet.plays["queue.fal.run"] = answer(payload, headers=headers)
    parts = workspace.result_handler
    queue = FalQueue(lambda **_: FAL_KEY)
    handler = ResultHandler(parts.store, queue, parts.cdn, parts.output)

    stored = handler.handle(result_message(job, payload=None, payload_error="not serialisable"))

    assert stored
    assert stored.actual
    assert (stored.status, stored.actual.source) == (S.SUCCEEDED, source)
    assert workspace.sums() == (0, Decimal(usd), ZERO)
    receipt = Receipt.of(stored, None)
    note = ("fal bills 9,000.00 megapixels: up to $10.8450, $0.0868 was reserved.",)
    assert receipt.notes == (*(note if units == "9000" else ()), SHORT)
    assert receipt.cost
    assert receipt.cost.delivered_usd == 0.0868
    assert receipt.cost.billed_usd == (float(usd) if source == "billable_units" else None)


@pytest.mark.parametrize(
    ("frames", "has_sound", "seconds", "notes"),
    [
        (121, True, (5.0417, 5.0), ()),
        (
            97,
            True,
            (4.0417, 5.0),
            (
                "The video differs from the request: asked 121 frames, got 97.",
                "The video lasts 4.04 s instead of 5.00 s.",
            ),
        ),
        (121, False, (5.0417, 0.0), ("The video has no sound, although the drop does.",)),
    ],
)
def test_the_stored_files_own_headers_say_what_is_missing(
    workspace: Workspace,
    frames: int,
    has_sound: bool,
    seconds: tuple[float, float],
    notes: tuple[str, ...],
) -> None:
    workspace.cdn.body = film(".mp4", frames, 5.0 if has_sound else None)
    job = workspace.bring(S.SUBMITTED, estimate=ASKED, arguments=ARGUMENTS, audio=FIVE_SECONDS)

    workspace.result_handler.handle(came(job, {**AS_ASKED, "num_frames": frames}))

    stored = workspace.read()
    assert stored.video
    found = (stored.video.seconds, stored.video.sound_seconds)
    assert found == pytest.approx(seconds, abs=0.05)
    assert Receipt.of(stored, None).notes == notes


def test_the_manifest_contains_the_actual_figures(workspace: Workspace) -> None:
    job = bring(workspace)

    workspace.result_handler.handle(came(job, LARGER))

    manifest = json.loads(workspace.cloud.outputs()[f"{job.name}/{job.job_id}.json"])
    schemas.check(manifest, schemas.MANIFEST)
    assert manifest["actual"]["frames"] == 961
    assert manifest["actual"]["upper_usd"] == manifest["cost"]["upper_usd"] == 9.6051
    assert manifest["estimate"]["upper_usd"] == float(ASKED.upper_usd)


def test_a_job_of_before_without_a_price_costs_what_was_reserved(workspace: Workspace) -> None:
    before = ASKED.model_copy(update={"usd_per_megapixel": None})
    job = workspace.bring(S.SUBMITTED, estimate=before)

    workspace.result_handler.handle(came(job, LARGER))

    assert isinstance(workspace.read().estimate, Estimate)
    assert workspace.read().actual is None
    assert workspace.sums() == (0, RESERVED, ZERO)


def test_a_stale_record_cannot_be_corrected(workspace: Workspace) -> None:
    read = bring(workspace)
    workspace.step(read, S.CANCELLED)

    with pytest.raises(WriteRefused):
        workspace.step(read, S.GENERATED)
