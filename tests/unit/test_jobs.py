"""The job record: its states, what may follow what, and that the table keeps all of it."""

from __future__ import annotations

import typing
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from phonoscene.jobs import (
    BORN_AS,
    FINAL,
    LOOK_AGAIN_AFTER,
    TRANSITIONS,
    Actual,
    Audio,
    DropObject,
    ErrorDetail,
    Estimate,
    Job,
    JobStatus,
    Request,
    Step,
    Video,
    may_precede,
)
from phonoscene.table.items import from_item, to_item, to_job, to_record
from tests.unit.fakes import NOON

#: The whole state machine: what may follow each state.
DIAGRAM = {
    "WAITING": "REJECTED CANCELLED",
    "READY": "SUBMITTING GENERATED FAILED CANCELLED",
    "SUBMITTING": "UNCONFIRMED SUBMITTED GENERATED READY FAILED CANCELLED",
    "UNCONFIRMED": "SUBMITTED GENERATED READY FAILED CANCELLED",
    "SUBMITTED": "GENERATED READY FAILED CANCELLED",
    "GENERATED": "SUCCEEDED FAILED",
    "SUCCEEDED": "",
    "FAILED": "GENERATED",
    "REJECTED": "",
    "CANCELLED": "",
}


def test_the_diagram_names_every_state() -> None:
    assert sorted(DIAGRAM) == sorted(JobStatus)


@pytest.mark.parametrize("before", JobStatus)
@pytest.mark.parametrize("after", JobStatus)
def test_a_state_may_follow_another_as_the_diagram_says(
    before: JobStatus, after: JobStatus
) -> None:
    is_allowed = after.value in DIAGRAM[before].split()

    assert (after in TRANSITIONS[before]) is is_allowed
    assert (before in may_precede(after)) is is_allowed


def test_the_final_states_are_the_four_that_nothing_follows() -> None:
    assert {"SUCCEEDED", "FAILED", "REJECTED", "CANCELLED"} == FINAL


def test_a_job_is_final_in_a_final_state_only() -> None:
    finals = {status for status in JobStatus if a_job(status=status).is_final}

    assert finals == FINAL


def test_every_state_that_is_not_a_birth_can_be_reached_from_one() -> None:
    reached = set(BORN_AS)

    for _ in JobStatus:
        reached |= {after for before in reached for after in TRANSITIONS[before]}

    assert reached == set(JobStatus)


def test_every_state_in_motion_is_looked_at_again() -> None:
    in_motion = set(JobStatus) - FINAL - {JobStatus.WAITING, JobStatus.READY}

    assert set(LOOK_AGAIN_AFTER) == in_motion


@pytest.mark.parametrize("status", JobStatus)
def test_a_record_is_born_waiting_ready_or_rejected_and_in_no_other_state(
    status: JobStatus,
) -> None:
    if status in {"WAITING", "READY", "REJECTED"}:
        job = Job.born(status, NOON, job_id="0" * 32, name="song", bucket="drops")
        assert job.history == (Step(status=status, at=NOON),)
        assert job.created_at == job.updated_at == NOON
    else:
        with pytest.raises(ValueError, match=f"no record is born {status}"):
            Job.born(status, NOON, job_id="0" * 32, name="song", bucket="drops")


@pytest.mark.parametrize("field", Job.model_fields)
def test_no_field_of_a_job_can_be_changed(field: str) -> None:
    job = a_job()

    with pytest.raises(ValidationError, match="frozen"):
        setattr(job, field, None)


@pytest.mark.parametrize(
    "part", [Job, Audio, DropObject, ErrorDetail, Estimate, Request, Step, Video]
)
def test_every_part_of_a_job_is_frozen(part: type[BaseModel]) -> None:
    assert part.model_config["frozen"] is True


def test_what_a_newer_release_wrote_is_passed_over() -> None:
    job = Job.model_validate(a_job().model_dump() | {"mood": "calm", "due_shard": 3})

    assert job == a_job()


def test_a_record_has_no_place_for_what_grants_something() -> None:
    words = ("url", "token", "key", "secret", "signature", "password")

    named = {name for name in every_field(Job) if any(word in name for word in words)}

    assert named == {
        "audio.key",
        "sidecar.key",
        "images.key",
        "video.key",
        "token_hashes",
        "request.status_url",
        "request.response_url",
        "request.cancel_url",
        "source_url",
    }


def every_field(model: type[BaseModel], prefix: str = "") -> typing.Iterator[str]:
    for name, info in model.model_fields.items():
        yield prefix + name
        for part in (info.annotation, *typing.get_args(info.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from every_field(part, f"{prefix}{name}.")


def a_job(**changes: Any) -> Job:
    fields = {"job_id": "0" * 32, "name": "song", "status": "READY", "bucket": "drops"}
    return Job(**{**fields, "created_at": NOON, "updated_at": NOON, **changes})


# To the table and back

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
counts = st.integers(0, 2**63)
times = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the zone is given below
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45))),
).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
numbers = st.floats(0, 1e9).filter(lambda number: number == 0 or number > 1e-100)
money = st.decimals("0", "1000", places=4)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=4,
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


