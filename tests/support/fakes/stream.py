"""The jobs table's stream: what was written, as Lambda hands it to its reader."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

Item = dict[str, Any]
Change = tuple[Item, Item]


def record(number: int, change: Change) -> Item:
    """One write; ``number`` orders them."""
    before, after = change
    images = {"OldImage": before, "NewImage": after}
    name = ("INSERT" if not before else "MODIFY") if after else "REMOVE"
    return {
        "eventID": f"event-{number}",
        "eventName": name,
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "Keys": {"job_id": (after or before)["job_id"]},
            "SequenceNumber": f"{number:021}",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **{image: item for image, item in images.items() if item},
        },
    }


def batch(records: Iterable[Item]) -> Item:
    """What Lambda calls the reader with."""
    return {"Records": list(records)}


def passes(one: Item) -> bool:
    """Whether the event source's filter lets a record through."""
    return "status" in one["dynamodb"].get("NewImage", {})


def shuffled(changes: Sequence[Change], choose: random.Random) -> list[Item]:
    """As a shard may tell it: in order for each key, and in no order across keys."""
    ways: defaultdict[str, list[Change]] = defaultdict(list)
    for before, after in changes:
        ways[(after or before)["job_id"]["S"]].append((before, after))
    order = [key for key, way in ways.items() for _ in way]
    choose.shuffle(order)
    left = {key: iter(way) for key, way in ways.items()}
    shown = [record(number, next(left[key])) for number, key in enumerate(order, 1)]
    return [one for one in shown if passes(one)]
