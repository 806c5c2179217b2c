"""Drops read from one listing, with nearly nothing in memory, and announced from it."""

from __future__ import annotations

import itertools
import json
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.drop_bucket import DropBucket, Found
from phonoscene.drops.keys import Kind, kind_of, name_of
from phonoscene.drops.pairing import all_pairings, pairings
from phonoscene.queues import DropsQueue
from phonoscene_cli.audit.accounting import TOGETHER, Accountant
from phonoscene_cli.audit.bucket_listing import BucketDrop, Census, drops_under
from tests.support.jobs import NOON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from phonoscene.drops.pairing import Pairing

SUFFIXES = (
    "mp3",
    "json",
    "mp3.json",
    "wav",
    "mp3.wav",
    "png",
    "live.mp3",
    "live.json",
    "a.live.mp3",
)
#: Keys whose order in a listing is not the order of their names.
keys = st.sets(
    st.builds(
        "{}{}.{}".format,
        st.sampled_from(["", "p/", "p.q/"]),
        st.sampled_from(["song", "song-2", "song.live", "Song", "é", "song.mp3x", "_x"]),
        st.sampled_from(SUFFIXES),
    ),
    max_size=25,
)


def found(key: str, at: datetime = NOON) -> Found:
    return Found(key=key, etag="e", bytes=1, version_id=f"version of {key}", modified=at)


def in_order(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=str.encode)  # as S3 lists them


def drops_of(keys: Iterable[str]) -> list[BucketDrop]:
    return list(Census().drops(found(key) for key in in_order(keys)))


def expected(keys: set[str]) -> set[Pairing]:
    """What the product itself would make of each key."""
    drops = {key for key in keys if kind_of(key) is not Kind.IGNORED}
    families = {
        name: {key for key in keys if name_of(key) == name and kind_of(key) is not Kind.IGNORED}
        for name in map(name_of, drops)
    }
    return {pair for key in drops for pair in pairings(key, families[name_of(key)])}


@given(keys)
def test_every_drop_is_reported_once_as_the_product_pairs_it(keys: set[str]) -> None:
    pairs = [drop.pairing for drop in drops_of(keys)]

    assert set(pairs) == expected(keys)
    assert len(pairs) == len(set(pairs))


@given(keys)
def test_a_listing_that_goes_on_where_a_drop_was_done_tells_all_that_was_not(
    keys: set[str],
) -> None:
    drops = drops_of(keys)

    for number, drop in enumerate(drops, 1):
        if drop.done is not None:
            rest = {key for key in keys if key.encode() > drop.done.encode()}
            left = {one.pairing for one in drops[number:]}
            assert left <= {one.pairing for one in drops_of(rest)}
    assert not drops or drops[-1].done is not None


@given(keys)
def test_what_is_no_drop_is_counted_as_that(keys: set[str]) -> None:
    census = Census()

    list(census.drops(map(found, in_order(keys))))

    assert census.ignored == sum(kind_of(key) is Kind.IGNORED for key in keys)


def test_a_drop_is_as_new_as_its_newer_half_and_is_announced_so() -> None:
    later = NOON + timedelta(hours=1)

    [drop] = Census().drops([found("a.json", later), found("a.mp3")])

    assert drop.modified == later
    assert (drop.announced.key, drop.announced.modified) == ("a.mp3", later)


class Listing:
    """S3, of which a listing is asked; pages of three."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = in_order(keys)

    def get_paginator(self, _: str) -> Listing:
        return self

    def paginate(self, **at: str) -> Iterator[dict[str, object]]:
        after = at.get("KeyMarker", "")
        keys = [key for key in self._keys if key.startswith(at["Prefix"]) and key > after]
        for first in range(0, len(keys), 3):
            yield {"Versions": [v for key in keys[first : first + 3] for v in self._versions(key)]}

    def _versions(self, key: str) -> list[dict[str, object]]:
        one = {"Key": key, "ETag": "e", "Size": 1, "LastModified": NOON}
        return [one | {"VersionId": n, "IsLatest": n == "new"} for n in ("new", "old")]


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", {"song", "song.live", "p/song", "other"}),
        ("p/", {"p/song"}),
        ("song", {"song", "song.live"}),
        ("song.", {"song", "song.live"}),
        ("song.mp3", {"song"}),
        ("song.json", {"song"}),
        ("song.live", {"song.live"}),
        ("nothing", set()),
    ],
)
def test_a_prefix_may_end_anywhere_and_cuts_no_pair(prefix: str, names: set[str]) -> None:
    keys = [
        f"{name}.{end}"
        for name in ("song", "song.live", "p/song", "other")
        for end in ("json", "mp3")
    ]

    s3: Any = Listing(keys)
    drops = list(drops_under(s3, "drops", prefix, Census()))

    assert {drop.name for drop in drops} == names
    assert all(drop.pairing.is_whole for drop in drops)
    assert {half.version_id for drop in drops for half in drop.halves} <= {"new"}


def counted(drops: Iterable[BucketDrop]) -> tuple[int, int]:
    """How many there are, and by how many blocks of memory more they were read at most.

    An object has one or a few. To trace each of them takes four times as long as the reading.
    """
    before, peak, count = sys.getallocatedblocks(), 0, 0
    for count, _ in enumerate(drops, 1):
        if count % 500 == 0:
            peak = max(peak, sys.getallocatedblocks() - before)
    return count, peak


def test_a_hundred_thousand_objects_take_no_memory() -> None:
    names = (f"album {n // 1000:03}/song {n:06}" for n in range(50_000))
    listing = (found(f"{name}.{end}") for name in names for end in ("json", "mp3"))

    count, peak = counted(Census().drops(listing))

    assert count == 50_000
    assert peak < 3_000


def test_neither_do_names_that_all_begin_alike() -> None:
    keys = sorted(f"song.{n:05}.mp3" for n in range(20_000))
    listing = itertools.chain([found("song.")], map(found, keys))

    count, peak = counted(Census().drops(listing))

    assert count == 20_000
    assert peak < 3_000


class Shelf:
    """A table in which every drop has its job; it counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def versions(self, ids: Iterable[str]) -> dict[str, dict[str, object]]:
        self.asked += 1
        first = itertools.islice(ids, 0, None, 2)  # a pair's job; then its first take, if several
        return {one: {"job_id": one, "status": "SUCCEEDED"} for one in first}


