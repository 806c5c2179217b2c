"""Takes every action away from every role, one at a time: what breaks on the deployed stack?

    python -m tests.security.removals

For each action there is a case that passes with it and fails without it. What the emulator does not
enforce (it is Lambda's own poller, log and trace that need it) is listed with where AWS says so.

exit codes:
  0  every action is missed by its case, or explained
  1  an action that nobody misses, or a case that fails with it
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.e2e.conftest import (
    IN_FLIGHT,
    Phonoscene,
    deployed,
    eventually,
    full_window,
    held_places,
    listening,
    make_audio,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Case = Callable[[Phonoscene, str], bool]

#: A whole drop takes two seconds here, and a function starts in one.
PATIENCE: Final = 6.0
TRIES: Final = 8
LONG_AGO: Final = "2026-01-01T00:00:00.000Z"
NOT_ENFORCED: Final = {
    "sqs:ReceiveMessage": "Lambda's poller (Lambda guide, “Using Lambda with Amazon SQS”)",
    "sqs:DeleteMessage": "Lambda's poller (the same)",
    "sqs:GetQueueAttributes": "Lambda's poller (the same)",
    "dynamodb:DescribeStream": "Lambda's poller (Lambda guide, “Using Lambda with DynamoDB”)",
    "dynamodb:GetRecords": "Lambda's poller (the same)",
    "dynamodb:GetShardIterator": "Lambda's poller (the same)",
    "dynamodb:ListStreams": "Lambda's poller (the same)",
    "logs:CreateLogStream": "Lambda's own log (Lambda guide, “execution role”)",
    "logs:PutLogEvents": "Lambda's own log (the same)",
    "xray:PutTraceSegments": "Lambda's own trace (Lambda guide, “AWS X-Ray”)",
    "xray:PutTelemetryRecords": "Lambda's own trace (the same)",
}


def becomes(phonoscene: Phonoscene, name: str, *statuses: str, seconds: float = PATIENCE) -> bool:
    """Whether the newest job of a name comes to one of these states in time."""

    def newest() -> bool:
        return any(take["status"] in statuses for take in phonoscene.jobs.takes(name)[:1])

    return eventually(newest, seconds)


def is_ended(phonoscene: Phonoscene, name: str) -> bool:
    """Whether a name's receipt says that its job has succeeded."""
    return phonoscene.receipt(name).get("status") == "SUCCEEDED"


# The cases ---------------------------------------------------------------------------------------


