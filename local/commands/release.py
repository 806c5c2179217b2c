"""``python -m local release``: the wheel, and the archive that `phonoscene deploy` deploys."""

from __future__ import annotations

from typing import Annotated

import typer

from local.cloud.build import Target
from local.commands.options import shown
from local.progress import step
from local.releases import release as releases
from phonoscene_cli.ui import terminal


def release(
    target: Annotated[
        Target,
        typer.Option(
            metavar="aws|host",
            help="aws: Lambda's Python 3.13 on arm64. host: this Python, for tests.",
        ),
    ] = "aws",
) -> None:
    """Make the wheel, the archive for `phonoscene deploy`, and their hashes, in dist/.

    Example: python -m local release
    """
    with step(f"making the release for {target}"):
        made = releases.make(target)
    for file in made:
        terminal.line(f"{shown(file)}  {file.stat().st_size / 1e6:.2f} MB")
