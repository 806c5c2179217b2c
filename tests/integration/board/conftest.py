"""The board on moto's stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from phonoscene_cli.board.access import Access
from phonoscene_cli.board.application import application
from phonoscene_cli.board.context import Board
from tests.integration.board.browser import PORT, Browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene_cli.stack.connection import Stack
    from tests.integration.desk import Desk


@dataclass
class Finder:
    """Finds the stack, and counts how often; ``error``: why it cannot."""

    desk: Desk
    error: Exception | None = None
    found: list[Stack] = field(default_factory=list)

    def __call__(self) -> Stack:
        if self.error:
            raise self.error
        self.found.append(self.desk.stack())
        return self.found[-1]


@pytest.fixture
def find(desk: Desk) -> Finder:
    return Finder(desk)


@pytest.fixture
def board(find: Finder) -> Iterator[Board]:
    made = Board(find, Access.on_port(PORT))
    yield made
    made.staging.close()


@pytest.fixture
def browser(board: Board) -> Browser:
    """One that the board has let in."""
    return Browser.of_page(application(board), board.access)
