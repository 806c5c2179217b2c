"""The command line and audio that takes several requests: prices, segments, retry, cancel, sums."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.jobs import ErrorDetail, Job, JobStatus, Video
from phonoscene.table.dynamodb import Table
from phonoscene_cli.stack.generation_time import typical_seconds
from phonoscene_cli.stack.jobs_reader import Reader
from tests.integration.moto_stack import client
from tests.integration.workspace import Clock, Workspace
from tests.support.documented import keys
from tests.support.media.samples import png, silence
from tests.support.stack import JOBS, OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.desk import Desk
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

_S = JobStatus
SMALL = {"width": 64, "height": 64}
SIDECAR = {"prompt": "A stage", "video_size": SMALL}
SCENES = SIDECAR | {
    "scenes": [{"start": 0}, {"start": "0:20", "prompt": "The same stage, rain"}],
}


@pytest.fixture
def here(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """Where the person is, with 50 seconds of audio."""
    environment.chdir(tmp_path)
    (tmp_path / "song.wav").write_bytes(silence(50))
    return tmp_path


@pytest.fixture
def scene(cloud: Cloud) -> Workspace:
    return Workspace.on_moto(cloud, clock=Clock(datetime.now(UTC)))


def wrote(here: Path, sidecar: Any) -> None:
    (here / "song.json").write_text(json.dumps(sidecar))


def started(desk: Desk, sidecar: Any = SIDECAR, name: str = "talks/song") -> Job:
    """A sequence whose first segments are at fal."""
    desk.cloud.drop(f"{name}.wav", silence(50))
    desk.cloud.drop(f"{name}.json", json.dumps(sidecar))
    desk.announce(f"{name}.json")
    return went_on(desk, name)


def went_on(desk: Desk, name: str = "talks/song") -> Job:
    """The newest sequence of a name, once the queue is empty."""
    for _ in range(20):
        if not desk.work():
            break
    return next(reader().takes(name))


def reader() -> Reader:
    return Reader(Table(client("dynamodb"), JOBS))


def segments(job: Job) -> list[Job]:
    """Those of a sequence that have a job, in their order."""
    found = reader().many(one.job_id for one in job.plan.segments if one.job_id)
    return [found[one.job_id] for one in job.plan.segments if one.job_id]


def ended(scene: Workspace, desk: Desk, job: Job, number: int, status: JobStatus) -> None:
    """The end of a segment's job, as ``store`` would write it; announced as ``publish`` does."""
    segment = segments(job)[number]
    if status is _S.SUCCEEDED:
        key = f"_segments/{segment.job_id}.mp4"
        put = desk.cloud.s3.put_object(Bucket=OUTPUT, Key=key, Body=b"film")
        pinned = {"bucket": OUTPUT, "key": key, "version_id": put["VersionId"]}
        video = Video(**pinned, bytes=4, sha256="0" * 64, content_type="video/mp4")
        made = scene.store.move(segment, _S.GENERATED)
        scene.store.end(made, _S.SUCCEEDED, video=video)
    else:
        scene.store.end(segment, status)


def failed(scene: Workspace, desk: Desk, sidecar: Any = SIDECAR) -> Job:
    """A sequence whose second segment has no video."""
    job = started(desk, sidecar)
    for number in range(len(job.plan.segments)):
        ended(scene, desk, job, number, _S.FAILED if number == 1 else _S.SUCCEEDED)
    advanced(desk, job)
    return went_on(desk)


def advanced(desk: Desk, job: Job) -> None:
    """Send a sequence's id to the drops queue."""
    desk.stack().drops.dispatch([job.job_id])


# before it is dropped ---------------------------------------------------------------------------


