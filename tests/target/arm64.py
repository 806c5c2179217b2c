"""A Python 3.13 for arm64, as Debian builds it, on an emulated Neoverse N1 (Lambda's Graviton2).

The packages are downloaded and unpacked into a folder by apt and dpkg. No package is installed, and
this machine's own package lists stay as they are.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from tests.support.lambda_runtime import link_packages

if TYPE_CHECKING:
    from pathlib import Path

#: Debian 13 is the first with Python 3.13.
SUITE: Final = "trixie"
MIRROR: Final = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: Python, and each library that it or a layer loads.
PACKAGES: Final = (
    *("python3.13-minimal", "libpython3.13-minimal", "libpython3.13-stdlib"),
    *(
        "libc6",
        "libgcc-s1",
        "libstdc++6",
        "libssl3t64",
        "zlib1g",
        "libexpat1",
        "libffi8",
        "liblzma5",
    ),
    *("libbz2-1.0", "libsqlite3-0", "libzstd1", "libuuid1"),
)
CPU: Final = "neoverse-n1"
EMULATORS: Final = ("qemu-aarch64-static", "qemu-aarch64")


class Missing(Exception):
    """A program or a file that the check needs is not there."""


def emulator() -> str:
    """The path of qemu's emulator of arm64 programs."""
    for name in EMULATORS:
        if path := shutil.which(name):
            return path
    raise Missing("qemu for arm64 is missing. Install it: apt-get install qemu-user-static")


def version() -> str:
    """The emulator's version."""
    run = [emulator(), "--version"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)  # noqa: S603 - our own words only
    return done.stdout.partition("\n")[0].removeprefix("qemu-aarch64 version ")


def interpreter(folder: Path) -> Path:
    """The path of a program that acts as Lambda's Python; made in ``folder`` at the first call."""
    qemu, root, runtime = emulator(), folder / "root", folder / "runtime"
    if not root.is_dir():
        _unpack(_downloaded(folder), root)
    shutil.rmtree(runtime, ignore_errors=True)
    runtime.mkdir()
    link_packages(runtime)
    words = [qemu, "-cpu", CPU, "-L", str(root), str(root / "usr/bin/python3.13")]
    program = folder / "python3.13"
    program.write_text(
        "#!/bin/sh\n"
        f'export PYTHONPATH={shlex.quote(str(runtime))}"${{PYTHONPATH:+:$PYTHONPATH}}"\n'
        f'exec {shlex.join(words)} "$@"\n'
    )
    program.chmod(0o755)
    return program


def _downloaded(folder: Path) -> list[Path]:
    """The packages' files, whose signatures apt has checked."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Missing(f"{tool} is missing. Run the check on Debian or Ubuntu.")
    if not os.access(KEYRING, os.R_OK):
        raise Missing(f"{KEYRING} is missing. Install it: apt-get install debian-archive-keyring")
    apt, files = folder / "apt", folder / "packages"
    for part in ("state/lists/partial", "cache/archives/partial", "parts"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": apt / "parts",
        "Dir::State": apt / "state",
        "Dir::State::status": os.devnull,
        "Dir::Cache": apt / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for words in (["update"], ["download", *PACKAGES]):
        run = ["apt-get", "-qq", *options, *words]
        subprocess.run(run, cwd=files, check=True)  # noqa: S603 - our own words only
    return sorted(files.glob("*.deb"))


def _unpack(packages: list[Path], root: Path) -> None:
    """Unpack into a folder that appears when it is whole."""
    part = root.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for package in packages:
        run = ["dpkg-deb", "--extract", str(package), str(part)]
        subprocess.run(run, check=True)  # noqa: S603 - our own words only
    (part / "lib").symlink_to("usr/lib")
    part.rename(root)
