"""What a sidecar may say of scenes, and what is wrong with them, in words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from phonoscene.drops.pairing import pairings
from phonoscene.drops.sidecar_files import SidecarFile
from phonoscene.errors import DropRefused
from phonoscene.fal import requests
from phonoscene.sequences.scenes import (
    MAX_SCENES,
    Scenes,
    named_images,
    read_scenes,
    seconds_of,
)
from phonoscene.workflow.examination import ExaminedTake, Examiner
from phonoscene.workflow.finding import DropFiles, find_drop
from tests.unit.explorer import RULES
from tests.unit.fakes import MemoryBucket, MemoryProber

LONG = replace(RULES, max_sequence_seconds=600)


def scenes_of(**values: Any) -> Scenes:
    return read_scenes([SidecarFile("song.json", {"prompt": "a stage", **values})])


def refused(**values: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(DropRefused) as refusal:
        scenes_of(**values)
    return [(error.code, error.field) for error in refusal.value.errors]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0.0),
        (42.5, 42.5),
        ("0:42.5", 42.5),
        ("1:00", 60.0),
        ("10:05.25", 605.25),
        ("1:02:03", 3723.0),
        ("0:7", 7.0),
    ],
)
def test_a_time_is_seconds_or_minutes_and_seconds(text: object, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        -1,
        True,
        None,
        "",
        "42",
        "1:2:3:4",
        "a:b",
        [],
        float("inf"),
        10**400,
        float("nan"),
        "1:-5",
        "0:99",
    ],
)
def test_what_is_no_time_is_none(text: object) -> None:
    assert seconds_of(text) is None


def test_a_sidecar_without_scenes_is_one_scene() -> None:
    assert scenes_of() == Scenes()


def test_a_scene_sets_what_differs_from_the_sidecar() -> None:
    found = scenes_of(
        fps=25,
        scenes=[{"start": 0}, {"start": "0:42.5", "prompt": "rain", "camera_lora": "dolly_in"}],
    )

    first, second = found.listed
    assert (first.start, second.start) == (0, 42.5)
    assert first.sidecar.prompt == "a stage"
    assert (second.sidecar.prompt, second.sidecar.camera_lora) == ("rain", "dolly_in")
    assert second.sidecar.fps == 25
    assert second.fields == {"prompt": "rain", "camera_lora": "dolly_in"}


def test_the_nearest_file_with_scenes_counts_and_defaults_apply_to_them() -> None:
    own = SidecarFile("a/song.json", {"scenes": [{"start": 0, "prompt": "own"}]})
    defaults = SidecarFile(
        "a/_defaults.json",
        {"continuity": "last_frame", "scenes": [{"start": 0}], "scheduler": "ltx2"},
    )

    found = read_scenes([own, defaults])

    assert found.is_chained
    assert [scene.sidecar.prompt for scene in found.listed] == ["own"]
    assert found.listed[0].sidecar.scheduler == "ltx2"


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({"continuity": "smooth"}, [("not_allowed", "continuity")]),
        ({"scenes": {}}, [("wrong_type", "scenes")]),
        ({"scenes": []}, [("wrong_number_of_scenes", "scenes")]),
        ({"scenes": [{"start": n} for n in range(61)]}, [("wrong_number_of_scenes", "scenes")]),
        ({"scenes": ["rain"]}, [("wrong_type", "scenes[0]")]),
        ({"scenes": [{}]}, [("not_allowed", "scenes[0].start")]),
        ({"scenes": [{"start": 1}]}, [("not_allowed", "scenes[0].start")]),
        (
            {"scenes": [{"start": 0}, {"start": "soon"}]},
            [("not_allowed", "scenes[1].start")],
        ),
        (
            {"scenes": [{"start": 0}, {"start": 9}, {"start": 5}]},
            [("out_of_range", "scenes[2].start")],
        ),
        (
            {"scenes": [{"start": 0, "fps": 30}, {"start": 9, "seed": "x"}, {"start": 5}]},
            [
                ("not_allowed", "scenes[0].fps"),
                ("wrong_type", "scenes[1].seed"),
                ("out_of_range", "scenes[2].start"),
            ],
        ),
        (
            {"scenes": [{"start": 8}, {"start": 5}, {"start": "soon"}, {"start": 2}, "rain"]},
            [
                ("not_allowed", "scenes[0].start"),
                ("not_allowed", "scenes[2].start"),
                ("wrong_type", "scenes[4]"),
            ],
        ),
        (
            {"scenes": [{"start": 0}, {"start": 5, "fps": 30, "prompt": ""}]},
            [("not_allowed", "scenes[1].fps"), ("wrong_length", "scenes[1].prompt")],
        ),
        (
            {"scenes": [{"start": 0, "metadata": {}, "continuity": "cut", "scenes": []}]},
            [
                ("not_allowed", "scenes[0].continuity"),
                ("not_allowed", "scenes[0].metadata"),
                ("not_allowed", "scenes[0].scenes"),
            ],
        ),
        (
            {"scenes": [{"start": 0, "promt": "x"}]},
            [("unknown_field", "scenes[0].promt")],
        ),
        (
            {"scenes": [{"start": 0, "seed": "x"}, {"start": 5, "image_url": "a.txt"}]},
            [("wrong_type", "scenes[0].seed"), ("not_allowed", "scenes[1].image_url")],
        ),
    ],
)
def test_every_error_of_every_scene_is_reported_with_its_place(
    values: dict[str, Any], errors: list[tuple[str, str | None]]
) -> None:
    assert refused(**values) == errors


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fps", 25),
        ("video_size", "square"),
        ("video_output_type", "VP9 (.webm)"),
        ("video_quality", "low"),
        ("video_write_mode", "small"),
        ("match_audio_length", True),
        ("num_frames", 121),
        ("metadata", {"order": "7"}),
        ("continuity", "cut"),
        ("scenes", []),
    ],
)
def test_a_scene_may_not_set_what_is_of_the_whole_video(field: str, value: object) -> None:
    scene = {"start": 0, field: value}

    assert refused(scenes=[scene]) == [("not_allowed", f"scenes[0].{field}")]


def test_a_scene_may_say_what_changes_nothing() -> None:
    [scene] = scenes_of(sync_mode=False, scenes=[{"start": 0, "sync_mode": False}]).listed

    assert scene.fields == {}
    assert refused(scenes=[{"start": 0, "sync_mode": True}]) == [
        ("not_allowed", "scenes[0].sync_mode")
    ]


def examined(
    seconds: float, sidecar: object, rules: Any = LONG, defaults: object = None, **images: Any
) -> ExaminedTake:
    bucket = MemoryBucket()
    bucket.put("_defaults.json", json.dumps(defaults or {}).encode())
    bucket.seconds = seconds
    bucket.put("song.mp3", b"sound")
    bucket.put("song.json", json.dumps(sidecar).encode())
    for key, size in images.items():
        bucket.put(f"{key}.png", b"picture")
        bucket.images[f"{key}.png"] = size
    [pairing] = pairings("song.mp3", bucket.keys_under("song"))
    drop = find_drop(bucket, pairing)
    assert isinstance(drop, DropFiles)
    [take] = Examiner(bucket, rules, MemoryProber(bucket)).examine(drop)
    return take


def codes(take: ExaminedTake) -> list[tuple[str, str | None]]:
    return [(error.code, error.field) for error in take.errors]


def test_audio_longer_than_a_request_is_planned_and_priced_as_a_whole() -> None:
    take = examined(57, {"prompt": "a talk", "video_size": "square"})

    assert take.errors == []
    sequence = take.fields["sequence"]
    assert len(sequence.segments) == 4
    assert take.fields["estimate"].frames == sum(one.frames for one in sequence.segments)


@pytest.mark.parametrize("seconds", [1, 20, 20.04, 20.25])
def test_audio_that_one_request_can_take_is_no_sequence(seconds: float) -> None:
    take = examined(seconds, {"prompt": "a talk"})

    assert take.errors == []
    assert "sequence" not in take.fields


def test_a_stack_that_rejects_long_audio_says_so() -> None:
    assert codes(examined(57, {"prompt": "a"}, RULES)) == [("audio_too_long", "audio")]
    assert codes(examined(9, {"prompt": "a", "scenes": [{"start": 0}]}, RULES)) == [
        ("not_allowed", "scenes")
    ]


def test_only_audio_that_is_sent_as_one_file_may_be_too_large_to_upload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "LARGEST_UPLOAD", 4)
    uploads = replace(LONG, uploads=True)
    small = {"prompt": "a talk", "video_size": "square"}

    assert codes(examined(20, small, uploads)) == [("too_large_to_upload", None)]
    assert codes(examined(57, small, uploads)) == []


@pytest.mark.parametrize(
    ("seconds", "sidecar", "errors"),
    [
        (600.02, {}, []),
        (600.25, {}, []),
        (600.26, {}, [("audio_too_long", "audio")]),
        (601, {}, [("audio_too_long", "audio")]),
        (57, {"video_size": "square_hd", "fps": 60}, [("cost_too_high", "video_size")]),
        (57, {"video_output_type": "GIF (.gif)"}, [("not_allowed", "video_output_type")]),
        (
            57,
            {"match_audio_length": False, "scenes": [{"start": 0}]},
            [("not_allowed", "match_audio_length")],
        ),
        (57, {"scenes": [{"start": 0}, {"start": 1}]}, [("scene_too_short", "scenes[0].start")]),
        (57, {"scenes": [{"start": 0}, {"start": 56}]}, [("scene_too_short", "scenes[1].start")]),
        (57, {"scenes": [{"start": 0}, {"start": 90}]}, [("scene_too_short", "scenes[1].start")]),
        (
            57,
            {"scenes": [{"start": 0}, {"start": 20, "image_url": "gone.png"}]},
            [("image_not_found", "scenes[1].image_url")],
        ),
        (
            57,
            {"seed": "x", "scenes": [{"start": 0}, {"start": 5, "fps": 1}]},
            [("not_allowed", "scenes[1].fps"), ("wrong_type", "seed")],
        ),
    ],
)
def test_what_cannot_be_a_sequence_is_refused_by_field(
    seconds: float, sidecar: dict[str, Any], errors: list[tuple[str, str | None]]
) -> None:
    small = {"prompt": "a", "video_size": {"width": 64, "height": 64}}
    assert codes(examined(seconds, small | sidecar)) == errors


GIF = {"video_output_type": "GIF (.gif)"}
FRAMES = {"match_audio_length": False, "num_frames": 481}
PLAN = {"scenes": [{"start": 8 * n, "prompt": "a" * 4999} for n in range(60)]}
COVER = {"image_url": "cover.png", "video_size": "auto"}


@pytest.mark.parametrize(
    ("seconds", "sidecar", "defaults", "code", "source"),
    [
        (57, GIF, {}, "not_allowed", "song.json"),
        (57, {}, GIF, "not_allowed", "_defaults.json"),
        (5, FRAMES, {}, "too_many_frames", "song.json"),
        (5, {}, FRAMES, "too_many_frames", "_defaults.json"),
        (601, {}, {}, "audio_too_long", "song.mp3"),
        (57, {"video_size": "square_hd", "fps": 60}, {}, "cost_too_high", "song.json"),
        (57, {"fps": 60}, {}, "cost_too_high", None),  # no file sets video_size
        (57, {"scenes": [{"start": 0}]}, FRAMES, "not_allowed", "_defaults.json"),
        (480, PLAN, {}, "plan_too_large", "song.json"),
        (480, {}, PLAN, "plan_too_large", "_defaults.json"),
        (5, COVER, {}, "image_too_large", "cover.png"),
    ],
)
def test_an_error_names_the_file_to_correct(
    seconds: float, sidecar: Any, defaults: Any, code: str, source: str | None
) -> None:
    rules = replace(LONG, max_frames=361)
    cover = (14_143, 9)
    found = examined(seconds, {"prompt": "a", **sidecar}, rules, defaults, cover=cover).errors

    assert (code, source) in [(error.code, error.source) for error in found]


def test_every_scene_that_begins_at_the_end_of_the_audio_or_after_it_is_reported() -> None:
    starts = [0, "0:10", 33, "0:50", 70.0]
    scenes = [{"start": start} for start in starts]

    found = examined(33, {"prompt": "a", "video_size": "square", "scenes": scenes}).errors

    assert [(error.field, error.value, error.allowed) for error in found] == [
        (f"scenes[{number}].start", value, "before the end of the audio, 33.00 s")
        for number, value in ((2, "33"), (3, '"0:50"'), (4, "70.0"))
    ]
    assert all("at or after the end of the audio" in error.message for error in found)


def test_an_error_of_a_start_shows_it_as_it_was_written() -> None:
    with pytest.raises(DropRefused) as caught:
        scenes_of(scenes=[{"start": 0}, {"start": "0:20"}, {"start": 10}, {"start": "0:05"}])

    assert [error.value for error in caught.value.errors] == ["10", '"0:05"']


def test_prores_that_no_disk_could_join_is_refused_before_it_is_paid() -> None:
    prores = {"prompt": "a", "video_output_type": "PRORES4444 (.mov)"}
    whole = replace(LONG, max_job_cost_usd=Decimal(99), daily_budget_usd=Decimal(99))

    [error] = examined(600, prores | {"fps": 24}, whole).errors
    found = re.fullmatch(r"at most (\d+) s of audio at 1024 x 576", error.allowed or "")
    assert (error.code, error.field, error.value) == (
        "sequence_too_large",
        "video_output_type",
        prores["video_output_type"],
    )
    assert found
    assert codes(examined(int(found[1]), prores | {"fps": 24}, whole)) == []
    assert codes(examined(600, prores | {"fps": 24, "video_size": "square"}, whole)) == []


@pytest.mark.parametrize("seconds", [9, 57])
def test_scenes_that_cannot_be_read_leave_nothing_to_price(seconds: float) -> None:
    take = examined(seconds, {"prompt": "a", "scenes": [{"start": 1, "fps": 9}, 3]})

    assert take.errors
    assert take.fields.get("sequence") is None
    assert take.fields["estimate"] is None


def test_a_drop_waits_for_the_image_of_a_scene() -> None:
    scenes = [{"start": 0}, {"start": 20, "image_url": "late.png"}]
    take = examined(57, {"prompt": "a", "video_size": "square", "scenes": scenes})

    assert take.missing_image == "late.png"


def test_the_image_of_the_defaults_is_beside_them_for_a_sidecar_with_scenes_too() -> None:
    bucket = MemoryBucket()
    bucket.seconds = 57
    bucket.put("_defaults.json", b'{"image_url": "cover.png"}')
    bucket.put("cover.png", b"picture")
    bucket.images["cover.png"] = (64, 64)
    bucket.put("a/song.mp3", b"sound")
    bucket.put("a/song.json", json.dumps({"prompt": "a", "scenes": [{"start": 0}]}).encode())
    [pairing] = pairings("a/song.mp3", bucket.keys_under("a/song"))
    drop = find_drop(bucket, pairing)
    assert isinstance(drop, DropFiles)

    [take] = Examiner(bucket, LONG, MemoryProber(bucket)).examine(drop)

    assert take.errors == []
    assert list(take.images) == ["image_url"]


@pytest.mark.parametrize(("more", "looked_for"), [(0, MAX_SCENES), (1, 0)])
def test_the_images_of_more_scenes_than_there_may_be_are_not_looked_for(
    more: int, looked_for: int
) -> None:
    scenes = [{"start": n, "image_url": f"{n}.png"} for n in range(MAX_SCENES + more)]

    images, _ = named_images([SidecarFile("song.json", {"scenes": scenes})])

    assert len(images) == looked_for


def test_scenes_decide_what_a_drop_is_made_of() -> None:
    def asked(*prompts: str) -> object:
        scenes = [{"start": 20 * n, "prompt": one} for n, one in enumerate(prompts)]
        return examined(57, {"prompt": "a", "video_size": "square", "scenes": scenes}).asked

    assert asked("x", "y") == asked("x", "y")
    assert asked("x", "y") != asked("x", "z")


def test_each_scene_may_bring_the_only_prompt() -> None:
    scenes = [{"start": 0, "prompt": "x"}, {"start": 20, "prompt": "y"}]

    assert examined(57, {"video_size": "square", "scenes": scenes}).errors == []


def test_only_takes_that_ask_for_the_same_are_told_apart() -> None:
    bucket = MemoryBucket()
    bucket.seconds = 57
    one = {"prompt": "a", "video_size": "square"}
    bucket.put("song.mp3", b"sound")
    bucket.put("song.json", json.dumps([one, one | {"seed": 1}, one]).encode())
    [pairing] = pairings("song.mp3", bucket.keys_under("song"))
    drop = find_drop(bucket, pairing)
    assert isinstance(drop, DropFiles)

    takes = Examiner(bucket, LONG, MemoryProber(bucket)).examine(drop)

    assert [take.fields["sequence"].twin for take in takes] == [0, 0, 1]
