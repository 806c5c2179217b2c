"""GitHub's workflows run fixed actions with no more rights than they need, and targets that exist.

``make check`` has them read by zizmor, too.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from phonoscene.version import VERSION
from tests.support.template import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / ".github"
WORKFLOWS = sorted(FOLDER.glob("workflows/*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
USES = re.compile(r"uses: ([\w.-]+/[\w./-]+)@(\S+) # (v\d+\.\d+\.\d+)$", re.MULTILINE)


def jobs(workflow: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(workflow.read_text())["jobs"].values())


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(workflow) for step in job.get("steps", [])]


def commands(workflow: Path) -> str:
    return "\n".join(step.get("run", "") for step in steps(workflow))


def test_every_action_is_pinned_to_one_commit_that_is_named_by_its_version() -> None:
    texts = [workflow.read_text() for workflow in WORKFLOWS]
    pins = {pin for text in texts for pin in USES.findall(text)}
    others = [line for text in texts for line in re.findall(r"uses: .*", text)]

    assert all(re.fullmatch("[0-9a-f]{40}", commit) for _, commit, _ in pins)
    assert len({action for action, _, _ in pins}) == len(pins)
    assert {line for line in others if not USES.search(line)} == {
        "uses: $/.github/workflows/test.yml"
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_each_job_names_its_own_rights_and_ends_by_itself(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {}
    assert all("permissions" in job for job in jobs(workflow))
    assert all(job.get("timeout-minutes") for job in jobs(workflow) if "steps" in job)


def test_only_a_job_that_runs_none_of_our_code_may_write() -> None:
    everything = [job for workflow in WORKFLOWS for job in jobs(workflow)]
    writers = [job for job in everything if "write" in job["permissions"].values()]

    assert len(writers) == 1
    (writer,) = writers
    assert writer["environment"] == "release"
    text = yaml.safe_dump(writer["steps"])
    assert "checkout" not in text
    assert "make" not in text


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_each_target_of_make_exists(workflow: Path) -> None:
    made = set(re.findall(r"\bmake ([a-z-]+)", commands(workflow)))
    known = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert made
    assert made <= known


def test_the_suite_runs_on_lambdas_python_and_the_core_on_the_oldest() -> None:
    every, core = jobs(FOLDER / "workflows/test.yml")
    (lambdas,) = set(re.findall(r"Runtime: python([\d.]+)", (ROOT / "template.yaml").read_text()))

    versions = [step["with"]["python-version"] for step in every["steps"] if "setup" in str(step)]

    assert versions == [lambdas]
    assert f">={core['strategy']['matrix']['python'][0]}" == PROJECT["requires-python"]


def test_a_report_of_a_bug_asks_for_what_its_diagnosis_needs() -> None:
    form = yaml.safe_load((FOLDER / "ISSUE_TEMPLATE/bug.yml").read_text())
    asked = "\n".join(str(part["attributes"]) for part in form["body"])

    assert "phonoscene doctor --json" in asked
    assert "{name}.status.json" in asked
    assert "phonoscene --version" in asked


def test_the_security_policy_supports_the_current_version() -> None:
    series = re.sub(r"\.\d+$", ".x", VERSION)

    assert f"| {series} | yes |" in (ROOT / "SECURITY.md").read_text()
