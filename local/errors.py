"""What ends a command of the local cloud: a sentence with the next step, and the exit code."""

from phonoscene_cli.errors import UNREACHABLE, CliError


class LocalCloudError(CliError):
    """A sentence for the person at the terminal: what is wrong, and the next step."""


class CloudUnreachable(LocalCloudError):
    """No local cloud is running, or its emulator has ended: nothing was looked at or changed."""

    exit_code = UNREACHABLE
