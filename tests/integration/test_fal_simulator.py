"""The fal simulator as its users meet it: a process, a proxy, TLS, and fal's own client.

In place of the AWS emulator stands a small TLS server that lends sounds and records webhooks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import math
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import fal_client
import fal_client.client
import httpx
import pytest
import trustme
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.enable_socket

ENDPOINT = "fal-ai/ltx-2.3-22b/distilled/audio-to-video"
ROOT = Path(__file__).parents[2]
KEY = "key-id:key-secret"
USER = "github|1234"
HOOK = "https://abcd1234.execute-api.us-east-1.amazonaws.com/webhooks/fal/job-1/secret-token"
SMALL = {"width": 64, "height": 48}
HOSTS = (
    "queue.fal.run",
    "queue.falrun.com",
    "rest.fal.ai",
    "rest.alpha.fal.ai",
    "api.fal.ai",
    "v3.fal.media",
    "v3b.fal.media",
    "storage.googleapis.com",
    "localhost",
)


def a_sound(seconds: float) -> bytes:
    samples = (int(9000 * math.sin(i * 0.06)) for i in range(int(seconds * 16_000)))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


def converted(sound: bytes, container: str, codec: str, rate: int) -> bytes:
    to = io.BytesIO()
    with av.open(io.BytesIO(sound), "r") as source, av.open(to, "w", format=container) as out:
        # the built-in vorbis encoder is marked experimental and writes stereo only
        stream: Any = out.add_stream(codec, rate=rate, layout="stereo", options={"strict": "-2"})
        for frame in source.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return to.getvalue()


def a_picture(width: int, height: int) -> bytes:
    to = io.BytesIO()
    with av.open(to, "w", format="image2pipe") as out:
        stream = out.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        out.mux(stream.encode(av.VideoFrame(width, height, "rgb24")))
        out.mux(stream.encode(None))
    return to.getvalue()


@dataclass
class Delivery:
    host: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.body)
        return body


@dataclass
class Emulator:
    """Lends `files` by path and answers webhooks with the next of `answers`, then with 200."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, papers: Papers, ready: threading.Event, stop: asyncio.Event) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_get("/hops/{left}", self._hop)
        app.router.add_get("/{path:.*}", self._lend)
        app.router.add_post("/{path:.*}", self._receive)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=papers.server_context())
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await stop.wait()
        await runner.cleanup()

    async def _lend(self, request: web.Request) -> web.Response:
        self.reads.append(request.path_qs)
        name = request.path.rpartition("/")[2]
        if name not in self.files or "authorization" in request.headers:
            return web.Response(status=403)
        return web.Response(body=self.files[name])

    async def _hop(self, request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        onward = f"/hops/{left - 1}" if left > 1 else "/drop/a.wav"
        return web.Response(status=302, headers={"Location": onward})

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.deliveries.append(Delivery(request.host, request.path, dict(request.headers), body))
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"})


@dataclass(frozen=True)
class Papers:
    folder: Path

    def issue(self) -> None:
        authority = trustme.CA()
        server = authority.issue_cert(*HOSTS)
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        server.private_key_pem.write_to_path(self.folder / "key.pem")
        chain = b"".join(pem.bytes() for pem in server.cert_chain_pems)
        (self.folder / "certificate.pem").write_bytes(chain)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "certificate.pem", self.folder / "key.pem")
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))


class Fal:
    """A running simulator and the ways to talk to it."""

    def __init__(self, papers: Papers, emulator: Emulator, *options: str) -> None:
        self.emulator = emulator
        self.log = papers.folder / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                command(papers, emulator.port, *options),
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                text=True,
            )
        assert self.process.stdout is not None
        with self.process.stdout as out:
            ports = json.loads(out.readline())
        self.proxy = f"http://127.0.0.1:{ports['proxy_port']}"
        self.proxy_port = ports["proxy_port"]
        context = papers.client_context()
        self.http = httpx.Client(proxy=self.proxy, verify=context, timeout=20, trust_env=False)
        base = f"http://127.0.0.1:{ports['control_port']}"
        self.control = httpx.Client(base_url=base, timeout=20, trust_env=False)
        self.headers = {"Authorization": f"Key {KEY}"}

    def close(self) -> None:
        self.http.close()
        self.control.close()
        self.process.terminate()
        self.process.wait(5)

    def fault(self, stage: str, action: str, **more: Any) -> None:
        answer = self.control.post("/faults", json={"stage": stage, "action": action, **more})
        assert answer.status_code == 200, answer.text

    def arguments(self, **changes: Any) -> dict[str, Any]:
        url = f"https://localhost:{self.emulator.port}/drop/a.wav?X-Amz-Signature=hush"
        return {"prompt": "A cat sings", "audio_url": url, "video_size": SMALL} | changes

    def post(self, *, hook: str | None = HOOK, headers: Any = None, **changes: Any) -> Any:
        query = {"fal_webhook": hook} if hook else {}
        return self.http.post(
            f"https://queue.fal.run/{ENDPOINT}",
            params=query,
            json=self.arguments(**changes),
            headers=self.headers | (headers or {}),
        )

    def submit(self, **options: Any) -> str:
        answer = self.post(**options)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    def call(self, request_id: str, what: str = "", method: str = "GET") -> httpx.Response:
        url = f"https://queue.fal.run/fal-ai/ltx-2.3-22b/requests/{request_id}{what}"
        return self.http.request(method, url, headers=self.headers)

    def record(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.control.get(f"/requests/{request_id}").json()
        return found

    def finished(self, request_id: str) -> dict[str, Any]:
        done = until(lambda: (r := self.record(request_id))["status"] == "COMPLETED" and r)
        return dict(done)

    def run(self, **options: Any) -> dict[str, Any]:
        """Submit without a webhook, wait, return the control record."""
        return self.finished(self.submit(**{"hook": None} | options))

    def deliveries(self, count: int = 1) -> list[Delivery]:
        until(lambda: len(self.emulator.deliveries) >= count)
        return self.emulator.deliveries

    def keys(self) -> list[Ed25519PublicKey]:
        answer = self.http.get("https://rest.fal.ai/.well-known/jwks.json").json()
        points = [key["x"] for key in answer["keys"]]
        return [Ed25519PublicKey.from_public_bytes(unpadded(point)) for point in points]


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def until(check: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)
    pytest.fail("it did not happen in time")


def command(papers: Papers, emulator_port: int, *options: str) -> list[str]:
    folder = papers.folder
    return [
        sys.executable,
        "-m",
        "local.fal_simulator",
        "--proxy-port",
        "0",
        "--control-port",
        "0",
        "--certificate",
        str(folder / "certificate.pem"),
        "--private-key",
        str(folder / "key.pem"),
        "--ca-bundle",
        str(folder / "ca.pem"),
        "--emulator-port",
        str(emulator_port),
        "--fal-key",
        KEY,
        "--user-id",
        USER,
        *options,
    ]


def signed(delivery: Delivery, keys: list[Ed25519PublicKey]) -> bool:
    headers = delivery.headers
    names = ("Request-Id", "User-Id", "Timestamp")
    parts = [headers[f"X-Fal-Webhook-{name}"] for name in names]
    message = "\n".join([*parts, hashlib.sha256(delivery.body).hexdigest()]).encode()
    for key in keys:
        with contextlib.suppress(InvalidSignature):
            key.verify(bytes.fromhex(headers["X-Fal-Webhook-Signature"]), message)
            return True
    return False


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    made = Papers(tmp_path_factory.mktemp("fal"))
    made.issue()
    return made


@pytest.fixture(scope="module")
def emulator(papers: Papers) -> Iterator[Emulator]:
    made, ready = Emulator(), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    serving = made.serve(papers, ready, stop)
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
    thread.start()
    assert ready.wait(5)
    yield made
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def process(papers: Papers, emulator: Emulator) -> Iterator[Fal]:
    running = Fal(papers, emulator, "--run-seconds", "0", "--retry-seconds", "0.02", "--seed", "7")
    yield running
    running.close()


@pytest.fixture
def fal(process: Fal, emulator: Emulator) -> Fal:
    process.control.delete("/faults")
    process.control.post("/reset")
    emulator.files = {"a.wav": a_sound(1)}
    for seen in (emulator.answers, emulator.deliveries, emulator.reads):
        seen.clear()
    return process


@pytest.fixture
def client(
    fal: Fal, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[fal_client.SyncClient]:
    monkeypatch.setenv("HTTPS_PROXY", fal.proxy)
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.folder / "ca.pem"))
    monkeypatch.setattr(fal_client.client, "MAX_ATTEMPTS", 1)
    made = fal_client.SyncClient(key=KEY)
    yield made
    made._client.close()


# fal's own client


def test_fals_own_client_gets_a_video_and_the_webhook_is_signed(
    fal: Fal, client: fal_client.SyncClient
) -> None:
    handle = client.submit(ENDPOINT, arguments=fal.arguments(), webhook_url=HOOK)
    result = handle.get()

    delivery = fal.deliveries()[0]
    assert delivery.json["request_id"] == handle.request_id
    assert delivery.json["payload"] == result
    assert delivery.json["status"] == "OK"
    assert delivery.headers["X-Fal-Webhook-User-Id"] == USER
    assert signed(delivery, fal.keys())
    assert delivery.host == f"abcd1234.execute-api.localhost:{fal.emulator.port}"
    assert delivery.path == "/webhooks/fal/job-1/secret-token"


