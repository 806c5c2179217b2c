"""One deployed stack: the names of its parts, its parameters, and clients to reach them.

Names are the stack's outputs, on AWS and on a laptop alike. The only module that makes clients.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, overload

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.queues import DropsQueue
from phonoscene.table.dynamodb import Table
from phonoscene_cli.errors import StackUnreachable, WrongUsage
from phonoscene_cli.failures import DENIED, advice, first_line
from phonoscene_cli.stack.jobs_reader import Reader
from phonoscene_cli.stack.parameters import StackParameters
from phonoscene_cli.stack.stack_status import DEPLOY, is_whole, next_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from phonoscene.limits import SpendingLimits

LOCAL_STACK: Final = "phonoscene"
STACK_VARIABLE: Final = "PHONOSCENE_STACK"
ENDPOINTS_VARIABLE: Final = "PHONOSCENE_ENDPOINTS"
#: What ``make up`` writes, in the working copy.
LOCAL_ENDPOINTS: Final = Path(".local") / "endpoints.json"
#: As many requests at once as a command makes.
THREADS: Final = 16
PATIENT: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 5}, max_pool_connections=2 * THREADS
)
#: What a page that looks again soon has: one more try, and seconds to wait for an answer.
EAGER: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=5, read_timeout=20
)
#: botocore would presign with SigV2 in us-east-1, and elsewhere for a host that redirects.
PRESIGNING: Final = Config(signature_version="s3v4")
ON_AWS: Final = Config(s3={"addressing_style": "virtual"})
#: A person's profile and credentials are for AWS: the local cloud does not read them.
_NOBODYS: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


_ANOTHER_STACK: Final = "Choose another with --stack, or its region with --region."


class Values(dict[str, str]):
    """The stack's outputs or parameters by name; one that is missing is the deployment's fault."""

    def __init__(self, stack: Stack, kind: str, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self._stack = stack
        self._kind = kind

    def __missing__(self, name: str) -> str:
        stack, status = self._stack.name, self._stack.status
        if not is_whole(status):
            step = next_step(stack, status)
            raise StackUnreachable(f"{stack} is {status}, without {self._kind} {name}.", step)
        raise StackUnreachable(
            f"{stack} has no {self._kind} {name}: it is older than this command line, or not a "
            "stack of Phonoscene.",
            f"Deploy again: {DEPLOY}. Or choose another with --stack.",
        )


@dataclass(frozen=True)
class Door:
    """Where the webhook's address answers: on a laptop another host is dialled in its name."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None


