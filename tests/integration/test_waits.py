"""What a drop rests and waits for, on moto: the other half that may follow, and its images."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.table.items import from_item
from phonoscene.workflow import intake
from tests.support.media.samples import png, silence
from tests.support.stack import created, sqs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tests.integration.conftest import Context
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

    Send = Callable[..., list[str]]

SIDECAR = {"prompt": "a harbour"}
WITH_COVER = SIDECAR | {"image_url": "cover.png"}


@pytest.fixture
def send(
    submit: ModuleType, fal: FakeFalQueue, context: Context, environment: pytest.MonkeyPatch
) -> Send:
    """Deliver events, or messages, to ``submit``, whose drops rest for five seconds."""
    del fal  # it is in its place
    environment.setenv("SETTLE_SECONDS", "5")

    def deliver(*messages: str) -> list[str]:
        bodies: list[Any] = [one if one[0] == "{" else created(one) for one in messages]
        answer = submit.handler(sqs(*bodies), context)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    return deliver


def sent(cloud: Cloud) -> list[dict[str, Any]]:
    """What ``submit`` has sent to its own queue."""
    return [json.loads(message) for message in cloud.sent("drops")]


def send_rested(cloud: Cloud, send: Send) -> None:
    """Deliver what ``submit`` has sent to its own queue."""
    send(*map(json.dumps, sent(cloud)))


def drop_without_cover(cloud: Cloud, send: Send) -> None:
    """Drop a pair whose image is missing, and let it rest: it waits."""
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", WITH_COVER)
    send("song.json")
    send_rested(cloud, send)


def test_the_first_two_halves_start_with_the_second_ones_event(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("a/song.json", SIDECAR)
    first = send("a/song.json")
    cloud.drop("a/song.mp3", silence(2))

    second = send("a/song.mp3")

    assert (first, second, len(fal.posts)) == ([], [], 1)
    (rests,) = sent(cloud)
    assert rests["detail"]["object"]["key"] == "a/song.json"
    assert rests["detail"]["reason"] == "phonoscene"


def test_a_file_in_another_format_rests_because_the_audio_may_follow(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop("song.json", SIDECAR)
    send("song.json")
    send_rested(cloud, send)
    cloud.drop("song.mp4", b"\0")

    send("song.mp4")

    assert [item["status"] for item in cloud.items()] == ["WAITING"]
    send_rested(cloud, send)
    assert [item["status"] for item in cloud.items()] == ["REJECTED"]


def test_a_half_that_is_dropped_again_rests_and_then_makes_a_job(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)
    send("song.json")
    cloud.drop("song.json", SIDECAR | {"seed": 2})

    send("song.json")
    before = len(fal.posts)
    send_rested(cloud, send)

    assert (before, len(fal.posts)) == (1, 2)


def test_a_name_that_was_removed_before_is_no_first_drop(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.s3.delete_object(Bucket="drops", Key="song.mp3")
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)

    send("song.json")

    assert (fal.posts, len(sent(cloud))) == ([], 1)


@pytest.mark.parametrize("cover", ["cover.png", "Cover.PNG", "cafe\u0301.png"])
def test_a_drop_waits_for_its_image_and_starts_when_it_comes(
    cloud: Cloud, fal: FakeFalQueue, send: Send, cover: str
) -> None:
    cloud.drop("a/song.mp3", silence(2))
    cloud.drop("a/song.json", SIDECAR | {"image_url": unicodedata.normalize("NFC", cover)})
    send("a/song.json")
    send_rested(cloud, send)
    (waiting,) = cloud.items()
    cloud.drop(f"a/{cover}", png(640, 360))

    send(f"a/{cover}")
    send_rested(cloud, send)

    assert (waiting["status"], waiting["waits_for"]) == ("WAITING", "image")
    assert waiting["missing_image"] == "a/" + unicodedata.normalize("NFC", cover)
    (job,) = cloud.items()
    assert (job["job_id"], job["status"], len(fal.posts)) == (waiting["job_id"], "SUBMITTED", 1)
    assert "missing_image" not in job
    assert [step["status"] for step in job["history"]][:2] == ["WAITING", "READY"]


def test_a_drop_whose_image_does_not_come_within_the_grace_is_rejected(
    cloud: Cloud, fal: FakeFalQueue, send: Send, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("PAIR_GRACE_MINUTES", "0")
    drop_without_cover(cloud, send)
    (waiting,) = cloud.items()

    send(json.dumps({"job_id": waiting["job_id"]}))

    (job,) = cloud.items()
    assert (waiting["status"], job["status"], fal.posts) == ("WAITING", "REJECTED", [])
    assert [error["code"] for error in job["errors"]] == ["image_not_found"]
    assert {"missing_image", "waits_until", "due_at", "dispatch_at"}.isdisjoint(job)


def test_a_drop_that_was_replaced_while_it_waited_for_its_image_is_rejected(
    cloud: Cloud, fal: FakeFalQueue, send: Send, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("PAIR_GRACE_MINUTES", "0")
    drop_without_cover(cloud, send)
    (waiting,) = cloud.items()
    cloud.drop("song.json", WITH_COVER | {"prompt": "a newer one"})
    cloud.drop("cover.png", png(640, 360))

    send(json.dumps({"job_id": waiting["job_id"]}))

    (job,) = cloud.items()
    assert (job["job_id"], job["status"], fal.posts) == (waiting["job_id"], "REJECTED", [])
    assert [error["code"] for error in job["errors"]] == ["drop_gone"]


def test_an_image_that_is_not_one_rejects_the_drop_that_waited_for_it(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    drop_without_cover(cloud, send)
    cloud.drop("cover.png", b"<svg/>")

    send("cover.png")
    send_rested(cloud, send)

    (job,) = cloud.items()
    assert (job["status"], fal.posts) == ("REJECTED", [])
    assert [error["code"] for error in job["errors"]] == ["not_an_image"]


def test_what_is_cancelled_while_it_waits_does_not_start_when_its_image_comes(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    drop_without_cover(cloud, send)
    (waiting,) = cloud.items()
    send(json.dumps({"cancel": waiting["job_id"]}))
    cloud.drop("cover.png", png(640, 360))

    send("cover.png", "song.json", json.dumps({"job_id": waiting["job_id"]}))

    (job,) = cloud.items()
    assert (job["status"], fal.posts, sent(cloud)) == ("CANCELLED", [], [])


def test_an_image_starts_so_many_drops_and_leaves_the_younger_ones_to_reconcile(
    cloud: Cloud, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_WOKEN", 10)
    drop_without_cover(cloud, send)
    waiting: Any = cloud.dynamodb.scan(TableName="jobs")["Items"][0]
    cloud.dynamodb.delete_item(TableName="jobs", Key={"job_id": waiting["job_id"]})
    for number in range(12):
        mine = {"job_id": {"S": f"{number:032x}"}, "dispatch_at": {"S": f"2026-11-27T{number:05}"}}
        cloud.dynamodb.put_item(TableName="jobs", Item=waiting | mine)

    send("cover.png")

    assert [one["job_id"] for one in sent(cloud)] == [f"{number:032x}" for number in range(10)]
    assert from_item(waiting)["backlog_shard"] > 15


def test_an_image_that_nothing_waits_for_is_nobodys_business(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("cover.png", png(640, 360))

    failed = send("cover.png", "cover%2Epng", "_assets/cover.png")

    assert (failed, cloud.items(), sent(cloud), fal.posts) == ([], [], [], [])