def a_drop_becomes_its_video(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.drop(name)
    return becomes(phonoscene, name, "SUCCEEDED")


def a_half_is_cancelled(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    if not becomes(phonoscene, name, "WAITING"):
        return False
    (half,) = phonoscene.jobs.takes(name)
    phonoscene.send("DropsQueueUrl", {"cancel": half["job_id"]})
    return becomes(phonoscene, name, "CANCELLED")


def a_half_gives_way_to_its_job(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    if not becomes(phonoscene, name, "WAITING"):
        return False
    phonoscene.sidecar(f"{name}.json")
    return becomes(phonoscene, name, "SUCCEEDED") and len(phonoscene.jobs.takes(name)) == 1


def a_result_that_its_webhook_could_not_carry_is_fetched(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.fault(phonoscene.drop(name), "webhook", "payload_error", status="OK")
    return becomes(phonoscene, name, "SUCCEEDED")


def a_video_that_is_there_already_is_taken(phonoscene: Phonoscene, name: str) -> bool:
    prompt = phonoscene.drop(name)
    if not becomes(phonoscene, name, "SUCCEEDED"):
        return False
    request = phonoscene.ended_request(prompt)
    phonoscene.change(  # as if the store had died before its last write
        name,
        "SET #status = :status, source_url = :url REMOVE video",
        {":status": "GENERATED", ":url": request["result"]["video"]["url"]},
    )
    phonoscene.control("POST", f"/requests/{request['request_id']}/deliver")
    return becomes(phonoscene, name, "SUCCEEDED") and len(phonoscene.versions(f"{name}/")) == 2


def a_copy_that_is_cut_off_leaves_no_parts_behind(phonoscene: Phonoscene, name: str) -> bool:
    prompt = phonoscene.drop(name)
    phonoscene.fault(prompt, "render", "big_file", bytes=60_000_000)
    phonoscene.fault(prompt, "cdn", "slow", bytes_per_second=4_000_000, times=None)
    at = {"Bucket": phonoscene.endpoints.output_bucket, "Prefix": name}

    def uploads() -> list[Any]:
        found: list[Any] = phonoscene.s3.list_multipart_uploads(**at).get("Uploads", [])
        return found

    if not eventually(uploads, 20):
        return False
    with without(phonoscene, "StoreFunction", "s3:PutObject"):
        is_clean = eventually(lambda: not uploads(), 20)
    phonoscene.control("DELETE", "/faults")
    return _is_copied_after_all(phonoscene, name) and is_clean


def _is_copied_after_all(phonoscene: Phonoscene, name: str) -> bool:
    """So that the job holds its place no longer; the store that was cut off may still end."""
    for _ in range(6):
        if not becomes(phonoscene, name, "SUCCEEDED", seconds=0.1):
            phonoscene.change(name, "SET due_at = :past", {":past": LONG_AGO})
            phonoscene.invoke("ReconcileFunction")
        if becomes(phonoscene, name, "SUCCEEDED", seconds=5):
            return True
    return False


def a_place_that_is_free_is_given_on_at_once(phonoscene: Phonoscene, name: str) -> bool:
    first, second = f"{name}-first", f"{name}-second"
    with full_window(phonoscene, IN_FLIGHT - 1):
        phonoscene.fault(phonoscene.drop(first), "render", "delay", seconds=3)
        if not becomes(phonoscene, first, "SUBMITTED"):
            return False
        phonoscene.drop(second)
        if not becomes(phonoscene, second, "READY"):
            return False
        return becomes(phonoscene, second, "SUCCEEDED", seconds=10)


def a_webhook_that_does_not_come_is_asked_for(phonoscene: Phonoscene, name: str) -> bool:
    prompt = phonoscene.drop(name)
    phonoscene.fault(prompt, "webhook", "never", times=None)
    if not becomes(phonoscene, name, "SUBMITTED"):
        return False
    phonoscene.ended_request(prompt)
    phonoscene.change(name, "SET due_at = :past", {":past": LONG_AGO})
    phonoscene.invoke("ReconcileFunction")
    return becomes(phonoscene, name, "SUCCEEDED")


def a_job_whose_turn_has_come_is_dispatched(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.fault(phonoscene.drop(name), "submit", "status", code=429)
    if not eventually(lambda: any("waits_for" in take for take in phonoscene.jobs.takes(name))):
        return False
    phonoscene.change(name, "SET dispatch_at = :past", {":past": LONG_AGO})
    phonoscene.invoke("ReconcileFunction")
    return becomes(phonoscene, name, "SUCCEEDED")


def a_place_that_nobody_holds_is_taken_back(phonoscene: Phonoscene, name: str) -> bool:
    with held_places(phonoscene, [name]):
        phonoscene.invoke("ReconcileFunction")
        return name not in phonoscene.in_flight()


def a_receipt_follows_its_job(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.drop(name)
    if not becomes(phonoscene, name, "SUCCEEDED"):
        return False
    return eventually(lambda: is_ended(phonoscene, name), PATIENCE)


def another_system_hears_of_a_job(phonoscene: Phonoscene, name: str) -> bool:
    with listening(phonoscene) as listener:
        phonoscene.drop(name)
        return eventually(lambda: listener.events(name), PATIENCE)


def a_record_that_cannot_be_read_is_set_aside(phonoscene: Phonoscene, name: str) -> bool:
    table = phonoscene.endpoints.jobs_table
    item = {"job_id": {"S": name}, "status": {"S": "DREAMING"}}
    phonoscene.dynamodb.put_item(TableName=table, Item=item)
    queue = phonoscene.outputs["UnpublishedQueueUrl"]
    try:
        return eventually(lambda: phonoscene.sqs.receive_message(QueueUrl=queue).get("Messages"))
    finally:
        phonoscene.dynamodb.delete_item(TableName=table, Key={"job_id": {"S": name}})
        phonoscene.empty_queues()


def a_subscriber_hears_of_a_job(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.drop(name)
    return eventually(lambda: "SUCCEEDED" in phonoscene.subscriber.states(name), PATIENCE)


def a_subscriber_that_was_down_is_asked_again_soon(phonoscene: Phonoscene, name: str) -> bool:
    phonoscene.subscriber.status = 503
    try:
        phonoscene.drop(name)
        if not eventually(lambda: phonoscene.subscriber.states(name), PATIENCE):
            return False
        (first, _), *_ = _heard_of(phonoscene, name)
        return eventually(lambda: _times(phonoscene, first) > 1, 2 * PATIENCE)
    finally:
        phonoscene.subscriber.status = 204


def _heard_of(phonoscene: Phonoscene, name: str) -> list[tuple[str, Any]]:
    return [one for one in phonoscene.subscriber.heard if one[1]["data"]["name"] == name]


def _times(phonoscene: Phonoscene, identifier: str) -> int:
    return [one for one, _ in phonoscene.subscriber.heard].count(identifier)


CASES: Final[dict[str, dict[str, Case]]] = {
    "SubmitFunction": {
        "s3:ListBucket": a_drop_becomes_its_video,
        "s3:GetObject": a_drop_becomes_its_video,
        "s3:GetObjectVersion": a_drop_becomes_its_video,
        "dynamodb:GetItem": a_half_is_cancelled,
        "dynamodb:PutItem": a_drop_becomes_its_video,
        "dynamodb:UpdateItem": a_drop_becomes_its_video,
        "dynamodb:DeleteItem": a_half_gives_way_to_its_job,
        "ssm:GetParameter": a_drop_becomes_its_video,
    },
    "WebhookFunction": {"sqs:SendMessage": a_drop_becomes_its_video},
    "StoreFunction": {
        "dynamodb:GetItem": a_drop_becomes_its_video,
        "dynamodb:UpdateItem": a_drop_becomes_its_video,
        "dynamodb:Query": a_place_that_is_free_is_given_on_at_once,
        "sqs:SendMessage": a_place_that_is_free_is_given_on_at_once,
        "s3:PutObject": a_drop_becomes_its_video,
        "s3:AbortMultipartUpload": a_copy_that_is_cut_off_leaves_no_parts_behind,
        "s3:GetObject": a_video_that_is_there_already_is_taken,
        "ssm:GetParameter": a_result_that_its_webhook_could_not_carry_is_fetched,
    },
    "PublishFunction": {
        "s3:GetObject": a_receipt_follows_its_job,
        "s3:PutObject": a_receipt_follows_its_job,
        "events:PutEvents": another_system_hears_of_a_job,
        "sqs:SendMessage": a_record_that_cannot_be_read_is_set_aside,
    },
    "NotifyFunction": {
        "sqs:ChangeMessageVisibility": a_subscriber_that_was_down_is_asked_again_soon,
        "ssm:GetParameter": a_subscriber_hears_of_a_job,
    },
    "ReconcileFunction": {
        "dynamodb:Query": a_webhook_that_does_not_come_is_asked_for,
        "dynamodb:GetItem": a_webhook_that_does_not_come_is_asked_for,
        "dynamodb:UpdateItem": a_webhook_that_does_not_come_is_asked_for,
        "dynamodb:ConditionCheckItem": a_place_that_nobody_holds_is_taken_back,
        "sqs:SendMessage": a_job_whose_turn_has_come_is_dispatched,
        "ssm:GetParameter": a_webhook_that_does_not_come_is_asked_for,
    },
}


# Taking away -------------------------------------------------------------------------------------


@contextmanager
def without(phonoscene: Phonoscene, function: str, action: str) -> Iterator[None]:
    """Take one action away from a function's role for the body's time."""
    role, policy, document = _granting(phonoscene, function, action)
    less = copy.deepcopy(document)
    for statement in less["Statement"]:
        left = [one for one in actions_of(statement) if one != action]
        statement["Action"] = left or ["s3:None"]
    _put(phonoscene, role, policy, less)
    try:
        yield
    finally:
        _put(phonoscene, role, policy, document)


def restart(phonoscene: Phonoscene, function: str) -> None:
    """Make the function begin anew, as any change of it does, and forget what it has read."""
    client = phonoscene.endpoints.client("lambda")
    name = phonoscene.function_name(function)
    found = client.get_function_configuration(FunctionName=name)
    client.update_function_configuration(FunctionName=name, MemorySize=found["MemorySize"] + 1)


def granted(phonoscene: Phonoscene, function: str) -> list[str]:
    """The actions of a function's own statements."""
    role = _role(phonoscene, function)
    documents = [_document(phonoscene, role, policy) for policy in _policies(phonoscene, role)]
    statements = [statement for document in documents for statement in document["Statement"]]
    return sorted({action for statement in statements for action in actions_of(statement)})


def _role(phonoscene: Phonoscene, function: str) -> str:
    mine = f"-{function.removesuffix('Function')}Role"
    roles = phonoscene.iam.list_roles()["Roles"]
    (role,) = (str(one["RoleName"]) for one in roles if mine in one["RoleName"])
    return role


def _policies(phonoscene: Phonoscene, role: str) -> list[str]:
    names: list[str] = phonoscene.iam.list_role_policies(RoleName=role)["PolicyNames"]
    return names


def _document(phonoscene: Phonoscene, role: str, policy: str) -> dict[str, Any]:
    found: Any = phonoscene.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    document: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return document


def _granting(phonoscene: Phonoscene, function: str, action: str) -> tuple[str, str, Any]:
    """The role of a function, and its policy that grants the action."""
    role = _role(phonoscene, function)
    for policy in _policies(phonoscene, role):
        document = _document(phonoscene, role, policy)
        if any(action in actions_of(statement) for statement in document["Statement"]):
            return role, policy, document
    raise AssertionError(f"{role} is not granted {action}")


def actions_of(statement: dict[str, Any]) -> list[str]:
    """A statement's actions, however it lists them."""
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else actions


def _put(phonoscene: Phonoscene, role: str, policy: str, document: Any) -> None:
    phonoscene.iam.put_role_policy(
        RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document)
    )


# The table ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One action of one role."""

    function: str
    action: str
    told: str
    is_missed: bool

    def __str__(self) -> str:
        mark = "" if self.is_missed else "NOT MISSED: "
        return f"{self.function:<18} {self.action:<28} {mark}{self.told}"


def try_all(phonoscene: Phonoscene, say: Callable[[str], None], only: str = "") -> list[Row]:
    """With everything each case passes; without its action it fails."""
    for case in sorted({c for cases in CASES.values() for c in cases.values()}, key=_sentence):
        if not works(phonoscene, case):
            return [Row("", "all", f"{_sentence(case)}: fails with every permission", False)]
        say(f"passes with every permission: {_sentence(case)}")
    rows = []
    for function, cases in CASES.items():
        for action in granted(phonoscene, function):
            if only in f"{function} {action}":
                rows.append(_tried(phonoscene, function, action, cases.get(action)))
                say(str(rows[-1]))
    return rows


def _tried(phonoscene: Phonoscene, function: str, action: str, case: Case | None) -> Row:
    if case is None:
        reason = NOT_ENFORCED.get(action)
        return Row(function, action, reason or "nobody misses it", reason is not None)
    return Row(function, action, _sentence(case), is_missed(phonoscene, function, action, case))


def works(phonoscene: Phonoscene, case: Case) -> bool:
    """Whether a case passes with everything; where all is cold or busy, at a later try."""
    return any(case(phonoscene, a_name()) for _ in range(TRIES))


def is_missed(phonoscene: Phonoscene, function: str, action: str, case: Case) -> bool:
    """Whether a case fails without an action.

    A worker that was started before may still take a message, with what it has read; hence twice.
    """
    with without(phonoscene, function, action):
        restart(phonoscene, function)
        fails = not (case(phonoscene, a_name()) and case(phonoscene, a_name()))
    restart(phonoscene, function)
    phonoscene.control("DELETE", "/faults")
    phonoscene.empty_queues()  # what failed would come back minutes later, into another case
    return fails


def a_name() -> str:
    """One that nobody else drops."""
    return f"removals/{uuid.uuid4().hex}"


def _sentence(case: Case) -> str:
    return getattr(case, "__name__", "").replace("_", " ")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress


def main(given: Sequence[str] | None = None) -> int:
    """Print the table; 1 where an action is missed by nobody."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.removals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="actions that contain this: “Store s3:”")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    asked = parser.parse_args(given)
    with (
        tempfile.TemporaryDirectory(prefix="phonoscene-removals-") as folder,
        deployed(Path(folder)) as phonoscene,
    ):
        phonoscene.stop_the_clock()
        rows = try_all(phonoscene, _say, asked.only)
    wrong = [row for row in rows if not row.is_missed]
    lines = [str(row) for row in rows]
    lines.append(f"{len(rows)} actions, {len(wrong)} that nobody misses")
    told = json.dumps([row.__dict__ for row in rows]) if asked.json else "\n".join(lines)
    print(told)  # noqa: T201 - for a person
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
