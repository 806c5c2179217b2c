"""Processes that are as bare as a function's: its folder, the built layer, Lambda's own packages."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from local.build import FUNCTIONS, build_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What the python3.13 runtime brings beside the standard library: the AWS SDK and its needs.
LAMBDAS_OWN: Final = (
    "boto3",
    "botocore",
    "s3transfer",
    "jmespath",
    "dateutil",
    "urllib3",
    "six",
)


@contextmanager
def runtime() -> Iterator[Path]:
    """A folder with Lambda's own packages, and nothing else of this virtual environment."""
    with TemporaryDirectory(prefix="runtime-") as folder:
        for name in LAMBDAS_OWN:
            origin = Path(str(_origin(name)))
            source = origin.parent if origin.name == "__init__.py" else origin
            (Path(folder) / source.name).symlink_to(source)
        yield Path(folder)


def _origin(name: str) -> str | None:
    spec = find_spec(name)
    return spec.origin if spec else None


def bare(function: str, runtime: Path, *more: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a Python that sees what a function sees."""
    places = (FUNCTIONS / function, build_layer("host") / "python", runtime, *more)
    path = os.pathsep.join(map(str, places))
    environment = {"PATH": os.defpath, "PYTHONPATH": path, "LANG": "C.UTF-8"}
    return [sys.executable, "-S", "-B"], environment
