"""The command line at work on moto's stack, and a hand that turns the function ``submit``."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer.main
from moto.backends import get_backend
from moto.sqs.models import SQSBackend

from phonoscene.jobs import JobStatus
from phonoscene.table.job_store import JobStore
from phonoscene.version import VERSION
from phonoscene_cli import app
from phonoscene_cli.stack.connection import Stack
from tests.integration import moto_stack
from tests.support.stack import (
    ACCOUNT,
    DROPS,
    JOBS,
    KEY_PARAMETER,
    OUTPUT,
    REGION,
    WEBHOOKS,
    created,
    sqs,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tests.integration.conftest import Context
    from tests.integration.moto_stack import Cloud

ALARM_TOPIC: Final = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
QUEUES: Final = {
    "DropsQueueUrl": "drops",
    "DropsDeadLetterQueueUrl": "drops-dead",
    "UndeliveredDropsQueueUrl": "undelivered",
    "VerdictsQueueUrl": "verdicts",
    "VerdictsDeadLetterQueueUrl": "verdicts-dead",
}
PARAMETERS: Final = {
    "MaxFrames": "481",
    "PricePerMegapixelUsd": "0.001205",
    "MaxJobCostUsd": "2",
    "DailyBudgetUsd": "25",
    "MaxInFlight": "40",
    "SettleSeconds": "0",
    "FalUserId": "somebody",
    "AudioDelivery": "presigned",
    "SubmitConcurrency": "2",
    "StoreConcurrency": "2",
    "SameContent": "skip",
    "LongAudio": "split",
    "MaxSequenceSeconds": "600",
}

_RECEIVE: Final = SQSBackend.receive_message
#: The parser of the command line, which takes as long to make as many a command to run.
get_command: Final = cache(typer.main.get_command)


def receive_now(backend: SQSBackend, queue: str, most: int, _: int, *more: Any) -> Any:
    """The messages in a queue; no more arrive while a command waits."""
    return _RECEIVE(backend, queue, most, 0, *more)


@dataclass(frozen=True)
class Answer:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


@dataclass
class Desk:
    """Types commands, and reads what they say."""

    cloud: Cloud
    patch: pytest.MonkeyPatch
    screen: pytest.CaptureFixture[str]
    submit: ModuleType | None = None
    context: Context | None = None
    parameters: dict[str, str] = field(default_factory=lambda: dict(PARAMETERS))
    urls: dict[str, str] = field(default_factory=dict)
    #: The stack's resources: type and AWS's name, by the template's.
    resources: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Outputs that the stack lacks.
    left_out: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for output, name in QUEUES.items():
            self.urls[output] = self.cloud.sqs.create_queue(QueueName=name)["QueueUrl"]
            get_backend("sqs")[ACCOUNT][REGION].queues[name]._messages = []
            self.resources[output.removesuffix("Url")] = ("AWS::SQS::Queue", self.urls[output])
        chosen = SimpleNamespace(found_anew=self.stack)
        self.patch.setattr(app, "Chosen", SimpleNamespace(of=lambda *_: chosen))
        self.patch.setattr(typer.main, "get_command", get_command)
        self.patch.setattr(SQSBackend, "receive_message", receive_now)
        self.patch.setenv("COLUMNS", "200")
        self._chosen = chosen

    def stack(self) -> Stack:
        """A stack of moto's parts, as CloudFormation would describe it."""
        made = Stack("phonoscene", moto_stack.session())
        made.__dict__["description"] = self._description()
        made.__dict__["_resources"] = [
            {"LogicalResourceId": name, "ResourceType": kind, "PhysicalResourceId": given}
            for name, (kind, given) in self.resources.items()
        ]
        for service in ("s3", "dynamodb", "sqs", "ssm", "sns", "cloudwatch", "events", "lambda"):
            made.__dict__["_clients"][service] = moto_stack.client(service)
        made.__dict__["_clients"]["cloudformation"] = SimpleNamespace(
            describe_stacks=lambda **_: {"Stacks": [self._description()]}
        )
        return made

    def _description(self) -> dict[str, Any]:
        outputs = (
            {"Version": VERSION}
            | self.urls
            | {
                "DropBucketName": DROPS,
                "OutputBucketName": OUTPUT,
                "JobsTableName": JOBS,
                "WebhookBaseUrl": WEBHOOKS,
                "AlarmTopicArn": ALARM_TOPIC,
                "EventBusName": "phonoscene",
                "FalKeyParameterName": KEY_PARAMETER,
            }
        )
        return {
            "StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/phonoscene/a-guid",
            "StackStatus": "CREATE_COMPLETE",
            "Outputs": [
                {"OutputKey": k, "OutputValue": v}
                for k, v in outputs.items()
                if k not in self.left_out
            ],
            "Parameters": [
                {"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()
            ],
        }

    def says(self, *words: str) -> Answer:
        """Run one command, as its script would."""
        self._chosen.stack = self.stack()
        self.patch.setattr(sys, "argv", ["phonoscene", *words])
        self.screen.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        output = self.screen.readouterr()
        return Answer(int(ended.value.code or 0), output.out, output.err)

    def work(self, *_: Any) -> int:
        """Hand every message of the drops queue to ``submit``; how many there were."""
        bodies = self.messages("DropsQueueUrl")
        if bodies and self.submit:
            with redirect_stdout(io.StringIO()):  # its metrics
                self.submit.handler(sqs(*bodies), self.context)
        return len(bodies)

    def cancels(self, *keys: str) -> Callable[[float], None]:
        """For ``time.sleep``: meanwhile these keys are announced, and all jobs end."""
        store = JobStore(moto_stack.client("dynamodb"), JOBS)

        def go_on(_: float) -> None:
            with redirect_stdout(io.StringIO()):
                self.announce(*keys)
            for item in self.cloud.items():
                job = store.get(item["job_id"])
                assert job
                store.end(job, JobStatus.CANCELLED)

        return go_on

    def messages(self, output: str) -> list[str]:
        """Take what is in a queue."""
        bodies: list[str] = []
        at: Any = {"QueueUrl": self.urls[output]}
        while got := self.cloud.sqs.receive_message(**at, MaxNumberOfMessages=10).get("Messages"):
            for message in got:
                bodies.append(message["Body"])
                self.cloud.sqs.delete_message(**at, ReceiptHandle=message["ReceiptHandle"])
        return bodies

    def announce(self, *keys: str) -> None:
        """Hand S3's events of these keys to ``submit``."""
        assert self.submit
        self.submit.handler(sqs(*map(created, keys)), self.context)
