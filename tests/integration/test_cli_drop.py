"""``drop`` and ``retry``: what goes up is what the product makes of it, or nothing does."""

from __future__ import annotations

import io
import json
import time
import unicodedata
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from phonoscene.errors import ObjectUnreadable
from phonoscene.fal import requests
from phonoscene.jobs import ErrorDetail, Job, JobStatus, Video
from phonoscene.table.job_store import JobStore
from phonoscene_cli.follow import follow
from phonoscene_cli.upload import upload_plan
from phonoscene_cli.upload.upload import Dropped, Upload, UploadedDespiteInterrupt, put
from tests.integration.moto_stack import client
from tests.integration.workspace import Clock, Workspace
from tests.support.documented import keys
from tests.support.media.samples import png, silence
from tests.support.stack import JOBS, OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

SMALL = {"width": 64, "height": 64}
PROMPT = ("--prompt", "A stage")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """Where the person is, with a song of two seconds."""
    environment.chdir(tmp_path)
    (tmp_path / "song.wav").write_bytes(silence(2))
    return tmp_path


def body(cloud: Cloud, key: str) -> Any:
    return json.load(cloud.s3.get_object(Bucket="drops", Key=key)["Body"])


# drop -------------------------------------------------------------------------------------------


def test_a_drop_becomes_the_job_that_was_forecast_at_the_price_of_the_forecast(
    desk: Desk, cloud: Cloud, folder: Path
) -> None:
    (folder / "song.json").write_text(json.dumps({"prompt": "A stage", "fps": 12}))
    (folder / "cover.png").write_bytes(png(640, 480))

    result = desk.says(
        "drop",
        "song.wav",
        "--set",
        "video_size=auto",
        "--image",
        "cover.png",
        "--folder",
        "talks",
        "--name",
        "intro",
        "--yes",
        "--json",
    )
    desk.announce("talks/cover.png", "talks/intro.wav", "talks/intro.json")

    assert result.code == 0
    [job_id] = result.data["job_ids"]
    record = cloud.item(job_id)
    assert record["status"] == "SUBMITTED"
    assert record["arguments"]["fps"] == 12
    assert record["images"]["image_url"]["key"] == "talks/cover.png"
    assert float(record["estimate"]["upper_usd"]) == result.data["estimate"]["upper_usd"]
    assert result.data["estimate"]["frames"] == 25
    assert set(result.data) == keys("drop")
    assert set(result.data["estimate"]) == keys("drop", "Keys of `estimate`")
    assert cloud.objects() == ["talks/cover.png", "talks/intro.json", "talks/intro.wav"]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")], ids=str)
def test_an_image_goes_along_however_its_names_accents_are_spelled(
    desk: Desk, cloud: Cloud, folder: Path, forms: tuple[Any, Any]
) -> None:
    file, named = (unicodedata.normalize(form, "Größe ü.png") for form in forms)
    (folder / file).write_bytes(png(640, 480))
    (folder / "song.json").write_text(json.dumps({"prompt": "A stage", "image_url": named}))

    result = desk.says("drop", "song.wav", "--yes", "--json")
    desk.announce("song.wav", "song.json")

    assert result.code == 0
    record = cloud.item(result.data["job_ids"][0])
    assert record["status"] == "SUBMITTED"
    assert record["images"]["image_url"]["key"] == named


def test_a_person_sees_what_it_is_and_costs_and_where_it_went(desk: Desk) -> None:
    result = desk.says("drop", "song.wav", *PROMPT, "--yes")

    assert "song.wav: 2.00 s of audio/wav" in result.err
    assert "up to 49 frames of 1024x576, 28.9 megapixels: $0.0291 to $0.0350" in result.err
    assert "dropped s3://drops/song.wav" in result.err
    assert result.out.startswith("job: ")


def test_a_person_hears_beforehand_of_sound_that_the_video_has_no_room_for(
    desk: Desk, folder: Path
) -> None:
    def heard(seconds: float) -> str:
        (folder / "long.wav").write_bytes(silence(seconds))
        return desk.says("drop", "long.wav", *PROMPT, "--dry-run").err

    assert "The last 0.21 s will not be in the video" in heard(20.25)
    assert "will not be in the video" not in heard(481 / 24 + 0.001)
    assert "will not be in the video" not in heard(2)


