"""Several submitters at once, in interleavings that a seed repeats.

Every call of the table is one turn: a thread that wants to make one waits until it is chosen. So a
call is atomic, as DynamoDB's are, and the order of the calls is the seed's and no one else's.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from phonoscene.jobs import Job, JobStatus
from phonoscene.workflow.media_urls import Presigned
from phonoscene.workflow.submission import Submitter
from tests.integration.fal_queue import FakeFalQueue
from tests.integration.workspace import TERMS, FakeDynamoDB, Workspace, numbered_job
from tests.support.invariants import spent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phonoscene.fal.requests import Submission, SubmitOutcome
    from phonoscene.limits import SpendingLimits
    from tests.integration.moto_stack import Cloud

ROUNDS = 200
HOLDING = {JobStatus.SUBMITTING, JobStatus.UNCONFIRMED, JobStatus.SUBMITTED, JobStatus.GENERATED}


@dataclass
class Turns:
    """Lets one of several threads go on at a time, by the choice of ``chance``."""

    chance: random.Random
    after_each: Callable[[], None] = lambda: None
    order: list[int] = field(default_factory=list)
    _ready: threading.Condition = field(default_factory=threading.Condition)
    _waiting: set[int] = field(default_factory=set)
    _chosen: int | None = None
    _alive: int = 0
    _names: dict[int, int] = field(default_factory=dict)

    def take(self, call: Callable[[], Any]) -> Any:
        """Make a call when it is this thread's turn."""
        name = self._names.get(threading.get_ident())
        if name is None:  # the test itself looks
            return call()
        with self._ready:
            self._waiting.add(name)
            self._ready.notify_all()
            self._ready.wait_for(lambda: self._chosen == name)
            self._chosen = None
            self._waiting.discard(name)
            self.order.append(name)
            return call()

    def run(self, tasks: Sequence[Callable[[], object]]) -> None:
        """Run the tasks to their ends; an error of one is raised here."""
        errors: list[BaseException] = []
        self._alive = len(tasks)
        threads = [
            threading.Thread(target=self._live, args=(name, task, errors), daemon=True)
            for name, task in enumerate(tasks)
        ]
        for thread in threads:
            thread.start()
        while self._choose():
            pass
        for thread in threads:
            thread.join(10)
        if errors:
            raise errors[0]

    def _choose(self) -> bool:
        """Wait until all are at a call or at their end, and let one go on."""
        with self._ready:
            assert self._ready.wait_for(
                lambda: self._chosen is None and len(self._waiting) == self._alive, 10
            )
            self.after_each()
            if not self._alive:
                return False
            self._chosen = self.chance.choice(sorted(self._waiting))
            self._ready.notify_all()
            return True

    def _live(self, name: int, task: Callable[[], object], errors: list[BaseException]) -> None:
        self._names[threading.get_ident()] = name
        try:
            task()
        except BaseException as exc:  # noqa: BLE001 - raised again by ``run``
            errors.append(exc)
        finally:
            with self._ready:
                self._alive -= 1
                self._ready.notify_all()


class InTurn:
    """A client whose every call is a turn."""

    def __init__(self, client: FakeDynamoDB, turns: Turns) -> None:
        self._client = client
        self._turns = turns
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._client, name)
        return lambda **request: self._turns.take(lambda: inner(**request))


@dataclass
class Race:
    """One round: some jobs, some limits, and threads that all want to submit."""

    workspace: Workspace
    turns: Turns
    jobs: list[Job]
    worst: tuple[int, Decimal] = (0, Decimal(0))
    posts: list[Submission] = field(default_factory=list)

    @classmethod
    def make(
        cls, cloud: Cloud, seed: int, limits: SpendingLimits, costs: Sequence[Decimal]
    ) -> Race:
        jobs = [numbered_job(n, usd) for n, usd in enumerate(costs)]
        client = FakeDynamoDB(jobs)
        workspace = Workspace(cloud, limits, client=client)
        race = cls(workspace, Turns(random.Random(seed)), jobs)  # noqa: S311 - a seed to repeat
        race.turns.after_each = race.watch
        workspace.store = workspace.store_on(InTurn(client, race.turns))
        return race

    def watch(self) -> None:
        """After each call: no sum is beyond its limit, not even for a moment."""
        in_flight, committed, reserved = self.workspace.sums()
        self.worst = (max(self.worst[0], in_flight), max(self.worst[1], committed))
        assert 0 <= in_flight <= self.workspace.limits.max_in_flight
        assert 0 <= reserved <= committed <= self.workspace.limits.daily_budget_usd

    def submitter(self, job: Job, answer: SubmitOutcome | None = None) -> Callable[[], None]:
        """One process that submits this job, as it read it before the race; fal is its own."""

        def submit() -> None:
            fal: Any = FakeFalQueue()
            fal.answer = answer
            fal.on_post = self.posts.append
            media = Presigned(self.workspace.bucket, 3600)
            Submitter(media, self.workspace.store, fal, TERMS, self.workspace.limits).submit(job)

        return submit

    def lacks(self, job: Job) -> str | None:
        """What there was none of for a job that was left behind: nothing was given back since."""
        in_flight, committed, _ = self.workspace.sums()
        left = self.workspace.limits.daily_budget_usd - committed
        assert job.estimate
        lacks = {
            "slot": in_flight == self.workspace.limits.max_in_flight,
            "budget": job.estimate.upper_usd > left,
        }
        return job.waits_for if lacks[str(job.waits_for)] else None

    def ended(self) -> list[Job]:
        """All jobs as they are; the sums are theirs."""
        jobs = [self.workspace.read(n) for n in range(len(self.jobs))]
        held = [job.reservation.usd for job in jobs if job.reservation]
        costs = sum((spent(job) for job in jobs), Decimal(0))
        assert all((job.reservation is not None) == (job.status in HOLDING) for job in jobs)
        assert self.workspace.sums() == (len(held), sum(held) + costs, sum(held))
        return jobs
