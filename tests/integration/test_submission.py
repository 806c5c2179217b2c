"""Submitting once: what the record says before, while and after the POST is under way."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.errors import DropRefused, MustWait
from phonoscene.fal.requests import Accepted, Refused, Submission, Unknown
from phonoscene.fal.webhook_message import hash_token
from phonoscene.jobs import Audio, DropObject, Job, JobStatus, Request
from phonoscene.limits import SpendingLimits
from phonoscene.publishing.wording import fix
from phonoscene.retries import MAX_REFUSALS
from phonoscene.table.job_store import JobStore
from phonoscene.workflow.media_urls import Presigned
from phonoscene.workflow.submission import PAUSE, SubmissionSettings, Submitter
from tests.integration.fal_queue import FakeFalQueue
from tests.integration.moto_stack import Cloud, client
from tests.integration.workspace import Clock, FakeDynamoDB
from tests.support.fakes.calls import Crash
from tests.support.jobs import a_job
from tests.support.media.samples import silence
from tests.support.stack import DROPS, JOBS, KEY_PARAMETER, OUTPUT, WEBHOOKS, created, sqs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from mypy_boto3_s3 import S3Client

    from tests.integration.conftest import Context

LIMITS = SpendingLimits(max_in_flight=2, daily_budget_usd=Decimal(5))
NOW = datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)
ID = "0f343b0931126a20f133d67c2b018a3b"
BUSY = Refused("fal_busy", "fal answered 503", retryable=True)
OVERTAKERS = (JobStatus.GENERATED, JobStatus.CANCELLED, JobStatus.FAILED)


@dataclass
class World:
    clock: Clock
    table: FakeDynamoDB
    store: JobStore
    fal: FakeFalQueue
    submitter: Submitter

    @property
    def record(self) -> Job:
        found = self.store.get(ID)
        assert found
        return found

    def submit(self) -> Job:
        """As a message would have it: with the record as it is now."""
        return self.submitter.submit(self.record)

    def submit_in_turn(self) -> Job:
        """The same, once the time has come until which the job was postponed."""
        self.clock.go_on(minutes=15)
        return self.submit()


@pytest.fixture
def world(cloud: Cloud) -> World:
    clock = Clock(NOW)
    table: Any = FakeDynamoDB()
    store = JobStore(table, JOBS, clock=clock)
    fal = FakeFalQueue()
    s3 = client("s3", "s3v4")
    bucket = DropBucket(s3, s3, DROPS)
    terms = SubmissionSettings(WEBHOOKS, 3600, 86400)
    submitter = Submitter(Presigned(bucket, 3600), store, fal, terms, LIMITS)  # type: ignore[arg-type]  # it plays FalQueue
    song = cloud.s3.put_object(Bucket=DROPS, Key="song.mp3", Body=b"123456789")["VersionId"]
    cover = cloud.s3.put_object(Bucket=DROPS, Key="cover.png", Body=b"a picture")["VersionId"]
    store.admit(
        a_job(
            at=NOW - timedelta(minutes=5),
            job_id=ID,
            name="song",
            audio=Audio(key="song.mp3", version_id=song, bytes=9),
            images={"image_url": DropObject(key="cover.png", version_id=cover)},
            arguments={"prompt": "x", "image_url": "cover.png", "sync_mode": False},
        ),
        (),
    )
    return World(clock, table, store, fal, submitter)


@dataclass
class Refusing:
    """An S3 client whose HEAD and GET are refused."""

    client: S3Client
    code: str

    def head_object(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": self.code}}, "HeadObject")

    def get_object(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": self.code}}, "GetObject")


def token_of(submission: Submission) -> str:
    return str(submission.webhook_url).rpartition("/")[2]


def test_the_claim_is_in_the_table_when_the_post_arrives(world: World) -> None:
    seen: list[Job] = []
    world.fal.on_post = lambda _: seen.append(world.record)

    world.submit()

    (claimed,) = seen
    assert (claimed.status, claimed.attempt, claimed.request) == (JobStatus.SUBMITTING, 1, None)
    assert claimed.token_hashes == (hash_token(token_of(world.fal.posts[0])),)


def test_an_accepted_job_keeps_its_request_and_leaves_the_backlog(world: World) -> None:
    job = world.submit()

    assert job == world.record
    assert job.status is JobStatus.SUBMITTED
    assert job.request
    assert job.request.request_id == "request-1"
    assert job.request.status_url
    assert (world.table.index("backlog"), world.table.index("due")) == (set(), {ID})
    assert [step.status for step in job.history] == ["READY", "SUBMITTING", "SUBMITTED"]


def test_fal_is_asked_when_the_stack_says_and_gets_no_webhook_url_that_it_could_not_call(
    world: World,
) -> None:
    terms = SubmissionSettings("", 3600, 86400, ask_after=timedelta(seconds=5))
    polls = dataclasses.replace(world.submitter, terms=terms)

    job = polls.submit(world.record)

    assert job.status is JobStatus.SUBMITTED
    assert world.fal.posts[0].webhook_url is None
    assert datetime.fromisoformat(world.table.item(ID)["due_at"]) == NOW + timedelta(seconds=5)
    assert len(job.token_hashes) == 1  # a result that is polled is stored by it


def test_the_token_is_nowhere_in_the_record_and_neither_is_a_presigned_url(world: World) -> None:
    world.submit()

    item = json.dumps(world.table.item(ID), default=str)
    assert token_of(world.fal.posts[0]) not in item
    assert "X-Amz-" not in item


def test_every_medium_is_presigned_at_its_version(world: World) -> None:
    versions = {field: pinned.version_id for field, pinned in world.record.media.items()}

    world.submit()

    sent = world.fal.posts[0].arguments
    for field in ("audio_url", "image_url"):
        assert f"versionId={versions[field]}" in sent[field]
    assert world.fal.posts[0].start_timeout == 3600 - 300


@pytest.mark.parametrize("field", ["audio_url", "image_url"])
def test_a_file_that_is_gone_ends_the_job_before_anything_is_sent(
    field: str, world: World, cloud: Cloud
) -> None:
    gone = world.record.media[field]
    cloud.s3.delete_object(Bucket=DROPS, Key=gone.key, VersionId=gone.version_id)

    ended = world.submit()

    (error,) = ended.errors
    assert (ended.status, error.code, error.field) == (JobStatus.FAILED, "drop_gone", field)
    assert error.message.startswith(f"{gone.key} is no longer in the bucket")
    assert (ended, world.fal.posts) == (world.record, [])


def test_a_file_that_is_gone_fails_no_job_whose_video_comes_meanwhile(
    world: World, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The video of an attempt that seemed to be refused, and that fal bills."""
    gone, end = world.record.media["audio_url"], world.store.end
    cloud.s3.delete_object(Bucket=DROPS, Key=gone.key, VersionId=gone.version_id)

    def after_a_webhook(job: Job, status: JobStatus, **changes: Any) -> Job:
        world.store.move(world.record, JobStatus.GENERATED)
        return end(job, status, **changes)

    monkeypatch.setattr(world.store, "end", after_a_webhook)

    assert world.submit().status is world.record.status is JobStatus.GENERATED