def test_the_webhook_body_is_spaced_and_sorted_as_the_observed_one(fal: Fal) -> None:
    fal.submit()

    body = fal.deliveries()[0].body
    assert body == json.dumps(json.loads(body), sort_keys=True).encode()
    assert body.startswith(b'{"error": null, "gateway_request_id": "')


def test_the_backup_host_is_the_same_queue(fal: Fal) -> None:
    url = f"https://queue.falrun.com/{ENDPOINT}"
    answer = fal.http.post(url, json=fal.arguments(), headers=fal.headers)

    assert fal.finished(answer.json()["request_id"])["status_code"] == 200


def test_fals_own_client_reports_a_failed_run(fal: Fal, client: fal_client.SyncClient) -> None:
    fal.emulator.files["a.wav"] = b"these are words, not sounds"

    handle = client.submit(ENDPOINT, arguments=fal.arguments())

    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()
    assert caught.value.status_code == 422
    status = handle.status()
    assert isinstance(status, fal_client.Completed)
    assert status.error_type == "unsupported_audio_format"


# the video


@pytest.mark.parametrize(
    ("output_type", "container", "codec", "sound", "content_type"),
    [
        ("X264 (.mp4)", "mp4", "h264", "aac", "video/mp4"),
        ("VP9 (.webm)", "webm", "vp9", "opus", "video/webm"),
        ("PRORES4444 (.mov)", "mov", "prores", "pcm_s16le", "video/quicktime"),
        ("GIF (.gif)", "gif", "gif", None, "image/gif"),
    ],
)
def test_each_output_type_is_a_real_video_as_described(
    fal: Fal, output_type: str, container: str, codec: str, sound: str | None, content_type: str
) -> None:
    made = fal.run(video_output_type=output_type)["result"]["video"]

    answer = fal.http.get(made["url"])
    assert answer.headers["content-type"] == made["content_type"] == content_type
    assert made["file_name"].endswith(f".{container}")
    assert len(answer.content) == made["file_size"]
    with av.open(io.BytesIO(answer.content), "r") as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].codec_context.name == codec
        assert [s.codec_context.name for s in video.streams.audio] == ([sound] if sound else [])
        assert video.duration is not None
        assert abs(video.duration / av.time_base - 1) < 0.1
    assert (frames[0].width, frames[0].height) == (made["width"], made["height"]) == (64, 48)
    assert len(frames) == made["num_frames"] == 24
    assert (made["fps"], made["duration"]) == (24, 1)


@pytest.mark.parametrize(
    ("name", "container", "codec", "rate"),
    [
        ("mp3", "mp3", "libmp3lame", 44_100),
        ("flac", "flac", "flac", 44_100),
        ("m4a", "ipod", "aac", 44_100),
        ("aac", "adts", "aac", 44_100),
        ("ogg", "ogg", "vorbis", 44_100),
        ("opus", "opus", "libopus", 48_000),
    ],
)
def test_each_sound_format_makes_a_video_of_its_own_length(
    fal: Fal, name: str, container: str, codec: str, rate: int
) -> None:
    fal.emulator.files["a.wav"] = converted(a_sound(1.5), container, codec, rate)

    made = fal.run()["result"]["video"]

    assert abs(made["duration"] - 1.5) < 0.1, name


def test_the_number_of_frames_is_the_one_asked_for_when_the_length_is_not_matched(fal: Fal) -> None:
    made = fal.run(match_audio_length=False, num_frames=30, fps=12.5)["result"]["video"]

    assert (made["num_frames"], made["fps"], made["duration"]) == (30, 12.5, 2.4)
    with av.open(io.BytesIO(fal.http.get(made["url"]).content), "r") as video:
        assert len(list(video.decode(video=0))) == 30


@pytest.mark.parametrize(
    ("size", "pixels"),
    [("portrait_16_9", (576, 1024)), ({"width": 33, "height": 50}, (34, 50)), ("auto", (80, 60))],
)
def test_the_size_is_a_preset_a_pair_or_the_images_own(
    fal: Fal, size: Any, pixels: tuple[int, int]
) -> None:
    fal.emulator.files |= {"a.png": a_picture(80, 60), "a.wav": a_sound(0.4)}
    image = f"https://bucket.s3.us-east-1.amazonaws.com:{fal.emulator.port}/drop/a.png"

    made = fal.run(video_size=size, image_url=image, end_image_url=image)["result"]["video"]

    assert (made["width"], made["height"]) == pixels


def test_the_seed_is_kept_and_the_prompt_is_expanded_only_on_request(fal: Fal) -> None:
    plain = fal.run(seed=5, enable_prompt_expansion=False)["result"]
    expanded = fal.run(enable_prompt_expansion=True)["result"]

    assert (plain["seed"], plain["prompt"]) == (5, "A cat sings")
    assert expanded["prompt"].startswith("A cat sings, ")
    assert 0 <= expanded["seed"] < 2**64


def test_the_bill_is_the_megapixels_rounded_up(fal: Fal) -> None:
    request_id = fal.run(video_size="square")["request_id"]

    units = fal.call(request_id).headers["x-fal-billable-units"]

    assert units == str(math.ceil(512 * 512 * 24 / 1e6))


@pytest.mark.parametrize(
    ("rule", "made", "units"),
    [
        (
            {"action": "bigger_video", "width": 639, "height": 360},
            {"width": 640, "height": 360, "num_frames": 24, "duration": 1.0},
            "6",
        ),
        (
            {"action": "longer_video", "frames": 61},
            {"width": 64, "height": 48, "num_frames": 61, "duration": 61 / 24},
            "1",
        ),
        (
            {"action": "bill", "units": 12.5},
            {"width": 64, "height": 48, "num_frames": 24, "duration": 1.0},
            "12.5",
        ),
    ],
)
def test_a_video_can_be_made_or_billed_otherwise_than_it_was_asked_for(
    fal: Fal, rule: dict[str, Any], made: dict[str, Any], units: str
) -> None:
    fal.control.post("/faults", json={"stage": "render", **rule})

    done = fal.run()

    video = done["result"]["video"]
    assert {name: video[name] for name in made} == made
    assert done["billable_units"] == units
    assert fal.call(done["request_id"]).headers["x-fal-billable-units"] == units
    with av.open(io.BytesIO(fal.http.get(video["url"]).content), "r") as film:
        frames = list(film.decode(video=0))
    assert len(frames) == video["num_frames"]
    assert (frames[0].width, frames[0].height) == (video["width"], video["height"])
    assert fal.run()["result"]["video"]["num_frames"] == 24


@pytest.mark.parametrize(("seconds", "frames"), [(1.0, 24), (1.001, 25), (1.03, 25), (0.2, 9)])
def test_a_frame_of_the_sound_that_is_begun_is_made(fal: Fal, seconds: float, frames: int) -> None:
    fal.emulator.files["a.wav"] = a_sound(seconds)

    assert fal.run()["result"]["video"]["num_frames"] == frames


# submit


@pytest.mark.parametrize(
    ("changes", "kind", "where"),
    [
        ({"prompt": None}, "string_type", ["body", "prompt"]),
        ({"fps": 61}, "less_than_equal", ["body", "fps"]),
        ({"num_frames": 8}, "greater_than_equal", ["body", "num_frames"]),
        ({"scheduler": "euler"}, "enum", ["body", "scheduler"]),
        ({"seed": "x"}, "int_parsing", ["body", "seed"]),
        ({"camera_lora_scale": 1.1}, "less_than_equal", ["body", "camera_lora_scale"]),
        ({"video_output_type": "AVI"}, "enum", ["body", "video_output_type"]),
    ],
)
def test_arguments_outside_the_schema_are_refused_at_submit_and_nothing_is_queued(
    fal: Fal, changes: dict[str, Any], kind: str, where: list[str]
) -> None:
    answer = fal.post(**changes)

    assert answer.status_code == 422
    (mistake,) = answer.json()["detail"]
    assert (mistake["type"], mistake["loc"]) == (kind, where)
    assert {"msg", "input"} <= mistake.keys()
    assert fal.control.get("/requests").json()["requests"] == []


def test_a_missing_field_is_named(fal: Fal) -> None:
    url = f"https://queue.fal.run/{ENDPOINT}"
    answer = fal.http.post(url, json={"prompt": "x"}, headers=fal.headers)

    (mistake,) = answer.json()["detail"]
    assert (mistake["type"], mistake["loc"]) == ("missing", ["body", "audio_url"])


@pytest.mark.parametrize("size", [{"width": 0}, {"height": 14143}, "huge", 7])
def test_an_impossible_size_is_refused(fal: Fal, size: Any) -> None:
    assert fal.post(video_size=size).status_code == 422


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"fps": NaN}', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(fal: Fal, body: bytes) -> None:
    url = f"https://queue.fal.run/{ENDPOINT}"

    assert fal.http.post(url, content=body, headers=fal.headers).status_code == 422


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Key no"}, {"Authorization": "Bearer"}])
def test_a_missing_or_wrong_key_is_401_everywhere(fal: Fal, headers: dict[str, str]) -> None:
    url = f"https://queue.fal.run/{ENDPOINT}"
    submitted = fal.http.post(url, json=fal.arguments(), headers=headers)
    polled = fal.http.get(f"https://queue.fal.run/{ENDPOINT}/requests/x/status", headers=headers)
    listed = fal.http.get("https://api.fal.ai/v1/models/requests/by-endpoint", headers=headers)

    assert [a.status_code for a in (submitted, polled, listed)] == [401, 401, 401]
    assert "detail" in submitted.json()
    assert listed.json()["error"]["type"] == "authorization_error"


