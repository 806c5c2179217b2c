"""The artefacts that AWS receives, deployed to a local cloud whose functions run on arm64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.cloud.build import build_all
from local.paths import BUILD
from tests.support.local_stack import Phonoscene, deployed
from tests.target import arm64

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = BUILD / "target"
#: What the summary shows: versions and counts, by name.
FACTS: dict[str, str] = {}


@pytest.fixture(scope="session")
def lambda_python() -> Path:
    """The program that acts as Lambda's Python."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        return arm64.interpreter(FOLDER)
    except arm64.Missing as missing:
        pytest.exit(str(missing), returncode=2)


@pytest.fixture(scope="session")
def archives() -> dict[str, Path]:
    """The zip files that AWS receives, by name."""
    return {archive.stem: archive for archive in build_all("aws")}


@pytest.fixture(scope="session")
def phonoscene(lambda_python: Path) -> Iterator[Phonoscene]:
    """The stack, deployed from those zip files."""
    with deployed(FOLDER / "cloud", lambda_python) as stack:
        yield stack


@pytest.fixture(scope="session")
def facts() -> dict[str, str]:
    """What a test adds to the summary."""
    return FACTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the facts below the results."""
    for name, fact in FACTS.items():
        terminalreporter.write_line(f"{name:14} {fact}")
