"""A stack may be updated, and go back, at any moment: nothing is lost, nothing is paid twice.

Each folder here has what a released version wrote, in every state. This version finishes it. The
released version finishes what this one writes; and this one what a later one may write.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest

from phonoscene.drops.keys import job_id
from phonoscene.drops.sidecar import Sidecar
from phonoscene.jobs import FINAL, JobStatus
from phonoscene.publishing.event_webhooks import Notification
from phonoscene.publishing.receipts import Receipt
from phonoscene.version import VERSION
from phonoscene_cli.audit.checkpoint import CursorFile, Progress
from tests.compatibility import next_version
from tests.compatibility.finish import finish, wrong
from tests.compatibility.moments import Moment, from_json, load, save, to_json
from tests.compatibility.next_version import FIELD, STATUS
from tests.compatibility.record import CHECKPOINT, EVENT, HERE, MOMENTS
from tests.support import released, stack
from tests.support.jobs import NOON, a_job
from tests.support.scenarios import SOUND, WISH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fakes.world import World

RELEASES: Final = sorted(path.parent.name for path in HERE.glob(f"*/{MOMENTS}"))
NEWEST: Final = max(RELEASES, key=lambda one: [int(part) for part in one.split(".")])
DAY: Final = timedelta(days=1)
#: Statuses from which a job goes on.
MOVING: Final = sorted(set(JobStatus) - FINAL)
ALL: Final = [(one, name) for one in RELEASES for name in load(HERE / one / MOMENTS)]


@cache
def moments(version: str) -> dict[str, Moment]:
    return load(HERE / version / MOMENTS)


def statuses(moment: Moment) -> set[str]:
    return {item["status"]["S"] for item in moment["items"] if "status" in item}


def test_the_recorded_moments_have_every_status_message_and_file() -> None:
    found = moments(NEWEST).values()
    messages = {
        (name, *sorted(json.loads(body)))
        for moment in found
        for name, queue in moment["queues"].items()
        for body, *_ in queue
    }
    keys = [key for moment in found for bucket, key, _ in moment["objects"] if bucket == "outputs"]
    has = {name for moment in found for item in moment["items"] for name in item}

    assert set.union(*map(statuses, found)) == set(JobStatus)
    assert {("drops", "cancel"), ("drops", "job_id")} < messages
    assert len([one for one in messages if "detail-type" in one]) == 2  # S3's own, and rested
    assert ("verdicts", "body", "job_id", "request_id", "token_hash") in messages
    assert {"sequence", "part_of", "same_as", "holders", "in_flight", "committed_usd"} <= has
    for suffix in (".status.json", ".newest.json", ".mp4", ".wav", ".png"):
        assert any(key.endswith(suffix) for key in keys), suffix


@pytest.mark.parametrize(("version", "name"), ALL)
def test_this_version_finishes_what_a_released_one_wrote(version: str, name: str) -> None:
    assert wrong(finish(moments(version)[name])) == []


@pytest.mark.parametrize("version", RELEASES)
def test_a_receipt_that_a_released_version_wrote_is_not_written_again(version: str) -> None:
    published = 0
    for moment in moments(version).values():
        world = from_json(moment)
        before = _receipts(world)
        newest = {
            item["job_id"]["S"]: item["revision"]["N"]
            for item in moment["items"]
            if "status" in item
        }
        with world.under():
            world.publish()
        for key, bodies in before.items():
            shown = json.loads(bodies[-1])
            if newest.get(shown["job_id"]) == str(shown["revision"]):
                published += 1
                assert _receipts(world)[key] == bodies
    assert published > 5


def _receipts(world: World) -> dict[str, list[bytes]]:
    return {
        key: [one.body for one in versions]
        for (bucket, key), versions in world.buckets.versions.items()
        if bucket == stack.OUTPUT and key.endswith(".status.json")
    }


@pytest.mark.parametrize("version", RELEASES)
def test_this_version_reads_a_released_ones_event_and_checkpoint(version: str) -> None:
    event = (HERE / version / EVENT).read_text()
    checkpoint = CursorFile(HERE / version / CHECKPOINT).load(stack.DROPS, "talks/")

    assert Notification.of(event).id == json.loads(event)["detail"]["id"]
    assert checkpoint == Progress(stack.DROPS, "talks/", "talks/intro.wav", 3)


def test_the_released_version_finishes_what_this_one_writes(tmp_path: Path) -> None:
    commit = released.commit(NEWEST)
    if commit is None:
        pytest.skip("no git history here, and so no released code")
    begun = {name: _go_on(moment, 1 + n % 5) for n, (name, moment) in enumerate(_some(2))}
    save(tmp_path / MOMENTS, begun)
    folder = tmp_path / "released"
    released.unpack(commit, folder)

    found = released.finish(folder, tmp_path / MOMENTS)

    assert found["code"] == str(folder / "layers" / "common" / "phonoscene")
    assert {name: said for name, said in found["wrong"].items() if said} == {}
    assert set(found["wrong"]) == set(begun)


def _some(step: int) -> list[tuple[str, Moment]]:
    return list(moments(NEWEST).items())[::step]


def _go_on(moment: Moment, events: int) -> Moment:
    """The moment some events later, which this version has handled."""
    world = from_json(moment)
    with world.under():
        for _ in range(events):
            world._step()
    return to_json(world)


@pytest.mark.parametrize("name", moments(NEWEST))
def test_fields_of_a_later_version_disturb_nothing_and_are_kept(name: str) -> None:
    moment = next_version.with_fields(moments(NEWEST)[name])

    world = finish(moment)

    assert wrong(world) == []
    before = {item["job_id"]["S"]: item for item in moment["items"]}
    for item in world.table.items():
        earlier = before.get(item["job_id"]["S"])
        if earlier and earlier.get("status") != {"S": "WAITING"}:  # which is examined again
            assert item[FIELD] == {"S": next_version.VALUE}
            assert _parts(item) == _parts(earlier)


def _parts(item: dict[str, Any]) -> list[Any]:
    """The later version's field in what this one writes whole again."""
    sequence = item.get("sequence", {"M": {}})["M"]
    parts = [*sequence.get("segments", {"L": []})["L"], *sequence.get("scenes", {"L": []})["L"]]
    return [one["M"].get(FIELD) for one in parts]


