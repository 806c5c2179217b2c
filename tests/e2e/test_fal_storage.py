"""Files handed over as copies in fal's storage, and results that no webhook ever brings.

A small cloud of its own: every webhook of its fal is withheld, and reconciling is paced.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.cloud.cloud import running_cloud
from tests.support.local_stack import (
    FEW_PROCESSES,
    PATIENCE,
    Phonoscene,
    is_put_off,
    looks,
    make_audio,
    make_picture,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / ".build" / "e2e-storage"
PARAMETERS = {
    "AudioDelivery": "fal-storage",
    "AskFalSeconds": "3",
    "MaxInFlight": "2",
    **FEW_PROCESSES,
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Phonoscene]:
    """The deployed stack, and a fal that calls nobody."""
    simulator = ["--run-seconds", "0.05"]
    with running_cloud(FOLDER, PARAMETERS, simulator, ticker=True) as endpoints:
        yield Phonoscene(endpoints)


@pytest.fixture(autouse=True)
def _withheld(stack: Phonoscene) -> None:
    stack.control("DELETE", "/faults")
    stack.control("POST", "/faults", {"stage": "webhook", "action": "never", "times": None})


def tell(stack: Phonoscene, stage: str, action: str, **more: Any) -> None:
    """Have fal misbehave; nobody else uses this one."""
    stack.control("POST", "/faults", {"stage": stage, "action": action, **more})


def uploads(stack: Phonoscene, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The copies that fal's storage has of a job's files."""
    listed = stack.control("GET", "/requests")["uploads"]
    return [one for one in listed if one["name"].startswith(job["job_id"])]


def steps(job: dict[str, Any]) -> list[str]:
    return [step["status"] for step in job["history"]]


def test_a_drop_with_a_picture_comes_home_although_nobody_calls(
    stack: Phonoscene, name: str
) -> None:
    picture = make_picture()
    stack.put(f"{name}/cover.png", picture)
    prompt = stack.drop(f"{name}/song", image_url="cover.png")

    job = stack.take(f"{name}/song")

    assert steps(job) == ["READY", "SUBMITTING", "SUBMITTED", "GENERATED", "SUCCEEDED"]
    (request,) = stack.requests(prompt)
    copies = {one["url"]: one for one in uploads(stack, job)}
    sent = [request["arguments"][field] for field in ("audio_url", "image_url")]
    assert sorted(sent) == sorted(copies)
    digests = [hashlib.sha256(body).hexdigest() for body in (make_audio("wav"), picture)]
    assert [copies[url]["sha256"] for url in sent] == digests
    assert {one["authorization"] for one in copies.values()} == {"Bearer"}
    for copy in copies.values():
        assert [(read["by"], read["status_code"]) for read in copy["reads"]] == [("runner", 200)]
        assert copy["expires_at"] > request["submitted_at"] + 3600
    assert [one["kind"] for one in request["deliveries"]] == ["withheld"]


def test_the_copies_address_is_nowhere_but_with_fal(stack: Phonoscene, name: str) -> None:
    stack.drop(name)
    job = stack.take(name)
    at = {"Bucket": job["video"]["bucket"], "Key": f"{name}/{job['job_id']}.json"}

    manifest = stack.s3.get_object(**at)["Body"].read().decode()
    logs = stack.endpoints.client("logs")
    groups = [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]]
    lines = [
        event["message"]
        for group in groups
        for event in logs.filter_log_events(logGroupName=group)["events"]
    ]

    address = uploads(stack, job)[0]["url"]
    for text in (manifest, json.dumps(job, default=str), "\n".join(lines)):
        assert address not in text
    assert "job.submitted" in "\n".join(lines)


def test_a_lost_answer_is_found_by_the_name_of_the_copy_and_not_paid_twice(
    stack: Phonoscene, name: str
) -> None:
    tell(stack, "submit", "lost_response")
    prompt = stack.drop(name)
    until_it_waits = stack.take(name, until={"UNCONFIRMED"})

    _look_at_once(stack, until_it_waits["job_id"])
    job = stack.take(name)

    assert steps(job)[1:4] == ["SUBMITTING", "UNCONFIRMED", "SUBMITTED"]
    assert job["status"] == "SUCCEEDED"
    (request,) = stack.requests(prompt)
    assert f"{job['job_id']}-1" in request["arguments"]["audio_url"]
    assert job["request"]["request_id"] == request["request_id"]