def test_another_model_does_not_exist(fal: Fal) -> None:
    answer = fal.http.post("https://queue.fal.run/fal-ai/flux", json={}, headers=fal.headers)

    assert answer.status_code == 404


def test_a_queue_longer_than_allowed_is_429(fal: Fal) -> None:
    fal.fault("queue", "delay", seconds=30)
    fal.submit(hook=None)

    url = f"https://queue.fal.run/{ENDPOINT}?fal_max_queue_length=0"
    answer = fal.http.post(url, json=fal.arguments(), headers=fal.headers)

    assert answer.status_code == 429


# queue


def test_the_addresses_returned_name_the_app_alone_and_both_forms_answer(fal: Fal) -> None:
    answer = fal.post(hook=None)
    body = answer.json()
    fal.finished(body["request_id"])

    here = f"https://queue.fal.run/fal-ai/ltx-2.3-22b/requests/{body['request_id']}"
    assert body["response_url"] == here
    assert (body["status_url"], body["cancel_url"]) == (f"{here}/status", f"{here}/cancel")
    assert (body["status"], body["queue_position"]) == ("IN_QUEUE", 0)
    assert answer.headers["x-fal-request-id"] == body["request_id"]
    long = here.replace("/requests/", "/distilled/audio-to-video/requests/")
    for url in (here, f"{here}/response", long, f"{long}/response"):
        assert "video" in fal.http.get(url, headers=fal.headers).json()
    assert fal.http.get(f"{long}/status", headers=fal.headers).json()["status"] == "COMPLETED"


def test_two_jobs_run_and_the_third_waits_its_turn(fal: Fal) -> None:
    fal.fault("render", "delay", seconds=0.5, times=2)
    first, second, third, low = (
        fal.submit(hook=None),
        fal.submit(hook=None, headers={"X-Fal-Queue-Priority": "low"}),
        fal.submit(hook=None, headers={"X-Fal-Queue-Priority": "low"}),
        fal.submit(hook=None),
    )

    until(lambda: fal.call(second, "/status").json()["status"] == "IN_PROGRESS")
    waiting, running = fal.call(third, "/status"), fal.call(first, "/status?logs=1")
    assert (waiting.status_code, waiting.json()["status"]) == (202, "IN_QUEUE")
    assert waiting.json()["queue_position"] == 1
    assert fal.call(low, "/status").json()["queue_position"] == 0
    assert (running.status_code, running.json()["status"]) == (202, "IN_PROGRESS")
    assert {"message", "timestamp"} <= running.json()["logs"][0].keys()
    done = [fal.finished(one) for one in (first, second, third, low)]
    assert done[3]["started_at"] <= done[2]["started_at"]
    ended = fal.call(first, "/status")
    assert (ended.status_code, ended.json()["logs"]) == (200, [])
    assert ended.json()["metrics"]["inference_time"] > 0.4


def test_the_sound_is_fetched_once_after_the_wait_with_its_query_untouched(fal: Fal) -> None:
    fal.fault("queue", "delay", seconds=0.3)
    url = f"https://localhost:{fal.emulator.port}/drop/a.wav?X-Amz-Signature=a%2Fb%20c&x=%C3%A9"
    request_id = fal.submit(hook=None, audio_url=url)

    time.sleep(0.15)
    assert fal.emulator.reads == []
    fal.finished(request_id)
    assert fal.emulator.reads == ["/drop/a.wav?X-Amz-Signature=a%2Fb%20c&x=%C3%A9"]


def test_a_result_asked_for_too_early_is_400(fal: Fal) -> None:
    fal.fault("queue", "delay", seconds=30)

    answer = fal.call(fal.submit(hook=None))

    assert answer.status_code == 400
    assert answer.json() == {"detail": "Request is still in progress"}


@pytest.mark.parametrize("header", ["X-Fal-Request-Start-Timeout", "X-Fal-Request-Timeout"])
def test_a_job_that_does_not_start_in_time_is_a_504_of_its_user(fal: Fal, header: str) -> None:
    fal.fault("queue", "delay", seconds=30)
    request_id = fal.submit(headers={header: "0.2"})

    body = fal.deliveries()[0].json
    assert (body["status"], body["error"]) == ("ERROR", "Invalid status code: 504")
    result = fal.call(request_id)
    assert result.status_code == 504
    assert result.headers["x-fal-request-timeout-type"] == "user"
    assert result.headers["x-fal-error-type"] == result.json()["error_type"] == "request_timeout"
    assert fal.call(request_id, "/status").json()["error_type"] == "request_timeout"


def test_cancel_has_four_answers(fal: Fal) -> None:
    fal.fault("render", "delay", seconds=0.4, times=2)
    running = [fal.submit(hook=None), fal.submit(hook=None)]
    waiting = fal.submit(hook=None)
    until(lambda: fal.record(running[1])["status"] == "IN_PROGRESS")

    def cancel(request_id: str) -> tuple[int, str]:
        answer = fal.call(request_id, "/cancel", "PUT")
        return answer.status_code, answer.json()["status"]

    assert cancel(waiting) == (200, "OK")
    assert cancel(running[0]) == (202, "CANCELLATION_REQUESTED")
    fal.finished(running[0])
    assert cancel(running[0]) == (400, "ALREADY_COMPLETED")
    assert cancel("unknown") == (404, "NOT_FOUND")
    assert fal.call(waiting, "/status").json()["error_type"] == "client_cancelled"
    assert fal.call(running[0]).status_code == 200


def test_an_unknown_request_is_not_found(fal: Fal) -> None:
    for what in ("/status", ""):
        answer = fal.call("no-such-id", what)
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})


# what a run may fail on


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://localhost:{port}/drop/absent.wav", "file_download_error"),
        ("http://localhost:{port}/drop/a.wav", "file_download_error"),
        ("https://example.com/a.wav", "file_download_error"),
        ("https://localhost:{port}/hops/6", "file_download_error"),
        ("https://localhost:{port}/drop/words.txt", "unsupported_audio_format"),
        ("https://localhost:{port}/drop/list.m3u8", "unsupported_audio_format"),
        ("https://localhost:{port}/drop/long.wav", "audio_duration_too_long"),
    ],
)
def test_a_sound_that_cannot_be_used_is_an_error_webhook_with_fals_type(
    fal: Fal, url: str, kind: str
) -> None:
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"
    words = {"words.txt": b"only words", "list.m3u8": playlist, "long.wav": a_sound(8.1)}
    fal.emulator.files |= words

    fal.submit(audio_url=url.format(port=fal.emulator.port), fps=60)

    body = fal.deliveries()[0].json
    assert (body["status"], body["error"]) == ("ERROR", "Invalid status code: 422")
    (mistake,) = body["payload"]["detail"]
    assert (mistake["type"], mistake["loc"]) == (kind, ["body", "audio_url"])
    if kind == "audio_duration_too_long":
        assert mistake["ctx"] == {"max_duration": 8.017, "provided_duration": 8.1}
    result = fal.call(body["request_id"])
    assert (result.status_code, result.json()) == (422, body["payload"])
    assert result.headers["x-fal-retryable"] == "false"


def test_five_redirects_are_followed(fal: Fal) -> None:
    url = f"https://localhost:{fal.emulator.port}/hops/5"

    assert fal.run(audio_url=url)["status_code"] == 200


def test_an_image_that_cannot_be_read_is_named(fal: Fal) -> None:
    fal.emulator.files["a.png"] = b"not a picture"
    image = f"https://localhost:{fal.emulator.port}/drop/a.png"

    record = fal.run(end_image_url=image)

    assert record["error_type"] == "image_load_error"
    assert record["result"]["detail"][0]["loc"] == ["body", "end_image_url"]


# webhooks


def test_a_refused_webhook_is_sent_again_with_a_fresh_signature(fal: Fal) -> None:
    fal.emulator.answers[:] = [503, 401, 404]
    request_id = fal.submit()

    deliveries = fal.deliveries(4)
    until(lambda: len(fal.record(request_id)["deliveries"]) == 4)
    assert all(signed(delivery, fal.keys()) for delivery in deliveries)
    records = fal.record(request_id)["deliveries"]
    assert [r["status_code"] for r in records] == [503, 401, 404, 200]
    assert [r["attempt"] for r in records] == [1, 2, 3, 4]
    assert [r["settled"] for r in records] == [False, False, False, True]


def test_a_redirect_ends_the_delivery(fal: Fal) -> None:
    fal.emulator.answers[:] = [307]
    request_id = fal.submit()

    fal.deliveries()
    time.sleep(0.2)
    (only,) = fal.record(request_id)["deliveries"]
    assert (only["kind"], only["status_code"]) == ("redirected", 307)


