"""The main job, from a dropped file to a stored video, on the deployed stack."""

from __future__ import annotations

import io
import itertools
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.support import schemas
from tests.support.local_stack import (
    ENCODINGS,
    PATIENCE,
    eventually,
    make_audio,
    make_picture,
)

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene

ORDERS = ("audio first", "sidecar first")
STRANGE = (
    "with space",
    "ünï cödé 音",
    "plus+plus",
    "100%25 %",
    "a&b=c?d#e",
    "quote'\"",
    "deep/er/path",
    "dots..in.name",
)
#: name in the bucket, suffix, which half comes first
DROPS = {
    **{f"suffix/{order[:5]}/{s}": (s, order) for s, order in itertools.product(ENCODINGS, ORDERS)},
    **{f"strange/{name}": ("mp3", ORDERS[n % 2]) for n, name in enumerate(STRANGE)},
}


@pytest.fixture(scope="module")
def dropped(phonoscene: Phonoscene, lost: dict[str, str], refused: str) -> dict[str, str]:  # noqa: ARG001 - test_ticks.py waits for these
    """All of DROPS at once, so that their waits overlap; the prompt of each."""
    prompts = {}
    for name, (suffix, order) in DROPS.items():
        if order == "audio first":
            phonoscene.put(f"{name}.{suffix}", make_audio(suffix))
            prompts[name] = phonoscene.sidecar(f"{name}.json")
        else:
            prompts[name] = phonoscene.sidecar(f"{name}.{suffix}.json")
            phonoscene.put(f"{name}.{suffix}", make_audio(suffix))
    return prompts


@pytest.mark.parametrize("name", DROPS)
def test_a_drop_of_any_kind_in_any_order_becomes_one_paid_video(
    phonoscene: Phonoscene, dropped: dict[str, str], name: str
) -> None:
    job = phonoscene.take(name)

    assert job["status"] == "SUCCEEDED"
    assert len(phonoscene.requests(dropped[name])) == 1
    assert phonoscene.versions(f"{name}/{job['job_id']}.mp4") == [f"{name}/{job['job_id']}.mp4"]


def test_the_video_is_what_the_defaults_promise(phonoscene: Phonoscene, name: str) -> None:
    phonoscene.put(f"{name}.json", b'{"prompt": "a sidecar without anything else"}')
    phonoscene.put(f"{name}.wav", make_audio("wav"))

    job = phonoscene.take(name)

    with av.open(io.BytesIO(phonoscene.video(job)), "r") as video:
        picture, sound = video.streams.video[0], video.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height) == (1024, 576)
        assert video.duration is not None
        assert abs(video.duration / av.time_base - 1.0) < 0.1


def test_the_record_and_the_manifest_say_where_the_video_came_from(
    phonoscene: Phonoscene, name: str
) -> None:
    prompt = phonoscene.drop(name, seed=17454220438242315174)

    job = phonoscene.take(name)

    at = {"Bucket": job["video"]["bucket"], "Key": f"{name}/{job['job_id']}.json"}
    manifest = json.load(phonoscene.s3.get_object(**at)["Body"])
    assert [step["status"] for step in job["history"]] == [
        "READY",
        "SUBMITTING",
        "SUBMITTED",
        "GENERATED",
        "SUCCEEDED",
    ]
    schemas.check(manifest, schemas.MANIFEST)
    assert manifest["seed"] == 17454220438242315174
    assert manifest["arguments"]["prompt"] == prompt
    assert manifest["video"]["sha256"] == job["video"]["sha256"]
    assert manifest["request_id"] == phonoscene.requests(prompt)[0]["request_id"]


@pytest.mark.parametrize(
    ("kind", "suffix", "container"),
    [
        ("VP9 (.webm)", ".webm", "matroska,webm"),
        ("PRORES4444 (.mov)", ".mov", "mov,mp4,m4a,3gp,3g2,mj2"),
        ("GIF (.gif)", ".gif", "gif"),
    ],
)
def test_other_containers_are_stored_under_their_own_suffix(
    phonoscene: Phonoscene, name: str, kind: str, suffix: str, container: str
) -> None:
    phonoscene.drop(name, video_output_type=kind, video_size="square")

    job = phonoscene.take(name)

    assert job["status"] == "SUCCEEDED"
    assert job["video"]["key"].endswith(suffix)
    with av.open(io.BytesIO(phonoscene.video(job))) as video:
        assert video.format.name == container


def test_the_same_s3_event_ten_times_is_one_submission(phonoscene: Phonoscene, name: str) -> None:
    prompt = phonoscene.drop(name)
    event = _created(phonoscene, f"{name}.wav")

    for _ in range(10):
        phonoscene.sqs.send_message(
            QueueUrl=phonoscene.endpoints.drops_queue_url, MessageBody=json.dumps(event)
        )

    assert phonoscene.take(name)["status"] == "SUCCEEDED"
    assert len(phonoscene.jobs.takes(name)) == 1
    assert len(phonoscene.requests(prompt)) == 1


