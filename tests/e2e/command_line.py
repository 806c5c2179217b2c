"""The command line in a terminal, on the stack of this folder."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.local_stack import FOLDER, Phonoscene
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDPOINTS = ("--endpoints", str(FOLDER / "endpoints.json"))


def at_terminal(*words: str, **options: Any) -> Terminal:
    """Type a command."""
    return Terminal(sys.executable, "-m", "phonoscene_cli", *ENDPOINTS, *words, **options)


def output_of(*words: str, code: int = 0, **options: Any) -> str:
    """What a command shows that asks nothing."""
    with at_terminal(*words, **options) as terminal:
        assert terminal.end() == code, terminal.text
        return terminal.text


def json_of(*words: str, code: int = 0) -> Any:
    """What a command tells a program, beside what it shows to the person at the terminal."""
    text = output_of(*words, "--json", code=code)
    begin = min(text.index(mark) for mark in "[{" if mark in text)
    return json.JSONDecoder().raw_decode(text, begin)[0]


@contextmanager
def without_s3_events(phonoscene: Phonoscene) -> Iterator[None]:
    """S3's events of this time get lost."""
    events = phonoscene.endpoints.client("events")
    (rule,) = (
        one["Name"] for one in events.list_rules()["Rules"] if "RouteDropsRule" in one["Name"]
    )
    events.disable_rule(Name=rule)
    try:
        yield
    finally:
        events.enable_rule(Name=rule)
