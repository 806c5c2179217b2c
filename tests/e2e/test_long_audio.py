"""Audio longer than one request: cut, generated in segments, joined to one video."""

from __future__ import annotations

import io
import itertools
import json
import uuid
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.support.local_stack import SMALL, eventually, looks, make_audio

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene

#: Three scenes of five seconds each, at few frames: a sequence that is made in seconds.
SECONDS, SCENE, FPS = 15.0, 5, 12


def a_song(phonoscene: Phonoscene, name: str, **fields: Any) -> list[str]:
    """Drop a song with three scenes, each with a prompt of its own; the prompts."""
    prompts = fields.pop("prompts", None) or [f"{name} scene {n} {uuid.uuid4()}" for n in range(3)]
    scenes = [{"start": SCENE * n, "prompt": one} for n, one in enumerate(prompts)]
    sidecar = {"video_size": SMALL, "fps": FPS, "scenes": scenes, **fields}
    phonoscene.put(f"{name}.json", json.dumps(sidecar).encode())
    phonoscene.put(f"{name}.mp3", make_audio("mp3", SECONDS))
    return prompts


def requests(phonoscene: Phonoscene, prompts: list[str]) -> list[int]:
    """How many requests fal has for each prompt."""
    return [len(phonoscene.requests(one)) for one in prompts]


def opened(video: bytes) -> Any:
    return av.open(io.BytesIO(video))


def packets(data: bytes) -> list[bytes]:
    """The encoded audio, packet by packet."""
    with opened(data) as container:
        return [bytes(one) for one in container.demux(audio=0) if one.size]


def lengths(video: bytes) -> tuple[int, float]:
    """Frames of the picture, and seconds of sound, by decoding both."""
    with opened(video) as container:
        frames = sum(1 for _ in container.decode(video=0))
    with opened(video) as container:
        sound = list(container.decode(audio=0))
    return frames, sum(one.samples for one in sound) / sound[0].sample_rate


@pytest.mark.timeout(400)
def test_a_minute_of_speech_becomes_one_video_in_whatever_encoding(phonoscene: Phonoscene) -> None:
    suffixes = ("wav", "mp3", "opus")
    prompts = {one: phonoscene.drop(f"long/{one}", suffix=one, seconds=57.0) for one in suffixes}

    for suffix, prompt in prompts.items():
        job = phonoscene.take(f"long/{suffix}", seconds=300)
        assert job["status"] == "SUCCEEDED", job
        planned = len(job["sequence"]["segments"])
        assert len(phonoscene.requests(prompt)) == planned == 4
        video = phonoscene.video(job)
        frames, sound = lengths(video)
        assert frames == job["estimate"]["frames"]
        assert 57.0 <= frames / 24 <= 57.0 + 7 / 24 + 0.07
        assert sound == pytest.approx(57.0, abs=0.08)
        source = make_audio(suffix, 57.0)
        assert (packets(video) == packets(source)) is (suffix == "mp3")


def test_a_song_is_made_of_its_scenes_and_its_receipt_lists_the_segments(
    phonoscene: Phonoscene,
) -> None:
    prompts = a_song(phonoscene, "long/song")

    job = phonoscene.take("long/song")

    assert job["status"] == "SUCCEEDED", job
    assert requests(phonoscene, prompts) == [1, 1, 1]
    assert eventually(lambda: phonoscene.receipt("long/song").get("status") == "SUCCEEDED")
    receipt = phonoscene.receipt("long/song")
    assert [one["status"] for one in receipt["segments"]] == ["SUCCEEDED"] * 3
    assert [round(one["start"]) for one in receipt["segments"]] == [0, 5, 10]
    assert receipt["notes"] == []
    assert [receipt["video"][side] for side in ("width", "height")] == [64, 64]
    assert receipt["video"]["stable_keys"] == ["long/song.mp4"]
    assert "long/song.mp4" in phonoscene.versions("long/song.mp4")
    assert phonoscene.versions("_segments/long") == []
    states = [one["state"] for one in phonoscene.receipts("long/song")]
    assert any("of 3 segments" in one for one in states)


