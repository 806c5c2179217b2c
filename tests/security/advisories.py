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
UNKNOWN: Final = 2


#: Asks PyPI as pip-audit does, but once: that waits for each package, five minutes in all.
PROBE: Final = "import requests; requests.get('https://pypi.org/pypi/pip/json', timeout=20)"


def look() -> tuple[int, list[str]]:
    """The exit code, and lines for a person."""
    probe = subprocess.run(  # noqa: S603 - our own command line
        [AUDITOR.with_name("python"), "-c", PROBE], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        why = probe.stderr.strip().rpartition("\n")[2][-300:]
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


#: How pip-audit and requests say that a host cannot be reached.
_UNREACHED: Final = ("Could not connect to", "network may be blocking", "Max retries", "timed out")


def read(report: str, errors: str) -> tuple[int, list[str]]:
    """What pip-audit said; without a report, only an unreachable database is no failure."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        last = errors.strip()[-300:]
        if any(word in errors for word in _UNREACHED):
            return UNKNOWN, ["no advisory database could be reached", last]
        return 1, [f"pip-audit gave no report: {last}"]
    return judge(packages)


def judge(packages: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """What pip-audit's report means; a package that it skipped is not a package without fault."""
    if not packages:
        return 1, ["pip-audit looked at no package"]
    told = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {fault['fix_versions']}"
        for one in packages
        for fault in one.get("vulns", [])
    ]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if told:
        return 1, told
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
