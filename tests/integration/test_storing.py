"""From a result to a stored video, once, wherever the way there is cut off."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.drops.keys import segment_key
from phonoscene.errors import FalUnavailable
from phonoscene.fal.queue import FalQueue
from phonoscene.fal.webhook_message import WebhookMessage, hash_token
from phonoscene.jobs import (
    LOOK_AGAIN_AFTER,
    Audio,
    DropObject,
    Job,
    JobStatus,
    Request,
)
from phonoscene.publishing.public_job import notes
from phonoscene.publishing.wording import state_of
from phonoscene.table.job_store import JobStore
from phonoscene.videos.cdn import Cdn
from phonoscene.videos.output_bucket import OutputBucket
from phonoscene.videos.video_formats import CUT_OFF, FEWER_BYTES, OTHER_CONTAINER
from phonoscene.workflow import storing
from phonoscene.workflow.dispatch import Dispatcher
from phonoscene.workflow.storing import (
    BECOMES_WHOLE_WITHIN,
    MIN_PAUSE,
    MIN_UNREADABLE,
    ResultHandler,
)
from tests.integration.loopback import FileServer, Loopback, Seen, answer
from tests.integration.workspace import noted
from tests.support import schemas
from tests.support.fakes.calls import Crash
from tests.support.jobs import a_job
from tests.support.media.samples import video_file
from tests.support.stack import FAL_KEY, JOBS, KEY_PARAMETER, OUTPUT, event, sqs

if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from types import ModuleType

    from aiohttp import web

    from tests.integration.conftest import Context
    from tests.integration.moto_stack import Cloud

ID = "0f343b0931126a20f133d67c2b018a3b"
NOW = datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)
TOKEN = hash_token("the token of the first attempt")
FILM = video_file(".mp4")
SUCCESS = event("fal-success")
SUCCESS["payload"]["video"]["file_size"] = len(FILM)
REQUEST = SUCCESS["request_id"]
QUEUE = f"https://queue.fal.run/fal-ai/ltx-2.3-22b/requests/{REQUEST}"
VIDEO_KEY, MANIFEST_KEY = f"albums/song/{ID}.mp4", f"albums/song/{ID}.json"


def webhook_message(body: Any = SUCCESS, **changes: Any) -> WebhookMessage:
    """What the webhook queued of such a body."""
    found = WebhookMessage(
        job_id=ID,
        token_hash=TOKEN,
        request_id=body["request_id"],
        body=json.dumps(body, sort_keys=True),
    )
    return replace(found, **changes)


def reporting(file_size: Any) -> Any:
    """A success whose video has so many bytes by fal's word."""
    body = json.loads(json.dumps(SUCCESS))
    body["payload"]["video"]["file_size"] = file_size
    return body


@dataclass
class World:
    cloud: Cloud
    store: JobStore
    result_handler: ResultHandler
    #: By how much time has passed.
    passed: list[timedelta]

    @property
    def record(self) -> Job:
        found = self.store.get(ID)
        assert found
        return found

    def deliver(self, message: WebhookMessage | None = None) -> Job | None:
        return self.result_handler.handle(message or webhook_message())

    def due_after(self) -> timedelta:
        """After how long since it was generated the job is looked at again."""
        due_at = datetime.fromisoformat(self.cloud.item(ID)["due_at"])
        return due_at - self.record.last(JobStatus.GENERATED)

    def stored_nothing(self) -> bool:
        return self.cloud.outputs() == {} and self.cloud.unfinished_uploads() == []

    def stored_once(self) -> bool:
        return sorted(self.cloud.output_versions()) == [MANIFEST_KEY, VIDEO_KEY]


@pytest.fixture
def world(cloud: Cloud, internet: Loopback) -> World:
    """A job that is SUBMITTED, and its video on fal's CDN."""
    internet.plays["v3.fal.media"] = FileServer(FILM)
    passed = [timedelta(0)]
    store = JobStore(cloud.dynamodb, JOBS, clock=lambda: NOW + passed[0])
    ready = a_job(
        at=NOW,
        job_id=ID,
        name="albums/song",
        audio=Audio(key="albums/song.mp3", version_id="v1", bytes=9, seconds=5.04, format="mp3"),
        sidecar=DropObject(key="albums/song.json", version_id="v2"),
        arguments={"prompt": "A stage", "video_output_type": "X264 (.mp4)", "fps": 24},
    )
    claimed = store.move(
        store.admit(ready, ()), JobStatus.SUBMITTING, attempt=1, token_hashes=(TOKEN,)
    )
    request = Request(request_id=REQUEST, response_url=QUEUE, status_url=f"{QUEUE}/status")
    store.move(claimed, JobStatus.SUBMITTED, request=request)
    queue = FalQueue(lambda **_: FAL_KEY)
    result_handler = ResultHandler(store, queue, Cdn(2**20), OutputBucket(cloud.s3, OUTPUT))
    return World(cloud, store, result_handler, passed)


