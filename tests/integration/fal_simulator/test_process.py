"""The process: its proxy, its control API, its signals, and what it logs."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.fal_simulator.simulator import (
    Emulator,
    Fal,
    Papers,
    a_sound,
    command,
    until,
)
from tests.support.template import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.enable_socket

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
    fal.webhooks()

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
    emulator.files, emulator.webhooks = {"a.wav": a_sound(0.4)}, []
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
