"""What fal, the network and strangers do wrong, on the deployed stack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phonoscene.fal.webhook_signature import sign

if TYPE_CHECKING:
    from tests.support.local_stack import Fault, Phonoscene

FORGERIES = ("unsigned", "signed by a stranger", "signed long ago")
UNPROVEN = ("forged", "wrong_key", "stale", "foreign_tenant", "header_mismatch")
AWKWARD: dict[str, Fault] = {
    "a result left out": ("webhook", "payload_error", {"status": "OK"}),
    "no ranges": ("cdn", "no_ranges", {}),
    "a reset": ("cdn", "reset", {"bytes": 1000}),
}
#: Each fault with the code of the job's error.
FAILURES: dict[str, Fault] = {
    "unsupported_audio_format": ("audio", "unsupported", {}),
    "content_policy_violation": ("render", "error", {"type": "content_policy_violation"}),
    "video_url_refused": ("cdn", "wrong_host", {}),
}
#: What is dropped at once, with what fal does wrong for its request.
FAULTS: dict[str, Fault | None] = {
    **dict.fromkeys(FORGERIES),
    **{action: ("webhook", action, {}) for action in UNPROVEN},
    "twice": ("webhook", "duplicate", {"count": 3}),
    "a lost answer": ("submit", "lost_response", {}),
    **AWKWARD,
    **FAILURES,
}


@pytest.fixture(scope="module")
def prompts(phonoscene: Phonoscene) -> dict[str, str]:
    """All drops at once, so that their waits overlap; the prompt of each."""
    return {
        name: phonoscene.drop(_in_bucket(name), *([fault] if fault else []))
        for name, fault in FAULTS.items()
    }


def _in_bucket(name: str) -> str:
    return f"faults/{name}"


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.usefixtures("prompts")
def test_a_forged_webhook_is_answered_401_and_says_no_more(
    phonoscene: Phonoscene, forgery: str
) -> None:
    job = phonoscene.take(_in_bucket(forgery))
    body = b'{"request_id": "r", "status": "OK", "payload": {}}'
    at = int(time.time()) - (86_400 if forgery == "signed long ago" else 0)
    headers = sign(Ed25519PrivateKey.generate(), "r", "somebody", at, body)
    path = f"/webhooks/fal/{job['job_id']}/{'A' * 43}"

    answer = phonoscene.call(path, {} if forgery == "unsigned" else headers, body)

    assert answer == (401, b"")


@pytest.mark.parametrize("action", UNPROVEN)
def test_a_delivery_that_proves_nothing_is_refused_and_the_next_one_is_believed(
    phonoscene: Phonoscene, prompts: dict[str, str], action: str
) -> None:
    job = phonoscene.take(_in_bucket(action))

    assert job["status"] == "SUCCEEDED"
    assert _answers(phonoscene, prompts[action])[:2] == [401, 202]


def test_a_webhook_that_comes_twice_stores_one_version(
    phonoscene: Phonoscene, prompts: dict[str, str]
) -> None:
    job = phonoscene.take(_in_bucket("twice"))
    request = phonoscene.requests(prompts["twice"])[0]["request_id"]
    phonoscene.control("POST", f"/requests/{request}/deliver")
    time.sleep(1)

    assert len(phonoscene.versions(f"{_in_bucket('twice')}/{job['job_id']}.mp4")) == 1
    assert _answers(phonoscene, prompts["twice"]).count(202) >= 2


def test_a_lost_answer_is_never_sent_again_and_the_webhook_settles_it(
    phonoscene: Phonoscene, prompts: dict[str, str]
) -> None:
    job = phonoscene.take(_in_bucket("a lost answer"))

    assert job["status"] == "SUCCEEDED"
    assert len(phonoscene.requests(prompts["a lost answer"])) == 1


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_answer_still_becomes_a_video(
    phonoscene: Phonoscene, prompts: dict[str, str], name: str
) -> None:
    job = phonoscene.take(_in_bucket(name))

    assert job["status"] == "SUCCEEDED"
    assert len(phonoscene.requests(prompts[name])) == 1


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_is_told_with_its_reason(
    phonoscene: Phonoscene, prompts: dict[str, str], code: str
) -> None:
    job = phonoscene.take(_in_bucket(code))

    assert job["status"] == "FAILED"
    assert [error["code"] for error in job["errors"]] == [code]
    assert len(phonoscene.requests(prompts[code])) == 1


def test_a_webhook_that_overtakes_the_answer_is_no_trouble(
    phonoscene: Phonoscene, name: str
) -> None:
    prompt = phonoscene.drop(name, ("submit", "delay", {"seconds": 3}))  # fal is idle by now

    job = phonoscene.take(name)

    assert job["status"] == "SUCCEEDED"
    assert "SUBMITTED" not in [step["status"] for step in job["history"]]
    assert len(phonoscene.requests(prompt)) == 1


def _answers(phonoscene: Phonoscene, prompt: str) -> list[int]:
    """What our address answered to each delivery."""
    (request,) = phonoscene.requests(prompt)
    return [delivery["status_code"] for delivery in request["deliveries"]]