@pytest.mark.parametrize("code", ["404", "403"])
def test_a_segments_file_that_is_gone_is_made_again_by_a_retry(code: str, cloud: Cloud) -> None:
    """The output bucket may not be listed, so S3 answers 403 there."""
    bucket = DropBucket(Refusing(cloud.s3, code), cloud.s3, DROPS)  # type: ignore[arg-type]  # S3's client
    frame = DropObject(key="_work/last.png", version_id="v1", bucket=OUTPUT)

    with pytest.raises(DropRefused) as required:
        bucket.require({"image_url": frame})
    with pytest.raises(DropRefused) as opened, bucket.open(frame, "image_url"):
        pass

    assert opened.value.errors == required.value.errors
    (error,) = required.value.errors
    assert (error.code, error.field) == ("segment_gone", "image_url")
    assert "phonoscene retry" in fix(JobStatus.FAILED, error)


@pytest.mark.parametrize("code", ["403", "SlowDown", "503"])
def test_where_s3_does_not_say_that_a_file_is_gone_fal_finds_out(code: str, cloud: Cloud) -> None:
    bucket = DropBucket(Refusing(cloud.s3, code), cloud.s3, DROPS)  # type: ignore[arg-type]  # S3's client

    bucket.require({"audio_url": DropObject(key="song.mp3", version_id="v1")})


def test_of_two_submitters_that_read_the_same_record_one_sends(world: World) -> None:
    both_read = world.record
    results: list[Job] = []
    world.fal.on_post = lambda _: results.append(world.submitter.submit(both_read))

    first = world.submitter.submit(both_read)

    assert len(world.fal.posts) == 1
    assert results[0].status is JobStatus.SUBMITTING
    assert world.submitter.submit(both_read) == first == world.record


def test_a_claim_whose_answer_was_lost_and_that_was_repeated_is_still_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = world.store.claim

    def twice(*args: Any, **changes: Any) -> Job:
        claim(*args, **changes)  # its answer is lost, and the SDK repeats it
        return claim(*args, **changes)

    monkeypatch.setattr(world.store, "claim", twice)

    world.submit()

    assert len(world.fal.posts) == 1
    assert world.record.status is JobStatus.SUBMITTED


