"""What decides whether a permission is needed: evidence, never silence alone."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.permissions.bench import less
from tests.support.permissions.cases import CASES, NOT_ENFORCED, Effect, sentence
from tests.support.permissions.removals import ROOT, Row, Verdict, disagreements, judge
from tests.support.permissions.sdk_monitor import Denial, denial_in

if TYPE_CHECKING:
    from collections.abc import Callable


def after(seconds: float) -> Callable[[], bool]:
    begin = time.monotonic()
    return lambda: time.monotonic() >= begin + seconds


NEVER, AT_ONCE, LATE = 60.0, 0.0, 0.35


@pytest.mark.parametrize(
    ("denied", "seen", "result"),
    [
        (AT_ONCE, NEVER, Verdict.NEEDED),
        (LATE, NEVER, Verdict.NEEDED),
        (NEVER, AT_ONCE, Verdict.UNUSED),
        (NEVER, LATE, Verdict.UNUSED),
        (AT_ONCE, AT_ONCE, Verdict.UNUSED),
        (AT_ONCE, LATE, Verdict.UNUSED),
        (NEVER, NEVER, Verdict.UNPROVEN),
    ],
)
def test_an_action_is_needed_where_it_is_denied_and_the_effect_does_not_come(
    denied: float, seen: float, result: Verdict
) -> None:
    effect = Effect(after(seen))

    assert judge(effect, after(denied), took=0.6, bound=1)[0] is result


def test_a_report_of_a_denial_names_function_generation_and_action() -> None:
    report = {
        "Type": "ApiCallAttempt",
        "ClientId": "StoreFunction/5",
        "Api": "PutObject",
        "AwsExceptionMessage": "User: arn:… is not authorized to perform: s3:PutObject because …",
    }

    assert denial_in(report) == Denial("StoreFunction", "5", frozenset({"s3:PutObject"}))
    assert denial_in(report | {"Type": "ApiCall"}) is None
    assert denial_in(report | {"AwsExceptionMessage": "The key does not exist."}) is None


@pytest.mark.parametrize(
    ("api", "status", "is_denial"),
    [("HeadObject", 403, True), ("HeadObject", 404, False), ("PutObject", 403, False)],
)
def test_only_a_head_is_denied_without_a_name(api: str, status: int, is_denial: bool) -> None:
    report = {"Type": "ApiCallAttempt", "ClientId": "f/0", "Api": api, "HttpStatusCode": status}

    assert (denial_in(report) is not None) is is_denial


ROW = Row("StoreFunction", "s3:PutObject", "a drop", Verdict.NEEDED, "…", order=1, seed=7)


def test_orders_that_disagree_are_named_with_what_repeats_them() -> None:
    other = replace(ROW, order=2, verdict=Verdict.UNUSED)
    elsewhere = replace(ROW, action="s3:GetObject", verdict=Verdict.UNUSED)

    assert disagreements([ROW, replace(ROW, order=2), elsewhere]) == []
    (line,) = disagreements([ROW, elsewhere, other])
    assert "StoreFunction" in line
    assert "--seed 7" in line


@pytest.mark.parametrize(
    "result", [v for v in Verdict if v not in {Verdict.NEEDED, Verdict.EXPLAINED}]
)
def test_a_row_that_is_not_proven_says_how_to_run_it_alone(result: Verdict) -> None:
    row = replace(ROW, verdict=result, seen="nothing")

    assert not row.is_proven
    assert "make permissions ARGS='--only \"StoreFunction s3:PutObject\"'" in str(row)
    assert "nothing" in str(row)


def test_one_action_is_taken_from_every_statement_and_nothing_else_is() -> None:
    document: Any = {
        "Statement": [
            {"Action": "sqs:SendMessage", "Resource": "a"},
            {"Action": ["sqs:SendMessage", "s3:GetObject"], "Resource": "b"},
            {"Action": ["s3:GetObject"], "Resource": "c"},
        ]
    }

    left = less(document, "sqs:SendMessage")

    actions = [statement["Action"] for statement in left["Statement"]]
    assert "sqs:SendMessage" not in str(actions)
    assert actions[1:] == [["s3:GetObject"], ["s3:GetObject"]]
    assert document["Statement"][0]["Action"] == "sqs:SendMessage"


@pytest.mark.parametrize("function", CASES)
def test_an_action_has_a_case_or_an_explanation_and_not_both(function: str) -> None:
    assert CASES[function].keys() & NOT_ENFORCED[function].keys() == set()
    assert all(sentence(case) for case in CASES[function].values())


def test_each_order_finds_the_suite_from_where_it_is_started() -> None:
    order = [sys.executable, "-m", "tests.support.permissions.removals", "--help"]

    assert subprocess.run(order, cwd=ROOT, capture_output=True, check=False).returncode == 0  # noqa: S603 - ourselves
