"""What fal sees of us, on the wire: one POST, whole, and never a second."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import logging
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from aiohttp import web

from phonoscene.errors import FalUnavailable, MustWait
from phonoscene.fal import client as fal_client_module
from phonoscene.fal import queue as fal_queue
from phonoscene.fal.api_key import FalKey
from phonoscene.fal.queue import FalQueue
from phonoscene.fal.requests import (
    ACCOUNT,
    Accepted,
    Ended,
    Pending,
    Refused,
    Submission,
    Unclear,
    Unknown,
)
from phonoscene.fal.results import from_webhook
from phonoscene.jobs import Request
from tests.integration.loopback import Loopback, Seen, answer, cut, stall, vanish
from tests.support.media.samples import png, silence
from tests.support.stack import DROPS, FAL_KEY, KEY_PARAMETER, WEBHOOKS, created, event, sqs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from phonoscene.fal.requests import SubmitOutcome
    from tests.integration.conftest import Context
    from tests.integration.moto_stack import Cloud

ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"
REQUESTS = f"https://queue.fal.run/fal-ai/ltx-2.3-22b/requests/{ID}"
QUEUED = {
    "request_id": ID,
    "gateway_request_id": ID,
    "response_url": REQUESTS,
    "status_url": f"{REQUESTS}/status",
    "cancel_url": f"{REQUESTS}/cancel",
    "queue_position": 0,
    "status": "IN_QUEUE",
}
TOKEN = "T" * 43
AUDIO = "https://drops.s3.amazonaws.com/song.mp3?X-Amz-Signature=abcdef0123456789"
SUBMISSION = Submission(
    arguments={"prompt": "x", "audio_url": AUDIO},
    webhook_url=f"{WEBHOOKS}/webhooks/fal/{'0' * 32}/{TOKEN}",
    start_timeout=3300,
    output_lifetime=86400,
)
NGINX = "<html><center><h1>{0}</h1></center><hr><center>nginx</center></html>"
FROM_FAL = {"x-fal-request-id": ID}


@pytest.fixture
def fal(internet: Loopback) -> Loopback:
    internet.plays["queue.fal.run"] = internet.plays["queue.falrun.com"] = answer(QUEUED)
    return internet


@pytest.fixture
def queue(fal: Loopback, environment: pytest.MonkeyPatch) -> FalQueue:  # noqa: ARG001 - clients are made behind its proxy
    environment.setattr(fal_client_module, "TIMEOUT", 0.4)
    for limit in ("POLL_SECONDS", "RESULT_SECONDS", "PAGE_SECONDS", "SEARCH_SECONDS"):
        environment.setattr(fal_queue, limit, 0.4)
    return FalQueue(lambda **_: FAL_KEY)


def posts(fal: Loopback) -> list[Seen]:
    return [seen for seen in fal.seen if seen.method == "POST"]


# The request ------------------------------------------------------------------------------------


@pytest.fixture
def drop(cloud: Cloud, fal: Loopback, submit: ModuleType, context: Context) -> Callable[..., Seen]:
    """Drop an audio file and this sidecar; the POST that fal gets."""

    def send(**sidecar: Any) -> Seen:
        cloud.drop("a/song.mp3", silence(2))
        other = {"seed": len(posts(fal))}  # the same content again would be the same job
        cloud.drop("a/song.json", {"prompt": "A stage"} | other | sidecar)
        result = submit.handler(sqs(created("a/song.json")), context)
        assert result == {"batchItemFailures": []}
        return posts(fal)[-1]

    return send


def test_the_request_line_is_the_endpoints_with_our_webhook_escaped(
    drop: Callable[..., Seen], cloud: Cloud
) -> None:
    post = drop()

    path, _, query = post.target.partition("?")
    assert (post.host, post.method) == ("queue.fal.run", "POST")
    assert path == "/fal-ai/ltx-2.3-22b/distilled/audio-to-video"
    (webhook,) = parse_qs(query, strict_parsing=True).pop("fal_webhook")
    assert query == "fal_webhook=" + quote(webhook, safe="")
    (job,) = cloud.items()
    base, _, token = webhook.rpartition("/")
    assert base == f"{WEBHOOKS}/webhooks/fal/{job['job_id']}"
    assert len(token) == 43
    assert token not in json.dumps(job, default=str)


def test_the_headers_are_those_that_fal_documents(drop: Callable[..., Seen]) -> None:
    headers = drop().headers

    assert headers["authorization"] == f"Key {FAL_KEY}"
    assert headers["content-type"] == "application/json"
    assert headers["x-app-fal-disable-fallback"] == "true"
    assert json.loads(headers["x-fal-object-lifecycle-preference"]) == {
        "expiration_duration_seconds": 86400
    }
    assert "x-fal-store-io" not in headers


def test_fal_gives_up_before_the_audios_url_ends(drop: Callable[..., Seen]) -> None:
    post = drop()

    (life,) = parse_qs(urlsplit(post.json["audio_url"]).query)["X-Amz-Expires"]
    for name in ("x-fal-request-start-timeout", "x-fal-request-timeout"):
        assert 0 < float(post.headers[name]) <= int(life) - 300


def test_every_default_is_written_out(drop: Callable[..., Seen]) -> None:
    sent = drop().json

    del sent["audio_url"], sent["seed"]  # the seed is the drop's own
    assert sent == {
        "prompt": "A stage",
        "negative_prompt": (
            "news broadcast, 3d animation, computer graphics, pc game, console game, video game, "
            "cartoon, childish, watermark, logo, text, on screen text, subtitles, titles, "
            "signature, slowmo, static"
        ),
        "match_audio_length": True,
        "num_frames": 121,
        "video_size": "landscape_16_9",
        "use_multiscale": True,
        "fps": 24,
        "scheduler": "beta",
        "acceleration": "none",
        "camera_lora": "none",
        "camera_lora_scale": 1,
        "image_strength": 1,
        "end_image_strength": 1,
        "enable_prompt_expansion": True,
        "enable_safety_checker": True,
        "video_output_type": "X264 (.mp4)",
        "video_quality": "high",
        "video_write_mode": "balanced",
        "distill_lora_second_pass_scale": 0.5,
        "audio_strength": 1,
        "preprocess_audio": True,
        "sync_mode": False,
    }


def test_what_the_sidecar_says_reaches_fal_unchanged(drop: Callable[..., Seen]) -> None:
    said = {
        "prompt": "Café ♫ \u2028 \U0001f3ac",
        "seed": 2**64 - 1,
        "fps": 23.976,
        "image_strength": 0,
        "num_frames": 9,
        "match_audio_length": False,
        "video_size": {"width": 640, "height": 352},
        "negative_prompt": "",
    }

    sent = drop(**said).json

    assert {name: sent[name] for name in said} == said


def test_the_audios_url_reads_one_version_for_a_while_and_does_nothing_else(
    drop: Callable[..., Seen], cloud: Cloud
) -> None:
    cloud.drop("a/cover.png", png(64, 64))

    sent = drop(image_url="cover.png").json

    versions = {
        version["Key"]: version["VersionId"]
        for version in cloud.s3.list_object_versions(Bucket=DROPS)["Versions"]
    }
    for field, key in (("audio_url", "a/song.mp3"), ("image_url", "a/cover.png")):
        url = urlsplit(sent[field])
        query = parse_qs(url.query, strict_parsing=True)
        assert url.scheme == "https"
        assert url.path.endswith(key)
        assert query["versionId"] == [versions[key]]
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert query["X-Amz-SignedHeaders"] == ["host"]
        assert len(query["X-Amz-Signature"][0]) == 64


def test_a_key_that_was_stored_with_its_line_feed_goes_out_without(
    drop: Callable[..., Seen], cloud: Cloud
) -> None:
    cloud.ssm.put_parameter(
        Name=KEY_PARAMETER, Value=f"{FAL_KEY}\n", Type="SecureString", Overwrite=True
    )

    assert drop().headers["authorization"] == f"Key {FAL_KEY}"


def test_a_rotated_key_is_used_once_the_cached_one_has_expired(
    drop: Callable[..., Seen], cloud: Cloud, submit: ModuleType
) -> None:
    used = [drop().headers["authorization"]]
    cloud.ssm.put_parameter(
        Name=KEY_PARAMETER, Value="new-id:new-secret", Type="SecureString", Overwrite=True
    )
    used.append(drop().headers["authorization"])
    store = submit.build().submitter.queue._key._provider.store  # for its clock
    for name, kept in store.items():
        store[name] = kept._replace(ttl=datetime.now() - timedelta(seconds=1))  # noqa: DTZ005 - as Powertools has it

    used.append(drop().headers["authorization"])

    assert used == [f"Key {FAL_KEY}", f"Key {FAL_KEY}", "Key new-id:new-secret"]


def test_neither_key_nor_token_nor_signature_reaches_a_log(
    queue: FalQueue, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        queue.ready().submit(SUBMISSION)

    for secret in (FAL_KEY, TOKEN, "abcdef0123456789"):
        assert secret not in caplog.text


# The answers ------------------------------------------------------------------------------------


def test_an_accepted_request_keeps_the_urls_that_fal_returned(
    queue: FalQueue, fal: Loopback
) -> None:
    result = queue.ready().submit(SUBMISSION)

    assert result == Accepted(
        Request(
            request_id=ID,
            status_url=f"{REQUESTS}/status",
            response_url=REQUESTS,
            cancel_url=f"{REQUESTS}/cancel",
        )
    )
    assert len(posts(fal)) == 1


def test_without_a_webhook_fal_is_given_no_address(queue: FalQueue, fal: Loopback) -> None:
    result = queue.ready().submit(dataclasses.replace(SUBMISSION, webhook_url=None))

    assert isinstance(result, Accepted)
    assert posts(fal)[0].target == "/fal-ai/ltx-2.3-22b/distilled/audio-to-video"


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_2xx_is_an_acceptance(queue: FalQueue, fal: Loopback, status: int) -> None:
    fal.plays["queue.fal.run"] = answer(QUEUED, status)

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Accepted)
    assert len(posts(fal)) == 1


BUSY, FAULTY, UNKNOWN = "fal_busy", "fault of the job", "unknown"
LOCKED = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "meaning"),
    [
        (429, {"detail": "Queue is full"}, None, BUSY),
        (429, {"detail": "slow down", "error_type": "concurrent_requests_limit"}, FROM_FAL, BUSY),
        (500, {"detail": "Internal Server Error"}, None, UNKNOWN),
        (500, {"detail": "Internal Server Error"}, FROM_FAL, UNKNOWN),
        (501, {"detail": "?"}, None, UNKNOWN),
        (502, {"detail": "Bad gateway"}, None, UNKNOWN),
        (502, {"detail": "Bad gateway"}, FROM_FAL, UNKNOWN),
        (502, NGINX.format("502 Bad Gateway"), None, UNKNOWN),
        (503, {"detail": "Unavailable"}, None, BUSY),
        (503, {"detail": "Unavailable"}, FROM_FAL, UNKNOWN),
        (503, NGINX.format("503 Service Temporarily Unavailable"), None, BUSY),
        (504, {"detail": "Timeout"}, None, UNKNOWN),
        (504, {"detail": "Timeout"}, {"X-Fal-Request-Timeout-Type": "user"}, UNKNOWN),
        (504, NGINX.format("504 Gateway Time-out"), None, UNKNOWN),
        (504, NGINX.format("504 Gateway Time-out"), FROM_FAL, UNKNOWN),
        (408, {"detail": "Timeout"}, None, UNKNOWN),
        (409, {"detail": "Conflict"}, None, UNKNOWN),
        (425, {"detail": "Too early"}, None, UNKNOWN),
        (401, {"detail": 'Cannot access application "fal-ai/ltx-2.3-22b"'}, None, ACCOUNT),
        (402, {"detail": "Payment required"}, None, ACCOUNT),
        (403, LOCKED, None, ACCOUNT),
        (400, {"detail": "Bad", "error_type": "bad_request"}, FROM_FAL, FAULTY),
        (404, {"detail": "Application not found"}, None, FAULTY),
        (413, NGINX.format("413 Request Entity Too Large"), None, FAULTY),
        (422, {"detail": "Unprocessable"}, FROM_FAL, FAULTY),
        (418, "", None, FAULTY),
    ],
)
def test_an_error_is_one_post_and_means_what_it_says_of_acceptance(
    queue: FalQueue, fal: Loopback, status: int, body: Any, headers: dict[str, str], meaning: str
) -> None:
    fal.plays["queue.fal.run"] = answer(body, status, headers)

    result = queue.ready().submit(SUBMISSION)

    assert len(posts(fal)) == 1
    assert meant(result) == meaning


def meant(result: SubmitOutcome) -> str:
    match result:
        case Unknown():
            return UNKNOWN
        case Refused(code, retryable=True):
            return code
        case Refused():
            return FAULTY
        case Accepted():
            return "accepted"


def test_a_refused_argument_is_reported_without_what_fal_echoes_of_it(
    queue: FalQueue, fal: Loopback
) -> None:
    detail = event("fal-model-error")["payload"]["detail"]
    detail[0]["input"] = AUDIO
    fal.plays["queue.fal.run"] = answer({"detail": detail}, 422, FROM_FAL)

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Refused)
    assert "audio: Audio duration exceeds the maximum allowed" in result.message
    assert "prompt: The content could not be processed" in result.message
    assert "X-Amz" not in repr(result)
    assert "drops.s3" not in repr(result)


async def _tell_nothing(_: Seen, request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.close()
    return web.Response()


async def _break_off(_: Seen, request: web.Request) -> web.StreamResponse:
    """Half of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "400"})
    await response.prepare(request)
    await response.write(b'{"request_id": "')
    cut(request.transport)
    return response


