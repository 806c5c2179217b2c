"""``phonoscene deploy`` on the emulator, in a region of its own: from an archive to a stack.

The code in the archive does nothing; ``tests/deployment/test_release.py`` runs a real one.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from local.releases import release
from phonoscene_cli.deployment.artefact_bucket import usual_name
from phonoscene_cli.deployment.release_archive import SUMS, code_names
from tests.support.documented import PAGE, samples, shape
from tests.support.policies import policies
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.local_stack import Phonoscene

REGION: Final = "eu-west-1"  # other tests find their functions by name, in their own region
ACCOUNT: Final = "123456789012"
STACK: Final = "fresh"
KEY: Final = "11111111-2222-3333-4444-555555555555:0123456789abcdef"
#: In the order of the template's groups: what is asked, and what a person types.
ANSWERS: Final = (
    ("FalKeyParameterName", "/fresh/fal-key"),
    ("MaxInFlight", "none"),  # which is asked again
    ("MaxInFlight", "3"),
    ("MaxJobCostUsd", ""),
    ("DailyBudgetUsd", "40"),
    ("AlarmEmail", "you@example.com"),
)


@dataclass(frozen=True)
class Desk:
    """A folder with an archive, and credentials for the emulator."""

    folder: Path
    phonoscene: Phonoscene

    @property
    def environment(self) -> dict[str, str]:
        endpoints = self.phonoscene.endpoints
        return {
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(self.folder),
            "AWS_ENDPOINT_URL": endpoints.aws_endpoint_url,
            "AWS_CA_BUNDLE": endpoints.ca_bundle,
            "AWS_ACCESS_KEY_ID": endpoints.aws_access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoints.aws_secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def command(self, *words: str) -> list[str]:
        archive = self.folder / "release.zip"
        module = [sys.executable, "-m", "phonoscene_cli", "--stack", STACK, "deploy"]
        return [*module, "--archive", str(archive), *words]

    def run(
        self, *words: str, code: int = 0, environment: Mapping[str, str] | None = None
    ) -> tuple[Any, str]:
        """Run without a terminal; the JSON, and what a person reads."""
        done = subprocess.run(  # noqa: S603 - our own words
            self.command("--json", *words),
            env=self.environment | dict(environment or {}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else None, done.stderr

    def make(self, **resources: dict[str, Any]) -> None:
        """The archive, with the properties of some resources changed."""
        template = release.release_template()
        for name, change in resources.items():
            template["Resources"].setdefault(name, {}).update(change)
        contents = {"template.json": json.dumps(template).encode()}
        for name in code_names(template):
            body = io.BytesIO()
            with zipfile.ZipFile(body, "w") as archive:
                archive.writestr("app.py", "def handler(event, context): pass\n")
            contents[name] = body.getvalue()
        sums = {SUMS: release.listing(contents).encode()}
        release.pack(self.folder / "release.zip", contents | sums)

    def client(self, service: str) -> Any:
        return replace(self.phonoscene.endpoints, region=REGION).client(service)

    @property
    def parameters(self) -> dict[str, str]:
        [stack] = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        return {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}

    @property
    def change_sets(self) -> list[Any]:
        """Those that could still be executed."""
        found = self.client("cloudformation").list_change_sets(StackName=STACK)["Summaries"]
        return [one for one in found if one["ExecutionStatus"] == "AVAILABLE"]

    @property
    def objects(self) -> dict[str, Any]:
        found = self.client("s3").list_objects_v2(Bucket=usual_name(ACCOUNT, REGION))
        return {one["Key"]: one["LastModified"] for one in found["Contents"]}

    @property
    def file(self) -> str:
        path = self.folder / ".config" / "phonoscene" / ACCOUNT / REGION / f"{STACK}.toml"
        return path.read_text()


@pytest.fixture(scope="module")
def desk(phonoscene: Phonoscene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"), phonoscene)
    found.make()
    yield found
    found.client("cloudformation").delete_stack(StackName=STACK)


def test_without_a_fal_key_nothing_is_deployed(desk: Desk) -> None:
    name = "FalKeyParameterName=/fresh/fal-key"

    _, text = desk.run("--yes", "--parameter", name, code=1)

    assert "SSM parameter /fresh/fal-key does not exist" in text
    assert desk.client("cloudformation").describe_stacks()["Stacks"] == []
    buckets = desk.client("s3").list_buckets()["Buckets"]
    assert usual_name(ACCOUNT, REGION) not in {one["Name"] for one in buckets}


def test_a_person_answers_and_gets_a_stack_and_the_key_is_shown_nowhere(desk: Desk) -> None:
    with Terminal(*desk.command(), env=desk.environment, columns=200) as terminal:
        prompts = Counter[str]()
        for asked, typed in ANSWERS:
            prompts[asked] += 1
            while terminal.text.count(f"{asked} [") < prompts[asked]:
                assert terminal.is_on, terminal.text
                time.sleep(0.05)
            terminal.type(f"{typed}\n")
            if typed == "none":
                terminal.await_text("MaxInFlight must be a number; 'none' is not")
        terminal.await_text("not shown")
        terminal.type(f"{KEY}\n")
        terminal.await_text("Deploy this? [y/N]")
        terminal.type("y\n")
        code, text = terminal.end(), terminal.text

    assert code == 0, text
    assert f"{STACK}: created" in text
    assert KEY not in text + desk.file
    expected = {name: typed for name, typed in ANSWERS if typed}
    assert expected.items() <= desk.parameters.items()
    assert desk.parameters["MaxJobCostUsd"] == "2"
    stored = desk.client("ssm").get_parameter(Name="/fresh/fal-key", WithDecryption=True)
    assert (stored["Parameter"]["Type"], stored["Parameter"]["Value"]) == ("SecureString", KEY)


def test_the_bucket_for_code_is_closed_and_encrypted(desk: Desk) -> None:
    s3, name = desk.client("s3"), usual_name(ACCOUNT, REGION)

    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    [rule] = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    [statement] = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert set(block.values()) == {True}
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert statement["Effect"] == "Deny"


def test_a_deployment_of_the_same_changes_nothing(desk: Desk) -> None:
    before, kept, stored = desk.parameters, desk.file, set(desk.objects)

    result, _ = desk.run("--yes")

    assert (result["outcome"], result["changes"]) == ("unchanged", [])
    assert (desk.parameters, desk.file, set(desk.objects)) == (before, kept, stored)


def test_a_dry_run_and_an_upload_change_no_stack_and_keep_no_answer(desk: Desk) -> None:
    before, kept = desk.parameters, desk.file

    planned, _ = desk.run("--dry-run", "--parameter", "MaxInFlight=5")
    uploaded, _ = desk.run("--upload-only", "--parameter", "MaxInFlight=5")

    assert planned["outcome"] == "planned"
    assert planned["parameters"] == [{"name": "MaxInFlight", "before": "3", "after": "5"}]
    assert {"SubmitFunction", "StoreFunction"} <= {one["name"] for one in planned["changes"]}
    assert uploaded["outcome"] == "uploaded"
    assert (desk.parameters, desk.file, desk.change_sets) == (before, kept, [])


def test_a_parameter_changes_alone_as_the_page_shows_and_is_kept_for_the_next_time(
    desk: Desk,
) -> None:
    before = desk.parameters
    [(typed, shown)] = [
        one for one in samples(PAGE).items() if one[0].startswith("phonoscene deploy ")
    ]

    command = desk.command(*typed.split()[2:])
    with Terminal(*command, env=desk.environment, columns=300) as terminal:
        terminal.await_text("Deploy this? [y/N]")
        terminal.type("y\n")
        code, text = terminal.end(), terminal.text

    assert code == 0, text
    for name, documented in (
        (str(desk.folder / "release.zip"), "phonoscene-0.1.0-aws.zip"),
        (f" {STACK} in {REGION}", " phonoscene in us-east-1"),
        (f"{STACK}: updated", "phonoscene: updated"),
    ):
        text = text.replace(name, documented)
    assert {shape(line) for line in shown} <= {shape(line) for line in text.splitlines()}
    assert desk.parameters == before | {"MaxInFlight": "5"}
    assert 'MaxInFlight = "5"' in desk.file
    assert 'DailyBudgetUsd = "40"' in desk.file


def test_a_wrong_parameter_is_refused_before_anything_is_uploaded(desk: Desk) -> None:
    before = desk.objects

    _, text = desk.run("--yes", "--parameter", "MaxInFlight=0", "--parameter", "No=1", code=2)

    assert "MaxInFlight must be at least 1" in text
    assert "no parameter No" in text
    assert desk.objects == before


def test_a_no_deploys_nothing(desk: Desk) -> None:
    before, kept = desk.parameters, desk.file

    command = desk.command("--parameter", "MaxInFlight=6")
    with Terminal(*command, env=desk.environment) as terminal:
        terminal.await_text("Deploy this? [y/N]")
        terminal.type("n\n")
        code, text = terminal.end(), terminal.text

    assert code == 1, text
    assert "Nothing was deployed." in text
    assert (desk.parameters, desk.file, desk.change_sets) == (before, kept, [])


def another_queue() -> dict[str, Any]:
    """A change for which CloudFormation replaces a queue."""
    queue = release.release_template()["Resources"]["DropsDeadLetterQueue"]
    return {"Properties": queue["Properties"] | {"QueueName": "another"}}


def test_a_queue_with_messages_is_replaced_only_if_it_is_named(desk: Desk) -> None:
    desk.make(DropsDeadLetterQueue=another_queue())
    resources = desk.client("cloudformation").list_stack_resources

    _, text = desk.run("--yes", code=1)

    assert "replace DropsDeadLetterQueue: loses its messages" in " ".join(text.split())
    assert "--accept-loss DropsDeadLetterQueue" in " ".join(text.split())
    assert "another" not in str(resources(StackName=STACK))
    assert desk.change_sets == []
    result, _ = desk.run("--yes", "--accept-loss", "DropsDeadLetterQueue")
    assert result["outcome"] == "updated"
    assert "another" in str(resources(StackName=STACK))


def test_a_failed_deployment_names_the_resource_and_its_reason(desk: Desk) -> None:
    taken = desk.phonoscene.endpoints.drop_bucket
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": taken}}
    desk.make(DropsDeadLetterQueue=another_queue(), Taken=bucket)

    _, text = desk.run("--yes", code=1)

    assert "is UPDATE_ROLLBACK_COMPLETE. Taken: " in text
    assert taken in text
    assert "Correct the cause, then deploy again." in text


def test_a_fal_key_that_is_not_encrypted_is_refused(desk: Desk) -> None:
    desk.make(DropsDeadLetterQueue=another_queue())
    desk.client("ssm").put_parameter(Name="/plain", Value=KEY, Type="String")

    _, text = desk.run("--yes", "--parameter", "FalKeyParameterName=/plain", code=1)

    assert "/plain is a String, which is not encrypted" in text
    assert KEY not in text


@pytest.fixture(scope="module")
def limited(desk: Desk) -> dict[str, str]:
    """The credentials of a person with the policies of docs/permissions.md, and nothing else."""
    iam = desk.phonoscene.iam
    iam.create_user(UserName="deployer")
    for name in ("phonoscene-deploy-data", "phonoscene-deploy-code"):
        policy = json.dumps(policies()[name]).replace("phonoscene/*", f"{STACK}/*")
        iam.put_user_policy(UserName="deployer", PolicyName=name, PolicyDocument=policy)
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def test_the_documented_policies_suffice_for_the_commands_own_calls(
    desk: Desk, limited: dict[str, str]
) -> None:
    desk.make(DropsDeadLetterQueue=another_queue())

    result, _ = desk.run("--yes", "--parameter", "MaxInFlight=7", environment=limited)

    assert result["outcome"] == "updated"


def test_a_person_without_a_permission_is_refused_with_the_next_step(
    desk: Desk, limited: dict[str, str]
) -> None:
    desk.phonoscene.iam.delete_user_policy(UserName="deployer", PolicyName="phonoscene-deploy-data")

    _, text = desk.run("--yes", "--parameter", "MaxInFlight=8", code=3, environment=limited)

    assert "docs/command-line.md lists what each command needs" in text
