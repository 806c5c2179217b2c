"""The jobs table's conditions, as DynamoDB evaluates them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.drops.contents import Content
from phonoscene.errors import ContentContested, WriteRefused
from phonoscene.jobs import (
    FINAL,
    LOOK_AGAIN_AFTER,
    TRANSITIONS,
    WITHOUT_VIDEO,
    Audio,
    DropObject,
    ErrorDetail,
    Job,
    JobCost,
    JobStatus,
    Request,
    Scene,
    Segment,
    Sequence,
)
from phonoscene.limits import SpendingLimits
from phonoscene.table import dynamodb
from phonoscene.table.dynamodb import Table
from phonoscene.table.job_store import JobStore
from tests.integration.workspace import RecordingClient, an_id
from tests.support.jobs import a_job
from tests.support.stack import JOBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.moto_stack import Cloud

NOW = datetime(2026, 11, 22, 10, 15, 30, 123000, tzinfo=UTC)
ID = "0f343b0931126a20f133d67c2b018a3b"
HALF, SEGMENT = "a" * 32, "b" * 32
S = JobStatus
PAIRS = [(before, after) for before in JobStatus for after in JobStatus]
ALLOWED = [pair for pair in PAIRS if pair[1] in TRANSITIONS[pair[0]]]
FORBIDDEN = [pair for pair in PAIRS if pair[1] not in TRANSITIONS[pair[0]]]
#: A shortest way to each state, through the store's own writes.
WAY = {
    JobStatus.WAITING: [],
    JobStatus.READY: [],
    JobStatus.REJECTED: [],
    JobStatus.SUBMITTING: [JobStatus.SUBMITTING],
    JobStatus.UNCONFIRMED: [JobStatus.SUBMITTING, JobStatus.UNCONFIRMED],
    JobStatus.SUBMITTED: [JobStatus.SUBMITTING, JobStatus.SUBMITTED],
    JobStatus.GENERATED: [JobStatus.SUBMITTING, JobStatus.GENERATED],
    JobStatus.SUCCEEDED: [JobStatus.SUBMITTING, JobStatus.GENERATED, JobStatus.SUCCEEDED],
    JobStatus.FAILED: [JobStatus.FAILED],
    JobStatus.CANCELLED: [JobStatus.CANCELLED],
}


@pytest.fixture
def changes() -> list[Job]:
    return []


@pytest.fixture
def store(cloud: Cloud, changes: list[Job]) -> JobStore:
    return JobStore(cloud.dynamodb, JOBS, on_change=changes.append, clock=lambda: NOW)


def the_job(status: JobStatus = JobStatus.READY, **fields: Any) -> Job:
    return a_job(status, NOW, **{"job_id": ID, "name": "albums/song"} | fields)


def the_half(version: str = "v1", **fields: Any) -> Job:
    audio = Audio(key="albums/song.mp3", version_id=version, bytes=9)
    return the_job(JobStatus.WAITING, **{"job_id": HALF, "audio": audio} | fields)


def a_job_that_is(status: JobStatus, store: JobStore) -> Job:
    """Bring a job there by the writes that lead there."""
    if status is JobStatus.WAITING:
        store.wait(half := the_half(job_id=ID), NOW)
        return half
    job = store.admit(the_job(status if status is JobStatus.REJECTED else JobStatus.READY), ())
    for step in WAY[status]:
        job = store.move(job, step)
    return job


@pytest.mark.parametrize(("before", "after"), ALLOWED, ids=str)
def test_a_move_that_the_table_of_states_allows_is_written(
    store: JobStore, changes: list[Job], before: JobStatus, after: JobStatus
) -> None:
    job = a_job_that_is(before, store)

    moved = store.move(job, after)

    assert moved.status is after
    assert store.get(ID) == moved
    assert changes[-1] == moved


@pytest.mark.parametrize(("before", "after"), FORBIDDEN, ids=str)
def test_any_other_move_is_refused_and_carries_the_record_found(
    store: JobStore, changes: list[Job], before: JobStatus, after: JobStatus
) -> None:
    job = a_job_that_is(before, store)
    written = len(changes)

    with pytest.raises(WriteRefused) as refused:
        store.move(job, after)

    assert refused.value.found == store.get(ID) == job
    assert len(changes) == written


@pytest.mark.parametrize("read", sorted(set(JobStatus) - {JobStatus.GENERATED}))
def test_it_is_the_record_that_decides_and_not_what_was_read_of_it(
    store: JobStore, read: JobStatus
) -> None:
    job = a_job_that_is(JobStatus.SUBMITTED, store)
    stale = job.model_copy(update={"status": read})

    with pytest.raises(WriteRefused) as refused:
        store.move(stale, JobStatus.SUBMITTING)

    assert refused.value.found == job


def test_what_is_learnt_of_an_earlier_attempt_cannot_move_a_later_one(store: JobStore) -> None:
    ready = store.admit(the_job(), ())
    first = store.move(ready, JobStatus.SUBMITTING, attempt=1)
    again = store.move(first, JobStatus.READY)
    second = store.move(again, JobStatus.SUBMITTING, attempt=2)

    with pytest.raises(WriteRefused) as refused:
        store.move(first, JobStatus.SUBMITTED)

    assert refused.value.found == second
    assert store.get(ID) == second


def test_what_is_noted_of_an_earlier_attempt_changes_no_later_one(store: JobStore) -> None:
    read = store.admit(the_job(), ())
    claimed = store.move(read, JobStatus.SUBMITTING, attempt=1)
    back = store.move(claimed, JobStatus.READY, at=NOW + timedelta(hours=1))

    with pytest.raises(WriteRefused) as refused:
        store.put_off(read, "slot", NOW)

    assert refused.value.found == store.get(ID) == back


def test_a_move_of_a_record_that_is_gone_finds_nothing(store: JobStore) -> None:
    never_written = the_job()

    with pytest.raises(WriteRefused) as refused:
        store.move(never_written, JobStatus.SUBMITTING)

    assert refused.value.found is None
    assert store.get(ID) is None


def test_a_job_is_admitted_once_and_the_second_time_the_first_is_found(
    store: JobStore, changes: list[Job]
) -> None:
    first = store.admit(the_job(), ())
    moved = store.move(first, JobStatus.SUBMITTING, attempt=1)

    with pytest.raises(WriteRefused) as refused:
        store.admit(the_job(name="another"), ())

    assert refused.value.found == store.get(ID) == moved
    assert changes == [first, moved]


def test_the_waiting_halves_go_in_the_transaction_that_admits_their_job(
    store: JobStore, cloud: Cloud
) -> None:
    sidecar = DropObject(key="albums/song.json", version_id="v2")
    store.wait(the_half(), NOW)
    store.wait(the_half(job_id="b" * 32, audio=None, sidecar=sidecar), NOW)

    store.admit(the_job(), (HALF, "b" * 32))

    assert [item["job_id"] for item in cloud.items()] == [ID]


def test_a_job_that_is_not_admitted_leaves_the_halves_where_they_are(
    store: JobStore, cloud: Cloud
) -> None:
    store.admit(the_job(), ())
    store.wait(the_half(), NOW)

    with pytest.raises(WriteRefused):
        store.admit(the_job(), (HALF,))

    assert {item["job_id"] for item in cloud.items()} == {ID, HALF}


def test_the_same_version_of_a_half_waits_once_and_a_new_version_takes_its_place(
    store: JobStore,
) -> None:
    first = the_half("v1")
    store.wait(first, NOW)

    with pytest.raises(WriteRefused) as refused:
        store.wait(the_half("v1", name="another"), NOW + timedelta(hours=1))
    store.wait(the_half("v2"), NOW)

    assert refused.value.found == first
    assert store.get(HALF) == the_half("v2")


def test_a_half_stops_waiting_however_often_it_is_repeated(store: JobStore) -> None:
    store.wait(the_half(), NOW)

    store.stop_waiting(HALF)
    store.stop_waiting(HALF)

    assert store.get(HALF) is None


@pytest.mark.parametrize("status", JobStatus)
def test_a_record_is_in_the_indexes_of_its_state_and_in_no_other(
    store: JobStore, cloud: Cloud, status: JobStatus
) -> None:
    a_job_that_is(status, store)

    in_motion = status in LOOK_AGAIN_AFTER or status is JobStatus.WAITING
    assert cloud.index("due") == ({ID} if in_motion else set())
    assert cloud.index("backlog") == ({ID} if status is JobStatus.READY else set())
    assert cloud.index("by_name") == cloud.index("by_day") == {ID}
    item = cloud.item(ID)
    assert ("due_shard" in item, "due_at" in item) == (in_motion, in_motion)
    assert ("backlog_shard" in item) == ("dispatch_at" in item) == (status is JobStatus.READY)
    assert not (status in FINAL and in_motion)


@pytest.mark.parametrize("status", sorted(LOOK_AGAIN_AFTER))
def test_a_record_in_motion_is_due_after_its_states_own_time(
    store: JobStore, cloud: Cloud, status: JobStatus
) -> None:
    a_job_that_is(status, store)

    due = (NOW + LOOK_AGAIN_AFTER[status]).strftime("%Y-%m-%dT%H:%M:%S.123Z")
    assert cloud.item(ID)["due_at"] == due


def test_a_date_that_is_given_counts_before_the_states_own(store: JobStore, cloud: Cloud) -> None:
    job = a_job_that_is(JobStatus.SUBMITTING, store)
    store.wait(the_half(), NOW + timedelta(minutes=60))

    store.move(job, JobStatus.READY, at=NOW + timedelta(seconds=30))

    assert cloud.item(ID)["dispatch_at"] == "2026-11-22T10:16:00.123Z"
    assert cloud.item(HALF)["due_at"] == "2026-11-22T11:15:30.123Z"


def test_sixteen_shards_share_the_jobs(store: JobStore, cloud: Cloud) -> None:
    for n in range(16, 32):
        store.admit(the_job(job_id=f"{n:08x}" + "0" * 24), ())

    shards = {int(item["backlog_shard"]) for item in cloud.items()}

    assert shards == set(range(16))


def test_every_state_is_appended_to_the_history_and_none_is_overwritten(store: JobStore) -> None:
    job = a_job_that_is(JobStatus.SUCCEEDED, store)

    steps = [step.status for step in job.history]

    assert steps == [JobStatus.READY, *WAY[JobStatus.SUCCEEDED]]
    assert {step.at for step in job.history} == {NOW}


@pytest.mark.parametrize("seed", [0, -(2**63), 2**63, 17454220438242315174, 2**64 - 1])
def test_a_seed_comes_back_digit_for_digit(store: JobStore, seed: int) -> None:
    job = a_job_that_is(JobStatus.SUBMITTING, store)

    store.move(job, JobStatus.GENERATED, seed=seed, reported={"seed": seed})

    found = store.get(ID)
    assert found
    assert (found.seed, found.reported["seed"]) == (seed, seed)


@pytest.mark.parametrize("number", [0.1, 23.976, 29.97, 1e-7, 5.041666666666667, 1 / 3, 1e-120])
def test_a_broken_number_comes_back_bit_for_bit(store: JobStore, number: float) -> None:
    arguments = {"fps": number, "video_size": {"width": 64, "scale": [number]}}

    store.admit(the_job(arguments=arguments), ())

    found = store.get(ID)
    assert found
    assert found.arguments == arguments


@pytest.mark.parametrize("number", [1e-200, 5e-324, 1e-131])
def test_a_number_too_small_for_dynamodb_is_no_reason_to_lose_a_job(
    store: JobStore, number: float
) -> None:
    store.admit(the_job(arguments={"image_strength": number}), ())

    found = store.get(ID)
    assert found
    assert found.arguments["image_strength"] == pytest.approx(0)


def test_false_zero_and_empty_words_in_the_arguments_are_kept(store: JobStore) -> None:
    arguments = {"match_audio_length": False, "image_strength": 0, "negative_prompt": ""}

    store.admit(the_job(arguments=arguments), ())

    found = store.get(ID)
    assert found
    assert found.arguments == arguments


def test_none_removes_a_field_and_the_others_stay(store: JobStore, cloud: Cloud) -> None:
    job = a_job_that_is(JobStatus.SUBMITTING, store)
    request = Request(request_id="r1", status_url="https://queue.fal.run/s")
    job = store.move(job, JobStatus.GENERATED, request=request, source_url="https://v3.fal.media/x")

    moved = store.move(job, JobStatus.SUCCEEDED, source_url=None)

    assert moved.request == request
    assert "source_url" not in cloud.item(ID)


def test_every_error_of_a_rejected_drop_is_kept(store: JobStore) -> None:
    errors = (
        ErrorDetail(code="out_of_range", field="fps", value="61", message="fps is 61."),
        ErrorDetail(code="empty_audio", message="no bytes"),
    )

    store.admit(the_job(JobStatus.REJECTED, errors=errors), ())

    found = store.get(ID)
    assert found
    assert found.errors == errors


def test_a_duplicate_request_is_noted_once_beside_others(store: JobStore) -> None:
    job = a_job_that_is(JobStatus.SUBMITTED, store)

    for request in ("r2", "r3"):
        store.note_paid_again(job, request)
    with pytest.raises(WriteRefused):
        store.note_paid_again(job, "r2")

    found = store.get(ID)
    assert found
    assert found.duplicate_requests == {"r2", "r3"}
    assert found.status is JobStatus.SUBMITTED


def test_a_duplicate_of_a_record_that_is_gone_makes_none(store: JobStore, cloud: Cloud) -> None:
    with pytest.raises(WriteRefused) as refused:
        store.note_paid_again(the_job(), "r2")

    assert refused.value.found is None
    assert cloud.items() == []


# Segments, and the sequence that wants them ------------------------------------------------------


FREE = JobCost(lower_usd=Decimal(0), upper_usd=Decimal(0))


def the_segment(**fields: Any) -> Job:
    return the_job(job_id=SEGMENT, part_of=ID, part=0, **fields)


def the_sequence(store: JobStore, *steps: JobStatus) -> Job:
    """A sequence whose audio is cut, or that went on from there."""
    segments = (Segment(scene=0, first=0, frames=241, job_id=SEGMENT),)
    plan = Sequence(fps=24, scenes=(Scene(),), segments=segments)
    job = store.admit(the_job(sequence=plan), ())
    for step in (JobStatus.SUBMITTED, *steps):
        job = store.move(job, step)
    return job


def test_a_segments_job_is_made_once_and_the_second_time_the_first_is_found(
    store: JobStore,
) -> None:
    sequence = the_sequence(store)
    sent = store.move(store.admit_segment(the_segment(), sequence), JobStatus.SUBMITTING)

    with pytest.raises(WriteRefused) as refused:
        store.admit_segment(the_segment(), sequence)

    assert refused.value.found == store.get(SEGMENT) == sent


@pytest.mark.parametrize("ended", sorted(TRANSITIONS[JobStatus.SUBMITTED] & {*FINAL, S.GENERATED}))
def test_no_segment_is_made_for_a_sequence_that_has_ended_meanwhile(
    store: JobStore, ended: JobStatus
) -> None:
    sequence = the_sequence(store)
    now = store.move(sequence, ended)

    with pytest.raises(WriteRefused) as refused:
        store.admit_segment(the_segment(), sequence)

    assert refused.value.found == now
    assert store.get(SEGMENT) is None


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {S.WAITING, S.REJECTED}))
def test_a_segment_is_shared_until_it_has_ended(store: JobStore, status: JobStatus) -> None:
    segment = store.admit_segment(the_segment(), the_sequence(store))
    for step in WAY[status]:
        segment = store.move(segment, step)
    other = the_job(job_id=HALF)

    if status not in FINAL:
        store.share_segment(segment, other)
    else:
        with pytest.raises(WriteRefused) as refused:
            store.share_segment(segment, other)
        assert refused.value.found == segment

    found = store.get(SEGMENT)
    assert found
    assert found.users == ({ID} if status in FINAL else {ID, HALF})


def test_a_segment_is_shared_with_as_many_sequences_as_its_record_holds(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonoscene.table.job_store.MAX_USERS", 2)
    segment = store.admit_segment(the_segment(), the_sequence(store))
    for n in range(2):
        store.share_segment(segment, the_job(job_id=f"{n:032}"))

    with pytest.raises(WriteRefused):
        store.share_segment(segment, the_job(job_id=f"{2:032}"))

    found = store.get(SEGMENT)
    assert found
    assert found.users == {ID, f"{0:032}", f"{1:032}"}


def test_a_segment_that_was_shared_meanwhile_is_not_cancelled_for_one_sequence(
    store: JobStore,
) -> None:
    read = store.admit_segment(the_segment(), the_sequence(store))
    store.share_segment(read, the_job(job_id=HALF))

    with pytest.raises(WriteRefused):
        store.end(read, JobStatus.CANCELLED, revision=read.revision)

    found = store.get(SEGMENT)
    assert found
    assert (found.status, found.users) == (JobStatus.READY, frozenset({ID, HALF}))


def test_how_segments_stand_is_noted_on_the_record_that_was_read_and_on_no_newer(
    store: JobStore,
) -> None:
    read = the_sequence(store)
    noted = store.note_sequence(read, read.plan, NOW, "slot")

    with pytest.raises(WriteRefused) as refused:
        store.note_sequence(read, read.plan.with_segment(0, job_id=None), NOW)
    assert refused.value.found == store.get(ID) == noted

    cancelled = store.move(noted, JobStatus.CANCELLED)
    ended = store.note_ended(cancelled, read.plan, FREE)
    with pytest.raises(WriteRefused) as refused:
        store.note_ended(cancelled, read.plan.with_segment(0, job_id=None), FREE)
    assert refused.value.found == store.get(ID) == ended


# Repeats ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", sorted(WITHOUT_VIDEO - {JobStatus.REJECTED}))
def test_a_drop_repeats_no_job_that_has_ended_without_a_video_meanwhile(
    store: JobStore, ended: JobStatus
) -> None:
    read = store.admit(the_job(), ())
    store.end(read, ended)
    content = Content("c" * 32, {"audio_url": {"etag": "1"}})
    holders = store.holders(content.id).with_job(content, ID, set())

    with pytest.raises(ContentContested):
        store.repeat(the_job(job_id=HALF), read, holders, ())

    assert store.get(HALF) is None


@pytest.mark.parametrize("first", ["admit", "repeat"])
def test_of_two_drops_of_one_content_that_read_the_same_one_is_written(
    store: JobStore, first: str
) -> None:
    job = store.admit(the_job(), ())
    content = Content("c" * 32, {"audio_url": {"etag": "1"}})
    read = store.holders(content.id)
    holders = read.with_job(content, ID, set())
    one, other = the_job(job_id=HALF), the_job(job_id=SEGMENT)
    if first == "admit":
        store.admit(one, (), holders)
    else:
        store.repeat(one, job, holders, ())

    with pytest.raises(ContentContested):
        store.admit(other, (), holders)

    assert store.get(SEGMENT) is None


def test_an_older_drop_of_a_name_takes_no_place_of_a_newer_one(store: JobStore) -> None:
    read = store.admit(the_job(dropped_at=NOW), ())
    newest = NOW + timedelta(minutes=2)
    store.mention(read, frozenset({"albums/song.mp3.json"}), newest)

    with pytest.raises(ContentContested):
        store.mention(read, frozenset({"albums/song.wav.json"}), NOW + timedelta(minutes=1))

    found = store.get(ID)
    assert found
    assert (found.dropped_at, found.unused_sidecars) == (
        newest,
        frozenset({"albums/song.mp3.json"}),
    )


def test_a_job_that_was_never_written_is_none(store: JobStore) -> None:
    assert store.get(ID) is None


def test_a_field_that_a_newer_release_wrote_is_passed_over(store: JobStore, cloud: Cloud) -> None:
    store.admit(the_job(), ())
    cloud.dynamodb.update_item(
        TableName=JOBS,
        Key={"job_id": {"S": ID}},
        UpdateExpression="SET tomorrow = :t",
        ExpressionAttributeValues={":t": {"S": "x"}},
    )

    assert store.get(ID) == the_job()


NOTES: dict[JobStatus, Callable[[JobStore, Job], object]] = {
    JobStatus.READY: lambda store, job: store.put_off(job, "slot", NOW, name="another"),
    JobStatus.SUBMITTING: lambda store, job: store.look_again(job, NOW, name="another"),
}


@pytest.mark.parametrize(("status", "note"), NOTES.items(), ids=NOTES)
def test_a_field_whose_name_dynamodb_reserves_can_be_noted(
    store: JobStore,
    environment: pytest.MonkeyPatch,
    status: JobStatus,
    note: Callable[[JobStore, Job], object],
) -> None:
    """Moto lets reserved words pass in an update."""
    job = a_job_that_is(status, store)
    asked: list[Any] = []
    write = Table.update

    def update(table: Table, request: Any) -> Any:
        asked.append(request)
        return write(table, request)

    environment.setattr(Table, "update", update)

    note(store, job)

    [request] = asked
    assert "#name = :name" in request["UpdateExpression"]
    assert request["ExpressionAttributeNames"]["#name"] == "name"


WRITES: dict[str, Callable[[JobStore, Job], object]] = {
    "a move": lambda store, job: store.move(job, JobStatus.SUBMITTED),
    "an end": lambda store, job: store.end(job, JobStatus.FAILED),
    "a look put off": lambda store, job: store.look_again(job, NOW),
    "a silence": lambda store, job: store.look_again(job, NOW, NOW),
    "a second payment": lambda store, job: store.note_paid_again(job, "r2"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("counted", [True, False], ids=["counted", "of an older release"])
def test_every_write_of_a_record_is_counted(
    store: JobStore, cloud: Cloud, write: Callable[[JobStore, Job], object], *, counted: bool
) -> None:
    job = a_job_that_is(JobStatus.SUBMITTING, store)
    if not counted:
        key = {"job_id": {"S": ID}}
        cloud.dynamodb.update_item(TableName=JOBS, Key=key, UpdateExpression="REMOVE revision")

    write(store, job)

    assert cloud.item(ID)["revision"] == (job.revision + 1 if counted else 1)


def test_what_is_postponed_and_what_is_claimed_is_counted_too(store: JobStore) -> None:
    job = store.admit(the_job(), ())

    put_off = store.put_off(job, "slot", NOW)
    claimed = store.claim(put_off, SpendingLimits(1, Decimal(1)), "a hash")

    assert [job.revision, put_off.revision, claimed.revision] == [1, 2, 3]
    assert store.get(ID) == claimed


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
def test_many_items_are_read_whole_in_requests_that_dynamodb_takes(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(dynamodb, "MAX_KEYS", 3)
    cloud.put_jobs(a_job(job_id=an_id(n)) for n in range(7))
    asked: list[int] = []
    client: Any = RecordingClient(cloud.dynamodb)
    client.before = lambda _, request: asked.append(len(request["RequestItems"][JOBS]["Keys"]))

    found = Table(client, JOBS).get_many([an_id(n) for n in range(count)] * 2)

    assert {item["job_id"] for item in found} == {an_id(n) for n in range(count)}
    assert sum(asked) == count
    assert max(asked, default=0) <= 3