def test_the_same_files_again_are_the_job_that_is_there_and_not_priced(
    desk: Desk, cloud: Cloud, folder: Path
) -> None:
    del folder  # it is where the person is
    first = desk.says("drop", "song.wav", *PROMPT, "--yes", "--json").data
    desk.announce("song.wav", "song.json")

    again = desk.says("drop", "song.wav", *PROMPT, "--yes", "--json").data
    desk.announce("song.wav", "song.json")
    shown = desk.says("show", again["job_ids"][0], "--json").data

    [job] = cloud.items()
    assert (first["repeats"], first["estimate"]["jobs"]) == ([], 1)
    assert (again["repeats"], again["estimate"]["jobs"]) == ([job["job_id"]], 0)
    assert (shown["job_id"], shown["repeats"]) == (job["job_id"], 1)
    assert f"retry {job['job_id']}" in desk.says("drop", "song.wav", *PROMPT, "--dry-run").err
    assert "same content was dropped again" in desk.says("show", "song").out


def test_who_is_too_late_to_stop_a_repeat_is_not_advised_to_cancel_the_first_job(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    def at_the_end(upload: Upload) -> Dropped:
        raise UploadedDespiteInterrupt(put(upload))

    environment.setattr("phonoscene_cli.commands.drop.put", at_the_end)
    first = desk.says("drop", "song.wav", *PROMPT, "--yes")
    desk.announce("song.wav", "song.json")
    again = desk.says("drop", "song.wav", *PROMPT, "--yes")

    assert (first.code, again.code) == (130, 130)
    assert "Too late: it has been dropped. To stop it, use `phonoscene cancel" in first.err
    assert "Too late: it has been dropped. It costs nothing." in again.err


def made(desk: Desk, cloud: Cloud) -> tuple[Job, Video]:
    """The job of song.wav, whose video is there."""
    desk.says("drop", "song.wav", *PROMPT, "--yes")
    desk.announce("song.wav", "song.json")
    scene = Workspace.on_moto(cloud, clock=Clock(datetime.now(UTC)))
    [item] = cloud.items()
    job = scene.store.get(item["job_id"])
    assert job
    put_video = cloud.s3.put_object(Bucket=OUTPUT, Key="song/video.mp4", Body=b"film")
    video = Video(
        bucket=OUTPUT,
        key="song/video.mp4",
        version_id=put_video["VersionId"],
        bytes=4,
        sha256="0" * 64,
        content_type="video/mp4",
    )
    scene.step(scene.step(job, JobStatus.GENERATED), JobStatus.SUCCEEDED, video=video)
    return job, video


def test_who_may_not_look_for_the_video_hears_all_the_same_that_there_is_one(
    desk: Desk, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    job, _ = made(desk, cloud)

    def refuse(*_: object) -> None:
        raise ClientError({"Error": {"Code": "403"}}, "HeadObject")

    environment.setattr("phonoscene_cli.upload.repeats.see", refuse)

    again = desk.says("drop", "song.wav", *PROMPT, "--yes")

    assert again.code == 0
    assert f"Job {job.job_id} already has the video of this content, s3://" in again.err


def test_a_drop_whose_video_exists_names_it_and_shows_no_old_steps(
    desk: Desk,
    cloud: Cloud,
    environment: pytest.MonkeyPatch,
) -> None:
    job, video = made(desk, cloud)

    def announce(_: float) -> None:
        with redirect_stdout(io.StringIO()):
            desk.announce("song.wav", "song.json")

    environment.setattr(time, "sleep", announce)

    again = desk.says("drop", "song.wav", *PROMPT, "--yes", "--watch")

    assert (again.code, again.out.partition(" ")[0]) == (0, "video:")
    assert f"Job {job.job_id} already has the video of this content, s3://" in again.err
    assert "SUCCEEDED" not in again.err

    cloud.s3.delete_object(Bucket=OUTPUT, Key=video.key, VersionId=video.version_id)
    gone = desk.says("drop", "song.wav", *PROMPT, "--yes", "--out", "gone.mp4")
    retry = f"phonoscene retry {job.job_id}`"

    assert gone.code == 1
    assert "made the video of this content, so no other is made. s3://" in gone.err
    assert f"has been deleted. Restore the object, or make another video with `{retry}" in gone.err


def test_of_several_takes_only_those_are_priced_that_are_new(
    desk: Desk, cloud: Cloud, folder: Path
) -> None:
    takes = [{"prompt": "a"}, {"prompt": "b"}]
    (folder / "song.json").write_text(json.dumps(takes[:1]))
    desk.says("drop", "song.wav", "--yes")
    desk.announce("song.wav", "song.json")
    (folder / "song.json").write_text(json.dumps(takes))

    data = desk.says("drop", "song.wav", "--yes", "--json").data
    desk.announce("song.wav", "song.json")

    assert data["estimate"]["jobs"] == 1
    assert len(data["repeats"]) == 1
    assert len(cloud.items()) == 2


def test_where_repeats_are_not_skipped_none_is_forecast(desk: Desk, folder: Path) -> None:
    del folder
    desk.says("drop", "song.wav", *PROMPT, "--yes")
    desk.announce("song.wav", "song.json")
    desk.parameters["SameContent"] = "new-take"

    data = desk.says("drop", "song.wav", *PROMPT, "--dry-run", "--json").data

    assert (data["repeats"], data["estimate"]["jobs"]) == ([], 1)


def test_a_folder_that_is_ignored_takes_no_drop(desk: Desk, cloud: Cloud) -> None:
    cloud.drop("done/_defaults.json", {"ignore": True})

    result = desk.says("drop", "song.wav", *PROMPT, "--folder", "done", "--yes")

    assert result.code == 2
    assert "would be ignored" in result.err
    assert cloud.objects() == ["done/_defaults.json"]


#: What is wrong with a drop: the file, its sidecar, and what is in the bucket already.
WRONG: dict[str, tuple[bytes, Any, dict[str, Any]]] = {
    "misspelt": (silence(2), {"prompt": "a", "fsp": 3, "seed": "x"}, {}),
    "no prompt": (silence(2), {"fps": 3}, {}),
    "not json": (silence(2), "{", {}),
    "not audio": (b"text", {"prompt": "a"}, {}),
    "empty": (b"", {"prompt": "a"}, {}),
    "a long GIF": (silence(30), {"prompt": "a", "video_output_type": "GIF (.gif)"}, {}),
    "wrong scenes": (silence(30), {"prompt": "a", "scenes": [{"start": 1, "fps": 9}, 3]}, {}),
    "too dear": (silence(2), {"prompt": "a", "video_size": {"width": 9999, "height": 9999}}, {}),
    "no picture": (silence(2), {"prompt": "a", "image_url": "cover.png"}, {}),
    "auto without": (silence(2), {"prompt": "a", "video_size": "auto"}, {}),
    "a picture elsewhere": (silence(2), {"prompt": "a", "image_url": "../x.png"}, {}),
    "one take of two": (silence(2), [{"prompt": "a"}, {"prompt": "b", "fps": 99}], {}),
    "no takes": (silence(2), [], {}),
    "wrong defaults": (silence(2), {"prompt": "a"}, {"_defaults.json": {"fps": 0}}),
    "too many bytes": (silence(2), {"prompt": "a" * 70_000}, {}),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_reported_before_anything_goes_up_in_the_products_own_words(
    desk: Desk, cloud: Cloud, folder: Path, case: str
) -> None:
    audio, sidecar, lying = WRONG[case]
    text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
    (folder / "song.wav").write_bytes(audio)
    (folder / "song.json").write_text(text)
    for key, value in lying.items():
        cloud.drop(key, value)
    before = cloud.objects()

    result = desk.says("drop", "song.wav", "--yes", "--json")

    assert result.code == 1
    assert cloud.objects() == before
    assert "Nothing was dropped" in result.err
    cloud.drop("song.wav", audio)  # and now by hand
    cloud.drop("song.json", text)
    desk.announce("song.json")
    if case == "no picture":  # a drop waits for its image; a command's images go up with it
        assert [item["missing_image"] for item in cloud.items()] == ["cover.png"]
        return
    said = [error for item in cloud.items() for error in item.get("errors", [])]
    wordings = {(error["code"], error["message"]) for error in said}
    assert {(e["code"], e["message"]) for e in result.data["errors"]} == wordings


def test_what_fals_storage_would_not_take_does_not_go_up(
    desk: Desk, cloud: Cloud, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    desk.parameters["AudioDelivery"] = "fal-storage"
    environment.setattr(requests, "LARGEST_UPLOAD", (folder / "song.wav").stat().st_size - 1)

    result = desk.says("drop", "song.wav", *PROMPT, "--yes", "--json")

    assert result.code == 1
    assert [error["code"] for error in result.data["errors"]] == ["too_large_to_upload"]
    assert cloud.objects() == []


def test_a_file_that_grows_while_it_is_examined_is_named_and_not_dropped(
    desk: Desk, cloud: Cloud, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    def read_while_it_grows(*_: object) -> None:
        with (folder / "song.wav").open("ab") as file:
            file.write(b"more")
        raise ObjectUnreadable("1048576 bytes")

    environment.setattr(upload_plan, "forecast", read_while_it_grows)

    result = desk.says("drop", "song.wav", *PROMPT, "--yes")

    assert result.code == 1
    assert "song.wav has changed since it was examined, and was not dropped" in result.err
    assert cloud.objects() == []


def test_a_person_sees_every_error_with_its_fix(desk: Desk) -> None:
    result = desk.says("drop", "song.wav", *PROMPT, "--set", "fsp=30", "--set", "fps=90", "--yes")

    assert result.code == 1
    assert "did you mean fps?" in result.err
    assert "a number from 1 to 60" in result.err
    assert "2 errors" in result.err.splitlines()[-1]


def test_defaults_of_the_folder_count_and_may_make_a_sidecar_needless(
    desk: Desk,
    cloud: Cloud,
) -> None:
    cloud.drop("talks/_defaults.json", {"prompt": "From above", "wait_for_sidecar": False})

    result = desk.says("drop", "song.wav", "--folder", "talks", "--yes", "--json")
    desk.announce("talks/song.wav")

    assert cloud.item(result.data["job_ids"][0])["arguments"]["prompt"] == "From above"
    assert cloud.objects() == ["talks/_defaults.json", "talks/song.wav"]


def test_a_sidecar_that_is_there_serves_for_a_new_take(
    desk: Desk,
    cloud: Cloud,
) -> None:
    cloud.drop("song.json", {"prompt": "As before"})

    result = desk.says("drop", "song.wav", "--yes", "--json")
    desk.announce("song.wav")

    assert cloud.item(result.data["job_ids"][0])["arguments"]["prompt"] == "As before"
    assert result.data["sidecar"] == "song.json"


def test_without_any_sidecar_nothing_goes_up(desk: Desk, cloud: Cloud) -> None:
    result = desk.says("drop", "song.wav", "--yes")

    assert (result.code, cloud.objects()) == (1, [])
    assert "Use --prompt" in result.err


def test_the_sidecar_is_named_so_that_it_is_this_audios(
    desk: Desk,
    cloud: Cloud,
) -> None:
    cloud.drop("song.mp3", silence(1))

    result = desk.says("drop", "song.wav", *PROMPT, "--yes", "--json")
    desk.announce("song.wav.json")

    assert result.data["sidecar"] == "song.wav.json"
    assert cloud.item(result.data["job_ids"][0])["status"] == "SUBMITTED"


def test_each_take_of_a_sidecar_is_forecast(desk: Desk, cloud: Cloud, folder: Path) -> None:
    (folder / "song.json").write_text(json.dumps([{"prompt": "a"}, {"prompt": "b"}]))

    result = desk.says(
        "drop", "song.wav", "--set", f"video_size={json.dumps(SMALL)}", "--yes", "--json"
    )
    desk.announce("song.json")

    assert result.data["estimate"]["jobs"] == 2
    assert {item["job_id"] for item in cloud.items()} == set(result.data["job_ids"])
    assert {item["arguments"]["video_size"]["width"] for item in cloud.items()} == {64}


def test_a_dry_run_examines_and_prices_and_drops_nothing(
    desk: Desk,
    cloud: Cloud,
) -> None:
    result = desk.says("drop", "song.wav", *PROMPT, "--dry-run", "--json")

    assert (result.code, cloud.objects()) == (0, [])
    assert result.data["estimate"]["jobs"] == 1


def test_a_job_that_is_not_at_its_end_in_time_is_named_to_a_program(
    desk: Desk,
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setattr(time, "sleep", lambda _: None)

    result = desk.says("drop", "song.wav", *PROMPT, "--yes", "--timeout", "0s", "--json")

    assert result.code == 1
    assert len(result.data["job_ids"]) == 1
    assert "no record of it" in result.err


def fail(desk: Desk, *command: str) -> None:
    """Make a job that has failed."""
    assert desk.says(*command).code == 0
    desk.announce("song.json")
    [item] = desk.cloud.items()
    store = JobStore(client("dynamodb"), JOBS)
    job = store.get(item["job_id"])
    assert job
    store.move(job, JobStatus.FAILED)


@pytest.mark.parametrize("as_json", [True, False], ids=["program", "person"])
@pytest.mark.parametrize("is_retry", [False, True], ids=["drop", "retry"])
def test_when_the_time_is_up_the_job_is_named_and_a_program_gets_what_is_known_of_it(
    desk: Desk, environment: pytest.MonkeyPatch, *, is_retry: bool, as_json: bool
) -> None:
    command = ["drop", "song.wav", *PROMPT, "--yes"]
    if is_retry:
        fail(desk, *command)
        command = ["retry", "song", "--yes"]
    pause = time.sleep

    def go_on(_: float) -> None:
        with redirect_stdout(io.StringIO()):
            desk.announce("song.json")
        pause(2)  # longer than the time that is given

    environment.setattr(time, "sleep", go_on)

    result = desk.says(*command, "--watch", "--timeout", "1s", *["--json"] * as_json)

    assert result.code == 1
    assert "song is SUBMITTED" in result.err
    [made] = [item["job_id"] for item in desk.cloud.items() if item["status"] == "SUBMITTED"]
    if as_json:
        [found] = result.data["jobs"]
        assert (found["status"], found["job_id"]) == ("SUBMITTED", made)
        assert result.data["job_ids"] == [made]
    else:
        assert result.out == f"job: {made}\n"


def test_a_drop_is_followed_to_its_end_and_the_end_is_reported(
    desk: Desk,
    cloud: Cloud,
    environment: pytest.MonkeyPatch,
) -> None:
    store = JobStore(client("dynamodb"), JOBS)

    def go_on(_: float) -> None:
        with redirect_stdout(io.StringIO()):
            desk.announce("song.json")
        [item] = cloud.items()
        job = store.get(item["job_id"])
        assert job
        store.end(job, JobStatus.FAILED, errors=(ErrorDetail(code="oh", message="No."),))

    environment.setattr(time, "sleep", go_on)

    result = desk.says("drop", "song.wav", *PROMPT, "--yes", "--watch")

    assert result.code == 1
    assert "SUBMITTED" in result.err
    assert "song is FAILED" in result.err
    assert "phonoscene retry" in result.err


def test_the_takes_of_a_drop_are_distinguished(
    desk: Desk, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    (folder / "song.json").write_text(json.dumps([{"prompt": "a"}, {"prompt": "b"}]))
    environment.setattr(time, "sleep", desk.cancels("song.json"))

    result = desk.says("drop", "song.wav", "--yes", "--watch")

    for take in (1, 2):
        assert f"READY        take {take}  paired" in result.err
        assert f"song (take {take}) is CANCELLED." in result.err


def test_takes_that_are_not_at_their_end_in_time_are_distinguished(
    desk: Desk, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    (folder / "song.json").write_text(json.dumps([{"prompt": "a"}, {"prompt": "b"}]))
    environment.setattr(time, "sleep", desk.work)

    def announce(self: Upload) -> Dropped:
        dropped = run(self)
        with redirect_stdout(io.StringIO()):
            desk.announce("song.json")
        return dropped

    run = Upload.run
    environment.setattr(Upload, "run", announce)

    result = desk.says("drop", "song.wav", "--yes", "--timeout", "0s")

    assert result.code == 1
    assert "song (take 1) is SUBMITTED; song (take 2) is SUBMITTED." in result.err


def test_a_take_that_repeats_a_job_is_followed_by_that_jobs_id(
    desk: Desk, cloud: Cloud, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    takes = [{"prompt": "a"}, {"prompt": "b"}]
    (folder / "song.json").write_text(json.dumps(takes[:1]))
    desk.says("drop", "song.wav", "--yes")
    desk.announce("song.wav", "song.json")
    [job] = cloud.items()
    (folder / "song.json").write_text(json.dumps(takes))

    def announce(_: float) -> None:
        with redirect_stdout(io.StringIO()):
            desk.announce("song.wav", "song.json")

    environment.setattr(time, "sleep", announce)

    result = desk.says("drop", "song.wav", "--yes", "--timeout", "3s")

    assert f"SUBMITTED    {job['job_id'][:8]}  " in result.err
    assert "SUBMITTED    take 2  " in result.err


def test_a_drop_that_another_has_replaced_is_not_waited_for(
    desk: Desk, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    def replaced(upload: Upload) -> Dropped:
        dropped = put(upload)
        for key in ("song.wav", "song.json"):  # as another terminal does at the same time
            body = cloud.s3.get_object(Bucket="drops", Key=key)["Body"].read()
            cloud.s3.put_object(Bucket="drops", Key=key, Body=body)
        return dropped

    environment.setattr("phonoscene_cli.commands.drop.put", replaced)
    environment.setattr(follow, "SOON", -1.0)
    environment.setattr(time, "sleep", lambda _: None)

    result = desk.says("drop", "song.wav", *PROMPT, "--yes", "--watch")

    assert result.code == 1
    assert "replaced, or deleted, before they became a job: nothing is paid" in result.err
    assert "`phonoscene watch song`" in result.err


def test_a_drop_without_a_record_is_said_to_have_none_where_there_is_no_terminal(
    desk: Desk,
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setattr(follow, "SOON", -1.0)
    environment.setattr(time, "sleep", lambda _: None)

    result = desk.says("drop", "song.wav", *PROMPT, "--yes", "--timeout", "1s")

    assert result.err.count("there is still no record") == 1
    assert result.err.count("phonoscene doctor") == 2  # and at the end


def test_where_there_is_no_terminal_nothing_is_dropped(
    desk: Desk,
    cloud: Cloud,
) -> None:
    result = desk.says("drop", "song.wav", *PROMPT)

    assert (result.code, cloud.objects()) == (2, [])
    assert "--yes" in result.err


def test_a_days_spent_money_is_reported_beforehand(desk: Desk, cloud: Cloud) -> None:
    desk.parameters["DailyBudgetUsd"] = "0.51"
    scene = Workspace.on_moto(cloud, clock=Clock(datetime.now(UTC)))
    scene.bring(JobStatus.SUBMITTED)

    result = desk.says("drop", "song.wav", *PROMPT, "--dry-run")

    assert "$0.0100 of today's budget is left. The drop waits for the next day (UTC)." in result.err


def test_what_costs_nothing_waits_for_no_money_however_much_is_spent(
    desk: Desk, cloud: Cloud
) -> None:
    desk.says("drop", "song.wav", *PROMPT, "--yes")
    desk.announce("song.wav", "song.json")
    scene = Workspace.on_moto(cloud, clock=Clock(datetime.now(UTC)))
    scene.bring(JobStatus.SUBMITTED)
    desk.parameters["DailyBudgetUsd"] = "0.40"  # less than is reserved

    result = desk.says("drop", "song.wav", *PROMPT, "--dry-run")

    assert "you pay nothing more" in result.err
    assert "budget" not in result.err
