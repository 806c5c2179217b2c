"""Each permission is there because something breaks without it: one of each function.

``make permissions`` takes all of them away, one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.permissions.bench import Bench, bench
from tests.support.permissions.cases import CASES, NOT_ENFORCED
from tests.support.permissions.removals import Trials, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.local_stack import Phonoscene

ONE_OF_EACH = {
    "SubmitFunction": "s3:GetObjectVersion",
    "ProbeFunction": "s3:GetObject",
    "WebhookFunction": "sqs:SendMessage",
    "StoreFunction": "s3:PutObject",
    "PublishFunction": "s3:GetObject",
    "EditFunction": "s3:PutObject",
    "NotifyFunction": "sqs:ChangeMessageVisibility",
    "ReconcileFunction": "dynamodb:ConditionCheckItem",
}


@pytest.fixture(scope="module")
def found(phonoscene: Phonoscene) -> Iterator[Bench]:
    """The stack, watched, and without the ticks that would help a case."""
    with phonoscene.stopped_clock(), bench(phonoscene) as made:
        yield made


@pytest.fixture(scope="module")
def trials(found: Bench) -> Trials:
    return Trials(found)


@pytest.mark.parametrize("function", ONE_OF_EACH)
def test_without_this_permission_something_fails_that_passes_with_it(
    trials: Trials, function: str
) -> None:
    row = trials.run(function, ONE_OF_EACH[function])

    assert row.verdict is Verdict.NEEDED, str(row)


@pytest.mark.parametrize("function", CASES)
def test_every_action_that_is_granted_has_a_case_or_a_reason(found: Bench, function: str) -> None:
    actions = found.granted(function)

    assert actions
    assert [one for one in actions if one not in CASES[function] | NOT_ENFORCED[function]] == []
    assert sorted(CASES[function].keys() - actions) == []


def test_every_deployed_function_has_its_cases(found: Bench) -> None:
    assert set(found.functions) == set(CASES) == set(NOT_ENFORCED) == set(ONE_OF_EACH)
