"""What fal, the network and strangers do wrong, on the deployed stack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phonoscene.fal.webhook_signature import sign

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene


@pytest.mark.parametrize("forgery", ["unsigned", "signed by a stranger", "signed long ago"])
def test_a_forged_webhook_is_answered_401_and_says_no_more(
    phonoscene: Phonoscene, name: str, forgery: str
) -> None:
    phonoscene.drop(name)
    job = phonoscene.take(name)
    body = b'{"request_id": "r", "status": "OK", "payload": {}}'
    at = int(time.time()) - (86_400 if forgery == "signed long ago" else 0)
    headers = sign(Ed25519PrivateKey.generate(), "r", "somebody", at, body)
    path = f"/webhooks/fal/{job['job_id']}/{'A' * 43}"

    answer = phonoscene.call(path, {} if forgery == "unsigned" else headers, body)

    assert answer == (401, b"")


@pytest.mark.parametrize(
    "action", ["forged", "wrong_key", "stale", "foreign_tenant", "header_mismatch"]
)
def test_a_delivery_that_proves_nothing_is_refused_and_the_next_one_is_believed(
    phonoscene: Phonoscene, name: str, action: str
) -> None:
    prompt = _prepared(phonoscene, name, "webhook", action)

    job = phonoscene.take(name)

    assert job["status"] == "SUCCEEDED"
    assert _answers(phonoscene, prompt)[:2] == [401, 202]


def test_a_webhook_that_comes_twice_stores_one_version(phonoscene: Phonoscene, name: str) -> None:
    prompt = _prepared(phonoscene, name, "webhook", "duplicate", count=3)

    job = phonoscene.take(name)
    request = phonoscene.requests(prompt)[0]["request_id"]
    phonoscene.control("POST", f"/requests/{request}/deliver")
    time.sleep(1)

    assert len(phonoscene.versions(f"{name}/{job['job_id']}.mp4")) == 1
    assert _answers(phonoscene, prompt).count(202) >= 2


def test_a_lost_answer_is_never_sent_again_and_the_webhook_settles_it(
    phonoscene: Phonoscene, name: str
) -> None:
    prompt = _prepared(phonoscene, name, "submit", "lost_response")

    job = phonoscene.take(name)

    assert job["status"] == "SUCCEEDED"
    assert len(phonoscene.requests(prompt)) == 1


def test_a_webhook_that_overtakes_the_answer_is_no_trouble(
    phonoscene: Phonoscene, name: str
) -> None:
    prompt = _prepared(phonoscene, name, "submit", "delay", seconds=3)

    job = phonoscene.take(name)

    assert job["status"] == "SUCCEEDED"
    assert "SUBMITTED" not in [step["status"] for step in job["history"]]
    assert len(phonoscene.requests(prompt)) == 1


@pytest.mark.parametrize(
    ("stage", "action", "parameters"),
    [
        ("webhook", "payload_error", {"status": "OK"}),
        ("cdn", "no_ranges", {}),
        ("cdn", "reset", {"bytes": 1000}),
    ],
)
def test_an_awkward_answer_still_becomes_a_video(
    phonoscene: Phonoscene, name: str, stage: str, action: str, parameters: dict[str, Any]
) -> None:
    prompt = _prepared(phonoscene, name, stage, action, **parameters)

    job = phonoscene.take(name)

    assert job["status"] == "SUCCEEDED"
    assert len(phonoscene.requests(prompt)) == 1


@pytest.mark.parametrize(
    ("stage", "action", "parameters", "code"),
    [
        ("audio", "unsupported", {}, "unsupported_audio_format"),
        ("render", "error", {"type": "content_policy_violation"}, "content_policy_violation"),
        ("cdn", "wrong_host", {}, "video_url_refused"),
    ],
)
def test_a_failure_is_told_with_its_reason(
    phonoscene: Phonoscene,
    name: str,
    stage: str,
    action: str,
    parameters: dict[str, Any],
    code: str,
) -> None:
    prompt = _prepared(phonoscene, name, stage, action, **parameters)

    job = phonoscene.take(name)

    assert job["status"] == "FAILED"
    assert [error["code"] for error in job["errors"]] == [code]
    assert len(phonoscene.requests(prompt)) == 1


def _prepared(phonoscene: Phonoscene, name: str, stage: str, action: str, **parameters: Any) -> str:
    """Drop a pair for whose request fal misbehaves."""
    return phonoscene.drop(name, (stage, action, parameters))


def _answers(phonoscene: Phonoscene, prompt: str) -> list[int]:
    """What our address answered to each delivery."""
    (request,) = phonoscene.requests(prompt)
    return [delivery["status_code"] for delivery in request["deliveries"]]
