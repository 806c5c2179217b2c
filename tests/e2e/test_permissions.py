"""Each permission is there because something breaks without it."""

from __future__ import annotations

import copy
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Phonoscene

#: Function, action, and the state in which a drop stays without it. None: no record.
NEEDED = [
    ("SubmitFunction", "s3:ListBucket", None),
    ("SubmitFunction", "s3:GetObject", None),
    ("SubmitFunction", "s3:GetObjectVersion", None),
    ("SubmitFunction", "dynamodb:PutItem", None),
    ("SubmitFunction", "dynamodb:UpdateItem", "READY"),
    ("SubmitFunction", "ssm:GetParameter", "READY"),
    ("WebhookFunction", "sqs:SendMessage", "SUBMITTED"),
    ("StoreFunction", "dynamodb:GetItem", "SUBMITTED"),
    ("StoreFunction", "dynamodb:UpdateItem", "SUBMITTED"),
    ("StoreFunction", "s3:PutObject", "GENERATED"),
]
#: A whole drop takes two seconds here.
PATIENCE = 5


@pytest.mark.parametrize(("function", "action", "stuck_at"), NEEDED)
def test_without_this_permission_a_drop_goes_no_further(
    phonoscene: Phonoscene, name: str, function: str, action: str, stuck_at: str | None
) -> None:
    with _without(phonoscene, function, action):
        _restart(phonoscene, function)
        phonoscene.drop(name)
        time.sleep(PATIENCE)
        takes = phonoscene.jobs.takes(name)

    assert [take["status"] for take in takes] == ([stuck_at] if stuck_at else [])


def test_with_all_of_them_it_does(phonoscene: Phonoscene, name: str) -> None:
    phonoscene.drop(name)

    assert phonoscene.take(name, seconds=PATIENCE)["status"] == "SUCCEEDED"


def _restart(phonoscene: Phonoscene, function: str) -> None:
    """Make the function begin anew, as any change of it does, and forget what it has read."""
    client = phonoscene.endpoints.client("lambda")
    (found,) = (
        one
        for one in client.list_functions()["Functions"]
        if f"-{function}-" in one["FunctionName"]
    )
    client.update_function_configuration(
        FunctionName=found["FunctionName"], MemorySize=found["MemorySize"] + 1
    )


@contextmanager
def _without(phonoscene: Phonoscene, function: str, action: str) -> Iterator[None]:
    """Take one action away from a function's role for the body's time."""
    role, policy, document = _granting(phonoscene, function, action)
    less = copy.deepcopy(document)
    for statement in less["Statement"]:
        statement["Action"] = [one for one in _actions(statement) if one != action] or ["s3:None"]
    _put(phonoscene, role, policy, less)
    try:
        yield
    finally:
        _put(phonoscene, role, policy, document)


def _granting(phonoscene: Phonoscene, function: str, action: str) -> tuple[str, str, Any]:
    """The role of a function, and its inline policy that grants the action."""
    roles = phonoscene.iam.list_roles()["Roles"]
    mine = f"-{function.removesuffix('Function')}Role"
    (role,) = (one["RoleName"] for one in roles if mine in one["RoleName"])
    for policy in phonoscene.iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = phonoscene.iam.get_role_policy(RoleName=role, PolicyName=policy)[
            "PolicyDocument"
        ]
        document = json.loads(document) if isinstance(document, str) else document
        if any(action in _actions(statement) for statement in document["Statement"]):
            return role, policy, document
    raise AssertionError(f"{role} is not granted {action}")


def _actions(statement: dict[str, Any]) -> list[str]:
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else actions


def _put(phonoscene: Phonoscene, role: str, policy: str, document: Any) -> None:
    phonoscene.iam.put_role_policy(
        RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document)
    )
