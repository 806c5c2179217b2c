"""Requests: submitted, queued, cancelled, failed and listed."""

from __future__ import annotations

import json
import time
from typing import Any

import fal_client
import fal_client.client
import httpx
import pytest

from tests.integration.fal_simulator.simulator import (
    ENDPOINT,
    HOOK,
    USER,
    Fal,
    a_sound,
    signed,
    until,
)

pytestmark = pytest.mark.enable_socket

# fal's own client


def test_fals_own_client_gets_a_video_and_the_webhook_is_signed(
    fal: Fal, client: fal_client.SyncClient
) -> None:
    handle = client.submit(ENDPOINT, arguments=fal.arguments(), webhook_url=HOOK)
    result = handle.get()

    message = fal.webhooks()[0]
    assert message.json["request_id"] == handle.request_id
    assert message.json["payload"] == result
    assert message.json["status"] == "OK"
    assert message.headers["X-Fal-Webhook-User-Id"] == USER
    assert signed(message, fal.keys())
    assert message.host == f"abcd1234.execute-api.localhost:{fal.emulator.port}"
    assert message.path == "/webhooks/fal/job-1/secret-token"


def test_the_webhook_body_is_spaced_and_sorted_as_the_observed_one(fal: Fal) -> None:
    fal.submit()

    body = fal.webhooks()[0].body
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


def test_the_audio_is_fetched_once_after_the_wait_with_its_query_untouched(fal: Fal) -> None:
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

    body = fal.webhooks()[0].json
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
def test_an_audio_file_that_cannot_be_used_is_an_error_webhook_with_fals_type(
    fal: Fal, url: str, kind: str
) -> None:
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"
    words = {"words.txt": b"only words", "list.m3u8": playlist, "long.wav": a_sound(8.1)}
    fal.emulator.files |= words

    fal.submit(audio_url=url.format(port=fal.emulator.port), fps=60)

    body = fal.webhooks()[0].json
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
