"""A stable key ends with the newest take's video: in every order, with crashes, and in a race."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.jobs import Job, JobStatus, Video
from phonoscene.publishing.pointers import Pointer
from phonoscene.publishing.stable_videos import JOB_ID
from phonoscene.table.items import to_item, to_record
from tests.support import stack
from tests.support.fakes import stream
from tests.support.fakes.calls import AFTER, BEFORE, FAULTS, Calls, Point
from tests.support.fakes.world import World
from tests.support.invariants import stable_keys
from tests.support.jobs import NOON, a_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

KEY = "talks/intro.mp4"
#: The takes of a name by the time of their drops: 0 is the oldest.
TAKES = range(3)
ORDERS = list(permutations(TAKES))


@dataclass
class Meanwhile(Calls):
    """Calls before some of which, by number, something else happens."""

    then: dict[int, Callable[[], object]] = field(default_factory=dict)
    made: int = 0

    def make(self, what: str, act: Callable[[], Any]) -> Any:
        self.made += 1
        if self.made in self.then:
            self.then.pop(self.made)()
        return super().make(what, act)


def a_take(world: World, number: int, body: bytes = b"", **fields: Any) -> Job:
    """A take that succeeded, whose video is stored."""
    job_id = f"{number:032x}"
    stored = world.buckets.put(stack.OUTPUT, f"talks/intro/{job_id}.mp4", body or job_id.encode())
    video = Video(
        bucket=stack.OUTPUT,
        key=f"talks/intro/{job_id}.mp4",
        version_id=stored.version_id,
        bytes=len(stored.body),
        sha256="0" * 64,
        content_type="video/mp4",
        stable_keys=(KEY,),
    )
    at = NOON + timedelta(minutes=number)
    known: dict[str, Any] = {"job_id": job_id, "video": video, "dropped_at": at}
    return a_job(JobStatus.SUCCEEDED, at, **known | fields)


def a_record(number: int, job: Job) -> dict[str, Any]:
    return stream.record(number, ({}, to_item(to_record(job))))


def publish(world: World, jobs: Iterable[Job]) -> None:
    """Hand each job's last write to the function, in a batch of its own."""
    for number, job in enumerate(jobs, 1):
        world.hand_out([a_record(number, job)])


def held(world: World, key: str = KEY) -> list[int]:
    """The takes whose videos a key has held, in order."""
    versions = world.buckets.versions.get((stack.OUTPUT, key), [])
    return [int(dict(version.metadata)[JOB_ID], 16) for version in versions]


def wrongs(world: World, jobs: Sequence[Job]) -> list[str]:
    return [*world.unpublished, *stable_keys(world, jobs)]


@pytest.mark.parametrize("order", ORDERS)
def test_three_takes_that_finish_in_any_order_end_with_the_newest_video(
    order: tuple[int, ...],
) -> None:
    world = World()
    jobs = [a_take(world, number) for number in TAKES]

    with world.under():
        publish(world, [jobs[number] for number in order])
        seen = held(world)
        publish(world, jobs * 2)

    assert wrongs(world, jobs) == []
    assert seen == [n for at, n in enumerate(order) if n == max(order[: at + 1])]
    assert held(world) == seen  # published again, nothing is copied again


@pytest.mark.parametrize("order", ORDERS)
def test_a_crash_or_a_fault_at_any_call_changes_nothing_of_that(order: tuple[int, ...]) -> None:
    names = run(order, Calls())[0].calls.names
    points = [Point(name, when) for name in names for when in (BEFORE, AFTER, *FAULTS)]

    found = {point: wrongs(*run(order, Calls((point,)))) for point in points}

    assert len(points) > 50
    assert {point: wrong for point, wrong in found.items() if wrong} == {}


def run(order: Sequence[int], calls: Calls) -> tuple[World, list[Job]]:
    world = World(calls)
    jobs = [a_take(world, number) for number in TAKES]
    with world.under():
        publish(world, [jobs[number] for number in order])
    return world, jobs


