"""One local cloud for the whole folder."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

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
GROUPS = {
    "main": ("main_job", "publication", "notification", "ticks"),
    "commands": ("command_line",),
    "faults": ("webhooks_and_faults", "came", "written_traces", "permissions"),
    "real": ("real_fal",),
    "storage": ("fal_storage", "local_cloud"),
    "many": ("soak", "backfill"),
}
FILES = [f"test_{name}" for names in GROUPS.values() for name in names]
GROUP_OF = {f"test_{name}": group for group, names in GROUPS.items() for name in names}


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the files for `--dist loadgroup`, and order them; each test stays where it stands."""
    items.sort(key=lambda item: (*FILES, item.path.stem).index(item.path.stem))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(GROUP_OF.get(item.path.stem, item.path.stem)))
        if not item.get_closest_marker("timeout"):  # a test may wait for several steps in turn
            item.add_marker(pytest.mark.timeout(300))


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