@pytest.mark.parametrize("play", [vanish, stall, _tell_nothing, _break_off])
def test_an_answer_that_is_lost_is_one_post_and_unknown(
    queue: FalQueue, fal: Loopback, play: Any
) -> None:
    fal.plays["queue.fal.run"] = play

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Unknown)
    assert len(posts(fal)) == 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        "null",
        '"queued"',
        "{}",
        json.dumps(QUEUED | {"request_id": None}),
        json.dumps(QUEUED | {"request_id": "../admin"}),
    ],
)
def test_an_acceptance_in_words_that_are_not_understood_is_unknown(
    queue: FalQueue, fal: Loopback, body: str
) -> None:
    fal.plays["queue.fal.run"] = answer(body)

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Unknown)
    assert len(posts(fal)) == 1


OWN = {
    "status_url": f"{REQUESTS}/status",
    "response_url": REQUESTS,
    "cancel_url": f"{REQUESTS}/cancel",
}
ODD_URLS = [
    f"http{REQUESTS.removeprefix('https')}",
    REQUESTS.replace("queue.fal.run", "evil.example.com"),
    REQUESTS.replace("queue.fal.run", "queue.fal.run:8443"),
    REQUESTS.replace("queue.fal.run", "queue.fal.run@evil.example.com"),
    REQUESTS.replace("queue.fal.run", "user:word@queue.fal.run"),
    REQUESTS.replace("queue.fal.run", "queue.fal.run.evil.example.com"),
    "//queue.fal.run/x",
    "not an address",
    "https://[::",
    "",
    7,
    None,
    [],
]