@pytest.mark.parametrize(
    ("hook", "kind"),
    [
        ("https://localhost/hook", "refused"),
        ("https://10.0.0.7/hook", "refused"),
        ("http://abcd1234.execute-api.us-east-1.amazonaws.com/hook", "refused"),
        ("https://example.com/hook", "network_error"),
    ],
)
def test_a_webhook_that_leads_elsewhere_never_arrives(fal: Fal, hook: str, kind: str) -> None:
    request_id = fal.submit(hook=hook)

    first = until(lambda: fal.record(request_id)["deliveries"])[0]
    assert first["kind"] == kind
    assert fal.emulator.deliveries == []


def test_the_control_api_sends_a_webhook_again(fal: Fal) -> None:
    request_id = fal.submit()
    fal.deliveries()

    again = fal.control.post(f"/requests/{request_id}/deliver").json()

    assert again["kind"] == "delivered"
    assert fal.emulator.deliveries[0].body == fal.emulator.deliveries[1].body


def test_there_is_nothing_to_send_before_the_end(fal: Fal) -> None:
    fal.fault("queue", "delay", seconds=30)
    request_id = fal.submit()

    assert fal.control.post(f"/requests/{request_id}/deliver").status_code == 409
    assert fal.control.post("/requests/unknown/deliver").status_code == 404


# faults at submit


@pytest.mark.parametrize("action", ["lost_response", "drop_before"])
def test_a_dropped_submit_is_one_post_that_fals_client_cannot_tell_apart(
    fal: Fal, client: fal_client.SyncClient, action: str
) -> None:
    fal.fault("submit", action)

    with pytest.raises(httpx.TransportError):
        client.submit(ENDPOINT, arguments=fal.arguments(), webhook_url=HOOK)

    seen = fal.control.get("/requests").json()
    (post,) = seen["posts"]
    assert (post["fault"], post["status_code"]) == (action, None)
    assert len(seen["requests"]) == (1 if action == "lost_response" else 0)


@pytest.mark.parametrize(
    ("rule", "status_code", "text"),
    [
        ({"action": "unauthorized"}, 401, "Authentication is required"),
        ({"action": "exhausted_balance"}, 403, "Exhausted balance"),
        ({"action": "status", "code": 503, "body": "<html>nginx</html>"}, 503, "nginx"),
        ({"action": "status", "code": 500, "request_id_header": True}, 500, "status 500"),
    ],
)
def test_a_refused_submit_queues_nothing(
    fal: Fal, rule: dict[str, Any], status_code: int, text: str
) -> None:
    fal.fault("submit", **rule)

    answer = fal.post()

    assert (answer.status_code, text in answer.text) == (status_code, True)
    assert ("x-fal-request-id" in answer.headers) == ("request_id_header" in rule)
    assert fal.control.get("/requests").json()["requests"] == []


def test_a_delayed_submit_is_accepted_long_before_it_is_answered(fal: Fal) -> None:
    fal.fault("submit", "delay", seconds=0.5)
    started = time.time()

    request_id = fal.submit()

    assert time.time() - started >= 0.5
    assert fal.record(request_id)["submitted_at"] - started < 0.3


# faults of the webhook


def test_an_early_webhook_arrives_before_the_submit_answer(fal: Fal) -> None:
    fal.fault("webhook", "early")

    request_id = fal.submit()

    assert fal.emulator.deliveries[0].json["request_id"] == request_id


def test_a_duplicated_webhook_arrives_again(fal: Fal) -> None:
    fal.fault("webhook", "duplicate", count=2)

    fal.submit()

    bodies = {delivery.body for delivery in fal.deliveries(3)}
    assert len(bodies) == 1


def test_a_webhook_told_never_to_come_does_not(fal: Fal) -> None:
    fal.fault("webhook", "never")

    request_id = fal.submit()

    (record,) = until(lambda: fal.record(request_id)["deliveries"])
    assert record["kind"] == "withheld"
    assert fal.emulator.deliveries == []


def test_a_delayed_webhook_comes_late(fal: Fal) -> None:
    fal.fault("webhook", "delay", seconds=0.3)

    done = fal.finished(fal.submit())

    assert fal.emulator.deliveries == []
    fal.deliveries()
    assert time.time() - done["completed_at"] >= 0.3


@pytest.mark.parametrize(
    ("rule", "verifies", "flaw"),
    [
        ({"action": "forged"}, False, None),
        ({"action": "wrong_key"}, False, None),
        ({"action": "stale", "seconds": 301}, True, "Timestamp"),
        ({"action": "stale", "seconds": -301}, True, "Timestamp"),
        ({"action": "foreign_tenant"}, True, "User-Id"),
        ({"action": "header_mismatch"}, True, "Request-Id"),
    ],
)
def test_a_delivery_with_a_flaw_has_that_flaw_only_and_the_retry_none(
    fal: Fal, rule: dict[str, Any], verifies: bool, flaw: str | None
) -> None:
    fal.fault("webhook", **rule)
    fal.emulator.answers[:] = [401]

    request_id = fal.submit()

    flawed, sound = fal.deliveries(2)
    assert signed(flawed, fal.keys()) is verifies
    assert signed(sound, fal.keys())
    expected = {"Request-Id": request_id, "User-Id": USER}
    for name in ("Request-Id", "User-Id"):
        same = flawed.headers[f"X-Fal-Webhook-{name}"] == expected[name]
        assert same is (flaw != name)
    age = time.time() - int(flawed.headers["X-Fal-Webhook-Timestamp"])
    assert (abs(age) > 290) is (flaw == "Timestamp")


@pytest.mark.parametrize("status", ["OK", "ERROR"])
def test_a_payload_error_carries_no_payload_but_the_result_is_there(fal: Fal, status: str) -> None:
    fal.fault("webhook", "payload_error", status=status)

    request_id = fal.submit()

    body = fal.deliveries()[0].json
    assert (body["status"], body["payload"]) == (status, None)
    assert body["payload_error"].startswith("Response payload is not JSON serializable")
    assert body["error"] == (None if status == "OK" else "Invalid status code: 404")
    assert "video" in fal.call(request_id).json()


def test_a_run_that_fal_retried_has_another_gateway_id(fal: Fal) -> None:
    fal.fault("render", "retried")

    request_id = fal.submit()

    body = fal.deliveries()[0].json
    assert body["request_id"] == request_id != body["gateway_request_id"]


# faults of the queue's answers, the run and the keys


@pytest.mark.parametrize(
    ("stage", "what", "method"),
    [("status", "/status", "GET"), ("result", "", "GET"), ("cancel", "/cancel", "PUT")],
)
def test_each_answer_of_the_queue_can_fail_be_late_or_be_dropped(
    fal: Fal, stage: str, what: str, method: str
) -> None:
    request_id = fal.run()["request_id"]
    fal.fault(stage, "status", code=504)
    assert fal.call(request_id, what, method).status_code == 504

    fal.fault(stage, "drop")
    with pytest.raises(httpx.TransportError):
        fal.call(request_id, what, method)

    fal.fault(stage, "delay", seconds=0.2)
    started = time.monotonic()
    assert fal.call(request_id, what, method).status_code in {200, 400}
    assert time.monotonic() - started >= 0.2


def test_a_result_can_be_gone(fal: Fal) -> None:
    request_id = fal.run()["request_id"]
    fal.fault("result", "gone")

    assert fal.call(request_id).json() == {"status": "NOT_FOUND"}
    assert fal.call(request_id).status_code == 200


def test_a_running_job_stops_on_cancel_only_if_told_to(fal: Fal) -> None:
    fal.fault("cancel", "stop_running")
    fal.fault("render", "delay", seconds=30)
    request_id = fal.submit()
    until(lambda: fal.record(request_id)["status"] == "IN_PROGRESS")

    assert fal.call(request_id, "/cancel", "PUT").status_code == 202
    assert fal.call(request_id).status_code == 499


@pytest.mark.parametrize(
    ("stage", "rule", "status_code", "error_type"),
    [
        ("queue", {"action": "expire"}, 504, "request_timeout"),
        ("audio", {"action": "download_error"}, 422, "file_download_error"),
        ("audio", {"action": "unsupported"}, 422, "unsupported_audio_format"),
        ("render", {"action": "error"}, 500, "internal_server_error"),
        (
            "render",
            {"action": "error", "type": "content_policy_violation"},
            422,
            "content_policy_violation",
        ),
        (
            "render",
            {"action": "error", "type": "generation_timeout", "status": 504, "retryable": True},
            504,
            "generation_timeout",
        ),
        (
            "render",
            {"action": "error", "error_type": "runner_disconnected"},
            503,
            "runner_disconnected",
        ),
    ],
)
def test_a_run_can_be_told_to_fail_in_either_shape(
    fal: Fal, stage: str, rule: dict[str, Any], status_code: int, error_type: str
) -> None:
    fal.fault(stage, **rule)

    record = fal.run()

    assert (record["status_code"], record["error_type"]) == (status_code, error_type)
    result = fal.call(record["request_id"])
    assert result.status_code == status_code
    if isinstance(result.json()["detail"], str):
        assert result.headers["x-fal-error-type"] == error_type
    else:
        expected = "true" if rule.get("retryable") else "false"
        assert result.headers["x-fal-retryable"] == expected


