"""Another attempt, where fal's failure may be gone next time: bounded, later, and a new one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from phonoscene.fal.requests import ACCOUNT, Ended, Refused
from phonoscene.fal.webhook_message import hash_token
from phonoscene.jobs import Audio, DropObject, JobStatus
from phonoscene.publishing.wording import fix
from phonoscene.retries import (
    BACKOFF,
    MAX_ACCOUNT_REFUSALS,
    MAX_ATTEMPTS,
    MAX_BACKOFF,
    MAX_REFUSALS,
    RETRYABLE,
    is_retryable,
    retry_at,
)
from phonoscene.workflow.submission import PAUSE
from tests.integration.loopback import Loopback, answer
from tests.integration.workspace import (
    START,
    USD,
    Workspace,
    an_id,
    failure,
    request_of,
    result_message,
    token_hash_of,
)
from tests.support.stack import DROPS, sqs

if TYPE_CHECKING:
    from types import ModuleType

    from phonoscene.jobs import Job
    from tests.integration.conftest import Context
    from tests.integration.moto_stack import Cloud

ZERO = Decimal(0)
BUSY = Refused("fal_busy", "fal answered 503", retryable=True)
LOCKED = Refused(ACCOUNT, "fal refuses the account", retryable=True)

#: fal's own errors, and whether another attempt may end otherwise.
INFRASTRUCTURE = {
    "request_timeout": True,
    "startup_timeout": True,
    "runner_scheduling_failure": True,
    "runner_connection_timeout": True,
    "runner_disconnected": True,
    "runner_connection_refused": True,
    "runner_connection_error": True,
    "runner_incomplete_response": True,
    "runner_server_error": True,
    "internal_error": True,
    "client_disconnected": False,
    "client_cancelled": False,
    "bad_request": False,
}
#: The model's errors, likewise.
MODEL = {
    "internal_server_error": True,
    "generation_timeout": True,
    "downstream_service_error": True,
    "downstream_service_unavailable": True,
    "content_policy_violation": False,
    "no_media_generated": False,
    "face_detection_error": False,
    "feature_not_supported": False,
    "image_too_small": False,
    "image_too_large": False,
    "file_too_large": False,
    "greater_than": False,
    "greater_than_equal": False,
    "less_than": False,
    "less_than_equal": False,
    "multiple_of": False,
    "sequence_too_short": False,
    "sequence_too_long": False,
    "one_of": False,
    "invalid_archive": False,
    "archive_file_count_below_minimum": False,
    "archive_file_count_exceeds_maximum": False,
    "audio_duration_too_long": False,
    "audio_duration_too_short": False,
    "unsupported_audio_format": False,
    "unsupported_image_format": False,
    "unsupported_video_format": False,
    "video_duration_too_long": False,
    "video_duration_too_short": False,
    # pydantic's own names, and what no one has heard of
    "missing": False,
    "string_type": False,
    "enum": False,
    "value_error": False,
    "a_type_of_next_year": False,
}


@pytest.fixture
def workspace(cloud: Cloud) -> Workspace:
    return Workspace(cloud)


def model_failure(job: Job, *entries: dict[str, Any]) -> Any:
    """What fal says where the model refused its input, or broke."""
    detail = [{"loc": ["body"], "msg": "It did not work."} | entry for entry in entries]
    return result_message(job, status="ERROR", payload={"detail": detail})


# What is worth it -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "worth_it"), INFRASTRUCTURE.items())
def test_an_error_of_fals_own_sends_the_job_back_where_it_may_pass(
    workspace: Workspace, kind: str, worth_it: bool
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)

    workspace.result_handler.handle(failure(job, kind))

    after = workspace.read()
    assert after.status is (JobStatus.READY if worth_it else JobStatus.FAILED)
    assert after.waits_for == ("fal" if worth_it else None)
    assert [error.code for error in after.errors] == ([] if worth_it else [kind])
    assert (after.request is None) is worth_it
    assert workspace.sums() == (0, ZERO, ZERO)


@pytest.mark.parametrize(("kind", "worth_it"), MODEL.items())
def test_an_error_of_the_model_sends_the_job_back_where_it_may_pass(
    workspace: Workspace, kind: str, worth_it: bool
) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)

    workspace.result_handler.handle(model_failure(job, {"type": kind, "loc": ["body", "prompt"]}))

    after = workspace.read()
    assert after.status is (JobStatus.READY if worth_it else JobStatus.FAILED)
    assert [error.code for error in after.errors] == ([] if worth_it else [kind])


def test_the_tables_name_every_error_that_is_worth_it() -> None:
    found = INFRASTRUCTURE | MODEL

    assert {kind for kind, worth_it in found.items() if worth_it} == RETRYABLE


@pytest.mark.parametrize("kind", ["file_download_error", "image_load_error"])
@pytest.mark.parametrize(
    ("field", "worth_it"),
    [
        ("audio_url", True),
        ("image_url", True),
        ("end_image_url", True),
        (None, True),
        ("reference_video_url", False),
    ],
)
def test_a_file_of_ours_that_fal_could_not_read_is_signed_anew(
    kind: str, field: str | None, worth_it: bool
) -> None:
    assert is_retryable(kind, field) is worth_it


def test_an_audio_url_that_expired_in_fals_queue_sends_the_job_back(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    expired = {"type": "file_download_error", "loc": ["body", "audio_url"]}

    workspace.result_handler.handle(model_failure(job, expired))

    assert workspace.read().status is JobStatus.READY


def test_one_error_for_good_among_others_is_for_good(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    both = ({"type": "internal_server_error"}, {"type": "audio_duration_too_long"})

    workspace.result_handler.handle(model_failure(job, *both))

    after = workspace.read()
    assert after.status is JobStatus.FAILED
    assert [error.code for error in after.errors] == [entry["type"] for entry in both]


def test_an_error_that_fal_does_not_name_is_for_good(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    unnamed = result_message(job, status="ERROR", payload=None, error="Oops")
    workspace.fal.standing[request_of(job).request_id] = Ended(
        unnamed.body
    )  # asked, it says the same

    workspace.result_handler.handle(unnamed)

    assert workspace.read().status is JobStatus.FAILED


# How often, and when ----------------------------------------------------------------------------


def submitted_again(workspace: Workspace) -> Job:
    """Go on to the job's turn, and submit it as a dispatch would; fal accepts."""
    turn = workspace.turn()
    assert turn
    workspace.clock.now = max(turn, workspace.clock())
    assert [job_id for job_id, _ in workspace.store.oldest_ready(9, workspace.clock())] == [
        an_id(1)
    ]
    return workspace.step(
        workspace.step(workspace.read(), JobStatus.SUBMITTING), JobStatus.SUBMITTED
    )


