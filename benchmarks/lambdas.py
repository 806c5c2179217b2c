"""Processes as bare as a function's: its folder, the built layer, Lambda's own packages."""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

from local.cloud.build import COMMON, FUNCTIONS, MEDIA, build_layer
from local.paths import BUILD

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


@cache
def runtime() -> Path:
    """A folder with Lambda's own packages, compiled as they are on Lambda, and nothing else."""
    versions = " ".join(f"{name} {version(_project(name))}" for name in LAMBDAS_OWN)
    stamp = hashlib.sha256(f"{versions} {sys.version}".encode()).hexdigest()[:12]
    folder = BUILD / "benchmarks" / f"runtime-{stamp}"
    if not folder.is_dir():
        new = folder.with_suffix(f".{os.getpid()}")
        for name in LAMBDAS_OWN:
            _copy(name, new)
        compileall.compile_dir(new, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
        new.rename(folder)
    return folder


def _project(module: str) -> str:
    return {"dateutil": "python-dateutil"}.get(module, module)


def _copy(name: str, to: Path) -> None:
    spec = find_spec(name)
    origin = Path(spec.origin if spec and spec.origin else "")
    if origin.name == "__init__.py":
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(origin.parent, to / name, ignore=unwanted)
    else:
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin, to)


def bare(function: str, *more: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a Python that sees what a function sees."""
    layers = (COMMON, MEDIA) if function in ("probe", "edit") else (COMMON,)
    built = (build_layer("host", layer) / "python" for layer in layers)
    places = (FUNCTIONS / function, *built, runtime(), *more)
    path = os.pathsep.join(map(str, places))
    # -B and -S: the layer cannot be written on Lambda, and there are no site-packages
    environment = {"PATH": os.defpath, "PYTHONPATH": path, "LANG": "C.UTF-8"}
    return [sys.executable, "-S", "-B"], environment