def test_a_sound_can_be_fetched_late(fal: Fal) -> None:
    fal.fault("audio", "delay", seconds=0.3)

    record = fal.run()

    assert record["completed_at"] - record["started_at"] >= 0.3


def test_the_key_set_is_unpadded_and_can_be_padded_empty_late_or_down(fal: Fal) -> None:
    url = "https://rest.alpha.fal.ai/.well-known/jwks.json"
    (key,) = fal.http.get(url).json()["keys"][-1:]
    assert (key["kty"], key["crv"], len(key["x"])) == ("OKP", "Ed25519", 43)

    fal.fault("keys", "padded")
    assert len(fal.http.get(url).json()["keys"][0]["x"]) == 44
    fal.fault("keys", "empty")
    assert fal.http.get(url).json() == {"keys": []}
    fal.fault("keys", "status", code=503)
    assert fal.http.get(url).status_code == 503
    fal.fault("keys", "delay", seconds=0.2)
    started = time.monotonic()
    assert fal.http.get(url).status_code == 200
    assert time.monotonic() - started >= 0.2


def test_after_a_rotation_only_a_fresh_key_set_verifies(fal: Fal) -> None:
    old = fal.keys()
    fal.fault("keys", "rotate")

    fal.submit()

    delivery = fal.deliveries()[0]
    assert not signed(delivery, old)
    assert signed(delivery, fal.keys())


# the CDN


def test_a_video_is_read_in_ranges_by_anyone(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    whole = fal.http.get(url)
    size = len(whole.content)

    def part(value: str) -> httpx.Response:
        return fal.http.get(url, headers={"Range": value})

    assert part("bytes=0-9").content + part("bytes=10-").content == whole.content
    assert part("bytes=-7").content == whole.content[-7:]
    assert part("bytes=0-9").headers["content-range"] == f"bytes 0-9/{size}"
    beyond = part(f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert part("pages=1-2").status_code == 200
    head = fal.http.head(url)
    assert (head.headers["content-length"], head.headers["accept-ranges"]) == (str(size), "bytes")
    assert fal.http.get(url.replace("v3b.fal.media", "v3.fal.media")).content == whole.content
    assert fal.http.get("https://v3b.fal.media/files/b/no/no.mp4").status_code == 404


def test_a_key_sent_to_the_cdn_is_recorded(fal: Fal) -> None:
    record = fal.run()
    url = record["result"]["video"]["url"]

    fal.http.get(url)
    fal.http.get(url, headers=fal.headers)

    downloads = fal.record(record["request_id"])["downloads"]
    assert [one["authorization"] for one in downloads] == [False, True]


def test_the_cdn_can_answer_badly(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    whole = fal.http.get(url).content

    fal.fault("cdn", "status", code=403)
    assert fal.http.get(url).status_code == 403
    fal.fault("cdn", "redirect", location="https://elsewhere.example.com/")
    assert fal.http.get(url).headers["location"] == "https://elsewhere.example.com/"
    fal.fault("cdn", "no_ranges")
    unranged = fal.http.get(url, headers={"Range": "bytes=5-"})
    assert (unranged.status_code, unranged.content) == (200, whole)
    assert "accept-ranges" not in unranged.headers
    fal.fault("cdn", "wrong_container")
    page = fal.http.get(url)
    assert page.content.startswith(b"<!DOCTYPE html>")
    assert page.headers["content-type"] == "video/mp4"
    fal.fault("cdn", "oversize", bytes=2**40)
    assert fal.http.head(url).headers["content-length"] == str(2**40)
    fal.fault("cdn", "slow", bytes_per_second=len(whole) * 3)
    started = time.monotonic()
    assert fal.http.get(url).content == whole
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(("action", "count"), [("truncated", 100), ("reset", 100), ("reset", 0)])
def test_a_download_can_break_off(fal: Fal, action: str, count: int) -> None:
    record = fal.run()
    fal.fault("cdn", action, bytes=count)

    with (
        pytest.raises(httpx.TransportError),
        fal.http.stream("GET", record["result"]["video"]["url"]) as answer,
    ):
        answer.read()

    (download,) = fal.record(record["request_id"])["downloads"]
    assert (download["bytes"], download["fault"]) == (count, action)


def test_a_result_can_name_a_host_that_is_not_fals(fal: Fal) -> None:
    fal.fault("cdn", "wrong_host", host="internal.example.com")

    assert fal.run()["result"]["video"]["url"].startswith("https://internal.example.com/")


def test_a_big_file_takes_no_disk_and_is_the_same_in_any_pieces(fal: Fal) -> None:
    fal.fault("render", "big_file", bytes=2**30)
    made = fal.run()["result"]["video"]
    assert made["file_size"] == 2**30

    def part(first: int, last: int) -> bytes:
        return fal.http.get(made["url"], headers={"Range": f"bytes={first}-{last}"}).content

    assert part(0, 15)[4:12] == b"ftypisom"
    assert part(2**29 - 5, 2**29 + 4) == part(2**29 - 5, 2**29 - 1) + part(2**29, 2**29 + 4)
    assert len(part(2**30 - 3_000_000, 2**30)) == 3_000_000


# the platform API


def test_a_lost_request_can_be_found_by_its_input(fal: Fal) -> None:
    fal.fault("submit", "lost_response", match={"prompt_contains": "lost"})
    with pytest.raises(httpx.TransportError):
        fal.post(prompt="the lost one")
    fal.finished(fal.control.get("/requests").json()["posts"][0]["request_id"])
    fal.emulator.files["a.wav"] = b"no sound"
    fal.run(prompt="the broken one")

    def listed(**query: Any) -> list[dict[str, Any]]:
        url = "https://api.fal.ai/v1/models/requests/by-endpoint"
        query = {"endpoint_id": ENDPOINT, "expand": "payloads"} | query
        answer = fal.http.get(url, params=query, headers=fal.headers)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    (found,) = listed(status="success")
    assert found["json_input"]["prompt"] == "the lost one"
    assert found["json_output"]["video"]
    assert {"sent_at", "started_at", "ended_at", "duration"} <= found.keys()
    (broken,) = listed(status="user_error")
    assert (broken["status_code"], broken["endpoint_id"]) == (422, ENDPOINT)
    assert listed(request_id=found["request_id"])[0]["request_id"] == found["request_id"]
    assert listed(start="2999-01-01") == listed(status="error") == []
    assert len(listed()) == 2


def test_the_request_list_has_pages_and_hides_what_was_not_to_be_stored(fal: Fal) -> None:
    for _ in range(3):
        fal.run(headers={"X-Fal-Store-IO": "0"})
    url = "https://api.fal.ai/v1/models/requests/by-endpoint"
    query = {"endpoint_id": ENDPOINT, "limit": "2", "expand": "payloads"}

    first = fal.http.get(url, params=query, headers=fal.headers).json()
    rest = {"cursor": first["next_cursor"]}
    second = fal.http.get(url, params=query | rest, headers=fal.headers).json()

    assert (len(first["items"]), first["has_more"]) == (2, True)
    assert (len(second["items"]), second["has_more"]) == (1, False)
    assert "json_input" not in first["items"][0]
    for wrong in ({"limit": "0"}, {"cursor": "?"}, {"start": "soon"}, {"endpoint_id": ""}):
        bad = fal.http.get(url, params=query | wrong, headers=fal.headers)
        assert (bad.status_code, bad.json()["error"]["type"]) == (400, "validation_error")


def test_the_metadata_needs_no_key(fal: Fal) -> None:
    assert fal.http.get("https://api.fal.ai/v1/meta").json()["webhook_ip_ranges"]


# answers that nobody documents


def output_of(body: dict[str, Any]) -> Any:
    return body.get("video") or body.get("videos")


@pytest.mark.parametrize("by", ["webhook", "result"])
@pytest.mark.parametrize(
    ("form", "kind"),
    [("video_list", list), ("videos", list), ("url_text", str), ("empty", type(None))],
)
def test_an_output_can_have_another_form_once_and_is_sound_afterwards(
    fal: Fal, by: str, form: str, kind: type
) -> None:
    fal.fault(by, "malformed", form=form)
    request_id = fal.submit()
    (delivery,) = fal.deliveries()

    odd, sound = fal.call(request_id).json(), fal.call(request_id).json()

    told = {"webhook": delivery.json["payload"], "result": odd}
    other = {"webhook": odd, "result": delivery.json["payload"]}
    assert isinstance(output_of(told[by]), kind)
    assert isinstance(output_of(other[by]), dict)
    assert isinstance(output_of(sound), dict)
    assert signed(delivery, fal.keys())


@pytest.mark.parametrize(
    ("form", "mark"), [("surrogate", rb"\ud83c"), ("nan", b"NaN"), ("bom", b"\xef\xbb\xbf{")]
)
def test_an_output_can_be_text_that_strict_parsers_refuse(fal: Fal, form: str, mark: bytes) -> None:
    for stage in ("webhook", "result"):
        fal.fault(stage, "malformed", form=form)
    request_id = fal.submit()
    (delivery,) = fal.deliveries()

    fetched = fal.call(request_id).content

    assert mark in delivery.body
    assert signed(delivery, fal.keys())
    assert mark in fetched
    assert mark not in fal.call(request_id).content


def test_a_malformed_output_leaves_a_failure_as_it_is(fal: Fal) -> None:
    fal.emulator.files["a.wav"] = b"no sound"
    fal.fault("webhook", "malformed", form="empty")

    fal.submit()

    assert fal.deliveries()[0].json["payload"]["detail"][0]["type"] == "unsupported_audio_format"


def test_an_error_can_precede_the_success_of_the_same_request(fal: Fal) -> None:
    fal.fault("webhook", "error_first", seconds=0.2)

    request_id = fal.submit()

    first, second = fal.deliveries(2)
    assert [one.json["status"] for one in (first, second)] == ["ERROR", "OK"]
    assert {one.json["request_id"] for one in (first, second)} == {request_id}
    assert first.json["payload"]["error_type"] == "internal_error"
    assert all(signed(one, fal.keys()) for one in (first, second))
    kinds = [(one["kind"], one["fault"]) for one in fal.record(request_id)["deliveries"]]
    assert kinds == [("delivered", "error_first")] * 2


def test_a_webhook_can_call_a_result_unavailable_that_is_there(fal: Fal) -> None:
    fal.fault("webhook", "unavailable")

    request_id = fal.submit()

    body = fal.deliveries()[0].json
    assert (body["status"], body["error"]) == ("ERROR", "Invalid status code: 503")
    assert (body["payload"], fal.call(request_id).status_code) == (None, 200)


@pytest.mark.parametrize(
    ("rule", "address"),
    [
        ({}, "http://queue.fal.run/"),
        ({"host": "evil.example.com"}, "https://evil.example.com/"),
        ({"host": "queue.fal.run:8443"}, "https://queue.fal.run:8443/"),
        ({"scheme": "http", "host": "me@queue.fal.run"}, "http://me@queue.fal.run/"),
    ],
)
def test_a_submit_answer_can_name_addresses_that_are_not_fals(
    fal: Fal, rule: dict[str, Any], address: str
) -> None:
    fal.fault("submit", "foreign_urls", **rule)

    told = fal.post(hook=None).json()

    urls = [told[name] for name in ("status_url", "response_url", "cancel_url")]
    assert all(url.startswith(address) for url in urls)
    assert fal.finished(told["request_id"])["status_code"] == 200


def test_a_submit_answer_can_name_no_address(fal: Fal) -> None:
    fal.fault("submit", "without_urls")

    told = fal.post(hook=None).json()

    assert not [name for name in told if name.endswith("_url")]
    assert fal.finished(told["request_id"])["status_code"] == 200


def test_a_submit_can_be_redirected_and_who_follows_posts_again(fal: Fal) -> None:
    fal.fault("submit", "redirect", times=2)

    answer = fal.post(prompt="a mill")

    assert answer.status_code == 307
    assert answer.headers["location"] == str(answer.request.url)
    followed = fal.http.post(
        answer.headers["location"], json=fal.arguments(), headers=fal.headers, follow_redirects=True
    )
    assert followed.status_code == 200
    posts = fal.control.get("/requests").json()["posts"]
    assert [(post["status_code"], post["prompt"]) for post in posts] == [
        (307, "a mill"),
        (307, "A cat sings"),
        (200, "A cat sings"),
    ]


DRIPPING = {
    "status": "https://queue.fal.run/fal-ai/ltx-2.3-22b/requests/{id}/status",
    "result": "https://queue.fal.run/fal-ai/ltx-2.3-22b/requests/{id}",
    "requests": f"https://api.fal.ai/v1/models/requests/by-endpoint?endpoint_id={ENDPOINT}",
    "keys": "https://rest.fal.ai/.well-known/jwks.json",
    "cdn": "{video}",
}


@pytest.mark.parametrize("stage", DRIPPING)
@pytest.mark.parametrize("part", ["body", "all"])
def test_an_answer_can_drip_and_is_whole_in_the_end(fal: Fal, stage: str, part: str) -> None:
    fal.fault("render", "big_file", bytes=300)
    done = fal.run()
    url = DRIPPING[stage].format(id=done["request_id"], video=done["result"]["video"]["url"])
    fal.fault(stage, "drip", seconds=0.001, part=part)

    started = time.monotonic()
    with fal.http.stream("GET", url, headers=fal.headers) as dripping:
        head_after = time.monotonic() - started
        body = dripping.read()
    took = time.monotonic() - started

    assert len(body) == int(dripping.headers["content-length"])
    assert took >= len(body) * 0.001
    assert (head_after >= 0.1) is (part == "all")
    (rule,) = [one for one in fal.control.get("/faults").json()["faults"] if one["stage"] == stage]
    assert rule["struck"] == 1


def test_a_dripping_submit_was_accepted_before_its_first_byte(fal: Fal) -> None:
    fal.fault("submit", "drip", seconds=30)

    with pytest.raises(httpx.ReadTimeout):
        fal.http.post(
            f"https://queue.fal.run/{ENDPOINT}",
            json=fal.arguments(),
            headers=fal.headers,
            timeout=0.5,
        )

    (request,) = fal.control.get("/requests").json()["requests"]
    assert fal.finished(request["request_id"])["status_code"] == 200


@pytest.mark.parametrize("value", ["FAILED", "completed", ["COMPLETED"], {"error": "x"}, 7])
def test_a_status_can_be_a_word_that_fal_does_not_have(fal: Fal, value: Any) -> None:
    request_id = fal.run()["request_id"]
    fal.fault("status", "unknown", value=value)

    odd = fal.call(request_id, "/status").json()

    assert (odd["status"], odd["request_id"]) == (value, request_id)
    assert fal.call(request_id, "/status").json()["status"] == "COMPLETED"


@pytest.mark.parametrize("rule", [{}, {"value": "COMPLETED"}, {"value": 7}])
def test_a_status_can_be_no_object(fal: Fal, rule: dict[str, Any]) -> None:
    request_id = fal.run()["request_id"]
    fal.fault("status", "not_an_object", **rule)

    assert fal.call(request_id, "/status").json() == rule.get("value", ["COMPLETED"])


def test_a_failure_can_have_its_type_in_the_status_alone(fal: Fal) -> None:
    fal.fault("render", "error", error_type="runner_disconnected")
    request_id = fal.run()["request_id"]
    fal.fault("status", "error_type_only")

    status, result = fal.call(request_id, "/status"), fal.call(request_id)

    assert status.json()["error_type"] == "runner_disconnected"
    assert result.status_code == 503
    assert "runner_disconnected" not in result.text
    assert "x-fal-error-type" not in result.headers


def test_a_result_can_be_a_page_or_not_there_yet(fal: Fal) -> None:
    request_id = fal.run()["request_id"]
    fal.fault("result", "not_json")
    fal.fault("result", "accepted")

    page, accepted = fal.call(request_id), fal.call(request_id)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (accepted.status_code, accepted.json()["status"]) == (202, "IN_PROGRESS")
    assert fal.call(request_id).status_code == 200


def listed_requests(fal: Fal, **query: str) -> httpx.Response:
    url = "https://api.fal.ai/v1/models/requests/by-endpoint"
    query = {"endpoint_id": ENDPOINT, "expand": "payloads"} | query
    return fal.http.get(url, params=query, headers=fal.headers)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, ...),
        ({"form": "null"}, None),
        ({"form": "no_url"}, {"prompt": "A cat sings", "video_size": SMALL}),
    ],
)
def test_a_list_can_leave_out_what_was_sent(fal: Fal, rule: dict[str, Any], told: Any) -> None:
    fal.run()
    fal.fault("requests", "without_input", **rule)

    (odd,) = listed_requests(fal).json()["items"]

    assert odd.get("json_input", ...) == told
    assert listed_requests(fal).json()["items"][0]["json_input"]["audio_url"]


