"""What fal's storage sees of us on the wire, and what becomes of a job whose files it refuses."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.errors import DropRefused, MustWait, UploadFailed, WriteRefused
from phonoscene.fal import requests
from phonoscene.fal import storage as product
from phonoscene.fal.requests import LARGEST_UPLOAD, Medium
from phonoscene.fal.storage import FalStorage
from phonoscene.jobs import Audio, DropObject, Job, JobStatus
from phonoscene.limits import cost_of
from phonoscene.retries import MAX_REFUSALS
from phonoscene.workflow.media_urls import Uploaded
from phonoscene.workflow.submission import SubmissionSettings, Submitter
from tests.integration.fal_queue import FakeFalQueue
from tests.integration.loopback import Loopback, Seen, answer, cut, stall, vanish
from tests.integration.moto_stack import Cloud, client
from tests.integration.workspace import DAY, Workspace, an_id
from tests.support.media.samples import png, silence
from tests.support.stack import DROPS, FAL_KEY, WEBHOOKS, created, sqs
from tests.support.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.integration.conftest import Context

TOKEN: Final = "cdn-token-of-an-hour"
SIGNED_IN: Final = {
    "token": TOKEN,
    "token_type": "Bearer",
    "base_url": "https://v3.fal.media",
    "expires_at": "2026-11-24T12:00:00+00:00",
}
LIFE: Final = 3700
SOUND: Final = silence(2)


async def store(seen: Seen, _: web.Request) -> web.StreamResponse:
    """Keep a file's name within its address, as far as is known of fal."""
    name = seen.headers["x-fal-file-name"]
    return web.json_response({"access_url": f"https://v3b.fal.media/files/b/0a1b2c3d/Xq_{name}"})


@pytest.fixture
def fal(internet: Loopback) -> Loopback:
    internet.plays["rest.fal.ai"] = answer(SIGNED_IN)
    internet.plays["v3.fal.media"] = store
    return internet


@pytest.fixture
def storage(fal: Loopback) -> FalStorage:  # noqa: ARG001 - clients are made behind its proxy
    return FalStorage(lambda **_: f"{FAL_KEY}\n")


def medium(body: bytes = b"a sound", name: str = "job-1.wav") -> Medium:
    return Medium("albums/song.wav", name, "audio/wav", len(body), iter([body[:3], body[3:]]))


def send(storage: FalStorage, *media: Medium) -> list[str]:
    with storage.open(LIFE) as uploads:
        return [uploads.upload(one) for one in media or (medium(),)]


# The wire ----------------------------------------------------------------------------------------


def test_the_key_buys_a_token_and_the_token_an_upload(fal: Loopback, storage: FalStorage) -> None:
    (url,) = send(storage)

    signing_in, upload = fal.seen
    assert (signing_in.host, signing_in.method) == ("rest.fal.ai", "POST")
    assert signing_in.target == "/storage/auth/token?storage_type=fal-cdn-v3"
    assert signing_in.headers["authorization"] == f"Key {FAL_KEY}"
    assert signing_in.json == {}
    assert (upload.host, upload.method, upload.target) == ("v3.fal.media", "POST", "/files/upload")
    assert upload.body == b"a sound"
    assert url == "https://v3b.fal.media/files/b/0a1b2c3d/Xq_job-1.wav"


def test_an_upload_says_what_it_is_how_long_it_is_and_how_long_it_lives(
    fal: Loopback, storage: FalStorage
) -> None:
    send(storage)

    headers = fal.requests("v3.fal.media", "POST")[0].headers
    assert headers["content-type"] == "audio/wav"
    assert headers["content-length"] == "7"
    assert "transfer-encoding" not in headers
    assert headers["x-fal-file-name"] == "job-1.wav"
    for name in ("x-fal-object-lifecycle", "x-fal-object-lifecycle-preference"):
        assert json.loads(headers[name]) == {"expiration_duration_seconds": LIFE}


