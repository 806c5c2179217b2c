"""``retry``: a new take of what has ended, and of nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.fal.requests import Refused
from phonoscene.jobs import FINAL, DropObject, JobStatus
from phonoscene.table.job_store import JobStore
from phonoscene_cli.upload.dry_run import Forecast
from phonoscene_cli.upload.retry_plan import Retake
from tests.integration.moto_stack import client
from tests.integration.workspace import Workspace
from tests.support.documented import keys
from tests.support.media.samples import silence
from tests.support.stack import JOBS

if TYPE_CHECKING:
    from tests.integration.desk import Desk
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

_S = JobStatus
SIDECAR = {"prompt": "A stage", "video_size": {"width": 64, "height": 64}}


@pytest.fixture
def store(cloud: Cloud) -> JobStore:  # noqa: ARG001 - its table
    return JobStore(client("dynamodb"), JOBS)


def dropped(desk: Desk, sidecar: Any = SIDECAR, name: str = "talks/intro") -> list[dict[str, Any]]:
    """A drop's records, once ``submit`` has looked at it."""
    desk.cloud.drop(f"{name}.wav", silence(1))
    if sidecar is not None:
        desk.cloud.drop(f"{name}.json", json.dumps(sidecar))
    desk.announce(f"{name}.wav" if sidecar is None else f"{name}.json")
    return desk.cloud.items()


def cancelled(desk: Desk, store: JobStore, sidecar: Any = SIDECAR) -> str:
    """The id of a drop's job that somebody has stopped; the first where there are several."""
    first = str(dropped(desk, sidecar)[0]["job_id"])
    job = store.get(first)
    assert job
    store.end(job, _S.CANCELLED)
    return first


def body(cloud: Cloud, key: str = "talks/intro.json") -> Any:
    return json.load(cloud.s3.get_object(Bucket="drops", Key=key)["Body"])


def test_a_failed_job_is_taken_again_as_it_was(desk: Desk, cloud: Cloud, fal: FakeFalQueue) -> None:
    fal.answer = Refused("fal_refused", "no", retryable=False)
    [failed] = dropped(desk)
    assert failed["status"] == "FAILED"
    fal.answer = None

    result = desk.says("retry", "talks/intro", "--yes", "--json")
    desk.announce("talks/intro.json")

    assert set(result.data) == keys("retry")
    assert result.data["retry_of"] == failed["job_id"]
    [again] = result.data["job_ids"]
    assert cloud.item(again)["status"] == "SUBMITTED"
    assert cloud.item(again)["arguments"] == failed["arguments"]
    assert cloud.item(failed["job_id"]) == failed


def test_a_rejected_job_is_taken_again_once_its_field_is_mended(desk: Desk, cloud: Cloud) -> None:
    [rejected] = dropped(desk, SIDECAR | {"fps": 90})

    as_it_was = desk.says("retry", rejected["job_id"], "--yes", "--json")
    result = desk.says("retry", rejected["job_id"], "--set", "fps=12", "--yes", "--json")
    desk.announce("talks/intro.json")

    assert (as_it_was.code, as_it_was.data["errors"][0]["field"]) == (1, "fps")
    assert as_it_was.err.splitlines()[-1] == (
        "error: It would be REJECTED again: 1 error. "
        "Correct the field with --set, or drop corrected files."
    )
    assert cloud.item(result.data["job_ids"][0])["arguments"]["fps"] == 12
    assert body(cloud) == SIDECAR | {"fps": 12}


def test_of_several_takes_the_one_that_is_meant_is_taken_alone(
    desk: Desk, cloud: Cloud, store: JobStore
) -> None:
    takes = [SIDECAR | {"prompt": text} for text in "ab"]
    first = cancelled(desk, store, takes)
    prompt = cloud.item(first)["arguments"]["prompt"]

    result = desk.says("retry", first, "--set", "fps=12", "--yes", "--json")
    desk.announce("talks/intro.json")

    assert result.data["estimate"]["jobs"] == 1
    assert body(cloud) == SIDECAR | {"prompt": prompt, "fps": 12}
    assert "of its sidecar. It replaces the sidecar, which listed several" in result.err
    assert cloud.item(result.data["job_ids"][0])["status"] == "SUBMITTED"


