"""A sidecar that lists several takes: one job each, all of the same audio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.drops.sidecar_files import MAX_TAKES
from phonoscene.jobs import JobStatus
from phonoscene.table.job_store import JobStore
from tests.integration.workspace import Workspace
from tests.support.fakes.calls import Crash
from tests.support.media.samples import png, silence
from tests.support.stack import created, sqs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tests.integration.conftest import Context
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

    Announce = Callable[..., list[str]]

SMALL = {"width": 64, "height": 64}


@pytest.fixture
def announce(submit: ModuleType, fal: FakeFalQueue, context: Context) -> Announce:  # noqa: ARG001 - in its place
    """Hand the function S3's event for a key; the messages that failed."""

    def announce(key: str) -> list[str]:
        failed = submit.handler(sqs(created(key)), context)["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in failed]

    return announce


def drop(cloud: Cloud, takes: Any, name: str = "albums/song") -> str:
    """An audio file and a sidecar of this; the sidecar's key."""
    cloud.drop(f"{name}.mp3", silence(2))
    cloud.drop(f"{name}.json", json.dumps(takes))
    return f"{name}.json"


def jobs(cloud: Cloud) -> list[dict[str, Any]]:
    """Every job, by its prompt."""
    return sorted(cloud.items(), key=lambda item: str(item.get("arguments", {}).get("prompt")))


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Take {n:02}", "video_size": SMALL} for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, MAX_TAKES])
def test_each_take_is_a_job_of_its_own_from_the_same_audio(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce, count: int
) -> None:
    key = drop(cloud, prompts(count))

    assert announce(key) == []

    made = jobs(cloud)
    assert len({job["job_id"] for job in made}) == count
    assert {job["status"] for job in made} == {"SUBMITTED"}
    assert [job["arguments"]["prompt"] for job in made] == [f"Take {n:02}" for n in range(count)]
    assert len({job["audio"]["version_id"] for job in made}) == 1
    assert len({job["sidecar"]["version_id"] for job in made}) == 1
    assert {job["name"] for job in made} == {"albums/song"}
    places = [None] if count == 1 else [*range(1, count + 1)]
    assert [job.get("take") for job in made] == places
    born = [job["created_at"] for job in sorted(made, key=lambda job: job.get("take", 0))]
    assert born == sorted(set(born))  # so a name's newest job is the last of them
    assert sorted(post.arguments["prompt"] for post in fal.posts) == [
        f"Take {n:02}" for n in range(count)
    ]


def test_a_list_of_one_take_is_the_same_job_as_the_take_alone(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    key = drop(cloud, prompts(1))

    announce(key)
    announce(key)

    assert len(jobs(cloud)) == len(fal.posts) == 1


def test_each_take_takes_a_slot_and_money_of_its_own(cloud: Cloud, announce: Announce) -> None:
    announce(drop(cloud, prompts(3)))

    held = [job["reservation"] for job in jobs(cloud)]
    in_flight, _, reserved = Workspace.on_moto(cloud).sums(held[0]["day"])
    assert in_flight == len(held) == 3
    assert reserved == sum(one["usd"] for one in held) > 0


def test_an_audio_file_that_comes_last_starts_all_takes_and_nothing_waits_any_more(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    cloud.drop("albums/song.json", json.dumps(prompts(3)))
    announce("albums/song.json")
    waiting = [item["status"] for item in cloud.items()]
    cloud.drop("albums/song.mp3", silence(2))

    announce("albums/song.mp3")

    assert waiting == ["WAITING"]
    assert [job["status"] for job in jobs(cloud)] == ["SUBMITTED"] * 3
    assert len(fal.posts) == 3


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, MAX_TAKES + 1])
def test_a_list_of_no_takes_or_of_too_many_is_refused_as_a_whole(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce, count: int
) -> None:
    announce(drop(cloud, prompts(count)))

    (job,) = jobs(cloud)
    (error,) = job["errors"]
    assert (job["status"], error["code"]) == ("REJECTED", "wrong_number_of_takes")
    assert f"lists {count} takes; it may list 1 to 20" in error["message"]
    assert fal.posts == []


@pytest.mark.parametrize("take", ["a prompt", 7, None, True, ["a", "list"]])
def test_a_take_that_is_no_object_is_refused_by_its_position_and_nothing_is_sent(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce, take: Any
) -> None:
    announce(drop(cloud, [*prompts(3), take, *prompts(1)]))

    (job,) = jobs(cloud)
    (error,) = job["errors"]
    assert (job["status"], error["code"]) == ("REJECTED", "not_an_object")
    assert error["source"] == "albums/song.json[3]"
    assert error["message"].startswith("albums/song.json[3] must hold one JSON object")
    assert fal.posts == []


def test_a_take_with_errors_is_rejected_alone_and_reported_by_its_position(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    takes = prompts(5)
    takes[3] |= {"fps": 61, "promt": "x"}

    announce(drop(cloud, takes))

    made = jobs(cloud)
    (rejected,) = [job for job in made if job["status"] == "REJECTED"]
    assert [job["status"] for job in made if job is not rejected] == ["SUBMITTED"] * 4
    assert sorted(error["code"] for error in rejected["errors"]) == [
        "out_of_range",
        "unknown_field",
    ]
    assert {error["source"] for error in rejected["errors"]} == {"albums/song.json[3]"}
    assert sorted(post.arguments["prompt"] for post in fal.posts) == [
        "Take 00",
        "Take 01",
        "Take 02",
        "Take 04",
    ]


def test_an_audio_file_that_is_none_rejects_every_take(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    key = drop(cloud, prompts(3))
    cloud.drop("albums/song.mp3", b"")

    announce("albums/song.mp3")
    announce(key)

    made = jobs(cloud)
    assert {job["status"] for job in made} == {"REJECTED"}
    assert [[error["code"] for error in job["errors"]] for job in made] == [["empty_audio"]] * 3
    assert fal.posts == []


def test_a_take_that_is_too_dear_is_rejected_alone(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    """The limit is a job's; what all cost together is the budget's business."""
    dear = {"prompt": "Zoom", "video_size": {"width": 14142, "height": 14142}}

    announce(drop(cloud, [*prompts(2), dear]))

    made = jobs(cloud)
    assert [job["status"] for job in made] == ["SUBMITTED", "SUBMITTED", "REJECTED"]
    assert [error["code"] for error in made[2]["errors"]] == ["cost_too_high"]
    assert len(fal.posts) == 2


# Defaults ---------------------------------------------------------------------------------------


def test_defaults_hold_for_each_take_and_a_take_wins_over_them(
    cloud: Cloud, announce: Announce
) -> None:
    cloud.drop("_defaults.json", {"fps": 12, "video_quality": "low"})
    cloud.drop("albums/_defaults.json", {"fps": 10, "video_size": SMALL})
    takes = [{"prompt": "Take 00"}, {"prompt": "Take 01", "fps": 30}]

    announce(drop(cloud, takes))

    shown = [job["arguments"] for job in jobs(cloud)]
    assert [arguments["fps"] for arguments in shown] == [10, 30]
    assert [arguments["video_quality"] for arguments in shown] == ["low", "low"]
    assert [arguments["video_size"] for arguments in shown] == [SMALL, SMALL]


def test_what_one_take_says_is_not_said_by_the_next(cloud: Cloud, announce: Announce) -> None:
    takes = prompts(3)
    takes[1] |= {"fps": 30, "seed": 7}

    announce(drop(cloud, takes))

    shown = [job["arguments"] for job in jobs(cloud)]
    assert [arguments["fps"] for arguments in shown] == [24, 30, 24]
    assert ["seed" in arguments for arguments in shown] == [False, True, False]


def test_an_image_that_a_take_names_is_beside_the_sidecar(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    version = cloud.drop("albums/cover.png", png(64, 48))
    takes = prompts(2)
    takes[0] |= {"image_url": "cover.png"}
    takes[1] |= {"image_url": "none.png"}

    announce(drop(cloud, takes))

    first, second = jobs(cloud)
    assert first["images"]["image_url"] == {"key": "albums/cover.png", "version_id": version}
    assert (second["status"], second["missing_image"]) == ("WAITING", "albums/none.png")
    assert len(fal.posts) == 1


# Again ------------------------------------------------------------------------------------------


def test_the_same_event_again_makes_no_take_twice(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    key = drop(cloud, prompts(3))
    announce(key)
    before = cloud.items()

    for again in (key, "albums/song.mp3", key):
        announce(again)

    assert {job["job_id"] for job in before} == {job["job_id"] for job in cloud.items()}
    assert len(fal.posts) == 3


@pytest.mark.parametrize("admitted", [0, 1, 2])
def test_a_crash_between_takes_is_made_good_by_the_next_message(
    cloud: Cloud,
    fal: FakeFalQueue,
    announce: Announce,
    monkeypatch: pytest.MonkeyPatch,
    admitted: int,
) -> None:
    key = drop(cloud, prompts(3))
    admit, left = JobStore.admit, [None] * admitted

    def crash(self: JobStore, *job: Any) -> Any:
        if not left:
            raise Crash
        left.pop()
        return admit(self, *job)

    with monkeypatch.context() as broken:
        broken.setattr(JobStore, "admit", crash)
        with pytest.raises(Crash):
            announce(key)
    before = len(jobs(cloud))

    failed = announce(key)

    assert (before, failed) == (admitted, [])
    assert [job["status"] for job in jobs(cloud)] == ["SUBMITTED"] * 3
    assert sorted(post.arguments["prompt"] for post in fal.posts) == [
        f"Take {n:02}" for n in range(3)
    ]


@pytest.mark.parametrize("posted", [1, 2, 3])
def test_a_crash_in_the_middle_of_the_posts_sends_none_of_them_twice(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce, posted: int
) -> None:
    key = drop(cloud, prompts(3))

    def crash(_: Any) -> None:
        if len(fal.posts) == posted:
            raise Crash

    fal.on_post = crash
    with pytest.raises(Crash):
        announce(key)
    fal.on_post = lambda _: None

    announce(key)

    statuses = sorted(job["status"] for job in jobs(cloud))
    assert statuses == sorted([JobStatus.SUBMITTED] * 2 + [JobStatus.SUBMITTING])
    assert len(fal.posts) == len({post.arguments["prompt"] for post in fal.posts}) == 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_a_sidecar_with_another_take_only_that_one_is_a_new_job(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce, place: int
) -> None:
    announce(drop(cloud, prompts(2)))
    before = jobs(cloud)
    more = prompts(2)
    more.insert(place, {"prompt": "Take 99", "video_size": SMALL})
    cloud.drop("albums/song.json", json.dumps(more))

    announce("albums/song.json")

    made = jobs(cloud)
    assert len(made) == len(fal.posts) == 3
    assert [job["job_id"] for job in made[:2]] == [job["job_id"] for job in before]
    assert [job["repeats"] for job in made] == [1, 1, 0]


def test_a_sidecar_that_becomes_a_list_keeps_its_job(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    [only] = prompts(1)
    announce(drop(cloud, only))
    cloud.drop("albums/song.json", json.dumps([only, only | {"seed": 2}]))

    announce("albums/song.json")

    assert [post.arguments.get("seed") for post in fal.posts] == [None, 2]


def test_a_take_that_is_listed_twice_is_made_twice_and_no_more(
    cloud: Cloud, fal: FakeFalQueue, announce: Announce
) -> None:
    announce(drop(cloud, prompts(1) * 2))
    cloud.drop("albums/song.json", json.dumps(prompts(1) * 3))

    announce("albums/song.json")
    announce("albums/song.json")

    assert len(jobs(cloud)) == len(fal.posts) == 3


def test_takes_that_the_functions_time_does_not_reach_are_left_to_the_next_dispatch(
    cloud: Cloud,
    fal: FakeFalQueue,
    announce: Announce,
    environment: pytest.MonkeyPatch,
    context: Context,
) -> None:
    left = iter([120_000, 110_000, 70_000, 59_999])
    environment.setattr(type(context), "get_remaining_time_in_millis", lambda _: next(left))
    key = drop(cloud, prompts(4))

    failed = announce(key)

    assert failed == []
    assert len(fal.posts) == 2
    assert sorted(item["status"] for item in cloud.items()) == ["READY"] * 2 + ["SUBMITTED"] * 2
    assert len(cloud.index("backlog")) == 2


def test_the_silences_of_long_audio_are_searched_once_for_all_takes(
    cloud: Cloud,
    announce: Announce,
    function: Callable[..., ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[Any] = []

    def search(_: object, audio: Any) -> list[float]:
        searched.append(audio.key)
        return []

    monkeypatch.setattr(function("edit"), "silences_in", search)
    cloud.drop("long.mp3", silence(30))
    cloud.drop("long.json", json.dumps(prompts(3)))

    failed = announce("long.json")

    assert (failed, searched) == ([], ["long.mp3"])
