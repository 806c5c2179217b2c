"""A world as JSON: what one version wrote, for another version to finish.

The files in this folder and the other version's ``finish`` read it, so its form is kept.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections import deque
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from phonoscene.table.items import SHARDS
from tests.support.fakes.aws import Message, Version
from tests.support.fakes.calls import Calls
from tests.support.fakes.fal import Made, Play, Request
from tests.support.fakes.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Numbers of versions that the other version's world gives out begin here.
FIRST_NUMBER: Final = 100_000
Moment = dict[str, Any]


def save(path: Path, moments: Mapping[str, Moment]) -> None:
    """Write moments by their names; equal moments make equal files."""
    text = json.dumps(moments, sort_keys=True, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def load(path: Path) -> dict[str, Moment]:
    """The moments of a file, by their names."""
    found: dict[str, Moment] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def to_json(world: World) -> Moment:
    """All that a world holds; people may have nothing left to do in it."""
    assert not world.script
    fal, play = world.fal, world.fal.play
    return {
        "now": world.now.isoformat(),
        "tick_at": world._tick_at.isoformat(),
        "pause": world._pause.total_seconds(),
        "settings": world.settings,
        "part": world.part,
        "items": world.table.items(),
        "changes": [list(change) for change in world.table.changes],
        "objects": [
            [bucket, key, [_version(one) for one in versions]]
            for (bucket, key), versions in world.buckets.versions.items()
        ],
        "uploads": {
            upload: {str(number): _packed(body) for number, body in parts.items()}
            for upload, parts in world.buckets.uploads.items()
        },
        "queues": {
            name: [[one.body, one.visible_at.isoformat(), one.receives] for one in queue.messages]
            for name, queue in world.queues.items()
        },
        "requests": [_request(one) for one in fal.requests],
        "posts": fal.posts,
        "copies": {
            url: [_packed(body), ends.isoformat()] for url, (body, ends) in fal.copies.items()
        },
        "play": {
            "failures": list(play.failures),
            "webhooks": play.webhooks,
            "makes": [asdict(one) for one in play.makes],
            "duplicates": play.duplicates,
            "payload": play.payload,
            "odd": {name: list(forms) for name, forms in play.odd.items()},
        },
        "events": world.events,
    }


def from_json(moment: Moment) -> World:
    """The world of a moment."""
    play = moment["play"]
    world = World(
        Calls(),
        Play(
            failures=deque(play["failures"]),
            webhooks=play["webhooks"],
            makes=tuple(Made(**one) for one in play["makes"]),
            duplicates=play["duplicates"],
            payload=play["payload"],
            odd={name: deque(forms) for name, forms in play["odd"].items()},
        ),
        moment["settings"],
        now=datetime.fromisoformat(moment["now"]),
        part=moment["part"],
        shards=SHARDS,  # what was recorded has the product's keys
    )
    world._tick_at = datetime.fromisoformat(moment["tick_at"])
    world._pause = timedelta(seconds=moment["pause"])
    world.table._items = {item["job_id"]["S"]: item for item in moment["items"]}
    world.table.changes = [(before, after) for before, after in moment["changes"]]
    world.buckets.versions = {
        (bucket, key): [_read_version(one) for one in versions]
        for bucket, key, versions in moment["objects"]
    }
    world.buckets.uploads = {
        upload: {int(number): _unpacked(body) for number, body in parts.items()}
        for upload, parts in moment["uploads"].items()
    }
    world.buckets._numbers = count(FIRST_NUMBER)
    for name, messages in moment["queues"].items():
        world.queues[name].messages = [
            Message(body, datetime.fromisoformat(at), receives) for body, at, receives in messages
        ]
    world.fal.requests = [_read_request(one) for one in moment["requests"]]
    world.fal.posts = moment["posts"]
    world.fal.copies = {
        url: (_unpacked(body), datetime.fromisoformat(ends))
        for url, (body, ends) in moment["copies"].items()
    }
    world.events = list(moment["events"])
    return world


def _packed(body: bytes) -> str:
    return base64.b64encode(zlib.compress(body)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _version(one: Version) -> list[Any]:
    return [one.version_id, _packed(one.body), one.modified.isoformat(), list(one.metadata)]


def _read_version(data: list[Any]) -> Version:
    version_id, body, modified, metadata = data
    pairs = tuple((str(name), str(value)) for name, value in metadata)
    return Version(version_id, _unpacked(body), datetime.fromisoformat(modified), pairs)


def _request(one: Request) -> dict[str, Any]:
    return asdict(one) | {
        "ends_at": one.ends_at.isoformat(),
        "webhook_at": one.webhook_at and one.webhook_at.isoformat(),
    }


def _read_request(data: dict[str, Any]) -> Request:
    times = {
        "ends_at": datetime.fromisoformat(data["ends_at"]),
        "webhook_at": data["webhook_at"] and datetime.fromisoformat(data["webhook_at"]),
    }
    return Request(**data | times | {"made": Made(**data["made"])})