def test_a_released_versions_jobs_have_the_ids_that_this_one_gives() -> None:
    checked = 0
    for item in (item for moment in moments(NEWEST).values() for item in moment["items"]):
        is_job = {"audio", "sidecar", "status"} <= set(item) and not {"part_of", "take"} & set(item)
        if is_job and item["status"] != {"S": "REJECTED"}:  # of which some are of one file
            audio, sidecar = (_pinned(item[half]) for half in ("audio", "sidecar"))
            checked += 1
            assert job_id(stack.DROPS, audio, sidecar) == item["job_id"]["S"]
    assert checked > 20


def test_a_silent_sidecar_asks_for_no_more_than_in_the_released_version() -> None:
    items = [item for moment in moments(NEWEST).values() for item in moment["items"]]
    known = {name for item in items if "part_of" in item for name in item["arguments"]["M"]}

    new = set(Sidecar(prompt="rain").arguments()) - known

    assert not new, (
        f"{new}: a segment's id contains what is sent, so each song that is dropped again after an "
        "update would be paid again. Give a new field the default None: then fal's own applies"
    )


def _pinned(half: dict[str, Any]) -> tuple[str, str]:
    return half["M"]["key"]["S"], half["M"]["version_id"]["S"]


@cache
def _resting() -> dict[tuple[str, str], tuple[Moment, dict[str, Any]]]:
    """A job of each status that goes on, of each kind; and its moment."""
    found: dict[tuple[str, str], tuple[Moment, dict[str, Any]]] = {}
    for moment in moments(NEWEST).values():
        for item in moment["items"]:
            status = item.get("status", {"S": ""})["S"]
            is_half = status == JobStatus.WAITING and "missing_image" not in item
            if status in MOVING and not is_half:
                kind = next((one for one in ("sequence", "part_of") if one in item), "job")
                found.setdefault((status, kind), (moment, item))
    return found


