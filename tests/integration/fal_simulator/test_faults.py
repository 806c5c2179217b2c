"""Faults of the queue's answers, of runs and of the signing keys; answers not in fal's docs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.fal_simulator.simulator import ENDPOINT, HOOK, SMALL, Fal, signed, until

if TYPE_CHECKING:
    import fal_client

pytestmark = pytest.mark.enable_socket

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


def test_a_running_job_stops_on_cancel_only_if_a_rule_says_so(fal: Fal) -> None:
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
def test_a_run_can_fail_in_either_shape(
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


def test_an_audio_file_can_be_fetched_late(fal: Fal) -> None:
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

    message = fal.webhooks()[0]
    assert not signed(message, old)
    assert signed(message, fal.keys())


# answers that no one documents


def output_of(body: dict[str, Any]) -> Any:
    return body.get("video") or body.get("videos")


@pytest.mark.parametrize("by", ["webhook", "result"])
@pytest.mark.parametrize(
    ("form", "kind"),
    [("video_list", list), ("videos", list), ("url_text", str), ("empty", type(None))],
)
def test_an_output_can_have_another_form_once_and_is_whole_afterwards(
    fal: Fal, by: str, form: str, kind: type
) -> None:
    fal.fault(by, "malformed", form=form)
    request_id = fal.submit()
    (message,) = fal.webhooks()

    odd, audio = fal.call(request_id).json(), fal.call(request_id).json()

    fields = {"webhook": message.json["payload"], "result": odd}
    other = {"webhook": odd, "result": message.json["payload"]}
    assert isinstance(output_of(fields[by]), kind)
    assert isinstance(output_of(other[by]), dict)
    assert isinstance(output_of(audio), dict)
    assert signed(message, fal.keys())


@pytest.mark.parametrize(
    ("form", "mark"), [("surrogate", rb"\ud83c"), ("nan", b"NaN"), ("bom", b"\xef\xbb\xbf{")]
)
def test_an_output_can_be_text_that_strict_parsers_refuse(fal: Fal, form: str, mark: bytes) -> None:
    for stage in ("webhook", "result"):
        fal.fault(stage, "malformed", form=form)
    request_id = fal.submit()
    (message,) = fal.webhooks()

    fetched = fal.call(request_id).content

    assert mark in message.body
    assert signed(message, fal.keys())
    assert mark in fetched
    assert mark not in fal.call(request_id).content


def test_a_malformed_output_leaves_a_failure_as_it_is(fal: Fal) -> None:
    fal.emulator.files["a.wav"] = b"no sound"
    fal.fault("webhook", "malformed", form="empty")

    fal.submit()

    assert fal.webhooks()[0].json["payload"]["detail"][0]["type"] == "unsupported_audio_format"


def test_an_error_can_precede_the_success_of_the_same_request(fal: Fal) -> None:
    fal.fault("webhook", "error_first", seconds=0.2)

    request_id = fal.submit()

    first, second = fal.webhooks(2)
    assert [one.json["status"] for one in (first, second)] == ["ERROR", "OK"]
    assert {one.json["request_id"] for one in (first, second)} == {request_id}
    assert first.json["payload"]["error_type"] == "internal_error"
    assert all(signed(one, fal.keys()) for one in (first, second))
    kinds = [(one["kind"], one["fault"]) for one in fal.record(request_id)["deliveries"]]
    assert kinds == [("delivered", "error_first")] * 2


def test_a_webhook_can_call_a_result_unavailable_that_is_there(fal: Fal) -> None:
    fal.fault("webhook", "unavailable")

    request_id = fal.submit()

    body = fal.webhooks()[0].json
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

    data = fal.post(hook=None).json()

    urls = [data[name] for name in ("status_url", "response_url", "cancel_url")]
    assert all(url.startswith(address) for url in urls)
    assert fal.finished(data["request_id"])["status_code"] == 200


def test_a_submit_answer_can_name_no_address(fal: Fal) -> None:
    fal.fault("submit", "without_urls")

    data = fal.post(hook=None).json()

    assert not [name for name in data if name.endswith("_url")]
    assert fal.finished(data["request_id"])["status_code"] == 200


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
    ("rule", "answer"),
    [
        ({}, ...),
        ({"form": "null"}, None),
        ({"form": "no_url"}, {"prompt": "A cat sings", "video_size": SMALL}),
    ],
)
def test_a_list_can_leave_out_what_was_sent(fal: Fal, rule: dict[str, Any], answer: Any) -> None:
    fal.run()
    fal.fault("requests", "without_input", **rule)

    (odd,) = listed_requests(fal).json()["items"]

    assert odd.get("json_input", ...) == answer
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
