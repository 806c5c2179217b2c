"""What fal sees of us, on the wire: one POST, whole, and never a second."""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from aiohttp import web

from phonoscene import fal_calls
from phonoscene.errors import NoRoom, VideoUnavailable
from phonoscene.fal_key import FalKey
from phonoscene.fal_queue import FalQueue
from phonoscene.jobs import Request
from phonoscene.submissions import ACCOUNT, Accepted, Pending, Refused, Submission, Unknown
from tests.integration.cloud import (
    DROPS,
    FAL_KEY,
    KEY_PARAMETER,
    WEBHOOKS,
    Cloud,
    created,
    event,
    sqs,
)
from tests.integration.loopback import Loopback, Seen, answer, cut, stall, vanish
from tests.integration.sounds import png, silence

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from phonoscene.submissions import Answer
    from tests.integration.conftest import Context

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
    environment.setattr(fal_calls, "TIMEOUT", 0.4)
    return FalQueue(lambda **_: FAL_KEY)


def posts(fal: Loopback) -> list[Seen]:
    return [seen for seen in fal.seen if seen.method == "POST"]


# The request ------------------------------------------------------------------------------------


@pytest.fixture
def drop(cloud: Cloud, fal: Loopback, submit: ModuleType, context: Context) -> Callable[..., Seen]:
    """Drop a sound and this sidecar; the POST that fal gets."""

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
        (500, {"detail": "Internal Server Error"}, None, BUSY),
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
)  # fmt: skip
def test_an_error_is_one_post_and_means_what_it_says_of_acceptance(
    queue: FalQueue, fal: Loopback, status: int, body: Any, headers: dict[str, str], meaning: str
) -> None:
    fal.plays["queue.fal.run"] = answer(body, status, headers)

    result = queue.ready().submit(SUBMISSION)

    assert len(posts(fal)) == 1
    assert meant(result) == meaning


def meant(result: Answer) -> str:
    match result:
        case Unknown():
            return UNKNOWN
        case Refused(code, retryable=True):
            return code
        case Refused():
            return FAULTY
        case Accepted():
            return "accepted"


def test_a_refused_argument_is_told_without_what_fal_echoes_of_it(
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
    ["", "<html>", "[]", "null", '"queued"', "{}", '{"request_id": "x"}',
     json.dumps(QUEUED | {"request_id": None}), json.dumps(QUEUED | {"status_url": 7})],
)  # fmt: skip
def test_an_acceptance_in_words_that_are_not_understood_is_unknown(
    queue: FalQueue, fal: Loopback, body: str
) -> None:
    fal.plays["queue.fal.run"] = answer(body)

    result = queue.ready().submit(SUBMISSION)

    assert isinstance(result, Unknown)
    assert len(posts(fal)) == 1


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_is_never_a_second_post(queue: FalQueue, fal: Loopback, status: int) -> None:
    elsewhere = {"Location": "https://queue.falrun.com/fal-ai/elsewhere"}
    fal.plays["queue.fal.run"] = answer("", status, elsewhere)

    result = queue.ready().submit(SUBMISSION)

    assert len(posts(fal)) == 1
    assert not isinstance(result, Accepted)


# httpcore forgets the socket of a TLS handshake that failed
forgotten_socket = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


def test_nobody_listening_is_refused_for_sure_and_nothing_was_sent(
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
    with pytest.raises(NoRoom) as caught:
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
        told = answer(result) if is_known else answer({"detail": "Authentication is required"}, 401)
        return await told(seen, request)

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

    told = FalQueue(Rotated()).poll(Request(request_id="r1"))

    assert told == Pending()
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

    verdict = queue.result(request)

    assert verdict.output
    assert (verdict.request_id, verdict.output.seed) == (ID, 17454220438242315174)
    (get,) = fal.seen
    assert (get.method, get.target) == ("GET", f"/fal-ai/ltx-2.3-22b/requests/{ID}")
    assert get.headers["authorization"] == f"Key {FAL_KEY}"


def test_the_models_own_refusal_is_replayed_by_the_result(queue: FalQueue, fal: Loopback) -> None:
    fal.plays["queue.fal.run"] = answer(event("fal-model-error")["payload"], 422, FROM_FAL)

    verdict = queue.result(Request(request_id=ID, response_url=REQUESTS))

    codes = [error.code for error in verdict.errors]
    assert codes == ["audio_duration_too_long", "content_policy_violation"]
    assert "X-Amz" not in repr(verdict)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, {"status": "NOT_FOUND"}), (429, {}), (500, {"detail": "x"}), (503, NGINX),
     (200, "<html>"),
     (200, {"video": None}), (401, {"detail": "invalid key credentials"}), (403, LOCKED),
     (400, {"detail": "Request is still in progress"})],
)  # fmt: skip
def test_a_result_that_cannot_be_had_now_is_asked_for_again(
    queue: FalQueue, fal: Loopback, status: int, body: Any
) -> None:
    fal.plays["queue.fal.run"] = answer(body, status)

    with pytest.raises(VideoUnavailable):
        queue.result(Request(request_id=ID, response_url=REQUESTS))


@pytest.mark.parametrize("play", [vanish, stall])
def test_a_result_whose_connection_breaks_is_asked_for_again(
    queue: FalQueue, fal: Loopback, play: Any
) -> None:
    fal.plays["queue.fal.run"] = play

    with pytest.raises(VideoUnavailable):
        queue.result(Request(request_id=ID, response_url=REQUESTS))


def test_our_key_goes_to_no_other_host(queue: FalQueue, fal: Loopback) -> None:
    elsewhere = {"Location": "https://evil.example.com/result"}
    fal.plays["queue.fal.run"] = answer("", 307, elsewhere)
    fal.plays["evil.example.com"] = answer(OUTPUT)

    with pytest.raises(VideoUnavailable):
        queue.result(Request(request_id=ID, response_url=REQUESTS))

    assert fal.requests("evil.example.com") == []
