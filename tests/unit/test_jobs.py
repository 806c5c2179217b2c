"""The job record: its states, what may follow what, and that the table keeps all of it."""

from __future__ import annotations

import typing
from datetime import timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from phonoscene.jobs import (
    BORN_AS,
    FINAL,
    LOOK_AGAIN_AFTER,
    TRANSITIONS,
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
from phonoscene.publishing.manifests import Manifest
from phonoscene.publishing.receipts import Receipt
from phonoscene.table.items import from_item, to_item, to_job, to_record
from tests.support.jobs import NOON, a_job
from tests.unit.strategies import fields, jobs

#: The whole state machine: what may follow each state.
DIAGRAM = {
    "WAITING": "READY REJECTED CANCELLED",
    "READY": "SUBMITTING SUBMITTED GENERATED FAILED CANCELLED",
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
    finals = {status for status in JobStatus if a_job(status).is_final}

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
        job = Job.new(status, NOON, job_id="0" * 32, name="song", bucket="drops")
        assert job.history == (Step(status=status, at=NOON),)
        assert job.created_at == job.updated_at == NOON
    else:
        with pytest.raises(ValueError, match=f"no new record is {status}"):
            Job.new(status, NOON, job_id="0" * 32, name="song", bucket="drops")


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
        "sequence.scenes.images.key",
        "sequence.segments.slice.key",
        "video.key",
        "video.stable_keys",
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


# To the table and back


@given(jobs)
def test_a_job_comes_back_from_the_table_as_it_went(job: Job) -> None:
    item = to_item(to_record(job))

    assert to_job(from_item(item)) == job


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_seed_is_a_number_of_the_table_digit_for_digit(seed: int) -> None:
    item = to_item(to_record(a_job(seed=seed)))

    assert item["seed"] == {"N": str(seed)}


def test_an_absent_field_is_absent_from_the_item() -> None:
    job = a_job()
    absent = {name for name, value in job if value is None or value in ({}, (), frozenset())}

    assert {"audio", "metadata", "errors", "duplicate_requests"} <= absent
    assert not absent & set(to_item(to_record(job)))


#: Fields of a job for its way through the stack alone: no manifest or receipt has them as they are.
INTERNAL = {
    "take",
    "sequence",
    "spent",
    "part_of",
    "part",
    "wanted_by",
    "unusable",
    "padding",
    "refusals",
    "account_refusals",
    "uploads_failed",
    "reservation",
    "waits_for",
    "missing_image",
    "waits_until",
    "unanswered_since",
    "problem",
    "unreadable_results",
    "token_hashes",
    "request",
    "start_timeout",
    "source_url",
    "reported",
    "duplicate_requests",
    "duplicate_actuals",
    "repeats",
    "unused_metadata",
    "unused_sidecars",
}
#: What a job went through on its way to the video; its manifest says what the video was made from.
NOT_IN_A_MANIFEST = INTERNAL | {
    "status",
    "attempt",
    "resubmitted",
    "errors",
    "history",
    "revision",
    "dropped_at",
    "updated_at",
}


def test_each_field_is_in_the_manifest_or_left_out_on_purpose() -> None:
    assert Job.model_fields.keys() - Manifest.model_fields.keys() == NOT_IN_A_MANIFEST, (
        "add a new field to Manifest, or here why a manifest does not have it"
    )


#: Fields of a job that receipts and events have under another name, in words, or not at all.
NOT_PUBLIC = INTERNAL | {
    "images",
    "arguments",
    "estimate",
    "output_lifetime",
    "seed",
    "prompt_used",
    "video_flaws",
}


def test_each_field_is_in_the_receipt_or_left_out_on_purpose() -> None:
    assert Job.model_fields.keys() - Receipt.model_fields.keys() == NOT_PUBLIC, (
        "add a new field to PublicJob, which receipts and events have, or here"
    )


def test_each_field_is_generated() -> None:
    assert Job.model_fields.keys() - fields.keys() == {"padding"}, (
        "add a new field to tests/unit/strategies.py: its way to the table and back is tested there"
    )


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