def test_a_list_can_come_in_another_envelope_or_as_an_error_or_a_page(fal: Fal) -> None:
    request_id = fal.run()["request_id"]
    for action in ("envelope", "error_ok", "next_page", "not_json"):
        fal.fault("requests", action)
    fal.fault("requests", "status", code=503)
    fal.fault("requests", "without_input", form="text")

    envelope, error, empty, page, down, text = (listed_requests(fal) for _ in range(6))

    assert [one["request_id"] for one in envelope.json()["requests"]] == [request_id]
    assert "items" not in envelope.json()
    assert (error.status_code, error.json().keys()) == (200, {"error"})
    assert empty.json().keys() == {"items", "next"}
    following = listed_requests(fal, cursor=empty.json()["next"]).json()["items"]
    assert [one["request_id"] for one in following] == [request_id]
    assert page.headers["content-type"].startswith("text/html")
    assert down.status_code == 503
    assert json.loads(text.json()["items"][0]["json_input"])["prompt"] == "A cat sings"
    assert fal.control.get("/requests").json()["list_reads"] == 7


def test_a_list_can_be_dropped(fal: Fal) -> None:
    fal.fault("requests", "drop")

    with pytest.raises(httpx.TransportError):
        listed_requests(fal)


def test_a_file_can_be_short_and_look_whole(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "short", bytes=40, times=3)

    whole, part = fal.http.get(url), fal.http.get(url, headers={"Range": "bytes=0-99"})
    beyond = fal.http.get(url, headers={"Range": "bytes=40-"})

    assert (whole.headers["content-length"], len(whole.content)) == ("40", 40)
    assert (part.status_code, part.headers["content-range"]) == (206, "bytes 0-39/40")
    assert beyond.status_code == 416