@pytest.mark.parametrize("changes", [(), ("--set", "fps=12")], ids=["as it was", "changed"])
def test_what_had_no_sidecar_is_taken_again_by_its_audio_or_given_one(
    desk: Desk, cloud: Cloud, store: JobStore, changes: tuple[str, ...]
) -> None:
    cloud.drop("talks/_defaults.json", {**SIDECAR, "wait_for_sidecar": False})
    job = cancelled(desk, store, None)

    result = desk.says("retry", job, *changes, "--yes", "--json")
    desk.announce("talks/intro.json" if changes else "talks/intro.wav")

    again = cloud.item(result.data["job_ids"][0])
    assert again["arguments"]["fps"] == (12 if changes else 24)
    assert ("sidecar" in again) == bool(changes)
    assert again["job_id"] != job


def test_an_audio_that_waited_in_vain_is_given_its_sidecar(
    desk: Desk, cloud: Cloud, store: JobStore
) -> None:
    [half] = dropped(desk, None)
    waiting = store.get(half["job_id"])
    assert waiting
    store.end(waiting, _S.REJECTED)

    bare = desk.says("retry", half["job_id"], "--yes")
    result = desk.says("retry", half["job_id"], "--set", "prompt=A stage", "--yes", "--json")
    desk.announce("talks/intro.json")

    assert (bare.code, "has no sidecar" in bare.err) == (1, True)
    assert cloud.item(result.data["job_ids"][0])["status"] == "SUBMITTED"


def test_a_sidecar_that_waited_in_vain_cannot_be_retried(
    desk: Desk, cloud: Cloud, store: JobStore
) -> None:
    cloud.drop("talks/intro.json", SIDECAR)
    desk.announce("talks/intro.json")
    [half] = cloud.items()
    waiting = store.get(half["job_id"])
    assert waiting
    store.end(waiting, _S.REJECTED)

    result = desk.says("retry", "talks/intro", "--yes")

    assert result.code == 1
    assert "has no audio" in result.err


def test_a_key_that_was_refused_cannot_be_retried(desk: Desk, cloud: Cloud) -> None:
    cloud.drop("a/../song.wav", silence(1))
    desk.announce("a/../song.wav")
    [refused] = cloud.items()

    assert desk.says("retry", refused["job_id"], "--yes").code == 1


@pytest.mark.parametrize("status", sorted({*JobStatus} - FINAL - {_S.WAITING}, key=str))
def test_what_may_still_have_its_video_is_not_taken_again(
    desk: Desk, cloud: Cloud, status: JobStatus
) -> None:
    job = Workspace.on_moto(cloud).bring(status)

    result = desk.says("retry", job.job_id, "--yes")

    assert result.code == 1
    assert f"is {status}" in result.err
    assert cloud.s3.list_objects_v2(Bucket="drops")["KeyCount"] == 0


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("talks/intro.wav", "dropped again since"),
        ("talks/intro.json", "in another version"),
        ("talks/intro.wav.json", "in another version"),
    ],
)
def test_what_was_replaced_since_is_not_put_over_what_came_later(
    desk: Desk, cloud: Cloud, store: JobStore, key: str, why: str
) -> None:
    job = cancelled(desk, store)
    cloud.drop(key, silence(2) if key.endswith("wav") else SIDECAR)

    result = desk.says("retry", job, "--yes")

    assert result.code == 1
    assert why in result.err


def succeeded(desk: Desk, store: JobStore, sidecar: Any = SIDECAR) -> str:
    """The id of a drop's job that has its video; the first where there are several."""
    first = str(dropped(desk, sidecar)[0]["job_id"])
    job = store.get(first)
    assert job
    store.end(store.move(job, _S.GENERATED), _S.SUCCEEDED)
    return first


@pytest.mark.parametrize("times", [1, 2])
def test_a_job_that_has_its_video_is_taken_again_as_it_was_and_priced(
    desk: Desk, cloud: Cloud, store: JobStore, times: int
) -> None:
    job = succeeded(desk, store)
    before = cloud.item(job)

    for _ in range(times):
        result = desk.says("retry", job, "--yes", "--json")
        assert result.code == 0, result.err
        assert result.data["estimate"]["upper_usd"] > 0
        desk.announce("talks/intro.json")
        [again] = result.data["job_ids"]
        assert cloud.item(again)["status"] == "SUBMITTED"
        store.end(store.move(store.get(again), _S.GENERATED), _S.SUCCEEDED)  # type: ignore[arg-type]
        job, arguments = again, cloud.item(again)["arguments"]

    assert arguments == before["arguments"]
    assert len(cloud.items()) == 1 + times


