"""In any order, however often and wherever it is cut off: a drop is one job, and none is lost.

``explorer`` visits every state that can be reached; the tests say what must hold where nothing is
left to be done.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.keys import half_id, job_id
from phonoscene.jobs import JobStatus
from tests.support.jobs import NOON
from tests.unit.explorer import IMAGES, Sent, Upload, World, ends, intake_of
from tests.unit.fakes import MemoryBucket, MemoryStore

if TYPE_CHECKING:
    from phonoscene.jobs import DropObject
    from phonoscene.workflow.intake import Announcement, Intake

AUDIO, SIDECAR = "song.mp3", "song.json"
TEXT = b'{"prompt": "a harbour"}'

AUDIO_UP = Upload(AUDIO)
AUDIO_BEGINS = Upload(AUDIO, only_begins=True)
SIDECAR_UP = Upload(SIDECAR, TEXT)


def after(seconds: float) -> Any:
    return NOON + timedelta(seconds=seconds)


def pair(audio_version: int, sidecar_version: int) -> str:
    return job_id(
        "drops", (AUDIO, f"{AUDIO}#{audio_version}"), (SIDECAR, f"{SIDECAR}#{sidecar_version}")
    )


def jobs_of(world: World) -> set[tuple[str, ...]]:
    """The versions of each job's halves, in the order in which ``World.pairs`` names them."""
    return {
        tuple(sorted(half.version_id for half in (job.audio, job.sidecar) if half))
        for job in world.store.jobs.values()
        if job.status is not JobStatus.WAITING
    }


def newest_pair(world: World) -> tuple[str, ...]:
    return tuple(sorted(versions[-1].version_id for versions in world.bucket.versions.values()))


# Uploads, how often each event is delivered, handlers at work at once, crashes, all in one second?
EXPLORED: dict[str, tuple[tuple[Upload, ...], int, int, int, bool]] = {
    "two handlers at once, each event twice": ((AUDIO_UP, SIDECAR_UP), 2, 2, 0, False),
    "the same within a second": ((AUDIO_UP, SIDECAR_UP), 2, 2, 0, True),
    "two handlers at once, and two crashes": ((AUDIO_UP, SIDECAR_UP), 1, 2, 2, False),
    "two handlers within a second, and a crash": ((AUDIO_UP, SIDECAR_UP), 1, 2, 1, True),
    "each event twice, and two crashes": ((AUDIO_UP, SIDECAR_UP), 2, 1, 2, True),
    "an upload in parts": ((AUDIO_BEGINS, AUDIO_UP, SIDECAR_UP), 1, 2, 0, False),
    "the audio again": ((AUDIO_UP, SIDECAR_UP, AUDIO_UP), 1, 2, 0, False),
    "the audio again in parts": ((AUDIO_UP, SIDECAR_UP, AUDIO_BEGINS, AUDIO_UP), 1, 1, 1, False),
    "the sidecar again within a second": ((AUDIO_UP, SIDECAR_UP, SIDECAR_UP), 1, 2, 0, True),
    "the sidecar again, and a crash": ((AUDIO_UP, SIDECAR_UP, SIDECAR_UP), 1, 2, 1, False),
    "both again": ((AUDIO_UP, SIDECAR_UP, AUDIO_UP, SIDECAR_UP), 1, 1, 0, False),
    "both again within a second": ((AUDIO_UP, SIDECAR_UP, AUDIO_UP, SIDECAR_UP), 1, 1, 0, True),
    "both again, and a crash": ((AUDIO_UP, SIDECAR_UP, AUDIO_UP, SIDECAR_UP), 1, 1, 1, False),
}
explored = pytest.mark.parametrize("how", EXPLORED.values(), ids=EXPLORED.keys())


#: S3 may date an object a second after its event: both are rounded, and not by one clock.
dated = pytest.mark.parametrize("late", [0, 1], ids=["dated alike", "dated a second late"])


@dated
@explored
def test_in_every_order_each_drop_is_a_take_where_repeats_are_not_skipped(
    how: tuple[tuple[Upload, ...], int, int, int, bool], late: int
) -> None:
    bucket = MemoryBucket(dated_after=timedelta(seconds=late))
    start = World(*how, bucket=bucket, skips_repeats=False)

    worlds = list(ends(start))

    assert worlds
    for world in worlds:
        assert newest_pair(world) in jobs_of(world), world.path
        assert not world.store.by_status(JobStatus.WAITING), world.path
        assert jobs_of(world) <= world.pairs, world.path


