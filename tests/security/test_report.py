"""The report of `make security` counts as passed only what has run and passed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.security import report
from tests.security.report import Run, checked, line_of, main, timed

PROOF = "tests/unit/test_x.py::test_y"


def case(outcome: str = "") -> ET.Element:
    text = f'<testcase classname="tests.unit.test_x" name="test_y[1]">{outcome}</testcase>'
    return ET.fromstring(text)  # noqa: S314 - written here


@pytest.mark.parametrize(
    ("found", "failures"),
    [
        ([case()], 0),
        ([case(), case()], 0),
        ([], 1),
        ([case('<failure message="no"/>')], 1),
        ([case('<error message="no"/>')], 1),
        ([case('<skipped message="no"/>')], 1),
        ([case(), case('<failure message="no"/>')], 1),
    ],
)
def test_a_row_holds_if_each_of_its_tests_ran_and_passed(
    found: list[ET.Element], failures: int
) -> None:
    line = line_of("a threat", {PROOF}, found)

    assert len(line.failures) == failures
    assert all(f".venv/bin/python -m pytest {PROOF}" in one for one in line.failures)


@pytest.mark.parametrize(
    ("summary", "failures"),
    [
        ({"passed": 107, "failed": 0, "skipped": 28, "parsing_errors": 0}, 0),
        ({"passed": 106, "failed": 1, "skipped": 28, "parsing_errors": 0}, 1),
        ({"passed": 0, "failed": 0, "skipped": 0, "parsing_errors": 1}, 1),
        ({"passed": 0, "failed": 0, "skipped": 0, "parsing_errors": 0}, 1),
    ],
)
def test_a_template_that_checkov_did_not_read_is_no_template_without_findings(
    summary: dict[str, int], failures: int
) -> None:
    assert len(checked(summary).failures) == failures


def test_a_part_that_breaks_is_a_failure_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Run) -> Any:
        raise OSError("no such program")

    monkeypatch.setitem(report.PARTS, "template", broken)
    monkeypatch.setitem(report.PARTS, "packages", lambda _: [])

    assert timed("packages", Run(1, 1)) == []
    assert main(["--only", "template", "--only", "packages"]) == 1
    assert 'make security ARGS="--only template"' in capsys.readouterr().out
