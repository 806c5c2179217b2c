"""Records what this version writes, for later versions to read.

python -m tests.compatibility.record            at a release: writes tests/compatibility/VERSION/

The deployed functions run in a world of their own, and die at one call after the other. Each
moment is kept that has a record, a message or an object of a kind that no moment before it has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.keys import POINTER_SUFFIX, RECEIPT_SUFFIX, half_id
from phonoscene.jobs import Job, JobStatus
from phonoscene.publishing.events import StatusChanged
from phonoscene.table.items import from_item
from phonoscene.version import VERSION
from phonoscene_cli.audit.checkpoint import CursorFile, Progress
from tests.compatibility.moments import Moment, save, to_json
from tests.support import stack
from tests.support.fakes.calls import Calls
from tests.support.fakes.fal import REFUSED
from tests.support.jobs import NOON
from tests.support.scenarios import SCENARIOS, Scenario, drop, drop_three

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fakes.world import World

#: Scenarios that together reach every status, and every reason to wait.
PLAYED: Final = (
    "a drop",
    "an answer lost, and no webhook",
    "fal busy",
    "the account refused",
    "a run that fails",
    "three drops, one place",
    "two takes",
    "copies in fal's storage, no webhooks",
    "a webhook without payload",
    "a chain of four segments",
    "no sidecar",
    "an image that comes last",
    "copies in place",
    "a second audio file",
    "a sidecar that is not used",
    "cancelled",
    "a song that is cancelled",
)
HERE: Final = Path(__file__).parent
#: The files of a version, in its folder.
MOMENTS, EVENT, CHECKPOINT = "moments.json.gz", "event.json", "checkpoint.json"


def drop_refused(world: World) -> None:
    """Drop a pair whose request fails for good."""
    drop(world)
    play = world.fal.play
    play.meanwhile = lambda: setattr(world.fal.requests[-1], "failure", REFUSED)


#: What else is played: a budget that is too small for two, and a job that ends without a video.
OWN: Final = {
    "a budget for one": Scenario(drop_three, settings={"DAILY_BUDGET_USD": "0.03"}),
    "a request that fails": Scenario(drop_refused),
}
#: How many points are passed from one death to the next, and to the last of a scenario.
STEP: Final = 3
LAST: Final = 700
#: Nothing new happens while a job waits for the next day.
OWN_LAST: Final = 240


def recorded() -> dict[str, Moment]:
    """The moments, by scenario and number."""
    found: dict[str, Moment] = {}
    seen: set[Any] = set()
    for scenario in (*PLAYED, *OWN):
        for number in range(0, OWN_LAST if scenario in OWN else LAST, STEP):
            world = _until_death(scenario, number)
            if world is None:
                break
            new = set(kinds(world)) - seen
            if new and not world.script:
                seen |= new
                found[f"{scenario}, {number}"] = to_json(world)
    return found


def _until_death(scenario: str, number: int) -> World | None:
    """The world in which a process has just died, or None if all ended before."""
    played = OWN.get(scenario) or SCENARIOS[scenario]
    world = played.world(Calls(dies_after=number))
    with world.under():
        while not world.calls.crashes:
            if not world._step():
                return None
        # what was written until then is published, or is still in the stream
        if number % 2:
            with world._uncounted():
                world.publish()
    return world


def kinds(world: World) -> Iterator[Any]:
    """What a later version must be able to read in this world."""
    halves = {half_id(bucket, key) for bucket, key in world.buckets.versions}
    for item in map(from_item, world.table.items()):
        what = "half" if item["job_id"] in halves else "part_of" if "part_of" in item else "job"
        yield what, item.get("status"), item.get("waits_for"), "sequence" in item
        yield from (("attribute", item.get("status"), name) for name in item)
        errors = item.get("errors", ())
        yield from (("error", one["code"]) for one in errors)
    for name, queue in world.queues.items():
        for message in queue.messages:
            body = json.loads(message.body)
            yield name, *sorted(body), body.get("body") == ""
    for bucket, key in world.buckets.versions:
        if bucket == stack.OUTPUT:
            suffixes = (RECEIPT_SUFFIX, POINTER_SUFFIX, ".json", ".mp4", ".wav", ".png")
            yield "object", next((one for one in suffixes if key.endswith(one)), "other")


def event() -> str:
    """A message of the notifications queue: an event as EventBridge sends it."""
    job = Job.new(JobStatus.READY, NOON, job_id="0" * 32, name="talks/intro", bucket=stack.DROPS)
    changed = StatusChanged.of(None, job, None, stack.OUTPUT)
    assert changed
    envelope = stack.event("job-status-changed") | {"detail": json.loads(changed.to_json())}
    return json.dumps(envelope)


def main() -> None:
    """Write all files of this version."""
    folder = HERE / VERSION
    folder.mkdir(exist_ok=True)
    save(folder / MOMENTS, recorded())
    (folder / EVENT).write_text(event() + "\n")
    CursorFile(folder / CHECKPOINT).save(Progress(stack.DROPS, "talks/", "talks/intro.wav", 3))


if __name__ == "__main__":
    main()
