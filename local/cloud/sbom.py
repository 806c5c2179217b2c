"""The bill of materials of what is deployed: CycloneDX, written beside what `make build` makes."""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from local.cloud.build import ALL_LAYERS
from local.errors import LocalCloudError
from local.paths import PROJECT

NAME = "sbom.cdx.json"


def write(layers: Collection[Path]) -> Path:
    """Name every package of the built layers, with the hashes that their wheels were locked to."""
    paths = [str(layer / "python") for layer in layers]
    held = {_plain(one.name) for one in importlib.metadata.distributions(path=paths)}
    lock = "".join(layer.requirements.read_text() for layer in ALL_LAYERS)
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
    wanted = "".join(entry for entry in entries if _plain(entry.partition("=")[0]) in held)
    target = next(iter(layers)).parent / NAME
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "-"]
    options = ["--pyproject", str(PROJECT / "pyproject.toml"), "--mc-type", "application"]
    output = ["--output-reproducible", "--of", "JSON", "-o", str(target)]
    made = subprocess.run(  # noqa: S603 - our own command line
        [*command, *options, *output], input=wanted, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise LocalCloudError(f"The bill of materials could not be written:\n{made.stderr}")
    return target


def _plain(name: str) -> str:
    """A package's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