@explored
def test_in_every_order_the_same_content_is_one_job_however_often_it_is_dropped(
    how: tuple[tuple[Upload, ...], int, int, int, bool],
) -> None:
    start = World(*how)

    worlds = list(ends(start))

    assert worlds
    for world in worlds:
        [job] = world.store.jobs.values()
        assert job.status is JobStatus.READY, world.path
        assert world.store.get(newest_id(world)) == job, world.path
        assert job.repeats == len(world.store.repeats), world.path


OTHER_SIDECAR_UP = Upload(SIDECAR, b'{"prompt": "a forest"}')
OTHER_AUDIO_UP = Upload(AUDIO, b"xy")


@pytest.mark.parametrize(
    "uploads",
    [
        (AUDIO_UP, SIDECAR_UP, OTHER_SIDECAR_UP),
        (AUDIO_UP, SIDECAR_UP, OTHER_AUDIO_UP),
        (AUDIO_UP, SIDECAR_UP, OTHER_SIDECAR_UP, SIDECAR_UP),
        (AUDIO_UP, SIDECAR_UP, OTHER_AUDIO_UP, AUDIO_UP),
    ],
    ids=["a new sidecar", "a new sound", "a sidecar and back", "a sound and back"],
)
@pytest.mark.parametrize("crashes", [0, 1])
def test_in_every_order_what_was_changed_is_a_job_of_its_own(
    uploads: tuple[Upload, ...], crashes: int
) -> None:
    start = World(uploads, handlers_at_once=2 - crashes, crashes=crashes)

    worlds = list(ends(start))

    assert worlds
    for world in worlds:
        made_of = [
            (content(world, job.audio), content(world, job.sidecar))
            for job in world.store.jobs.values()
        ]
        now = tuple(world.bucket.versions[key][-1].body for key in (AUDIO, SIDECAR))
        assert len(made_of) == len(set(made_of)), world.path
        job = world.store.get(newest_id(world))
        assert job, world.path
        assert (content(world, job.audio), content(world, job.sidecar)) == now, world.path


def content(world: World, half: DropObject | None) -> bytes:
    """What a job's half holds."""
    assert half
    versions = {one.version_id: one.body for one in world.bucket.versions[half.key]}
    return versions[half.version_id]


def newest_id(world: World) -> str:
    """The id that the job of what is there now has, or would have."""
    audio, sidecar = ((key, world.bucket.versions[key][-1].version_id) for key in (AUDIO, SIDECAR))
    return job_id("drops", audio, sidecar)


clocked = pytest.mark.parametrize("same_second", [False, True], ids=["a second apart", "at once"])


@dated
@clocked
def test_in_every_order_two_halves_are_one_job(*, same_second: bool, late: int) -> None:
    bucket = MemoryBucket(dated_after=timedelta(seconds=late))
    start = World((AUDIO_UP, SIDECAR_UP), deliveries=3, same_second=same_second, bucket=bucket)

    found = [jobs_of(world) for world in ends(start)]

    assert found
    assert all(jobs == {(f"{SIDECAR}#1", f"{AUDIO}#1")} for jobs in found)


@clocked
@pytest.mark.parametrize("uploads", [(AUDIO_UP, SIDECAR_UP), (SIDECAR_UP, AUDIO_UP)])
def test_halves_dropped_again_before_anything_was_processed_are_one_job(
    uploads: tuple[Upload, ...], *, same_second: bool
) -> None:
    start = World((), same_second=same_second)
    world = start
    for number, upload in enumerate(uploads * 2):
        at = NOON if same_second else after(number)
        announced = world.bucket.put(upload.key, upload.body, at=at)
        world = World(
            (),
            handlers_at_once=2,
            bucket=world.bucket,
            pending=(*world.pending, announced),
        )

    found = [jobs_of(end) for end in ends(world)]

    assert found
    assert all(jobs == {(f"{SIDECAR}#2", f"{AUDIO}#2")} for jobs in found)


