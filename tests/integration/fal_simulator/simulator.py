"""A simulator process, and a TLS server that serves files to it and records its webhooks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import math
import ssl
import struct
import subprocess
import sys
import time
import wave
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import httpx
import pytest
import trustme
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from local.cloud.certificates import FAL_HOSTS
from tests.support.template import ROOT

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable
    from pathlib import Path


ENDPOINT = "fal-ai/ltx-2.3-22b/distilled/audio-to-video"
KEY = "key-id:key-secret"
USER = "github|1234"
HOOK = "https://abcd1234.execute-api.us-east-1.amazonaws.com/webhooks/fal/job-1/secret-token"
SMALL = {"width": 64, "height": 48}
HOSTS = (*FAL_HOSTS, "localhost")


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
class Webhook:
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
    webhooks: list[Webhook] = field(default_factory=list)
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
        self.webhooks.append(Webhook(request.host, request.path, dict(request.headers), body))
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

    def webhooks(self, count: int = 1) -> list[Webhook]:
        until(lambda: len(self.emulator.webhooks) >= count)
        return self.emulator.webhooks

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


def signed(webhook: Webhook, keys: list[Ed25519PublicKey]) -> bool:
    headers = webhook.headers
    names = ("Request-Id", "User-Id", "Timestamp")
    parts = [headers[f"X-Fal-Webhook-{name}"] for name in names]
    message = "\n".join([*parts, hashlib.sha256(webhook.body).hexdigest()]).encode()
    for key in keys:
        with contextlib.suppress(InvalidSignature):
            key.verify(bytes.fromhex(headers["X-Fal-Webhook-Signature"]), message)
            return True
    return False
