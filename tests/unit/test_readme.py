"""The README, the reference and the architecture page say what the code does."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from phonoscene.drops.keys import AUDIO_SUFFIXES
from phonoscene.drops.sidecar import Sidecar
from phonoscene.drops.validation_errors import allowed
from phonoscene.jobs import TRANSITIONS, JobStatus
from phonoscene.publishing.event_bus import SOURCE, STATUS_CHANGED
from phonoscene.publishing.event_webhooks import TYPE
from phonoscene.publishing.receipts import Receipt
from tests.support.state_diagram import state_diagram, with_diagram
from tests.support.template import read

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
FOLDERS = ("", "docs/", "examples/", "benchmarks/", "tests/media/cases/")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}*.md"))


@pytest.mark.parametrize("name", Sidecar.model_fields)
def test_the_sidecar_table_has_the_models_row(name: str) -> None:
    info = Sidecar.model_fields[name]

    assert f"| `{name}` | {allowed(name)} | {_default(info)} | {info.description} |" in REFERENCE


def test_the_sidecar_table_has_no_other_rows() -> None:
    table = REFERENCE.partition("## The sidecar")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Sidecar.model_fields)


def test_the_audio_suffixes_are_named() -> None:
    assert f"Audio is `{' '.join(AUDIO_SUFFIXES)}`" in REFERENCE


@pytest.mark.parametrize("name", Receipt.model_fields)
def test_the_reference_names_every_field_of_a_receipt(name: str) -> None:
    section = REFERENCE.partition("## What comes back")[2].partition("\n## ")[0]

    assert f"`{name}`" in section


def test_the_rule_that_starts_another_system_fits_the_events_that_are_sent() -> None:
    [pattern] = re.findall(r"--event-pattern \\\n\s+'(.*)'", REFERENCE)

    wanted = json.loads(pattern)

    assert (wanted["source"], wanted["detail-type"]) == ([SOURCE], [STATUS_CHANGED])
    assert set(wanted["detail"]["status"]) <= set(JobStatus)
    assert f'"type": "{TYPE}"' in REFERENCE


def test_the_reference_counts_what_the_stack_creates() -> None:
    words = ["no", "one", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    made = REFERENCE.partition("\n## What the stack creates")[2].partition("\n## ")[0]
    always = [one for one in read()["Resources"].values() if "Condition" not in one]
    kinds = Counter(one["Type"] for one in always)

    assert f"{words[kinds['AWS::SQS::Queue'] + 1]} queues, a table" in made
    assert f"{words[kinds['AWS::Serverless::Function'] + 1]} functions" in made
    assert "a topic and alarms." in made


@pytest.mark.parametrize("status", JobStatus)
def test_the_reference_explains_every_state(status: JobStatus) -> None:
    states = REFERENCE.partition("\n## States")[2].partition("\n## ")[0]

    assert f"| `{status}` | " in states


@pytest.mark.parametrize("status", [status for status in JobStatus if TRANSITIONS[status]])
def test_the_architecture_page_names_a_states_followers(status: JobStatus) -> None:
    (row,) = re.findall(rf"^\| `{status}` \|.*\| (.*) \|$", ARCHITECTURE, re.MULTILINE)

    assert set(re.findall(r"`([A-Z]+)`", row)) == set(TRANSITIONS[status])


def test_the_diagram_of_states_is_the_one_that_the_transitions_generate() -> None:
    """Run ``python -m tests.support.state_diagram`` to update it."""
    assert with_diagram(README) == README
    assert state_diagram() in README


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()

    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert set(re.findall(r"^- \[(\w[\w-]*\.md)\]\(\1\)", index, re.MULTILINE)) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)\s]*)\)", page.read_text())

    assert [link for link in links if not _exists(page, link)] == []


def _exists(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them: lower case, hyphens, no punctuation."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    if info.default is None:
        return "\N{EN DASH}"
    is_long = isinstance(info.default, str) and len(info.default) > 40
    return "fal's own list" if is_long else f"`{json.dumps(info.default)}`"