def test_one_scene_changed_is_one_request_and_a_new_video(phonoscene: Phonoscene) -> None:
    prompts = a_song(phonoscene, "long/edit")
    first = phonoscene.take("long/edit")

    changed = a_song(phonoscene, "long/edit", prompts=[prompts[0], "sun" + prompts[1], prompts[2]])
    second = phonoscene.take("long/edit", once=lambda job: job["job_id"] != first["job_id"])

    assert second["status"] == "SUCCEEDED", second
    assert requests(phonoscene, [prompts[0], prompts[2], changed[1]]) == [1, 1, 1]
    assert first["video"]["key"] != second["video"]["key"]


def test_a_chain_begins_each_segment_with_the_last_frame_before(phonoscene: Phonoscene) -> None:
    prompts = a_song(phonoscene, "long/chain", continuity="last_frame")

    job = phonoscene.take("long/chain")

    assert job["status"] == "SUCCEEDED", job
    [first], *others = (phonoscene.requests(one) for one in prompts)
    assert "image_url" not in first["arguments"]
    assert all("/_work/frames/" in one["arguments"]["image_url"] for [one] in others)
    times = [phonoscene.requests(one)[0] for one in prompts]
    assert all(
        one["completed_at"] <= after["submitted_at"] for one, after in itertools.pairwise(times)
    )


@pytest.mark.parametrize(
    ("kind", "suffix"), [("VP9 (.webm)", "webm"), ("PRORES4444 (.mov)", "mov")]
)
def test_other_containers_are_joined_as_well(
    phonoscene: Phonoscene, kind: str, suffix: str
) -> None:
    a_song(phonoscene, f"long/{suffix}", video_output_type=kind)

    job = phonoscene.take(f"long/{suffix}")

    assert job["status"] == "SUCCEEDED", job
    frames, sound = lengths(phonoscene.video(job))
    assert frames == job["estimate"]["frames"]
    assert sound == pytest.approx(SECONDS, abs=0.08)


def test_a_segment_that_fails_is_named_and_a_retry_pays_for_it_alone(
    phonoscene: Phonoscene,
) -> None:
    prompts = [f"fails {n} {uuid.uuid4()}" for n in range(3)]
    phonoscene.fault(prompts[1], "render", "error", type="content_policy_violation")
    a_song(phonoscene, "long/fails", prompts=prompts)
    first = phonoscene.take("long/fails")

    assert first["status"] == "FAILED"
    [error] = first["errors"]
    assert (error["code"], error["field"]) == ("segment_failed", "segment 2")
    a_song(phonoscene, "long/fails", prompts=prompts)
    second = phonoscene.take("long/fails", once=lambda job: job["job_id"] != first["job_id"])

    assert second["status"] == "SUCCEEDED", second
    assert requests(phonoscene, prompts) == [1, 2, 1]


def test_a_cancellation_reaches_every_segment(phonoscene: Phonoscene) -> None:
    prompts = [f"stopped {n} {uuid.uuid4()}" for n in range(3)]
    for one in prompts:
        phonoscene.fault(one, "webhook", "never", times=None)
    a_song(phonoscene, "long/stopped", prompts=prompts)
    phonoscene.take(
        "long/stopped",
        until={"SUBMITTED"},
        once=lambda job: all("job_id" in one for one in job["sequence"]["segments"]),
    )
    for _ in looks(60):
        job = phonoscene.take("long/stopped", until={"SUBMITTED", "GENERATED"})
        if sum(requests(phonoscene, prompts)) == 3:
            break

    phonoscene.send("DropsQueueUrl", {"cancel": job["job_id"]})

    stopped = phonoscene.take("long/stopped", until={"CANCELLED", "SUCCEEDED"})
    assert stopped["status"] == "CANCELLED"
    segments = phonoscene.jobs.takes("_segments/long/stopped")
    assert eventually(
        lambda: all(
            one["status"] == "CANCELLED" for one in phonoscene.jobs.takes("_segments/long/stopped")
        )
    )
    assert len(segments) == 3
    assert eventually(
        lambda: (
            [one["status"] for one in phonoscene.receipt("long/stopped")["segments"]]
            == ["CANCELLED"] * 3
        )
    )