def a_claim_whose_answer_was_lost(world: World, status: JobStatus) -> None:
    """The same job with nothing known of its request."""
    world.cloud.dynamodb.delete_item(TableName=JOBS, Key={"job_id": {"S": ID}})
    job = world.store.admit(
        a_job(
            at=NOW,
            job_id=ID,
            name="albums/song",
            arguments={"video_output_type": "X264 (.mp4)"},
        ),
        (),
    )
    job = world.store.move(job, JobStatus.SUBMITTING, attempt=1, token_hashes=(TOKEN,))
    if status is not JobStatus.SUBMITTING:
        world.store.move(job, status)


def a_past_attempt(world: World, *, again: bool) -> None:
    """The same job after that attempt was given up; perhaps it is being sent once more."""
    a_claim_whose_answer_was_lost(world, JobStatus.READY)
    if again:
        hashes = (*world.record.token_hashes, hash_token("second"))
        world.store.move(world.record, JobStatus.SUBMITTING, attempt=2, token_hashes=hashes)


# Success ----------------------------------------------------------------------------------------


def test_a_result_becomes_a_stored_video_and_a_record_of_it(world: World) -> None:
    job = world.deliver()

    assert job == world.record
    assert job.status is JobStatus.SUCCEEDED
    assert world.cloud.outputs()[VIDEO_KEY] == FILM
    assert job.video
    found = job.video.model_dump()
    assert found == {
        "bucket": OUTPUT,
        "key": VIDEO_KEY,
        "bytes": len(FILM),
        "content_type": "video/mp4",
        "version_id": world.cloud.s3.head_object(Bucket=OUTPUT, Key=VIDEO_KEY)["VersionId"],
        "sha256": hashlib.sha256(FILM).hexdigest(),
        "stable_keys": ("albums/song.mp4",),
        "width": 1024,
        "height": 576,
        "fps": 24,
        "frames": 121,
        "duration": 5.041666666666667,
        # of the file itself, which is shorter than fal reports, and silent
        "seconds": 0.1667,
        "sound_seconds": 0.0,
    }
    assert (job.seed, job.prompt_used) == (
        17454220438242315174,
        "A woman sings on a bare stage, in black and white",
    )
    assert [step.status for step in job.history][-2:] == ["GENERATED", "SUCCEEDED"]


@pytest.mark.parametrize("what", ["StableKey is false", "the video is too large for S3 to copy"])
def test_a_video_without_a_stable_key_names_none(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "StableKey is false":
        world.result_handler = replace(world.result_handler, has_stable_keys=False)
    else:
        monkeypatch.setattr(storing, "MAX_COPY_BYTES", len(FILM) - 1)

    world.deliver()

    video = world.record.video
    assert video
    assert video.stable_keys == ()


def test_a_segments_video_has_no_stable_key(world: World) -> None:
    world.cloud.dynamodb.update_item(
        TableName=JOBS,
        Key={"job_id": {"S": ID}},
        UpdateExpression="SET part_of = :sequence",
        ExpressionAttributeValues={":sequence": {"S": "b" * 32}},
    )

    world.deliver()

    video = world.record.video
    assert video
    assert (video.key, video.stable_keys) == (segment_key(ID, ".mp4"), ())


def test_the_url_of_the_video_is_forgotten_once_it_is_stored(world: World) -> None:
    world.deliver()

    item = world.cloud.item(ID)
    assert "v3.fal.media" not in json.dumps(item, default=str)
    assert {"source_url", "reported", "due_at", "due_shard"}.isdisjoint(item)


def test_the_manifest_says_where_the_video_came_from_and_grants_nothing(world: World) -> None:
    world.deliver()

    text = world.cloud.outputs()[MANIFEST_KEY].decode()
    manifest = json.loads(text)
    schemas.check(manifest, schemas.MANIFEST)
    assert manifest["job_id"] == ID
    assert manifest["request_id"] == REQUEST
    assert manifest["audio"]["version_id"] == "v1"
    assert manifest["sidecar"] == {"key": "albums/song.json", "version_id": "v2"}
    assert manifest["arguments"]["prompt"] == "A stage"
    assert manifest["video"]["sha256"] == hashlib.sha256(FILM).hexdigest()
    assert manifest["seed"] == 17454220438242315174
    for secret in ("fal.media", "X-Amz-", TOKEN, "queue.fal.run"):
        assert secret not in text


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("VP9 (.webm)", ".webm"), ("PRORES4444 (.mov)", ".mov"), ("GIF (.gif)", ".gif")],
)
def test_every_container_keeps_its_name(
    world: World, internet: Loopback, kind: str, suffix: str
) -> None:
    internet.plays["v3.fal.media"] = FileServer(video_file(suffix))
    world.cloud.dynamodb.update_item(
        TableName=JOBS,
        Key={"job_id": {"S": ID}},
        UpdateExpression="SET arguments.video_output_type = :kind",
        ExpressionAttributeValues={":kind": {"S": kind}},
    )

    world.deliver(webhook_message(reporting(len(video_file(suffix)))))

    assert f"albums/song/{ID}{suffix}" in world.cloud.outputs()
    assert world.record.video_flaws == frozenset()


