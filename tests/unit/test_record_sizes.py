"""Whatever is dropped, its record is no larger than DynamoDB takes, from first to last.

A record that is too large cannot be written: its drop would have no receipt, and come back for
hours.
"""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from itertools import product
from types import MappingProxyType
from typing import Any

import pytest

from phonoscene.drops.keys import MAX_KEY_BYTES, output_key, stable_keys
from phonoscene.drops.metadata import MAX_BYTES
from phonoscene.drops.sidecar_files import MAX_SIDECAR_BYTES
from phonoscene.drops.validation_errors import Errors
from phonoscene.jobs import Audio, Job, JobStatus, Segment, Step, Video
from phonoscene.sequences.segments import failures
from phonoscene.workflow.intake import Announcement
from tests.support.jobs import NOON, a_job
from tests.support.record_sizes import LARGEST, size_of
from tests.unit.explorer import RULES, intake_of
from tests.unit.fakes import MemoryBucket, MemoryStore

WAVE = "\U0001f30a"
FOLDER = WAVE * 100 + "/" + "x" * 500 + "/"
LONG = replace(
    RULES,
    max_sequence_seconds=600,
    max_job_cost_usd=Decimal(999),
    daily_budget_usd=Decimal(999),
)
METADATA = {f"{n:040}": WAVE * 159 for n in range(48)}
PROMPTS = {"prompt": WAVE * 5000, "negative_prompt": WAVE * 5000}
#: 57 names of an image; two takes hold as many as a sidecar.
MISSING = [{"start": n * 10, "image_url": f"{n}{'a' * 1050}.png"} for n in range(57)]


def as_bytes(value: Any) -> bytes:
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(raw) <= MAX_SIDECAR_BYTES
    return raw


def dropped(
    sidecar: Any, defaults: Any = MappingProxyType({}), *, images: tuple[str, ...] = ()
) -> list[Job]:
    """The jobs of the sidecar beside 600 s of audio, with metadata and prompts of its folders."""
    bucket, store = MemoryBucket(), MemoryStore()
    bucket.seconds = 600
    bucket.put("_defaults.json", as_bytes({"metadata": METADATA}))
    bucket.put(FOLDER.split("/")[0] + "/_defaults.json", as_bytes(PROMPTS | defaults))
    name = FOLDER + "s" * (MAX_KEY_BYTES - len(FOLDER.encode()) - len(".json"))
    for image in images:
        bucket.images[FOLDER + image] = (64, 64)
        bucket.put(FOLDER + image)
    bucket.put(name + ".mp3")
    bucket.put(name + ".json", as_bytes(sidecar))
    return intake_of(bucket, store, LONG).take(Announcement(name + ".json", NOON))


@pytest.mark.parametrize(
    ("sidecar", "defaults"),
    [
        ({"scenes": MISSING}, {}),
        ({"scenes": MISSING, "negative_prompt": 1}, {}),
        ([{"scenes": MISSING[:28]}] * 2, {}),
        ([{"image_url": f"{WAVE * 500}.png"}] * 20, {}),
        ([{"scenes": []}] * 20, {"scenes": [{"start": 9, WAVE * 200: WAVE * 200}] * 10}),
        ({WAVE * 150 + str(n): WAVE * 25 for n in range(80)}, {}),
        ({"scenes": [{"start": 0, WAVE * 150 + str(n): WAVE * 80} for n in range(60)]}, {}),
        ({"metadata": {WAVE * 9 + str(n): WAVE for n in range(900)}}, {}),
    ],
)
def test_whatever_is_rejected_has_a_record_that_tells_why(sidecar: Any, defaults: Any) -> None:
    jobs = dropped(sidecar, defaults)

    assert jobs
    for job in jobs:
        assert job.status in (JobStatus.REJECTED, JobStatus.WAITING)
        assert job.errors or job.missing_image
        assert size_of(job) < LARGEST


