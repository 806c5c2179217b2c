"""Eight submitters at once, in interleavings that a seed repeats: nothing is ever overdrawn.

Every call of the table is one turn: a thread that wants to make one waits until it is chosen. So a
call is atomic, as DynamoDB's are, and the order of the calls is the seed's and nobody else's.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.fal.requests import ACCOUNT, Refused, Unknown
from phonoscene.jobs import Job, JobStatus
from phonoscene.limits import SpendingLimits
from phonoscene.workflow.media_urls import Presigned
from phonoscene.workflow.submission import Submitter
from tests.integration.scene import TERMS, USD, Desk, InMemory, Scene, a_job, failure, verdict
from tests.support.invariants import spent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phonoscene.fal.requests import Submission, SubmitOutcome
    from tests.integration.moto_stack import Cloud

ROUNDS = 200
SUBMITTERS = 8
HOLDING = {JobStatus.SUBMITTING, JobStatus.UNCONFIRMED, JobStatus.SUBMITTED, JobStatus.GENERATED}
BUSY = Refused("fal_busy", "fal answered 503", retryable=True)
NEVER = Refused("fal_refused", "fal refused the job", retryable=False)


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

    def __init__(self, client: InMemory, turns: Turns) -> None:
        self._client = client
        self._turns = turns
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._client, name)
        return lambda **request: self._turns.take(lambda: inner(**request))


@dataclass
class Race:
    """One round: some jobs, some limits, and threads that all want to submit."""

    scene: Scene
    turns: Turns
    jobs: list[Job]
    worst: tuple[int, Decimal] = (0, Decimal(0))
    posts: list[Submission] = field(default_factory=list)

    @classmethod
    def make(
        cls, cloud: Cloud, seed: int, limits: SpendingLimits, costs: Sequence[Decimal]
    ) -> Race:
        jobs = [a_job(n, usd) for n, usd in enumerate(costs)]
        client = InMemory(cloud, jobs)
        scene = Scene(cloud, limits, client=client)
        race = cls(scene, Turns(random.Random(seed)), jobs)  # noqa: S311 - a seed to repeat
        race.turns.after_each = race.watch
        scene.store = scene.store_on(InTurn(client, race.turns))
        return race

    def watch(self) -> None:
        """After each call: no sum is beyond its limit, not even for a moment."""
        in_flight, committed, reserved = self.scene.sums()
        self.worst = (max(self.worst[0], in_flight), max(self.worst[1], committed))
        assert 0 <= in_flight <= self.scene.limits.max_in_flight
        assert 0 <= reserved <= committed <= self.scene.limits.daily_budget_usd

    def submitter(self, job: Job, answer: SubmitOutcome | None = None) -> Callable[[], None]:
        """One process that submits this job, as it read it before the race; fal is its own."""

        def submit() -> None:
            fal: Any = Desk()
            fal.answer = answer
            fal.on_post = self.posts.append
            bucket: Any = None
            Submitter(
                Presigned(bucket, 3600), self.scene.store, fal, TERMS, self.scene.limits
            ).submit(job)

        return submit

    def lacks(self, job: Job) -> str | None:
        """What there was none of for a job that was left behind: nothing was given back since."""
        in_flight, committed, _ = self.scene.sums()
        left = self.scene.limits.daily_budget_usd - committed
        assert job.estimate
        lacks = {
            "slot": in_flight == self.scene.limits.max_in_flight,
            "budget": job.estimate.upper_usd > left,
        }
        return job.waits_for if lacks[str(job.waits_for)] else None

    def ended(self) -> list[Job]:
        """All jobs as they stand; the sums are theirs."""
        jobs = [self.scene.read(n) for n in range(len(self.jobs))]
        held = [job.reservation.usd for job in jobs if job.reservation]
        costs = sum((spent(job) for job in jobs), Decimal(0))
        assert all((job.reservation is not None) == (job.status in HOLDING) for job in jobs)
        assert self.scene.sums() == (len(held), sum(held) + costs, sum(held))
        return jobs


def test_the_last_place_and_the_last_dollar_are_given_once(cloud: Cloud) -> None:
    orders, winners, reasons = set(), set(), set()
    for seed in range(ROUNDS):
        chance = random.Random(seed)  # noqa: S311 - a seed to repeat
        costs = [Decimal(chance.randint(1, 20)) / 10 for _ in range(SUBMITTERS)]
        race = Race.make(cloud, seed, SpendingLimits(chance.randint(1, 3), Decimal(2)), costs)

        race.turns.run([race.submitter(job) for job in race.jobs])

        jobs = race.ended()
        won = {n for n, job in enumerate(jobs) if job.status is JobStatus.SUBMITTED}
        assert len(race.posts) == len(won) > 0
        for job in (job for n, job in enumerate(jobs) if n not in won):
            assert job.status is JobStatus.READY
            assert job.waits_for == race.lacks(job) is not None
            reasons.add(job.waits_for)
        orders.add(tuple(race.turns.order))
        winners |= won
    assert reasons == {"slot", "budget"}
    assert winners == set(range(SUBMITTERS))  # the seeds do mix them
    assert len(orders) > ROUNDS / 2


def test_of_eight_that_read_the_same_job_one_sends_it(cloud: Cloud) -> None:
    for seed in range(ROUNDS // 5):
        race = Race.make(cloud, seed, SpendingLimits(9, Decimal(100)), [USD])

        race.turns.run([race.submitter(race.jobs[0])] * SUBMITTERS)

        (job,) = race.ended()
        assert (job.status, job.attempt, len(race.posts)) == (JobStatus.SUBMITTED, 1, 1)
        assert race.worst == (1, USD)


ANSWERS: list[SubmitOutcome | None] = [
    None,
    None,
    BUSY,
    NEVER,
    Unknown("ReadTimeout"),
    Refused(ACCOUNT, "no", retryable=True),
]


def test_whatever_fal_answers_and_however_they_interleave_the_sums_are_the_jobs(
    cloud: Cloud,
) -> None:
    seen = set()
    for seed in range(ROUNDS // 3):
        chance = random.Random(seed)  # noqa: S311 - a seed to repeat
        limits = SpendingLimits(chance.randint(1, 3), USD * chance.randint(1, 4))
        race = Race.make(cloud, seed, limits, [USD] * 6)
        answers = [chance.choice(ANSWERS) for _ in range(SUBMITTERS)]
        twice = [*race.jobs, race.jobs[0], race.jobs[1]]

        race.turns.run([race.submitter(*one) for one in zip(twice, answers, strict=True)])

        seen |= {job.status for job in race.ended()}
        assert len(race.posts) <= 6 + 2
    assert seen >= {"READY", "SUBMITTED", "UNCONFIRMED", "FAILED"}


@pytest.mark.parametrize(
    ("tells", "possible"),
    [(verdict, {"CANCELLED", "SUCCEEDED"}), (failure, {"CANCELLED"})],
    ids=["a success", "a failure for now"],
)
def test_a_cancel_and_two_verdicts_that_meet_give_back_once(
    cloud: Cloud, tells: Callable[[Job], Any], possible: set[str]
) -> None:
    ends = set()
    for seed in range(ROUNDS // 8):
        race = Race.make(cloud, seed, SpendingLimits(2, Decimal(10)), [USD, USD])
        scene = race.scene
        job = scene.step(scene.step(race.jobs[0], JobStatus.SUBMITTING), JobStatus.SUBMITTED)
        other = scene.step(race.jobs[1], JobStatus.SUBMITTING)

        race.turns.run(
            [
                partial(scene.canceller.cancel, job.job_id),
                partial(scene.deliverer.deliver, tells(job)),
                partial(scene.deliverer.deliver, tells(job)),
            ]
        )

        ended, untouched = race.ended()
        assert untouched == other
        ends.add(ended.status)
    assert ends == possible
