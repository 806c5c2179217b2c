"""What a check of ``doctor`` says: ok, warn or fail, what it found, and the next step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from phonoscene_cli import failures
from phonoscene_cli.results import Result

if TYPE_CHECKING:
    from phonoscene_cli.stack.connection import Stack

#: The services' words for: you may not. SNS has one of its own.
DENIED: Final = failures.DENIED | {"AuthorizationError"}


class Level(StrEnum):
    """The result of a check, from best to worst."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check(Result):
    """One line: what was looked at, how it stands, and the next step where there is one."""

    check: str
    level: Level
    detail: str
    next: str = ""


Looked = tuple[Level, str, str]
Look = Callable[["Stack"], Looked]


def ok(detail: str) -> Looked:
    """The result of a check that found nothing to do."""
    return Level.OK, detail, ""