@pytest.mark.parametrize("sidecar", [SIDECAR, SCENES, SCENES | {"continuity": "last_frame"}])
def test_a_dry_run_shows_every_segment_and_their_prices_are_the_price(
    desk: Desk, here: Path, sidecar: Any
) -> None:
    wrote(here, sidecar)

    result = desk.says("drop", "song.wav", "--dry-run", "--json")

    listed = result.data["segments"]
    assert set(listed[0]) == keys("drop", "Keys of `segments`")
    assert [one["index"] for one in listed] == list(range(1, len(listed) + 1))
    assert sum(one["frames"] for one in listed) == result.data["estimate"]["frames"]
    for bound in ("lower_usd", "upper_usd"):
        total = sum(Decimal(str(one[bound])) for one in listed)
        assert float(total) == result.data["estimate"][bound]
    ends = [round(one["start"] + one["seconds"], 2) for one in listed]
    assert ends[:-1] == [round(one["start"], 2) for one in listed[1:]]
    rows = re.findall(r"^(\d+) .*\d+:\d\d\.\d .*\$", result.err, re.MULTILINE)
    assert rows == [str(one["index"]) for one in listed]
    assert ("scene" in result.err) is ("scenes" in sidecar)


def test_of_long_audio_some_segments_are_made_with_what_is_left_of_the_day(
    desk: Desk, here: Path, scene: Workspace
) -> None:
    wrote(here, SIDECAR)
    desk.parameters["DailyBudgetUsd"] = "0.504"
    scene.bring(_S.SUBMITTED)

    result = desk.says("drop", "song.wav", "--dry-run")

    assert (
        "$0.0040 of today's budget is left. Requests are sent while it lasts; "
        "the others wait for the next day (UTC)."
    ) in result.err


def test_a_time_that_is_assumed_is_no_word_about_older_videos(
    desk: Desk, cloud: Cloud, here: Path
) -> None:
    wrote(here, SIDECAR)
    before = Clock(datetime.now(UTC) - timedelta(days=8))
    Workspace.on_moto(cloud, clock=before).bring(_S.SUCCEEDED)

    shown = desk.says("drop", "song.wav", "--dry-run").err
    desk.says("drop", "song.wav", "--yes")
    plan = desk.says("backfill", "", "--dry-run", "--older-than", "0s").out

    for text in (shown, plan):
        assert "(assumed: there is no recent video)" in text


@pytest.mark.parametrize(
    ("sidecar", "at_once", "said"),
    [
        (SIDECAR, "2", "about 2 min: 3 requests, up to 2 at once"),
        (SIDECAR, "40", "about 1 min: 3 requests, up to 40 at once"),
        (SIDECAR | {"continuity": "last_frame"}, "40", "3 min: 3 requests, one after another"),
    ],
)
def test_it_is_said_about_how_long_a_drop_takes(
    desk: Desk, here: Path, sidecar: Any, at_once: str, said: str
) -> None:
    wrote(here, sidecar)
    desk.parameters["MaxInFlight"] = at_once

    assert said in desk.says("drop", "song.wav", "--dry-run").err


def test_where_the_stack_splits_no_audio_long_audio_is_refused(desk: Desk, here: Path) -> None:
    wrote(here, SIDECAR)
    desk.parameters["LongAudio"] = "reject"

    result = desk.says("drop", "song.wav", "--dry-run", "--json")

    assert (result.code, [one["code"] for one in result.data["errors"]]) == (1, ["audio_too_long"])
    assert result.data["segments"] == []


def test_the_images_of_scenes_go_along(desk: Desk, cloud: Cloud, here: Path) -> None:
    wrote(here, SIDECAR | {"scenes": [{"start": 0}, {"start": 20, "image_url": "rain.png"}]})
    (here / "rain.png").write_bytes(png(64, 64))

    result = desk.says("drop", "song.wav", "--yes", "--json")
    desk.announce("rain.png", "song.wav", "song.json")

    assert result.data["images"] == ["rain.png"]
    [job_id] = result.data["job_ids"]
    assert cloud.item(job_id)["status"] == "SUBMITTED"


def test_the_forecast_is_what_the_stack_makes(desk: Desk, here: Path) -> None:
    wrote(here, SCENES)
    forecast = desk.says("drop", "song.wav", "--yes", "--json").data
    desk.announce("song.wav", "song.json")

    job = went_on(desk, "song")

    assert job.estimate
    assert float(job.estimate.upper_usd) == forecast["estimate"]["upper_usd"]
    assert [one.frames for one in job.plan.segments] == [
        one["frames"] for one in forecast["segments"]
    ]


