"""Options that several commands have, and the cloud that a command is about.

A value with a form of its own has a ``parser``: Typer reads every option before the command
begins, so a wrong one has started nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from local.cloud import deploy, parameters
from local.cloud.cloud import LocalCloud
from local.cloud.real_fal import RealFal
from local.cloud.run_state import Options
from local.errors import LocalCloudError
from local.fal_simulator.config import refusal
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.ui.assignments import Assignment, assigned


def assignment(text: str) -> Assignment:
    """``KEY=VALUE``.

    Raises:
        WrongUsage: it is no such pair.
    """
    return assigned(text, "KEY=VALUE")


def fal_option(text: str) -> Assignment:
    """An option of the simulator.

    Raises:
        WrongUsage: the simulator does not take it.
    """
    if text == "real":
        raise WrongUsage("For the real fal, use --real-fal.")
    found = assignment(text)
    why = refusal([f"--{found.name}", found.value])
    if why:
        raise WrongUsage(f"{text!r}: {why}. docs/fal-simulator.md lists the options.")
    return found


Port = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=65535,
        help="The emulator's port; default: 4566, or any if that is in use.",
    ),
]
Parameters = Annotated[
    list[Assignment] | None,
    typer.Option(
        "--parameter",
        parser=assignment,
        metavar="KEY=VALUE",
        help="A parameter of template.yaml; can be repeated.",
    ),
]
FalOptions = Annotated[
    list[Assignment] | None,
    typer.Option(
        "--fal",
        parser=fal_option,
        metavar="OPTION=VALUE",
        help="An option of the fal simulator, such as run-seconds=3; can be repeated.",
    ),
]


def cloud_of(context: typer.Context) -> LocalCloud:
    """The local cloud that the program was started for."""
    cloud: LocalCloud = context.obj
    return cloud


def start_options(
    port: int | None,
    wanted: list[Assignment] | None,
    fal: list[Assignment] | None,
    *,
    real_fal: bool = False,
) -> Options:
    """How to start a cloud.

    Raises:
        LocalCloudError: the options contradict each other, or the template refuses a parameter.
    """
    simulator = [word for one in fal or [] for word in (f"--{one.name}", one.value)]
    real = RealFal.from_env(os.environ) if real_fal else None
    if real and simulator:
        raise LocalCloudError("--fal sets options of the simulator, which --real-fal replaces.")
    values = dict(wanted or [])
    if values:
        parameters.check(deploy.read_template(), values)
    return Options(port, values, simulator, real)


def shown(path: Path) -> str:
    """A path as short as it can be typed here."""
    short = os.path.relpath(path)
    return str(path) if short.startswith("..") else short
