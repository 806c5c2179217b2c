"""Sends pages what has changed: one poller for all tabs, and none while no tab is open."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from phonoscene_cli.board.snapshot import Observer, Snapshot

#: Seconds between two looks at jobs that move, and after one that failed.
MOVING_AGAIN: Final = 0.5
AFTER_ERROR: Final = 3.0
#: Seconds after which a comment is sent, so that a tab that has gone is noticed.
ALIVE: Final = 15.0


@dataclass
class Poller:
    """Looks while somebody listens; each listener is woken after each look."""

    observer: Observer
    snapshot: Snapshot | None = None
    looks: int = 0
    is_closed: bool = False
    _watched: Counter[str] = field(default_factory=Counter)
    _listeners: int = 0
    _task: asyncio.Task[None] | None = None
    #: Set after the next look. A condition would be released twice where a tab's wait is cancelled
    #: again and again, as the server does, and break the wait of another tab.
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def listening(self, job_ids: tuple[str, ...] = ()) -> AsyncIterator[None]:
        """Keep the poller looking, at these jobs too, during the body."""
        self._listeners += 1
        self._watched.update(job_ids)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._listeners -= 1
            self._watched.subtract(job_ids)
            self._watched += Counter()

    async def after(self, looks: int) -> Snapshot | None:
        """The snapshot of a later look than ``looks``, or None where none comes for a while."""
        try:
            if self.looks <= looks and not self.is_closed:
                await asyncio.wait_for(self._changed.wait(), ALIVE)
        except TimeoutError:
            return None
        return self.snapshot

    def close(self) -> None:
        """End the events of all tabs."""
        self.is_closed = True
        self._changed.set()

    async def _run(self) -> None:
        while self._listeners:
            ids = list(self._watched)
            found = await run_in_threadpool(self.observer.look, time.monotonic(), ids)
            self.snapshot, self.looks = found, self.looks + 1
            self._changed.set()
            self._changed = asyncio.Event()
            await asyncio.sleep(AFTER_ERROR if found.problem else MOVING_AGAIN)


async def events(
    poller: Poller,
    job_ids: tuple[str, ...],
    render: Callable[[Snapshot], Mapping[str, str]],
) -> AsyncGenerator[str]:
    """Server-sent events of one tab: of the page's parts those whose HTML is new."""
    sent: dict[str, str] = {}
    looks = poller.looks
    async with poller.listening(job_ids):
        while not poller.is_closed:
            snapshot = await poller.after(looks)
            if snapshot is None:
                yield ": no change\n\n"
                continue
            looks = poller.looks
            parts = render(snapshot)
            new = {name: html for name, html in parts.items() if sent.get(name) != html}
            sent |= new
            if new:
                yield _event("".join(_partial(name, html) for name, html in new.items()))


def _partial(name: str, html: str) -> str:
    """Htmx's element for a part of a page: what is inside is merged into the element of that id."""
    return f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{html}</hx-partial>'


def _event(data: str) -> str:
    return "".join(f"data: {line}\n" for line in data.splitlines()) + "\n"