def test_a_job_is_given_up_after_its_last_attempt(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    for _ in range(MAX_ATTEMPTS - 1):
        workspace.result_handler.handle(failure(job))
        job = submitted_again(workspace)

    workspace.result_handler.handle(failure(job))

    after = workspace.read()
    assert (after.status, after.attempt) == (JobStatus.FAILED, MAX_ATTEMPTS)
    assert [error.code for error in after.errors] == ["runner_disconnected"]
    assert len(set(after.token_hashes)) == MAX_ATTEMPTS
    assert workspace.sums() == (0, ZERO, ZERO)


def test_each_attempt_waits_longer_than_the_last(workspace: Workspace) -> None:
    job = workspace.bring(JobStatus.SUBMITTED)
    waits = []
    for _ in range(MAX_ATTEMPTS - 1):
        workspace.result_handler.handle(failure(job))
        waits.append((workspace.turn() or START) - workspace.clock())
        job = submitted_again(workspace)

    for n, wait in enumerate(waits):
        longest = timedelta(seconds=BACKOFF * 2**n)
        assert longest / 2 - timedelta(milliseconds=1) <= wait <= longest


def test_no_wait_is_longer_than_a_quarter_of_an_hour() -> None:
    waits = [retry_at(times, START) - START for times in range(1, MAX_REFUSALS + 1)]

    assert max(waits) <= timedelta(seconds=MAX_BACKOFF)
    assert min(waits[-10:]) >= timedelta(seconds=MAX_BACKOFF / 2)


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    turns = {retry_at(1, START) for _ in range(50)}

    assert len(turns) > 45


@pytest.mark.parametrize("refusal", [BUSY, LOCKED], ids=["busy", "account"])
def test_what_fal_refused_to_take_does_not_count_as_an_attempt(
    workspace: Workspace, refusal: Refused
) -> None:
    """It cost nothing; an hour of outage must not fail the jobs that met it."""
    workspace.admit()
    workspace.fal.answer = refusal
    for _ in range(MAX_ATTEMPTS + 2):
        submitted = workspace.submitter.submit(workspace.read())
        assert submitted.status is JobStatus.READY
        workspace.clock.now = (workspace.turn() or START) + timedelta(seconds=1)
    job = submitted_again(workspace)

    workspace.result_handler.handle(failure(job))

    assert workspace.read().status is JobStatus.READY
    assert job.attempt - job.refusals == 1


def test_a_fal_that_refuses_for_ever_fails_the_job_in_the_end(workspace: Workspace) -> None:
    workspace.admit(refusals=MAX_REFUSALS)
    workspace.fal.answer = BUSY

    submitted = workspace.submitter.submit(workspace.read())

    assert submitted == workspace.read()
    assert submitted.status is JobStatus.FAILED
    assert [error.code for error in submitted.errors] == ["fal_busy"]


def test_what_the_account_was_refused_for_leaves_all_patience_for_a_busy_fal(
    workspace: Workspace,
) -> None:
    workspace.admit()
    workspace.fal.answer = LOCKED
    for _ in range(3):
        locked = workspace.submitter.submit(workspace.read())
        workspace.clock.now += PAUSE
    workspace.fal.answer = BUSY

    busy = workspace.submitter.submit(workspace.read())

    assert (locked.refusals, locked.account_refusals) == (3, 3)
    assert (busy.refusals, busy.account_refusals) == (4, 3)
    turn = workspace.turn()
    assert turn
    assert turn <= workspace.clock() + timedelta(seconds=BACKOFF)


def test_an_account_that_is_refused_for_days_fails_the_job_before_its_record_is_full(
    workspace: Workspace,
) -> None:
    assert MAX_ACCOUNT_REFUSALS * 160 < 200_000  # bytes of a history and of token hashes
    workspace.admit(refusals=MAX_ACCOUNT_REFUSALS, account_refusals=MAX_ACCOUNT_REFUSALS)
    workspace.fal.answer = LOCKED

    submitted = workspace.submitter.submit(workspace.read())

    assert submitted == workspace.read()
    assert submitted.status is JobStatus.FAILED
    assert [error.code for error in submitted.errors] == [ACCOUNT]
    assert "balance" in fix(JobStatus.FAILED, submitted.errors[0])
    assert workspace.store.ledger.window().is_paused(workspace.clock())


# A new attempt ----------------------------------------------------------------------------------


def test_a_new_attempt_has_a_token_and_urls_of_its_own(workspace: Workspace) -> None:
    versions = [
        workspace.cloud.s3.put_object(Bucket=DROPS, Key=key, Body=b"123456789")["VersionId"]
        for key in ("song.mp3", "cover.png")
    ]
    audio = Audio(key="song.mp3", version_id=versions[0], bytes=9)
    cover = {"image_url": DropObject(key="cover.png", version_id=versions[1])}
    job = workspace.submitter.submit(workspace.admit(audio=audio, images=cover))
    assert job.request
    name = job.request.request_id
    found = failure(job)
    body = found.body.replace(found.request_id, name)
    workspace.result_handler.handle(replace(found, request_id=name, body=body))
    workspace.clock.go_on(minutes=15)

    workspace.submitter.submit(workspace.read())

    first, second = workspace.fal.posts
    assert workspace.read().token_hashes == tuple(
        hash_token(str(post.webhook_url).rpartition("/")[2]) for post in (first, second)
    )
    assert first.webhook_url != second.webhook_url
    for field, version in zip(("audio_url", "image_url"), versions, strict=True):
        urls = [urlsplit(post.arguments[field]) for post in (first, second)]
        queries = [parse_qs(url.query) for url in urls]
        assert queries[0]["X-Amz-Signature"] != queries[1]["X-Amz-Signature"]
        assert [query["versionId"] for query in queries] == [[version], [version]]
    assert {n: a for n, a in first.arguments.items() if not n.endswith("url")} == {
        n: a for n, a in second.arguments.items() if not n.endswith("url")
    }


LATER = {
    JobStatus.READY: (),
    JobStatus.SUBMITTING: (JobStatus.SUBMITTING,),
    JobStatus.UNCONFIRMED: (JobStatus.SUBMITTING, JobStatus.UNCONFIRMED),
    JobStatus.SUBMITTED: (JobStatus.SUBMITTING, JobStatus.SUBMITTED),
    JobStatus.GENERATED: (JobStatus.SUBMITTING, JobStatus.SUBMITTED, JobStatus.GENERATED),
    JobStatus.SUCCEEDED: (
        JobStatus.SUBMITTING,
        JobStatus.SUBMITTED,
        JobStatus.GENERATED,
        JobStatus.SUCCEEDED,
    ),
    JobStatus.FAILED: (JobStatus.SUBMITTING, JobStatus.SUBMITTED, JobStatus.FAILED),
}


def second_attempt(workspace: Workspace, status: JobStatus) -> Job:
    """A job whose first attempt was given up, and that is there with its second."""
    job = workspace.step(workspace.bring(JobStatus.SUBMITTED), JobStatus.READY, request=None)
    for step in LATER[status]:
        job = workspace.step(job, step)
    return job


@pytest.mark.parametrize("kind", ["runner_disconnected", "bad_request"])
@pytest.mark.parametrize("status", LATER)
def test_a_late_failure_of_an_old_attempt_does_nothing(
    workspace: Workspace, status: JobStatus, kind: str
) -> None:
    job = second_attempt(workspace, status)
    sums = workspace.sums()

    workspace.result_handler.handle(failure(job, kind, attempt=1))

    assert workspace.read() == job
    assert workspace.sums() == sums


@pytest.mark.parametrize(
    "status",
    [JobStatus.READY, JobStatus.SUBMITTING, JobStatus.UNCONFIRMED],
)
def test_a_late_video_of_an_old_attempt_is_the_jobs_video(
    workspace: Workspace, status: JobStatus
) -> None:
    job = second_attempt(workspace, status)

    result = workspace.result_handler.handle(result_message(job, attempt=1))

    assert result
    assert result.status is workspace.read().status is JobStatus.SUCCEEDED
    assert result.request
    assert result.request.request_id == request_of(job, 1).request_id
    assert workspace.sums()[0] == 0


def test_of_two_attempts_that_both_succeed_one_is_stored_and_the_other_noted(
    workspace: Workspace,
) -> None:
    job = second_attempt(workspace, JobStatus.SUBMITTED)
    workspace.result_handler.handle(result_message(job))

    workspace.result_handler.handle(result_message(job, attempt=1))

    after = workspace.read()
    assert after.duplicate_requests == {request_of(job, 1).request_id}
    assert len(workspace.cdn.opened) == 1
    assert len(workspace.cloud.output_versions()) == 2


def test_the_tokens_of_these_tests_are_the_attempts_own(workspace: Workspace) -> None:
    job = second_attempt(workspace, JobStatus.SUBMITTED)

    assert job.token_hashes == (token_hash_of(job, 1), token_hash_of(job, 2))


# The account ------------------------------------------------------------------------------------


def test_a_refused_account_pauses_everybody_and_fails_no_job(workspace: Workspace) -> None:
    for n in range(3):
        workspace.admit(n)
    workspace.fal.answer = LOCKED

    shown = [workspace.submitter.submit(workspace.read(n)) for n in range(3)]

    assert [(job.status, job.waits_for) for job in shown] == [(JobStatus.READY, "account")] * 3
    assert len(workspace.fal.posts) == 1
    first, *others = [str(workspace.turn(n)) for n in range(3)]
    assert first == str(START + PAUSE)
    assert all(first < turn <= str(START + PAUSE + timedelta(seconds=10)) for turn in others)
    assert workspace.sums() == (0, ZERO, ZERO)


def test_after_the_pause_one_job_finds_out_and_the_others_follow(workspace: Workspace) -> None:
    for n in range(3):
        workspace.admit(n)
    workspace.fal.answer = LOCKED
    workspace.submitter.submit(workspace.read(0))
    workspace.fal.answer = None
    workspace.clock.now += PAUSE

    workspace.reconciler.run()
    shown = [workspace.submitter.submit(workspace.read(n)) for n in range(3)]

    assert sorted(workspace.queues.dispatched) == [an_id(n) for n in range(3)]
    assert {job.status for job in shown} == {JobStatus.SUBMITTED}
    assert workspace.sums() == (3, USD * 3, USD * 3)


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        (401, 'Cannot access application "fal-ai/ltx-2.3-22b". Authentication is required.'),
        (402, "Payment required"),
        (403, "User is locked. Reason: Exhausted balance. Top up your balance."),
    ],
)
def test_a_locked_account_is_distinguished_from_a_bad_job_over_the_wire(
    cloud: Cloud,
    submit: ModuleType,
    internet: Loopback,
    context: Context,
    code: int,
    detail: str,
) -> None:
    workspace = Workspace.on_moto(cloud)
    jobs = [workspace.admit(n) for n in range(3)]
    internet.plays["queue.fal.run"] = answer({"detail": detail}, code)

    result = submit.handler(sqs(*({"job_id": job.job_id} for job in jobs)), context)

    assert result == {"batchItemFailures": []}
    assert len(internet.requests("queue.fal.run", "POST")) == 1
    statuses = [(workspace.read(n).status, workspace.read(n).waits_for) for n in range(3)]
    assert statuses == [(JobStatus.READY, "account")] * 3
    assert workspace.sums(f"{workspace.read(0).updated_at:%Y-%m-%d}") == (0, ZERO, ZERO)
