"""One local cloud for the whole folder."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # ships none

from tests.support.local_stack import (
    FOLDER,
    NO_WEBHOOK,
    Phonoscene,
    deployed,
    full_window,
    is_put_off,
)
from tests.support.traces import secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Which files share a process, and so a stack, in this order. All groups begin at once and last
#: about equally long. Each group more costs a stack: two dozen processes, and seconds of CPU time.
#: (``soak`` and ``backfill`` have stacks of their own, whatever group they are in.)
GROUPS = {
    "board": ("board", "local_cloud"),  # begins with a stack that has no job yet
    "main": ("main_job", "publication", "notification", "fal_storage", "ticks"),
    "commands": ("command_line", "deploy"),
    # the permissions want queues at rest, which faults leave busy for minutes
    "faults": ("permissions", "webhooks_and_faults", "came", "mail", "written_traces"),
    "real": ("real_fal", "soak"),
    "many": ("long_audio", "backfill"),
}
FILES = [f"test_{name}" for names in GROUPS.values() for name in names]
GROUP_OF = {f"test_{name}": group for group, names in GROUPS.items() for name in names}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files as in ``GROUPS``; the tests of each stay as they stand there."""
    items.sort(key=lambda item: (*FILES, item.path.stem).index(item.path.stem))
    for item in items:
        if not item.get_closest_marker("timeout"):  # a test may wait for several steps in turn
            item.add_marker(pytest.mark.timeout(300))


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Gives each group to one process. xdist's own marks for it have no effect in pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        """The group of a test; a file that is in none is its own."""
        name = Path(nodeid.partition("::")[0]).stem
        return GROUP_OF.get(name, name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Distribute by group for `--dist loadgroup`; otherwise as xdist does."""
    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


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


# What waits for a tick, which comes once a minute, is dropped before everything else -------------


@pytest.fixture(scope="session")
def crowded_out(phonoscene: Phonoscene) -> dict[str, Any]:
    """A drop that found every place taken, for a moment; its record of then."""
    with full_window(phonoscene):
        phonoscene.drop("crowded/out")
        return phonoscene.take("crowded/out", until={"READY"}, once=is_put_off)


@pytest.fixture(scope="session")
def lost(phonoscene: Phonoscene, crowded_out: dict[str, Any]) -> dict[str, str]:  # noqa: ARG001 - it wants the window for itself
    """Drops whose webhook never comes, in fal's hands by now or soon; the prompt of each."""
    return {name: phonoscene.drop(name, NO_WEBHOOK) for name in (f"lost/{n}" for n in range(10))}


@pytest.fixture(scope="session")
def refused(phonoscene: Phonoscene) -> str:
    """A drop that fal turns away at first; its prompt."""
    return phonoscene.drop("refused/once", ("submit", "status", {"code": 429}))
