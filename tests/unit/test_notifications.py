"""Signed as Standard Webhooks wants it, by its package's word and by hand; tried when it says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from phonoscene.errors import NotificationMalformed, SecretUnusable
from phonoscene.publishing.endpoint import MAX_SECONDS
from phonoscene.publishing.event_webhooks import MAX_PAUSE, PAUSES, Notification, pause_after
from tests.support.schemas import EVENTS
from tests.support.stack import webhook_secret
from tests.support.template import ROOT, of_type

SAMPLE = (EVENTS / "job-status-changed.json").read_text()
HOUR = 3600
#: SQS's longest, since the receipt of a message.
MAX_HIDDEN = 12 * HOUR


def now() -> datetime:
    return datetime.now(UTC)


def test_the_reference_package_believes_what_is_sent() -> None:
    secret, notification = webhook_secret(), Notification.of(SAMPLE)

    answer = Webhook(secret).verify(notification.body, notification.headers(secret, now()))

    detail = json.loads(SAMPLE)["detail"]
    assert answer == {"type": "job.status_changed", "timestamp": detail["at"], "data": detail}


def test_the_signature_is_the_one_that_the_standard_describes() -> None:
    raw, notification = secrets.token_bytes(32), Notification.of(SAMPLE)
    secret = "whsec_" + base64.b64encode(raw).decode()

    headers = notification.headers(secret, datetime(2026, 11, 24, 12, tzinfo=UTC))

    signed = f"{headers['webhook-id']}.1795521600.{notification.body}".encode()
    expected = base64.b64encode(hmac.digest(raw, signed, hashlib.sha256)).decode()
    assert headers["webhook-timestamp"] == "1795521600"
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.fixture
def is_genuine() -> Any:
    """The function of docs/reference.md."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/reference.md").read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102 - the docs' own
    return found["is_genuine"]


def test_the_function_of_the_docs_believes_what_is_sent_and_nothing_else(is_genuine: Any) -> None:
    secret, old, notification = webhook_secret(), webhook_secret(), Notification.of(SAMPLE)
    body, headers = notification.body.encode(), notification.headers(f"{secret} {old}", now())

    assert is_genuine(secret, headers, body)
    assert is_genuine(old, headers, body)
    assert not is_genuine(webhook_secret(), headers, body)
    assert not is_genuine(secret, headers, body + b" ")
    assert not is_genuine(secret, headers | {"webhook-id": "0" * 32}, body)
    for late in (-6, 6):
        at = now() + timedelta(minutes=late)
        assert not is_genuine(secret, notification.headers(secret, at), body)


def test_two_posts_at_most_run_at_once_and_a_secret_is_kept_for_five_minutes() -> None:
    text = (ROOT / "docs/reference.md").read_text()
    queue = of_type("AWS::Serverless::Function")["NotifyFunction"]["Events"]["Notifications"]
    at_once = queue["Properties"]["ScalingConfig"]["MaximumConcurrency"]
    kept = re.search(
        r"^KEPT_FOR = (\d+)$", (ROOT / "functions/notify/app.py").read_text(), re.MULTILINE
    )

    assert (at_once, MAX_SECONDS) == (2, 20)
    assert f"gets about {at_once * 60} events" in text
    assert f"takes {MAX_SECONDS:.0f} s gets {at_once * 60 / MAX_SECONDS:.0f}." in text
    assert kept
    assert int(kept[1]) == 5 * 60


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_what_is_changed_on_its_way_is_not_believed(changed: str) -> None:
    secret, notification = webhook_secret(), Notification.of(SAMPLE)
    headers = notification.headers(secret, now())
    headers[changed] = headers[changed][:-2] + ("11" if headers[changed].endswith("00") else "00")

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(notification.body, headers)


