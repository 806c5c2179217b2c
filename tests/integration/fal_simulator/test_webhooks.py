"""The webhooks of the simulator, and their faults."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.fal_simulator.simulator import USER, Fal, signed, until

pytestmark = pytest.mark.enable_socket

# webhooks


def test_a_refused_webhook_is_sent_again_with_a_fresh_signature(fal: Fal) -> None:
    fal.emulator.answers[:] = [503, 401, 404]
    request_id = fal.submit()

    messages = fal.webhooks(4)
    until(lambda: len(fal.record(request_id)["deliveries"]) == 4)
    assert all(signed(message, fal.keys()) for message in messages)
    records = fal.record(request_id)["deliveries"]
    assert [r["status_code"] for r in records] == [503, 401, 404, 200]
    assert [r["attempt"] for r in records] == [1, 2, 3, 4]
    assert [r["settled"] for r in records] == [False, False, False, True]


def test_a_redirect_ends_the_webhook(fal: Fal) -> None:
    fal.emulator.answers[:] = [307]
    request_id = fal.submit()

    fal.webhooks()
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
    assert fal.emulator.webhooks == []


def test_the_control_api_sends_a_webhook_again(fal: Fal) -> None:
    request_id = fal.submit()
    fal.webhooks()

    again = fal.control.post(f"/requests/{request_id}/deliver").json()

    assert again["kind"] == "delivered"
    assert fal.emulator.webhooks[0].body == fal.emulator.webhooks[1].body


def test_there_is_nothing_to_send_before_the_end(fal: Fal) -> None:
    fal.fault("queue", "delay", seconds=30)
    request_id = fal.submit()

    assert fal.control.post(f"/requests/{request_id}/deliver").status_code == 409
    assert fal.control.post("/requests/unknown/deliver").status_code == 404


# faults of the webhook


def test_an_early_webhook_arrives_before_the_submit_answer(fal: Fal) -> None:
    fal.fault("webhook", "early")

    request_id = fal.submit()

    assert fal.emulator.webhooks[0].json["request_id"] == request_id


def test_a_duplicated_webhook_arrives_again(fal: Fal) -> None:
    fal.fault("webhook", "duplicate", count=2)

    fal.submit()

    bodies = {message.body for message in fal.webhooks(3)}
    assert len(bodies) == 1


def test_a_webhook_can_be_lost(fal: Fal) -> None:
    fal.fault("webhook", "never")

    request_id = fal.submit()

    (record,) = until(lambda: fal.record(request_id)["deliveries"])
    assert record["kind"] == "withheld"
    assert fal.emulator.webhooks == []


def test_a_delayed_webhook_comes_late(fal: Fal) -> None:
    fal.fault("webhook", "delay", seconds=0.3)

    done = fal.finished(fal.submit())

    assert fal.emulator.webhooks == []
    fal.webhooks()
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
def test_a_webhook_with_a_flaw_has_that_flaw_only_and_the_retry_none(
    fal: Fal, rule: dict[str, Any], verifies: bool, flaw: str | None
) -> None:
    fal.fault("webhook", **rule)
    fal.emulator.answers[:] = [401]

    request_id = fal.submit()

    flawed, audio = fal.webhooks(2)
    assert signed(flawed, fal.keys()) is verifies
    assert signed(audio, fal.keys())
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

    body = fal.webhooks()[0].json
    assert (body["status"], body["payload"]) == (status, None)
    assert body["payload_error"].startswith("Response payload is not JSON serializable")
    assert body["error"] == (None if status == "OK" else "Invalid status code: 404")
    assert "video" in fal.call(request_id).json()


def test_a_run_that_fal_retried_has_another_gateway_id(fal: Fal) -> None:
    fal.fault("render", "retried")

    request_id = fal.submit()

    body = fal.webhooks()[0].json
    assert body["request_id"] == request_id != body["gateway_request_id"]