@dataclass(frozen=True)
class Stack:
    """The stack ``name``, reached through ``session``; ``options`` are those of every client."""

    name: str
    session: boto3.Session
    options: Mapping[str, Any] = field(default_factory=dict)
    #: What the local cloud's file says beyond that, and its folder.
    endpoints: Mapping[str, str] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict, init=False)

    @classmethod
    def on_aws(cls, name: str, profile: str | None, region: str | None) -> Self:
        """With the credentials that the AWS command line would use."""
        if "" in (profile, region):
            option = "--region" if region == "" else "--profile"
            raise WrongUsage(f"{option} is empty. Give it a value, or omit it.")
        try:
            # the AWS command line reads AWS_REGION, too; boto3 does not
            region = region or os.environ.get("AWS_REGION") or None
            session = boto3.Session(profile_name=profile, region_name=region)
        except BotoCoreError as exc:
            raise StackUnreachable(f"{exc}.", "Name another with --profile.") from exc
        if session.region_name is None:
            raise StackUnreachable(
                "No region is set.",
                "Give the stack's region with --region, or use --local for the local cloud.",
            )
        return cls(name, session, {"config": PATIENT})

    @classmethod
    def on_this_machine(cls, file: Path | None) -> Self:
        """The local cloud's, from the file that it writes while it is up."""
        found = file or _local_endpoints()
        if not found.is_file():
            raise StackUnreachable(
                f"There is no file {found.absolute()}.",
                "Name the endpoints.json of a local cloud that is up; `make up` starts one.",
            )
        try:
            data = json.loads(found.read_text())
            session = boto3.Session(
                data["aws_access_key_id"],
                data["aws_secret_access_key"],
                region_name=data["region"],
                botocore_session=botocore.session.Session(session_vars=_NOBODYS),
            )
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise StackUnreachable(
                f"{found.absolute()} is not a local cloud's endpoints.json.",
                "Name another with --endpoints, or write it again with `make up`.",
            ) from exc
        no_proxies = Config(proxies={})  # none at all; None would be the environment's
        options = {
            "endpoint_url": data["aws_endpoint_url"],
            "verify": data["ca_bundle"],
            "config": PATIENT.merge(no_proxies),
        }
        return cls(LOCAL_STACK, session, options, data | {"folder": str(found.absolute().parent)})

    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["sqs"]) -> SQSClient: ...
    @overload
    def client(self, service: str) -> Any: ...
    def client(self, service: str) -> Any:
        """The client of one AWS service; it may be used by many threads."""
        if service not in self._clients:
            options: Any = dict(self.options)
            with _well_configured():
                self._clients[service] = self.session.client(service, **options)  # type: ignore[call-overload]  # any service
        return self._clients[service]

    @cached_property
    def eager(self) -> Self:
        """The same stack, through clients that soon give up: for what is read again in a moment."""
        config = self.options.get("config", PATIENT).merge(EAGER)
        return replace(self, options={**self.options, "config": config})

    @cached_property
    def presigner(self) -> S3Client:
        """A client that only signs links."""
        config = PRESIGNING if self.endpoints else PRESIGNING.merge(ON_AWS)
        options: Any = {name: value for name, value in self.options.items() if name != "config"}
        with _well_configured():
            made: S3Client = self.session.client("s3", config=config, **options)
        return made

    @cached_property
    def description(self) -> dict[str, Any]:
        """What CloudFormation says of the stack.

        Raises:
            StackUnreachable: with what to do about it.
        """
        try:
            found = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as exc:
            if "does not exist" in str(exc):
                raise StackUnreachable(
                    f"There is no stack {self.name} in {self.session.region_name}.", _ANOTHER_STACK
                ) from exc
            step = self._hint if self.endpoints else _step(exc)
            raise StackUnreachable(f"The stack cannot be read: {first_line(exc)}.", step) from exc
        except BotoCoreError as exc:
            what = f"AWS cannot be reached: {first_line(exc)}."
            raise StackUnreachable(what, self._hint) from exc
        described: dict[str, Any] = found[0]
        return described

    def describe_again(self) -> None:
        """Ask CloudFormation again for what is next read of its description."""
        for name in ("description", "outputs", "parameters"):
            self.__dict__.pop(name, None)

    @property
    def _hint(self) -> str:
        """What to check when AWS does not answer."""
        if self.endpoints:
            where = self.endpoints.get("folder", "")
            return f"Check the local cloud of {where} with `make status`; it says what to do."
        return (
            "Check your network and the region, and your credentials with "
            "`aws sts get-caller-identity`."
        )

    @property
    def status(self) -> str:
        """What CloudFormation says of its last change."""
        return str(self.description.get("StackStatus", ""))

    @cached_property
    def outputs(self) -> Values:
        """The stack's outputs by name."""
        data = self.description.get("Outputs", [])
        return Values(self, "output", {one["OutputKey"]: one["OutputValue"] for one in data})

    @cached_property
    def parameters(self) -> StackParameters:
        """What its operator has decided."""
        return StackParameters.from_values(self.parameter_values)

    @property
    def parameter_values(self) -> Values:
        """Every parameter, as CloudFormation lists it."""
        data = self.description.get("Parameters", [])
        values = {one["ParameterKey"]: one["ParameterValue"] for one in data}
        return Values(self, "parameter", values)

    @cached_property
    def _resources(self) -> list[dict[str, Any]]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        found = pages.paginate(StackName=self.name)
        return [one for page in found for one in page["StackResourceSummaries"]]

    def resources(self, kind: str) -> dict[str, str]:
        """The names that AWS gave the stack's resources of a type (``SQS::Queue``), by our own."""
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for one in self._resources
            if one["ResourceType"] == f"AWS::{kind}" and one.get("PhysicalResourceId")
        }

    @cached_property
    def jobs(self) -> Reader:
        """The jobs table, to read."""
        table = Table(self.client("dynamodb"), self.outputs["JobsTableName"])
        return Reader(table, self._spending_limits)

    def _spending_limits(self) -> SpendingLimits:
        return self.parameters.spending()

    @property
    def bucket(self) -> DropBucket:
        """The drop bucket; nothing is presigned here."""
        s3 = self.client("s3")
        return DropBucket(s3, s3, self.outputs["DropBucketName"])

    @property
    def drops(self) -> DropsQueue:
        """The queue that ``submit`` reads."""
        return DropsQueue(self.client("sqs"), self.outputs["DropsQueueUrl"])

    @property
    def door(self) -> Door:
        """Where fal's webhooks arrive."""
        base = self.outputs["WebhookBaseUrl"]
        if "webhook_connect" not in self.endpoints:
            return Door(base)
        api = base.removeprefix("https://").partition(".")[0]
        host = {"Host": f"{api}.execute-api.localhost"}
        return Door(
            f"https://{self.endpoints['webhook_connect']}", host, self.endpoints["ca_bundle"]
        )


