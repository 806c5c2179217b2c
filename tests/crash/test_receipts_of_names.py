"""What the receipts of a name say in the end, when its files are dropped again or are too many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import scenarios, stack
from tests.support.fakes.calls import Calls
from tests.support.fakes.world import MINUTE
from tests.support.invariants import always_broken, jobs_of
from tests.support.jobs import NOON
from tests.support.scenarios import AUDIO, LATER, SIDECAR, WISH, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fakes.world import World

SONG, SONG_WAV, SONG_MP3 = (
    f"albums/{name}.status.json" for name in ("song", "song.wav", "song.mp3")
)


def receipts(tell: Callable[[World], None]) -> dict[str, Any]:
    """The receipts when everything has ended, by key."""
    world = Scenario(tell).world(Calls())
    world.run()
    assert always_broken(world) == []
    return {
        key: json.loads(versions[-1].body)
        for (bucket, key), versions in world.buckets.versions.items()
        if bucket == stack.OUTPUT and key.endswith(".status.json")
    }


@pytest.mark.parametrize("tell", [scenarios.drop_and_copy_twice_announced, scenarios.drop_and_copy])
def test_a_copy_in_place_is_noted_on_the_receipt(tell: Callable[[World], None]) -> None:
    found = receipts(tell)

    assert list(found) == [SONG]
    assert found[SONG]["status"] == "SUCCEEDED"
    notes = [note for note in found[SONG]["notes"] if "dropped again" in note]
    assert len(notes) == 1


def test_a_second_audio_file_has_a_receipt_of_its_own_and_leaves_the_first_ones() -> None:
    found = receipts(scenarios.drop_a_rival)

    assert {key: one["status"] for key, one in found.items()} == {
        SONG: "SUCCEEDED",
        SONG_MP3: "REJECTED",
    }
    assert [error["code"] for error in found[SONG_MP3]["errors"]] == ["ambiguous_sidecar"]
    assert found[SONG_MP3]["audio"]["key"] == "albums/song.mp3"


def test_two_audio_files_that_wait_for_one_sidecar_are_rejected_and_no_receipt_still_waits() -> (
    None
):
    found = receipts(scenarios.drop_rivals)

    assert {key: one["status"] for key, one in found.items()} == {
        SONG: "REJECTED",
        SONG_WAV: "REJECTED",
        SONG_MP3: "REJECTED",
    }


def test_a_sidecar_that_is_not_used_is_noted_on_the_receipt_of_the_job_that_counts() -> None:
    found = receipts(scenarios.drop_two_sidecars)

    assert set(found) == {SONG, SONG_WAV}
    assert found[SONG] == found[SONG_WAV]
    assert found[SONG]["status"] == "SUCCEEDED"
    assert found[SONG]["sidecar"]["key"] == "albums/song.wav.json"
    assert any("albums/song.json is not used" in note for note in found[SONG]["notes"])


def test_an_unused_sidecar_that_was_here_first_does_not_keep_the_receipt() -> None:
    """S3 dates an upload in parts from its beginning: both halves may be older than it."""

    def tell(world: World) -> None:
        world.at(0, lambda: world.drop("albums/song.json", WISH))
        world.at(10, lambda: old(world, AUDIO, scenarios.SOUND))
        world.at(10, lambda: old(world, "albums/song.wav.json", json.dumps(WISH).encode()))

    def old(world: World, key: str, body: bytes) -> None:
        now, world.now = world.now, NOON - MINUTE
        world.buckets.put(stack.DROPS, key, body)
        world.now = now
        world.announce(key)

    found = receipts(tell)

    assert {key: one["status"] for key, one in found.items()} == {
        SONG: "SUCCEEDED",
        SONG_WAV: "SUCCEEDED",
    }


def test_audio_files_of_one_name_with_sidecars_of_their_own_have_a_receipt_each() -> None:
    def tell(world: World) -> None:
        scenarios.drop_rivals(world)
        world.at(LATER, lambda: world.drop("albums/song.wav.json", WISH))
        world.at(LATER + 1, lambda: world.drop("albums/song.mp3.json", {"prompt": ""}))

    found = receipts(tell)

    assert {key: one["status"] for key, one in found.items()} == {
        SONG: "REJECTED",
        SONG_WAV: "SUCCEEDED",
        SONG_MP3: "REJECTED",
    }
    assert found[SONG] == found[SONG_MP3]
    assert found[SONG_MP3]["errors"][0]["field"] == "prompt"


def test_the_receipt_of_a_tie_follows_the_audio_file_that_was_kept() -> None:
    def tell(world: World) -> None:
        scenarios.drop_rivals(world)
        world.at(LATER, lambda: world.buckets.versions.pop((stack.DROPS, "albums/song.mp3")))
        world.at(LATER + 1, lambda: world.drop(SIDECAR, WISH))

    found = receipts(tell)

    assert {key: one["status"] for key, one in found.items()} == {
        SONG: "SUCCEEDED",
        SONG_WAV: "SUCCEEDED",
        SONG_MP3: "REJECTED",
    }


def test_what_is_changed_back_shows_the_first_job_again() -> None:
    def tell(world: World) -> None:
        scenarios.drop(world)
        world.at(LATER, lambda: world.drop(SIDECAR, WISH | {"seed": 1}))
        world.at(2 * LATER, lambda: world.drop(SIDECAR, WISH))

    world = Scenario(tell).world(Calls())
    world.run()
    [first] = [job for job in jobs_of(world) if "seed" not in job.arguments]
    body = world.buckets.versions[stack.OUTPUT, SONG][-1].body

    assert always_broken(world) == []
    assert json.loads(body)["job_id"] == first.job_id
    assert len(jobs_of(world)) == 2


def test_a_half_that_waited_in_vain_says_what_was_nearly_its_other_half() -> None:
    def tell(world: World) -> None:
        world.at(0, lambda: world.drop(AUDIO, scenarios.SOUND))
        world.at(1, lambda: world.drop("albums/Song.jsn", WISH))

    [error] = receipts(tell)[SONG]["errors"]

    assert (error["code"], error["value"]) == ("missing_sidecar", "albums/Song.jsn")
    assert error["allowed"] == "albums/song.wav.json or albums/song.json"