def test_a_file_can_be_a_page_or_packed(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    whole = fal.http.get(url).content
    fal.fault("cdn", "html")
    fal.fault("cdn", "gzip")

    page, packed = fal.http.get(url), fal.http.get(url, headers={"Range": "bytes=0-9"})

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (packed.status_code, packed.headers["content-encoding"]) == (200, "gzip")
    assert packed.content == whole  # httpx unpacks it


def test_a_file_can_be_somewhere_else_on_a_host_that_has_it(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "redirect")
    found = fal.http.get(url, follow_redirects=True)
    fal.fault("cdn", "redirect", host="storage.googleapis.com")
    other = fal.http.get(url)

    assert (found.status_code, found.url.host) == (200, "v3.fal.media")
    assert other.headers["location"] == url.replace("v3b.fal.media", "storage.googleapis.com")


def test_a_file_can_be_kept_from_more_than_a_few_readers_at_once(fal: Fal) -> None:
    fal.fault("render", "big_file", bytes=2**20)
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "slow", bytes_per_second=2**19)
    fal.fault("cdn", "limit", connections=1, retry_after=2, times=None)

    with fal.http.stream("GET", url) as slow:
        refused = fal.http.get(url, headers={"Range": "bytes=0-9"})
        assert len(slow.read()) == 2**20
    served = until(
        lambda: (a := fal.http.get(url, headers={"Range": "bytes=0-9"})).is_success and a
    )

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert len(served.content) == 10


def test_a_range_can_leave_the_length_open(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "unknown_total")

    part = fal.http.get(url, headers={"Range": "bytes=0-9"})

    assert (part.headers["content-range"], len(part.content)) == ("bytes 0-9/*", 10)


@pytest.mark.parametrize(
    ("form", "tags"),
    [("weak", ["W/", "W/"]), ("weak_later", ["", "W/"]), ("missing_later", ["", None])],
)
def test_an_etag_can_be_weak_or_missing(fal: Fal, form: str, tags: list[str | None]) -> None:
    url = fal.run()["result"]["video"]["url"]
    tag = fal.http.head(url).headers["etag"]
    fal.fault("cdn", "odd_etag", form=form, times=2)

    parts = [fal.http.get(url, headers={"Range": f"bytes={at}-"}) for at in (0, 9)]

    told = [part.headers.get("etag") for part in parts]
    assert told == [None if mark is None else f"{mark}{tag}" for mark in tags]


def test_hints_can_come_before_a_file(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "early_hints")

    heads = raw_answer(fal, url).split(b"\r\n\r\n")

    assert heads[0].startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert heads[1].startswith(b"HTTP/1.1 200 OK\r\n")
    fal.fault("cdn", "early_hints")
    assert fal.http.get(url).status_code == 200


def raw_answer(fal: Fal, url: str) -> bytes:
    """What comes over the wire, through the proxy's tunnel."""
    host = httpx.URL(url).host
    with socket.create_connection(("127.0.0.1", fal.proxy_port), 10) as plain:
        plain.sendall(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
        assert plain.recv(4096).startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain, server_hostname=host) as wire:
            request = f"GET {httpx.URL(url).path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            wire.sendall(f"{request}\r\n".encode())
            return b"".join(iter(lambda: wire.recv(65_536), b""))


def test_a_file_can_be_announced_before_it_is_there(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "not_yet", seconds=0.6, times=None)

    assert fal.http.get(url).status_code == 404
    until(lambda: fal.http.get(url).status_code == 200)


@pytest.mark.parametrize(
    ("form", "mark"), [("escaped_slash", "%2F"), ("non_ascii", "é"), ("leading_space", " https:")]
)
def test_a_video_can_lie_at_an_odd_address_and_is_there(fal: Fal, form: str, mark: str) -> None:
    fal.fault("cdn", "odd_url", form=form)

    video = fal.run()["result"]["video"]

    assert mark in video["url"]
    assert len(fal.http.get(video["url"].strip()).content) == video["file_size"]


def test_a_video_can_be_reported_with_a_wrong_length(fal: Fal) -> None:
    fal.fault("render", "file_size", bytes=100)

    video = fal.run()["result"]["video"]

    assert video["file_size"] == 100 < len(fal.http.get(video["url"]).content)


MP4, MOV, WEBM = "X264 (.mp4)", "PRORES4444 (.mov)", "VP9 (.webm)"


@pytest.mark.parametrize(
    ("form", "output_type", "begins"),
    [
        ("free_first", MP4, b"free"),
        ("free_first", MOV, b"free"),
        ("wide_first", MP4, b"wide"),
        ("wide_first", MOV, b"wide"),
        ("styp_first", MP4, b"styp"),
        ("no_ftyp", MP4, b"moov"),
        ("no_ftyp", MOV, b"wide"),
        ("qt_brand", MP4, b"ftypqt  "),
        ("isom_brand", MOV, b"ftypisom"),
        ("late_doctype", WEBM, None),
    ],
)
def test_a_video_can_begin_otherwise_and_plays_all_the_same(
    fal: Fal, form: str, output_type: str, begins: bytes | None
) -> None:
    fal.fault("render", "container", form=form)

    video = fal.run(video_output_type=output_type)["result"]["video"]

    data = fal.http.get(video["url"]).content
    assert len(data) == video["file_size"]
    if begins is None:
        assert data.index(b"webm") > 64
    else:
        assert data[4:].startswith(begins)
    with av.open(io.BytesIO(data), "r") as film:
        assert len(list(film.decode(video=0))) == 24
        film.seek(0)
        assert len(list(film.decode(audio=0))) > 0


def test_a_form_of_another_container_fails_the_run(fal: Fal) -> None:
    fal.fault("render", "container", form="late_doctype")

    record = fal.run()

    assert record["status_code"] == 500
    assert "late_doctype is a form of webm" in record["result"]["detail"][0]["msg"]


@pytest.mark.parametrize(
    ("asked", "codec", "content_type"), [(MP4, "vp9", "video/webm"), (MOV, "h264", "video/mp4")]
)
def test_a_video_can_come_in_another_container_than_was_asked_for(
    fal: Fal, asked: str, codec: str, content_type: str
) -> None:
    fal.fault("render", "other_container")

    video = fal.run(video_output_type=asked)["result"]["video"]

    assert video["content_type"] == content_type
    with av.open(io.BytesIO(fal.http.get(video["url"]).content), "r") as film:
        assert film.streams.video[0].codec_context.name == codec


# where the key is seen


def test_the_key_is_counted_wherever_it_is_seen(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.http.get(url, headers=fal.headers)
    fal.http.get(url)
    for _ in range(2):
        httpx.get("http://queue.fal.run/x", proxy=fal.proxy, headers=fal.headers, trust_env=False)

    seen = fal.control.get("/requests").json()["keys_seen"]

    assert seen == {
        "https://queue.fal.run": 1,
        "https://v3b.fal.media": 1,
        "http://queue.fal.run": 2,
    }
    fal.control.post("/reset")
    assert fal.control.get("/requests").json()["keys_seen"] == {}


# storage


def upload(client: fal_client.SyncClient, body: bytes, seconds: int | None = 3600) -> str:
    """As fal's own client does it, to the storage that it tries first, and to no other."""
    lifecycle = fal_client.StorageSettings(expires_in=seconds) if seconds else None
    with closing_what_it_leaves_open(client):
        return client.upload(
            body, "audio/wav", "job-1.wav", lifecycle=lifecycle, fallback_repository=[]
        )


@contextlib.contextmanager
def closing_what_it_leaves_open(client: fal_client.SyncClient) -> Iterator[None]:
    with client._get_cdn_client() as cdn, pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client), "_get_cdn_client", lambda _: cdn)
        yield


def uploads(fal: Fal) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = fal.control.get("/requests").json()["uploads"]
    return listed


def test_fals_own_client_uploads_and_a_runner_reads_the_copy(
    fal: Fal, client: fal_client.SyncClient
) -> None:
    sound = a_sound(2)

    url = upload(client, sound)
    done = fal.run(audio_url=url, image_url=None)

    assert re.fullmatch(r"https://v3b\.fal\.media/files/b/[0-9a-f]{8}/[\w-]+_job-1\.wav", url)
    assert (done["status_code"], done["result"]["video"]["num_frames"]) == (200, 48)
    (copy,) = uploads(fal)
    assert (copy["name"], copy["content_type"], copy["authorization"]) == (
        "job-1.wav",
        "audio/wav",
        "Bearer",
    )
    assert (copy["size"], copy["sha256"]) == (len(sound), hashlib.sha256(sound).hexdigest())
    assert copy["expires_at"] - copy["at"] == pytest.approx(3600, abs=1)
    assert [(read["by"], read["status_code"]) for read in copy["reads"]] == [("runner", 200)]


def test_a_copy_is_public_until_its_life_ends(fal: Fal, client: fal_client.SyncClient) -> None:
    url, forever = upload(client, b"a short one", 1), upload(client, b"a long one", None)

    before = fal.http.get(url)
    until(lambda: fal.http.get(url).status_code == 404)
    done = fal.run(audio_url=url)

    assert (before.status_code, before.content) == (200, b"a short one")
    assert done["result"]["detail"][0]["type"] == "file_download_error"
    assert fal.http.get(forever).content == b"a long one"


