"""The code of a released version, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from tests.support.template import ROOT

if TYPE_CHECKING:
    from pathlib import Path


#: The program that finishes what another version has written.
FINISH: Final = "tests/compatibility/finish.py"


def commit(version: str) -> str | None:
    """Return the commit of a version's tag, or HEAD before it is tagged; None without git."""
    for ref in (f"refs/tags/v{version}", "HEAD"):
        found = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if found and _git("cat-file", "-e", f"{found.decode().strip()}:{FINISH}") is not None:
            return found.decode().strip()
    return None


def unpack(commit: str, folder: Path) -> None:
    """Write a commit's code to a folder."""
    archive = _git("archive", commit)
    assert archive
    folder.mkdir()
    command = ("tar", "-x", "-C", str(folder))
    subprocess.run(command, input=archive, check=True)  # noqa: S603 - our own archive


def finish(folder: Path, moments: Path) -> dict[str, Any]:
    """Let the code in a folder finish moments; what it prints."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join((".", "layers/common"))}
    command = [sys.executable, "-W", "ignore", "-m", "tests.compatibility.finish", str(moments)]
    done = subprocess.run(  # noqa: S603 - this Python, and a file of the test
        command, cwd=folder, env=environ, capture_output=True, check=True, timeout=100
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _git(*arguments: str) -> bytes | None:
    """What git prints, or None if it fails or there is none."""
    try:
        return subprocess.run(  # noqa: S603 - our own arguments
            ("git", *arguments),  # noqa: S607 - the one on the path
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
