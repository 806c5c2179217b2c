"""The commands together, with the options that go before them and what ends the program."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer._click.exceptions import NoSuchOption
from typer.core import TyperCommand, TyperGroup

from phonoscene.version import VERSION
from phonoscene_cli.commands.audit import audit
from phonoscene_cli.commands.backfill import backfill
from phonoscene_cli.commands.board import board
from phonoscene_cli.commands.cancel import cancel
from phonoscene_cli.commands.cost import cost
from phonoscene_cli.commands.deploy import deploy
from phonoscene_cli.commands.doctor import doctor
from phonoscene_cli.commands.drop import drop
from phonoscene_cli.commands.jobs import jobs
from phonoscene_cli.commands.redrive import redrive
from phonoscene_cli.commands.retry import retry
from phonoscene_cli.commands.share import share
from phonoscene_cli.commands.show import show
from phonoscene_cli.commands.watch import watch
from phonoscene_cli.errors import READER_GONE
from phonoscene_cli.failures import explained, show_trace
from phonoscene_cli.stack.connection import ENDPOINTS_VARIABLE, LOCAL_STACK, STACK_VARIABLE, Chosen
from phonoscene_cli.ui import formatting, streams, terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXIT_CODES: Final = (
    "Exit codes: 0 success · 1 negative result, and the last line says what to do · "
    "2 wrong usage · 3 AWS or the stack cannot be reached, or refuses · 130 interrupted · "
    "141 output closed."
)
#: In the order in which ``--help`` lists them, under their headings.
COMMANDS: Final = {
    "Drops and jobs": (board, drop, jobs, show, watch, share, retry, cancel),
    "The stack": (deploy, doctor, audit, backfill, cost, redrive),
}


class Command(TyperCommand):
    """A command whose help names no types of Python's."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        return _without_types(super().get_params(ctx))


class Commands(TyperGroup):
    """The commands, which say of an option in the wrong place where it goes."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options before the command."""
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command."""
        own = [option for command in self.commands.values() for option in command.params]
        with _its_place(own, "after the command: `phonoscene COMMAND … {option}`"):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        with _its_place(self.params, "before the command: `phonoscene {option} {command} …`"):
            return super().invoke(ctx)


def _without_types(params: list[Any]) -> list[Any]:
    """Let help show a flag alone, and of anything else its metavar; Typer adds a type, in <>."""
    for one in params:
        if one.param_type_name == "argument" or one.is_flag:
            one.display_type_rich = lambda ctx: None  # noqa: ARG005 - called by that name
    return params


@contextmanager
def _its_place(options: Iterable[Any], place: str) -> Iterator[None]:
    """Say of one of these options, which is not where it was written, where it is."""
    try:
        yield
    except NoSuchOption as exc:
        found = next((one for one in options if exc.option_name in one.opts), None)
        if found:
            typed = exc.option_name if found.is_flag else f"{exc.option_name} VALUE"
            goes = place.format(option=typed, command=exc.ctx.info_name if exc.ctx else "COMMAND")
            exc.message = f"{exc.option_name} goes {goes}."
            exc.possibilities = None
        raise


app = typer.Typer(
    name="phonoscene",
    cls=Commands,
    help="Drop audio, follow jobs, check the stack.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        terminal.line(f"phonoscene {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    stack: Annotated[
        str, typer.Option(envvar=STACK_VARIABLE, metavar="NAME", help="The CloudFormation stack.")
    ] = LOCAL_STACK,
    local: Annotated[
        bool, typer.Option("--local", help="The local cloud's stack: `make up`.")
    ] = False,
    endpoints: Annotated[
        Path | None,
        typer.Option(
            envvar=ENDPOINTS_VARIABLE,
            metavar="FILE",
            help="The local cloud with this endpoints.json.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="A profile of your AWS settings.")
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="NAME", help="The stack's region.")] = None,
    version: Annotated[  # noqa: ARG001 - its callback has ended the program
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Find the stack that a command is about."""
    typed = {name for name in context.params if _is_typed(context, name)}
    context.obj = Chosen.of(typed, stack, local, endpoints, profile, region)
    terminal.advise_with(*(_as_typed(name, context.params[name]) for name in sorted(typed)))


def _as_typed(name: str, value: Any) -> str:
    """An option as a shell takes it."""
    return f"--{name}" if value is True else f"--{name} {formatting.typed(str(value))}"


def _is_typed(context: typer.Context, name: str) -> bool:
    """Whether an option comes from the command line, and not from the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


for _heading, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(cls=Command, rich_help_panel=_heading)(_command)


def main() -> None:
    """Run one command, and exit with its code. No exception reaches the terminal as a trace."""
    streams.prepare()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except Exception as exc:  # noqa: BLE001 - whatever it is, a person reads it
        show_trace(exc)
        sentence, code = explained(exc)
        if code != READER_GONE:  # it ends in silence, as any program does
            terminal.complain(sentence)
        sys.exit(code)
