"""A deployed stack whose permissions can be taken away one at a time, from a known state."""

from __future__ import annotations

import copy
import json
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tests.support.local_stack import Phonoscene, eventually
from tests.support.permissions.cases import reach, unfinished
from tests.support.permissions.sdk_monitor import SdkMonitor
from tests.support.traces import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.permissions.cases import Case, Steps

#: The queues whose messages move jobs, each with the function that reads it. While both are empty,
#: no job moves.
MOVING: Final = {"DropsQueueUrl": "SubmitFunction", "VerdictsQueueUrl": "StoreFunction"}
#: Seconds for what is under way to end by itself, before its workers are ended.
SOON: Final = 1.0


@dataclass
class Bench:
    """The stack, and what watches its functions."""

    phonoscene: Phonoscene
    monitor: SdkMonitor
    _generations: dict[str, str] = field(default_factory=dict)

    def is_denied(self, function: str, action: str, since: int) -> bool:
        """Whether a function's present workers were refused an action.

        ``since`` is how many denials there had been before.
        """
        return any(
            denial.generation == self._generations[function] and action in denial.actions
            for denial in self.monitor.denials[since:]
        )

    # A state of its own --------------------------------------------------------------------------

    @contextmanager
    def prepared(self, case: Case) -> Iterator[Steps]:
        """A case that is ready to act while no job moves; what it leaves is removed afterwards."""
        name = f"removals/{uuid.uuid4().hex}"
        try:
            with closing(case(self.phonoscene, name)) as steps:  # type: ignore[type-var]  # a generator
                next(steps)
                reach("rest before the act", self.is_at_rest)
                yield steps
        finally:
            self.remove(name)

    def is_at_rest(self) -> bool:
        """Whether no message that moves jobs waits, is delayed, or is being worked on.

        The first queue is read twice: a message may have come to it from the second one.
        """
        first, second = MOVING
        return all(self._is_empty(output) for output in (first, second, first))

    def _is_empty(self, output: str) -> bool:
        at = {"QueueUrl": self.phonoscene.outputs[output], "AttributeNames": ["All"]}
        found = self.phonoscene.sqs.get_queue_attributes(**at)["Attributes"]
        counts = [int(n) for key, n in found.items() if key.startswith("ApproximateNumberOf")]
        return not any(counts)

    def remove(self, name: str) -> None:
        """End what is under way, and delete the messages, faults, records and parts of a case."""
        eventually(self.is_at_rest, SOON)
        for output, reader in MOVING.items():
            if not self._is_empty(output):  # a message failed, or is still worked on
                self.restart(reader)
        self.phonoscene.empty_queues()
        self.phonoscene.control("DELETE", "/faults")
        for job_id in self._records_of(name):
            at = {
                "TableName": self.phonoscene.endpoints.jobs_table,
                "Key": {"job_id": {"S": job_id}},
            }
            self.phonoscene.dynamodb.delete_item(**at)
            self.phonoscene.place("DELETE", [job_id])
        for upload in unfinished(self.phonoscene, name):
            at = {"Bucket": self.phonoscene.endpoints.output_bucket, "Key": upload["Key"]}
            self.phonoscene.s3.abort_multipart_upload(**at, UploadId=upload["UploadId"])

    def _records_of(self, name: str) -> list[str]:
        found = records(self.phonoscene)
        return [
            item["job_id"]
            for item in found
            if str(item.get("name", item["job_id"])).startswith(name)
        ]

    # Functions and their roles -------------------------------------------------------------------

    @cached_property
    def functions(self) -> dict[str, str]:
        """The functions of the template, each with its deployed name."""
        formation = self.phonoscene.endpoints.client("cloudformation")
        (stack,) = formation.describe_stacks()["Stacks"]
        found = formation.describe_stack_resources(StackName=stack["StackName"])["StackResources"]
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for one in found
            if one["ResourceType"] == "AWS::Lambda::Function"
        }

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have every function report its calls for the body's time."""
        client = self.phonoscene.endpoints.client("lambda")
        before = {
            name: client.get_function_configuration(FunctionName=name)["Environment"]
            for name in self.functions.values()
        }
        for function in self.functions:
            self.restart(function)
        try:
            yield
        finally:
            for name, environment in before.items():
                client.update_function_configuration(FunctionName=name, Environment=environment)

    def restart(self, function: str) -> None:
        """End a function's workers; new ones report under a new generation."""
        client = self.phonoscene.endpoints.client("lambda")
        name = self.functions[function]
        self._generations[function] = uuid.uuid4().hex[:8]
        found = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        variables = found | self.monitor.variables(function, self._generations[function])
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables}
        )

    def granted(self, function: str) -> list[str]:
        """Every action that a function's role is granted, by its own and by shared policies."""
        documents = [*self._own(function).values(), *self._shared(function)]
        statements = [statement for document in documents for statement in document["Statement"]]
        return sorted({action for statement in statements for action in actions_of(statement)})

    @contextmanager
    def without(self, function: str, action: str) -> Iterator[None]:
        """Take one action away from a function's role for the body's time."""
        granting = {
            policy: document
            for policy, document in self._own(function).items()
            if any(action in actions_of(statement) for statement in document["Statement"])
        }
        assert granting, f"the role of {function} is not granted {action} by a policy of its own"
        for policy, document in granting.items():
            self._put(function, policy, less(document, action))
        try:
            yield
        finally:
            for policy, document in granting.items():
                self._put(function, policy, document)

    def _role(self, function: str) -> str:
        client = self.phonoscene.endpoints.client("lambda")
        name = self.functions[function]
        role = client.get_function_configuration(FunctionName=name)["Role"]
        return str(role).rpartition("/")[2]

    def _own(self, function: str) -> dict[str, Any]:
        role, iam = self._role(function), self.phonoscene.iam
        return {
            policy: _parsed(iam.get_role_policy(RoleName=role, PolicyName=policy))
            for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]
        }

    def _shared(self, function: str) -> Iterator[Any]:
        iam = self.phonoscene.iam
        attached = iam.list_attached_role_policies(RoleName=self._role(function))
        for arn in (one["PolicyArn"] for one in attached["AttachedPolicies"]):
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            yield _parsed({"PolicyDocument": found["PolicyVersion"]["Document"]})

    def _put(self, function: str, policy: str, document: Any) -> None:
        text = json.dumps(document)
        role = self._role(function)
        self.phonoscene.iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=text)


def less(document: Any, action: str) -> Any:
    """A policy without one of its actions."""
    found = copy.deepcopy(document)
    for statement in found["Statement"]:
        left = [one for one in actions_of(statement) if one != action]
        statement["Action"] = left or ["s3:None"]  # IAM takes no empty list
    return found


def actions_of(statement: dict[str, Any]) -> list[str]:
    """A statement's actions, however it lists them."""
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else actions


def _parsed(answer: Any) -> Any:
    document = answer["PolicyDocument"]
    return json.loads(document) if isinstance(document, str) else document


@contextmanager
def bench(phonoscene: Phonoscene) -> Iterator[Bench]:
    """A stack with a monitor for the body's time."""
    monitor = SdkMonitor()
    found = Bench(phonoscene, monitor)
    with monitor.listening(), found.watched():
        yield found