def test_a_copy_with_an_acl_is_not_read_by_its_address_alone(
    fal: Fal, client: fal_client.SyncClient
) -> None:
    answers = []
    for decision in ("forbid", "hide"):
        acl = fal_client.StorageACL(default=decision)
        lifecycle = fal_client.StorageSettings(expires_in=60, initial_acl=acl)
        with closing_what_it_leaves_open(client):
            url = client.upload(a_sound(1), "audio/wav", "a.wav", lifecycle=lifecycle)
        answers.append((fal.http.get(url).status_code, fal.run(audio_url=url)["status_code"]))

    assert answers == [(403, 422), (404, 422)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": f"Key {KEY}"}, 401),
        ({"Authorization": "Bearer made-up"}, 401),
    ],
)
def test_an_upload_wants_the_token_and_not_the_key(
    fal: Fal, headers: dict[str, str], status: int
) -> None:
    answer = fal.http.post("https://v3.fal.media/files/upload", content=b"x", headers=headers)

    assert (answer.status_code, uploads(fal)) == (status, [])


def test_a_token_wants_the_key_and_the_storage_that_is_played(fal: Fal) -> None:
    url = "https://rest.fal.ai/storage/auth/token"

    strange = fal.http.post(url, params={"storage_type": "gcs"}, headers=fal.headers)
    keyless = fal.http.post(url, params={"storage_type": "fal-cdn-v3"})
    read = fal.http.get(url, headers=fal.headers)

    assert (strange.status_code, keyless.status_code, read.status_code) == (422, 401, 405)


@pytest.mark.parametrize(
    "lifecycle",
    [
        "no JSON",
        "[]",
        '{"expiration_duration_seconds": 0}',
        '{"initial_acl": {"default": "maybe"}}',
    ],
)
def test_a_lifecycle_that_means_nothing_is_refused(fal: Fal, lifecycle: str) -> None:
    sign_in = "https://rest.fal.ai/storage/auth/token?storage_type=fal-cdn-v3"
    token = fal.http.post(sign_in, headers=fal.headers).json()["token"]
    headers = {"Authorization": f"Bearer {token}", "X-Fal-Object-Lifecycle": lifecycle}

    answer = fal.http.post("https://v3.fal.media/files/upload", content=b"x", headers=headers)

    assert (answer.status_code, uploads(fal)) == (422, [])


def test_storage_fails_as_it_is_told(fal: Fal, client: fal_client.SyncClient) -> None:
    fal.fault("storage", "status", code=401, call="token")
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        upload(client, b"x")
    fal.fault("storage", "status", code=413)
    with pytest.raises(fal_client.FalClientHTTPError):
        upload(client, b"x")
    fal.fault("storage", "drop")
    with pytest.raises(httpx.TransportError):
        upload(client, b"x")
    fal.fault("storage", "delay", seconds=0.2)
    started = time.monotonic()
    upload(client, b"late")
    assert time.monotonic() - started >= 0.2
    fal.fault("storage", "expired")
    assert fal.http.get(upload(client, b"gone")).status_code == 404
    assert [copy["size"] for copy in uploads(fal)] == [4, 4]


# the proxy, the control API, the process


def test_the_proxy_leads_to_fal_and_nowhere_else(fal: Fal) -> None:
    for url in ("https://example.com/", "https://queue.fal.run:8443/"):
        with pytest.raises(httpx.ProxyError, match="403"):
            fal.http.get(url)
    refused = fal.control.get("/requests").json()["refused_hosts"]
    assert refused == {"example.com:443": 1, "queue.fal.run:8443": 1}
    plain = httpx.get(f"{fal.proxy}/", trust_env=False)
    assert (plain.status_code, "CONNECT" in plain.text) == (405, True)


def test_no_signature_token_or_key_is_shown_or_logged(fal: Fal) -> None:
    headers = {"X-Fal-Tags": "job=1", "x-app-fal-upload-policy": '{"policy": "hush"}'}
    request_id = fal.submit(headers=headers)
    fal.deliveries()

    record = fal.record(request_id)
    shown = json.dumps(record) + fal.log.read_text()
    for secret in ("hush", "secret-token", "key-secret"):
        assert secret not in shown
    assert record["arguments"]["audio_url"].endswith("/drop/a.wav?…")
    assert record["webhook_url"].endswith("/webhooks/fal/job-1/…")
    assert record["headers"]["x-fal-tags"] == "job=1"


def test_a_rule_is_counted_and_matched_by_the_prompt(fal: Fal) -> None:
    fal.fault("render", "error", times=2, match={"prompt_contains": "unlucky"})

    codes = [fal.run(prompt=p)["status_code"] for p in ("unlucky", "lucky", "unlucky", "unlucky")]

    assert codes == [200 if p == "lucky" else 500 for p in ("unlucky", "lucky", "unlucky")] + [200]
    (rule,) = fal.control.get("/faults").json()["faults"]
    assert (rule["struck"], rule["times"]) == (2, 2)


def test_a_rule_that_does_not_exist_is_refused_with_what_does(fal: Fal) -> None:
    wrong = [{"stage": "webhook", "action": "never"}, {"stage": "webhook", "action": "vanish"}]

    answer = fal.control.post("/faults", json=wrong)

    assert answer.status_code == 400
    assert "duplicate, never" in answer.json()["error"]
    assert fal.control.get("/faults").json() == {"faults": []}
    assert fal.control.post("/faults", content=b"{").status_code == 400


def test_a_reset_forgets_the_requests(fal: Fal) -> None:
    fal.fault("queue", "delay", seconds=30)
    request_id = fal.submit()

    fal.control.post("/reset")

    health = fal.control.get("/health").json()
    assert (health["status"], health["requests"], health["waiting"]) == ("ok", 0, 0)
    assert fal.control.get(f"/requests/{request_id}").status_code == 404


def test_a_result_lives_for_an_hour_and_a_large_one_for_six_minutes(
    papers: Papers, emulator: Emulator
) -> None:
    emulator.files, emulator.deliveries = {"a.wav": a_sound(0.4)}, []
    emulator.answers[:] = [503] * 200
    short = Fal(
        papers, emulator, "--result-lifetime", "2", "--run-seconds", "0", "--retry-seconds", "0.05"
    )
    with contextlib.closing(short):
        large = short.submit(prompt="long " * 2500)
        small = short.submit(hook=None)
        short.finished(small)
        until(lambda: short.call(large).status_code == 404, 1)
        assert short.call(small).status_code == 200
        until(lambda: short.call(small).status_code == 404, 4)
        assert short.call(small, "/status").json()["status"] == "COMPLETED"
        tried = short.record(large)["deliveries"]
        assert 1 <= len(tried) < 4
    emulator.answers.clear()


def test_a_port_in_use_is_one_sentence(papers: Papers, fal: Fal) -> None:
    wanted = command(papers, 1, "--proxy-port", str(fal.proxy_port))

    ended = subprocess.run(  # noqa: S603 - our own command line
        wanted, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr == f"Port {fal.proxy_port} is already in use; choose another.\n"


def test_sigterm_ends_it_at_once_in_the_middle_of_a_rendering(
    papers: Papers, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.files = {"a.wav": a_sound(8)}
    busy = Fal(papers, emulator, "--files", str(tmp_path / "videos"))
    with contextlib.closing(busy):
        request_id = busy.submit(video_size={"width": 2048, "height": 2048}, fps=60)
        video = tmp_path / "videos" / f"{request_id}.mp4"
        until(video.exists)

        started = time.monotonic()
        busy.process.send_signal(signal.SIGTERM)
        assert busy.process.wait(5) == 0

    assert time.monotonic() - started < 1
    assert [path for path in video.parent.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("action", ["delay", "drip"])
def test_sigterm_ends_it_at_once_in_the_middle_of_an_answer(
    papers: Papers, emulator: Emulator, action: str
) -> None:
    busy = Fal(papers, emulator)
    with contextlib.closing(busy):
        busy.fault("submit", action, seconds=30)
        answer = threading.Thread(target=post_until_the_end, args=(busy,))
        answer.start()
        until(lambda: busy.control.get("/requests").json()["requests"])

        started = time.monotonic()
        busy.process.send_signal(signal.SIGTERM)
        assert busy.process.wait(5) == 0

    assert time.monotonic() - started < 1
    answer.join(5)


def post_until_the_end(fal: Fal) -> None:
    with contextlib.suppress(httpx.TransportError):
        fal.post()


def test_a_system_of_ones_own_is_reached_where_a_port_was_named(
    papers: Papers, emulator: Emulator
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        led = Fal(papers, emulator, "--subscriber-port", str(port))
        try:
            with socket.create_connection(("127.0.0.1", led.proxy_port)) as client:
                client.sendall(b"CONNECT subscriber.example.com:443 HTTP/1.1\r\n\r\nhello")
                here, _ = listener.accept()
                with here:
                    assert here.recv(5) == b"hello"
        finally:
            led.close()


def test_a_system_of_ones_own_is_unknown_otherwise(fal: Fal) -> None:
    with pytest.raises(httpx.ProxyError, match="403"):
        fal.http.get("https://subscriber.example.com/")
