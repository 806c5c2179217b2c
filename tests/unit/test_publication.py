"""However a stream repeats what was written, receipts end as their records and no event is missing.

Writes of several jobs of a few names, shuffled across jobs, doubled, late and repeated from the
start; and two publishers at the same receipt.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.keys import half_id
from phonoscene.errors import ReceiptContested
from phonoscene.jobs import BORN_AS, TRANSITIONS, Audio, Job, JobStatus, Step
from phonoscene.publishing.receipts import Receipt
from phonoscene.workflow.publication import TRIES, Publisher, Write
from tests.support.jobs import NOON, a_job
from tests.unit.fakes import MemoryBus, MemoryDrops, MemoryReceipts, MemoryVideos

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

SECOND = timedelta(seconds=1)
AUDIO = Audio(key="a.mp3", version_id="v1", bytes=9)


def born(
    job_id: str = "0" * 32,
    status: JobStatus = JobStatus.READY,
    at: timedelta = timedelta(),
    name: str = "a",
) -> Job:
    return a_job(status, NOON + at, job_id=job_id, name=name, audio=AUDIO, dropped_at=NOON + at)


def after(job: Job, status: JobStatus | None) -> Job:
    """The next write: a step, or a note that is none."""
    grown = job.model_copy(update={"revision": job.revision + 1})
    if status is None:
        return grown
    at = job.updated_at + SECOND
    return grown.model_copy(
        update={
            "status": status,
            "updated_at": at,
            "history": (*job.history, Step(status=status, at=at)),
        }
    )


def writes_of(job: Job, *statuses: JobStatus | None) -> list[Write]:
    records = [job]
    for status in statuses:
        records.append(after(records[-1], status))
    first = Write(None, job, None)
    return [first, *(Write(one, other, None) for one, other in pairwise(records))]


@st.composite
def lives(draw: st.DrawFn) -> list[list[Write]]:
    """The writes of some jobs, of their own and of each other's name."""
    count = draw(st.integers(1, 4))
    made = []
    for number in range(count):
        is_half = draw(st.booleans()) and number == 0
        job = born(
            half_id("drops", AUDIO.key) if is_half else f"{number:032x}",
            JobStatus.WAITING if is_half else draw(st.sampled_from(sorted(BORN_AS))),
            timedelta(seconds=draw(st.integers(0, 2))),
            draw(st.sampled_from("ab")) if not is_half else "a",
        )
        statuses: list[JobStatus | None] = []
        status = job.status
        for _ in range(draw(st.integers(0, 6))):
            follow = [None, *sorted(TRANSITIONS[status])]
            statuses.append(draw(st.sampled_from(follow)))
            status = statuses[-1] or status
        made.append(writes_of(job, *statuses))
    return made


def publish(writes: Iterable[Write]) -> tuple[MemoryReceipts, MemoryBus]:
    receipts, bus = MemoryReceipts(), MemoryBus()
    for write in writes:
        Publisher(receipts, MemoryVideos(), bus, MemoryDrops()).publish(write)
    return receipts, bus


def newest(lives: list[list[Write]]) -> dict[str, Receipt]:
    """The receipt of each name's newest record, as it was written last."""
    found: dict[str, Receipt] = {}
    for life in lives:
        receipt = Receipt.of(life[-1].after, None)
        there = found.get(receipt.key)
        if there is None or receipt.is_newer_than(there):
            found[receipt.key] = receipt
    return found


def _receipt(body: bytes) -> Receipt | None:
    found = Receipt.read(body)
    return found if isinstance(found, Receipt) else None


def written(receipts: MemoryReceipts) -> dict[str, Receipt | None]:
    return {key: _receipt(kept.body) for key, kept in receipts.objects.items()}


@given(lives(), st.data())
def test_in_any_order_and_any_number_of_times_every_receipt_ends_as_its_record(
    lives: list[list[Write]], data: st.DataObject
) -> None:
    all_writes = [write for life in lives for write in life]
    answer = data.draw(st.permutations(all_writes)) + data.draw(
        st.lists(st.sampled_from(all_writes), max_size=20)
    )

    receipts, _ = publish(answer)

    assert written(receipts) == newest(lives)


@given(lives(), st.randoms())
def test_events_of_a_job_come_in_its_steps_order_and_none_is_missing(
    lives: list[list[Write]], choose: random.Random
) -> None:
    """The stream keeps each job's order, and no other; then it repeats all from the start."""
    order = [number for number, life in enumerate(lives) for _ in life]
    choose.shuffle(order)
    left = {number: iter(life) for number, life in enumerate(lives)}
    shown = [next(left[number]) for number in order]

    _, bus = publish([*shown, *shown])

    for life in lives:
        job = life[-1].after
        sent = [event for event in bus.sent if event.job_id == job.job_id]
        once = list({event.id: event for event in sent}.values())
        assert [event.status for event in once] == [step.status for step in job.history]
        assert [event.previous_status for event in once] == [
            None,
            *(step.status for step in job.history[:-1]),
        ]
        assert len(sent) == 2 * len(once)