def test_a_sidecar_with_one_scene_changed_pays_for_that_scene(
    desk: Desk, scene: Workspace, here: Path, fal: FakeFalQueue
) -> None:
    for image in ("stage.png", "door.png"):
        (here / image).write_bytes(png(64, 64))
    door = {"start": 0, "end_image_url": "door.png"}
    asked = SIDECAR | {"image_url": "stage.png"}
    wrote(here, asked | {"scenes": [door, {"start": 20, "prompt": "The same stage, rain"}]})
    first = desk.says("drop", "song.wav", "--yes", "--json").data
    desk.announce("stage.png", "door.png", "song.wav", "song.json")
    job = went_on(desk, "song")
    for number in range(len(job.plan.segments)):
        ended(scene, desk, job, number, _S.SUCCEEDED)
    before = len(fal.posts)

    for image in ("stage.png", "door.png"):  # another version of the same bytes
        desk.cloud.drop(image, png(64, 64))
    wrote(here, asked | {"scenes": [door, {"start": 20, "prompt": "The same, in snow"}]})
    again = desk.says("drop", "song.wav", "--yes", "--json").data
    desk.announce("song.wav", "song.json")
    went_on(desk, "song")

    assert (first["images"], again["images"]) == (["stage.png", "door.png"], [])
    assert len(fal.posts) - before == sum(one["scene"] == 2 for one in again["segments"])


# while it is made -------------------------------------------------------------------------------