def test_the_cdn_is_never_shown_the_key_nor_anybody_else_the_token(
    fal: Loopback, storage: FalStorage
) -> None:
    send(storage, medium(), medium(name="job-1.png"))

    for seen in fal.seen:
        shown = f"{seen.headers} {seen.target} {seen.body!r}"
        assert (FAL_KEY in shown) == (seen.host == "rest.fal.ai")
        assert (TOKEN in shown) == (seen.host == "v3.fal.media")
    assert len(fal.requests("rest.fal.ai", "POST")) == 1  # for both files


def test_neither_key_nor_token_nor_address_reaches_a_log(
    storage: FalStorage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        (url,) = send(storage)

    for secret in (FAL_KEY, TOKEN, url):
        assert secret not in caplog.text


@pytest.mark.parametrize("status", [200, 201])
def test_any_2xx_is_taken(fal: Loopback, storage: FalStorage, status: int) -> None:
    fal.plays["v3.fal.media"] = answer({"access_url": "https://v3.fal.media/files/x/a.wav"}, status)

    assert send(storage) == ["https://v3.fal.media/files/x/a.wav"]


REDIRECT: Final = {"Location": "https://evil.example.com/"}


@pytest.mark.parametrize(
    ("status", "waits_for"),
    [
        (401, "account"),
        (402, "account"),
        (403, "account"),
        (302, "storage"),
        (307, "storage"),
        (404, "storage"),
        (422, "storage"),
        (429, "storage"),
        (500, "storage"),
        (503, "storage"),
        (504, "storage"),
    ],
)
def test_without_a_token_the_job_waits(
    fal: Loopback, storage: FalStorage, status: int, waits_for: str
) -> None:
    fal.plays["rest.fal.ai"] = answer({"detail": "no"}, status, REDIRECT)

    with pytest.raises(UploadFailed) as failed:
        send(storage)

    assert failed.value.waits_for == waits_for
    assert len(fal.seen) == (2 if status == 401 else 1)  # the key may have been rotated


@pytest.mark.parametrize("status", [301, 307, 308, 400, 401, 403, 404, 408, 429, 500, 502, 503])
def test_an_upload_that_may_be_taken_later_is_no_fault_of_the_file(
    fal: Loopback, storage: FalStorage, status: int
) -> None:
    fal.plays["v3.fal.media"] = answer({"detail": "no"}, status, REDIRECT)

    with pytest.raises(UploadFailed) as failed:
        send(storage)

    assert failed.value.waits_for == "storage"
    assert [seen.host for seen in fal.seen] == ["rest.fal.ai", "v3.fal.media"]


@pytest.mark.parametrize("status", [413, 415, 422])
def test_a_file_that_fal_will_never_take_is_named(
    fal: Loopback, storage: FalStorage, status: int
) -> None:
    fal.plays["v3.fal.media"] = answer({"detail": "no"}, status)

    with pytest.raises(DropRefused) as refused:
        send(storage)

    (error,) = refused.value.errors
    assert (error.code, error.source) == ("refused_by_storage", "albums/song.wav")
    assert str(status) in error.message


@pytest.mark.parametrize(
    "found",
    [
        "",
        "[]",
        "null",
        '{"token": 7}',
        '{"token": "", "token_type": "Bearer"}',
        '{"token": "t", "token_type": "☃"}',
        '{"token": "t\\nX-Evil: 1", "token_type": "Bearer"}',
    ],
)
def test_a_token_that_is_none_is_no_token(fal: Loopback, storage: FalStorage, found: str) -> None:
    fal.plays["rest.fal.ai"] = answer(found)

    with pytest.raises(UploadFailed):
        send(storage)

    assert fal.requests("v3.fal.media", "POST") == []


@pytest.mark.parametrize(
    "found",
    [
        "",
        "[]",
        "{}",
        '{"access_url": null}',
        '{"access_url": ""}',
        *(
            json.dumps({"access_url": url})
            for url in (
                "http://v3.fal.media/files/a.wav",
                "https://evil.example.com/a.wav",
                "https://fal.media.example.com/a.wav",
                "https://v3.fal.media@evil.example.com/a.wav",
                "https://[v3.fal.media/a",
                "https://v3.fal.media/a b",
                "https://v3.fal.media/" + "a" * 2048,
                "//v3.fal.media/a.wav",
                "file:///etc/passwd",
            )
        ),
    ],
)
def test_an_address_that_is_not_fals_cdn_is_not_passed_on(
    fal: Loopback, storage: FalStorage, found: str
) -> None:
    fal.plays["v3.fal.media"] = answer(found)

    with pytest.raises(UploadFailed):
        send(storage)


@pytest.mark.parametrize("host", ["rest.fal.ai", "v3.fal.media"])
@pytest.mark.parametrize("play", [vanish, stall])
def test_an_answer_that_does_not_come_is_waited_for_no_longer(
    fal: Loopback, storage: FalStorage, environment: pytest.MonkeyPatch, host: str, play: Any
) -> None:
    environment.setattr(product, "TIMEOUT", 0.3)
    fal.plays[host] = play
    began = time.monotonic()

    with pytest.raises(UploadFailed, match="cannot be reached"):
        send(storage)

    assert time.monotonic() - began < 1.5


def test_the_files_of_a_job_have_their_time_together(
    fal: Loopback, storage: FalStorage, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(product, "MAX_SECONDS", 0.2)
    asked = 0

    def drip() -> Iterator[bytes]:
        nonlocal asked
        for _ in range(100):
            asked += 1
            time.sleep(0.01)
            yield b"x"

    slow = Medium("song.wav", "job-1.wav", "audio/wav", 100, drip())
    with pytest.raises(UploadFailed, match=r"longer than 0\.2 s"):
        send(storage, medium(), slow)

    assert 5 < asked < 50  # it is read as it is sent, and no further
    assert len(fal.requests("v3.fal.media", "POST")) <= 2


def test_a_key_that_was_rotated_is_read_anew_and_not_the_one_that_was_refused(
    fal: Loopback,
) -> None:
    async def rotated(seen: Seen, _: web.Request) -> web.StreamResponse:
        is_new = seen.headers["authorization"] == "Key new"
        return web.json_response(SIGNED_IN if is_new else {}, status=200 if is_new else 401)

    fal.plays["rest.fal.ai"] = rotated

    [url] = send(FalStorage(lambda *, fresh=False: "new" if fresh else "old"))

    assert url.endswith("job-1.wav")


@pytest.mark.parametrize("host", ["rest.fal.ai", "v3.fal.media"])
def test_an_answer_that_drips_ends_with_the_time_of_all_uploads(
    fal: Loopback, storage: FalStorage, environment: pytest.MonkeyPatch, host: str
) -> None:
    async def drips(_: Seen, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "30"})
        await response.prepare(request)
        for _one in range(30):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    environment.setattr(product, "MAX_SECONDS", 0.5)
    fal.plays[host] = drips
    began = time.monotonic()

    with pytest.raises(UploadFailed, match="cannot be reached"):
        send(storage)

    assert time.monotonic() - began < 1.8


def test_a_file_that_cannot_be_read_to_its_end_is_not_passed_off_as_whole(
    fal: Loopback, storage: FalStorage
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("S3 broke off")

    with pytest.raises(OSError, match="S3 broke off"):
        send(storage, Medium("song.wav", "job-1.wav", "audio/wav", 9, broken()))

    assert fal.requests("v3.fal.media", "POST") == []


def test_a_file_that_is_too_large_is_not_begun(fal: Loopback, storage: FalStorage) -> None:
    large = Medium("song.wav", "job-1.wav", "audio/wav", LARGEST_UPLOAD + 1, [])

    with pytest.raises(DropRefused, match="104,857,601"):
        send(storage, large)

    assert fal.requests("v3.fal.media", "POST") == []


UPLOAD_A_LOT = r"""
import re
from phonoscene.fal.storage import FalStorage
from phonoscene.fal.requests import LARGEST_UPLOAD, Medium

def peak():
    "In bytes; getrusage would tell the parent's, which a child inherits."
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
def upload(blocks):
    body = (bytes(65536) for _ in range(blocks))
    with FalStorage(lambda **_: "id:secret").open(3600) as uploads:
        uploads.upload(Medium("a.wav", "a.wav", "audio/wav", blocks * 65536, body))
upload(1)
before = peak()
upload(LARGEST_UPLOAD // 65536)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells peaks there")
def test_memory_stays_flat_however_large_the_file_is(fal: Loopback) -> None:
    fal.swallowed["v3.fal.media"] = 0
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "layers" / "common"),
        "HTTPS_PROXY": fal.proxy,
        "SSL_CERT_FILE": str(fal.ca_file),
    }

    done = subprocess.run(  # noqa: S603 - our own words only
        [sys.executable, "-c", UPLOAD_A_LOT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    assert fal.swallowed["v3.fal.media"] == LARGEST_UPLOAD + 65536
    assert int(done.stdout) < 8 * 1024 * 1024


# A drop ------------------------------------------------------------------------------------------


@pytest.fixture
def drop(
    cloud: Cloud,
    fal: Loopback,  # noqa: ARG001 - its storage
    submit: ModuleType,
    environment: pytest.MonkeyPatch,
    context: Context,
) -> Callable[..., Job]:
    """Drop an audio file with this sidecar where fal gets copies; the job, and fal's POST."""
    queue = FakeFalQueue()
    environment.setattr(submit, "FalQueue", lambda _: queue)
    environment.setenv("AUDIO_DELIVERY", "fal-storage")
    submit.build.cache_clear()

    def do(audio: bytes = SOUND, **sidecar: Any) -> Job:
        cloud.drop("a/song.wav", audio)
        cloud.drop("a/song.json", {"prompt": "A stage"} | sidecar)
        result = submit.handler(sqs(created("a/song.json")), context)
        assert result == {"batchItemFailures": []}
        (item,) = cloud.items()
        found = Workspace.on_moto(cloud).store.get(item["job_id"])
        assert found
        return found

    vars(do)["posts"] = queue.posts
    return do


def posts(drop: Any) -> list[Any]:
    found: list[Any] = drop.posts
    return found


def test_fal_is_sent_the_copies_addresses_and_nothing_of_ours(
    drop: Callable[..., Job], cloud: Cloud, fal: Loopback
) -> None:
    image = png(64, 64)
    cloud.drop("a/cover.png", image)

    job = drop(image_url="cover.png")

    (post,) = posts(drop)
    assert job.status is JobStatus.SUBMITTED
    name = f"https://v3b.fal.media/files/b/0a1b2c3d/Xq_{job.job_id}-1"
    assert post.arguments["audio_url"] == f"{name}.wav"
    assert post.arguments["image_url"] == f"{name}.png"
    bodies = {
        seen.headers["content-type"]: seen.body for seen in fal.requests("v3.fal.media", "POST")
    }
    assert bodies == {"audio/wav": SOUND, "image/png": image}
    assert job.marker in post.arguments["audio_url"]


def test_an_image_on_the_internet_is_left_where_it_is(
    drop: Callable[..., Job], fal: Loopback
) -> None:
    drop(image_url="https://example.com/cover.png")

    assert posts(drop)[0].arguments["image_url"] == "https://example.com/cover.png"
    assert len(fal.requests("v3.fal.media", "POST")) == 1


def test_a_copy_outlives_the_time_in_which_fal_may_begin(
    drop: Callable[..., Job], fal: Loopback
) -> None:
    drop()

    header = fal.requests("v3.fal.media", "POST")[0].headers["x-fal-object-lifecycle"]
    life = json.loads(header)["expiration_duration_seconds"]
    until_the_post = product.MAX_SECONDS + 60  # uploads, claim, POST
    assert posts(drop)[0].start_timeout + 300 <= life - until_the_post


def test_the_version_that_was_dropped_is_uploaded_whatever_is_there_now(
    drop: Callable[..., Job], cloud: Cloud, fal: Loopback, environment: pytest.MonkeyPatch
) -> None:
    look = DropBucket.open

    def overwritten(self: DropBucket, pinned: DropObject, field: str) -> Any:
        cloud.s3.put_object(Bucket=DROPS, Key=pinned.key, Body=b"something else")
        return look(self, pinned, field)

    environment.setattr(DropBucket, "open", overwritten)

    drop()

    assert fal.requests("v3.fal.media", "POST")[0].body == SOUND


def test_the_address_is_nowhere_in_the_record_or_the_log(
    drop: Callable[..., Job], cloud: Cloud, log: Any
) -> None:
    job = drop()

    record = json.dumps(cloud.item(job.job_id), default=str)
    for text in (record, log.getvalue()):
        assert "fal.media" not in text
        assert TOKEN not in text
    assert job.arguments.keys() & {"audio_url", "image_url"} == set()


def test_where_fal_drops_the_name_the_marker_goes_where_no_client_sends_it(
    drop: Callable[..., Job], fal: Loopback
) -> None:
    fal.plays["v3.fal.media"] = answer(
        {"access_url": "https://v3.fal.media/files/rabbit/YYbm6L.wav"}
    )

    job = drop()

    sent = posts(drop)[0].arguments["audio_url"]
    assert sent == f"https://v3.fal.media/files/rabbit/YYbm6L.wav#{job.marker}"


def test_a_refused_upload_leaves_the_job_ready_says_so_and_sends_nothing(
    drop: Callable[..., Job], cloud: Cloud, fal: Loopback
) -> None:
    fal.plays["v3.fal.media"] = answer({"detail": "busy"}, 503)

    job = drop()

    assert (job.status, job.waits_for, job.uploads_failed) == (JobStatus.READY, "storage", 1)
    assert (job.attempt, job.refusals, posts(drop)) == (0, 0, [])
    assert Workspace.on_moto(cloud).sums()[0] == 0
    turn = datetime.fromisoformat(cloud.item(job.job_id)["dispatch_at"]) - job.updated_at
    assert timedelta(seconds=14) < turn < timedelta(seconds=40)


def test_what_is_too_large_to_upload_is_rejected_with_everything_else(
    drop: Callable[..., Job], cloud: Cloud, fal: Loopback, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(requests, "LARGEST_UPLOAD", 2000)
    cloud.drop("a/cover.png", png(64, 64) + bytes(2000))

    job = drop(image_url="cover.png", continuity="smooth")

    assert job.status is JobStatus.REJECTED
    found = sorted((error.code, error.source) for error in job.errors)
    assert found == [
        ("not_allowed", "a/song.json"),
        ("too_large_to_upload", "a/cover.png"),
        ("too_large_to_upload", "a/song.wav"),
    ]
    assert fal.seen == []


def test_an_image_that_is_too_large_is_named(
    drop: Callable[..., Job], cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(requests, "LARGEST_UPLOAD", len(SOUND))
    cloud.drop("a/cover.png", png(64, 64) + bytes(len(SOUND)))

    job = drop(image_url="cover.png")

    (error,) = job.errors
    assert (error.code, error.source) == ("too_large_to_upload", "a/cover.png")
    assert "AudioDelivery" in error.message


def test_what_there_is_no_time_for_is_left_to_the_next_dispatch(
    drop: Callable[..., Job], context: Context, fal: Loopback, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(type(context), "get_remaining_time_in_millis", lambda _: 90_000)

    job = drop()

    assert (job.status, job.waits_for, posts(drop)) == (JobStatus.READY, None, [])
    assert fal.seen == []


# Whom nothing is uploaded for --------------------------------------------------------------------

ID: Final = an_id(1)


@pytest.fixture
def workspace(cloud: Cloud) -> Workspace:
    return Workspace.on_moto(cloud)


@pytest.fixture
def submitter(workspace: Workspace, cloud: Cloud, storage: FalStorage) -> Submitter:
    bucket = DropBucket(cloud.s3, client("s3", "s3v4"), DROPS)
    media = Uploaded(bucket, storage, LIFE, timedelta(seconds=100))
    settings = SubmissionSettings(WEBHOOKS, 3600, 86400)
    queue: Any = workspace.fal
    return Submitter(media, workspace.store, queue, settings, workspace.limits)


@pytest.fixture
def job(workspace: Workspace, cloud: Cloud) -> Job:
    """READY, with an audio file that is in the bucket."""
    version = cloud.drop("song.wav", SOUND)
    audio = Audio(key="song.wav", version_id=version, bytes=len(SOUND))
    return workspace.admit(1, audio=audio)


def full(workspace: Workspace) -> None:
    workspace.cloud.dynamodb.update_item(
        TableName="jobs",
        Key={"job_id": {"S": "window"}},
        UpdateExpression="ADD in_flight :jobs",
        ExpressionAttributeValues={":jobs": {"SS": [f"job {n}" for n in range(4)]}},
    )


def spent(workspace: Workspace) -> None:
    workspace.set_sums(f"budget#{DAY}", committed_usd=Decimal("9.6"), reserved_usd=0, changes=1)


def paused(workspace: Workspace) -> None:
    workspace.set_window(paused_until=workspace.clock() + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("lack", "waits_for"), [(full, "slot"), (spent, "budget"), (paused, "account")]
)
def test_nothing_is_uploaded_for_a_job_that_has_no_room(
    workspace: Workspace,
    submitter: Submitter,
    job: Job,
    fal: Loopback,
    lack: Callable[[Workspace], None],
    waits_for: str,
) -> None:
    lack(workspace)

    left = submitter.submit(job)

    assert (left.status, left.waits_for) == (JobStatus.READY, waits_for)
    assert left == workspace.read()
    assert (fal.seen, workspace.fal.posts) == ([], [])


@pytest.mark.parametrize(
    ("lack", "waits_for"), [(full, "slot"), (spent, "budget"), (paused, "account")]
)
def test_the_look_sees_what_the_claim_would_be_refused_for(
    workspace: Workspace, job: Job, lack: Callable[[Workspace], None], waits_for: str
) -> None:
    cost = cost_of(job, workspace.clock())
    workspace.store.ledger.look(cost, workspace.limits)
    lack(workspace)

    refused = []
    for attempt in (
        lambda: workspace.store.ledger.look(cost, workspace.limits),
        lambda: workspace.store.claim(job, workspace.limits, "hash"),
    ):
        with pytest.raises(MustWait) as found:
            attempt()
        refused.append(found.value.waits_for)

    assert refused == [waits_for, waits_for]


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.READY, JobStatus.WAITING}))
def test_nothing_is_uploaded_for_a_job_that_moved_on(
    workspace: Workspace, submitter: Submitter, fal: Loopback, status: JobStatus
) -> None:
    now = workspace.bring(status)
    as_read = now.model_copy(update={"status": JobStatus.READY})

    with pytest.raises(WriteRefused):
        workspace.store.hold(as_read, workspace.limits, timedelta(seconds=100))
    assert submitter.submit(as_read) == now
    assert (fal.seen, workspace.fal.posts) == ([], [])


def test_nothing_is_uploaded_before_a_jobs_turn(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    waiting = workspace.store.put_off(job, "fal", workspace.clock() + timedelta(seconds=30))

    early = submitter.submit(waiting)
    workspace.clock.go_on(seconds=31)
    in_turn = submitter.submit(waiting)

    assert (early.status, early.waits_for) == (JobStatus.READY, "fal")
    assert in_turn.status is JobStatus.SUBMITTED
    assert len(fal.requests("v3.fal.media", "POST")) == 1


def test_a_slot_that_is_lost_while_the_files_are_uploaded_is_waited_for(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    async def meanwhile(seen: Seen, request: web.Request) -> web.StreamResponse:
        full(workspace)
        return await store(seen, request)

    fal.plays["v3.fal.media"] = meanwhile

    left = submitter.submit(job)

    assert (left.status, left.waits_for, workspace.fal.posts) == (JobStatus.READY, "slot", [])


def test_of_two_submitters_one_uploads(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    """However long the first takes: a dispatch comes again and again while a job is READY."""
    others = []

    async def meanwhile(seen: Seen, request: web.Request) -> web.StreamResponse:
        others.append(submitter.submit(job))
        return await store(seen, request)

    fal.plays["v3.fal.media"] = meanwhile

    first = submitter.submit(job)

    assert [other.status for other in others] == [JobStatus.READY]
    assert first == workspace.read()
    assert first.status is JobStatus.SUBMITTED
    assert (len(fal.requests("v3.fal.media", "POST")), len(workspace.fal.posts)) == (1, 1)


def test_who_died_while_uploading_holds_the_job_for_no_longer_than_it_takes(
    workspace: Workspace, submitter: Submitter, job: Job
) -> None:
    workspace.store.hold(job, workspace.limits, timedelta(seconds=100))  # and is gone

    early = submitter.submit(job)
    held_until = workspace.turn()
    workspace.clock.go_on(seconds=100)
    done = submitter.submit(job)

    assert early.status is JobStatus.READY
    assert held_until == workspace.clock()
    assert done.status is JobStatus.SUBMITTED


def test_of_two_that_hold_a_job_after_all_one_claims_it(
    workspace: Workspace,
    submitter: Submitter,
    job: Job,
    fal: Loopback,
    environment: pytest.MonkeyPatch,
) -> None:
    """The first was slower than it may be; the claim is the only truth."""
    others, look = [], DropBucket.open

    def slow(self: DropBucket, pinned: DropObject, field: str) -> Any:
        environment.setattr(DropBucket, "open", look)
        workspace.clock.go_on(seconds=101)
        others.append(submitter.submit(job))
        return look(self, pinned, field)

    environment.setattr(DropBucket, "open", slow)

    first = submitter.submit(job)

    assert first == others[0] == workspace.read()
    assert (len(fal.requests("v3.fal.media", "POST")), len(workspace.fal.posts)) == (2, 1)


def test_a_job_that_somebody_else_postponed_meanwhile_is_not_claimed(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    async def meanwhile(seen: Seen, request: web.Request) -> web.StreamResponse:
        workspace.store.put_off(job, "account", workspace.clock() + timedelta(minutes=5))
        return await store(seen, request)

    fal.plays["v3.fal.media"] = meanwhile

    left = submitter.submit(job)

    assert (left.status, left.waits_for, workspace.fal.posts) == (JobStatus.READY, "account", [])


# What does not get there -------------------------------------------------------------------------


def test_a_job_that_was_not_uploaded_is_uploaded_in_its_turn_under_the_same_name(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    fal.plays["v3.fal.media"] = answer("", 500)
    submitter.submit(job)
    fal.plays["v3.fal.media"] = store
    workspace.clock.go_on(seconds=31)

    done = submitter.submit(workspace.read())

    assert (done.status, done.attempt, done.waits_for) == (JobStatus.SUBMITTED, 1, None)
    names = {one.headers["x-fal-file-name"] for one in fal.requests("v3.fal.media", "POST")}
    assert names == {f"{ID}-1.wav"}


def test_each_attempt_has_a_copy_of_its_own(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    first = submitter.submit(job)
    back = workspace.store.end(first, JobStatus.READY, request=None)

    submitter.submit(back)

    names = [one.headers["x-fal-file-name"] for one in fal.requests("v3.fal.media", "POST")]
    assert names == [f"{ID}-1.wav", f"{ID}-2.wav"]


def test_each_failure_waits_longer_and_a_day_of_them_is_the_end(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    fal.plays["rest.fal.ai"] = answer("", 503)
    waits = []
    for _ in range(4):
        job = submitter.submit(workspace.read())
        waits.append((workspace.turn() or workspace.clock()) - workspace.clock())
        workspace.clock.go_on(minutes=15)
    worn = workspace.store.put_off(job, "storage", workspace.clock(), uploads_failed=MAX_REFUSALS)

    ended = submitter.submit(worn)

    for times, wait in enumerate(waits):
        longest = timedelta(seconds=30) * 2**times
        assert longest / 2 <= wait <= longest
    assert ended.status is JobStatus.FAILED
    assert [error.code for error in ended.errors] == ["fal_storage"]
    assert ended == workspace.read()
    assert workspace.sums()[0] == 0


def test_a_refused_account_pauses_everybody_and_is_not_the_jobs_fault(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    fal.plays["rest.fal.ai"] = answer({"detail": "User is locked"}, 403)

    left = submitter.submit(job)

    assert (left.status, left.waits_for, left.uploads_failed) == (JobStatus.READY, "account", 0)
    assert workspace.store.ledger.room(workspace.limits) == 0
    assert workspace.turn() == workspace.clock() + timedelta(minutes=5)


def test_a_version_that_is_gone_ends_the_job_with_the_way_out(
    workspace: Workspace, submitter: Submitter, job: Job, cloud: Cloud
) -> None:
    assert job.audio
    cloud.s3.delete_object(Bucket=DROPS, Key="song.wav", VersionId=job.audio.version_id)

    ended = submitter.submit(job)

    (error,) = ended.errors
    assert (ended.status, error.code) == (JobStatus.FAILED, "drop_gone")
    assert "song.wav is no longer in the bucket" in error.message
    assert ended == workspace.read()


def test_a_bucket_that_cannot_be_read_is_no_result(
    workspace: Workspace,
    submitter: Submitter,
    job: Job,
    cloud: Cloud,
    environment: pytest.MonkeyPatch,
) -> None:
    def broken(**_: Any) -> None:
        raise OSError("S3 is having a moment")

    environment.setattr(cloud.s3, "get_object", broken)

    with pytest.raises(OSError, match="a moment"):
        submitter.submit(job)

    assert workspace.read().model_copy(update={"revision": job.revision}) == job


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion"])
def test_both_ways_of_being_gone_are_known(code: str, cloud: Cloud) -> None:
    bucket = DropBucket(cloud.s3, cloud.s3, DROPS)

    with (
        pytest.raises(DropRefused) as refused,
        bucket.open(
            DropObject(key="never" if code == "NoSuchKey" else "song.wav", version_id="made-up"),
            "audio_url",
        ),
    ):
        pass

    assert [error.code for error in refused.value.errors] == ["drop_gone"]


async def break_off(_: Seen, request: web.Request) -> web.StreamResponse:
    """Half of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "400"})
    await response.prepare(request)
    await response.write(b'{"access_url": "https://v3.fal')
    cut(request.transport)
    return response


def test_half_an_answer_is_none(
    workspace: Workspace, submitter: Submitter, job: Job, fal: Loopback
) -> None:
    fal.plays["v3.fal.media"] = break_off

    left = submitter.submit(job)

    assert (left.status, left.waits_for, workspace.fal.posts) == (JobStatus.READY, "storage", [])


def test_the_words_that_fal_is_sent_are_those_of_its_own_client() -> None:
    """Should fal_client change them, this is where it shows."""
    import fal_client.client as theirs  # noqa: PLC0415 - the only test that reads it

    source = Path(str(theirs.__file__)).read_text()
    assert theirs.CDN_URL + "/files/upload" == product.UPLOAD_URL
    path = product.SIGN_IN_URL.removeprefix(theirs.REST_URL)
    assert f'"{{REST_URL}}{path}"' in source
    assert theirs.MULTIPART_THRESHOLD == LARGEST_UPLOAD
    for word in ("X-Fal-File-Name", "X-Fal-Object-Lifecycle", "access_url", "token_type"):
        assert re.search(rf'"{word}"', source)