@pytest.mark.parametrize("odd", ODD_URLS, ids=str)
@pytest.mark.parametrize("name", OWN)
def test_an_address_that_is_not_fals_own_over_https_is_neither_stored_nor_called(
    queue: FalQueue, fal: Loopback, name: str, odd: Any
) -> None:
    fal.plays["queue.fal.run"] = answer(QUEUED | {name: odd})

    accepted = queue.ready().submit(SUBMISSION)
    assert isinstance(accepted, Accepted)
    stored = accepted.request
    fal.plays["queue.fal.run"] = answer({"status": "IN_QUEUE"})
    result = queue.poll(stored.model_copy(update={name: str(odd)}))  # as an older release stored it
    queue.cancel(stored.model_copy(update={name: str(odd)}))

    assert stored.request_id == ID
    assert getattr(stored, name) is None
    assert result == Pending()
    asked = [(seen.host, seen.method, seen.target) for seen in fal.seen[1:]]
    path = f"/fal-ai/ltx-2.3-22b/requests/{ID}"
    assert asked == [
        ("queue.fal.run", "GET", f"{path}/status"),
        ("queue.fal.run", "PUT", f"{path}/cancel"),
    ]


@pytest.mark.parametrize("left", ["status_url", "response_url", "cancel_url", None])
def test_an_acceptance_without_its_addresses_is_one_all_the_same(
    queue: FalQueue, fal: Loopback, left: str | None
) -> None:
    named = {name: url for name, url in QUEUED.items() if name != left}
    fal.plays["queue.fal.run"] = answer(named if left else {"request_id": ID})

    accepted = queue.ready().submit(SUBMISSION)

    assert isinstance(accepted, Accepted)
    assert accepted.request.request_id == ID
    assert len(posts(fal)) == 1


