"""``NAME=VALUE`` as options take it."""

from __future__ import annotations

from typing import NamedTuple

from phonoscene_cli.errors import WrongUsage


class Assignment(NamedTuple):
    """A name and the value it is given, both as they were typed."""

    name: str
    value: str


def assigned(text: str, form: str) -> Assignment:
    """The two sides of the first ``=``; the value may be empty.

    Raises:
        WrongUsage: it is no such pair; ``form`` says what it should be.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise WrongUsage(f"{text!r} is not {form}.")
    return Assignment(name, value)
