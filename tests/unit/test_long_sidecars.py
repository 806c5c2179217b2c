"""Sidecars as long as they may be: what is documented is taken; what is hostile costs little."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.drops.metadata import MAX_BYTES
from phonoscene.drops.sidecar_files import MAX_KEY_LENGTH, MAX_KEYS, MAX_SIDECAR_BYTES, MAX_TAKES
from phonoscene.drops.validation_errors import MAX_ERRORS
from phonoscene.jobs import JobStatus
from phonoscene.sequences.scenes import MAX_SCENES
from phonoscene.workflow.intake import Announcement
from tests.support.jobs import NOON
from tests.support.record_sizes import LARGEST, size_of
from tests.support.template import ROOT
from tests.unit.explorer import RULES, intake_of
from tests.unit.fakes import MemoryBucket, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phonoscene.jobs import Job

#: Seconds of CPU time for a drop. Where it grows with the square of something, it takes minutes.
SLOW = 5
MIB = MAX_SIDECAR_BYTES
FOLDER = "d/" * 400
LONG = replace(
    RULES,
    max_sequence_seconds=600,
    max_job_cost_usd=Decimal(999),
    daily_budget_usd=Decimal(999),
)
KEYS = {f"video_qualit{n}": n for n in range(MAX_KEYS - 5)}
SCENES = [{"start": n, **KEYS} for n in range(60)]


def as_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def dropped(
    sidecar: bytes, defaults: Mapping[int, bytes] = {}, *, seconds: float = 600
) -> list[Job]:
    """The jobs of a sidecar, beside audio of that length, under defaults by their depth."""
    bucket, store = MemoryBucket(), MemoryStore()
    bucket.seconds = seconds
    for depth, raw in defaults.items():
        bucket.put("d/" * depth + "_defaults.json", raw)
    bucket.put(FOLDER + "song.mp3")
    bucket.put(FOLDER + "song.json", sidecar)
    return intake_of(bucket, store, LONG).take(Announcement(FOLDER + "song.json", NOON))


HOSTILE = {
    "keys": as_bytes({f"prompt{n}": 0 for n in range(60_000)}),
    "keys of takes": as_bytes([{f"prompt{n}": n for n in range(3000)}] * 20),
    "as many keys as are read": as_bytes([KEYS] * 20),
    "metadata": as_bytes({"prompt": "x", "metadata": {f"{n}": n for n in range(60_000)}}),
    "metadata of takes": as_bytes([{"metadata": {f" {n}": n for n in range(90)}}] * 20),
    "sizes": as_bytes({"video_size": {f"width{n}": n for n in range(50_000)}}),
    "scenes": as_bytes({"scenes": [{}] * 300_000}),
    "keys of scenes": as_bytes([{"scenes": SCENES[:25]}] * 20),
    "starts": as_bytes({"scenes": [{"start": "9" * 9000}] * 60}),
    "takes": as_bytes([{}] * 300_000),
    "lists": b"[" * (MIB // 2) + b"]" * (MIB // 2),
    "objects": b'{"a":' * (MIB // 6) + b"1" + b"}" * (MIB // 6),
    "lists in a field": b'{"seed":' + b"[" * 400_000 + b"]" * 400_000 + b"}",
    "a text": as_bytes({"prompt": "x" * (MIB - 20)}),
    "a text to escape": as_bytes({"prompt": "\u0001" * (MIB // 7)}),
    "an image": as_bytes({"prompt": "x", "image_url": "@:" * (MIB // 2 - 50) + ".png"}),
    "an encoded image": as_bytes({"prompt": "x", "image_url": "%2525" * (MIB // 5 - 50)}),
    "a key": as_bytes({"https://" + "@" * (MIB - 30): 1}),
    "a fraction": b'{"prompt":"x","fps":0.' + b"1" * (MIB - 40) + b"}",
    "an exponent": b'{"prompt":"x","fps":1e' + b"9" * (MIB - 40) + b"}",
    "digits": b'{"prompt":"x","seed":' + b"9" * (MIB - 40) + b"}",
    "encoded texts of takes": as_bytes(
        [{f"prompt{n}": "%2525" * 390 for n in range(25)}] * MAX_TAKES
    ),
    "numbers": as_bytes({"seed": [10**999] * 1000}),
    "typographic quotes": b'{"prompt":"' + "“".encode() * (MIB // 3 - 5) + b'\\"',
    "a key twice": b"{" + b'"a":1,' * 170_000 + b'"a":1}',
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("is_sidecar", [True, False], ids=["sidecar", "defaults of 20 takes"])
def test_a_hostile_file_is_rejected_soon_with_few_errors(raw: bytes, *, is_sidecar: bool) -> None:
    assert len(raw) <= MIB
    takes = as_bytes([{"negative_prompt": "x"}] * MAX_TAKES)
    began = time.process_time()

    jobs = dropped(raw) if is_sidecar else dropped(takes, {1: raw})

    assert time.process_time() - began < SLOW
    assert jobs
    for job in jobs:
        assert job.status is JobStatus.REJECTED
        assert 1 <= len(job.errors) <= MAX_ERRORS + 1
        assert all(len(error.message) < 2000 for error in job.errors)
        assert size_of(job) < LARGEST


@pytest.mark.parametrize("name", ["prompt{}x{}", "metadata"])
def test_defaults_in_hundreds_of_folders_are_bounded_together(name: str) -> None:
    def values(depth: int) -> Any:
        keys = {name.format(depth, n): n for n in range(90)}
        return keys if name != "metadata" else {"metadata": {f"{depth}_{n}": n for n in range(90)}}

    found = {depth: as_bytes(values(depth)) for depth in range(400)}
    began = time.process_time()

    jobs = dropped(as_bytes([{"prompt": "x"}] * MAX_TAKES), found)

    assert time.process_time() - began < SLOW
    assert len(jobs) == MAX_TAKES
    assert all("sidecar_too_long" in {error.code for error in job.errors} for job in jobs)


def test_defaults_that_cannot_be_read_count_as_well() -> None:
    """Each is a megabyte, and takes a tenth of a second to parse."""
    ones = b"[" + b"1," * (MIB // 2 - 10) + b"1]"
    began = time.process_time()

    [job] = dropped(as_bytes({"prompt": "x"}), dict.fromkeys(range(400), ones))

    assert time.process_time() - began < SLOW
    assert [error.code for error in job.errors] == ["not_an_object", "sidecar_too_long"]


def test_defaults_are_as_long_together_as_a_sidecar_may_be() -> None:
    half = as_bytes({"prompt": "x"}).ljust(MIB // 2)

    [fine] = dropped(b"{}", {1: half, 2: half})
    [refused] = dropped(b"{}", {0: as_bytes({"fps": 12}), 1: half, 2: half + b" "})

    assert fine.status is JobStatus.READY
    assert [error.code for error in refused.errors] == ["sidecar_too_long"]
    assert refused.errors[0].source == "d/_defaults.json"


def test_of_many_wrong_scenes_the_first_are_reported_and_the_rest_is_mentioned() -> None:
    [job] = dropped(as_bytes({"prompt": "x", "scenes": SCENES}))

    messages = [error.message for error in job.errors]
    assert any("scenes[1] and later scenes are not checked" in message for message in messages)


# The largest that is documented

WAVE = "\U0001f30a"
METADATA = {f"{n:040}": WAVE * 159 for n in range(48)}
FULL = {"prompt": WAVE * 5000, "negative_prompt": WAVE * 5000, "metadata": METADATA}


@pytest.mark.parametrize("seconds", [5, 600])
def test_the_largest_takes_that_are_documented_are_jobs_whose_records_fit(seconds: float) -> None:
    takes = [FULL | {"seed": n} for n in range(14)]
    assert MIB * 0.9 < len(as_bytes(takes)) <= MIB
    assert len(as_bytes(METADATA)) > MAX_BYTES * 0.98

    jobs = dropped(as_bytes(takes), seconds=seconds)

    assert len(jobs) == 14
    for job in jobs:
        assert job.status is JobStatus.READY
        assert (job.arguments["prompt"], job.metadata) == (WAVE * 5000, METADATA)
        assert size_of(job.model_copy(update={"prompt_used": WAVE * 5000})) < LARGEST


def test_scenes_that_no_record_can_keep_are_rejected_before_they_are_paid() -> None:
    scenes = [{"start": n * 10, "prompt": WAVE * 4000} for n in range(MAX_SCENES)]
    raw = as_bytes(FULL | {"scenes": scenes})
    assert MIB * 0.9 < len(raw) <= MIB

    [job] = dropped(raw)

    assert [error.code for error in job.errors] == ["plan_too_large"]
    assert "Use fewer scenes, shorter prompts" in job.errors[0].message
    assert size_of(job) < LARGEST


def test_the_reference_names_the_limits() -> None:
    page = (ROOT / "docs" / "reference.md").read_text()

    assert f"at most {MIB:,} bytes" in page
    assert f"at most {MAX_KEYS} keys, of at most {MAX_KEY_LENGTH:,} characters" in page