def test_a_join_that_the_functions_time_does_not_reach_is_left_to_the_next_invocation(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    job = started(desk)
    for number in range(len(job.plan.segments)):
        ended(scene, desk, job, number, _S.SUCCEEDED)
    advanced(desk, job)
    left = iter([120_000, 112_000] + [120_000, 112_001] * 2)
    environment.setattr(type(desk.context), "get_remaining_time_in_millis", lambda _: next(left))

    desk.work()
    put_back = next(reader().takes("talks/song"))
    desk.work()

    assert put_back.status is _S.SUBMITTED
    assert next(reader().takes("talks/song")).status is not _S.SUBMITTED


def test_lists_have_the_job_and_show_has_its_segments(desk: Desk, scene: Workspace) -> None:
    job = started(desk)
    ended(scene, desk, job, 0, _S.SUCCEEDED)
    advanced(desk, job)
    went_on(desk)

    shown = desk.says("show", "talks/song")
    data = desk.says("show", "talks/song", "--json").data

    assert [one["job_id"] for one in desk.says("jobs", "--json").data] == [job.job_id]
    assert "1 of 3 segments" in desk.says("jobs").out
    assert len(desk.says("jobs", "--json", "--name", "_segments/talks/song").data) == 3
    assert "1 of 3 segments have their videos" in shown.out
    assert re.findall(r"^  (\d)  \d:\d\d\.\d .*(SUCCEEDED|SUBMITTED)", shown.out, re.MULTILINE) == [
        ("1", "SUCCEEDED"),
        ("2", "SUBMITTED"),
        ("3", "SUBMITTED"),
    ]
    assert [one["index"] for one in data["segments"]] == [1, 2, 3]
    assert data["sequence"]["segments"][0]["job_id"] == data["segments"][0]["job_id"]


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_a_command_for_whole_jobs_names_the_one_that_a_segment_is_part_of(
    desk: Desk, command: str
) -> None:
    job = started(desk)
    part = segments(job)[1]

    result = desk.says(command, part.job_id)

    assert result.code == 1
    assert "is segment 2 of talks/song" in result.err
    assert f"`phonoscene {command} {job.job_id}`" in result.err
    assert segments(job)[1].status is _S.SUBMITTED


def test_a_segment_can_be_shown(desk: Desk) -> None:
    job = started(desk)

    shown = desk.says("show", segments(job)[1].job_id)
    data = desk.says("show", segments(job)[1].job_id, "--json").data

    assert f"job {job.job_id}: its segment 2" in shown.out
    assert (data["part_of"], data["part"], data["segments"]) == (job.job_id, 2, None)
    assert "other takes" not in shown.out


def test_a_cancelled_job_is_cancelled_with_its_segments(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    job = started(desk)
    environment.setattr("time.sleep", desk.work)

    result = desk.says("cancel", "talks/song")

    assert result.code == 0
    assert {one.status for one in segments(job)} == {_S.CANCELLED}
    assert "fal was asked to stop" in result.out


def test_a_cancelled_job_leaves_a_segment_to_another_that_uses_it(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    changed = {"start": 0}, {"start": "0:20", "prompt": "The same stage, snow"}
    first = started(desk, SCENES)
    second = started(desk, SCENES | {"scenes": changed}, "other/song")
    shared, other, *own = segments(second)
    assert {shared.part_of, other.part_of} == {first.job_id}
    environment.setattr("time.sleep", desk.work)  # the functions run while the command waits

    result = desk.says("cancel", first.job_id)
    shown = desk.says("show", first.job_id)
    part = desk.says("show", shared.job_id)

    assert result.code == 0
    assert (
        "CANCELLED; 2 segments go on, because another job uses them, and the one that "
        in result.out
    )
    assert "2 segments had not ended, and may still be billed" in shown.out
    assert f"job {second.job_id}, too" in part.out
    ends = [_S.SUBMITTED] * 2 + [_S.CANCELLED] * len(own)
    assert [one.status for one in segments(first)] == ends
    assert {one.status for one in segments(second)} == {_S.SUBMITTED}

    result = desk.says("cancel", second.job_id)

    assert "go on" not in result.out
    assert {one.status for one in segments(second)} == {_S.CANCELLED}


def test_the_recent_average_is_that_of_requests(desk: Desk, scene: Workspace) -> None:
    job = started(desk)
    scene.clock.now = datetime.now(UTC)
    for number in range(3):
        scene.clock.go_on(seconds=30)
        ended(scene, desk, job, number, _S.SUCCEEDED)
    done = scene.store.move(job, _S.GENERATED)
    scene.store.end(done, _S.SUCCEEDED)

    usual = typical_seconds(reader(), scene.clock.now)

    assert usual == pytest.approx(60, abs=10)


# sums -------------------------------------------------------------------------------------------


def test_cost_counts_one_job_with_the_dollars_of_its_segments(desk: Desk, scene: Workspace) -> None:
    job = started(desk, SIDECAR | {"metadata": {"customer": "acme"}})
    ended(scene, desk, job, 0, _S.SUCCEEDED)
    assert job.estimate

    for by, group in (("name", "talks/song"), ("folder", "talks/"), ("meta.customer", "acme")):
        data = desk.says("cost", "--by", by, "--json").data
        [found] = data["groups"]
        assert (found["group"], found["jobs"], found["videos"]) == (group, 1, 0)
        spent = found["upper_usd"] + found["reserved_usd"]
        assert spent == pytest.approx(float(job.estimate.upper_usd))
        assert found["upper_usd"] > 0


def test_an_audit_finds_the_drop_and_no_more(desk: Desk) -> None:
    started(desk)
    desk.cloud.drop("talks/lost.wav", silence(50))
    desk.cloud.drop("talks/lost.json", json.dumps(SIDECAR))

    result = desk.says("audit", "--older-than", "0s", "--json")
    estimate = desk.says("backfill", "", "--dry-run", "--older-than", "0s", "--json").data

    assert (result.data["dropped"], result.data["accounted"]) == (2, 1)
    assert [one["name"] for one in result.data["missing"]] == ["talks/lost"]
    assert (estimate["jobs"], estimate["requests"]) == (1, 3)


# again ------------------------------------------------------------------------------------------


def test_a_retry_pays_for_what_is_missing_and_says_so(
    desk: Desk, scene: Workspace, fal: FakeFalQueue
) -> None:
    job = failed(scene, desk)
    assert job.status is _S.FAILED
    before = len(fal.posts)

    result = desk.says("retry", "talks/song", "--yes", "--json")
    desk.announce("talks/song.json")
    went_on(desk)

    assert [one["is_made"] for one in result.data["segments"]] == [True, False, True]
    missing = result.data["segments"][1]
    assert result.data["estimate"]["upper_usd"] == missing["upper_usd"]
    assert "2 of 3 segments have their videos" in result.err
    assert len(fal.posts) == before + 1
    assert "`phonoscene retry" in desk.says("show", job.job_id).out


def test_a_segment_whose_video_cannot_be_used_is_priced_again(desk: Desk, scene: Workspace) -> None:
    job = started(desk)
    for number in range(3):
        ended(scene, desk, job, number, _S.SUCCEEDED)
    second = scene.store.get(str(job.plan.segments[1].job_id))
    assert second
    wrong = ErrorDetail(code="wrong_frames", message="It has 9 frames.", field="segment 2")
    scene.store.note_unusable(second, wrong)
    scene.store.end(job, _S.FAILED, errors=(wrong,))

    result = desk.says("retry", "talks/song", "--yes", "--json")

    assert [one["is_made"] for one in result.data["segments"]] == [True, False, True]
    assert "`phonoscene retry" in desk.says("show", job.job_id).out


def test_a_segment_whose_video_was_deleted_is_priced_and_paid_again(
    desk: Desk, scene: Workspace, fal: FakeFalQueue
) -> None:
    job = started(desk)
    for number in range(3):
        ended(scene, desk, job, number, _S.SUCCEEDED)
    scene.store.end(job, _S.FAILED)
    gone = segments(job)[1].video
    assert gone
    desk.cloud.s3.delete_object(Bucket=OUTPUT, Key=gone.key)  # a marker, as a person's deletion is
    before = len(fal.posts)

    result = desk.says("retry", "talks/song", "--yes", "--json")
    desk.announce("talks/song.json")
    went_on(desk)

    assert [one["is_made"] for one in result.data["segments"]] == [True, False, True]
    assert len(fal.posts) == before + 1


@pytest.mark.parametrize(
    ("sidecar", "settings", "made"),
    [
        (SIDECAR, ["--set", "seed=3"], []),
        (SIDECAR, ["--meta", "order=1"], [1, 3]),
        (SIDECAR | {"continuity": "last_frame"}, [], [1]),
        (SCENES, ["--set", 'scenes=[{"start": 0}, {"start": "0:20", "prompt": "Sun"}]'], [1]),
    ],
)
def test_a_retry_is_priced_as_it_is_paid(
    desk: Desk,
    scene: Workspace,
    fal: FakeFalQueue,
    sidecar: Any,
    settings: list[str],
    made: list[int],
) -> None:
    job = started(desk, sidecar)
    for number, one in enumerate(job.plan.segments):
        if one.job_id:
            ended(scene, desk, job, number, _S.FAILED if number == 1 else _S.SUCCEEDED)
    if job.plan.is_chained:  # no film of this test has a last frame
        scene.store.end(job, _S.FAILED)
    else:
        advanced(desk, job)
        went_on(desk)
    before = len(fal.posts)

    result = desk.says("retry", "talks/song", *settings, "--yes", "--json")
    desk.announce("talks/song.json")
    again = went_on(desk)

    assert [one["index"] for one in result.data["segments"] if one["is_made"]] == made
    if not job.plan.is_chained:
        assert len(fal.posts) - before == len(again.plan.segments) - len(made)


def test_a_retry_of_a_job_with_its_video_makes_the_same_for_nothing(
    desk: Desk, scene: Workspace
) -> None:
    job = started(desk)
    for number in range(3):
        ended(scene, desk, job, number, _S.SUCCEEDED)
    scene.store.end(scene.store.move(job, _S.GENERATED), _S.SUCCEEDED)

    result = desk.says("retry", "talks/song", "--yes", "--json")

    assert result.data["estimate"]["upper_usd"] == 0
    assert "Nothing is paid" in result.err
    assert "set another seed" in result.err
