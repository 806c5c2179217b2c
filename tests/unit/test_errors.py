"""The tree that errors.py draws is the tree that it defines."""

from __future__ import annotations

import inspect
import re

import pytest

from phonoscene import errors
from phonoscene.errors import (
    DropRefused,
    PhonosceneError,
    VideoRefused,
    WebhookRefused,
    WriteRefused,
)
from phonoscene.jobs import ErrorDetail

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and issubclass(found, Exception)
}
LINE = re.compile(r"^ {4}((?:[│ ] {3})*)(?:[├└]── )?([A-Z]\w+)", re.MULTILINE)


def drawn() -> dict[str, str | None]:
    """Each class of the drawing with its parent."""
    found: dict[str, str | None] = {}
    branch: list[str] = []
    for match in LINE.finditer(errors.__doc__ or ""):
        is_root = "── " not in match[0]
        depth = 0 if is_root else len(match[1]) // 4 + 1
        branch = [*branch[:depth], match[2]]
        found[match[2]] = branch[depth - 1] if depth else None
    return found


def test_the_drawing_is_the_tree() -> None:
    defined = {
        name: None if found is PhonosceneError else found.__bases__[0].__name__
        for name, found in CLASSES.items()
    }

    assert drawn() == defined
    assert list(drawn()) == sorted(defined, key=list(drawn()).index)


@pytest.mark.parametrize("found", CLASSES.values(), ids=CLASSES.keys())
def test_every_error_says_what_happened_in_its_docstring(found: type[PhonosceneError]) -> None:
    assert found.__doc__
    assert found.__doc__.split("\n", 1)[0].endswith((".", ";", ",", "found", "back"))


PLAIN = [name for name, found in CLASSES.items() if found.__init__ is Exception.__init__]


@pytest.mark.parametrize("name", PLAIN)
def test_an_error_without_a_text_of_its_own_says_its_docstring(name: str) -> None:
    found = CLASSES[name]

    assert str(found()) == (found.__doc__ or "").split("\n", 1)[0]
    assert str(found("a reason")) == "a reason"


def test_errors_that_carry_evidence_say_what_it_is() -> None:
    detail = ErrorDetail(code="x", message="The audio has no bytes.")
    other = ErrorDetail(code="y", message="The prompt is missing.")

    assert str(DropRefused(detail, other)) == "The audio has no bytes.; The prompt is missing."
    assert DropRefused(detail, other).errors == (detail, other)
    assert str(VideoRefused(detail)) == "The audio has no bytes."
    assert str(WriteRefused(None)) == "found no record"
    assert str(WebhookRefused("path_malformed")) == "path_malformed"