pins = st.builds(DropObject, key=keys, version_id=keys)
actuals = st.builds(
    Actual,
    source=st.sampled_from(["billable_units", "frames", "duration", "size"]),
    width=counts,
    height=counts,
    frames=counts,
    megapixels=money,
    lower_usd=money,
    upper_usd=money,
)
jobs = st.builds(
    Job,
    job_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    name=keys,
    status=st.sampled_from(JobStatus),
    bucket=keys,
    audio=maybe(
        st.builds(
            Audio,
            key=keys,
            version_id=keys,
            bytes=counts,
            seconds=maybe(numbers),
            format=maybe(keys),
        )
    ),
    sidecar=maybe(pins),
    images=st.dictionaries(keys, pins, max_size=2),
    arguments=st.dictionaries(keys, json_values, max_size=3),
    estimate=maybe(
        st.builds(
            Estimate,
            width=counts,
            height=counts,
            frames=counts,
            megapixels=money,
            usd_per_megapixel=maybe(money),
            lower_usd=money,
            upper_usd=money,
        )
    ),
    actual=maybe(actuals),
    duplicate_actuals=st.lists(actuals, max_size=2).map(tuple),
    attempt=st.integers(0, 9),
    token_hashes=st.lists(keys, max_size=2).map(tuple),
    request=maybe(
        st.builds(
            Request,
            request_id=keys,
            status_url=maybe(keys),
            response_url=maybe(keys),
            cancel_url=maybe(keys),
        )
    ),
    source_url=maybe(keys),
    video_flaws=st.frozensets(keys, max_size=2),
    reported=st.dictionaries(keys, json_values, max_size=2),
    video=maybe(
        st.builds(
            Video,
            bucket=keys,
            key=keys,
            version_id=keys,
            bytes=counts,
            sha256=keys,
            content_type=keys,
            width=maybe(counts),
            height=maybe(counts),
            fps=maybe(numbers),
            frames=maybe(counts),
            duration=maybe(numbers),
        )
    ),
    seed=maybe(
        st.sampled_from([0, 1, 2**63 - 1, 2**63, 17454220438242315174, 2**64 - 1])
        | st.integers(0, 2**64 - 1)
    ),
    prompt_used=maybe(texts),
    errors=st.lists(
        st.builds(
            ErrorDetail,
            code=keys,
            message=texts,
            field=maybe(texts),
            value=maybe(texts),
            allowed=maybe(texts),
            source=maybe(keys),
            retryable=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    duplicate_requests=st.frozensets(keys, max_size=2),
    waits_for=maybe(st.sampled_from(["slot", "budget", "account", "fal"])),
    resubmitted=st.booleans(),
    revision=st.integers(0, 9),
    dropped_at=maybe(times),
    history=st.lists(st.builds(Step, status=st.sampled_from(JobStatus), at=times), max_size=3).map(
        tuple
    ),
    created_at=times,
    updated_at=times,
)


@given(jobs)
def test_a_job_comes_back_from_the_table_as_it_went(job: Job) -> None:
    item = to_item(to_record(job))

    assert to_job(from_item(item)) == job


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_seed_is_a_number_of_the_table_digit_for_digit(seed: int) -> None:
    item = to_item(to_record(a_job(seed=seed)))

    assert item["seed"] == {"N": str(seed)}


def test_an_absent_field_is_absent_from_the_item() -> None:
    item = to_item(to_record(a_job()))

    assert sorted(item) == [
        "attempt",
        "bucket",
        "created_at",
        "day_shard",
        "job_id",
        "name",
        "refusals",
        "repeats",
        "resubmitted",
        "revision",
        "status",
        "updated_at",
        "uploads_failed",
    ]


def test_times_are_written_so_that_they_sort_as_text() -> None:
    local = NOON.astimezone(timezone(timedelta(hours=-7)))

    item = to_item(to_record(a_job(created_at=local)))

    assert item["created_at"] == {"S": "2026-11-22T12:00:00.000Z"}
    assert item["day_shard"] == {"S": "2026-11-22#0"}


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**9, places=4))
def test_money_stays_decimal(amount: Decimal) -> None:
    cost = Estimate(width=1, height=1, frames=9, megapixels=1, lower_usd=0, upper_usd=amount)

    back = to_job(from_item(to_item(to_record(a_job(estimate=cost)))))

    assert back
    assert back.estimate
    assert back.estimate.upper_usd == amount
    assert isinstance(back.estimate.upper_usd, Decimal)
