"""One local cloud for the whole folder."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.support.local_stack import FOLDER, Phonoscene, deployed
from tests.support.traces import secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The files that take longest begin first, so that all processes end at about the same time.
LONGEST = (
    "main_job",
    "fal_storage",
    "command_line",
    "permissions",
    "webhooks_and_faults",
    "real_fal",
    "backfill",
    "soak",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; the tests of each stay as they stand there."""
    rank = {f"test_{name}": n for n, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def phonoscene() -> Iterator[Phonoscene]:
    """The deployed stack; what it has written is searched before it goes down."""
    with deployed(FOLDER) as phonoscene:
        yield phonoscene
        found, searched = secrets_in(phonoscene)
        SEARCHED.append(searched)
        assert found == []


#: How many bytes were searched at the end of this process's stack.
SEARCHED: list[int] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Report what was searched with the last test, at whose end the stack goes down."""
    yield
    while SEARCHED:
        item.user_properties.append(("searched_at_the_end", SEARCHED.pop()))


@pytest.fixture
def name() -> str:
    """A name nobody else drops."""
    return f"e2e/{uuid.uuid4().hex}"
