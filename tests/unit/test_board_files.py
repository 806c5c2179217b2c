"""The board's own files and those of others: listed, unchanged, packed, and served by it alone."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "cli" / "phonoscene_cli" / "board"
STATIC = BOARD / "static"
VENDORED: list[dict[str, str]] = json.loads((STATIC / "VENDORED.json").read_text())
OWN = {"board.js", "board.css", "icon.svg", "VENDORED.json"}


def test_every_file_that_is_not_our_own_is_listed() -> None:
    assert {file.name for file in STATIC.iterdir()} == OWN | {one["file"] for one in VENDORED}


@pytest.mark.parametrize("one", VENDORED, ids=lambda one: one["file"])
def test_a_file_of_others_is_what_its_release_holds(one: dict[str, str]) -> None:
    assert hashlib.sha256((STATIC / one["file"]).read_bytes()).hexdigest() == one["sha256"]
    assert one["version"] in one["source"]
    assert one["licence"] == "0BSD"


def test_the_scripts_of_a_page_are_small() -> None:
    scripts = (file.read_bytes() for file in STATIC.glob("*.js"))

    assert sum(len(gzip.compress(script)) for script in scripts) <= 60_000


@pytest.mark.parametrize(
    "file", [*BOARD.glob("templates/*.html"), *STATIC.glob("board.*")], ids=lambda file: file.name
)
def test_a_page_names_no_other_host_and_has_no_handlers_and_styles_of_its_own(file: Path) -> None:
    text = file.read_text()

    assert not re.search(r"https?://|[\"'(=]//", text)
    assert not re.search(r"""<[^>]*\s(on\w+|style)=["']""", text)


def test_whatever_a_page_is_made_of_is_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = project["package-data"]["phonoscene_cli"]

    packed = {file for pattern in patterns for file in BOARD.parent.glob(pattern)}

    assert packed >= {file for file in BOARD.rglob("*.*") if file.suffix not in (".py", ".pyc")}
