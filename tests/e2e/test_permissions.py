"""Each permission is there because something breaks without it: one of each function.

``make permissions`` takes all of them away, one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.security.removals import CASES, NOT_ENFORCED, granted, is_missed, works

if TYPE_CHECKING:
    from tests.e2e.conftest import Phonoscene

ONE_OF_EACH = [
    ("SubmitFunction", "s3:GetObjectVersion"),
    ("WebhookFunction", "sqs:SendMessage"),
    ("StoreFunction", "s3:PutObject"),
    ("PublishFunction", "s3:GetObject"),
    ("NotifyFunction", "sqs:ChangeMessageVisibility"),
    ("ReconcileFunction", "dynamodb:ConditionCheckItem"),
]


@pytest.mark.parametrize(("function", "action"), ONE_OF_EACH)
def test_without_this_permission_something_fails_that_passes_with_it(
    phonoscene: Phonoscene, function: str, action: str
) -> None:
    case = CASES[function][action]

    assert works(phonoscene, case)
    assert is_missed(phonoscene, function, action, case)


@pytest.mark.parametrize("function", CASES)
def test_every_action_that_is_granted_has_a_case_or_a_reason(
    phonoscene: Phonoscene, function: str
) -> None:
    actions = granted(phonoscene, function)

    assert actions
    assert [one for one in actions if one not in CASES[function] | NOT_ENFORCED] == []


def test_every_function_has_its_cases() -> None:
    assert {function for function, _ in ONE_OF_EACH} == set(CASES)