def test_jobs_of_each_status_and_kind_meet_a_later_version() -> None:
    assert {status for status, kind in _resting() if kind == "job"} == set(MOVING)
    assert {kind for _, kind in _resting()} == {"job", "sequence", "part_of"}


@pytest.mark.parametrize("status", ["RESTING", "WAITING"])
def test_an_earlier_step_never_replaces_a_later_versions_receipt(status: str) -> None:
    job = a_job(revision=7)
    later = json.loads(Receipt.of(job, None).to_json()) | {"status": status, FIELD: "kept"}
    there = Receipt.read(json.dumps(later).encode())

    assert there
    assert not Receipt.of(a_job(revision=6), None).is_newer_than(there)
    assert Receipt.of(a_job(revision=8), None).is_newer_than(there)
    assert Receipt.of(a_job(at=NOON + DAY, job_id="1" * 32), None).is_newer_than(there)


@pytest.mark.parametrize(("status", "kind"), _resting())
def test_a_status_of_a_later_version_stops_its_own_job_only(status: str, kind: str) -> None:
    moment, item = _resting()[status, kind]
    world, resting = _with_resting(moment, item)
    posts = _requests_of(world, item)

    with world.under():
        world.publishes, world.most_events = False, 40
        world.drop("another/drop.wav", SOUND)
        world.drop("another/drop.json", WISH)
        world.settle()
        world.publish()

        others = {
            one["name"]["S"]: one["status"]["S"] for one in world.table.items() if "name" in one
        }
        assert others["another/drop"] == "SUCCEEDED"
        assert world.table._items[item["job_id"]["S"]] == resting
        assert _requests_of(world, item) == posts
        assert not world.measured["SumsCorrected"]
        assert {json.loads(one)["job_id"] for one in world.unpublished} == {item["job_id"]["S"]}

        _forward(world, item)
        world.settle()
        world.publish()

    assert wrong(world) == []


def _with_resting(moment: Moment, item: dict[str, Any]) -> tuple[World, dict[str, Any]]:
    """The moment in which a later version has written its own status of a job."""
    world = from_json(moment)
    world.settings |= {"MAX_IN_FLIGHT": "5", "DAILY_BUDGET_USD": "25"}
    world.fal.play.result_lives = timedelta(days=1)
    resting = item | {"status": {"S": STATUS}}
    world.table._items[item["job_id"]["S"]] = resting
    world.table.changes.append((item, resting))
    return world, resting


def _requests_of(world: World, item: dict[str, Any]) -> int:
    return sum(f"{item['job_id']['S']}-" in one.audio_url for one in world.fal.requests)


def _forward(world: World, item: dict[str, Any]) -> None:
    """The later version again: it knows the status, and an operator redrives dead letters."""
    world.table._items[item["job_id"]["S"]] = item
    world.table.changes = [change for change in world.table.changes if STATUS not in str(change)]
    world.unpublished.clear()
    world.most_events = 200
    for queue in world.queues.values():
        for message in queue.dead:
            message.receives, message.visible_at = 0, world.now
        queue.messages += queue.dead
        queue.dead = []


def test_a_checkpoint_of_a_later_version_is_read(tmp_path: Path) -> None:
    data = json.loads((HERE / NEWEST / CHECKPOINT).read_text()) | {FIELD: next_version.VALUE}
    (tmp_path / CHECKPOINT).write_text(json.dumps(data))

    assert CursorFile(tmp_path / CHECKPOINT).load(stack.DROPS, "talks/").sent == 3


def test_this_version_is_recorded() -> None:
    assert VERSION in RELEASES, "python -m tests.compatibility.record"
