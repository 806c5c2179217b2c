"""``python -m local up``: start the cloud, restart what ended, or deploy what changed."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from local.commands.options import (
    FalOptions,
    Parameters,
    Port,
    cloud_of,
    shown,
    start_options,
)
from local.drops import spending_consent
from phonoscene_cli.options import Yes
from phonoscene_cli.ui import terminal

#: A command for a new cloud: the file has its sidecar beside it.
SAMPLE: Final = "phonoscene drop examples/portrait/courtyard.mp3 --watch"


def up(
    context: typer.Context,
    port: Port = None,
    parameters: Parameters = None,
    fal: FalOptions = None,
    real_fal: Annotated[
        bool,
        typer.Option(
            "--real-fal",
            help="No simulator: jobs run on fal.ai and are paid by the account of FAL_KEY.",
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Start the cloud in the background; on a running one, restart what ended, deploy what changed.

    Example: python -m local up --parameter MaxFrames=241 --fal run-seconds=5
    """
    cloud = cloud_of(context)
    options = start_options(port, parameters, fal, real_fal=real_fal)
    if options.real and cloud.run() is None:
        spending_consent.agree_to_pay(options.parameters, yes=yes)
    endpoints = cloud.up(options)
    terminal.line(f"AWS        {endpoints.aws_endpoint_url}")
    terminal.line(f"fal        {endpoints.simulator_url or spending_consent.REAL}")
    terminal.line(f"drop in    s3://{endpoints.drop_bucket}")
    terminal.line(f"videos in  s3://{endpoints.output_bucket}")
    terminal.line(f"endpoints  {shown(cloud.state.endpoints_file)}")
    terminal.say(f"Drop a sample with `{SAMPLE}`")
