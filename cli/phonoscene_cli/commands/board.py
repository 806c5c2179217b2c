"""``phonoscene board``: the product in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from phonoscene.version import VERSION
from phonoscene_cli.board import LOOPBACK
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.ui import terminal

if TYPE_CHECKING:
    from phonoscene_cli.stack.connection import Chosen


def board(
    context: typer.Context,
    port: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=65535, help="The port on this machine; 0: any free one."
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Listen there instead of on this machine alone."),
    ] = LOOPBACK,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the link, and open no browser.")
    ] = False,
) -> None:
    """Show the stack in a browser: drop files, follow jobs, play videos, correct what was rejected.

    The page is served on this machine alone, with your own credentials. The link opens one browser.

    Example: phonoscene board --port 8080
    """
    try:
        from phonoscene_cli.board import server  # noqa: PLC0415 - an extra of the package
    except ModuleNotFoundError as exc:
        raise WrongUsage(
            f"The board needs {exc.name}. Install the wheel with its extra `board`: "
            f'`pip install "./phonoscene-{VERSION}-py3-none-any.whl[board]"`.'
        ) from exc
    if host != LOOPBACK:
        terminal.say(
            f"Warning: on {host} the board is not encrypted. Anyone who reads the network can act "
            "with your credentials."
        )
    chosen: Chosen = context.obj
    address = server.Address(host, port)
    server.serve(
        lambda: chosen.found_anew().eager, address, (lambda _: None) if no_open else server.opened
    )