def test_dropping_both_halves_again_is_one_new_take(phonoscene: Phonoscene, name: str) -> None:
    first = phonoscene.drop(name)
    phonoscene.take(name)

    second = phonoscene.drop(name)
    assert eventually(lambda: len(phonoscene.jobs.takes(name)) == 2)
    phonoscene.take(name)

    assert [len(phonoscene.requests(prompt)) for prompt in (first, second)] == [1, 1]
    assert [job["status"] for job in phonoscene.jobs.takes(name)] == ["SUCCEEDED"] * 2


def test_a_bad_sidecar_is_rejected_with_all_its_errors_and_nothing_is_spent(
    phonoscene: Phonoscene, name: str
) -> None:
    prompt = phonoscene.drop(name, fps=99, num_frame=5, scheduler="best", video_size={"width": 0})

    job = phonoscene.take(name)

    assert job["status"] == "REJECTED"
    assert {(error["field"], error["code"]) for error in job["errors"]} == {
        ("fps", "out_of_range"),
        ("num_frame", "unknown_field"),
        ("scheduler", "not_allowed"),
        ("video_size.width", "out_of_range"),
        ("video_size.height", "missing_field"),
    }
    assert phonoscene.requests(prompt) == []


def test_a_half_waits_visibly_until_the_other_comes(phonoscene: Phonoscene, name: str) -> None:
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    waiting = phonoscene.take(name, until={"WAITING"})

    phonoscene.sidecar(f"{name}.json")
    job = phonoscene.take(name)

    assert waiting["audio"]["key"] == f"{name}.wav"
    assert job["status"] == "SUCCEEDED"
    assert [take["status"] for take in phonoscene.jobs.takes(name)] == ["SUCCEEDED"]


def test_folder_defaults_and_an_image_beside_the_sidecar_reach_fal(
    phonoscene: Phonoscene, name: str
) -> None:
    phonoscene.put(
        f"{name}/_defaults.json", b'{"fps": 12, "video_size": "square", "camera_lora": "static"}'
    )
    phonoscene.put(f"{name}/cover.png", make_picture())
    prompt = phonoscene.drop(f"{name}/song", video_size="auto", image_url="cover.png", fps=25)

    job = phonoscene.take(f"{name}/song")

    assert job["status"] == "SUCCEEDED"
    arguments = phonoscene.requests(prompt)[0]["arguments"]
    assert (arguments["fps"], arguments["camera_lora"], arguments["video_size"]) == (
        25,
        "static",
        "auto",
    )
    assert "cover.png" in arguments["image_url"]
    assert (job["estimate"]["width"], job["estimate"]["height"]) == (320, 192)


def test_cancelling_frees_the_place_and_stores_nothing(phonoscene: Phonoscene, name: str) -> None:
    prompt = phonoscene.drop(name, ("render", "delay", {"seconds": 5}))
    job = phonoscene.take(name, until={"SUBMITTED"})

    phonoscene.sqs.send_message(
        QueueUrl=phonoscene.endpoints.drops_queue_url,
        MessageBody=json.dumps({"cancel": job["job_id"]}),
        DelaySeconds=0,
    )

    assert phonoscene.take(name)["status"] == "CANCELLED"
    time.sleep(0.5)  # the record is written before fal is asked
    assert phonoscene.requests(prompt)[0]["reads"]["cancel"] == 1


def test_a_sidecar_that_lists_takes_makes_a_video_of_each(
    phonoscene: Phonoscene, name: str
) -> None:
    takes = [{"prompt": f"take {n}", "video_size": "square", "seed": n} for n in range(3)]
    phonoscene.put(f"{name}.json", json.dumps(takes).encode())
    phonoscene.put(f"{name}.wav", make_audio("wav"))

    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        jobs = phonoscene.jobs.takes(name)
        if [job["status"] for job in jobs] == ["SUCCEEDED"] * 3:
            break
        time.sleep(0.2)

    assert sorted(job["seed"] for job in jobs) == [0, 1, 2]
    assert {job["status"] for job in jobs} == {"SUCCEEDED"}


def _created(phonoscene: Phonoscene, key: str) -> dict[str, Any]:
    """The event EventBridge sends for an object, dated now."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": phonoscene.endpoints.region,
        "resources": [f"arn:aws:s3:::{phonoscene.endpoints.drop_bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": phonoscene.endpoints.drop_bucket},
            "object": {"key": key, "size": 1, "etag": "0", "sequencer": "0"},
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "reason": "PutObject",
        },
    }
