"""``drop`` with several files: each is a drop of its own, and all are examined before the first."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from phonoscene.drops.pairing import pairings
from phonoscene.jobs import JobStatus, Video
from phonoscene_cli.follow import downloads, follow
from phonoscene_cli.upload import upload_plan
from phonoscene_cli.upload.upload import Dropped, Upload, UploadedDespiteInterrupt, put
from tests.integration.workspace import Clock, Workspace
from tests.support.documented import keys
from tests.support.media.samples import png, silence
from tests.support.stack import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from phonoscene.drops.pairing import Pairing
    from phonoscene.jobs import Job
    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

PROMPT = ("--prompt", "A stage", "--yes")
FILES = ("a.wav", "b.wav", "c.wav")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """Where the person is, with recordings of one, two and three seconds."""
    environment.chdir(tmp_path)
    for seconds, name in enumerate(FILES, 1):
        (tmp_path / name).write_bytes(silence(seconds))
    return tmp_path


def before_upload(patch: pytest.MonkeyPatch, number: int, work: Callable[[Upload], Any]) -> None:
    """Have ``work`` in the place of the upload of that number."""
    uploads: list[Upload] = []

    def upload(one: Upload) -> Dropped:
        uploads.append(one)
        return work(one) if len(uploads) == number else put(one)

    patch.setattr("phonoscene_cli.commands.drop.put", upload)


def test_each_file_becomes_the_job_that_was_forecast_and_the_price_is_that_of_all(
    desk: Desk, cloud: Cloud
) -> None:
    shown = desk.says("drop", *FILES, *PROMPT, "--folder", "talks", "--dry-run")
    data = desk.says("drop", *FILES, *PROMPT, "--folder", "talks", "--json").data
    desk.announce(*(f"talks/{name}" for name in FILES))

    records = [cloud.item(job_id) for job_id in data["job_ids"]]
    prices = [float(record["estimate"]["upper_usd"]) for record in records]
    assert [record["name"] for record in records] == ["talks/a", "talks/b", "talks/c"]
    assert {record["status"] for record in records} == {"SUBMITTED"}
    assert data["estimate"]["jobs"] == 3
    assert data["estimate"]["upper_usd"] == pytest.approx(sum(prices))
    assert set(data) == keys("drop", "Keys of several files")
    assert [one["job_ids"] for one in data["drops"]] == [[one] for one in data["job_ids"]]
    assert [one["audio"] for one in data["drops"]] == [f"talks/{name}" for name in FILES]
    assert all(set(one) == keys("drop") for one in data["drops"])
    for name, seconds in zip(FILES, ("1.00", "2.00", "3.00"), strict=True):
        assert f"talks/{name}: {seconds} s of audio/wav" in shown.err
    assert shown.err.count("together: ") == 1


def test_a_file_is_paired_among_those_of_its_name_however_many_are_dropped(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    present: list[list[str]] = []

    def record(key: str, among: Collection[str]) -> list[Pairing]:
        present.append(sorted(among))
        return pairings(key, among)

    environment.setattr(upload_plan, "pairings", record)

    assert desk.says("drop", *FILES, *PROMPT, "--dry-run").code == 0
    assert present == [[f"{name[0]}.json", name] for name in FILES for _ in range(2)]


def test_the_errors_of_all_files_are_reported_and_nothing_goes_up(
    desk: Desk, cloud: Cloud, folder: Path
) -> None:
    (folder / "a.json").write_text(json.dumps({"prompt": "a", "fps": 99}))
    (folder / "c.json").write_text(json.dumps({"prompt": "c", "fsp": 3}))

    result = desk.says("drop", *FILES, *PROMPT, "--json")

    assert (result.code, cloud.objects()) == (1, [])
    wrong = [(error["source"], error["field"]) for error in result.data["errors"]]
    assert wrong == [("a.json", "fps"), ("c.json", "fsp")]
    assert [len(one["errors"]) for one in result.data["drops"]] == [1, 0, 1]
    assert "Nothing was dropped: 2 errors." in result.err


def test_an_error_of_a_length_or_a_cost_names_each_file_that_has_it(
    desk: Desk, folder: Path
) -> None:
    desk.parameters["MaxJobCostUsd"] = "0.04"
    (folder / "d.wav").write_bytes(silence(3))

    result = desk.says("drop", *FILES, "d.wav", *PROMPT)
    data = desk.says("drop", *FILES, "d.wav", *PROMPT, "--json").data

    wrong = [(error["code"], error["source"]) for error in data["errors"]]
    assert wrong == [("cost_too_high", "c.wav"), ("cost_too_high", "d.wav")]
    assert data["drops"][3]["errors"] == data["errors"][1:]
    assert "    in       c.wav\n" in result.err
    assert "Nothing was dropped: 2 errors." in result.err


def test_an_error_of_a_length_or_a_cost_in_the_defaults_names_each_file_that_has_it(
    desk: Desk, cloud: Cloud, folder: Path
) -> None:
    cloud.drop("_defaults.json", {"video_size": "landscape_16_9"})
    desk.parameters["MaxJobCostUsd"] = "0.04"
    (folder / "d.wav").write_bytes(silence(3))

    result = desk.says("drop", *FILES, "d.wav", *PROMPT)
    of_all = desk.says("drop", "c.wav", "d.wav", *PROMPT)

    assert re.findall(r"what +(.*): 1024 x", result.err) == ["c.wav", "d.wav"]
    assert result.err.count("in       _defaults.json") == 2
    assert re.findall(r"what +(.*)1024 x", of_all.err) == [""]


def test_all_files_that_are_no_drop_are_named_at_once(
    desk: Desk, cloud: Cloud, folder: Path
) -> None:
    (folder / "b.json").write_text(json.dumps({"prompt": "b"}))

    alone = desk.says("drop", *FILES, "--yes")
    missing = desk.says("drop", "a.wav", "x.wav", "memo.webm", *PROMPT)

    assert (alone.code, missing.code, cloud.objects()) == (1, 2, [])
    assert [f"{name} has no sidecar" in alone.err for name in FILES] == [True, False, True]
    assert "x.wav does not exist" in missing.err
    assert "memo.webm does not exist" in missing.err


def test_two_files_of_one_key_are_refused(desk: Desk, cloud: Cloud, folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "a.wav").write_bytes(silence(9))

    result = desk.says("drop", "a.wav", "more/a.wav", *PROMPT)

    assert (result.code, cloud.objects()) == (2, [])
    assert "a.wav and more/a.wav would both be dropped as a.wav" in result.err


def test_files_that_differ_only_in_their_suffix_get_sidecars_of_their_own(
    desk: Desk, cloud: Cloud, folder: Path
) -> None:
    (folder / "a.flac").write_bytes(silence(4))

    data = desk.says("drop", "a.wav", "a.flac", *PROMPT, "--json").data
    desk.announce("a.wav", "a.flac", "a.wav.json", "a.flac.json")

    assert [one["sidecar"] for one in data["drops"]] == ["a.wav.json", "a.flac.json"]
    assert [cloud.item(one)["audio"]["key"] for one in data["job_ids"]] == ["a.wav", "a.flac"]


def test_an_image_of_several_files_goes_up_once(desk: Desk, cloud: Cloud, folder: Path) -> None:
    (folder / "cover.png").write_bytes(png(640, 480))

    data = desk.says("drop", *FILES, *PROMPT, "--image", "cover.png", "--json").data
    desk.announce("cover.png", *FILES)

    assert [one["images"] for one in data["drops"]] == [["cover.png"], [], []]
    assert cloud.objects().count("cover.png") == 1
    assert {cloud.item(one)["status"] for one in data["job_ids"]} == {"SUBMITTED"}


@pytest.mark.parametrize("there", [False, True], ids=["new", "one is in the bucket"])
def test_two_images_that_would_take_each_others_place_are_refused(
    desk: Desk, cloud: Cloud, folder: Path, *, there: bool
) -> None:
    for number, name in enumerate(("one", "two")):
        (folder / name).mkdir()
        (folder / name / f"{name}.wav").write_bytes(silence(1))
        (folder / name / "cover.png").write_bytes(png(64, 64 + number))
        sidecar = {"prompt": name, "image_url": "cover.png"}
        (folder / name / f"{name}.json").write_text(json.dumps(sidecar))
    if there:
        cloud.drop("cover.png", png(64, 64))

    result = desk.says("drop", "one/one.wav", "two/two.wav", "--yes")

    assert (result.code, len(cloud.objects())) == (2, int(there))
    assert "Two images that differ would both be cover.png" in result.err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--name", "talk"), "--name is for one file"),
        (("--out", "talk.mp4"), "--out talk.mp4 is one file, for several videos"),
    ],
)
def test_what_is_for_one_file_is_refused_with_several(
    desk: Desk, cloud: Cloud, options: tuple[str, ...], why: str
) -> None:
    result = desk.says("drop", *FILES, *PROMPT, *options)

    assert (result.code, cloud.objects()) == (2, [])
    assert why in result.err


def test_an_upload_that_fails_leaves_the_files_before_it_and_names_their_jobs(
    desk: Desk, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    def fail(_: Upload) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    before_upload(environment, 2, fail)

    result = desk.says("drop", *FILES, *PROMPT, "--json")
    desk.announce("a.wav")

    assert result.code == 3
    assert cloud.objects() == ["a.json", "a.wav"]
    assert "1 of 3 files were dropped; b.wav and those after it were not." in result.err
    [job_id] = result.data["job_ids"]
    assert cloud.item(job_id)["name"] == "a"
    assert [one["job_ids"] for one in result.data["drops"]] == [[job_id], [], []]


def test_an_interrupt_before_the_first_upload_drops_nothing(
    desk: Desk, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Upload) -> None:
        raise KeyboardInterrupt

    before_upload(environment, 1, interrupt)

    result = desk.says("drop", *FILES, *PROMPT)

    assert (result.code, cloud.objects()) == (130, [])
    assert "Interrupted: nothing was dropped." in result.err


def test_an_interrupt_of_the_examination_says_that_nothing_was_dropped(
    desk: Desk, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    environment.setattr("phonoscene_cli.commands.drop.examined", interrupt)

    result = desk.says("drop", *FILES, *PROMPT)

    assert (result.code, cloud.objects()) == (130, [])
    assert result.err == "Interrupted: nothing was dropped.\n"


def test_an_interrupt_says_what_is_left_of_a_file(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Upload) -> None:
        stopped = KeyboardInterrupt()
        stopped.add_note("a.wav could not be deleted.")
        raise stopped

    before_upload(environment, 1, interrupt)

    result = desk.says("drop", *FILES, *PROMPT)

    assert result.code == 130
    assert "a.wav could not be deleted." in result.err
    assert "nothing was dropped" not in result.err


@pytest.mark.parametrize("number", [1, 3])
def test_an_interrupt_that_is_too_late_for_a_file_counts_it_and_stops_before_the_next(
    desk: Desk, cloud: Cloud, environment: pytest.MonkeyPatch, number: int
) -> None:
    def interrupt(one: Upload) -> None:
        raise UploadedDespiteInterrupt(put(one))

    before_upload(environment, number, interrupt)

    result = desk.says("drop", *FILES, *PROMPT)

    rest = "; b.wav and those after it were not." if number == 1 else "."
    assert (result.code, len(cloud.objects())) == (130, 2 * number)
    assert f"{number} of 3 files were dropped{rest}" in result.err
    assert result.out.count("job: ") == number


def test_jobs_of_several_files_are_followed_by_their_names(
    desk: Desk, cloud: Cloud, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    (folder / "b.json").write_text(json.dumps([{}, {"seed": 2}]))
    environment.setattr(time, "sleep", desk.cancels("a.wav", "b.wav"))

    result = desk.says("drop", "a.wav", "b.wav", *PROMPT, "--watch")

    takes = [item["job_id"][:8] for item in cloud.items() if item["name"] == "b"]
    assert result.code == 1
    assert "READY        a  paired" in result.err
    assert "a is CANCELLED." in result.err
    for take in takes:
        assert f"READY        b {take}  paired" in result.err
        assert f"b ({take}) is CANCELLED." in result.err


def test_a_file_that_was_replaced_is_named_although_the_others_are_jobs(
    desk: Desk, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    def replace(one: Upload) -> Dropped:
        dropped = put(one)
        body = cloud.s3.get_object(Bucket="drops", Key="b.wav")["Body"].read()
        cloud.s3.put_object(Bucket="drops", Key="b.wav", Body=body)
        return dropped

    before_upload(environment, 2, replace)
    environment.setattr(follow, "SOON", -1.0)
    environment.setattr(time, "sleep", desk.cancels("a.wav"))

    result = desk.says("drop", "a.wav", "b.wav", *PROMPT, "--watch")

    assert result.code == 1
    assert "The files of b were replaced, or deleted, before they became a job" in result.err


@pytest.fixture
def videos(desk: Desk, environment: pytest.MonkeyPatch) -> None:
    """All drops become jobs that have their videos at the next look."""
    environment.setattr(time, "sleep", lambda _: generate(desk, "a", "b", "c"))


def generate(desk: Desk, *names: str) -> None:
    """Make jobs of all drops, and the videos of these."""
    scene = Workspace.on_moto(desk.cloud, clock=Clock(datetime.now(UTC)))
    with redirect_stdout(io.StringIO()):
        desk.announce("a.wav", "c.wav")
    for item in desk.cloud.items():
        job = scene.store.get(item["job_id"])
        if job and job.name in names and not job.is_final:
            complete(scene, job)


def complete(scene: Workspace, job: Job) -> None:
    """Give a job its video."""
    key, body = f"{job.name}.mp4", job.name.encode()
    put_video = scene.cloud.s3.put_object(Bucket=OUTPUT, Key=key, Body=body)
    video = Video(
        bucket=OUTPUT,
        key=key,
        version_id=put_video["VersionId"],
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        content_type="video/mp4",
    )
    scene.step(scene.step(job, JobStatus.GENERATED), JobStatus.SUCCEEDED, video=video)


@pytest.mark.usefixtures("videos")
def test_the_videos_of_the_others_are_fetched_if_a_file_was_replaced(
    desk: Desk, cloud: Cloud, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    def replace(one: Upload) -> Dropped:
        dropped = put(one)
        cloud.s3.put_object(Bucket="drops", Key="b.wav", Body=b"another")
        return dropped

    before_upload(environment, 2, replace)
    environment.setattr(follow, "SOON", -1.0)

    result = desk.says("drop", *FILES, *PROMPT, "--out", "videos/", "--json")

    assert result.code == 1
    assert "The files of b were replaced, or deleted" in result.err
    assert result.data["videos"] == ["videos/a.mp4", "videos/c.mp4"]
    assert [one["name"] for one in result.data["jobs"]] == ["a", "c"]
    assert sorted(one.name for one in (folder / "videos").iterdir()) == ["a.mp4", "c.mp4"]


@pytest.mark.usefixtures("videos")
def test_the_videos_of_the_others_are_fetched_if_one_cannot_be(
    desk: Desk, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    def block(one: Upload) -> Dropped:
        (folder / "videos" / "a.mp4").mkdir(parents=True)
        return put(one)

    before_upload(environment, 1, block)

    result = desk.says("drop", "a.wav", "c.wav", *PROMPT, "--out", "videos/", "--json")

    assert result.code == 1
    assert "videos/a.mp4 cannot be written: Is a directory. `phonoscene watch" in result.err
    assert result.data["videos"] == ["videos/c.mp4"]
    assert (folder / "videos" / "c.mp4").read_text() == "c"


def test_the_command_that_goes_on_after_the_timeout_downloads_the_videos_as_well(
    desk: Desk,
) -> None:
    desk.says("drop", "a.wav", *PROMPT)
    desk.announce("a.wav")

    result = desk.says("watch", "a", "--out", "my videos/", "--timeout", "0s")

    assert result.code == 1
    assert "`phonoscene watch a --out 'my videos/'` continues." in result.err


@pytest.mark.parametrize("command", ["drop", "watch"])
def test_the_videos_that_there_are_when_the_time_is_up_are_fetched(
    desk: Desk, folder: Path, environment: pytest.MonkeyPatch, command: str
) -> None:
    def go_on(_: float) -> None:
        generate(desk, "a")
        pause(2)  # longer than the time that is given

    pause = time.sleep
    ending = ("--out", "videos/", "--timeout", "1s")
    if command == "watch":
        desk.says("drop", "a.wav", "c.wav", *PROMPT)
        go_on(0)
        result = desk.says("watch", "a", "c", *ending)
    else:
        environment.setattr(time, "sleep", go_on)
        result = desk.says("drop", "a.wav", "c.wav", *PROMPT, *ending)

    assert result.code == 1
    assert "c is SUBMITTED. `phonoscene watch " in result.err
    assert (folder / "videos" / "a.mp4").read_text() == "a"
    assert not (folder / "videos" / "c.mp4").exists()


def test_the_video_of_a_repeat_has_the_name_that_was_asked_for(
    desk: Desk, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    desk.says("drop", "a.wav", *PROMPT)
    generate(desk, "a")
    environment.setattr(time, "sleep", lambda _: generate(desk))

    result = desk.says("drop", "a.wav", *PROMPT, "--out", "again.mp4")

    assert result.out == "video: again.mp4\n"
    assert [one.name for one in folder.rglob("*.mp4")] == ["again.mp4"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_each_video_is_fetched_as_soon_as_it_is_there_and_named_after_an_interrupt(
    desk: Desk, folder: Path, environment: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    pauses = iter(range(9))

    def go_on(_: float) -> None:
        if next(pauses):
            raise KeyboardInterrupt
        generate(desk, "a")

    environment.setattr(time, "sleep", go_on)

    result = desk.says("drop", "a.wav", "c.wav", *PROMPT, "--out", "videos/", *form)

    assert result.code == 130
    named = result.data["videos"] if form else re.findall("video: (.*)", result.out)
    assert named == ["videos/a.mp4"]
    assert re.search(
        r"The jobs continue. To follow them again: `phonoscene watch \S+ \S+ --out", result.err
    )
    assert [one.name for one in (folder / "videos").iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("name", ["a.json.txt", "a.jsn", "a (1).json"])
def test_a_file_that_was_perhaps_meant_to_be_the_sidecar_is_named(
    desk: Desk, folder: Path, name: str
) -> None:
    (folder / name).write_text('{"prompt": "rain"}')

    result = desk.says("drop", "a.wav")

    assert result.code == 1
    assert f"{name} is beside it: rename it to a.json if it is the one you meant." in result.err


def test_a_file_that_exists_is_not_proposed_as_a_folder(desk: Desk, folder: Path) -> None:
    (folder / "there.mp4").touch()

    new = desk.says("drop", *FILES, *PROMPT, "--out", "new.mp4")
    there = desk.says("drop", *FILES, *PROMPT, "--out", "there.mp4")

    assert new.err.endswith("Name a folder: new.mp4/\n")
    assert there.err.endswith("Name a folder.\n")
    assert new.code == there.code == 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_who_interrupts_what_follows_new_jobs_still_gets_their_ids(
    desk: Desk, environment: pytest.MonkeyPatch, form: str
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    environment.setattr(time, "sleep", interrupt)
    options = ("--json",) if form == "json" else ()

    result = desk.says("drop", "a.wav", *PROMPT, "--watch", *options)

    assert result.code == 130
    ids = re.findall(r"`phonoscene watch ([0-9a-f]{32})`", result.err)
    assert ids
    assert result.out == f"job: {ids[0]}\n" if not options else result.data["job_ids"] == ids


@pytest.mark.usefixtures("videos")
def test_who_interrupts_a_download_is_told_how_to_fetch_that_video(
    desk: Desk, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Path:
        raise KeyboardInterrupt

    environment.setattr(downloads, "fetch", interrupted)

    result = desk.says("drop", "a.wav", *PROMPT, "--out", "videos/")

    assert result.code == 130
    assert re.search(r"`phonoscene watch [0-9a-f]{32} --out FILE` fetches it", result.err)
    assert not (folder / "videos").exists()
