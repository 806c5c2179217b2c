"""Every command of docs/deploy.md, in the page's order, as a person types it at a terminal.

The AWS command line, the SAM CLI and `phonoscene` are the real ones; AWS is the emulator, and fal
its simulator. Each test is a section, and needs those before it: `make deploy-check` runs them all,
in a copy of this working copy, up to the first that fails.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.deployment.emulated import HERE, THERE, client_in, running, settle
from tests.support import template
from tests.support.deploy_page import ROOT, Command, Lines, steps, write
from tests.support.local_stack import make_audio
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.cloud.endpoints import Endpoints

pytestmark = [pytest.mark.timeout(1800)]

FOLDER: Final = ROOT / ".build" / "deploy-check"
QUESTION: Final = "[y/N]"
#: One command may take so many seconds; a build on a busy machine takes minutes.
MAX_SECONDS: Final = 600
#: What a clone does not have; the tools are borrowed.
NOT_CLONED: Final = (
    ".venv*",
    ".build",
    ".local",
    ".aws-sam",
    ".git",
    "samconfig.toml",
    "*_cache",
    "__pycache__",
    ".hypothesis",
    "*.egg-info",
)
TOOLS: Final = (".venv", ".venv-sam")


@dataclass(frozen=True)
class Desk:
    """A shell in a clone, and what it leaves in AWS."""

    clone: Path
    environment: dict[str, str]
    endpoints: Endpoints
    fal_key: str
    #: Functions that were started once.
    warm: set[str] = field(default_factory=set)

    @cached_property
    def samconfig(self) -> Path:
        return self.clone / "samconfig.toml"

    def follow(self, title: str) -> list[str]:
        """Do what a section says; what each command showed."""
        done = steps(title)
        assert done, f"the page has nothing to do under {title!r}"
        return [self._do(step) for step in done]

    def _do(self, step: Command | Lines) -> str:
        if isinstance(step, Lines):
            write(self.samconfig, step)
            return ""
        return self.type(step.text)

    def type(self, command: str, code: int = 0) -> str:
        """Type one command and what it asks for, and keep the variables that it sets."""
        variables = self.clone.parent / "variables"
        variables.touch()
        before, after = f'set -a; . "{variables}"; cd "{self.clone}"', f'export -p > "{variables}"'
        script = f"{before}\n{command}\nrc=$?; {after}; exit $rc"
        with Terminal("/bin/bash", "-c", script, env=self.environment) as terminal:
            if command.startswith("read "):
                terminal.type(f"{self.fal_key}\n")
            answered = 0
            deadline = time.monotonic() + MAX_SECONDS
            while terminal.is_on:
                late = f"{command}\ntook over {MAX_SECONDS} s\n{terminal.text}"
                assert time.monotonic() < deadline, late
                if terminal.text.count(QUESTION) > answered:
                    answered += 1
                    terminal.type("y\n")
                time.sleep(0.1)
            assert terminal.end() == code, f"{command}\n{terminal.text}"
        if command.startswith("make deploy"):
            settle(self.endpoints, self.warm)
        with (FOLDER / "terminal.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {command}\n{terminal.text}\n")
        return terminal.text

    def client(self, service: str, region: str = HERE) -> Any:
        return client_in(self.endpoints, service, region)

    def parameters(self, stack: str = "phonoscene", region: str = HERE) -> dict[str, str]:
        answer = self.describe(stack, region)["Parameters"]
        return {one["ParameterKey"]: one["ParameterValue"] for one in answer}

    def describe(self, stack: str, region: str = HERE) -> dict[str, Any]:
        found: dict[str, Any] = self.client("cloudformation", region).describe_stacks(
            StackName=stack
        )["Stacks"][0]
        return found

    def resources(self, stack: str, region: str = HERE) -> dict[str, str]:
        """AWS's names by the template's; SAM adds a digest to a layer's."""
        pages = self.client("cloudformation", region).get_paginator("list_stack_resources")
        return {
            re.sub(r"Layer[0-9a-f]{10}$", "Layer", one["LogicalResourceId"]): one[
                "PhysicalResourceId"
            ]
            for page in pages.paginate(StackName=stack)
            for one in page["StackResourceSummaries"]
        }


def clone(folder: Path) -> Path:
    """The working copy as git would bring it, with a remote; its tools are the original's."""
    copy, upstream = folder / "clone", folder / "upstream.git"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_CLONED))
    for tools in TOOLS:
        (copy / tools).symlink_to(ROOT / tools)
    git = ("git", "-C", str(copy), "-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("commit", "--quiet", "--no-verify", "--message=All"),
        ("clone", "--quiet", "--bare", ".", str(upstream)),
        ("remote", "add", "origin", str(upstream)),
        ("fetch", "--quiet"),
        ("branch", "--set-upstream-to=origin/main"),
    ):
        subprocess.run([*git, *words], check=True, capture_output=True)  # noqa: S603 - our own words
    return copy


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    copy = clone(FOLDER)
    with running(FOLDER) as (endpoints, environment):
        yield Desk(copy, environment, endpoints, fal_key=environment.pop("FAL_KEY"))


def test_what_you_need(desk: Desk) -> None:
    shown = desk.follow("What you need")

    assert "Arn" in shown[-1]


