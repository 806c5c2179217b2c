"""What a client needs to talk to one local cloud, and clients made from it."""

import dataclasses
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

# A person's own profile, configuration and credentials are for AWS: never read here.
NOBODYS_SETTINGS = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@dataclass(frozen=True)
class Endpoints:
    """`endpoints.json`. Its access key is the emulator's root: only handlers are held to IAM."""

    aws_endpoint_url: str
    ca_bundle: str
    region: str
    aws_access_key_id: str
    aws_secret_access_key: str
    drop_bucket: str = ""
    output_bucket: str = ""
    jobs_table: str = ""
    drops_queue_url: str = ""
    verdicts_queue_url: str = ""
    webhook_base_url: str = ""
    webhook_connect: str = ""  # host:port to dial for it: the name itself resolves nowhere
    simulator_url: str = ""

    @classmethod
    def load(cls, file: Path) -> "Endpoints":
        """Read what `save` wrote."""
        return cls(**json.loads(file.read_text()))

    def save(self, file: Path) -> None:
        """Write it whole or not at all: others may read at any time."""
        part = file.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        part.replace(file)

    def client(self, service: str) -> Any:
        """A boto3 client of the local cloud, whatever the caller's AWS settings and proxies are."""
        return _session().client(
            service,
            endpoint_url=self.aws_endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            verify=self.ca_bundle,
            # {} is "no proxy at all"; None would be the environment's.
            config=Config(signature_version=_signature(service), proxies={}),
        )


def _signature(service: str) -> str:
    """In us-east-1 boto3 presigns S3 URLs the old way (SigV2) unless configured otherwise."""
    return "s3v4" if service == "s3" else "v4"


@cache
def _session() -> Any:
    """One for all clients of a process: each reads the services' descriptions anew (0.1 s)."""
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=NOBODYS_SETTINGS))
