"""``phonoscene doctor``: what works, what does not, and the next step."""

from __future__ import annotations

import typer
from rich.text import Text

from phonoscene_cli.doctor.checks import examine_all
from phonoscene_cli.doctor.findings import Check, Level
from phonoscene_cli.errors import NOT_FINE
from phonoscene_cli.options import Json, stack_of
from phonoscene_cli.ui import terminal

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Check the whole stack: key, webhook, events, queues, alarms, parameters, your permissions.

    Nothing is changed. The exit code is 1 if a line says fail, and 0 if lines only warn.

    Example: phonoscene doctor
    """
    stack = stack_of(context)
    data = []
    with terminal.working("checking") as turn:
        for one in examine_all(stack):
            turn(f"after {one.check}")
            data.append(one)
            if not as_json:
                _tell(one)
    if as_json:
        terminal.print_json(data)
    if any(one.level is Level.FAIL for one in data):
        raise typer.Exit(NOT_FINE)


def _tell(one: Check) -> None:
    style = COLOURS[one.level]
    level = Text(f"{one.level:<5}", style=style)
    terminal.line(level, f"{one.check:<14}", one.detail)
    if one.next:
        terminal.line(" " * 20, one.next)
