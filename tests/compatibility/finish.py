"""Finishes what another version has written, and says what went wrong.

python -m tests.compatibility.finish FILE          JSON: for each moment of the file what is wrong

Another version's tests start this one in that version's own tree, to see that it can go back.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phonoscene
from phonoscene.jobs import FINAL, JobStatus
from tests.compatibility.moments import Moment, from_json, load
from tests.support import stack
from tests.support.invariants import (
    always_broken,
    events_unlike_steps,
    jobs_of,
    newest_receipts,
    stable_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fakes.world import World


def finish(moment: Moment) -> World:
    """The world of a moment once nothing changes any more, and all of it is published."""
    world = from_json(moment)
    with world.under():
        world.publishes = False  # its receipts are compared by what both versions know
        world.settle()
        world.publish()
    return world


def wrong(world: World) -> list[str]:
    """What must not be in a finished world, in words: nothing lost, nothing paid twice."""
    return [*always_broken(world), *_lost(world), *_published(world)]


def _lost(world: World) -> Iterator[str]:
    """Videos that fal made and bills, and that no job has."""
    jobs = jobs_of(world)
    yield from (f"{job.name} remains {job.status}" for job in jobs if job.status not in FINAL)
    kept = {
        job.request.request_id
        for job in jobs
        if job.request and job.status is JobStatus.SUCCEEDED and job.video
    }
    noted = {one for job in jobs for one in job.duplicate_requests}
    for one in world.fal.requests:
        if not one.fails and not one.is_cancelled and one.request_id not in kept | noted:
            yield f"the video of {one.request_id} is lost"


def _published(world: World) -> Iterator[str]:
    """Each name's receipt is of its newest record, and each step was an event."""
    yield from (f"not published: {one}" for one in world.unpublished)
    yield from events_unlike_steps(world)
    for receipt in newest_receipts(world):
        kept = world.buckets.versions.get((stack.OUTPUT, receipt.key))
        shown: Any = json.loads(kept[-1].body) if kept else {}
        wanted = (receipt.job_id, receipt.revision, str(receipt.status))
        if tuple(shown.get(key) for key in ("job_id", "revision", "status")) != wanted:
            yield f"the receipt of {receipt.name} is another"
    yield from stable_keys(world, jobs_of(world))


def main(path: str) -> None:
    """Finish each moment of a file, and print what is wrong."""
    found = {name: wrong(finish(moment)) for name, moment in load(Path(path)).items()}
    code = str(Path(phonoscene.__file__).parent)
    json.dump({"code": code, "wrong": found}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
