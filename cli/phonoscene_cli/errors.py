"""What ends a command: a sentence with the next step, and the exit code."""

from __future__ import annotations

#: Exit codes; Typer's own are 2, wrong usage, and 130, interrupted.
NOT_FINE, UNREACHABLE = 1, 3


class CliError(Exception):
    """The command found what it was to find, and it is not fine: a failed job, a missing file."""

    exit_code = NOT_FINE


class StackUnreachable(CliError):
    """AWS, the stack or the local cloud cannot be had: nothing was looked at, nothing changed."""

    exit_code = UNREACHABLE
