"""``python -m local build``: what AWS would receive."""

from __future__ import annotations

from local.cloud import build as builder
from local.cloud import sbom
from local.commands.options import shown
from local.progress import step
from phonoscene_cli.ui import terminal


def build() -> None:
    """Build what AWS would receive, in .build/aws/.

    Example: python -m local build
    """
    with step("building for AWS: python3.13 on arm64"):
        archives = builder.build_all("aws")
        layers = [builder.build_layer("aws", layer) for layer in builder.ALL_LAYERS]
        archives.append(sbom.write(layers))
    for archive in archives:
        terminal.line(f"{shown(archive)}  {archive.stat().st_size / 1e6:.2f} MB")
