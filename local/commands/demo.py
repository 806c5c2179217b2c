"""``python -m local demo``: one sample, from drop to video."""

from __future__ import annotations

from typing import Annotated

import typer

from local.commands.drop import put_and_fetch
from local.commands.options import FalOptions, Parameters, Port, cloud_of, start_options
from local.drops import drops
from local.errors import LocalCloudError


def demo(
    context: typer.Context,
    port: Port = None,
    parameters: Parameters = None,
    fal: FalOptions = None,
    long: Annotated[
        bool, typer.Option("--long", help="Drop a minute of sound, which takes several requests.")
    ] = False,
) -> None:
    """Drop a sample, show each step, and save the video.

    The cloud is started first and stopped afterwards, unless it was running.

    Example: python -m local demo
    """
    cloud = cloud_of(context)
    run = cloud.run()
    if run and run.real:
        raise LocalCloudError(
            "The local cloud has the real fal: `make down` first, or drop a file of yours."
        )
    try:
        endpoints = cloud.up(start_options(port, parameters, fal))
        dropped = drops.long_sample_drop() if long else drops.sample_drop()
        put_and_fetch(endpoints, dropped, cloud.state.videos)
    finally:
        if run is None:
            cloud.down()
