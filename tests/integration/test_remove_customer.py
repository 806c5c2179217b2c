"""``examples/remove-customer/remove.py`` deletes all of one folder, and nothing of another."""

from __future__ import annotations

import json
import runpy
import unicodedata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest

from phonoscene.table.items import to_item
from tests.integration.moto_stack import TABLE
from tests.support.media.samples import silence
from tests.support.stack import DROPS, JOBS, OUTPUT
from tests.support.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.desk import Answer, Desk

SCRIPT: Final = ROOT / "examples" / "remove-customer" / "remove.py"
SHORT: Final = {"prompt": "A quay", "metadata": {"order": "A-17"}}
LONG: Final = {"prompt": "A quay", "video_size": {"width": 64, "height": 64}}


@pytest.fixture
def remove(desk: Desk, environment: pytest.MonkeyPatch) -> Callable[..., str | int | None]:
    """Run the script; how it ended."""
    known: Any = boto3.client
    described = SimpleNamespace(describe_stacks=lambda **_: {"Stacks": [desk._description()]})

    def client(service: str) -> Any:
        return described if service == "cloudformation" else known(service)

    def run(*words: str) -> str | int | None:
        environment.setattr(boto3, "client", client)
        environment.setattr("sys.argv", [str(SCRIPT), "phonoscene", *words])
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as ended:
            return ended.code
        finally:
            environment.setattr(boto3, "client", known)
        return 0

    return run


@pytest.fixture
def full(desk: Desk) -> None:
    """Two customers: each has a short job, a repetition, a job in segments and half a drop."""
    for customer in ("anna", "anna-2"):
        sidecar = json.dumps(SHORT)
        dropped(desk, f"{customer}/note", silence(2), sidecar)
        put(desk, f"{customer}/note.json", sidecar)
        desk.announce(f"{customer}/note.json")
        seconds = 50 if customer == "anna" else 45  # equal segments would be shared
        dropped(desk, f"{customer}/song", silence(seconds), json.dumps(LONG))
        desk.cloud.drop(f"{customer}/half.wav", silence(2))
        desk.announce(f"{customer}/half.wav")
        put(desk, f"{customer}/marked.json", sidecar, {"phonoscene-take": f"{customer}-17"})
        dropped(desk, f"{customer}/marked", silence(2))
        for name in ("note", "song"):
            write(desk, f"{customer}/{name}.status.json", f"{customer}/{name}/a.mp4")
    for item in desk.cloud.items():
        if item["name"].startswith("_segments/"):
            at = item["job_id"]
            write(desk, f"_segments/{at}.mp4", f"_segments/{at}.json", f"_work/frames/{at}.png")


def dropped(desk: Desk, name: str, audio: bytes, sidecar: str | None = None) -> None:
    desk.cloud.drop(f"{name}.wav", audio)
    if sidecar:
        put(desk, f"{name}.json", sidecar)
    desk.announce(f"{name}.wav")
    while desk.work():
        pass


def put(desk: Desk, key: str, body: str, metadata: dict[str, str] | None = None) -> None:
    desk.cloud.s3.put_object(Bucket=DROPS, Key=key, Body=body.encode(), Metadata=metadata or {})


def write(desk: Desk, *keys: str) -> None:
    """Two versions and a delete marker of objects of the output bucket."""
    for key in keys:
        for body in (b"1", b"2"):
            desk.cloud.s3.put_object(Bucket=OUTPUT, Key=key, Body=body)
        desk.cloud.s3.delete_object(Bucket=OUTPUT, Key=key)


def everything(desk: Desk) -> dict[str, list[str]]:
    """The keys of all versions and delete markers, and the items as text."""
    found = {}
    for bucket in (DROPS, OUTPUT):
        listed = desk.cloud.s3.list_object_versions(Bucket=bucket)
        kept = [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]
        found[bucket] = sorted(one["Key"] for one in kept)
    return found | {"items": sorted(map(json.dumps, TABLE.items()))}


