"""Times the project's own commands: everything that is tested, and the demo a second time."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Final

from benchmarks.figures import Row, Section, seconds
from benchmarks.machine import load
from local.paths import PROJECT

MAX_TEST: Final = 360.0
MAX_DEMO: Final = 12.0
#: Seconds after which a command is given up.
PATIENCE: Final = 900
_OUTER_MAKE: Final = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"}


def measure() -> Section:
    """`make demo` twice, then `make test`; what they install is there before."""
    section = Section("The suite itself")
    _took("demo")
    _took(".venv-sam/ready")
    section.rows.append(_row("make demo, second run", "demo", MAX_DEMO))
    before = load()
    section.rows.append(_row("make test", "test", MAX_TEST))
    section.notes.append(
        f"The load was {before:.1f} before `make test`: what else ran is in its time."
    )
    return section


def _row(what: str, target: str, most: float) -> Row:
    took = _took(target)
    return Row.held(what, seconds(took), f"≤ {most:g} s", took <= most)


def _took(target: str) -> float:
    """Seconds of one command, which must succeed."""
    environment = {name: value for name, value in os.environ.items() if name not in _OUTER_MAKE}
    begun = time.monotonic()
    done = subprocess.run(  # noqa: S603 - our own words
        ["make", target],  # noqa: S607 - whichever make there is
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    took = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"make {target} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return took
