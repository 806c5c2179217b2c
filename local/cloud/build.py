"""Makes what is uploaded, as `sam build` would: the layer's folder and the functions' zip files.

Everything lands in `.build/`, stamped with the hash of what it was made from, so that a second run
does nothing. All clouds of this working copy share it; a file lock makes them take turns.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from local.errors import LocalCloudError
from local.paths import BUILD, PROJECT
from local.progress import say

Target = Literal["host", "aws"]

LAYERS = PROJECT / "layers"
FUNCTIONS = PROJECT / "functions"

# A zip holds times; a fixed one makes equal sources equal bytes. 1980 is the format's first year.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

NO_BYTECODE = (
    "Python 3.13 was not found: the layer has no bytecode, and functions start more slowly. "
    "Install python3.13 and build again."
)


@dataclass(frozen=True)
class Layer:
    """A layer of template.yaml, made from the folder `layers/<sources>`."""

    name: str
    sources: str
    #: What is made of it, in this order: pip runs only when the locked requirements changed.
    goals: tuple[str, ...] = ("dependencies",)

    @property
    def requirements(self) -> Path:
        """The path of the layer's locked requirements."""
        return LAYERS / self.sources / "requirements.txt"

    def stamp(self, goal: str, made_by: str) -> str:
        """Changes when the goal has to be made anew."""
        lists = digest([self.requirements, LAYERS / "Makefile"]) + made_by
        # new dependencies come into an empty folder, so the package is copied anew as well
        package = LAYERS / self.sources / "phonoscene"
        return lists if goal == "dependencies" else digest(_files(package)) + lists


COMMON = Layer("CommonLayer", "common", ("dependencies", "package"))
MEDIA = Layer("MediaLayer", "media")
ALL_LAYERS = (COMMON, MEDIA)


def build_layer(target: Target, layer: Layer = COMMON) -> Path:
    """The built layer's folder: `host` runs on this Python, `aws` on Lambda's 3.13 on arm64."""
    folder = BUILD / target / layer.name
    _check_tools()
    made_by = _interpreter(target, layer, folder)
    with turn():
        for goal in layer.goals:
            file = BUILD / target / f"{layer.name}.{goal}"
            stamp = layer.stamp(goal, made_by)
            if not file.is_file() or file.read_text() != stamp:
                _make(goal, target, layer, folder)
                file.write_text(stamp)
    return folder


def zip_layer(folder: Path, target: Target) -> Path:
    """The layer as one zip file. For this machine it is stored, not compressed: 0.2 s, not 2 s."""
    compression = zipfile.ZIP_STORED if target == "host" else zipfile.ZIP_DEFLATED
    return _zip(folder, BUILD / target / f"{folder.name}.zip", compression)


def zip_function(folder: Path, target: Target) -> Path:
    """A function's folder as one zip file."""
    return _zip(folder, BUILD / target / f"{folder.name}.zip", zipfile.ZIP_DEFLATED)


def build_all(target: Target) -> list[Path]:
    """Every layer's and every function's zip file."""
    folders = sorted(app.parent for app in FUNCTIONS.glob("*/app.py"))
    layers = [build_layer(target, layer) for layer in ALL_LAYERS]
    if next(layers[0].rglob("*.pyc"), None) is None:
        say(NO_BYTECODE)
    return [
        *(zip_layer(layer, target) for layer in layers),
        *(zip_function(folder, target) for folder in folders),
    ]


def digest(files: Iterable[Path]) -> str:
    """SHA-256 over names and contents."""
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(PROJECT)} {content}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> list[Path]:
    """What a person wrote; bytecode is made of it."""
    return [path for path in _all_files(folder) if "__pycache__" not in path.parts]


def _all_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _interpreter(target: Target, layer: Layer, folder: Path) -> str:
    """What a layer for `target` depends on, besides its sources: wheels, or who makes bytecode."""
    if target == "host":
        return f" {sys.version} {sysconfig.get_platform()}"
    return f" {_made('compiler', target, layer, folder)}"


def _make(goal: str, target: Target, layer: Layer, folder: Path) -> None:
    if goal == "dependencies":
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    _made(goal, target, layer, folder)


def _made(goal: str, target: Target, layer: Layer, folder: Path) -> str:
    """Run a goal of the layers' Makefile; what it printed."""
    command = ["make", "--silent", "-C", str(LAYERS), goal]
    settings = [
        f"ARTIFACTS_DIR={folder}",
        f"LAYER={layer.sources}",
        f"LAYER_TARGET={target}",
        f"PYTHON={sys.executable}",
    ]
    # The caller may itself run under make, whose flags (-j, -n) are none of this one's business.
    environment = {key: value for key, value in os.environ.items() if key not in MAKE_VARIABLES}
    made = subprocess.run(  # noqa: S603 - our own command line
        [*command, *settings], env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise LocalCloudError(f"The layer could not be built:\n{made.stdout}{made.stderr}".rstrip())
    return made.stdout


MAKE_VARIABLES = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"}


def _check_tools() -> None:
    if shutil.which("make") is None:
        raise LocalCloudError("make is missing: install it (Debian: `apt-get install make`).")
    if importlib.util.find_spec("pip") is None:
        raise LocalCloudError(
            f"This Python has no pip: run `{sys.executable} -m ensurepip`, or `make .venv`."
        )


def _zip(folder: Path, archive: Path, compression: int) -> Path:
    """Zip `folder` unless the archive is of the same files already."""
    # a layer was built with its bytecode; what is in a function's folder was left by an import
    files = _all_files(folder) if folder.is_relative_to(BUILD) else _files(folder)
    stamp = archive.with_suffix(".zip.sha256")
    now = _listing(files)
    with turn():
        if not (archive.is_file() and stamp.is_file() and stamp.read_text() == now):
            archive.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(archive, "w", compression) as output:
                for file in files:
                    _add(output, file, str(file.relative_to(folder)), compression)
            stamp.write_text(now)
    return archive


def _listing(files: list[Path]) -> str:
    """Names, sizes and times: cheaper than reading 30 MB, and any build changes them."""
    rows = ((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return hashlib.sha256(repr(list(rows)).encode()).hexdigest()


def _add(output: zipfile.ZipFile, file: Path, name: str, compression: int) -> None:
    entry = zipfile.ZipInfo(name, ZIP_EPOCH)
    entry.compress_type = compression
    entry.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
    output.writestr(entry, file.read_bytes())


@contextmanager
def turn() -> Iterator[None]:
    """Wait until no other process of this working copy builds, and let none build meanwhile."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
