"""The same content again: a job that has its video, or is on its way, is not paid again."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.drops import contents
from phonoscene.drops.contents import MARK
from phonoscene.drops.keys import job_id
from phonoscene.fal.requests import Refused, Unknown
from phonoscene.jobs import WITHOUT_VIDEO, Job, JobStatus
from phonoscene.table.job_store import JobStore
from tests.integration.moto_stack import client
from tests.integration.workspace import WAY
from tests.support.fakes.calls import Crash
from tests.support.media.samples import png, silence
from tests.support.stack import DROPS, JOBS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from phonoscene.fal.requests import SubmitOutcome
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

    Send = Callable[..., list[str]]

SIDECAR = {"prompt": "A stage", "video_size": {"width": 64, "height": 64}}
SOUND = silence(1)
AUDIO, TEXT = "talks/intro.wav", "talks/intro.json"
_S = JobStatus


@pytest.fixture
def store(cloud: Cloud) -> JobStore:  # noqa: ARG001 - its table
    return JobStore(client("dynamodb"), JOBS)


def drop(cloud: Cloud, send: Send, sidecar: Any = SIDECAR) -> dict[str, Any]:
    """A drop of both halves, and its job."""
    cloud.drop(AUDIO, SOUND)
    cloud.drop(TEXT, json.dumps(sidecar))
    send(AUDIO, TEXT)
    (job,) = cloud.items()
    return job


def copy_in_place(cloud: Cloud, key: str, **changes: Any) -> str:
    """As tools do that set metadata, storage class or encryption; the new version."""
    source: Any = {"Bucket": DROPS, "Key": key}
    changes = changes or {"MetadataDirective": "REPLACE", "Metadata": {"mtime": "1"}}
    return str(cloud.s3.copy_object(**source, CopySource=source, **changes)["VersionId"])


def version(cloud: Cloud, key: str) -> tuple[str, str]:
    return key, cloud.s3.head_object(Bucket=DROPS, Key=key)["VersionId"]


def newest_id(cloud: Cloud) -> str:
    """The id that the job of what is in the bucket has, or would have."""
    return job_id(DROPS, version(cloud, AUDIO), version(cloud, TEXT))


def brought(store: JobStore, job: str, status: JobStatus) -> Job:
    """A SUBMITTED job, brought to another state by the table's own rules."""
    found = store.get(job)
    assert found
    if status in WITHOUT_VIDEO:
        return store.end(found, status)
    for step in WAY[status][len(WAY[_S.SUBMITTED]) :]:
        found = store.end(found, step) if step is _S.SUCCEEDED else store.move(found, step)
    return found


# A copy in place --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [AUDIO, TEXT])
@pytest.mark.parametrize(
    "changes",
    [
        {"MetadataDirective": "REPLACE", "Metadata": {"mtime": "1"}},
        {"StorageClass": "STANDARD_IA"},
        {"ServerSideEncryption": "AES256"},
        {"TaggingDirective": "REPLACE", "Tagging": "kind=talk", "MetadataDirective": "REPLACE"},
    ],
    ids=["metadata", "storage class", "encryption", "tags"],
)
def test_a_copy_in_place_is_the_same_job_and_noted_on_it(
    cloud: Cloud, fal: FakeFalQueue, send: Send, store: JobStore, key: str, changes: dict[str, Any]
) -> None:
    before = drop(cloud, send)
    copy_in_place(cloud, key, **changes)

    failed = send(key)

    (job,) = cloud.items()
    assert (failed, len(fal.posts), job["repeats"]) == ([], 1, 1)
    assert (job["job_id"], job["audio"], job["history"]) == (
        before["job_id"],
        before["audio"],
        before["history"],
    )
    found = store.get(newest_id(cloud))
    assert found
    assert found.job_id == before["job_id"]