# Time -------------------------------------------------------------------------------------------


def drip(head: bytes) -> Any:
    """An answer that goes on for ever, a byte at a time, after this beginning."""

    async def play(_: Seen, request: web.Request) -> web.StreamResponse:
        assert request.transport
        assert isinstance(request.transport, asyncio.WriteTransport)
        request.transport.write(head)
        for _number in range(100):
            if request.transport.is_closing():
                break
            request.transport.write(b"x")
            await asyncio.sleep(0.05)
        cut(request.transport)
        return web.Response()

    return play


HEADERS = b"HTTP/1.1 200 OK\r\nX-Long: "
BODY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
STATUS = b"HTTP"


@pytest.mark.parametrize("head", [STATUS, HEADERS, BODY], ids=["status", "headers", "body"])
@pytest.mark.parametrize("call", ["submit", "poll", "result", "find", "cancel"])
def test_an_answer_that_drips_ends_with_the_time_of_its_exchange(
    queue: FalQueue, fal: Loopback, call: str, head: bytes
) -> None:
    fal.plays["queue.fal.run"] = fal.plays["api.fal.ai"] = drip(head)
    request = Request(request_id=ID)
    now = datetime.now(UTC)
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: queue.ready().submit(SUBMISSION),
        "poll": lambda: queue.poll(request),
        "result": lambda: queue.result(request),
        "find": lambda: queue.find("x", now, now),
        "cancel": lambda: queue.cancel(request),
    }
    begun = time.monotonic()

    outcome: object = None
    with contextlib.suppress(FalUnavailable):
        outcome = calls[call]()

    assert time.monotonic() - begun < 1.4  # 0.4 s are allowed
    assert isinstance(outcome, Unknown) if call == "submit" else outcome is None
    assert len(posts(fal)) == (call == "submit")


