"""The deployed packages against PyPI's advisory database, by pip-audit.

    python -m tests.security.advisories

exit codes:
  0  no advisory names a version that is deployed
  1  an advisory does; it is printed, with the versions that are mended. Or the audit itself failed
  2  no advisory database could be reached: nothing is known
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
AUDITOR: Final = ROOT / ".venv-audit" / "bin" / "pip-audit"
PYTHON: Final = AUDITOR.with_name("python")
UNKNOWN: Final = 2
#: An exit code, and lines for a person.
Looked = tuple[int, list[str]]
#: Asks PyPI as pip-audit does, but once: that waits for each package, five minutes in all.
PROBE: Final = "import requests; requests.get('https://pypi.org/pypi/pip/json')"
#: Seconds for the answer, whichever of PyPI's addresses it comes from.
PATIENCE: Final = 10.0


def look(python: Path = PYTHON, patience: float = PATIENCE) -> Looked:
    """The exit code, and lines for a person; ``python`` asks whether PyPI can be reached."""
    if why := _unreachable(python, patience):
        return UNKNOWN, ["no advisory database could be reached", why]
    lock = ROOT / "layers" / "common" / "requirements.txt"
    options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--timeout", "20"]
    asked = subprocess.run(  # noqa: S603 - our own command line
        [AUDITOR, "--requirement", lock, *options, "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return read(asked.stdout, asked.stderr)


def _unreachable(python: Path, patience: float) -> str:
    """Why PyPI cannot be asked; empty where it can."""
    command: list[str | Path] = [python, "-c", PROBE]
    try:
        subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, check=True, timeout=patience
        )
    except subprocess.TimeoutExpired:
        return f"PyPI does not answer within {patience:.0f} s"
    except subprocess.CalledProcessError as exc:
        return str(exc.stderr).strip().rpartition("\n")[2][-300:] or "no reason"
    return ""


#: How pip-audit and requests say that a host cannot be reached.
_UNREACHED: Final = ("Could not connect to", "network may be blocking", "Max retries", "timed out")


def read(report: str, errors: str) -> Looked:
    """What pip-audit said; without a report, only an unreachable database is no failure."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        last = errors.strip()[-300:]
        if any(word in errors for word in _UNREACHED):
            return UNKNOWN, ["no advisory database could be reached", last]
        return 1, [f"pip-audit gave no report: {last}"]
    return judge(packages)


def judge(packages: list[dict[str, Any]]) -> Looked:
    """What pip-audit's report means; a package that it skipped is not a package without fault."""
    if not packages:
        return 1, ["pip-audit looked at no package"]
    shown = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {fault['fix_versions']}"
        for one in packages
        for fault in one.get("vulns", [])
    ]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if shown:
        return 1, shown
    if skipped:
        names = ", ".join(skipped)
        return UNKNOWN, [f"no advisory database could be asked about {names}"]
    return 0, [f"{len(packages)} packages, no advisory"]


def main() -> int:
    """Print what was found; the exit code."""
    code, lines = look()
    print(*lines, sep="\n", file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
