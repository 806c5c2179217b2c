"""What a drop's record says: everything that is wrong with it at once, or what it will cost."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from phonoscene.drops.keys import half_id
from phonoscene.jobs import Job, JobStatus
from phonoscene.workflow.intake import Announcement
from tests.support.jobs import NOON
from tests.unit.explorer import RULES, intake_of
from tests.unit.fakes import MemoryBucket, MemoryStore


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def take(bucket: MemoryBucket, store: MemoryStore, key: str) -> Job:
    [job] = intake_of(bucket, store).take(Announcement(key, NOON))
    return job


def text(**fields: object) -> bytes:
    return json.dumps({"prompt": "a harbour", **fields}).encode()


def test_a_whole_drop_is_ready_pinned_to_its_versions_and_priced(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("a/song.mp3")
    bucket.put("a/song.json", text(seed=7))

    job = take(bucket, store, "a/song.json")

    assert (job.status, job.name, job.errors) == (JobStatus.READY, "a/song", ())
    assert job.audio
    assert (job.audio.version_id, job.audio.seconds) == ("a/song.mp3#1", 5.0)
    assert job.sidecar
    assert job.sidecar.version_id == "a/song.json#1"
    assert job.arguments["seed"] == 7
    assert job.estimate
    assert (job.estimate.frames, job.estimate.upper_usd) == (121, Decimal("0.0868"))


@pytest.mark.parametrize(
    ("job_usd", "day_usd", "named"),
    [("0.05", "25", "MaxJobCostUsd allows 0.05 USD"), ("2", "0.05", "DailyBudgetUsd allows 0.05")],
)
def test_a_drop_that_no_day_could_pay_for_is_rejected_and_not_kept_waiting(
    bucket: MemoryBucket, store: MemoryStore, job_usd: str, day_usd: str, named: str
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text())
    rules = replace(RULES, max_job_cost_usd=Decimal(job_usd), daily_budget_usd=Decimal(day_usd))

    [job] = intake_of(bucket, store, rules).take(Announcement("song.json", NOON))

    (error,) = job.errors
    assert (job.status, error.code, error.value) == (
        JobStatus.REJECTED,
        "cost_too_high",
        "0.0868 USD",
    )
    assert named in error.message


def test_a_tie_a_missing_image_and_a_long_audio_are_reported_at_once(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.seconds = 60.0
    bucket.put("song.mp3")
    bucket.put("song.wav")
    bucket.put("song.json", text(image_url="cover.png"))

    job = take(bucket, store, "song.mp3")

    assert job.status is JobStatus.REJECTED
    assert {error.code for error in job.errors} == {
        "ambiguous_sidecar",
        "image_not_found",
        "audio_too_long",
    }


@pytest.mark.parametrize("character", ["\x00", "\x1f", "\x7f", "\x85", "\n"])
def test_a_key_of_control_characters_is_rejected_under_a_name_that_the_table_can_index(
    bucket: MemoryBucket, store: MemoryStore, character: str
) -> None:
    key = character * ((1024 - len(".mp3")) // len(character.encode())) + ".mp3"
    bucket.put(key)

    job = take(bucket, store, key)

    assert (job.status, job.job_id) == (
        JobStatus.REJECTED,
        half_id("drops", key),
    )
    assert len(job.name.encode()) <= 2048  # DynamoDB: the longest key of an index
    assert job.name.isprintable()
    assert [error.code for error in job.errors] == ["unsafe_key"]


def test_a_key_of_another_kind_is_ignored(bucket: MemoryBucket, store: MemoryStore) -> None:
    for key in ("a/", ".song.mp3", "_defaults.json", "readme.txt", "song.mp3.part"):
        bucket.put(key)

        assert intake_of(bucket, store).take(Announcement(key, NOON)) == []

    assert store.jobs == {}


@pytest.mark.parametrize(
    ("wait", "status"), [("true", JobStatus.WAITING), ("false", JobStatus.READY)]
)
def test_an_audio_file_alone_waits_or_starts_as_its_folder_says(
    bucket: MemoryBucket, store: MemoryStore, wait: str, status: JobStatus
) -> None:
    bucket.put("a/_defaults.json", f'{{"wait_for_sidecar": {wait}, "prompt": "x"}}'.encode())
    bucket.put("a/b/song.mp3")

    job = take(bucket, store, "a/b/song.mp3")

    assert job.status is status


def test_auto_takes_the_size_of_the_image_beside_the_sidecar(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("a/song.mp3")
    bucket.put("a/cover.png")
    bucket.images["a/cover.png"] = (640, 480)
    bucket.put("a/song.json", text(video_size="auto", image_url="cover.png"))

    job = take(bucket, store, "a/song.mp3")

    assert job.estimate
    assert (job.estimate.width, job.estimate.height) == (640, 480)
    assert job.images["image_url"].version_id == "a/cover.png#1"


def test_auto_with_an_image_elsewhere_cannot_be_priced(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text(video_size="auto", image_url="https://example.com/a.png"))

    job = take(bucket, store, "song.mp3")

    assert [error.code for error in job.errors] == ["unknown_size"]
    assert job.estimate is None
