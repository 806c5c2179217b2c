"""The queue: accepted requests wait for one of a few places, run, and complete exactly once."""

from __future__ import annotations

import asyncio
import bisect
import json
import logging
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from local.fal_simulator.outcomes import Outcome, infrastructure_error, start_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from local.fal_simulator.config import Config
    from local.fal_simulator.faults.fault_dial import Fault, FaultDial
    from local.fal_simulator.schema import Inputs

log = logging.getLogger(__name__)


class QueueStatus(StrEnum):
    """fal has exactly these three; a failed or cancelled request is COMPLETED too."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """One accepted submission and everything that has happened to it since; times are Unix."""

    arguments: dict[str, Any]
    inputs: Inputs
    headers: dict[str, str]
    webhook_url: str | None = None
    low_priority: bool = False
    start_timeout: float | None = None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    gateway_request_id: str = ""
    status: QueueStatus = QueueStatus.IN_QUEUE
    outcome: Outcome | None = None
    submitted_at: float = field(default_factory=time.time)
    started_at: float | None = None
    completed_at: float | None = None
    logs: list[dict[str, str]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    downloads: list[dict[str, Any]] = field(default_factory=list)
    reads: dict[str, int] = field(default_factory=lambda: {"status": 0, "result": 0, "cancel": 0})
    expires_at: float | None = None
    #: Whether the result call says what kind of failure it was, as the status does.
    keeps_error_type: bool = True
    first_delivery: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gateway_request_id = self.gateway_request_id or self.request_id

    def say(self, message: str) -> None:
        """Add a line to the log that the status shows."""
        now = datetime.now(UTC).isoformat()
        line = {"level": "INFO", "message": message, "source": "USER", "timestamp": now}
        self.logs.append(line)

    @property
    def expired(self) -> bool:
        """Whether the stored result is gone."""
        return self.expires_at is not None and time.time() >= self.expires_at


class Places:
    """The account's concurrency: counted places, given in order of rank, then arrival."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._arrivals = 0
        self._line: list[tuple[int, int, asyncio.Future[None]]] = []

    async def take(self, rank: int) -> None:
        """Wait for a place; the caller gives it back."""
        self._arrivals += 1
        entry = (rank, self._arrivals, asyncio.get_running_loop().create_future())
        bisect.insort(self._line, entry)
        self._admit()
        try:
            await entry[2]
        except asyncio.CancelledError:
            self._leave(entry)
            raise

    def give_back(self) -> None:
        """Free a place for the next in line."""
        self._free += 1
        self._admit()

    def _admit(self) -> None:
        while self._free and self._line:
            self._free -= 1
            self._line.pop(0)[2].set_result(None)

    def _leave(self, entry: tuple[int, int, asyncio.Future[None]]) -> None:
        if entry in self._line:
            self._line.remove(entry)
        else:  # the place came in the same moment as the cancellation
            self.give_back()


class Queue:
    """Every request of this process, in order of submission."""

    def __init__(
        self,
        config: Config,
        faults: FaultDial,
        run: Callable[[Request], Awaitable[Outcome]],
        completed: Callable[[Request], None],
    ) -> None:
        self._config = config
        self._faults = faults
        self._run = run
        self._completed = completed
        self._places = Places(config.concurrency)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.requests: dict[str, Request] = {}

    def accept(self, request: Request) -> None:
        """Put a request in the queue."""
        self.requests[request.request_id] = request
        task = asyncio.create_task(self._live(request))
        self._tasks[request.request_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(request.request_id, None))
        log.info("request.accepted request_id=%s", request.request_id)

    def waiting(self) -> list[Request]:
        """Return what is in the queue, in the order it will start."""
        queued = (r for r in self.requests.values() if r.status is QueueStatus.IN_QUEUE)
        return sorted(queued, key=lambda request: request.low_priority)

    def cancel(self, request: Request, *, stop_running: bool) -> None:
        """Remove a waiting request, or a running one if asked to.

        What fal then shows of a cancelled request is not documented. A guess: COMPLETED with
        `client_cancelled` (499), a code fal does document, and no webhook.
        """
        task = self._tasks.get(request.request_id)
        running = request.status is QueueStatus.IN_PROGRESS
        if task is None or (running and not stop_running):
            return
        task.cancel()
        outcome = infrastructure_error(499, "client_cancelled", "Request cancelled by the client")
        self._finish(request, outcome, announce=False)

    def stop(self) -> None:
        """Abandon every run and forget every request."""
        for task in list(self._tasks.values()):
            task.cancel()
        self.requests.clear()

    async def _live(self, request: Request) -> None:
        prompt = request.inputs.prompt
        fault = self._faults.take("queue", request_id=request.request_id, prompt=prompt)
        try:
            async with asyncio.timeout(_time_to_start(request, fault)):
                await asyncio.sleep(self._shortest_wait(fault))
                await self._places.take(int(request.low_priority))
        except TimeoutError:
            self._finish(request, start_timeout())
            return
        try:
            self._start(request)
            outcome = await self._run(request)
        finally:
            self._places.give_back()
        self._finish(request, outcome)

    def _shortest_wait(self, fault: Fault | None) -> float:
        delayed = fault is not None and fault.action == "delay"
        return fault.seconds if fault and delayed else self._config.queue_seconds

    def _start(self, request: Request) -> None:
        request.status = QueueStatus.IN_PROGRESS
        request.started_at = time.time()

    def _finish(self, request: Request, outcome: Outcome, *, announce: bool = True) -> None:
        request.status = QueueStatus.COMPLETED
        request.outcome = outcome
        request.completed_at = time.time()
        lifetime = self._config.lifetime_of(len(json.dumps(outcome.body)))
        request.expires_at = request.completed_at + lifetime
        log.info(
            "request.completed request_id=%s status_code=%d error_type=%s",
            request.request_id,
            outcome.status_code,
            outcome.error_type,
        )
        if announce:
            self._completed(request)


def _time_to_start(request: Request, fault: Fault | None) -> float | None:
    return 0 if fault is not None and fault.action == "expire" else request.start_timeout
