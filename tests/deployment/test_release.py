"""docs/deploy-elsewhere.md: a release without a clone, from an empty folder to a video, and in CDK.

`make deploy-check` runs this. Each test needs those before it. The release is made for this
machine's Python, because the emulator runs functions on it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from local.releases import release
from phonoscene_cli.deployment.release_archive import SERVERLESS_REPO
from tests.deployment.emulated import HERE, THERE, client_in, running, settle
from tests.support import template
from tests.support.deploy_page import ROOT
from tests.support.local_stack import make_audio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.cloud.endpoints import Endpoints

pytestmark = [pytest.mark.timeout(1800)]

PAGE: Final = (ROOT / "docs" / "deploy-elsewhere.md").read_text(encoding="utf-8")
SAM: Final = ROOT / ".venv-sam" / "bin" / "sam"
#: From nothing to the first line of `doctor`; of CPU, because other programs may run here, too.
MAX_SECONDS: Final = 60
CDK: Final = ("aws-cdk-lib@2", "constructs@10")


def example(language: str) -> str:
    """The page's block in a language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@dataclass(frozen=True)
class Desk:
    """An empty folder with a release, and credentials for the emulator."""

    folder: Path
    environment: dict[str, str]
    endpoints: Endpoints
    archive: Path
    wheel: Path

    def run(self, *words: str | Path, code: int = 0, **environment: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own words
            [str(word) for word in words],
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def phonoscene(self, *words: str | Path) -> str:
        return self.run(self.folder / "venv" / "bin" / "phonoscene", *words)

    def client(self, service: str, region: str = HERE) -> Any:
        return client_in(self.endpoints, service, region)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder, dist = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("dist")
    wheel, archive, sums = release.make("host", dist)
    check = ("sha256sum", "--check", "--strict", str(sums))
    subprocess.run(check, cwd=dist, check=True)  # noqa: S603 - our own words
    world = ROOT / ".build" / "release-check"
    shutil.rmtree(world, ignore_errors=True)
    with running(world) as (endpoints, environment):
        region = {"AWS_DEFAULT_REGION": HERE}
        yield Desk(folder, environment | region, endpoints, archive, wheel)


def test_two_commands_lead_from_nothing_but_python_to_the_doctor(desk: Desk) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    desk.run(sys.executable, "-m", "venv", "venv")
    desk.run(desk.folder / "venv/bin/pip", "install", "--quiet", f"{desk.wheel}[cli]")
    done = subprocess.run(  # noqa: S603 - our own words
        [desk.folder / "venv" / "bin" / "phonoscene", "doctor"],
        env=desk.environment,
        cwd=desk.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < MAX_SECONDS
    assert "There is no stack phonoscene in us-east-1" in done.stdout
    assert done.returncode == 1


def test_the_archive_becomes_a_stack_and_a_drop_becomes_a_video(desk: Desk) -> None:
    result = json.loads(desk.phonoscene("deploy", "--archive", desk.archive, "--yes", "--json"))
    settle(desk.endpoints, set())
    (desk.folder / "talk.wav").write_bytes(make_audio("wav", 2.0))

    words = ("--prompt", "A singer on a bare stage", "--out", "talk.mp4", "--yes")
    desk.phonoscene("drop", "talk.wav", *words)

    assert result["outcome"] == "created"
    assert (desk.folder / "talk.mp4").read_bytes()[4:8] == b"ftyp"
    doctor = desk.phonoscene("doctor")
    assert "functions are ready" in doctor
    assert not re.search(r"^fail", doctor, re.MULTILINE)


def test_an_uploaded_template_makes_a_stack_with_the_capabilities_of_the_page(desk: Desk) -> None:
    """As Terraform's provider does it: CreateStack, without a change set."""
    words = ("--archive", desk.archive, "--upload-only")
    url = desk.phonoscene("--region", THERE, "deploy", *words).strip()
    formation = desk.client("cloudformation", THERE)
    capabilities = re.findall(r"^\| `(CAPABILITY_\w+)` \|", PAGE, re.MULTILINE)
    block = example("hcl")

    formation.create_stack(
        StackName="terraformed",
        TemplateURL=url,
        Capabilities=capabilities,
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in re.findall(r'^    (\w+) += "(.+)"$', block, re.MULTILINE)
        ],
    )

    formation.get_waiter("stack_create_complete").wait(StackName="terraformed")
    assert json.loads(re.findall(r"capabilities = (\[.+\])", block)[0]) == capabilities
    [output] = re.findall(r'outputs\["(\w+)"\]', block)
    assert output in template.read()["Outputs"]


def test_the_template_can_be_nested(desk: Desk) -> None:
    """The emulator does not transform nested templates, as AWS does: this one is transformed."""
    s3, formation = desk.client("s3", THERE), desk.client("cloudformation", THERE)
    processed = formation.get_template(StackName="terraformed", TemplateStage="Processed")
    s3.create_bucket(Bucket="nested", CreateBucketConfiguration={"LocationConstraint": THERE})
    body = json.dumps(processed["TemplateBody"]).encode()
    s3.put_object(Bucket="nested", Key="packaged.json", Body=body)

    formation.create_stack(
        StackName="mine",
        TemplateBody=example("yaml").replace("MY-BUCKET", "nested"),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )

    formation.get_waiter("stack_create_complete").wait(StackName="mine")
    [mine] = formation.describe_stacks(StackName="mine")["Stacks"]
    assert "dropbucket" in mine["Outputs"][0]["OutputValue"]


@pytest.fixture(scope="module")
def packaged(desk: Desk) -> Path:
    """What the SAM CLI makes of the unpacked archive."""
    with zipfile.ZipFile(desk.archive) as archive:
        archive.extractall(desk.folder / "release")
    desk.client("s3").create_bucket(Bucket="my-bucket")
    output = desk.folder / "packaged.json"
    words = ("--s3-bucket", "my-bucket", "--use-json", "--output-template-file", output)
    desk.run(SAM, "package", "--template-file", "release/template.json", *words)
    return output


def test_sam_packages_the_code_and_the_repositorys_metadata(desk: Desk, packaged: Path) -> None:
    made = json.loads(packaged.read_text())

    named = [
        one["Properties"][source]
        for one in made["Resources"].values()
        for source in ("CodeUri", "ContentUri")
        if source in one["Properties"]
    ]
    metadata = made["Metadata"][SERVERLESS_REPO]
    stored = desk.client("s3").list_objects_v2(Bucket="my-bucket")["Contents"]
    keys = {f"s3://my-bucket/{one['Key']}" for one in stored}
    assert len(named) == 10
    assert {*named, metadata["LicenseUrl"], metadata["ReadmeUrl"]} <= keys


def test_the_aws_command_line_packages_it_too(desk: Desk, packaged: Path) -> None:
    aws = ROOT / ".venv-aws" / "bin" / "aws"
    words = ("--s3-bucket", "my-bucket", "--use-json", "--output-template-file", "by-aws.json")

    desk.run(aws, "cloudformation", "package", "--template-file", "release/template.json", *words)

    ours, theirs = (
        json.loads(path.read_text()) for path in (packaged, desk.folder / "by-aws.json")
    )
    assert ours["Resources"].keys() == theirs["Resources"].keys()


def test_cdk_includes_the_packaged_template_with_its_logical_ids(
    desk: Desk, packaged: Path
) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not installed. The CDK example of the page is not run.")
    folder = desk.folder / "cdk"
    folder.mkdir()
    (folder / "app.js").write_text(example("javascript"))
    machine = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    quiet = ("--no-audit", "--no-fund", "--silent", "--ignore-scripts")
    for words in (("npm", "install", *quiet, *CDK), ("node", "app.js")):
        subprocess.run(  # noqa: S603 - our own words
            words,
            cwd=folder,
            env=machine | {"TEMPLATE": str(packaged), "CDK_OUTDIR": str(folder / "out")},
            check=True,
            capture_output=True,
        )

    ours = json.loads(packaged.read_text())
    theirs = json.loads((folder / "out" / "phonoscene.template.json").read_text())
    assert theirs["Resources"].keys() == ours["Resources"].keys()
    for name, one in ours["Resources"].items():
        for field in ("Type", "Condition", "DeletionPolicy", "UpdateReplacePolicy"):
            assert theirs["Resources"][name].get(field) == one.get(field)
    assert set(ours["Outputs"]) < set(theirs["Outputs"])
