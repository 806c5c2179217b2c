"""Options that several commands have, and the stack that those before the command name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from phonoscene_cli.stack import Chosen, Stack

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A field of the sidecar; may be repeated."),
]
Follow = Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Fetch the video into this file or folder; follows the job, too."),
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="SPAN", help="Follow no longer than this: 90s, 10m, 2h."),
]
OlderThan = Annotated[
    str | None,
    typer.Option(
        "--older-than",
        metavar="SPAN",
        help="Leave out what was dropped later; without it, SettleSeconds and 5 minutes.",
    ),
]


def stack_of(context: typer.Context) -> Stack:
    """The stack that the options before the command name."""
    chosen: Chosen = context.obj
    return chosen.stack
