"""One version: code, package, template, pages and what is sent name the same."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from setuptools.config.pyprojecttoml import read_configuration  # type: ignore[import-untyped]  # ships none
from typer.testing import CliRunner

from phonoscene.fal.client import FalClient
from phonoscene.jobs import Job, JobStatus
from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.manifests import Manifest
from phonoscene.publishing.receipts import Receipt
from phonoscene.table import transition
from phonoscene.table.transition import Transition
from phonoscene.version import USER_AGENT, VERSION
from phonoscene_cli.app import app
from tests.support import schemas
from tests.support.jobs import NOON, a_job
from tests.support.template import ROOT, read

if TYPE_CHECKING:
    import pytest

ANY = frozenset(JobStatus)
SECOND = timedelta(seconds=1)


def test_the_package_has_the_codes_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = read_configuration(ROOT / "pyproject.toml")["project"]["version"]

    assert "version" not in project
    assert found == VERSION


def test_the_template_names_the_codes_version_once() -> None:
    template: Any = read()

    assert template["Outputs"]["Version"]["Value"] == VERSION
    assert template["Globals"]["Function"]["Tags"] == {"PhonosceneVersion": VERSION}
    assert (ROOT / "template.yaml").read_text().count(f"&version {VERSION} ") == 1


def test_the_changelog_describes_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [(name, date) for name, date in headings if name != "Unreleased"]

    assert released[0][0] == VERSION
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in released)


def test_what_doctor_prints_in_its_page_is_this_version() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()

    assert re.findall(r"stack and command line are ([0-9.]+)", page) == [VERSION]


def test_the_command_line_prints_its_version() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert (result.exit_code, result.output) == (0, f"phonoscene {VERSION}\n")


def test_fal_reads_the_version_in_each_request() -> None:
    agent = FalClient("key")._http.headers["User-Agent"]

    assert f"Phonoscene/{VERSION}" == USER_AGENT
    assert agent.startswith(f"{USER_AGENT} fal-client/")


def test_receipt_event_and_manifest_name_the_version_that_wrote_the_last_step() -> None:
    job = Job.new(JobStatus.READY, NOON, job_id="0" * 32, name="a", bucket="b")
    receipt, event = Receipt.of(job, None), StatusChanged.of(None, job, None, "out")

    assert event
    detail = json.loads(event.to_json())
    schemas.check(detail)
    assert detail["phonoscene_version"] == VERSION
    assert json.loads(receipt.to_json())["phonoscene_version"] == VERSION
    assert Manifest.of(job).phonoscene_version == VERSION


def test_a_record_of_an_unknown_version_is_published_without_one() -> None:
    receipt = Receipt.of(a_job(), None)

    assert "phonoscene_version" not in json.loads(receipt.to_json())
    assert "phonoscene_version" not in Manifest.of(a_job()).fields()


def test_a_new_version_replaces_no_receipt_before_the_job_takes_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Job.new(JobStatus.READY, NOON, job_id="0" * 32, name="a", bucket="b")
    published = Receipt.of(before, None)

    monkeypatch.setattr(transition, "VERSION", "9.0.0")
    again = Receipt.of(before, None)
    step = Transition(before, JobStatus.SUBMITTING, NOON + SECOND, None, ANY, {})
    after = Receipt.of(step.after, None)

    assert again == published
    assert not again.is_newer_than(published)
    assert after.phonoscene_version == "9.0.0"
    assert after.is_newer_than(published)