@pytest.mark.parametrize("upload", [AUDIO_UP, SIDECAR_UP])
def test_in_every_order_a_half_alone_is_one_waiting_record_and_no_job(upload: Upload) -> None:
    start = World((upload, upload), deliveries=2, handlers_at_once=2, crashes=1)

    worlds = list(ends(start))

    assert worlds
    for world in worlds:
        assert not jobs_of(world)
        assert list(world.store.jobs) == [half_id("drops", upload.key)]


# First drops start at once, and drops that are replaced rest.


FIRST, SECOND = ((f"{SIDECAR}#{n}", f"{AUDIO}#{n}") for n in (1, 2))


@dated
@clocked
def test_in_every_order_two_pairs_dropped_within_a_rest_are_never_mixed(
    *, same_second: bool, late: int
) -> None:
    start = World(
        (AUDIO_UP, SIDECAR_UP, AUDIO_UP, SIDECAR_UP),
        crashes=1,
        same_second=same_second,
        skips_repeats=False,
        bucket=MemoryBucket(dated_after=timedelta(seconds=late)),
    )

    found = [jobs_of(world) for world in ends(start)]

    assert {frozenset(jobs) for jobs in found} == {frozenset({SECOND}), frozenset({FIRST, SECOND})}


@clocked
def test_in_every_order_the_first_pair_is_sent_before_anything_has_rested(
    *, same_second: bool
) -> None:
    worlds = list(ends(World((AUDIO_UP, SIDECAR_UP), same_second=same_second)))

    assert worlds
    for world in worlds:
        steps = [step for step in world.path if step.startswith("deliver")]
        unrested = [step for step in steps if step.endswith("False")]
        assert len(unrested) == 2, world.path
        assert jobs_of(world) == {FIRST}, world.path


@pytest.mark.parametrize(
    ("old", "new"), [(AUDIO_UP, SIDECAR_UP), (SIDECAR_UP, AUDIO_UP)], ids=["sidecar", "audio"]
)
@pytest.mark.parametrize("aged", [timedelta(minutes=60), timedelta(minutes=60, seconds=1)])
def test_a_half_that_is_older_than_the_grace_may_be_replaced_and_rests(
    old: Upload, new: Upload, aged: timedelta
) -> None:
    bucket, store, queue = MemoryBucket(), MemoryStore(lambda: NOON + aged), Sent()
    bucket.put(old.key, old.body)
    announced = bucket.put(new.key, new.body, at=NOON + aged)

    taken = intake_of(bucket, store, queue=queue).take(announced)

    assert [job.status for job in taken] == [JobStatus.READY] * (aged <= timedelta(minutes=60))
    assert len(queue.messages) == (aged > timedelta(minutes=60))


# Images may come in any order.

IMAGE, END = Upload("cover.png"), Upload("end.png")
WITH_IMAGE = Upload(SIDECAR, b'{"prompt": "a harbour", "image_url": "cover.png"}')
WITH_BOTH = Upload(
    SIDECAR,
    b'{"prompt": "a harbour", "image_url": "cover.png", "end_image_url": "end.png"}',
)
WITH_TAKES = Upload(
    SIDECAR,
    b'[{"prompt": "a", "image_url": "cover.png"}, {"prompt": "a", "image_url": "end.png"}]',
)
DEFAULTS = Upload("_defaults.json", b'{"image_url": "cover.png"}')

# Uploads, how often each event is delivered, handlers at once, crashes, and the images of each job
IMAGES_COME: dict[str, tuple[tuple[Upload, ...], int, int, int, list[set[str]]]] = {
    "one": ((AUDIO_UP, WITH_IMAGE, IMAGE), 1, 2, 0, [{"cover.png"}]),
    "one, each event twice": ((AUDIO_UP, WITH_IMAGE, IMAGE), 2, 1, 0, [{"cover.png"}]),
    "one, and a crash": ((AUDIO_UP, WITH_IMAGE, IMAGE), 1, 1, 1, [{"cover.png"}]),
    "one that is replaced": ((AUDIO_UP, WITH_IMAGE, IMAGE, IMAGE), 1, 1, 0, [{"cover.png"}]),
    "the first and the last": (
        (AUDIO_UP, WITH_BOTH, IMAGE, END),
        1,
        1,
        0,
        [{"cover.png", "end.png"}],
    ),
    "one of each take": ((AUDIO_UP, WITH_TAKES, IMAGE, END), 1, 1, 0, [{"cover.png"}, {"end.png"}]),
}