@pytest.mark.parametrize("host", ["queue.fal.run"])
def test_a_handshake_that_drips_ends_with_the_time_of_its_exchange(
    queue: FalQueue, fal: Loopback, host: str
) -> None:
    fal.dripping |= {host, "queue.falrun.com"}
    begun = time.monotonic()

    result = queue.ready().submit(SUBMISSION)

    assert time.monotonic() - begun < 1.4
    assert isinstance(result, Refused | Unknown)  # unknown if the cut meets the proxy's own answer
    assert posts(fal) == []


def test_an_answer_that_is_too_long_is_not_read_to_its_end(queue: FalQueue, fal: Loopback) -> None:
    fal.plays["queue.fal.run"] = answer("x" * (fal_client_module.MAX_ANSWER_BYTES + 1))

    with pytest.raises(FalUnavailable):
        queue.poll(Request(request_id=ID))


# The list of requests, and what is no status ------------------------------------------------------

MARKER = f"{'0' * 32}-1"
MINE = {"request_id": ID, "json_input": {"audio_url": f"https://x/song.mp3?filename={MARKER}"}}
OTHERS = {"request_id": "r2", "json_input": {"audio_url": "https://x/other.mp3"}}
UNREAD: list[Any] = [
    {"request_id": "r2"},
    {"request_id": "r2", "json_input": None},
    {"request_id": "r2", "json_input": {}},
    {"request_id": "r2", "json_input": {"audio_url": None}},
    {"request_id": "r2", "json_input": {"audio_url": ""}},
    {"request_id": "r2", "json_input": "deleted"},
    {"json_input": OTHERS["json_input"]},
    {"request_id": None, "json_input": OTHERS["json_input"]},
    {"request_id": "../x", "json_input": OTHERS["json_input"]},
    {},
]
#: Answers to the question for the list, with 200, that prove nothing.
NO_ITEMS: list[Any] = [None, {}, "", 7, [7], [None], [[]]]
UNPROVEN: list[Any] = [
    *({"items": [OTHERS, item], "has_more": False, "next_cursor": None} for item in UNREAD),
    *({"items": items, "has_more": False} for items in NO_ITEMS),
    {"items": []},
    {"items": [], "has_more": None},
    {"items": [], "has_more": "false"},
    {"items": [], "has_more": False, "next_cursor": "more"},
    {"items": [], "has_more": True},
    {"items": [], "has_more": True, "next_cursor": ""},
    {"items": [], "has_more": True, "next_cursor": 7},
    {"items": [], "has_more": False, "next": "/v1/more"},
    {"items": [], "has_more": False, "total": 7},
    {"items": [], "has_more": False, "next_page": 2},
    {"requests": [], "has_more": False, "next_cursor": None},
    {"data": {"items": [], "has_more": False}},
    {"error": {"type": "internal", "message": "no"}},
    {},
    [],
    None,
    "",
    "<html>",
]


@pytest.fixture
def listing(queue: FalQueue, fal: Loopback) -> Callable[..., Request | None]:
    """The search of a list whose pages fal answers in turn."""

    def find(*pages: Any) -> Request | None:
        left = list(pages)

        async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
            return await answer(left.pop(0) if len(left) > 1 else left[0])(seen, request)

        fal.plays["api.fal.ai"] = play
        now = datetime.now(UTC)
        return queue.find(MARKER, now - timedelta(hours=1), now)

    return find


@pytest.mark.parametrize("page", UNPROVEN, ids=lambda page: json.dumps(page)[:60])
def test_a_list_that_is_not_understood_whole_proves_nothing(
    listing: Callable[..., Request | None], page: Any
) -> None:
    with pytest.raises(FalUnavailable):
        listing(page)