def scenes(count: int) -> list[dict[str, Any]]:
    """As many scenes as a sidecar has room for, each with two images and a prompt."""
    room = (MAX_SIDECAR_BYTES - 100) // 60 - 100
    return [
        {
            "start": n * 10,
            "image_url": f"{n}.png",
            "end_image_url": f"{n}e.png",
            "prompt": WAVE * (room // 4),
        }
        for n in range(count)
    ]


def worst_end(job: Job, status: JobStatus) -> Job:
    """A sequence whose segments have all run, with all that its record may hold then."""
    assert job.sequence
    plan = job.sequence
    sound = Audio(
        key=f"_work/{'0' * 32}.flac",
        version_id="v" * 32,
        bucket="b" * 63,
        bytes=10**8,
        seconds=19.958333333333332,
        format="audio/flac",
        codec="flac",
    )
    noted = {"slice": sound, "status": JobStatus.UNCONFIRMED, "request_id": "r" * 36}
    filled = [
        Segment(**one.model_dump() | noted | {"job_id": f"{n:032}", "is_sent": True})
        for n, one in enumerate(plan.segments)
    ]
    plan = plan.model_copy(update={"segments": tuple(filled)})
    failed = a_job(
        JobStatus.REJECTED,
        errors=Errors(dropped({"fps": WAVE * 99, "scenes": MISSING})[0].errors).listed(),
    ).model_copy(update={"status": JobStatus.FAILED})
    ends = failures(plan, {f"{n:032}": failed for n in range(len(filled))})
    assert len(ends) == len(filled)
    output = output_key(job.name, job.job_id, ".mp4")
    video = Video(
        bucket="b" * 63,
        key=output,
        version_id="v" * 32,
        bytes=10**9,
        sha256="0" * 64,
        content_type="video/mp4",
        stable_keys=stable_keys(job.name, ".mp4", 20),
    )
    return job.model_copy(
        update={
            "status": status,
            "sequence": plan,
            "errors": Errors(ends * 9).listed() if status is JobStatus.FAILED else (),
            "video": video,
            "unused_sidecars": frozenset(f"{n}{job.name}" for n in range(9)),
            "history": tuple(Step(status=status, at=NOON) for _ in range(50)),
        }
    )


@pytest.mark.parametrize("fps", [24, 60])
def test_whatever_is_accepted_fits_into_its_record_to_the_end(fps: int) -> None:
    images = tuple(f"{n}{end}.png" for n in range(60) for end in ("", "e"))

    def job_of(count: int) -> Job:
        [job] = dropped({"scenes": scenes(count)}, {"fps": fps}, images=images)
        return job

    most = next(job for n in range(60, 0, -1) if (job := job_of(n)).status is JobStatus.READY)
    [refused] = dropped({"scenes": scenes(60)}, {"fps": fps}, images=images)

    assert len(json.dumps(METADATA, ensure_ascii=False).encode()) > MAX_BYTES * 0.98
    for status in (JobStatus.SUBMITTED, JobStatus.SUCCEEDED, JobStatus.FAILED):
        assert LARGEST * 0.6 < size_of(worst_end(most, status)) < LARGEST
    assert [error.code for error in refused.errors] == ["plan_too_large"]
    assert size_of(refused) < LARGEST


def test_of_the_many_spellings_of_a_sidecars_name_a_record_notes_a_few() -> None:
    bucket, store = MemoryBucket(), MemoryStore()
    intake = intake_of(bucket, store)
    cases = ["".join(letters) for letters in product(*zip("json", "JSON", strict=True))]
    found = [f"song.{middle}{case}" for middle in ("mp3.", "") for case in cases]
    bucket.put("song.mp3")
    for key in found[:16]:
        bucket.put(key, as_bytes({"prompt": "A stage"}))

    [job] = intake.take(Announcement("song.mp3", NOON))
    for key in found[16:]:
        bucket.put(key, as_bytes({"prompt": "A stage"}))
        intake.take(Announcement(key, NOON))

    noted = store.get(job.job_id)
    assert noted
    assert len(job.unused_sidecars) == len(noted.unused_sidecars) == 9


def test_a_record_that_notes_few_unused_sidecars_notes_more_up_to_its_limit() -> None:
    bucket, store = MemoryBucket(), MemoryStore()
    intake = intake_of(bucket, store)
    for key in ("song.mp3", "song.mp3.json"):
        bucket.put(key, as_bytes({"prompt": "A stage"}))
    [job] = intake.take(Announcement("song.mp3", NOON))
    cases = ["".join(letters) for letters in product(*zip("json", "JSON", strict=True))]
    for key in (f"song.{case}" for case in cases):
        bucket.put(key, as_bytes({"prompt": "A stage"}))
        intake.take(Announcement(key, NOON))

    noted = store.get(job.job_id)
    assert noted
    assert (len(job.unused_sidecars), len(noted.unused_sidecars)) == (0, 9)
