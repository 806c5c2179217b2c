"""What a deployment would do: its parameters, the answers that are kept, and what may be lost."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene_cli.deployment import answers
from phonoscene_cli.deployment.answers import Answers
from phonoscene_cli.deployment.change_set import DATA, Effect, changes_of, losses, summary
from phonoscene_cli.deployment.template_parameters import (
    ASKED_FIRST,
    FAL_KEY,
    assignment,
    declared,
    effective,
    refusals,
    request,
)
from phonoscene_cli.errors import CliError, WrongUsage
from tests.support.template import read

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = declared(read())
#: What `sam deploy` and CloudFormation refuse, and what they take.
VALUES = [
    ("MaxInFlight", "4", True),
    ("MaxInFlight", "0", False),
    ("MaxInFlight", "1001", False),
    ("MaxInFlight", "many", False),
    ("MaxInFlight", "NaN", False),
    ("MaxInFlight", "Infinity", False),
    ("SameContent", "new-take", True),
    ("SameContent", "new", False),
    ("LogRetentionDays", "30", True),
    ("LogRetentionDays", "31", False),
    ("DailyBudgetUsd", "25.50", True),
    ("DailyBudgetUsd", "25 USD", False),
    ("DailyBudgetUsd", "25\n", False),
    ("AlarmEmail", "", True),
    ("EventWebhookUrl", "https://example.com/" + "x" * 2028, True),
    ("EventWebhookUrl", "https://example.com/" + "x" * 2029, False),
    ("WebhookBaseUrl", "https://example.com/", False),
    ("NoSuchParameter", "1", False),
]


@pytest.mark.parametrize(("name", "value", "is_allowed"), VALUES)
def test_a_value_is_refused_before_cloudformation_would_refuse_it(
    name: str, value: str, *, is_allowed: bool
) -> None:
    assert (refusals(KNOWN, {name: value}) == []) == is_allowed


def test_every_default_is_allowed_and_every_parameter_has_one() -> None:
    defaults = {name: one.default or "" for name, one in KNOWN.items()}

    assert set(KNOWN) == set(read()["Parameters"])
    assert all(one.default is not None for one in KNOWN.values())
    assert refusals(KNOWN, defaults) == []
    assert {*ASKED_FIRST, FAL_KEY} <= set(KNOWN)


STATES = st.dictionaries(st.sampled_from([*KNOWN, "Removed"]), st.text(max_size=3))
GIVEN = st.dictionaries(st.sampled_from(list(KNOWN)), st.text(max_size=3))


@given(STATES | st.none(), GIVEN)
def test_a_parameter_has_its_given_value_or_the_stacks_or_the_default(
    stack: dict[str, str] | None, given: dict[str, str]
) -> None:
    after = effective(KNOWN, stack, given)
    sent = request(KNOWN, stack, given)

    old = stack or {}
    assert set(after) == set(KNOWN)
    for name, one in KNOWN.items():
        assert after[name] == given.get(name, old.get(name, one.default))
    # CloudFormation refuses what the template does not have, and one parameter twice
    names = [one["ParameterKey"] for one in sent]
    assert len(names) == len(set(names))
    assert set(names) == (set(old) & set(KNOWN)) | set(given)
    for entry in sent:
        name = entry.pop("ParameterKey")
        is_given = name in given
        assert entry == (
            {"ParameterValue": given[name]} if is_given else {"UsePreviousValue": True}
        )


@pytest.mark.parametrize("text", ["", "MaxInFlight", "=4"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage):
        assignment(text)


def test_a_value_may_be_empty_and_contain_equals_signs() -> None:
    assert assignment("AlarmEmail=") == ("AlarmEmail", "")
    assert assignment("EventWebhookUrl=https://a/?b=c") == ("EventWebhookUrl", "https://a/?b=c")


TEXTS = st.text(st.characters(codec="utf-8"))


@given(
    bucket=st.none() | TEXTS.filter(bool),
    parameters=st.dictionaries(st.from_regex(r"\A[A-Za-z]+\Z"), TEXTS),
)
def test_answers_are_read_as_they_were_written(
    bucket: str | None, parameters: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("answers") / "a" / "b.toml"

    answers.write(file, Answers(bucket, parameters))

    assert answers.read(file) == Answers(bucket, parameters)


def test_without_a_file_there_are_no_answers(tmp_path: Path) -> None:
    assert answers.read(tmp_path / "none.toml") == Answers()


@pytest.mark.parametrize("text", ["[parameters", "parameters = 1", "bucket = 1", "\udcff"])
def test_a_file_of_answers_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(CliError, match=r"a\.toml cannot be read: .+ Correct it, or delete it"):
        answers.read(file)


def test_a_person_may_write_numbers_and_truths(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[parameters]\nMaxInFlight = 4\nStableKey = false\n")

    assert answers.read(file).parameters == {"MaxInFlight": "4", "StableKey": "false"}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("", "home/.config"),
        ("relative", "home/.config"),  # which the standard wants ignored
        ("{root}/config", "config"),
    ],
)
def test_the_file_is_below_the_folder_for_settings_and_one_for_each_stack(
    given: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", given.format(root=tmp_path))

    files = {
        answers.path_of(*names)
        for names in product(
            ("a", "b"), ("123456789012", "210987654321"), ("us-east-1", "eu-west-1")
        )
    }

    assert len(files) == 8
    assert all(file.is_relative_to(tmp_path / place / "phonoscene") for file in files)


ACTIONS = ("Add", "Modify", "Remove", "Import", "Dynamic", "SyncWithActual", "SomethingNew")
REPLACEMENTS = ("True", "False", "Conditional", None)
#: What may leave the stack without the resource that it has.
SAFE = {("Add", None), ("Import", None), ("Modify", "False"), ("Modify", None)}


@pytest.mark.parametrize(
    ("kind", "action", "replacement"),
    list(product([*DATA, "AWS::Lambda::Function"], ACTIONS, REPLACEMENTS)),
)
def test_only_what_keeps_a_resource_with_data_is_done_unasked(
    kind: str, action: str, replacement: str | None
) -> None:
    entry: dict[str, Any] = {"Action": action, "LogicalResourceId": "It", "ResourceType": kind}
    if replacement:
        entry["Replacement"] = replacement
    is_safe = (action, replacement) in SAFE or action in ("Add", "Import")

    changes = changes_of([{"ResourceChange": entry}, {"Type": "Hook"}])

    assert bool(losses(changes, ())) == (kind in DATA and not is_safe)
    assert losses(changes, ("It",)) == []
    assert bool(losses(changes, ("Another",))) == (kind in DATA and not is_safe)


def test_all_that_the_template_retains_has_data() -> None:
    kept = {one["Type"] for one in read()["Resources"].values() if "UpdateReplacePolicy" in one}

    assert kept < set(DATA)


def test_changes_are_counted_by_effect() -> None:
    entries = [
        {"ResourceChange": {"Action": action, "LogicalResourceId": "x", "ResourceType": "y"}}
        for action in ("Add", "Add", "Remove")
    ]

    assert summary(changes_of(entries)) == f"{Effect.CREATE} 2, {Effect.DELETE} 1"
    assert summary([]) == "none"
