"""The README says what the code does."""

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
from tests.unit.test_template import RESOURCES

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("name", Sidecar.model_fields)
def test_the_sidecar_table_has_the_models_row(name: str) -> None:
    info = Sidecar.model_fields[name]

    assert f"| `{name}` | {allowed(name)} | {_default(info)} | {info.description} |" in README


def test_the_sidecar_table_has_no_other_rows() -> None:
    table = README.partition("## The sidecar")[2].partition("## Deploy")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Sidecar.model_fields)


def test_the_audio_suffixes_are_named() -> None:
    assert f"Audio is `{' '.join(AUDIO_SUFFIXES)}`" in README


@pytest.mark.parametrize("name", Receipt.model_fields)
def test_every_field_of_a_receipt_is_told_of(name: str) -> None:
    told = README.partition("## What comes back")[2].partition("\n## ")[0]

    assert f"`{name}`" in told


def test_the_rule_that_starts_another_system_fits_the_events_that_are_sent() -> None:
    [pattern] = re.findall(r"--event-pattern \\\n\s+'(.*)'", README)

    wanted = json.loads(pattern)

    assert (wanted["source"], wanted["detail-type"]) == ([SOURCE], [STATUS_CHANGED])
    assert set(wanted["detail"]["status"]) <= set(JobStatus)
    assert f'"type": "{TYPE}"' in README


def test_what_the_page_says_the_stack_creates_is_what_it_creates() -> None:
    words = ["no", "one", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    made = README.partition("It creates ")[2].partition("Idle it costs")[0]
    always = [one for one in RESOURCES.values() if "Condition" not in one]
    kinds = Counter(one["Type"] for one in always)

    assert f"{words[kinds['AWS::SQS::Queue'] + 1]} queues, a table" in made
    assert f"{words[kinds['AWS::Serverless::Function'] + 1]} functions" in made
    assert "a topic and alarms;" in " ".join(made.split())


@pytest.mark.parametrize("status", JobStatus)
def test_every_state_is_explained_to_its_user(status: JobStatus) -> None:
    assert f"`{status}`" in README


@pytest.mark.parametrize("status", [status for status in JobStatus if TRANSITIONS[status]])
def test_the_architecture_page_names_a_states_followers(status: JobStatus) -> None:
    (row,) = re.findall(rf"^\| `{status}` \|.*\| (.*) \|$", ARCHITECTURE, re.MULTILINE)

    assert set(re.findall(r"`([A-Z]+)`", row)) == set(TRANSITIONS[status])


@pytest.mark.parametrize("document", sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"]))
def test_every_local_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())

    assert [link for link in links if not (document.parent / link).exists()] == []


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    if info.default is None:
        return "\N{EN DASH}"
    is_long = isinstance(info.default, str) and len(info.default) > 40
    return "fal's own list" if is_long else f"`{json.dumps(info.default)}`"