def test_a_long_list_that_comes_slowly_proves_nothing_and_ends_in_time(
    queue: FalQueue, fal: Loopback
) -> None:
    pages = itertools.count()

    async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        page = {"items": [OTHERS], "has_more": True, "next_cursor": str(next(pages))}
        return await answer(page)(seen, request)

    fal.plays["api.fal.ai"] = play
    now, begun = datetime.now(UTC), time.monotonic()

    with pytest.raises(FalUnavailable, match="takes over"):
        queue.find(MARKER, now - timedelta(hours=1), now)

    assert time.monotonic() - begun < 2  # 0.4 s, and a page


@pytest.mark.parametrize("item", UNREAD, ids=json.dumps)
def test_a_request_that_is_found_is_found_whatever_is_beside_it(
    listing: Callable[..., Request | None], item: Any
) -> None:
    assert listing({"items": [item, MINE]}) == Request(request_id=ID)


def test_a_list_that_is_understood_and_shows_nothing_proves_it(
    listing: Callable[..., Request | None],
) -> None:
    whole = {"items": [OTHERS], "has_more": False, "next_cursor": None}

    assert listing(whole | {"has_more": True, "next_cursor": "a"}, whole) is None


def test_a_list_that_leads_in_a_circle_proves_nothing(
    listing: Callable[..., Request | None],
) -> None:
    with pytest.raises(FalUnavailable):
        listing({"items": [OTHERS], "has_more": True, "next_cursor": "a"})


@pytest.mark.parametrize(
    "body",
    [
        {"status": "FAILED"},
        {"status": "completed"},
        {"status": ["COMPLETED"]},
        {"status": None},
        {"status": {"error": "x"}},
        {"error": {"type": "x"}},
        {},
        [],
        None,
        "",
        7,
        "<html>",
    ],
    ids=json.dumps,
)
def test_a_status_that_is_not_documented_is_unclear_and_in_the_end_the_result_decides(
    queue: FalQueue, fal: Loopback, body: Any
) -> None:
    async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
        return await answer(body if seen.target.endswith("/status") else OUTPUT)(seen, request)

    fal.plays["queue.fal.run"] = play

    soon = queue.poll(Request(request_id=ID))
    late = queue.poll(Request(request_id=ID), is_overdue=True)

    assert isinstance(soon, Unclear)
    assert isinstance(late, Ended)
    assert from_webhook(late.body).output


FAILED = {"status": "COMPLETED", "error": "Runner died", "error_type": "runner_disconnected"}


@pytest.mark.parametrize(
    ("code", "body", "is_ended"),
    [
        (503, {"detail": "x", "error_type": "startup_timeout"}, True),
        (503, NGINX, False),
        (502, "", False),
        (500, {}, False),
        (422, {"detail": []}, True),
        (404, {}, True),
        (401, {"detail": "x"}, False),
        (429, {"detail": "x"}, False),
        (202, {}, False),
    ],
)
def test_what_the_status_says_of_a_failure_is_not_forgotten(
    queue: FalQueue, fal: Loopback, code: int, body: Any, is_ended: bool
) -> None:
    async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
        is_status = seen.target.endswith("/status")
        return await answer(*((FAILED,) if is_status else (body, code)))(seen, request)

    fal.plays["queue.fal.run"] = play

    if not is_ended:
        with pytest.raises(FalUnavailable):
            queue.poll(Request(request_id=ID))
        return
    result = queue.poll(Request(request_id=ID))
    assert isinstance(result, Ended)
    assert [error.retryable for error in from_webhook(result.body).errors] == [True]


@pytest.mark.parametrize("body", [NGINX, "", "null"])
def test_a_result_that_is_no_json_is_no_answer(queue: FalQueue, fal: Loopback, body: str) -> None:
    async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
        said = {"status": "COMPLETED"} if seen.target.endswith("/status") else body
        return await answer(said)(seen, request)

    fal.plays["queue.fal.run"] = play

    with pytest.raises(FalUnavailable, match="not JSON"):
        queue.poll(Request(request_id=ID))


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_is_never_a_second_post(queue: FalQueue, fal: Loopback, status: int) -> None:
    elsewhere = {"Location": "https://queue.falrun.com/fal-ai/elsewhere"}
    fal.plays["queue.fal.run"] = answer("", status, elsewhere)

    result = queue.ready().submit(SUBMISSION)

    assert len(posts(fal)) == 1
    assert not isinstance(result, Accepted)