def test_the_first_time(desk: Desk) -> None:
    shown = desk.follow("The first time")

    made = {name for name, one in template.read()["Resources"].items() if "Condition" not in one}
    held = desk.resources("phonoscene")
    assert made <= set(held)
    assert held["Dashboard"] == f"phonoscene-{HERE}"
    assert "SUCCEEDED" in shown[-1]
    [doctor] = [one for one in shown if "may see queues" in one]
    assert not re.search(r"^fail", doctor, re.MULTILINE)


def test_a_clone_stays_clean_and_can_be_updated(desk: Desk) -> None:
    assert desk.type("git status --short --untracked-files=no").strip() == ""
    assert "samconfig.toml" not in desk.type("git status --short")


def test_set_parameters(desk: Desk) -> None:
    shown = desk.follow("Set parameters")

    assert "FalUserId: '' becomes 'github|1234567'" in shown[-1]
    given = desk.parameters()
    assert given["FalUserId"] == "github|1234567"
    assert given["AlarmEmail"] == "you@example.com"
    assert given["MaxInFlight"] == "4"
    assert given["DailyBudgetUsd"] == "25"


def test_update(desk: Desk) -> None:
    before = desk.parameters()

    desk.follow("Update")

    assert desk.parameters() == before


def test_changing_one_parameter_undoes_no_other_and_an_undone_one_is_not_deployed_in_silence(
    desk: Desk,
) -> None:
    before, file = desk.parameters(), desk.samconfig.read_text(encoding="utf-8")
    typed = desk.type('make deploy ARGS="--parameter-overrides DailyBudgetUsd=9"')
    assert "DailyBudgetUsd: '25' becomes '9'" in typed
    assert desk.parameters() == before | {"DailyBudgetUsd": "9"}

    desk.type("make deploy")  # the file does not name it, so it stays
    assert desk.parameters() == before | {"DailyBudgetUsd": "9"}

    desk.samconfig.write_text(file.replace('"github|1234567"', '""'), encoding="utf-8")
    refused = desk.type("make deploy < /dev/null", code=2)
    assert "FalUserId: 'github|1234567' becomes ''" in refused
    assert "Nothing was deployed" in refused
    assert desk.parameters()["FalUserId"] == "github|1234567"
    desk.samconfig.write_text(file, encoding="utf-8")


def test_files_in_another_bucket(desk: Desk) -> None:
    s3 = desk.client("s3")
    s3.create_bucket(Bucket="my-recordings")
    s3.put_object(Bucket="my-recordings", Key="talks/old.wav", Body=make_audio("wav"))

    shown = desk.follow("Files in another bucket")

    assert "talks/old.wav" in shown[-2]
    assert shown[-1]


def test_rotate_the_fal_key(desk: Desk) -> None:
    desk.follow("Rotate the fal key")

    found = desk.client("ssm").get_parameter(Name="/phonoscene/fal-key", WithDecryption=True)
    assert (found["Parameter"]["Type"], found["Parameter"]["Version"]) == ("SecureString", 2)


def test_several_stacks(desk: Desk) -> None:
    before = desk.parameters()

    desk.follow("Several stacks")

    first, second = desk.resources("phonoscene"), desk.resources("second")
    abroad = desk.resources("phonoscene", THERE)
    assert set(first) >= {"DropBucket", "Dashboard", "EventBus"}
    assert set(first) == set(abroad) == set(second) | {"AlarmEmailSubscription"}
    # an API has ids of its own, which are counted in each
    theirs = [
        {n: given for n, given in one.items() if "Webhook" not in n}
        for one in (first, second, abroad)
    ]
    shared = set(theirs[0].values()) & set(theirs[1].values())
    assert shared == set()
    assert {one["Dashboard"] for one in theirs} == {
        f"phonoscene-{HERE}",
        f"second-{HERE}",
        f"phonoscene-{THERE}",
    }
    assert desk.parameters() == before
    assert desk.parameters("second")["FalUserId"] == ""
    assert desk.parameters("second")["FalKeyParameterName"] == "/second/fal-key"
    assert desk.parameters("phonoscene", THERE)["FalUserId"] == before["FalUserId"]
    services = {
        dimension["Value"]
        for alarm in desk.client("cloudwatch").describe_alarms()["MetricAlarms"]
        for dimension in alarm["Dimensions"]
        if dimension["Name"] == "service"
    }
    assert services == {"phonoscene", "second"}


def test_a_domain_of_your_own_for_the_webhooks(desk: Desk) -> None:
    desk.follow("A domain of your own for the webhooks")

    assert desk.parameters()["WebhookBaseUrl"] == "https://hooks.example.com"
    assert desk.parameters()["FalUserId"] == "github|1234567"


def test_remove_it(desk: Desk) -> None:
    kept = desk.resources("phonoscene")

    desk.follow("Remove it")

    stacks = desk.client("cloudformation").describe_stacks()["Stacks"]
    assert "phonoscene" not in {
        one["StackName"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"
    }
    assert "second" in {one["StackName"] for one in stacks}
    buckets = {one["Name"] for one in desk.client("s3").list_buckets()["Buckets"]}
    assert {kept["DropBucket"], kept["OutputBucket"]} <= buckets
    assert kept["JobsTable"] in desk.client("dynamodb").list_tables()["TableNames"]
    assert desk.describe("phonoscene", THERE)["StackStatus"] == "CREATE_COMPLETE"