def test_what_it_asks_before_it_pays_for_another_take_names_the_price(
    desk: Desk, store: JobStore
) -> None:
    job = succeeded(desk, store)

    result = desk.says("retry", job)

    assert result.code == 2
    assert "$0." in result.err


def test_an_audio_alone_that_has_its_video_is_taken_again(
    desk: Desk, cloud: Cloud, store: JobStore
) -> None:
    cloud.drop("talks/_defaults.json", {**SIDECAR, "wait_for_sidecar": False})
    job = succeeded(desk, store, None)

    result = desk.says("retry", job, "--yes", "--json")
    desk.announce("talks/intro.wav")

    assert cloud.item(result.data["job_ids"][0])["status"] == "SUBMITTED"


@pytest.mark.parametrize(
    ("defaults", "why"),
    [({}, "would wait for a sidecar"), ({"ignore": True}, "would be ignored")],
)
def test_an_audio_alone_whose_defaults_make_no_job_of_it_any_more_is_not_put(
    desk: Desk, cloud: Cloud, store: JobStore, defaults: dict[str, Any], why: str
) -> None:
    cloud.drop("talks/_defaults.json", {**SIDECAR, "wait_for_sidecar": False})
    job = cancelled(desk, store, None)
    cloud.drop("talks/_defaults.json", defaults)

    result = desk.says("retry", job, "--yes")

    assert result.code == 1
    assert why in result.err


def test_an_audio_alone_is_put_as_it_was_when_it_was_priced(cloud: Cloud) -> None:
    priced = DropObject(key="song.wav", version_id=cloud.drop("song.wav", silence(1)))
    cloud.drop("song.wav", silence(2))

    Retake("drops", priced, None, Forecast()).put(cloud.s3)

    assert cloud.s3.get_object(Bucket="drops", Key="song.wav")["Body"].read() == silence(1)


@pytest.mark.parametrize("key", ["talks/intro.wav", "talks/intro.json"])
@pytest.mark.parametrize("end", [cancelled, succeeded])
@pytest.mark.parametrize("sidecar", [SIDECAR, [SIDECAR, SIDECAR | {"seed": 1}]])
def test_a_job_is_taken_again_though_its_files_were_copied_in_place(
    desk: Desk, cloud: Cloud, store: JobStore, key: str, end: Any, sidecar: Any
) -> None:
    first = str(dropped(desk, sidecar)[0]["job_id"])
    source: Any = {"Bucket": "drops", "Key": key}
    cloud.s3.copy_object(**source, CopySource=source, MetadataDirective="REPLACE")
    desk.announce(key)
    job = store.get(first)
    assert job
    store.end(
        job if end is cancelled else store.move(job, _S.GENERATED),
        _S.CANCELLED if end is cancelled else _S.SUCCEEDED,
    )

    result = desk.says("retry", first, "--set", "fps=12", "--yes", "--json")
    desk.announce("talks/intro.json")

    assert result.code == 0, result.err
    again = cloud.item(result.data["job_ids"][0])
    assert (again["status"], again["arguments"]["fps"]) == ("SUBMITTED", 12)


@pytest.mark.parametrize("key", ["talks/intro.wav", "talks/intro.json"])
def test_what_was_removed_since_is_missed_in_words(
    desk: Desk, cloud: Cloud, store: JobStore, key: str
) -> None:
    job = cancelled(desk, store)
    cloud.s3.delete_object(Bucket="drops", Key=key)

    result = desk.says("retry", job, "--yes")

    assert result.code == 1
    assert "no longer in the bucket" in result.err


def test_nothing_is_put_without_a_yes(desk: Desk, cloud: Cloud, store: JobStore) -> None:
    job = cancelled(desk, store)
    before = cloud.s3.list_object_versions(Bucket="drops")["Versions"]

    result = desk.says("retry", job)

    assert result.code == 2
    assert cloud.s3.list_object_versions(Bucket="drops")["Versions"] == before
