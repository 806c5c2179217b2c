"""The command line's page, its help and its options are one story."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from local import app as local
from phonoscene.jobs import JobStatus
from phonoscene_cli import app as whole
from phonoscene_cli import errors
from phonoscene_cli.audit.audit import AuditResult, MissingDrop, UnreadableDrop
from phonoscene_cli.audit.backfill_estimate import DryRun
from phonoscene_cli.commands.backfill import BackfillResult
from phonoscene_cli.commands.cancel import CancelResult
from phonoscene_cli.commands.deploy import (
    DeployResult,
    Outcome,
    ParameterChange,
    ResourceChange,
)
from phonoscene_cli.commands.drop import DropResult, DropsResult
from phonoscene_cli.commands.redrive import RedriveResult
from phonoscene_cli.commands.retry import RetryResult
from phonoscene_cli.commands.share import ShareResult
from phonoscene_cli.dead_letters import QUEUES, Letters
from phonoscene_cli.deployment.change_set import DATA, Effect
from phonoscene_cli.doctor.findings import Check
from phonoscene_cli.results import Result
from phonoscene_cli.stack.cost_report import Budget, CostResult, Group
from phonoscene_cli.stack.spending import Spent
from phonoscene_cli.ui.job_json import KEYS
from phonoscene_cli.upload.drop_report import NewJobs, Sum
from phonoscene_cli.upload.segment_forecast import SegmentForecast
from tests.support.documented import FILE, PAGE, keys, samples, section
from tests.support.template import read

GROUP: Any = typer.main.get_command(whole.app)
COMMANDS = GROUP.commands
OPTIONS = [
    (name, max(parameter.opts, key=len))
    for name, command in COMMANDS.items()
    for parameter in command.params
    if parameter.param_type_name == "option" and "--help" not in parameter.opts
]


def test_the_page_has_the_commands_that_there_are() -> None:
    documented = set(re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE))

    assert documented == set(COMMANDS), (
        f"{FILE} needs a section ## `NAME` for each command, and no other"
    )


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_is_named_where_its_command_is_documented(command: str, option: str) -> None:
    assert f"`{option}`" in section(command) or f"`{option} " in section(command), (
        f"{FILE} lacks `{option}` in its section {command}: add a row to the table of options"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_is_named_that_there_is_not(command: str) -> None:
    named = set(re.findall(r"`(--[a-z-]+)", section(command)))
    known = (
        {option for _, option in OPTIONS}
        if command == "retry"
        else {option for owner, option in OPTIONS if owner == command}
    )

    assert named <= known, (
        f"{FILE} names {named - known} in its section {command}, which does not have them"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_shown_with_what_it_prints(command: str) -> None:
    shown = {typed.split()[1] for typed, lines in samples(PAGE).items() if lines}

    assert command in shown, (
        f"{FILE} shows {command} nowhere at work: add a ```console block with "
        f"`$ phonoscene {command} …` and the lines that it prints"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_row_in_the_table_of_permissions(command: str) -> None:
    table = PAGE.partition("\n## Permissions\n")[2]
    first_column = " ".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE))
    named = " ".join(re.findall(r"`([^`]+)`", first_column))

    assert command in named.split(), (
        f"{FILE} lacks {command} in the first column of its section Permissions; "
        "docs/permissions.md says who may use it"
    )


@pytest.mark.parametrize("option", ["--stack", "--local", "--endpoints", "--profile", "--region"])
def test_the_options_before_the_command_are_documented(option: str) -> None:
    assert f"`{option}`" in PAGE
    assert any(option in parameter.opts for parameter in GROUP.params)


def test_the_exit_codes_are_in_the_page_and_in_the_help() -> None:
    known = (errors.NOT_FINE, errors.WRONG_USAGE, errors.UNREACHABLE, 130, errors.READER_GONE)
    codes = ["0", *map(str, known)]

    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == codes
    assert re.findall(r"(?:codes:|·) (\d+) ", whole.EXIT_CODES) == codes


def subclasses(one: type[Result]) -> set[type[Result]]:
    """All that are derived from a class."""
    return {found for own in one.__subclasses__() for found in {own, *subclasses(own)}}


#: Of each result the command and the part of its JSON, and the keys that the page tells elsewhere.
DOCUMENTED: dict[type[Any], tuple[str, str, set[str]]] = {
    DropResult: ("drop", "Keys", set()),
    DropsResult: ("drop", "Keys of several files", set()),
    Sum: ("drop", "Keys of `estimate`", set()),
    SegmentForecast: ("drop", "Keys of `segments`", set()),
    RetryResult: ("retry", "Keys", set()),
    ShareResult: ("share", "Keys", set()),
    CancelResult: ("cancel", "Keys", set()),
    DeployResult: ("deploy", "Keys", set()),
    ParameterChange: ("deploy", "Keys of `parameters`", set()),
    ResourceChange: ("deploy", "Keys of `changes`", set()),
    Check: ("doctor", "Keys", set()),
    AuditResult: ("audit", "Keys", {"missing"}),
    MissingDrop: ("audit", "Keys of `missing`", set()),
    UnreadableDrop: ("audit", "Keys of `unreadable`, which has the first 100", set()),
    BackfillResult: ("backfill", "Keys", set()),
    DryRun: ("backfill", "Keys of a dry run", set()),
    CostResult: ("cost", "Keys", set()),
    Spent: ("cost", "Keys of `groups`", {"group"}),
    Group: ("cost", "Keys of `groups`", set()),
    Budget: ("cost", "Keys of `budgets`", set()),
    RedriveResult: ("redrive", "Keys", set()),
}


@pytest.mark.parametrize("result", DOCUMENTED, ids=lambda result: result.__name__)
def test_the_keys_of_every_result_are_documented(result: type[Any]) -> None:
    command, part, others = DOCUMENTED[result]

    assert keys(command, part) == {field.name for field in fields(result)} | others, (
        f"{FILE} lists the fields of {result.__name__} in its section {command}, after “{part}:”"
    )


def test_no_result_is_left_out() -> None:
    shared = {NewJobs}  # whose fields are those of its subclasses

    assert set(DOCUMENTED) == subclasses(Result) - shared, (
        f"add the result to DOCUMENTED, and its keys to {FILE}"
    )


def test_the_keys_of_a_job_are_documented() -> None:
    assert keys("", "Keys of a job") == set(KEYS), f"{FILE} lists them after “Keys of a job:”"


def test_every_dead_letter_queue_is_documented_to_be_moved_or_not_to_be() -> None:
    outputs = {name.removesuffix("Url") for name in read()["Outputs"] if name.endswith("QueueUrl")}
    working = {target.removesuffix("Url") for _, target in QUEUES.values()}
    moved = {source.removesuffix("Url") for source, _ in QUEUES.values()}
    [left] = outputs - working - moved

    assert set(re.findall(r"^\| `(\w+)` \|", section("redrive"), re.MULTILINE)) == set(Letters)
    assert f"`{left}Url` are not moved" in section("redrive")
    assert f"{left} are not moved" in " ".join(COMMANDS["redrive"].help.split())


@pytest.mark.parametrize(("key", "values"), [("outcome", Outcome), ("effect", Effect)])
def test_the_values_of_a_deployments_keys_are_documented(key: str, values: type[Any]) -> None:
    row = section("deploy").partition(f"| `{key}` | ")[2].partition(" |\n")[0]

    assert re.findall(r"`([^`]+)`", row) == [str(one) for one in values]


def test_what_a_deployment_refuses_to_lose_is_documented() -> None:
    rows = re.findall(r"^\| `(AWS::[\w:]+)` \| (.+) \|$", section("deploy"), re.MULTILINE)

    assert dict(rows) == DATA


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_says_what_it_is_and_gives_an_example(command: str) -> None:
    result = CliRunner().invoke(whole.app, [command, "--help"], env={"COLUMNS": "200"})

    assert result.exit_code == 0
    assert f"Example: phonoscene {command}" in result.output
    assert COMMANDS[command].help


@pytest.mark.parametrize("app", [whole.app, local.app], ids=["phonoscene", "local"])
def test_help_shows_what_to_write_and_no_types_of_python(app: Any) -> None:
    group: Any = typer.main.get_command(app)
    for command in ("", *group.commands):
        typed = [*filter(None, [command]), "--help"]

        shown = CliRunner().invoke(app, typed, env={"COLUMNS": "200"}).output

        assert "--help" in shown
        assert not re.findall(r"<[a-z].*?>", shown), f"{command}: give each option a metavar"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("phonoscene ", set(COMMANDS)),
        ("phonoscene jobs --st", {"--status"}),
        ("phonoscene jobs --status ", {status.lower() for status in JobStatus}),
        ("phonoscene redrive ", set(Letters)),
    ],
)
def test_a_shell_is_offered_commands_options_and_states(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    env = {
        "_PHONOSCENE_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }

    result = CliRunner().invoke(whole.app, [], env=env, prog_name="phonoscene")

    assert {word.lower() for word in result.output.split()} >= offered
