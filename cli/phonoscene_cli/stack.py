"""One deployed stack: the names of its parts, and clients to reach them.

Names are the stack's outputs, on AWS and on a laptop alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.job_store import JobStore
from phonoscene_cli.errors import StackUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL_STACK = "phonoscene"
#: What ``make up`` writes, in the working copy.
LOCAL_ENDPOINTS = Path(".local") / "endpoints.json"


@dataclass(frozen=True)
class Stack:
    """The stack ``name``, reached through ``session``; ``options`` are those of every client."""

    name: str
    session: boto3.Session
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def on_aws(cls, name: str, profile: str | None, region: str | None) -> Self:
        """With the credentials that the AWS command line would use."""
        try:
            session = boto3.Session(profile_name=profile, region_name=region)
        except BotoCoreError as exc:
            raise StackUnreachable(f"{exc}. Name another with --profile.") from exc
        if session.region_name is None:
            raise StackUnreachable("No region is set: name the stack's with --region.")
        return cls(name, session)

    @classmethod
    def on_this_machine(cls, file: Path | None = None) -> Self:
        """The local cloud's, from the file that it writes while it is up."""
        found = file or _local_endpoints()
        try:
            told = json.loads(found.read_text())
        except (OSError, ValueError) as exc:
            raise StackUnreachable(
                f"{found} cannot be read: start the local cloud with `make up`."
            ) from exc
        session = boto3.Session(
            told["aws_access_key_id"],
            told["aws_secret_access_key"],
            region_name=told["region"],
        )
        options = {
            "endpoint_url": told["aws_endpoint_url"],
            "verify": told["ca_bundle"],
            "config": Config(proxies={}),  # none at all; None would be the environment's
        }
        return cls(LOCAL_STACK, session, options)

    def client(self, service: str) -> Any:
        """A client of one AWS service."""
        options: Any = dict(self.options)
        client: Any = self.session.client(service, **options)  # type: ignore[call-overload]  # any service
        return client

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs by name.

        Raises:
            StackUnreachable: with what to do about it.
        """
        try:
            found = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as exc:
            if "does not exist" in str(exc):
                where = self.session.region_name
                why = f"there is no stack {self.name} in {where}: name yours with --stack"
                raise StackUnreachable(f"{why}, or its region with --region.") from exc
            raise StackUnreachable(f"{exc}") from exc
        except BotoCoreError as exc:
            raise StackUnreachable(f"AWS cannot be asked: {exc}") from exc
        return {one["OutputKey"]: one["OutputValue"] for one in found[0].get("Outputs", [])}

    @cached_property
    def jobs(self) -> JobStore:
        """The jobs table."""
        return JobStore(self.client("dynamodb"), self.outputs["JobsTableName"])


def _local_endpoints() -> Path:
    """The nearest working copy's, from here upwards."""
    here = Path.cwd()
    candidates = (folder / LOCAL_ENDPOINTS for folder in (here, *here.parents))
    return next((file for file in candidates if file.is_file()), LOCAL_ENDPOINTS)
