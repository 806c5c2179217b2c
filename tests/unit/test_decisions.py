"""Each decision has a number, a title, a date and a status, and the contents list them all."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "decisions.md").read_text()
DECISIONS = re.findall(r"^## (\d+)\. (.+)$", PAGE, re.MULTILINE)
OTHER = r"\[\d+\]\(#\S+\)"
STATUS = re.compile(
    r"^## \d+\. .+\n\nDate: \d{4}-\d\d-\d\d\. "
    rf"Status: (?:accepted|(?:accepted, amended|superseded) by {OTHER}(?: and {OTHER})*)\.$",
    re.MULTILINE,
)


def test_decisions_are_numbered_from_one() -> None:
    assert [int(number) for number, _ in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_each_decision_has_a_date_and_a_status() -> None:
    assert len(STATUS.findall(PAGE)) == len(DECISIONS)


def test_the_contents_list_every_decision_in_order() -> None:
    contents = re.findall(r"^(\d+)\. \[(.+)\]\(#\S+\)$", PAGE, re.MULTILINE)

    assert contents == DECISIONS