@pytest.mark.parametrize("how", IMAGES_COME.values(), ids=IMAGES_COME.keys())
def test_in_every_order_a_drop_has_its_images_and_each_take_is_one_job(
    how: tuple[tuple[Upload, ...], int, int, int, list[set[str]]],
) -> None:
    uploads, deliveries, handlers, crashes, images = how
    bucket = with_images()
    start = World(uploads, deliveries, handlers, crashes, bucket=bucket, at_one_time=False)

    worlds = list(ends(start))

    assert worlds
    for world in worlds:
        jobs = sorted(world.store.jobs.values(), key=lambda job: str(job.images))
        assert [job.status for job in jobs] == [JobStatus.READY] * len(images), world.path
        found = [{image.key for image in job.images.values()} for job in jobs]
        assert found == images, world.path


def test_in_every_order_a_drop_with_defaults_that_name_an_image_is_one_job() -> None:
    uploads = (AUDIO_UP, SIDECAR_UP, IMAGE, DEFAULTS)

    worlds = list(ends(World(uploads, bucket=with_images(), at_one_time=False)))

    assert worlds
    for world in worlds:
        [job] = world.store.jobs.values()
        assert job.status is JobStatus.READY, world.path


def test_in_every_order_a_pair_dropped_again_before_its_image_came_is_never_mixed() -> None:
    uploads = (AUDIO_UP, WITH_IMAGE, AUDIO_UP, WITH_IMAGE, IMAGE)

    worlds = list(ends(World(uploads, skips_repeats=False, bucket=with_images())))

    assert worlds
    for world in worlds:
        assert not world.store.by_status(JobStatus.WAITING), world.path
        assert jobs_of(world) in ({SECOND}, {FIRST, SECOND}), world.path


def with_images() -> MemoryBucket:
    bucket = MemoryBucket()
    bucket.images = IMAGES.images
    return bucket


# The same as single examples.


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def intake(bucket: MemoryBucket, store: MemoryStore) -> Intake:
    return intake_of(bucket, store)


def test_the_half_that_comes_first_waits_until_the_grace_ends(
    bucket: MemoryBucket, store: MemoryStore, intake: Intake
) -> None:
    announced = bucket.put(AUDIO)

    [half] = intake.take(announced)

    assert half.status is JobStatus.WAITING
    assert half.name == "song"
    assert store.due_at(half.job_id) == NOON + timedelta(minutes=60)


def test_the_second_half_replaces_the_record_of_the_first(
    bucket: MemoryBucket, store: MemoryStore, intake: Intake
) -> None:
    intake.take(bucket.put(SIDECAR, TEXT))

    [job] = intake.take(bucket.put(AUDIO, at=after(9)))

    assert job.status is JobStatus.READY
    assert store.jobs == {pair(1, 1): job}


def test_an_event_that_comes_again_after_its_job_gives_the_job_as_it_is_now(
    bucket: MemoryBucket, store: MemoryStore, intake: Intake
) -> None:
    bucket.put(SIDECAR, TEXT)
    announced = bucket.put(AUDIO, at=after(1))
    [job] = intake.take(announced)
    claimed = store.move(job, JobStatus.SUBMITTING, attempt=1)

    [again] = intake.take(announced)

    assert again == claimed


def test_the_event_of_the_older_half_is_left_to_the_newer_one(
    bucket: MemoryBucket, intake: Intake
) -> None:
    older = bucket.put(AUDIO)
    newer = bucket.put(SIDECAR, TEXT, at=after(2))

    taken = [intake.take(older), intake.take(newer)]

    assert taken[0] == []
    assert [job.job_id for job in taken[1]] == [pair(1, 1)]


def test_two_halves_that_are_dated_a_second_after_their_events_are_not_both_left_to_the_other(
    store: MemoryStore,
) -> None:
    bucket = MemoryBucket(dated_after=timedelta(seconds=1))
    events = [bucket.put(AUDIO), bucket.put(SIDECAR, TEXT)]

    for event in events:
        intake_of(bucket, store).take(event)

    assert list(store.jobs) == [pair(1, 1)]


