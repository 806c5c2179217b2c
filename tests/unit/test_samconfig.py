"""What samconfig.toml would change of a stack, and that nothing changes in silence."""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from local import changes
from phonoscene_cli.doctor import samconfig
from phonoscene_cli.errors import CliError
from tests.support import template
from tests.support.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: One set of parameters in each form that the SAM CLI takes.
SAME = {
    "a table": """
        [default.deploy.parameters.parameter_overrides]
        MaxInFlight = 4
        FalUserId = "a b"
        """,
    "a text": """
        [default.deploy.parameters]
        parameter_overrides = "MaxInFlight=4 FalUserId=\\"a b\\""
        """,
    "a list": """
        [default.deploy.parameters]
        parameter_overrides = ["MaxInFlight=4", "FalUserId='a b'"]
        """,
    "the long form": """
        [default.deploy.parameters]
        parameter_overrides = '''
        ParameterKey=MaxInFlight,ParameterValue=4 ParameterKey=FalUserId,ParameterValue="a b"'''
        """,
    "for all commands": """
        [default.global.parameters]
        parameter_overrides = "MaxInFlight=4 FalUserId='a b'"
        """,
}
REGION = "eu-central-1"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "samconfig.toml"


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_parameters_are_read_in_every_form_that_sam_takes(file: Path, text: str) -> None:
    file.write_text(f"version = 0.1\n{text}\n")

    assert samconfig.read(file)["default"].parameters == {"MaxInFlight": "4", "FalUserId": "a b"}


def test_the_commands_own_table_goes_before_the_one_for_all(file: Path) -> None:
    file.write_text(
        '[default.global.parameters]\nstack_name = "one"\nregion = "eu-west-1"\n'
        '[default.deploy.parameters]\nstack_name = "two"\n'
    )

    found = samconfig.read(file)["default"]

    assert (found.stack, found.region, found.parameters) == ("two", "eu-west-1", {})


@pytest.mark.parametrize(
    "text",
    [
        "[",
        '[default.deploy.parameters]\nparameter_overrides = "file://mine.json"',
        '[default.deploy.parameters]\nparameter_overrides = "MaxInFlight"',
        '[default.deploy.parameters.parameter_overrides]\n"$include" = "mine.toml"',
        "[default]\ndeploy = 7",
    ],
)
def test_a_file_that_cannot_be_compared_is_named(file: Path, text: str) -> None:
    file.write_text(text)

    with pytest.raises(CliError, match=r"samconfig\.toml cannot be read"):
        samconfig.read(file)


def test_the_example_describes_one_stack_and_changes_no_parameter() -> None:
    [found] = samconfig.read(ROOT / "samconfig.example.toml").values()

    assert (found.environment, found.stack, found.parameters) == ("default", "phonoscene", {})


def test_the_parameters_that_the_example_suggests_exist_with_their_defaults() -> None:
    text = (ROOT / "samconfig.example.toml").read_text(encoding="utf-8")
    suggested = re.findall(r"^# (\w+ = .*)$", text, re.MULTILINE)

    found = samconfig.overrides(tomllib.loads("\n".join(suggested)))

    assert len(found) >= 3
    defaults = {name: str(template.read()["Parameters"][name]["Default"]) for name in found}
    assert {n: v for n, v in found.items() if v != defaults[n]} == {"AlarmEmail": "you@example.com"}


# Before a deployment


class Formation:
    """CloudFormation with one stack, or none, or an error."""

    def __init__(self, parameters: dict[str, str] | None, error: Exception | None = None) -> None:
        self.parameters, self.error = parameters, error
        self.asked: list[tuple[str, str]] = []

    def client(self, service: str, *, region_name: str) -> Formation:
        assert service == "cloudformation"
        self.region = region_name
        return self

    def describe_stacks(self, **asked: str) -> Any:
        self.asked.append((asked["StackName"], self.region))
        if self.error:
            raise self.error
        if self.parameters is None:
            message = f"Stack with id {asked['StackName']} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "x")
        answer = self.parameters.items()
        return {
            "Stacks": [
                {
                    "Parameters": [
                        {"ParameterKey": name, "ParameterValue": value} for name, value in answer
                    ]
                }
            ]
        }