@dataclass(frozen=True)
class Chosen:
    """Which stack the options name; it is reached when a command first asks for it."""

    name: str
    is_local: bool
    endpoints: Path | None
    profile: str | None
    region: str | None

    @classmethod
    def of(
        cls,
        typed: AbstractSet[str],
        name: str,
        is_local: bool,
        endpoints: Path | None,
        *on_aws: str | None,
    ) -> Self:
        """What the options mean; one that is ``typed`` wins over the environment.

        Raises:
            WrongUsage: they name two stacks.
        """
        here, there = typed & {"local", "endpoints"}, typed & {"stack", "profile", "region"}
        if here and there:
            both = " and ".join(f"--{option}" for option in sorted(here | there))
            raise WrongUsage(f"{both} select a local stack and one on AWS. Use one of them.")
        if not here | there and endpoints and os.environ.get(STACK_VARIABLE):
            raise WrongUsage(
                f"{STACK_VARIABLE} and {ENDPOINTS_VARIABLE} are both set, and name two stacks. "
                "Unset one of them, or use --stack or --local."
            )
        if there or here == {"local"}:
            endpoints = None
        return cls(name, is_local, endpoints, *on_aws)

    @cached_property
    def stack(self) -> Stack:
        """The stack that the options and the environment name."""
        return self.found_anew()

    def found_anew(self) -> Stack:
        """The same, read once more: a local cloud that is started again has other ports."""
        if self.is_local or self.endpoints:
            return Stack.on_this_machine(self.endpoints)
        return Stack.on_aws(self.name, self.profile, self.region)


def _step(exc: ClientError) -> str:
    """What to do if AWS refuses to describe the stack."""
    if exc.response["Error"].get("Code") in DENIED:
        return "Every command needs cloudformation:DescribeStacks; see docs/permissions.md."
    return advice(exc) or _ANOTHER_STACK


@contextmanager
def _well_configured() -> Iterator[None]:
    """Make a client, for which botocore reads the person's settings.

    Raises:
        StackUnreachable: one has an impossible value.
    """
    try:
        yield
    except BotoCoreError:  # some of these are ValueErrors as well
        raise
    except ValueError as exc:
        raise StackUnreachable(
            f"The settings for AWS are wrong: {first_line(exc)}.",
            "Correct AWS_ENDPOINT_URL and the like in the environment and in the AWS profile.",
        ) from exc


def _local_endpoints() -> Path:
    """The nearest working copy's, from here upwards.

    Raises:
        StackUnreachable: there is none.
    """
    here = Path.cwd()
    candidates = (folder / LOCAL_ENDPOINTS for folder in (here, *here.parents))
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise StackUnreachable(
            f"No local cloud is running in {here} or a folder above it ({LOCAL_ENDPOINTS}).",
            "Change to the folder of a running one, choose its endpoints.json with --endpoints, "
            "or start one with `make up`.",
        )
    return found
