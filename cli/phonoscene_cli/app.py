"""The commands and their options; each asks a module of its own for the work.

Results go to stdout, everything said to a person to stderr. With ``--json`` stdout is JSON and
nothing else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from phonoscene_cli.errors import UNREACHABLE, CliError
from phonoscene_cli.redrive import DeadLetters, Letters, of_stack
from phonoscene_cli.stack import LOCAL_STACK, Stack

EXIT_CODES: Final = (
    "Exit codes: 0 fine · 1 not fine, and the last line says what to do · 2 wrong usage · "
    "3 AWS or the stack cannot be reached · 130 interrupted."
)

app = typer.Typer(
    name="phonoscene",
    help="Drop audio, watch jobs, look after the stack.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
people = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


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
    is_local = local or endpoints is not None
    context.obj = (
        Stack.on_this_machine(endpoints) if is_local else Stack.on_aws(stack, profile, region)
    )


@app.command()
def redrive(
    context: typer.Context,
    letters: Annotated[
        list[Letters] | None, typer.Argument(help="Which; all, if you name none.")
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Move no more than so many of each queue.")
    ] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what lies there.")] = False,
    as_json: Json = False,
) -> None:
    """Bring messages back from the dead-letter queues, once their cause is mended."""
    stack: Stack = context.obj
    sqs, told = stack.client("sqs"), {}
    for name in letters or of_stack(stack.outputs):
        queue = DeadLetters.of(stack.outputs, name)
        waiting, moved = queue.count(sqs), 0
        if waiting and not dry_run:
            with people.status(f"{name}: about {waiting} messages"):
                moved = sum(queue.redrive(sqs, most))
        told[str(name)] = {"waiting": waiting, "moved": moved}
    if as_json:
        print_json(told)
        return
    for queue_name, one in told.items():
        what = f"{one['waiting']} waiting" if dry_run else f"{one['moved']} moved"
        print(f"{queue_name}: {what}")


def print_json(value: Any) -> None:
    """The result, for programs."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def main() -> None:
    """Run one command, and exit with its code."""
    try:
        app()
    except CliError as exc:
        people.print("[red]error:[/]", str(exc), soft_wrap=True)
        sys.exit(exc.exit_code)
    except (BotoCoreError, ClientError) as exc:
        people.print("[red]error:[/] AWS:", str(exc), soft_wrap=True)
        sys.exit(UNREACHABLE)
