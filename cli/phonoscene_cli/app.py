"""The commands together, with the options that go before them and what ends the program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError

from phonoscene_cli import terminal
from phonoscene_cli.commands.audit import audit
from phonoscene_cli.commands.backfill import backfill
from phonoscene_cli.commands.cancel import cancel
from phonoscene_cli.commands.cost import cost
from phonoscene_cli.commands.doctor import doctor
from phonoscene_cli.commands.drop import drop
from phonoscene_cli.commands.jobs import jobs
from phonoscene_cli.commands.redrive import redrive
from phonoscene_cli.commands.retry import retry
from phonoscene_cli.commands.show import show
from phonoscene_cli.commands.watch import watch
from phonoscene_cli.errors import NOT_FINE, UNREACHABLE, CliError
from phonoscene_cli.stack import LOCAL_STACK, Chosen

EXIT_CODES: Final = (
    "Exit codes: 0 fine · 1 not fine, and the last line says what to do · 2 wrong usage · "
    "3 AWS or the stack cannot be reached · 130 interrupted."
)
#: In the order in which ``--help`` lists them, under their headings.
COMMANDS: Final = {
    "Drops and jobs": (drop, jobs, show, watch, retry, cancel),
    "The stack": (doctor, audit, backfill, cost, redrive),
}

app = typer.Typer(
    name="phonoscene",
    help="Drop audio, watch jobs, look after the stack.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    context: typer.Context,
    stack: Annotated[
        str, typer.Option(envvar="PHONOSCENE_STACK", help="The CloudFormation stack.")
    ] = LOCAL_STACK,
    local: Annotated[
        bool, typer.Option("--local", help="The local cloud's stack: `make up`.")
    ] = False,
    endpoints: Annotated[
        Path | None,
        typer.Option(
            envvar="PHONOSCENE_ENDPOINTS", help="The same, by the endpoints.json of that cloud."
        ),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="A profile of your AWS settings.")] = None,
    region: Annotated[str | None, typer.Option(help="The stack's region.")] = None,
) -> None:
    """Find the stack that a command is about."""
    context.obj = Chosen(stack, local, endpoints, profile, region)


for _heading, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_heading)(_command)


def main() -> None:
    """Run one command, and exit with its code."""
    try:
        app()
    except CliError as exc:
        terminal.complain(str(exc))
        sys.exit(exc.exit_code)
    except OSError as exc:
        terminal.complain(f"{exc.filename or 'A file'}: {exc.strerror}.")
        sys.exit(NOT_FINE)
    except (BotoCoreError, ClientError) as exc:
        terminal.complain(f"AWS: {exc}. `phonoscene doctor` shows what works.")
        sys.exit(UNREACHABLE)