@pytest.mark.parametrize(
    ("action", "more"),
    [("status", {"code": 503}), ("status", {"code": 500, "call": "token"}), ("drop", {})],
)
def test_a_refused_upload_is_tried_again_in_its_turn(
    stack: Phonoscene, name: str, action: str, more: dict[str, Any]
) -> None:
    tell(stack, "storage", action, **more)
    prompt = stack.drop(name)
    waiting = stack.take(name, until={"READY"}, once=is_put_off)

    _look_at_once(stack, waiting["job_id"])
    job = stack.take(name)

    assert (waiting["waits_for"], waiting["attempt"]) == ("storage", 0)
    assert (job["status"], job["attempt"], job["uploads_failed"]) == ("SUCCEEDED", 1, 1)
    assert len(stack.requests(prompt)) == len(uploads(stack, job)) == 1


def test_a_refused_account_lets_everybody_wait(stack: Phonoscene, name: str) -> None:
    tell(stack, "storage", "status", code=403, call="token")
    stack.drop(name)
    waiting = stack.take(name, until={"READY"}, once=is_put_off)

    _end_the_pause(stack)
    _look_at_once(stack, waiting["job_id"])

    assert waiting["waits_for"] == "account"
    assert stack.take(name)["status"] == "SUCCEEDED"


def test_a_copy_that_is_gone_before_the_start_is_made_anew(stack: Phonoscene, name: str) -> None:
    tell(stack, "storage", "expired")
    prompt = stack.drop(name)
    again = stack.take(name, until={"READY"}, once=lambda job: job["attempt"] > 0)

    _look_at_once(stack, again["job_id"])
    job = stack.take(name)

    assert (job["status"], job["attempt"]) == ("SUCCEEDED", 2)
    assert [one["name"] for one in uploads(stack, job)] == [
        f"{job['job_id']}-1.wav",
        f"{job['job_id']}-2.wav",
    ]
    codes = sorted(request["status_code"] for request in stack.requests(prompt))
    assert codes == [200, 422]  # a run that cannot read its sound is not billed


def test_of_many_drops_only_those_are_uploaded_that_have_room(stack: Phonoscene, name: str) -> None:
    tell(stack, "render", "delay", seconds=8, times=2)
    names = [f"{name}/{number}" for number in range(5)]
    for one in names:
        stack.drop(one)
    jobs: list[dict[str, Any]] = []
    waited: set[str] = set()
    for _ in looks(PATIENCE):
        jobs = [job for one in names for job in stack.jobs.takes(one)]
        waited |= {job["job_id"] for job in jobs if job.get("waits_for") == "slot"}
        if len(jobs) == len(names):
            break

    running = [job for job in jobs if uploads(stack, job)]

    assert len(jobs) == len(names)
    assert len(running) <= 2 + 1  # a race for the last place costs an upload, not a video
    assert waited
    for one in names:
        assert stack.take(one)["status"] == "SUCCEEDED"


def _look_at_once(stack: Phonoscene, job_id: str) -> None:
    """As if its time had come: the waits are those of AWS, half a minute and more."""
    dynamodb, key = stack.endpoints.client("dynamodb"), {"job_id": {"S": job_id}}
    item = dynamodb.get_item(TableName=stack.endpoints.jobs_table, Key=key)["Item"]
    which = "dispatch_at" if "dispatch_at" in item else "due_at"
    dynamodb.update_item(
        TableName=stack.endpoints.jobs_table,
        Key=key,
        UpdateExpression=f"SET {which} = :past",
        ConditionExpression=f"attribute_exists({which})",
        ExpressionAttributeValues={":past": {"S": "2026-01-01T00:00:00.000Z"}},
    )


def _end_the_pause(stack: Phonoscene) -> None:
    stack.endpoints.client("dynamodb").update_item(
        TableName=stack.endpoints.jobs_table,
        Key={"job_id": {"S": "window"}},
        UpdateExpression="REMOVE paused_until",
    )
