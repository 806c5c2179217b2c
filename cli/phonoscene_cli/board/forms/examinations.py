"""Examines forms while they are typed in; of long audio that takes longer than the next letter."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

#: Examinations at once; their threads are apart from those that answer all other requests.
AT_ONCE: Final = 4


@dataclass
class Examinations:
    """Those of each form one after another, and only what a page still waits for."""

    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(AT_ONCE, "examination")
    )
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def of(self, request: Request, form_id: str, examine: Callable[[], Response]) -> Response:
        """The answer; an empty one where the page has asked for another one since."""
        turn = self._turns.setdefault(form_id, asyncio.Lock())
        async with turn:
            if await request.is_disconnected():
                return Response(status_code=204)
            return await asyncio.get_running_loop().run_in_executor(self._threads, examine)
