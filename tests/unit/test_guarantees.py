"""The README's promises are those of docs/guarantees.md, whose tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
TEMPLATE = (ROOT / "template.yaml").read_text()
PROMISES = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
PROOFS = re.findall(r"^\| `(tests/\S+?)::(\w+)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_of_the_readme_leads_to_its_tests(promise: str) -> None:
    section = PAGE.partition(f"## {promise}\n")[2].partition("\n## ")[0]
    anchor = promise.lower().replace(",", "").replace(" ", "-")

    assert f"**[{promise}.](docs/guarantees.md#{anchor})**" in README
    assert section.count("| `tests/") >= 5
    assert "\nThe limit: " in section


def test_the_page_makes_four_promises() -> None:
    assert len(PROMISES) == 4
    assert README.count("docs/guarantees.md#") == 4


@pytest.mark.parametrize(("file", "test"), PROOFS)
def test_each_test_that_the_page_names_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text())

    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_alarm_that_the_page_names_exists() -> None:
    for alarm in re.findall(r"`(\w+Alarm)`", PAGE):
        assert f"\n  {alarm}:" in TEMPLATE
