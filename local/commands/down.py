"""``python -m local down``: stop every process and delete all state."""

from __future__ import annotations

from typing import Annotated

import typer

from local.cloud.cloud import lost
from local.commands.options import cloud_of
from local.drops import spending_consent
from phonoscene_cli.ui import terminal


def down(
    context: typer.Context,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With the real fal: even if fal has paid videos, which will be lost.",
        ),
    ] = False,
) -> None:
    """Stop every process and delete all state. Videos of the real fal are saved first.

    Example: python -m local down
    """
    cloud = cloud_of(context)
    run = cloud.recorded()
    if run and run.real and not run.has_emulator:
        terminal.say(lost(run))
    elif run and run.real and not force and cloud.state.endpoints_file.is_file():
        spending_consent.bring_home(cloud.endpoints(), cloud.state.videos)
    was_up = cloud.down()
    terminal.say("The local cloud is down." if was_up else "The local cloud was not running.")
