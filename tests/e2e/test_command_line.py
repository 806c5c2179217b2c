"""The command line, against the deployed stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from phonoscene.webhooks import Delivery
from phonoscene_cli.app import app
from phonoscene_cli.errors import CliError
from phonoscene_cli.redrive import DeadLetters, Letters, of_stack
from tests.e2e.conftest import FOLDER, eventually, make_audio
from tests.unit import schemas

if TYPE_CHECKING:
    from tests.e2e.conftest import Phonoscene


def phonoscene_says(*words: str) -> Any:
    """What a command prints as JSON."""
    asked = ["--endpoints", str(FOLDER / "endpoints.json"), *words, "--json"]
    answer = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


@pytest.mark.parametrize("letters", ["drops", "undelivered"])
def test_a_message_in_a_dead_letter_queue_is_brought_back_to_its_function(
    phonoscene: Phonoscene, name: str, letters: str
) -> None:
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    half = phonoscene.take(name, until={"WAITING"})
    output = {"drops": "DropsDeadLetterQueueUrl", "undelivered": "UndeliveredDropsQueueUrl"}
    phonoscene.send(output[letters], {"cancel": half["job_id"]})
    counted = phonoscene_says("redrive", letters, "--dry-run")

    moved = phonoscene_says("redrive", letters)

    assert counted == {letters: {"waiting": 1, "moved": 0}}
    assert moved == {letters: {"waiting": 1, "moved": 1}}
    assert phonoscene.take(name)["status"] == "CANCELLED"
    assert phonoscene_says("redrive", letters) == {letters: {"waiting": 0, "moved": 0}}


def test_an_event_that_lies_there_still_reaches_the_subscriber(
    phonoscene: Phonoscene, name: str
) -> None:
    event = json.loads((schemas.EVENTS / "job-status-changed.json").read_text())
    event["detail"]["name"] = name
    phonoscene.send("NotificationsDeadLetterQueueUrl", event)

    moved = phonoscene_says("redrive", "notifications")

    assert moved == {"notifications": {"waiting": 1, "moved": 1}}
    assert eventually(lambda: phonoscene.subscriber.states(name) == ["SUCCEEDED"])


def test_a_stack_without_a_subscriber_has_no_such_letters() -> None:
    outputs = {"DropsDeadLetterQueueUrl": "d", "DropsQueueUrl": "q"}

    assert of_stack(outputs) == [Letters.DROPS]
    with pytest.raises(CliError, match="EventWebhookUrl"):
        DeadLetters.of(outputs, Letters.NOTIFICATIONS)


def test_a_verdict_that_lies_there_still_becomes_its_video(
    phonoscene: Phonoscene, name: str
) -> None:
    prompt = phonoscene.drop(name)
    phonoscene.fault(prompt, "webhook", "never", times=None)
    job = phonoscene.take(name, until={"SUBMITTED"})
    request = phonoscene.ended_request(prompt)
    body = {"request_id": request["request_id"], "status": "OK", "payload": request["result"]}
    verdict = Delivery(job["job_id"], job["token_hashes"][-1], body["request_id"], json.dumps(body))
    phonoscene.send("VerdictsDeadLetterQueueUrl", json.loads(verdict.to_message()))

    moved = phonoscene_says("redrive")

    assert moved["verdicts"] == {"waiting": 1, "moved": 1}
    assert phonoscene.take(name)["status"] == "SUCCEEDED"
    assert len(phonoscene.requests(prompt)) == 1