def test_a_job_with_its_video_is_remembered_longer_than_those_of_other_bytes_that_failed(
    cloud: Cloud, fal: FakeFalQueue, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MAX_HOLDERS", 2)
    drop(cloud, send)
    for answer in (Refused("fal_refused", "no", retryable=False), None):
        fal.answer = answer
        cloud.drop(AUDIO, silence(2))
        send(AUDIO)
    made = len(fal.posts)

    cloud.drop(AUDIO, SOUND)
    send(AUDIO)

    assert (len(fal.posts), len(cloud.items())) == (made, 3)


def test_a_repeat_is_counted_once_however_often_it_is_announced(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    drop(cloud, send)
    copy_in_place(cloud, AUDIO)
    copy_in_place(cloud, TEXT)

    for _ in range(3):
        send(AUDIO, TEXT, AUDIO)

    (job,) = cloud.items()
    assert (len(fal.posts), job["repeats"]) == (1, 1)


def bring(cloud: Cloud, fal: FakeFalQueue, send: Send, store: JobStore, status: JobStatus) -> str:
    """The id of a drop's job in any state in which it has its video, or may have it."""
    answers: dict[JobStatus, SubmitOutcome] = {
        _S.READY: Refused("fal_busy", "busy", retryable=True),
        _S.UNCONFIRMED: Unknown("the answer is lost"),
    }
    fal.answer = answers.get(status)
    if status is _S.SUBMITTING:
        fal.on_post = _crash
        with pytest.raises(Crash):
            drop(cloud, send)
        fal.on_post = lambda _: None
    else:
        drop(cloud, send)
    (job,) = cloud.items()
    if status in (_S.GENERATED, _S.SUCCEEDED):
        brought(store, job["job_id"], status)
    return str(job["job_id"])


def _crash(_: Any) -> None:
    raise Crash


@pytest.mark.parametrize("status", sorted(set(WAY) - WITHOUT_VIDEO, key=str))
def test_what_has_its_video_or_is_on_its_way_to_it_is_not_made_again(
    cloud: Cloud, fal: FakeFalQueue, send: Send, store: JobStore, status: JobStatus
) -> None:
    first = bring(cloud, fal, send, store, status)
    before = cloud.item(first)["status"]

    for key in (AUDIO, TEXT):
        copy_in_place(cloud, key)
        send(key)

    (job,) = cloud.items()
    assert (before, job["job_id"], job["status"], job["repeats"]) == (status, first, status, 2)
    assert len(fal.posts) == 1


@pytest.mark.parametrize("status", [_S.FAILED, _S.CANCELLED])
def test_what_ended_without_a_video_starts_anew(
    cloud: Cloud, fal: FakeFalQueue, send: Send, store: JobStore, status: JobStatus
) -> None:
    first = drop(cloud, send)["job_id"]
    brought(store, first, status)
    copy_in_place(cloud, AUDIO)

    send(AUDIO)
    copy_in_place(cloud, AUDIO)
    send(AUDIO)

    ended, again = sorted(cloud.items(), key=lambda item: str(item["created_at"]))
    assert (ended["job_id"], ended["status"]) == (first, status)
    assert (again["status"], again["repeats"], len(fal.posts)) == ("SUBMITTED", 1, 2)


def test_an_event_of_a_job_that_failed_does_not_start_it_anew(
    cloud: Cloud, fal: FakeFalQueue, send: Send, store: JobStore
) -> None:
    brought(store, drop(cloud, send)["job_id"], _S.FAILED)

    send(AUDIO, TEXT)

    assert [item["status"] for item in cloud.items()] == ["FAILED"]
    assert len(fal.posts) == 1


def test_an_event_of_a_repeat_whose_job_failed_since_does_not_start_it_anew(
    cloud: Cloud, fal: FakeFalQueue, send: Send, store: JobStore
) -> None:
    first = drop(cloud, send)["job_id"]
    copy_in_place(cloud, AUDIO)
    send(AUDIO)
    brought(store, first, _S.FAILED)

    send(AUDIO, TEXT)

    assert [item["status"] for item in cloud.items()] == ["FAILED"]
    assert len(fal.posts) == 1


def test_a_drop_that_waits_for_an_image_and_its_copy_are_paid_once(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    drop(cloud, send, SIDECAR | {"image_url": "cover.png"})
    [waiting] = [item["job_id"] for item in cloud.items()]
    cloud.drop("talks/cover.png", png(64, 64))
    copy_in_place(cloud, TEXT)

    send(TEXT)

    send("talks/cover.png")
    send({"job_id": waiting})  # its sidecar was replaced: it is rejected when its wait ends

    assert sorted(item["status"] for item in cloud.items()) == ["SUBMITTED", "WAITING"]
    assert len(fal.posts) == 1


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(SIDECAR, indent=4),
        json.dumps(dict(reversed(SIDECAR.items()))),
        json.dumps([SIDECAR]),
        json.dumps(SIDECAR | {"fps": 24, "sync_mode": False}),
        "\ufeff" + json.dumps(SIDECAR),
    ],
    ids=["indented", "in another order", "as a list", "with defaults", "with a BOM"],
)
def test_a_sidecar_that_says_the_same_in_other_bytes_is_the_same(
    cloud: Cloud, fal: FakeFalQueue, send: Send, text: str
) -> None:
    drop(cloud, send)
    cloud.drop(TEXT, text)

    send(TEXT)

    assert (len(cloud.items()), len(fal.posts)) == (1, 1)


def test_a_drop_that_repeats_a_job_is_not_rejected_by_limits_that_came_later(
    cloud: Cloud, send: Send, submit: ModuleType, environment: pytest.MonkeyPatch
) -> None:
    drop(cloud, send)
    environment.setenv("MAX_JOB_COST_USD", "0.000001")
    submit.build.cache_clear()
    copy_in_place(cloud, AUDIO)

    send(AUDIO)

    assert [item["status"] for item in cloud.items()] == ["SUBMITTED"]


# What was changed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "body"),
    [
        (AUDIO, silence(1, rate=8001)),
        (AUDIO, silence(0.5)),
        (TEXT, json.dumps(SIDECAR | {"prompt": "A stage."})),
        (TEXT, json.dumps(SIDECAR | {"seed": 1})),
        ("talks/_defaults.json", '{"fps": 12}'),
        ("_defaults.json", '{"negative_prompt": ""}'),
    ],
)
def test_what_was_changed_is_a_new_take(
    cloud: Cloud, fal: FakeFalQueue, send: Send, key: str, body: str | bytes
) -> None:
    drop(cloud, send)
    cloud.drop(key, body)
    copy_in_place(cloud, AUDIO)

    send(AUDIO)

    assert (len(cloud.items()), len(fal.posts)) == (2, 2)