def test_a_job_that_is_cancelled_while_its_claim_is_repeated_is_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = world.store.claim

    def twice(*args: Any, **changes: Any) -> Job:
        world.store.end(claim(*args, **changes), JobStatus.CANCELLED)
        return claim(*args, **changes)

    monkeypatch.setattr(world.store, "claim", twice)

    assert world.submit().status is JobStatus.CANCELLED
    assert world.fal.posts == []


def test_the_record_has_the_times_that_fal_was_asked_for(world: World) -> None:
    """They say when fal cannot have a request any more, and until when it keeps a video."""
    world.submit()

    (sent,) = world.fal.posts
    assert (world.record.start_timeout, world.record.output_lifetime) == (3300, 86400)
    assert (sent.start_timeout, sent.output_lifetime) == (3300, 86400)


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.READY}))
def test_a_job_in_any_other_state_is_returned_as_it_is(world: World, status: JobStatus) -> None:
    job = world.record.model_copy(update={"status": status})

    assert world.submitter.submit(job) is job
    assert world.fal.posts == []


@pytest.mark.parametrize("overtaker", OVERTAKERS)
@pytest.mark.parametrize(
    "answer",
    [None, Unknown("ReadTimeout"), Refused("fal_refused", "no", retryable=False)],
    ids=["accepted", "unknown", "refused"],
)
def test_a_webhook_that_overtakes_the_answer_is_not_overwritten(
    world: World, overtaker: JobStatus, answer: Any
) -> None:
    world.fal.answer = answer
    request = Request(request_id="from-the-webhook")

    def overtake(_: Submission) -> None:
        world.store.move(world.record, overtaker, request=request)

    world.fal.on_post = overtake

    job = world.submit()

    assert job == world.record
    assert (job.status, job.request) == (overtaker, request)


def test_a_failure_that_overtakes_the_answer_leaves_the_job_to_be_sent_again(
    world: World,
) -> None:
    def overtake(_: Submission) -> None:
        world.store.end(world.record, JobStatus.READY, request=None)

    world.fal.on_post = overtake

    job = world.submit()

    assert job.status is world.record.status is JobStatus.READY


def test_a_webhook_that_overtakes_a_refusal_leaves_nothing_to_postpone(world: World) -> None:
    def overtake(_: Submission) -> None:
        world.store.move(world.record, JobStatus.GENERATED)

    world.fal.answer, world.fal.on_post = BUSY, overtake

    job = world.submit()

    assert job.status is world.record.status is JobStatus.GENERATED


def test_a_crash_while_the_post_is_under_way_is_never_sent_again(world: World) -> None:
    def crash(_: Submission) -> None:
        raise Crash

    world.fal.on_post = crash
    with pytest.raises(Crash):
        world.submit()

    again = world.submit()

    assert again.status is world.record.status is JobStatus.SUBMITTING
    assert len(world.fal.posts) == 1


def test_a_crash_between_claim_and_post_is_not_sent_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> str:
        raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(DropBucket, "presign", crash)
        with pytest.raises(Crash):
            world.submit()

    status = world.record.status
    world.submit()

    # where the claim had been written, no one can know what happened after it
    assert len(world.fal.posts) == (1 if status is JobStatus.READY else 0)
    assert (world.table.index("due") == {ID}) == (
        status is JobStatus.SUBMITTING or bool(world.fal.posts)
    )


def test_a_crash_before_the_answer_is_written_is_never_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = world.store.move

    def crash(job: Job, status: JobStatus, **changes: Any) -> Job:
        if status is JobStatus.SUBMITTED:
            raise Crash
        return move(job, status, **changes)

    with monkeypatch.context() as broken:
        broken.setattr(world.store, "move", crash)
        with pytest.raises(Crash):
            world.submit()

    again = world.submit()

    assert again.status is JobStatus.SUBMITTING
    assert len(world.fal.posts) == 1
    assert world.table.index("due") == {ID}


def test_an_unknown_outcome_is_kept_and_not_sent_again(world: World) -> None:
    world.fal.answer = Unknown("ReadTimeout")

    first, second = world.submit(), world.submit()

    assert first.status is second.status is JobStatus.UNCONFIRMED
    assert len(world.fal.posts) == 1


def test_a_refusal_for_good_fails_the_job_with_fals_words(world: World) -> None:
    world.fal.answer = Refused("fal_refused", "fal refused the job: prompt: no", retryable=False)

    job = world.submit()

    (error,) = job.errors
    assert (job.status, error.code) == (JobStatus.FAILED, "fal_refused")
    assert error.message == "fal refused the job: prompt: no"