def test_what_fal_leaves_out_or_null_is_no_obstacle(world: World) -> None:
    video = {"url": SUCCESS["payload"]["video"]["url"], "width": None}
    body = {"request_id": REQUEST, "status": "OK", "payload": {"video": video}}

    job = world.deliver(webhook_message(body))

    assert job
    assert (job.status, job.seed, job.video and job.video.width) == (
        JobStatus.SUCCEEDED,
        None,
        None,
    )


# Twice ------------------------------------------------------------------------------------------


def test_a_message_that_comes_twice_is_stored_once(world: World, internet: Loopback) -> None:
    first = world.deliver()
    second = world.deliver()

    assert first == second
    assert world.stored_once()
    assert len(internet.requests("v3.fal.media")) == 1


def test_twins_that_copy_at_the_same_time_store_one_video(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_cdn = Cdn.open
    twins: list[Job | None] = []

    @contextlib.contextmanager
    def meanwhile(self: Cdn, url: str) -> Any:
        monkeypatch.setattr(Cdn, "open", open_cdn)
        twins.append(world.deliver())
        with open_cdn(self, url) as parts:
            yield parts

    monkeypatch.setattr(Cdn, "open", meanwhile)

    job = world.deliver()

    assert job == twins[0] == world.record
    assert world.record.status is JobStatus.SUCCEEDED
    assert world.stored_once()


def _crash(*_: Any, **__: Any) -> None:
    raise Crash


CUTS = (
    "before the result is written",
    "before the copy",
    "in the midst of the copy",
    "before the manifest",
    "before the record",
    "after the record",
)


def cut_off(world: World, patch: pytest.MonkeyPatch, cut: str) -> None:
    """Make the next message end there."""

    def moving(move: Any, job: Job, status: JobStatus, **changes: Any) -> Any:
        if (cut, status) in {(CUTS[0], JobStatus.GENERATED), (CUTS[4], JobStatus.SUCCEEDED)}:
            raise Crash
        moved = move(job, status, **changes)
        if (cut, status) == (CUTS[5], JobStatus.SUCCEEDED):
            raise Crash
        return moved

    for name in ("move", "end"):
        patch.setattr(world.store, name, partial(moving, getattr(world.store, name)))
    if cut == CUTS[1]:
        patch.setattr(Cdn, "open", _crash)
    elif cut == CUTS[2]:
        patch.setattr(world.cloud.s3, "put_object", _crash)
    elif cut == CUTS[3]:
        patch.setattr(OutputBucket, "put_manifest", _crash)


@pytest.mark.parametrize("cut", CUTS)
def test_a_message_that_is_cut_off_is_finished_by_the_next_and_stored_once(
    world: World, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    with monkeypatch.context() as broken:
        cut_off(world, broken, cut)
        with pytest.raises(Crash):
            world.deliver()

    job = world.deliver()

    assert job == world.record
    assert job.status is JobStatus.SUCCEEDED
    assert job.video
    assert job.video.sha256 == hashlib.sha256(FILM).hexdigest()
    assert world.stored_once()
    statuses = [step.status for step in job.history]
    assert statuses.count(JobStatus.GENERATED) == statuses.count(JobStatus.SUCCEEDED) == 1


def test_a_copy_that_fails_for_now_is_taken_up_by_the_next_message(
    world: World, internet: Loopback
) -> None:
    internet.plays["v3.fal.media"] = answer("", 503)
    world.deliver()
    generated = world.record
    internet.plays["v3.fal.media"] = FileServer(FILM)

    job = world.deliver()

    assert (generated.status, generated.source_url) == (
        JobStatus.GENERATED,
        SUCCESS["payload"]["video"]["url"],
    )
    assert "will try the copy again: the CDN answered 503" in state_of(generated)
    assert job
    assert (job.status, job.problem) == (JobStatus.SUCCEEDED, None)
    assert world.stored_once()


# Odd videos --------------------------------------------------------------------------------------


def test_another_container_than_was_asked_for_is_stored_as_what_it_is_with_a_note(
    world: World, internet: Loopback
) -> None:
    internet.plays["v3.fal.media"] = FileServer(video_file(".webm"))

    job = world.deliver(webhook_message(reporting(None)))

    assert job == world.record
    assert (job.status, job.video_flaws) == (JobStatus.SUCCEEDED, frozenset({OTHER_CONTAINER}))
    assert job.video
    assert job.video.content_type == "video/webm"
    assert world.cloud.outputs()[VIDEO_KEY] == video_file(".webm")
    assert (job.source_url, job.reported) == (None, {})
    assert notes(job) == ["fal made video/webm, not X264 (.mp4): it is stored as it came."]


CUT: dict[str, tuple[bytes, int, frozenset[str]]] = {
    "fewer bytes than reported": (FILM, len(FILM) + 4, frozenset({FEWER_BYTES})),
    "cut off": (FILM[:-1], 0, frozenset({CUT_OFF})),
    "both": (FILM[:60], len(FILM), frozenset({FEWER_BYTES, CUT_OFF})),
}


@pytest.mark.parametrize("cut", CUT)
def test_a_video_that_is_cut_off_is_waited_for_and_then_stored_with_a_note_and_its_source(
    world: World, internet: Loopback, cut: str
) -> None:
    body, reported, flaws = CUT[cut]
    internet.plays["v3.fal.media"] = FileServer(body)
    tried = []
    for _ in range(20):
        if world.passed[0] >= BECOMES_WHOLE_WITHIN:
            break
        world.deliver(webhook_message(reporting(reported)))
        assert world.record.status is JobStatus.GENERATED
        assert world.stored_nothing()
        tried.append(world.passed[0])
        world.passed[0] = world.due_after()

    job = world.deliver(webhook_message(reporting(reported)))

    assert [found.total_seconds() for found in tried] == [0, 30, 60, 120, 240]
    assert world.passed[0] == BECOMES_WHOLE_WITHIN
    assert job == world.record
    assert (job.status, job.video_flaws) == (JobStatus.SUCCEEDED, flaws)
    assert world.cloud.outputs()[VIDEO_KEY] == body
    assert job.source_url == SUCCESS["payload"]["video"]["url"]
    assert [note for note in notes(job) if "cut off" in note and "its address at fal" in note]
    assert json.loads(world.cloud.outputs()[MANIFEST_KEY])["video_flaws"] == sorted(flaws)
    assert "fal.media" not in world.cloud.outputs()[MANIFEST_KEY].decode()
    assert {"due_at", "due_shard"}.isdisjoint(world.cloud.item(ID))


@pytest.mark.parametrize("cut", CUT)
def test_a_video_that_becomes_whole_meanwhile_is_stored_whole_without_a_note(
    world: World, internet: Loopback, cut: str
) -> None:
    body, reported, _ = CUT[cut]
    whole = FILM.ljust(reported, b"\0")
    internet.plays["v3.fal.media"] = FileServer(body)
    world.deliver(webhook_message(reporting(reported)))
    internet.plays["v3.fal.media"] = FileServer(whole)
    world.passed[0] = world.due_after()

    job = world.deliver(webhook_message(reporting(reported)))

    assert job
    assert (job.status, job.video_flaws, job.source_url) == (JobStatus.SUCCEEDED, frozenset(), None)
    assert world.cloud.outputs()[VIDEO_KEY] == whole
    assert notes(job) == []


def test_a_video_has_its_time_to_become_whole_from_when_bytes_of_it_first_came(
    world: World, internet: Loopback
) -> None:
    internet.plays["v3.fal.media"] = answer("", 503)
    world.deliver()
    world.passed[0] = BECOMES_WHOLE_WITHIN
    internet.plays["v3.fal.media"] = FileServer(FILM[:-1])

    world.deliver()

    assert world.record.status is JobStatus.GENERATED
    assert world.stored_nothing()


def test_a_copy_that_fails_after_the_time_to_become_whole_is_not_begun_again_at_once(
    world: World, internet: Loopback
) -> None:
    internet.plays["v3.fal.media"] = FileServer(FILM[:-1])
    world.deliver()
    world.passed[0] = BECOMES_WHOLE_WITHIN
    internet.plays["v3.fal.media"] = answer("", 503)

    world.deliver()

    assert world.due_after() == 2 * BECOMES_WHOLE_WITHIN


@pytest.mark.parametrize("cut", CUT)
def test_a_video_that_was_stored_before_its_record_is_published_all_the_same(
    world: World, internet: Loopback, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The function ends between the object and the record; fal's file is gone by then."""
    body, reported, flaws = CUT[cut]
    internet.plays["v3.fal.media"] = FileServer(body)
    world.deliver(webhook_message(reporting(reported)))
    world.passed[0] = BECOMES_WHOLE_WITHIN
    with monkeypatch.context() as broken:
        broken.setattr(OutputBucket, "put_manifest", _crash)
        with pytest.raises(Crash):
            world.deliver(webhook_message(reporting(reported)))
    internet.plays["v3.fal.media"] = answer("", 404)

    job = world.deliver(webhook_message(reporting(reported)))

    assert job
    assert (job.status, job.video_flaws) == (JobStatus.SUCCEEDED, flaws)
    assert world.stored_once()
    assert job.source_url


def test_another_container_that_was_stored_before_its_record_keeps_its_type(
    world: World, internet: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet.plays["v3.fal.media"] = FileServer(video_file(".gif"))
    with monkeypatch.context() as broken:
        broken.setattr(OutputBucket, "put_manifest", _crash)
        with pytest.raises(Crash):
            world.deliver(webhook_message(reporting(None)))

    job = world.deliver(webhook_message(reporting(None)))

    assert job
    assert job.video
    assert (job.video.content_type, job.video_flaws) == ("image/gif", frozenset({OTHER_CONTAINER}))


@pytest.mark.parametrize("reported", [0, -(2**63), None, "many", 1, 100, len(FILM)])
def test_a_wrong_file_size_refuses_no_video(world: World, reported: Any) -> None:
    job = world.deliver(webhook_message(reporting(reported)))

    assert job
    assert (job.status, job.video_flaws) == (JobStatus.SUCCEEDED, frozenset())


@pytest.mark.parametrize(
    ("retry_after", "due"), [("120", 120), ("10", 30), ("99999", 900), ("290", 290), ("310", 310)]
)
def test_a_cdn_that_names_a_pause_is_tried_again_after_it(
    world: World, internet: Loopback, retry_after: str, due: int
) -> None:
    internet.plays["v3.fal.media"] = answer("", 503, {"Retry-After": retry_after})

    world.deliver()

    assert world.due_after() == timedelta(seconds=due)


ODD = {
    "a page": answer("<!DOCTYPE html><html>", 200, {"Content-Type": "text/html"}),
    "a redirect to another host": answer("", 302, {"Location": "https://evil.example.com/x"}),
    "an error with 200": answer({"detail": "not yet"}),
    "nothing": answer("", 200),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_of_the_cdn_is_not_its_last_word(
    world: World, internet: Loopback, odd: str
) -> None:
    internet.plays["v3.fal.media"] = ODD[odd]

    for hours in (0, 1, 12, 23):
        world.passed[0] = timedelta(hours=hours)
        world.deliver()
        assert world.record.status is JobStatus.GENERATED
        assert world.stored_nothing()
    internet.plays["v3.fal.media"] = FileServer(FILM)

    job = world.deliver()

    assert job
    assert job.status is JobStatus.SUCCEEDED
    assert world.stored_once()


# Not ours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"token_hash": hash_token("another")}, {"token_hash": ""}, {"job_id": "a" * 32}]
)
def test_a_message_without_the_jobs_own_token_changes_nothing(
    world: World, changes: dict[str, str]
) -> None:
    before = world.record

    assert world.deliver(webhook_message(**changes)) is None

    assert world.record == before
    assert world.stored_nothing()


def test_a_job_that_was_never_claimed_has_no_token_to_show(world: World) -> None:
    world.store.admit(a_job(at=NOW, job_id="b" * 32, name="n"), ())

    assert world.deliver(webhook_message(job_id="b" * 32, token_hash=hash_token(""))) is None


def test_a_video_of_another_proven_request_wins_over_one_that_is_still_to_come(
    world: World,
) -> None:
    job = world.deliver(webhook_message(SUCCESS | {"request_id": "another"}))

    assert job
    assert job.status is JobStatus.SUCCEEDED
    assert job.request == Request(request_id="another")
    assert world.stored_once()


def test_another_requests_result_is_noted_and_stores_nothing(world: World) -> None:
    world.deliver()
    before = world.record
    versions = world.cloud.output_versions()

    world.deliver(webhook_message(SUCCESS | {"request_id": "another"}))
    world.deliver(webhook_message(SUCCESS | {"request_id": "another"}))

    assert world.record == noted(before, duplicate_requests=frozenset({"another"}))
    assert world.cloud.output_versions() == versions


@pytest.mark.parametrize("status", [JobStatus.CANCELLED, JobStatus.FAILED])
def test_a_result_that_is_too_late_stores_nothing(world: World, status: JobStatus) -> None:
    ended = world.store.move(world.record, status)
    if status is JobStatus.FAILED:  # see the success that comes after a failure
        ended = world.store.move(world.store.move(ended, JobStatus.GENERATED), status)

    assert world.deliver() == ended

    is_paid_for_nothing = status is JobStatus.CANCELLED
    after = noted(ended, duplicate_requests=frozenset({REQUEST})) if is_paid_for_nothing else ended
    assert world.record == after
    assert world.stored_nothing()


def test_a_job_that_is_cancelled_meanwhile_stores_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = world.record
    world.store.move(read, JobStatus.CANCELLED)
    stale, get = iter([read]), world.store.get
    monkeypatch.setattr(world.store, "get", lambda job_id: next(stale, None) or get(job_id))

    job = world.deliver()

    assert job
    assert job.status is JobStatus.CANCELLED
    assert world.stored_nothing()


# Lost answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [JobStatus.SUBMITTING, JobStatus.UNCONFIRMED])
def test_the_token_proves_the_request_where_our_posts_answer_was_lost(
    world: World, status: JobStatus
) -> None:
    a_claim_whose_answer_was_lost(world, status)

    job = world.deliver()

    assert job
    assert (job.status, job.request) == (JobStatus.SUCCEEDED, Request(request_id=REQUEST))


@pytest.mark.parametrize("again", [False, True], ids=["waits", "sent again"])
def test_a_paid_video_that_comes_after_its_job_went_back_is_not_lost(
    world: World, again: bool
) -> None:
    """A request that was taken for refused had been queued after all: fal bills it, here it is."""
    a_past_attempt(world, again=again)

    job = world.deliver()

    assert job
    assert job.status is JobStatus.SUCCEEDED
    assert world.stored_once()


# Failures ---------------------------------------------------------------------------------------


def test_the_models_errors_fail_the_job_in_fals_own_types(world: World) -> None:
    job = world.deliver(webhook_message(event("fal-model-error")))

    assert job == world.record
    assert job.status is JobStatus.FAILED
    assert [(error.code, error.field) for error in job.errors] == [
        ("audio_duration_too_long", "audio"),
        ("content_policy_violation", "prompt"),
    ]
    assert "X-Amz" not in json.dumps(world.cloud.item(ID), default=str)
    assert world.stored_nothing()


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("fal-unserialisable-error", "fal_error", "Invalid status code: 404"),
    ],
)
def test_fals_own_errors_fail_the_job_with_their_words(
    world: World, body: str, code: str, words: str
) -> None:
    job = world.deliver(webhook_message(event(body)))

    assert job
    (error,) = job.errors
    assert (job.status, error.code) == (JobStatus.FAILED, code)
    assert words in error.message
    assert world.stored_nothing()


def test_an_error_that_comes_twice_fails_the_job_once(world: World) -> None:
    first = world.deliver(webhook_message(event("fal-model-error")))
    second = world.deliver(webhook_message(event("fal-model-error")))

    assert first == second
    assert [step.status for step in world.record.history].count(JobStatus.FAILED) == 1


def test_a_video_that_is_too_large_is_asked_for_some_minutes_and_then_refused(
    world: World, internet: Loopback
) -> None:
    internet.plays["v3.fal.media"] = FileServer(FILM + bytes(2**20))
    job, asked = world.deliver(), 1
    while job and not job.is_final and asked < 9:
        world.passed[0] = world.due_after()
        job, asked = world.deliver(), asked + 1

    assert (asked, world.passed[0]) == (6, BECOMES_WHOLE_WITHIN)
    assert job
    assert job == world.record
    assert (job.status, job.errors[0].code) == (JobStatus.FAILED, "video_too_large")
    assert job.source_url == SUCCESS["payload"]["video"]["url"]
    assert world.stored_nothing()


def test_a_video_that_was_called_too_large_once_is_stored(world: World, internet: Loopback) -> None:
    internet.plays["v3.fal.media"] = FileServer(FILM + bytes(2**20))
    world.deliver()
    internet.plays["v3.fal.media"] = FileServer(FILM)
    world.passed[0] = world.due_after()

    world.deliver()

    assert world.record.status is JobStatus.SUCCEEDED
    assert world.stored_once()


def test_a_video_at_a_strange_place_fails_the_job_without_a_request(
    world: World, internet: Loopback
) -> None:
    body = json.loads(json.dumps(SUCCESS))
    body["payload"]["video"]["url"] = "https://evil.example.com/x.mp4"

    job = world.deliver(webhook_message(body))

    assert job
    assert (job.status, job.errors[0].code) == (JobStatus.FAILED, "video_url_refused")
    assert internet.tunnels == {}


@pytest.mark.parametrize(
    "payload",
    [
        *({"video": video} for video in (None, {}, {"url": "video.mp4"}, "{'url': 'https://x'}")),
        *({}, "done", [1], 7),
    ],
)
def test_a_result_that_cannot_be_read_is_asked_for_again_and_ends_the_job_after_minutes(
    world: World, payload: Any
) -> None:
    unreadable = webhook_message(SUCCESS | {"payload": payload})

    asked = []
    for minute in range(MIN_UNREADABLE):
        world.passed[0] = timedelta(minutes=minute)
        world.deliver(unreadable)
        asked.append(world.record)
    world.passed[0] = timedelta(minutes=6)
    ended = world.deliver(unreadable)

    assert {one.status for one in asked} == {JobStatus.SUBMITTED}
    assert {one.unanswered_since for one in asked} == {NOW}
    assert ended
    assert (ended.status, [error.code for error in ended.errors]) == (
        JobStatus.FAILED,
        ["result_unreadable"],
    )
    assert hashlib.sha256(unreadable.body.encode()).hexdigest() in ended.errors[0].message
    assert REQUEST in ended.errors[0].message


def test_few_results_that_cannot_be_read_end_no_job_however_long_it_takes(world: World) -> None:
    """A schedule that stood still, and other odd answers before: the next one may be good."""
    unreadable = webhook_message(SUCCESS | {"payload": {}})
    for minute in range(MIN_UNREADABLE - 1):
        world.passed[0] = timedelta(minutes=10 * minute)
        world.deliver(unreadable)

    assert world.record.status is JobStatus.SUBMITTED
    job = world.deliver()
    assert job
    assert (job.status, job.unreadable_results) == (JobStatus.SUCCEEDED, None)


def test_the_url_in_an_unreadable_result_is_kept(world: World) -> None:
    unreadable = webhook_message(
        SUCCESS | {"payload": {"made": [{"at": SUCCESS["payload"]["video"]["url"]}]}}
    )
    for _ in range(MIN_UNREADABLE):
        world.deliver(unreadable)
    world.passed[0] = timedelta(minutes=6)

    ended = world.deliver(unreadable)

    assert ended
    assert ended.source_url == SUCCESS["payload"]["video"]["url"]


@pytest.mark.parametrize("form", ["video_list", "video_text", "videos", "surrogate", "nan", "bom"])
def test_a_paid_video_is_read_out_of_an_odd_result(world: World, form: str) -> None:
    payload = SUCCESS["payload"]
    video = payload["video"]
    odd: dict[str, Any] = {
        "video_list": payload | {"video": [video]},
        "video_text": payload | {"video": video["url"]},
        "videos": {"videos": [video], "seed": 1},
        "surrogate": payload | {"prompt": "half a \ud83c"},
        "nan": payload | {"seed": float("nan"), "timings": {"inference": float("inf")}},
        "bom": payload,
    }
    fields = webhook_message(SUCCESS | {"payload": odd[form]})

    job = world.deliver(replace(fields, body="\ufeff" * (form == "bom") + fields.body))

    assert job
    assert job.status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("again", [False, True], ids=["waits", "sent again"])
def test_an_unreadable_result_of_a_past_attempt_changes_nothing(world: World, again: bool) -> None:
    a_past_attempt(world, again=again)
    before = world.record

    world.deliver(webhook_message(SUCCESS | {"payload": {}}))

    assert world.record == before


def test_a_failure_of_another_request_than_the_jobs_own_changes_nothing(world: World) -> None:
    before = world.record

    world.deliver(webhook_message(event("fal-model-error") | {"request_id": "another"}))

    assert world.record == before


def test_a_success_after_an_error_is_fetched_where_the_webhook_could_not_carry_it(
    world: World, internet: Loopback
) -> None:
    internet.plays["queue.fal.run"] = answer(SUCCESS["payload"])
    world.store.move(world.record, JobStatus.FAILED)

    job = world.deliver(webhook_message(event("fal-unserialisable-success")))

    assert job
    assert job.status is JobStatus.SUCCEEDED
    assert world.stored_once()


def test_an_end_after_an_error_that_is_fetched_and_is_an_error_too_changes_nothing(
    world: World, internet: Loopback
) -> None:
    reason = {"detail": [{"type": "value_error", "msg": "no"}]}
    internet.plays["queue.fal.run"] = answer(reason, 422)
    failed = world.store.move(world.record, JobStatus.FAILED)

    assert world.deliver(webhook_message(event("fal-unserialisable-success"))) == failed
    assert world.record == failed


def test_a_success_after_an_error_of_the_same_request_is_the_jobs_video(world: World) -> None:
    failure = SUCCESS | {
        "status": "ERROR",
        "payload": {"detail": [{"type": "value_error", "msg": "no"}]},
    }
    failed = world.deliver(webhook_message(failure))
    assert failed
    assert failed.status is JobStatus.FAILED

    job = world.deliver()

    assert job
    assert (job.status, job.errors) == (JobStatus.SUCCEEDED, ())
    assert world.stored_once()
    assert world.deliver() == job  # and again changes nothing


@pytest.mark.parametrize("result", ["video", "none yet", "failed"])
def test_an_error_without_a_reason_is_asked_about(
    world: World, internet: Loopback, result: str
) -> None:
    bare = SUCCESS | {"status": "ERROR", "error": "Invalid status code: 503", "payload": None}
    reason = {"detail": [{"type": "value_error", "msg": "no"}]}
    status = {"status": "IN_PROGRESS" if result == "none yet" else "COMPLETED"}
    found = {"video": answer(SUCCESS["payload"]), "failed": answer(reason, 422)}

    async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
        is_status = seen.target.endswith("/status")
        return await (answer(status) if is_status else found[result])(seen, request)

    internet.plays["queue.fal.run"] = play

    with contextlib.suppress(FalUnavailable):
        world.deliver(webhook_message(bare))

    wanted = {
        "video": JobStatus.SUCCEEDED,
        "none yet": JobStatus.SUBMITTED,
        "failed": JobStatus.FAILED,
    }
    assert world.record.status is wanted[result]


@pytest.mark.parametrize("number", [float("inf"), 1e60, -1, 1e-300, 0.1, 1.5])
def test_an_odd_number_beside_a_paid_video_does_not_lose_it(world: World, number: float) -> None:
    body = json.loads(json.dumps(SUCCESS))
    body["payload"]["video"]["duration"] = number
    text = json.dumps(body).replace("Infinity", "1e400")

    job = world.deliver(replace(webhook_message(), body=text))

    assert job
    assert job.status is JobStatus.SUCCEEDED


# Results that must be fetched -------------------------------------------------------------------


def test_a_result_that_the_webhook_could_not_carry_is_fetched(
    world: World, internet: Loopback
) -> None:
    internet.plays["queue.fal.run"] = answer(SUCCESS["payload"])

    job = world.deliver(webhook_message(event("fal-unserialisable-success")))

    assert job
    assert (job.status, job.seed) == (JobStatus.SUCCEEDED, 17454220438242315174)
    (get,) = internet.requests("queue.fal.run")
    assert get.target == f"/fal-ai/ltx-2.3-22b/requests/{REQUEST}"
    (copied,) = internet.requests("v3.fal.media")
    assert "authorization" not in copied.headers


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_result_that_cannot_be_fetched_now_is_not_a_failure(
    world: World, internet: Loopback, status: int
) -> None:
    internet.plays["queue.fal.run"] = answer({"detail": "not now"}, status)
    before = world.record

    with pytest.raises(FalUnavailable):
        world.deliver(webhook_message(event("fal-unserialisable-success")))

    assert world.record == before


@pytest.mark.parametrize("status", [JobStatus.SUBMITTING, JobStatus.UNCONFIRMED])
def test_the_request_of_a_result_that_must_be_fetched_is_known_before_it_is_asked_for(
    world: World, internet: Loopback, status: JobStatus
) -> None:
    """fal may keep it for six minutes; reconciling asks too, once it knows for what."""
    a_claim_whose_answer_was_lost(world, status)
    internet.plays["queue.fal.run"] = answer({"detail": "not now"}, 503)

    with pytest.raises(FalUnavailable):
        world.deliver(webhook_message(event("fal-unserialisable-success")))

    assert world.record.status is JobStatus.SUBMITTED
    assert world.record.request == Request(request_id=REQUEST)


@pytest.mark.parametrize("again", [False, True], ids=["waits", "sent again"])
def test_a_result_of_a_past_attempt_is_fetched_and_binds_no_later_one(
    world: World, internet: Loopback, again: bool
) -> None:
    a_past_attempt(world, again=again)
    internet.plays["queue.fal.run"] = answer({"detail": "not now"}, 503)
    before = world.record

    with pytest.raises(FalUnavailable):
        world.deliver(webhook_message(event("fal-unserialisable-success")))

    assert world.record == before


# The function -----------------------------------------------------------------------------------


@pytest.fixture
def handle(
    world: World, function: Callable[..., ModuleType], context: Context
) -> Callable[..., list[str]]:
    del world
    module = function(
        "store",
        JOBS_TABLE=JOBS,
        OUTPUT_BUCKET=OUTPUT,
        FAL_KEY_PARAMETER=KEY_PARAMETER,
        MAX_VIDEO_BYTES="1048576",
        STABLE_KEY="true",
        DROPS_QUEUE_URL="https://sqs.us-east-1.amazonaws.com/123456789012/drops",
        MAX_IN_FLIGHT="2",
        DAILY_BUDGET_USD="25",
    )

    def deliver(*messages: Any) -> list[str]:
        answered = module.handler(sqs(*messages), context)
        return [failure["itemIdentifier"] for failure in answered["batchItemFailures"]]

    return deliver


def test_the_function_stores_what_the_queue_brings(
    world: World, handle: Callable[..., list[str]], load_event: Callable[[str], Any]
) -> None:
    message = json.loads(load_event("sqs-webhook-message")["Records"][0]["body"])
    forged, genuine = message, message | {"token_hash": TOKEN, "body": webhook_message().body}

    assert handle(forged, genuine) == []

    assert world.record.status is JobStatus.SUCCEEDED
    assert world.stored_once()


def test_a_message_that_fails_comes_back_alone(
    world: World, handle: Callable[..., list[str]]
) -> None:
    malformed = webhook_message(SUCCESS | {"payload": {}}).__dict__

    failed = handle("{", {"unknown": "shape"}, malformed, webhook_message().__dict__)

    assert failed == ["m0", "m1"]
    assert world.record.status is JobStatus.SUCCEEDED


def test_a_result_that_cannot_be_fetched_now_comes_back(
    world: World, handle: Callable[..., list[str]], internet: Loopback
) -> None:
    """Of a job that has failed nothing else asks for the video."""
    internet.plays["queue.fal.run"] = answer({"detail": "not now"}, 503)
    world.store.move(world.record, JobStatus.FAILED)

    assert handle(webhook_message(event("fal-unserialisable-success")).__dict__) == ["m0"]


def test_a_video_that_cannot_be_copied_is_left_to_its_record_and_to_no_message(
    world: World, handle: Callable[..., list[str]], internet: Loopback
) -> None:
    internet.plays["v3.fal.media"] = answer("", 503)

    assert handle(webhook_message().__dict__) == []
    assert world.record.status is JobStatus.GENERATED
    due_at = datetime.fromisoformat(world.cloud.item(ID)["due_at"])
    assert (
        MIN_PAUSE
        <= due_at - world.record.last(JobStatus.GENERATED)
        < LOOK_AGAIN_AFTER[JobStatus.GENERATED]
    )


@pytest.mark.parametrize("code", [200, 503])
def test_the_next_job_is_dispatched_when_a_video_is_stored_and_when_it_cannot_be_copied(
    world: World,
    handle: Callable[..., list[str]],
    internet: Loopback,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    if code != 200:
        internet.plays["v3.fal.media"] = answer("", code)
    dispatched: list[JobStatus] = []
    monkeypatch.setattr(Dispatcher, "dispatch", lambda _: dispatched.append(world.record.status))

    handle(webhook_message().__dict__)

    assert dispatched == [JobStatus.SUCCEEDED if code == 200 else JobStatus.GENERATED]


def test_the_log_of_a_message_names_the_job_and_no_secret(
    world: World, handle: Callable[..., list[str]], internet: Loopback, log: io.StringIO
) -> None:
    del world
    internet.plays["v3.fal.media"] = answer("", 503)
    malformed = webhook_message(SUCCESS | {"payload": {"prompt": "A woman sings"}}).__dict__

    handle(webhook_message().__dict__, malformed)

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["job_id"] for line in lines} == {ID}
    for secret in ("fal.media", "A woman sings", "17454220438242315174", TOKEN, FAL_KEY):
        assert secret not in log.getvalue()