def test_what_is_sent_again_has_the_same_id_and_body_and_the_time_of_its_attempt() -> None:
    secret = webhook_secret()
    first, again = Notification.of(SAMPLE), Notification.of(SAMPLE)

    before = first.headers(secret, now() - timedelta(hours=3))
    after = again.headers(secret, now())

    assert (first.id, first.body) == (again.id, again.body)
    assert before["webhook-id"] == after["webhook-id"] == json.loads(SAMPLE)["detail"]["id"]
    assert int(after["webhook-timestamp"]) - int(before["webhook-timestamp"]) >= 3 * HOUR
    Webhook(secret).verify(again.body, after)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(first.body, before)


def test_while_a_secret_is_replaced_either_is_good() -> None:
    old, new, other = webhook_secret(24), webhook_secret(64), webhook_secret()
    notification = Notification.of(SAMPLE)

    headers = notification.headers(f" {new}\n{old} ", now())

    for secret in (old, new):
        Webhook(secret).verify(notification.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(notification.body, headers)


UNUSABLE = {
    "none": "",
    "blank": "  ",
    "a prefix": "whsec_",
    "a word": "secret",
    "no prefix": webhook_secret()[6:],
    "too short": webhook_secret(23),
    "too long": webhook_secret(65),
    "no base64": webhook_secret() + "!",
    "another kind": "whsk_" + webhook_secret()[6:],
    "one good and one bad": f"{webhook_secret()} whsec_short",
}


@pytest.mark.parametrize("secret", UNUSABLE.values(), ids=UNUSABLE)
def test_without_a_good_secret_nothing_is_signed_and_none_is_shown(secret: str) -> None:
    with pytest.raises(SecretUnusable) as refused:
        Notification.of(SAMPLE).headers(secret, now())

    answer = str(refused.value)
    assert not any(part in answer for part in secret.split() if len(part) > len("whsec_short"))


def test_padding_may_be_left_out_of_webhook_secret() -> None:
    secret, notification = webhook_secret(25), Notification.of(SAMPLE)

    headers = notification.headers(secret.rstrip("="), now())

    Webhook(secret).verify(notification.body, headers)


def changed(**detail: Any) -> str:
    event = json.loads(SAMPLE)
    event["detail"] |= detail
    return json.dumps(event)


@pytest.mark.parametrize(
    "event",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"detail": 7}',
        '{"detail": {}}',
        changed(id="a.b"),
        changed(id=7),
        changed(id="A" * 32),
    ],
)
def test_what_is_no_event_of_ours_is_not_sent(event: str) -> None:
    with pytest.raises(NotificationMalformed):
        Notification.of(event)


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_what_a_newer_release_tells_is_passed_on_as_it_is(more: dict[str, Any]) -> None:
    event = json.loads(SAMPLE)
    event["detail"] = more | event["detail"]

    data = json.loads(Notification.of(json.dumps(event)).body)

    assert data["data"] == event["detail"]


# When it is tried again


def test_the_tries_are_the_standards_and_last_as_long() -> None:
    standard = [5, 5 * 60, 30 * 60, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]

    assert list(PAUSES[:6]) == standard[:6]
    assert max(PAUSES) == MAX_HIDDEN
    assert 0 <= sum(PAUSES) - sum(standard) < 3 * HOUR


def test_the_queue_gives_a_message_up_after_the_last_of_them() -> None:
    policy = of_type("AWS::SQS::Queue")["NotificationsQueue"]["RedrivePolicy"]

    assert policy["maxReceiveCount"] == len(PAUSES) + 1


@given(st.integers(1, len(PAUSES)), st.integers(0, 10**6))
def test_a_pause_is_near_the_schedules_or_what_is_asked_for_and_what_sqs_allows(
    tries: int, retry_after: int
) -> None:
    pause = pause_after(tries, retry_after)

    planned = PAUSES[tries - 1]
    assert pause <= MAX_PAUSE < MAX_HIDDEN
    assert pause >= min(planned * 0.9 - 1, MAX_PAUSE)
    assert pause >= min(retry_after, MAX_PAUSE)
    assert pause <= max(planned * 1.1, retry_after)


@pytest.mark.parametrize("tries", [len(PAUSES) + 1, len(PAUSES) + 2])
def test_after_the_last_try_the_queue_has_the_message_back_at_once(tries: int) -> None:
    assert pause_after(tries, retry_after=600) == 0