def races(order: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Before which call of the first publisher the second begins, and the third in the second."""
    calls = len(run(order[:1], Calls())[0].calls.names)
    yield from product(range(1, calls + 1), repeat=2)


@pytest.mark.parametrize("order", ORDERS)
def test_three_publishers_at_once_end_with_the_newest_video(order: tuple[int, ...]) -> None:
    found = {}
    for first, second in races(order):
        world, jobs = race(order, first, second)
        found[first, second] = wrongs(world, jobs)

    assert len(found) > 30
    assert {at: wrong for at, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("order", ORDERS)
def test_videos_of_equal_bytes_whose_etags_are_equal_end_with_the_newest_too(
    order: tuple[int, ...],
) -> None:
    """A condition on an ETag cannot see that equal bytes replaced equal ones; a second look can."""
    for first, second in races(order):
        world, jobs = race(order, first, second, (b"same", b"other", b"same"))
        wrong = [one for one in wrongs(world, jobs) if "does not hold" in one or "bytes" in one]
        assert wrong == [], (first, second)


def race(
    order: Sequence[int], first: int, second: int, bodies: Sequence[bytes] = ()
) -> tuple[World, list[Job]]:
    calls = Meanwhile()
    world = World(calls)
    jobs = [a_take(world, number, *bodies[number : number + 1]) for number in TAKES]
    one, two, three = (jobs[number] for number in order)
    calls.then = {
        first: lambda: publish(world, [two]),
        first + second: lambda: publish(world, [three]),
    }
    with world.under():
        publish(world, [one])
        for left in list(calls.then.values()):
            left()
    return world, jobs


@pytest.mark.parametrize("order", ORDERS)
def test_a_drop_that_repeats_an_older_take_makes_its_video_the_newest_again(
    order: tuple[int, ...],
) -> None:
    world = World()
    first, second = a_take(world, 1), a_take(world, 2)
    late = {"dropped_at": NOON + timedelta(minutes=3), "repeats": 1, "revision": 2}
    again = first.model_copy(update=late)
    writes = [first, second, again]

    with world.under():
        publish(world, [writes[number] for number in order])

    assert held(world)[-1] == 1
    assert wrongs(world, [again, second]) == []


def test_a_drop_that_repeats_the_newest_take_copies_nothing() -> None:
    world = World()
    job = a_take(world, 1)
    late = {"dropped_at": NOON + timedelta(minutes=3), "repeats": 1, "revision": 2}

    with world.under():
        publish(world, [job, job.model_copy(update=late)])

    assert held(world) == [1]


def test_a_take_without_a_video_leaves_the_stable_key_as_it_is() -> None:
    world = World()
    job = a_take(world, 1)
    others = [
        a_job(status, NOON + timedelta(minutes=5), job_id=f"{number:032x}")
        for number, status in enumerate(JobStatus, 10)
        if status is not JobStatus.SUCCEEDED
    ]

    with world.under():
        publish(world, [job, *others])

    assert held(world) == [1]


def test_takes_of_an_array_have_a_key_each_beside_the_names() -> None:
    world = World()
    keys = {n: (KEY, f"talks/intro.{n}.mp4") for n in (1, 2, 3)}
    plain = [a_take(world, n) for n in keys]
    jobs = [
        job.model_copy(update={"video": job.video.model_copy(update={"stable_keys": keys[n]})})
        for n, job in zip(keys, plain, strict=True)
        if job.video
    ]

    with world.under():
        publish(world, [jobs[2], jobs[0], jobs[1]])

    assert wrongs(world, jobs) == []
    assert {n: held(world, keys[n][1]) for n in keys} == {1: [1], 2: [2], 3: [3]}
    assert held(world) == [3]


def test_two_names_that_share_a_stable_key_leave_it_to_the_newest_video_of_either() -> None:
    """The first take of the array in intro.json, and a drop named intro.1."""
    for order in permutations(range(2)):
        world = World()
        jobs = [a_take(world, 1), a_take(world, 2, name="talks/intro.1")]
        with world.under():
            publish(world, [jobs[number] for number in order])
        assert held(world)[-1] == 2
        assert wrongs(world, jobs) == []


def test_a_video_that_is_gone_is_set_aside_and_its_receipt_is_written() -> None:
    world = World()
    job = a_take(world, 1)
    assert job.video
    del world.buckets.versions[stack.OUTPUT, job.video.key]

    with world.under():
        publish(world, [job])

    assert held(world) == []
    assert (stack.OUTPUT, "talks/intro.status.json") in world.buckets.versions
    assert len(world.events) == 1
    assert ["stable key refused" in one for one in world.unpublished] == [True]


# What finds nothing must be able to find something.


def test_a_product_that_copies_without_looking_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pointer, "is_newer_than", lambda *_: True)

    found = [wrong for order in ORDERS for wrong in wrongs(*run(order, Calls()))]

    assert any("does not hold the newest video" in wrong for wrong in found)
    assert any("went back to an older video" in wrong for wrong in found)