def test_a_receipt_is_written_before_its_event_is_sent() -> None:
    receipts, bus = MemoryReceipts(), MemoryBus()
    receipts.meanwhile = lambda _: pytest.fail("an event is out") if bus.sent else None

    Publisher(receipts, MemoryVideos(), bus, MemoryDrops()).publish(Write(None, born(), None))

    assert len(bus.sent) == 1


def test_who_finds_another_writer_at_the_receipt_looks_again() -> None:
    receipts, bus = MemoryReceipts(), MemoryBus()
    publisher = Publisher(receipts, MemoryVideos(), bus, MemoryDrops())
    first, second, third = writes_of(born(), JobStatus.SUBMITTING, JobStatus.SUBMITTED)
    publisher.publish(first)

    def overtake(_: str) -> None:
        receipts.meanwhile = lambda _: None
        publisher.publish(third)

    receipts.meanwhile = overtake
    publisher.publish(second)

    assert written(receipts)["a.status.json"] == Receipt.of(third.after, None)
    assert [event.status for event in bus.sent] == ["READY", "SUBMITTED", "SUBMITTING"]


def test_two_that_begin_a_receipt_at_the_same_time_leave_the_newer() -> None:
    receipts, bus = MemoryReceipts(), MemoryBus()
    publisher = Publisher(receipts, MemoryVideos(), bus, MemoryDrops())
    older, newer = born("0" * 32), born("1" * 32, at=SECOND)

    def overtake(_: str) -> None:
        receipts.meanwhile = lambda _: None
        publisher.publish(Write(None, newer, None))

    receipts.meanwhile = overtake
    publisher.publish(Write(None, older, None))

    assert written(receipts) == {"a.status.json": Receipt.of(newer, None)}


def test_a_receipt_that_others_write_all_the_time_is_tried_again_later() -> None:
    receipts, bus = MemoryReceipts(), MemoryBus()
    receipts.meanwhile = lambda key: receipts.put(key, b"{}")

    with pytest.raises(ReceiptContested):
        Publisher(receipts, MemoryVideos(), bus, MemoryDrops()).publish(Write(None, born(), None))

    assert (receipts.writes, bus.sent) == (TRIES, [])


@pytest.mark.parametrize("garbage", [b"", b"{}", b"<html>", b"\xff" * 100])
def test_what_is_no_receipt_gives_way_to_one(garbage: bytes) -> None:
    receipts = MemoryReceipts()
    receipts.put("a.status.json", garbage)

    Publisher(receipts, MemoryVideos(), MemoryBus(), MemoryDrops()).publish(
        Write(None, born(), None)
    )

    assert written(receipts) == {"a.status.json": Receipt.of(born(), None)}


def test_a_record_that_comes_again_writes_nothing() -> None:
    receipts, bus = MemoryReceipts(), MemoryBus()
    write = Write(None, born(), None)

    for _ in range(3):
        Publisher(receipts, MemoryVideos(), bus, MemoryDrops()).publish(write)

    assert (receipts.writes, len({event.id for event in bus.sent})) == (1, 1)


def test_a_half_that_is_dropped_again_has_the_receipt_and_the_event_of_its_new_record() -> None:
    first = born(half_id("drops", AUDIO.key), JobStatus.WAITING)
    again = born(first.job_id, JobStatus.WAITING, at=timedelta(minutes=90))
    writes = writes_of(first, JobStatus.REJECTED)

    receipts, bus = publish([*writes, Write(writes[-1].after, again, None), *writes])

    assert written(receipts) == {"a.status.json": Receipt.of(again, None)}
    assert [event.status for event in bus.sent][:3] == ["WAITING", "REJECTED", "WAITING"]
    assert bus.sent[2].previous_status is None


@pytest.mark.parametrize("status", JobStatus)
def test_a_segment_has_no_receipt_and_no_event_but_is_announced_when_sent_and_at_its_end(
    status: JobStatus,
) -> None:
    receipts, bus, drops = MemoryReceipts(), MemoryBus(), MemoryDrops()
    segment = a_job(status, part_of="5" * 32, part=0, wanted_by=frozenset({"4" * 32}))

    Publisher(receipts, MemoryVideos(), bus, drops).publish(Write(None, segment, None))

    assert not receipts.objects
    assert not bus.sent
    is_announced = segment.is_final or status is JobStatus.SUBMITTED
    assert drops.dispatched == (["4" * 32, "5" * 32] if is_announced else [])