@pytest.mark.parametrize(
    "defaults",
    ['{"prompt": "Another"}', '{"wait_for_sidecar": true}', '{"ignore": false}', "{}"],
)
def test_defaults_that_change_nothing_for_a_drop_make_no_new_take(
    cloud: Cloud, fal: FakeFalQueue, send: Send, defaults: str
) -> None:
    drop(cloud, send)
    cloud.drop("talks/_defaults.json", defaults)
    copy_in_place(cloud, AUDIO)

    send(AUDIO)

    assert (len(cloud.items()), len(fal.posts)) == (1, 1)


@pytest.mark.parametrize(("image", "jobs"), [(png(64, 64), 1), (png(64, 48), 2)])
def test_an_image_that_is_put_again_is_the_same_and_another_one_is_not(
    cloud: Cloud, fal: FakeFalQueue, send: Send, image: bytes, jobs: int
) -> None:
    cloud.drop("talks/cover.png", png(64, 64))
    drop(cloud, send, SIDECAR | {"image_url": "cover.png"})
    cloud.drop("talks/cover.png", image)
    copy_in_place(cloud, TEXT)

    send(TEXT)

    assert (len(cloud.items()), len(fal.posts)) == (jobs, jobs)


def test_what_is_changed_back_is_the_first_job_and_the_newest_drop_of_the_name(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    first = drop(cloud, send)
    cloud.drop(TEXT, json.dumps(SIDECAR | {"seed": 1}))
    send(TEXT)
    cloud.drop(TEXT, json.dumps(SIDECAR))

    send(TEXT)

    jobs = {item["job_id"]: item for item in cloud.items()}
    assert len(jobs) == len(fal.posts) == 2
    assert jobs.pop(first["job_id"])["repeats"] == 1


def test_an_audio_file_that_needs_no_sidecar_is_not_made_again(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("talks/_defaults.json", SIDECAR | {"wait_for_sidecar": False})
    cloud.drop(AUDIO, SOUND)
    send(AUDIO)
    copy_in_place(cloud, AUDIO)

    send(AUDIO)

    (job,) = cloud.items()
    assert (job["repeats"], len(fal.posts)) == (1, 1)


# On purpose -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [AUDIO, TEXT])
def test_a_mark_in_the_metadata_is_another_take_and_its_copies_are_not(
    cloud: Cloud, fal: FakeFalQueue, send: Send, key: str
) -> None:
    drop(cloud, send)
    copy_in_place(cloud, key, MetadataDirective="REPLACE", Metadata={MARK: "2"})
    send(key)

    for changes in ({"StorageClass": "STANDARD_IA"}, {"MetadataDirective": "REPLACE"}):
        copy_in_place(cloud, key, **changes)
        send(key)

    assert (len(cloud.items()), len(fal.posts)) == (2, 2)


def test_new_take_makes_a_job_of_each_drop_with_the_ids_of_its_versions(
    cloud: Cloud, fal: FakeFalQueue, send: Send, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("SAME_CONTENT", "new-take")
    ids = []
    drop(cloud, send)
    for key in (AUDIO, TEXT):
        ids.append(newest_id(cloud))
        copy_in_place(cloud, key)
        send(key)
    ids.append(newest_id(cloud))

    assert {item["job_id"] for item in cloud.items()} == set(ids)
    assert len(fal.posts) == len(set(ids)) == 3


def test_a_repeat_stays_one_when_the_stack_no_longer_skips_them(
    cloud: Cloud, fal: FakeFalQueue, send: Send, submit: ModuleType, environment: pytest.MonkeyPatch
) -> None:
    drop(cloud, send)
    copy_in_place(cloud, AUDIO)
    send(AUDIO)
    environment.setenv("SAME_CONTENT", "new-take")
    submit.build.cache_clear()

    send(AUDIO, TEXT)

    assert (len(cloud.items()), len(fal.posts)) == (1, 1)


# By the id of a repeat --------------------------------------------------------------------------


def test_what_is_done_to_a_repeat_is_done_to_its_job(
    cloud: Cloud, send: Send, store: JobStore
) -> None:
    first = drop(cloud, send)["job_id"]
    copy_in_place(cloud, AUDIO)
    send(AUDIO)

    dispatched = send({"job_id": newest_id(cloud)})
    cancelled = send({"cancel": newest_id(cloud)})

    found = store.get(first)
    assert (dispatched, cancelled) == ([], [])
    assert found
    assert found.status is _S.CANCELLED


def test_a_repeat_costs_nothing(cloud: Cloud, send: Send, store: JobStore) -> None:
    day = drop(cloud, send)["reservation"]["day"]
    before = store.ledger.day(day)

    for _ in range(3):
        copy_in_place(cloud, AUDIO)
        send(AUDIO)

    assert store.ledger.day(day) == before
    assert before
    assert before.reserved > Decimal(0)