def cancelled(desk: Desk, customer: str) -> Answer:
    ids = [
        item["job_id"]
        for item in desk.cloud.items()
        if item["name"].startswith(f"{customer}/") and item["status"] != "CANCELLED"
    ]
    return desk.says("cancel", *ids, "--json")


@pytest.mark.usefixtures("full")
def test_nothing_of_a_customer_remains_and_all_of_another(
    desk: Desk, remove: Callable[..., str | int | None], environment: pytest.MonkeyPatch
) -> None:
    environment.setattr("time.sleep", desk.work)
    for customer in ("anna", "anna-2"):
        cancelled(desk, customer)
    before = everything(desk)
    ids = {one["job_id"] for one in desk.cloud.items() if "anna/" in one["name"]}

    shown = remove("anna")
    untouched = everything(desk)
    ended = remove("anna", "--delete")

    after = everything(desk)
    assert (shown, ended, untouched) == (0, 0, before)
    was, text = json.dumps(before), json.dumps(after)
    for part in ("anna/", "anna-17", *ids):
        assert part in was
        assert part not in text
    for part in ("same_as", "anna-2-17"):
        assert part in text
    for place, names in before.items():
        others = [one for one in names if "anna-2/" in one]
        assert [one for one in after[place] if "anna-2/" in one] == others != []
    kept = {one for one in after[OUTPUT] if one.startswith("_")}
    assert len(kept) * 2 == len({one for one in before[OUTPUT] if one.startswith("_")})
    folders = {one.rpartition("/")[0] for one in kept}
    assert folders == {"_segments", "_work/frames", "_work/slices"}


@pytest.mark.usefixtures("full")
def test_nothing_is_deleted_while_a_job_of_the_folder_is_unfinished(
    desk: Desk, remove: Callable[..., str | int | None]
) -> None:
    before = everything(desk)

    assert "Cancel these jobs" in str(remove("anna/", "--delete"))
    assert everything(desk) == before


Item = dict[str, Any]


def wants(other: Item, segment: Item, _: Item) -> None:
    """It asked for a segment of ours before that had ended."""
    segment["wanted_by"] = {other["job_id"]}


def has(other: Item, segment: Item, _: Item) -> None:
    """It uses a segment of ours that had ended."""
    other["sequence"]["segments"][0]["job_id"] = segment["job_id"]


def reads(other: Item, _: Item, mine: Item) -> None:
    """It has some sound in common with ours."""
    other["sequence"]["segments"][0]["slice"] = mine["sequence"]["segments"][0]["slice"]


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("share", [wants, has, reads])
def test_nothing_is_deleted_while_an_unfinished_job_of_another_needs_it(
    desk: Desk,
    remove: Callable[..., str | int | None],
    environment: pytest.MonkeyPatch,
    share: Callable[..., None],
) -> None:
    environment.setattr("time.sleep", desk.work)
    cancelled(desk, "anna")
    items = {item["name"]: item for item in desk.cloud.items()}
    segment = next(one for name, one in items.items() if name.startswith("_segments/anna/"))
    other = items["anna-2/song"]
    share(other, segment, items["anna/song"])
    for item in (other, segment):
        desk.cloud.dynamodb.put_item(TableName=JOBS, Item=to_item(item))
    before = everything(desk)

    assert "anna-2/song is SUBMITTED" in str(remove("anna", "--delete"))
    assert everything(desk) == before


def test_a_folder_of_mixed_spelling_is_deleted_as_it_was_typed(
    desk: Desk, remove: Callable[..., str | int | None]
) -> None:
    folder = f"{unicodedata.normalize('NFC', 'Zoé')}/{unicodedata.normalize('NFD', 'Amélie')}"
    desk.cloud.drop(f"{folder}/odd.m4v", b"no audio")

    assert remove(folder, "--delete") == 0
    assert everything(desk)[DROPS] == []


def test_the_whole_stack_is_no_folder(desk: Desk, remove: Callable[..., str | int | None]) -> None:
    desk.cloud.drop("anna/note.wav", silence(2))
    before = everything(desk)

    assert "Name a folder" in str(remove("/", "--delete"))
    assert everything(desk) == before