# httpcore forgets the socket of a TLS handshake that failed
forgotten_socket = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


def test_a_closed_port_is_refused_for_sure_and_nothing_was_sent(
    queue: FalQueue, fal: Loopback, environment: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Refused)
    assert (result.code, result.retryable) == ("fal_unreachable", True)
    assert fal.seen == []


@forgotten_socket
def test_a_connection_reset_before_anything_is_sent_goes_to_the_backup_domain_once(
    queue: FalQueue, fal: Loopback
) -> None:
    fal.dead.add("queue.fal.run")

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Accepted)
    assert [post.host for post in posts(fal)] == ["queue.falrun.com"]
    assert fal.tunnels == {"queue.fal.run": 1, "queue.falrun.com": 1}


@forgotten_socket
def test_with_both_domains_dead_nothing_is_sent_and_each_is_tried_once(
    queue: FalQueue, fal: Loopback
) -> None:
    fal.dead |= {"queue.fal.run", "queue.falrun.com"}

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Refused)
    assert result.retryable
    assert posts(fal) == []
    assert fal.tunnels == {"queue.fal.run": 1, "queue.falrun.com": 1}


@forgotten_socket
@pytest.mark.parametrize("play", [vanish, stall])
def test_an_answer_lost_by_the_backup_domain_is_unknown(
    queue: FalQueue, fal: Loopback, play: Any
) -> None:
    fal.dead.add("queue.fal.run")
    fal.plays["queue.falrun.com"] = play

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Unknown)
    assert len(posts(fal)) == 1


def test_an_unknown_authority_gets_no_request(
    queue: FalQueue, fal: Loopback, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("SSL_CERT_FILE")

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Refused)
    assert fal.seen == []


def test_a_kept_connection_that_fal_has_closed_is_not_used_again(
    queue: FalQueue, fal: Loopback
) -> None:
    async def close_after(_: Seen, request: web.Request) -> web.StreamResponse:
        response = web.json_response(QUEUED)
        response.force_close()
        del request
        return response

    fal.plays["queue.fal.run"] = close_after

    results = [queue.ready().submit(SUBMISSION) for _ in range(3)]

    assert [type(result) for result in results] == [Accepted] * 3
    assert len(posts(fal)) == 3


@pytest.mark.parametrize("key", ["ключ:тайна", "key\nsplit:secret"])
def test_a_key_that_no_header_can_hold_sends_nothing(fal: Loopback, key: str) -> None:
    with pytest.raises(MustWait) as caught:
        FalQueue(lambda **_: key).ready()

    assert caught.value.waits_for == "account"
    assert key not in repr(caught.value)
    assert fal.seen == []


# A key that was rotated -------------------------------------------------------------------------

ROTATED = "new-id:new-secret"


@dataclass
class Rotated:
    """A key that is cached, and the one that was put in its place."""

    cached: str = FAL_KEY
    put: str = ROTATED
    reads: int = 0

    def __call__(self, *, fresh: bool = False) -> str:
        self.reads += fresh
        self.cached = self.put if fresh else self.cached
        return self.cached


def known_to_fal(key: str, result: Any = QUEUED) -> Any:
    """fal, who lets one key in."""

    async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
        is_known = seen.headers["authorization"] == f"Key {key}"
        found = (
            answer(result) if is_known else answer({"detail": "Authentication is required"}, 401)
        )
        return await found(seen, request)

    return play


def test_a_job_that_fal_refused_for_a_rotated_key_is_sent_with_the_new_one(fal: Loopback) -> None:
    fal.plays["queue.fal.run"] = known_to_fal(ROTATED)
    key = Rotated()

    result = FalQueue(key).ready().submit(SUBMISSION)

    assert isinstance(result, Accepted)
    assert [seen.headers["authorization"] for seen in posts(fal)] == [
        f"Key {FAL_KEY}",
        f"Key {ROTATED}",
    ]
    assert posts(fal)[0].body == posts(fal)[1].body


@pytest.mark.parametrize("put", [FAL_KEY, ROTATED, "", "no\nkey"])
def test_a_key_that_fal_does_not_know_is_read_again_once_and_not_tried_again_in_vain(
    fal: Loopback, put: str
) -> None:
    fal.plays["queue.fal.run"] = known_to_fal("somebody else's")
    key = Rotated(put=put)

    result = FalQueue(key).ready().submit(SUBMISSION)

    assert isinstance(result, Refused)
    assert (result.code, result.retryable) == (ACCOUNT, True)
    assert key.reads == 1
    assert len(posts(fal)) == (2 if put == ROTATED else 1)


