"""In whatever order the events of a job come, and however often: it ends as it should.

All orders of some events, one by one (``python -m tests.crash.orders`` takes more of them); then
two drops, one place, and anything at all.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phonoscene.drops.keys import half_id, job_id
from phonoscene.jobs import WITHOUT_VIDEO, Job, JobStatus
from phonoscene.table.items import from_item
from phonoscene.workflow.reconciliation import Reconciler
from tests.crash.orders import Explored
from tests.support import stack
from tests.support.fakes.calls import Calls
from tests.support.fakes.fal import Made, Play
from tests.support.fakes.world import World
from tests.support.invariants import always_broken, gave_up, jobs_of, paid, spent
from tests.support.media.samples import silence
from tests.support.scenarios import LARGER, LONGER, SHORTER, SOUND, WISH

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER_SOUND = silence(2.0)
OTHER_WISH = WISH | {"prompt": "a forest"}


@pytest.mark.parametrize(
    "events", ["ASRWWV", "ASRWVT", "ASRWVC", "AASRWV", "ASRTC", "ASPRWV", "ASPPRW", "ASPRT"]
)
def test_every_order_of_the_events_ends_as_it_should(events: str) -> None:
    found = Explored(events)

    orders = found.follow()

    assert found.wrong == []
    assert orders > 40


def test_an_order_that_ends_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(self: Reconciler, job: Job) -> None:
        self.store.end(job, JobStatus.READY)

    monkeypatch.setattr(Reconciler, "_settle", settle)

    found = Explored("ASRTT")
    found.follow()

    assert ("ASTdT", ("2 paid submissions, 1 allowed",)) in found.wrong


NAMES = st.sampled_from("ab")
FEW = 3


class Anything(RuleBasedStateMachine):
    """Two drops and one place in flight; people, fal, AWS and the clock do what they like."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls()
        makes = (LARGER, Made(), LONGER, Made(units="3.5"), SHORTER)
        play = Play(webhooks=False, meanwhile=self._answer, makes=makes)
        self.world = World(self.calls, play, {"MAX_IN_FLIGHT": "1"}, most_events=1000)
        self.answers: list[str] = []
        self.cancelled: set[str] = set()
        self.deaths = self.failures = 0
        self._under = ExitStack()
        self._under.enter_context(self.world.under())

    def _answer(self) -> None:
        answer = self.answers.pop() if self.answers else "arrives"
        if answer == "lost":
            raise httpx.ReadTimeout("the answer is lost")
        if answer == "late":
            self.world.fal.send(self.world.fal.requests[-1])
            self.world.receive_all("verdicts")

    @rule(name=NAMES, suffix=st.sampled_from(["wav", "json"]), other=st.booleans())
    def somebody_drops_a_half(self, name: str, suffix: str, *, other: bool) -> None:
        """Often the same bytes as before: there are two of each half."""
        halves: dict[str, Any] = {"wav": (SOUND, OTHER_SOUND), "json": (WISH, OTHER_WISH)}
        self.world.drop(f"{name}.{suffix}", halves[suffix][other])

    @rule(data=st.data())
    def a_tool_copies_a_file_in_place(self, data: st.DataObject) -> None:
        keys = sorted(key for bucket, key in self.world.buckets.versions if bucket == stack.DROPS)
        if keys:
            self.world.touch(data.draw(st.sampled_from(keys)))

    @rule(data=st.data())
    def an_event_comes_again(self, data: st.DataObject) -> None:
        keys = sorted(key for bucket, key in self.world.buckets.versions if bucket == stack.DROPS)
        if keys:
            self.world.announce(data.draw(st.sampled_from(keys)))

    @rule(queue=st.sampled_from(["drops", "verdicts"]))
    def a_queue_hands_out_its_next_message(self, queue: str) -> None:
        messages = self.world.queues[queue].messages
        if messages:
            first = min(message.visible_at for message in messages)
            self.world.now = max(self.world.now, first)
            self.world.receive(queue)

    @rule(answer=st.sampled_from(["lost", "late"]))
    def the_answer_to_the_next_post_is(self, answer: str) -> None:
        if len(self.answers) < FEW:
            self.answers.append(answer)

    @precondition(lambda self: self.failures < FEW - 1)
    @rule()
    def the_next_run_fails(self) -> None:
        self.failures += 1
        self.world.play.failures.append(True)

    @rule(data=st.data())
    def fal_sends_a_webhook(self, data: st.DataObject) -> None:
        ended = [
            one
            for one in self.world.fal.requests
            if not one.is_cancelled and one.ends_at <= self.world.now
        ]
        if ended:
            self.world.fal.send(data.draw(st.sampled_from(ended)))

    @rule(minutes=st.sampled_from([1, 4, 10]))
    def the_schedule_ticks(self, minutes: int) -> None:
        self.world.wait(minutes)
        self.world.invoke("reconcile", {})

    @rule(data=st.data())
    def somebody_cancels_a_job(self, data: st.DataObject) -> None:
        jobs = [job.job_id for job in jobs_of(self.world) if job.status is not JobStatus.WAITING]
        if jobs:
            job_id = data.draw(st.sampled_from(sorted(jobs)))
            self.cancelled.add(job_id)
            self.world.send("drops", f'{{"cancel": "{job_id}"}}', 0)

    @precondition(lambda self: self.deaths < FEW)
    @rule(calls=st.integers(1, 40))
    def a_process_dies_after_some_calls(self, calls: int) -> None:
        self.deaths += 1
        self.calls.dies_after = calls

    @invariant()
    def the_sums_agree_with_the_jobs(self) -> None:
        items = {item["job_id"]["S"]: from_item(item) for item in self.world.table.items()}
        held = [item["reservation"]["usd"] for item in items.values() if "reservation" in item]
        reserved = [item["reserved_usd"] for key, item in items.items() if "budget#" in key]
        assert len(items.get("window", {}).get("in_flight", ())) == len(held) <= 1
        assert sum(reserved, Decimal(0)) == sum(held, Decimal(0))

    @invariant()
    def the_budget_is_what_the_records_say(self) -> None:
        items = {item["job_id"]["S"]: from_item(item) for item in self.world.table.items()}
        committed = [item["committed_usd"] for key, item in items.items() if "budget#" in key]
        held = [item["reservation"]["usd"] for item in items.values() if "reservation" in item]
        costs = sum((spent(job) for job in jobs_of(self.world)), Decimal(0))
        assert sum(committed, Decimal(0)) == sum(held, Decimal(0)) + costs

    @invariant()
    def nothing_is_paid_or_stored_twice(self) -> None:
        for job in jobs_of(self.world):
            assert paid(self.world, job) <= 1 + job.resubmitted
        for (bucket, key), versions in self.world.buckets.versions.items():
            assert bucket == stack.DROPS or len(versions) == 1, key

    def teardown(self) -> None:
        with self._under:
            self.calls.dies_after = None
            self.world.settle()
        assert always_broken(self.world) == []
        for job in jobs_of(self.world):
            assert job.status in self._allowed(job), f"{job.job_id} {job.status} {job.errors}"
        assert max(Counter(self._contents()).values(), default=1) == 1
        for name in "ab":
            assert self._has_record(name)

    def _contents(self) -> Iterator[tuple[str, bytes, str]]:
        """What each job that has its video, or may have it, was made of."""
        for job in jobs_of(self.world):
            if job.audio and job.sidecar and job.status not in WITHOUT_VIDEO:
                sound, wish = (
                    self.world.buckets.body(stack.DROPS, half.key, half.version_id)
                    for half in (job.audio, job.sidecar)
                )
                yield job.audio.key, sound, json.loads(wish)["prompt"]

    def _has_record(self, name: str) -> bool:
        """Whether the halves of a name that are in the bucket are a job, or part of one."""
        versions = self.world.buckets.versions
        halves = [
            (key, versions[stack.DROPS, key][-1].version_id)
            for key in (f"{name}.wav", f"{name}.json")
            if (stack.DROPS, key) in versions
        ]
        ids = {item["job_id"]["S"] for item in self.world.table.items()}
        if len(halves) == 1:
            return half_id(stack.DROPS, halves[0][0]) in ids
        return not halves or job_id(stack.DROPS, halves[0], halves[1]) in ids

    def _allowed(self, job: Any) -> set[JobStatus]:
        """A half that stayed alone is rejected; what was given up must have been lost twice."""
        allowed = {JobStatus.SUCCEEDED}
        if not (job.audio and job.sidecar):
            allowed = {JobStatus.REJECTED}
        if job.job_id in self.cancelled:
            allowed.add(JobStatus.CANCELLED)
        if gave_up(self.world, job) and self.deaths + len(self.answers) > 1:
            allowed.add(JobStatus.FAILED)
        return allowed


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
