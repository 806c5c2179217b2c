"""The local cloud's page, its help and its code are one story."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from local import app
from local.cloud import deploy, parameters
from phonoscene_cli import errors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "local.md").read_text()
GROUP: Any = typer.main.get_command(app.app)
ACCOUNT = "the simulator's account"
DEFAULT = "default"


def test_the_exit_codes_are_in_the_page_and_in_the_help() -> None:
    known = (errors.NOT_FINE, errors.WRONG_USAGE, errors.UNREACHABLE, 130, errors.READER_GONE)
    codes = ["0", *map(str, known)]

    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == codes
    assert re.findall(r"(\d+) [a-z]", app.EXIT_CODES) == codes


@pytest.mark.parametrize("command", GROUP.commands)
def test_every_command_is_named_in_the_page(command: str) -> None:
    assert re.search(rf"`(?:make|python -m local) {command}\b", PAGE)


def test_every_option_that_the_page_names_is_there() -> None:
    options = {
        option
        for command in GROUP.commands.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    lines = re.findall(r"(?:python -m local|make up|make status).*", PAGE)
    named = {option for line in lines for option in re.findall(r"--[a-z-]+", line)}

    assert {"--port", "--parameter", "--fal", "--real-fal", "--set", "--json"} <= named
    assert named <= options | {"--help", "--yes"}


@pytest.mark.parametrize("account", [ACCOUNT, None])
def test_the_page_lists_the_parameters_that_differ_with_their_values(account: str | None) -> None:
    row = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
    rows = row.findall(PAGE.partition("These parameters differ")[2].partition("\n## ")[0])
    fields = {name: real if account is None else simulated for name, simulated, real in rows}

    usual = parameters.usual(account)
    defaults = {
        name: str(one["Default"]) for name, one in deploy.read_template()["Parameters"].items()
    }

    assert {name: value for name, value in fields.items() if value != DEFAULT} == usual
    assert [name for name, value in usual.items() if value == defaults[name]] == []