def test_an_upload_in_parts_that_began_before_its_sidecar_came_starts_the_job(
    bucket: MemoryBucket, intake: Intake
) -> None:
    bucket.put(SIDECAR, TEXT, at=after(30))
    announced = bucket.put(AUDIO, at=after(60), begun=after(0))

    [job] = intake.take(announced)

    assert job.job_id == pair(1, 1)


def test_a_half_that_is_gone_when_its_event_comes_leaves_nothing(
    bucket: MemoryBucket, store: MemoryStore, intake: Intake
) -> None:
    announced = bucket.put(AUDIO)
    bucket.remove(AUDIO)

    taken = intake.take(announced)

    assert taken == []
    assert store.jobs == {}


def test_a_waiting_half_that_is_dropped_again_waits_anew(
    bucket: MemoryBucket, store: MemoryStore, intake: Intake
) -> None:
    intake.take(bucket.put(AUDIO))

    intake.take(bucket.put(AUDIO, at=after(9)))

    waiting = store.jobs[half_id("drops", AUDIO)]
    assert waiting.audio
    assert waiting.audio.version_id == f"{AUDIO}#2"


def test_the_same_waiting_half_announced_again_keeps_its_grace(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    announced = bucket.put(AUDIO)
    intake_of(bucket, store).take(announced)
    store.clock = lambda: after(600)

    intake_of(bucket, store).take(announced)

    assert list(store.jobs) == [half_id("drops", AUDIO)]
    assert store.due_at(half_id("drops", AUDIO)) == NOON + timedelta(minutes=60)


# Beyond what is enumerated: longer histories with more names, the defaults file and deletions.

NAMES = ("song.mp3", "song.json", "song.mp3.json", "song.wav", "_defaults.json")
ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("deliver"), st.integers(0, 30)),
    st.tuples(st.just("tick"), st.integers(0, 2)),
)


@given(st.lists(ACTIONS, max_size=25), st.randoms(use_true_random=False), st.booleans())
def test_after_any_history_every_whole_pair_is_a_job_and_none_of_its_halves_waits(
    actions: list[tuple[str, Any]], chance: Any, skips_repeats: bool
) -> None:
    now, bucket, store = 0, MemoryBucket(), MemoryStore()
    intake = intake_of(bucket, store, skips_repeats=skips_repeats)
    undelivered: set[int] = set()
    events: list[Announcement] = []
    for action, what in actions:
        if action == "put":
            undelivered.add(len(events))
            events.append(bucket.put(what, TEXT, at=after(now)))
        elif action == "remove" and what in bucket.versions:
            before = whole_pairs(set(bucket.versions))
            bucket.remove(what)
            # S3 announces no removal: a pair that it uncovers has to be announced again
            halves = set(chain(*(whole_pairs(set(bucket.versions)) - before)))
            undelivered.update(n for n, event in enumerate(events) if event.key in halves)
        elif action == "tick":
            now += what
        elif action == "deliver" and events:
            intake.take(events[what % len(events)])
            undelivered.discard(what % len(events))

    rest = sorted(undelivered)
    chance.shuffle(rest)
    for number in rest:
        intake.take(events[number])

    for audio, sidecar in whole_pairs(set(bucket.versions)):
        job = store.get(job_id("drops", newest(bucket, audio), newest(bucket, sidecar)))
        assert job
        assert job.status is not JobStatus.WAITING
        # only with its job, where two audio files lay claim to the sidecar, a half stays rejected
        assert halves_of(store, audio, sidecar) <= {job.status} & {JobStatus.REJECTED}


def halves_of(store: MemoryStore, *keys: str) -> set[JobStatus]:
    """The states of the halves that have a record of their own."""
    found = [store.get(half_id("drops", key)) for key in keys]
    return {half.status for half in found if half}


def whole_pairs(keys: set[str]) -> set[tuple[str, str]]:
    """The rule of the documents, for the names above."""
    wanted = {"song.mp3": ("song.mp3.json", "song.json"), "song.wav": ("song.json",)}
    found = {
        audio: next((key for key in choices if key in keys), None)
        for audio, choices in wanted.items()
        if audio in keys
    }
    return {(audio, sidecar) for audio, sidecar in found.items() if sidecar}


def newest(bucket: MemoryBucket, key: str) -> tuple[str, str]:
    return key, bucket.versions[key][-1].version_id