def test_a_refusal_for_now_returns_the_job_to_the_backlog_with_a_later_date(world: World) -> None:
    world.fal.answer = BUSY

    job = world.submit()

    assert job.waits_for == "fal"
    assert (world.record.status, world.record.attempt) == (JobStatus.READY, 1)
    assert (world.table.index("backlog"), world.table.index("due")) == ({ID}, set())
    wait = datetime.fromisoformat(world.table.item(ID)["dispatch_at"]) - NOW
    assert timedelta(seconds=15) <= wait <= timedelta(seconds=30)


def test_each_postponement_waits_longer(world: World) -> None:
    world.fal.answer = BUSY
    waits = []
    for _ in range(7):
        world.submit_in_turn()
        waits.append(datetime.fromisoformat(world.table.item(ID)["dispatch_at"]) - world.clock())

    for attempt, wait in enumerate(waits, 1):
        longest = min(timedelta(seconds=30) * 2 ** (attempt - 1), timedelta(seconds=900))
        assert longest / 2 <= wait <= longest


def test_a_dispatch_before_its_turn_does_not_forget_that_a_job_was_postponed(world: World) -> None:
    world.fal.answer = BUSY
    waiting = world.submit()
    world.fal.answer = None

    early = world.submit()

    assert early == waiting == world.record
    assert (early.status, len(world.fal.posts)) == (JobStatus.READY, 1)


def test_a_job_that_fal_would_not_take_for_a_day_has_failed(world: World) -> None:
    world.fal.answer = BUSY

    for _ in range(MAX_REFUSALS + 1):
        world.submit_in_turn()

    assert world.record.status is JobStatus.FAILED
    assert [error.code for error in world.record.errors] == ["fal_busy"]


def test_each_attempt_has_a_token_of_its_own_and_the_earlier_ones_still_count(
    world: World,
) -> None:
    world.fal.answer = BUSY
    world.submit()
    world.fal.answer = None

    job = world.submit_in_turn()

    tokens = [token_of(post) for post in world.fal.posts]
    assert len(set(tokens)) == 2
    assert job.token_hashes == tuple(hash_token(token) for token in tokens)
    assert job.attempt == 2


def test_an_answer_to_an_earlier_attempt_cannot_settle_a_later_one(world: World) -> None:
    """The first POST's answer comes when the job was given back and claimed again."""

    def meanwhile(_: Submission) -> None:
        world.fal.on_post = lambda _: None
        back = world.store.move(world.record, JobStatus.READY)
        world.store.move(back, JobStatus.SUBMITTING, attempt=2)

    world.fal.on_post = meanwhile
    world.fal.answer = Accepted(Request(request_id="late"))

    job = world.submit()

    assert job == world.record
    assert (job.status, job.attempt, job.request) == (JobStatus.SUBMITTING, 2, None)


def test_without_the_fal_key_the_job_stays_ready_and_the_message_comes_back(
    cloud: Cloud, submit: ModuleType, context: Context
) -> None:
    """The operator makes the parameter by hand, and may drop something first."""
    cloud.ssm.delete_parameter(Name=KEY_PARAMETER)
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", {"prompt": "x"})

    answer = submit.handler(sqs(created("song.json")), context)

    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == ["m0"]
    (item,) = cloud.items()
    assert item["status"] == "READY"


def test_a_key_that_cannot_be_used_pauses_all_jobs_as_one_that_fal_refuses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable() -> Any:
        raise MustWait("account")

    monkeypatch.setattr(world.fal, "ready", unusable)

    job = world.submit()

    window = world.store.ledger.window()
    assert (job.status, job.waits_for) == (JobStatus.READY, "account")
    assert window.is_paused(world.clock())
    assert window.paused_until == world.clock() + PAUSE


def test_a_postponed_job_is_no_failed_message_and_its_log_names_no_secret(
    cloud: Cloud,
    submit: ModuleType,
    fal: FakeFalQueue,
    context: Context,
    log: Any,
    load_event: Callable[[str], Any],
) -> None:
    fal.answer = BUSY
    cloud.drop("albums/song.mp3", silence(2))
    cloud.drop("albums/song.json", {"prompt": "A secret prompt"})
    event = load_event("s3-sidecar-created") | {"time": created("x")["time"]}

    answer = submit.handler(sqs(event), context)

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert answer == {"batchItemFailures": []}
    assert [line["message"] for line in lines if "message" in line][-1] == "job.ready"
    for secret in (token_of(fal.posts[0]), "A secret prompt", "X-Amz-Signature"):
        assert secret not in log.getvalue()
