"""Publishing may be cut off anywhere: no receipt is wrong at the end, and no event missing.

Nobody reads what is published, so it is played alone, on what undisturbed worlds have written.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.pointers import Pointer
from phonoscene.publishing.receipts import Receipt
from phonoscene.workflow.publication import Write
from tests.support import invariants, stack
from tests.support.fakes.calls import FAULTS, Calls, Point
from tests.support.fakes.world import function
from tests.support.invariants import published
from tests.support.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.fakes.aws import Version
    from tests.support.fakes.world import World


@pytest.fixture(autouse=True)
def _told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows from a record or a file alone: thousands of runs read and tell the same few."""
    read = remembered(function("publish").from_item)
    for module in (function("publish"), invariants):
        monkeypatch.setattr(module, "from_item", read)
    for kind in (Write, Receipt, StatusChanged):
        monkeypatch.setattr(kind, "of", remembered(kind.of))
    monkeypatch.setattr(Pointer, "all_of", remembered(Pointer.all_of))
    for file in (Receipt, Pointer):
        monkeypatch.setattr(file, "read", cache(file.read))
    for text in (Receipt, StatusChanged, Pointer):
        monkeypatch.setattr(text, "to_json", remembered(text.to_json))


def remembered(pure: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which is called once for the very same arguments."""
    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def find(*arguments: Any, **named: Any) -> Any:
        key = (*(id(one) if one else 0 for one in arguments), *named.items())
        if key not in known:
            # both are kept, so the ids remain theirs
            known[key] = arguments, pure(*arguments, **named)
        return known[key][1]

    return find


every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)


@cache
def written(scenario: str) -> World:
    """The world when everything has ended, and nothing was published."""
    world = SCENARIOS[scenario].world(Calls())
    world.publishes = False
    world.run()
    world.publishes = True
    return world


@cache
def unpublished(scenario: str) -> dict[tuple[str, str], list[Version]]:
    """What the buckets held then: drops, videos and manifests."""
    return dict(written(scenario).buckets.versions)


@dataclass(frozen=True)
class Start:
    """A world in which so many batches were published undisturbed, and nothing since."""

    batches: int
    versions: dict[tuple[str, str], list[Version]]
    events: tuple[str, ...] = ()
    #: How often each call was made.
    counts: dict[str, int] = field(default_factory=dict)

    def is_before(self, point: Point) -> bool:
        """Whether the call of a point is yet to be made."""
        what, _, number = point.call.rpartition(" #")
        return self.counts.get(what, 0) < int(number)

    def restored(self, scenario: str, plan: Sequence[Point]) -> World:
        """The world as it was then, with crashes or faults to come."""
        world = written(scenario)
        world.buckets.versions = {key: list(found) for key, found in self.versions.items()}
        world.events[:] = self.events
        world.unpublished.clear()
        world.calls = Calls(tuple(plan), state=lambda: 0, _counts=dict(self.counts))
        return world


def starts(scenario: str) -> list[Start]:
    """The world before each batch, while nothing disturbs."""
    found = [Start(0, unpublished(scenario))]
    world = found[0].restored(scenario, ())
    with world.under():
        for number, batch in enumerate(world.batches(1), 1):
            world.hand_out(batch)
            versions = {key: list(found) for key, found in world.buckets.versions.items()}
            counts = dict(world.calls._counts)
            found.append(Start(number, versions, tuple(world.events), counts))
    return found


def publish(
    scenario: str, plan: Sequence[Point] = (), seed: int = 1, start: Start | None = None
) -> Calls:
    """Publish the stream of a world of which nothing is published, with crashes or faults.

    Or the rest of it, where the first of it is published already.
    """
    start = start or Start(0, unpublished(scenario))
    world = start.restored(scenario, plan)
    with world.under():
        for batch in islice(world.batches(seed), start.batches, None):
            world.hand_out(batch)
    return world.calls


def wrongs(scenario: str, plans: Sequence[Sequence[Point]]) -> list[str]:
    """What is wrong at the end of each, if anything is; what comes before is published once."""
    found, undisturbed = [], starts(scenario)
    for plan in plans:
        start = [one for one in undisturbed if one.is_before(plan[0])][-1]
        calls = publish(scenario, plan, start=start)
        wrong = list(published(written(scenario)))
        wrong += ["it was never called"] * (calls.crashes < len(plan))
        found += [f"{one}: {', '.join(map(str, plan))}" for one in wrong]
    return found


def points(scenario: str) -> list[Point]:
    """Before and after each call, and each of its faults."""
    calls = publish(scenario)
    faults = [Point(name, fault) for name in calls.names for fault in FAULTS]
    return [passed.point for passed in calls.passed] + faults


@every_scenario
def test_publishing_may_be_cut_off_at_any_call_and_any_call_may_fail(scenario: str) -> None:
    every = points(scenario)

    assert len(every) > 20
    assert wrongs(scenario, [[point] for point in every]) == []


def test_it_may_be_cut_off_twice() -> None:
    scenario, choose = "two takes", random.Random(1902)  # noqa: S311 - a sample
    pairs = []
    for first in choose.sample(points(scenario), 25):
        calls = publish(scenario, [first])
        after = [passed.point for passed in calls.passed]
        pairs += [[first, second] for second in choose.sample(after, min(25, len(after)))]

    assert wrongs(scenario, pairs) == []


@every_scenario
def test_told_from_the_start_and_shuffled_again_it_ends_the_same(scenario: str) -> None:
    world = written(scenario)
    publish(scenario)
    receipts = bodies(world)

    with world.under():
        for seed in range(2, 8):
            world.publish(seed)

    assert list(published(world)) == []
    assert bodies(world) == receipts


def bodies(world: World) -> dict[str, bytes]:
    return {
        key: versions[-1].body
        for (bucket, key), versions in world.buckets.versions.items()
        if bucket == stack.OUTPUT
    }


# What finds nothing must be able to find something.


def test_a_product_that_writes_receipts_blindly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Receipt, "is_newer_than", lambda *_: True)

    found: list[str] = []
    for seed in range(1, 9):
        publish("two takes", seed=seed)
        found += published(written("two takes"))

    assert any("tells something else" in wrong for wrong in found)


def test_a_product_that_lets_records_overtake_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = function("publish")

    def careless(event: Any, handle: Any) -> Any:
        failed = []
        for one in event["Records"]:
            try:
                handle(one)
            except Exception:  # noqa: BLE001 - what it must not do is to go on
                failed.append({"itemIdentifier": one["dynamodb"]["SequenceNumber"]})
        return {"batchItemFailures": failed}

    monkeypatch.setattr(module, "in_order", careless)

    every = [Point(f"publish: PutEvents #{number}", "fails") for number in range(1, 5)]
    found = wrongs("a drop", [[point] for point in every])

    assert any("each step is one event" in wrong for wrong in found)


def test_a_product_that_forgets_an_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonoscene.publishing.event_bus.EventBus.send", lambda *_: None)

    publish("a drop")

    assert any("events none" in wrong for wrong in published(written("a drop")))
