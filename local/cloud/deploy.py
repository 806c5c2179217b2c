"""Deploys template.yaml as `sam deploy` would: package, upload, one CloudFormation stack."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # ships none

from local.cloud import build, layer_link
from local.cloud.endpoints import Endpoints
from local.errors import LocalCloudError
from local.paths import PROJECT, TEMPLATE

STACK = "phonoscene"
ARTEFACTS_BUCKET = "phonoscene-artefacts"
TEMPLATE_KEY = "template.json"  # CloudFormation takes 51,200 bytes in a request, 1 MB from S3
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
DEPLOY_SECONDS = 120
FAILED_SUFFIXES = ("_FAILED", "ROLLBACK_COMPLETE")

# The property that names a resource's sources, by type.
SOURCES = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
}


def read_template() -> dict[str, Any]:
    """template.yaml, its short forms (!Ref) spelt out."""
    if not TEMPLATE.is_file():
        raise LocalCloudError(f"{TEMPLATE} is missing: this is not a whole working copy.")
    template: dict[str, Any] = yaml_parse(TEMPLATE.read_text())
    return template


def check_parameters(template: Mapping[str, Any], values: Mapping[str, str]) -> None:
    """Refuse a parameter that the template does not have."""
    known = template["Parameters"]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise LocalCloudError(
            f"template.yaml has no parameter {', '.join(unknown)}; it has {', '.join(known)}."
        )


def parameter(template: Mapping[str, Any], values: Mapping[str, str], name: str) -> str:
    """A parameter's value: what was given, or the template's default."""
    return values.get(name) or str(template["Parameters"][name]["Default"])


@dataclass(frozen=True)
class Package:
    """A template whose folders are replaced by the addresses of their zip files, and those."""

    template: dict[str, Any]
    whole: dict[str, Path]
    #: Layers for this machine, which are uploaded by reference.
    linked: dict[str, Path]

    def fingerprint(self, values: Mapping[str, str]) -> str:
        """Changes when anything would be deployed differently."""
        return hashlib.sha256(json.dumps([self.template, dict(values)]).encode()).hexdigest()


def package(template: Mapping[str, Any], target: build.Target = "host") -> Package:
    """Build and zip what the template names. An archive's key is the hash of its content."""
    made = Package(json.loads(json.dumps(template)), {}, {})
    for name, resource in made.template["Resources"].items():
        source = SOURCES.get(resource["Type"])
        if source:
            archive = _archive(name, PROJECT / resource["Properties"][source], target)
            key = f"{archive.stem}-{hashlib.sha256(archive.read_bytes()).hexdigest()[:16]}.zip"
            is_linked = source == "ContentUri" and target == "host"
            (made.linked if is_linked else made.whole)[key] = archive
            resource["Properties"][source] = f"s3://{ARTEFACTS_BUCKET}/{key}"
    return made


class Stack:
    """The one CloudFormation stack of a local cloud."""

    def __init__(self, endpoints: Endpoints, unpacked: Path) -> None:
        self._unpacked = unpacked
        self._formation = endpoints.client("cloudformation")
        self._s3 = endpoints.client("s3")
        self._lambda = endpoints.client("lambda")

    def deploy(self, package: Package, values: Mapping[str, str]) -> dict[str, str]:
        """Create or update the stack; return its outputs."""
        self._upload(package)
        request = {
            "StackName": STACK,
            "TemplateURL": f"https://s3.amazonaws.com/{ARTEFACTS_BUCKET}/{TEMPLATE_KEY}",
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value} for key, value in values.items()
            ],
            "Capabilities": CAPABILITIES,
        }
        if self._status() is None:
            self._formation.create_stack(**request)
        else:
            self._update(request)
        outputs = self._outputs()
        self._make_limits_numbers()
        return outputs

    def _upload(self, package: Package) -> None:
        self._s3.create_bucket(Bucket=ARTEFACTS_BUCKET)
        for key, archive in package.whole.items():
            self._put(key, archive.read_bytes())
        for key, archive in package.linked.items():
            built, mine = archive.with_suffix(""), self._unpacked / key.removesuffix(".zip")
            with build.turn():  # what is being built anew is not whole
                guide = layer_link.by_reference(built, mine)
            self._put(key, guide)
        self._put(TEMPLATE_KEY, json.dumps(package.template).encode())

    def _put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=ARTEFACTS_BUCKET, Key=key, Body=body)

    def _update(self, request: Mapping[str, Any]) -> None:
        try:
            self._formation.update_stack(**request)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise

    def _make_limits_numbers(self) -> None:
        """Set each event source's limit again, as the number that it is.

        A Number parameter arrives in a resource as text. AWS converts it; the emulator's poller
        compares it with a number, fails, and delivers nothing (ministack 1.5.33).
        """
        for mapping in self._lambda.list_event_source_mappings()["EventSourceMappings"]:
            limit = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
            if limit is not None:
                self._lambda.update_event_source_mapping(
                    UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
                )

    def _status(self) -> str | None:
        try:
            found = self._formation.describe_stacks(StackName=STACK)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        status: str = found[0]["StackStatus"]
        return status

    def _outputs(self) -> dict[str, str]:
        """Wait for the stack's end; its outputs, or its reasons."""
        deadline = time.monotonic() + DEPLOY_SECONDS
        while True:
            status = self._status() or ""
            if status.endswith(FAILED_SUFFIXES):
                raise LocalCloudError(f"The stack is {status}:\n{self._reasons()}")
            if status.endswith("_COMPLETE"):
                break
            if time.monotonic() > deadline:
                raise LocalCloudError(f"The stack is still {status} after {DEPLOY_SECONDS} s.")
            time.sleep(0.1)
        outputs = self._formation.describe_stacks(StackName=STACK)["Stacks"][0].get("Outputs", [])
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def _reasons(self) -> str:
        events = self._formation.describe_stack_events(StackName=STACK)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        return "\n".join(
            f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', '?')}"
            for event in reversed(failed)
        )


def _archive(name: str, folder: Path, target: build.Target) -> Path:
    """The zip file of a resource's sources; layers are distinguished by their names."""
    for layer in build.ALL_LAYERS:
        if layer.name == name:
            return build.zip_layer(build.build_layer(target, layer), target)
    return build.zip_function(folder, target)
