"""What ends a command: a sentence with the next step, and the exit code."""

from __future__ import annotations

from typing import Final

#: Exit codes: 0 is fine. Typer's own are 2, wrong usage, and 130, interrupted (128 + SIGINT).
NOT_FINE: Final = 1
WRONG_USAGE: Final = 2
UNREACHABLE: Final = 3
#: As a shell counts SIGPIPE, 128 + 13.
READER_GONE: Final = 141


class CliError(Exception):
    """The command found what it was to find, and it is not fine: a failed job, a missing file."""

    exit_code = NOT_FINE


class WrongUsage(CliError):
    """What was typed cannot be meant: a day that is none, a file that is no audio."""

    exit_code = WRONG_USAGE


class StackUnreachable(CliError):
    """AWS, the stack or the local cloud cannot be had: nothing was looked at, nothing changed."""

    exit_code = UNREACHABLE

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(f"{what} {next_step}".rstrip())
        self.what = what
        self.next_step = next_step