@pytest.fixture
def run(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """Run the command: what it printed, and what it ended with."""
    monkeypatch.delenv("CHANGES", raising=False)
    file.write_text(
        '[default.global.parameters]\nstack_name = "phonoscene"\n'
        '[default.deploy.parameters.parameter_overrides]\nFalUserId = ""\nMaxInFlight = 2\n'
    )

    def command(
        formation: Formation, *words: str, typed: str | None = None, region: str | None = REGION
    ) -> tuple[str, str]:
        def session(**_: Any) -> Formation:
            formation.region_name = region  # type: ignore[attr-defined]  # a session's own
            return formation

        monkeypatch.setattr("boto3.Session", session)
        monkeypatch.setattr(sys, "argv", ["changes", *words])
        monkeypatch.setattr(sys.stdin, "isatty", lambda: typed is not None, raising=False)
        monkeypatch.setattr("builtins.input", lambda _: typed)
        ended = ""
        try:
            changes.main()
        except SystemExit as exc:
            ended = str(exc.code)
        return capsys.readouterr().out, ended

    return command


PINNED = {"FalUserId": "github|1234567", "MaxInFlight": "2", "DailyBudgetUsd": "25"}
LINE = "FalUserId: 'github|1234567' becomes ''"


def test_a_file_that_would_undo_a_parameter_is_shown_and_refused_without_a_person(run: Any) -> None:
    shown, ended = run(Formation(PINNED))

    assert LINE in shown
    assert "MaxInFlight" not in shown
    assert "Nothing was deployed" in ended
    assert "CHANGES=yes" in ended


@pytest.mark.parametrize(
    ("typed", "goes_on"), [("y", True), ("Yes ", True), ("n", False), ("", False)]
)
def test_a_person_is_asked(run: Any, typed: str, *, goes_on: bool) -> None:
    shown, ended = run(Formation(PINNED), typed=typed)

    assert LINE in shown
    assert (ended == "") == goes_on


def test_a_script_may_say_yes_beforehand(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANGES", "yes")

    shown, ended = run(Formation(PINNED))

    assert (LINE in shown, ended) == (True, "")


def test_a_file_that_agrees_with_the_stack_is_no_matter(run: Any) -> None:
    assert run(Formation(PINNED | {"FalUserId": ""})) == ("", "")


def test_a_parameter_that_neither_names_stays_as_it_is_deployed(run: Any) -> None:
    shown, _ = run(Formation(PINNED | {"FalUserId": "", "DailyBudgetUsd": "99"}))

    assert shown == ""


def test_a_new_stack_is_announced_with_its_region_and_parameters(run: Any) -> None:
    shown, ended = run(Formation(None))

    assert "phonoscene in eu-central-1 is new" in shown
    assert "MaxInFlight=2" in shown
    assert ended == ""


def test_what_is_typed_needs_no_question_but_is_shown(run: Any) -> None:
    words = ("--no-confirm-changeset", "--parameter-overrides", "DailyBudgetUsd=9")

    shown, ended = run(Formation(PINNED | {"FalUserId": ""}), *words)

    assert "DailyBudgetUsd: '25' becomes '9'" in shown
    assert ended == ""


def test_what_is_typed_and_not_in_the_file_as_well_will_be_set_back_and_it_says_so(
    run: Any,
) -> None:
    shown, ended = run(
        Formation(PINNED), "--parameter-overrides", "MaxInFlight=4", "--profile", "x"
    )

    assert "MaxInFlight: '2' becomes '4'" in shown
    assert "samconfig.toml has MaxInFlight='2', not '4'" in shown
    assert (
        "samconfig.toml has FalUserId=''" in shown
    )  # this deployment keeps it, the next would not
    assert ended == ""


def test_guided_is_shown_what_it_would_offer_instead_of_the_stacks_values(run: Any) -> None:
    shown, ended = run(Formation(PINNED | {"DailyBudgetUsd": "99"}), "--guided")

    assert "DailyBudgetUsd: '99' becomes '25'" in shown
    assert LINE in shown
    assert ended == ""


def test_the_stack_and_the_region_are_those_that_are_deployed(run: Any, file: Path) -> None:
    formation = Formation(None)
    text = '[second.deploy.parameters]\nstack_name = "second"\nregion = "eu-west-3"\n'
    file.write_text(file.read_text() + text)

    run(formation)
    run(formation, "--stack-name", "third", "--region", "eu-west-1")
    run(formation, "--config-env", "second")
    run(formation, "--config-env=second", "--region=eu-north-1")

    assert formation.asked == [
        ("phonoscene", REGION),
        ("third", "eu-west-1"),
        ("second", "eu-west-3"),
        ("second", "eu-north-1"),
    ]


def test_a_parameter_that_does_not_exist_is_named_before_anything_is_built(
    run: Any, file: Path
) -> None:
    file.write_text(file.read_text() + "MaxInFlights = 4\n")

    _, ended = run(Formation(PINNED))

    assert "no parameter MaxInFlights" in ended


@pytest.mark.parametrize(
    ("words", "region", "said"),
    [
        (("--config-env", "third"), REGION, "no environment third; it has default"),
        ((), None, "AWS_DEFAULT_REGION"),
        (("--parameter-overrides", "file://x"), REGION, "NAME=VALUE"),
    ],
)
def test_what_cannot_be_deployed_ends_in_a_sentence(
    run: Any, words: tuple[str, ...], region: str | None, said: str
) -> None:
    assert said in run(Formation(None), *words, region=region)[1]


@pytest.mark.parametrize(
    "error", [NoCredentialsError(), ClientError({"Error": {"Code": "ExpiredToken"}}, "x")]
)
def test_an_account_that_cannot_be_asked_deploys_nothing(run: Any, error: Exception) -> None:
    assert "AWS cannot be queried" in run(Formation({}, error))[1]


def test_a_missing_stack_name_is_named(run: Any, file: Path) -> None:
    file.write_text("[default.deploy.parameters]\n")

    assert "stack_name" in run(Formation(None))[1]
