"""Options that several commands have, and the stack that those before the command name.

A value with a form of its own (a time, a rate, ``FIELD=VALUE``, a path to write to) has a
``parser``: Typer reads every option before the command begins, so a wrong one has spent nothing.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from phonoscene_cli.stack.video_download import Destination
from phonoscene_cli.ui.time_arguments import day_of, since, span_of
from phonoscene_cli.upload.sidecars import Setting, metadata_entry, setting

if TYPE_CHECKING:
    from phonoscene_cli.stack.connection import Chosen, Stack

#: The largest number that an option takes: more than there are jobs, and small enough for islice.
MOST: Final = 10**9

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Set = Annotated[
    list[Setting] | None,
    typer.Option(
        "--set",
        parser=setting,
        metavar="FIELD=VALUE",
        help="A field of the sidecar; can be repeated.",
    ),
]
Meta = Annotated[
    list[Setting] | None,
    typer.Option(
        "--meta",
        parser=metadata_entry,
        metavar="KEY=VALUE",
        help="Metadata, which comes back with the job and is not sent to fal; can be repeated.",
    ),
]
Follow = Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")]
Out = Annotated[
    Destination | None,
    typer.Option(
        "--out",
        parser=Destination.of,
        metavar="FILE|FOLDER/",
        help="Follow the job to its end, and download its video to this file or folder.",
    ),
]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout",
        parser=span_of,
        metavar="SPAN",
        help="Follow at most this long: 90s, 10m, 2h.",
    ),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=since,
        metavar="TIME",
        help="Created since: 12h, 3d, 2026-11-22; default: one week.",
    ),
]
Day = Annotated[
    date | None,
    typer.Option(
        "--day",
        parser=day_of,
        metavar="DAY",
        help="Created on this day (UTC): 2026-11-22, today, yesterday.",
    ),
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(
        "--older-than",
        parser=span_of,
        metavar="SPAN",
        help="Ignore drops younger than this; default: SettleSeconds plus 5 minutes.",
    ),
]


def stack_of(context: typer.Context) -> Stack:
    """The stack that the options before the command name."""
    chosen: Chosen = context.obj
    return chosen.stack