@pytest.mark.parametrize("code", [402, 403, 429, 500])
def test_what_fal_refuses_for_another_reason_costs_no_look_at_the_key(
    fal: Loopback, code: int
) -> None:
    fal.plays["queue.fal.run"] = answer({"detail": "no"}, code)
    key = Rotated()

    FalQueue(key).ready().submit(SUBMISSION)

    assert (key.reads, len(posts(fal))) == (0, 1)


def test_a_question_that_fal_refused_for_a_rotated_key_is_asked_with_the_new_one(
    fal: Loopback,
) -> None:
    fal.plays["queue.fal.run"] = known_to_fal(ROTATED, {"status": "IN_QUEUE"})

    result = FalQueue(Rotated()).poll(Request(request_id="r1"))

    assert result == Pending()
    assert len(fal.requests("queue.fal.run")) == 2


def test_the_key_is_read_once_in_five_minutes_and_at_once_where_it_is_wanted(cloud: Cloud) -> None:
    key = FalKey(KEY_PARAMETER, lambda: cloud.ssm)
    first = key()
    cloud.ssm.put_parameter(Name=KEY_PARAMETER, Value=ROTATED, Type="SecureString", Overwrite=True)

    read = [key(), key(fresh=True), key()]

    assert (first, read) == (FAL_KEY, [FAL_KEY, ROTATED, ROTATED])


def test_a_key_that_cannot_be_read_again_is_the_one_that_is_known(cloud: Cloud) -> None:
    key = FalKey(KEY_PARAMETER, lambda: cloud.ssm)
    key()
    cloud.ssm.delete_parameter(Name=KEY_PARAMETER)

    assert key(fresh=True) == FAL_KEY


# Results ----------------------------------------------------------------------------------------

OUTPUT = event("fal-success")["payload"]


@pytest.mark.parametrize("known", [True, False], ids=["returned URL", "lost URL"])
def test_a_result_is_fetched_with_our_key(queue: FalQueue, fal: Loopback, known: bool) -> None:
    fal.plays["queue.fal.run"] = answer(OUTPUT)
    request = Request(request_id=ID, response_url=REQUESTS if known else None)

    result = queue.result(request)

    assert result.output
    assert (result.request_id, result.output.seed) == (ID, 17454220438242315174)
    (get,) = fal.seen
    assert (get.method, get.target) == ("GET", f"/fal-ai/ltx-2.3-22b/requests/{ID}")
    assert get.headers["authorization"] == f"Key {FAL_KEY}"


def test_the_models_own_refusal_is_replayed_by_the_result(queue: FalQueue, fal: Loopback) -> None:
    fal.plays["queue.fal.run"] = answer(event("fal-model-error")["payload"], 422, FROM_FAL)

    result = queue.result(Request(request_id=ID, response_url=REQUESTS))

    codes = [error.code for error in result.errors]
    assert codes == ["audio_duration_too_long", "content_policy_violation"]
    assert "X-Amz" not in repr(result)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"status": "NOT_FOUND"}),
        (429, {}),
        (500, {"detail": "x"}),
        (503, NGINX),
        (200, "<html>"),
        (200, {"video": None}),
        (401, {"detail": "invalid key credentials"}),
        (403, LOCKED),
        (400, {"detail": "Request is still in progress"}),
    ],
)
def test_a_result_that_cannot_be_had_now_is_asked_for_again(
    queue: FalQueue, fal: Loopback, status: int, body: Any
) -> None:
    fal.plays["queue.fal.run"] = answer(body, status)

    with pytest.raises(FalUnavailable):
        queue.result(Request(request_id=ID, response_url=REQUESTS))


@pytest.mark.parametrize("play", [vanish, stall])
def test_a_result_whose_connection_breaks_is_asked_for_again(
    queue: FalQueue, fal: Loopback, play: Any
) -> None:
    fal.plays["queue.fal.run"] = play

    with pytest.raises(FalUnavailable):
        queue.result(Request(request_id=ID, response_url=REQUESTS))


def test_our_key_goes_to_no_other_host(queue: FalQueue, fal: Loopback) -> None:
    elsewhere = {"Location": "https://evil.example.com/result"}
    fal.plays["queue.fal.run"] = answer("", 307, elsewhere)
    fal.plays["evil.example.com"] = answer(OUTPUT)

    with pytest.raises(FalUnavailable):
        queue.result(Request(request_id=ID, response_url=REQUESTS))

    assert fal.requests("evil.example.com") == []
