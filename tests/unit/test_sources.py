"""What every source file keeps to, beyond the linters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("layers", "functions", "cli", "local")
#: A check that is turned off on one line, and what is written after its name.
SUPPRESSION = re.compile(
    r"# (?:noqa(?:: (?:[A-Z]+\d+(?:, ?)?)+)?|type: ignore(?:\[[\w, -]+\])?)(?P<reason>.*)"
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_suppressed_check_has_its_reason_beside_it(folder: str) -> None:
    lines = {
        f"{file.relative_to(ROOT)}:{number}": line
        for file in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
    }

    found = {place: SUPPRESSION.search(line) for place, line in lines.items()}
    suppressed = {place: match for place, match in found.items() if match}

    assert suppressed
    assert [
        place
        for place, match in suppressed.items()
        if not re.match(r" - \w|  # \w", match["reason"])
    ] == []
