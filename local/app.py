"""The commands of the local cloud together, and what ends the program."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError

from local.cloud.cloud import LocalCloud
from local.commands.build import build
from local.commands.demo import demo
from local.commands.down import down
from local.commands.drop import drop
from local.commands.logs import logs
from local.commands.release import release
from local.commands.status import status
from local.commands.up import up
from local.paths import DEFAULT_STATE, StateDirectory
from local.progress import say
from phonoscene_cli.app import Command, Commands
from phonoscene_cli.errors import UNREACHABLE
from phonoscene_cli.failures import explained, show_trace
from phonoscene_cli.ui import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME: Final = "python -m local"
EXIT_CODES: Final = (
    "Exit codes: 0 success · 1 negative result, and the last line says what to do · "
    "2 wrong usage · "
    "3 no local cloud is running, or its emulator ended or refuses · 130 interrupted · "
    "141 output closed."
)
COMMANDS: Final = (up, down, status, demo, drop, logs, build, release)


class LocalCommands(Commands):
    """The commands; an interrupt leaves processes behind, which the person must know."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("Interrupted. `make status` shows what runs, `make down` ends it.")
            raise


app = typer.Typer(
    name=NAME,
    cls=LocalCommands,
    help="The cloud on your machine: AWS emulated, fal simulated, the template real.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,  # it is for programs with a name of their own
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS:
    app.command(cls=Command)(_command)


def main(arguments: Sequence[str] | None = None, state: StateDirectory = DEFAULT_STATE) -> int:
    """Run one command about the cloud of ``state``; return the exit code."""
    signal.signal(signal.SIGTERM, _end)
    terminal.advise_with("--local")
    try:
        app(arguments, prog_name=NAME, obj=LocalCloud(state))
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:  # noqa: BLE001 - whatever it is, a person reads it
        show_trace(error)
        sentence, code = _explained(error, state)
        first, *rest = sentence.splitlines()
        terminal.complain(first)
        say("\n".join(rest))
        return code
    finally:
        terminal.advise_with()
    return 0


def _explained(error: Exception, state: StateDirectory) -> tuple[str, int]:
    """What happened and what to do, and the exit code."""
    if isinstance(error, (BotoCoreError, ClientError)):
        return f"The emulator: {error}\nIts log: {state.logs / 'emulator.log'}", UNREACHABLE
    return explained(error)


def _end(number: int, _frame: object) -> NoReturn:
    """End as an exception does, so that what was started is stopped on the way."""
    sys.exit(128 + number)