def test_looking_up_all_of_them_draws_no_more_of_the_listing_than_is_looked_up_at_once() -> None:
    shelf: Any = Shelf()
    bucket: Any = DropBucket.__new__(DropBucket)  # its name is all that is asked for
    bucket.name = "drops"
    drawn = looked_up = lead = 0

    def listing() -> Iterator[Found]:
        nonlocal drawn
        for n in range(50_000):
            for end in ("json", "mp3"):
                drawn += 1
                yield found(f"album {n // 1000:03}/song {n:06}.{end}")

    for account in Accountant(shelf, bucket).accounts(Census().drops(listing())):
        looked_up += account.status == "SUCCEEDED"
        lead = max(lead, drawn - 2 * looked_up)

    assert looked_up == 50_000
    assert lead <= 2 * TOGETHER + 1
    assert shelf.asked == 500  # two ids a drop, a hundred drops at once: a thousand requests


# Names that can be spelled in two ways


@given(
    st.sets(
        st.builds(
            "{}.{}".format,
            st.sampled_from(["caf\u00e9", "cafe\u0301", "cafe", "cafz", "song"]),
            st.sampled_from(["wav", "json", "mp3", "wav.json"]),
        ),
        max_size=12,
    )
)
def test_every_half_is_reported_with_its_other_half_however_that_is_spelled(keys: set[str]) -> None:
    def look(prefix: str) -> list[Found]:
        return [found(key) for key in in_order(keys) if key.startswith(prefix)]

    drops = list(Census().drops((found(key) for key in in_order(keys)), look))

    halves = [half.key for drop in drops for half in drop.halves]
    alone = [drop for drop in drops if len(drop.halves) == 1]
    unused = {key for pairing in all_pairings(keys).values() for key in pairing.unused}
    assert {*halves} | unused == keys
    for drop in alone:
        key = drop.halves[0].key
        assert drop.pairing in pairings(key, {k for k in keys if name_of(k) == name_of(key)})


@pytest.mark.parametrize("forms", [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_a_pair_in_two_spellings_is_reported_once_and_a_plain_name_asks_for_no_listing(
    forms: tuple[str, str],
) -> None:
    keys = [f"{forms[0]}.wav", f"{forms[1]}.json", "song.wav"]
    looked: list[str] = []

    def look(prefix: str) -> list[Found]:
        looked.append(prefix)
        return [found(key) for key in keys if key.startswith(prefix)]

    drops = list(Census().drops((found(key) for key in in_order(keys)), look))

    assert [len(drop.halves) for drop in drops if drop.name != "song"] == [2]
    assert {drop.name for drop in drops} == {"caf\u00e9", "song"}
    assert not any(prefix.startswith("song") for prefix in looked)


# Announcing what was found ----------------------------------------------------------------------


class Queue:
    """SQS, which takes what it is sent but for the entries that it refuses."""

    def __init__(self, *refused: int) -> None:
        self.refused = refused
        self.events: list[dict[str, Any]] = []

    def send_message_batch(self, *, Entries: list[dict[str, Any]], **_: Any) -> Any:  # noqa: N803 - boto3's name
        self.events = [json.loads(entry["MessageBody"]) for entry in Entries]
        return {"Failed": [{"Id": Entries[place]["Id"]} for place in self.refused]}


@pytest.mark.parametrize("refused", [(), (1,), (2, 0)])
def test_the_objects_that_the_queue_refuses_are_told_apart_from_those_that_it_took(
    refused: tuple[int, ...],
) -> None:
    queue: Any = Queue(*refused)
    objects = [found(key) for key in ("a.mp3", "b.mp3", "c.mp3")]

    left = DropsQueue(queue, "url").announce("drops", objects)

    assert left == [objects[place] for place in refused]


@pytest.mark.parametrize(("micros", "time"), [(0, "12:00:00"), (1, "12:00:01")])
def test_an_object_is_announced_in_its_version_and_never_dated_too_early(
    micros: int, time: str
) -> None:
    queue: Any = Queue()

    DropsQueue(queue, "url").announce(
        "drops", [found("a.mp3", NOON + timedelta(microseconds=micros))]
    )

    (event,) = queue.events
    assert event["time"] == f"{NOON:%Y-%m-%d}T{time}Z"
    assert event["detail"]["object"] == {"key": "a.mp3", "version-id": "version of a.mp3"}
