"""docs/reference.md says what the code and the template do."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from annotated_types import Le

from local.fal_simulator.schema import MAX_FRAMES
from phonoscene.drops.keys import AUDIO_SUFFIXES
from phonoscene.drops.sidecar import Sidecar
from phonoscene.drops.validation_errors import allowed
from phonoscene.jobs import JobStatus
from phonoscene.publishing.event_bus import SOURCE, STATUS_CHANGED
from phonoscene.publishing.event_webhooks import TYPE
from phonoscene.publishing.public_job import Problem
from phonoscene.publishing.receipts import Receipt
from phonoscene.publishing.wording import WAITS
from tests.support.template import ROOT, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

NAME = "docs/reference.md"
REFERENCE = (ROOT / NAME).read_text()
NONE = "\N{EN DASH}"


@pytest.mark.parametrize("name", Sidecar.model_fields)
def test_the_sidecar_table_has_the_models_row(name: str) -> None:
    info = Sidecar.model_fields[name]

    row = f"| `{name}` | {allowed(name)} | {_default(info)} | {info.description} |"

    assert row in REFERENCE, f"{NAME} lacks this row in the table of the sidecar"


def test_the_sidecar_table_has_no_other_rows() -> None:
    table = REFERENCE.partition("## The sidecar")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Sidecar.model_fields)


def test_the_longest_video_of_a_request_is_the_same_everywhere() -> None:
    limits = Sidecar.model_fields["num_frames"].metadata
    most = next(int(str(one.le)) for one in limits if isinstance(one, Le))
    line = f"One request to fal makes up to {most} frames: {most // 24} s at 24 frames per second."

    assert read()["Parameters"]["MaxFrames"]["MaxValue"] == most, "template.yaml: MaxFrames"
    assert most == MAX_FRAMES, "local/fal_simulator/schema.py: MAX_FRAMES"
    assert line in REFERENCE, f"{NAME} lacks: {line}"


def test_the_audio_suffixes_are_named() -> None:
    assert f"Audio is `{' '.join(AUDIO_SUFFIXES)}`" in REFERENCE


def test_the_table_of_parameters_is_the_templates_in_the_order_of_the_console() -> None:
    template = read()
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    table = REFERENCE.partition("\n## Parameters")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `.+$", table, re.MULTILINE) == [
        _parameter_row(name, template["Parameters"][name])
        for group in groups
        for name in group["Parameters"]
    ], f"{NAME} repeats name, default and description of each parameter under “Parameters”"


def _parameter_row(name: str, parameter: dict[str, Any]) -> str:
    default = f"`{parameter['Default']}`" if parameter["Default"] != "" else NONE
    return f"| `{name}` | {default} | {parameter['Description']} |"


@pytest.mark.parametrize("name", [*Receipt.model_fields, *Problem.model_fields])
def test_the_reference_names_every_field_of_a_receipt(name: str) -> None:
    section = REFERENCE.partition("## What comes back")[2].partition("\n## ")[0]

    assert f"`{name}`" in section, f"{NAME} does not name {name} under “What comes back”"


def test_the_reference_explains_what_a_job_waits_for() -> None:
    table = REFERENCE.partition("\n| `waits.what` |")[2].partition("\n\n")[0]
    explained = {
        what
        for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        for what in re.findall(r"\w+", row)
    }

    assert explained == set(WAITS), f"{NAME} needs a row for each of WAITS, and no other"


def test_the_reference_names_every_code_of_an_error_and_no_other() -> None:
    long_audio = REFERENCE.partition("\n## Long audio")[2].partition("\n## ")[0]
    tables = REFERENCE.partition("\n### Error codes")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.+?) \|", tables + long_audio, re.MULTILINE)
    named = {code for row in rows for code in re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", row)}
    texts = {text for module in MODULES for text in _texts(module)}

    unnamed = {code for module in MODULES for code in _codes(module)} - named
    assert not unnamed, f"{NAME} does not name {unnamed} under “Error codes” or “Long audio”"
    assert named - {"audio_too_large"} <= texts  # put together, as that of an image is


MODULES = [ast.parse(path.read_text()) for path in (ROOT / "layers").rglob("*.py")]
#: The place of the code among the arguments of what makes an error of it.
MAKERS = {"MediaRefused": 0, "EditingFailed": 0, "Refused": 0, "wrong_value": 3}


def _codes(module: ast.Module) -> Iterator[str]:
    """The codes that a module gives to errors, where it spells them out."""
    for call in ast.walk(module):
        if isinstance(call, ast.Call):
            place = MAKERS.get(ast.unparse(call.func), len(call.args))
            given = [one.value for one in call.keywords if one.arg == "code"]
            for code in given + call.args[place : place + 1]:
                if isinstance(code, ast.Constant):
                    yield str(code.value)


def _texts(module: ast.Module) -> Iterator[str]:
    """The strings in a module."""
    for one in ast.walk(module):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def test_a_change_without_an_event_is_seen_in_fields_of_the_receipt() -> None:
    table = REFERENCE.partition("| no event is sent if … |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| .+ \| (`.+`) \|$", table, re.MULTILINE)

    fields = {field for cell in cells for field in re.findall(r"`(\w+)`", cell)}

    assert fields <= Receipt.model_fields.keys()
    assert {"notes", "waits", "duplicates"} <= fields


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

    assert f"| `{status}` | " in states, f"{NAME} lacks a row for {status} under “States”"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    if info.default is None:
        return NONE
    is_long = isinstance(info.default, str) and len(info.default) > 40
    return "fal's own list" if is_long else f"`{json.dumps(info.default)}`"
