"""What must be so when nothing changes any more, wherever processes died on the way there."""

from __future__ import annotations

import json
from collections import Counter
from decimal import ROUND_CEILING, Decimal
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING

from phonoscene.drops.contents import Holders
from phonoscene.drops.keys import (
    POINTER_SUFFIX,
    RECEIPT_SUFFIX,
    WORK_FILES,
    output_key,
    segment_key,
)
from phonoscene.jobs import BORN_AS, TRANSITIONS, WITHOUT_VIDEO, Job, JobStatus
from phonoscene.publishing.pointers import Pointer, recency
from phonoscene.publishing.public_job import written
from phonoscene.publishing.receipts import Receipt
from phonoscene.publishing.stable_videos import JOB_ID
from phonoscene.table.items import from_item
from phonoscene.workflow.publication import next_look
from tests.support import stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.support.fakes.fal import Made
    from tests.support.fakes.world import World
    from tests.support.scenarios import Scenario


PRICE = Decimal(stack.PRICE)


def jobs_of(world: World) -> list[Job]:
    """Every record of a job, or of a half that waits; each item is read once."""
    items = [item for item in world.table.items() if "status" in item]
    for item in items:
        if id(item) not in world.jobs:
            world.jobs[id(item)] = item, Job.model_validate(from_item(item))
    return [world.jobs[id(item)][1] for item in items]


def gave_up(world: World, job: Job) -> bool:
    """Whether a job ended as it may after two crashes: nothing was paid, and its receipt says why.

    Twice, no one knew what fal had heard: the product sends a job again after one proven silence,
    not after two. Or twice the decoder's process ended on one file: then it is the file. A sequence
    ends with a segment that did.
    """
    if paid(world, job):
        return False
    if job.sequence:
        lost = {one.job_id for one in job.sequence.segments}
        return any(one.job_id in lost and gave_up(world, one) for one in jobs_of(world))
    if job.status is JobStatus.REJECTED:
        return any(one.code == "could_not_be_examined" and one.field for one in job.errors)
    return job.resubmitted and [one.code for one in job.errors] == ["outcome_unknown"]


def broken(world: World, scenario: Scenario) -> list[str]:
    """Everything that is wrong, in words."""
    jobs = jobs_of(world)
    return [*_ended(world, jobs, scenario), *always_broken(world)]


def always_broken(world: World) -> list[str]:
    """The same, but for how each job ended."""
    jobs = jobs_of(world)
    checks = (
        _settled(world),
        _outputs(world, jobs),
        _copies(world, jobs),
        _paid(world, jobs),
        _repeats(world, jobs),
        _sums(world, jobs),
        _came(world, jobs),
        _told(world, jobs),
        published(world),
        *map(_history, jobs),
    )
    return [wrong for check in checks for wrong in check]


def _settled(world: World) -> Iterator[str]:
    if not world.is_settled:
        yield "something goes on for ever"
    for name, queue in world.queues.items():
        yield from (f"dead in {name}: {message.body}" for message in queue.dead)


def _ended(world: World, jobs: list[Job], scenario: Scenario) -> Iterator[str]:
    """As in the undisturbed world, or as time allows, or after two crashes given up unpaid."""
    ends, wanted = Counter(job.status for job in jobs), Counter(scenario.ends)
    others, missing = ends - wanted, wanted - ends
    may_give_up = world.calls.crashes > 1
    given_up = Counter(job.status for job in jobs if may_give_up and gave_up(world, job))
    may_lack = Counter() if others else missing & Counter(scenario.may_lack)
    more = ends.total() - wanted.total()  # what was given up is made by the next event of its name
    is_allowed = (others - given_up).keys() <= scenario.may_end
    if not is_allowed or not -may_lack.total() <= more <= given_up.total():
        yield f"ended {_names(ends)} instead of {_names(wanted)}"


def _names(statuses: Counter[JobStatus]) -> str:
    return ", ".join(sorted(statuses.elements())) or "with no record"


def _outputs(world: World, jobs: list[Job]) -> Iterator[str]:
    """Each video once, with fal's bytes, and its manifest once; else only what is published."""
    copies = {pointer.stable_key for job in jobs for pointer in Pointer.all_of(job)}
    written = {
        key: versions
        for (bucket, key), versions in world.buckets.versions.items()
        if bucket == stack.OUTPUT
        and not key.endswith((RECEIPT_SUFFIX, POINTER_SUFFIX))
        and key not in copies
        and not key.startswith(WORK_FILES)
    }
    for job in jobs:
        if job.status is not JobStatus.SUCCEEDED or not job.video:
            continue
        versions = written.pop(job.video.key, [])
        videos = [_made_for(world, job, jobs)]
        if [one.body for one in versions] != videos:
            yield f"{len(versions)} versions of the video, or other bytes than fal's"
        elif versions[0].version_id != job.video.version_id or len(videos[0]) != job.video.bytes:
            yield "the record names another version of the video"
        manifest = (
            segment_key(job.job_id, ".json")
            if job.part_of
            else output_key(job.name, job.job_id, ".json")
        )
        if len(written.pop(manifest, [])) != 1:
            yield "not one manifest"
    yield from (f"an output of no job: {key}" for key in written)


def _made_for(world: World, job: Job, jobs: list[Job]) -> bytes:
    """The bytes that a job's video must have: fal's, or of a sequence its segments' in order."""
    if job.sequence:
        by_id = {one.job_id: one for one in jobs}
        parts = [by_id[str(one.job_id)] for one in job.sequence.segments]
        return b"".join(_made_for(world, one, jobs) for one in parts)
    asked = job.request.request_id if job.request else ""
    return next(one.video for one in world.fal.requests if one.request_id == asked)


def _copies(world: World, jobs: list[Job]) -> Iterator[str]:
    """What is in fal's storage are files of our jobs, whole, under names that say whose."""
    for url, (body, _) in world.fal.copies.items():
        owners = [job for job in jobs if f"_{job.job_id}-" in url]
        pinned = [medium for job in owners for medium in job.media.values()]
        sources = [
            world.buckets.body(one.bucket or stack.DROPS, one.key, one.version_id) for one in pinned
        ]
        if body not in sources:
            yield f"a copy of nothing that was dropped: {url}"


def paid(world: World, job: Job) -> int:
    """How often fal was paid for a job: a run that fails is not billed."""
    marked = [one for one in world.fal.requests if f"{job.job_id}-" in one.audio_url]
    return sum(not one.fails for one in marked)


def _paid(world: World, jobs: list[Job]) -> Iterator[str]:
    """One submission a job: fal's list shows each that has ended, so a second is none too many.

    What is sent again after a proven silence had not been sent.
    """
    for job in jobs:
        if (times := paid(world, job)) > 1:
            yield f"{times} paid submissions, 1 allowed"


def _repeats(world: World, jobs: list[Job]) -> Iterator[str]:
    """Each repeat is one of a job that is there; of a content no two jobs have or may have a video.

    But where somebody asked for another take.
    """
    items = [from_item(item) for item in world.table.items()]
    found = Counter(item["same_as"] for item in items if "same_as" in item)
    if found != Counter({job.job_id: job.repeats for job in jobs if job.repeats}):
        yield f"repeats {found} of jobs that count others"
    alive = {job.job_id for job in jobs if job.status not in WITHOUT_VIDEO}
    for holders in (Holders.model_validate(item) for item in items if "holders" in item):
        held = Counter(
            holder.model_dump_json(exclude={"job_id"})
            for holder in holders.holders
            if holder.job_id in alive
        )
        yield from (f"{times} jobs of one content" for times in held.values() if times > 1)


def _sums(world: World, jobs: list[Job]) -> Iterator[str]:
    """No slot is taken, nothing is reserved, and the days' sums are what was spent."""
    items = {item["job_id"]["S"]: from_item(item) for item in world.table.items()}
    if world.measured["SumsCorrected"]:
        yield "the sums were not the jobs' and had to be put right"
    for name in ("in_flight", "uncopied"):
        if leaked := items.get("window", {}).get(name):
            yield f"{len(leaked)} slots leaked ({name})"
    days = [item for key, item in items.items() if key.startswith("budget#")]
    reserved = sum((day["reserved_usd"] for day in days), Decimal(0))
    committed = sum((day["committed_usd"] for day in days), Decimal(0))
    if reserved:
        yield f"{reserved} USD leaked"
    costs = sum((spent(job) for job in jobs), Decimal(0))
    if committed != costs:
        yield f"{committed} USD committed, {costs} spent"


def spent(job: Job) -> Decimal:
    """What a job has cost by its record, beside what it holds; a sequence's segments have its."""
    if job.sequence:
        return Decimal(0)
    is_billed = has_video(job) or job.is_maybe_billed
    own = bool(job.actual or job.estimate) and is_billed and not job.reservation
    costs = [job.actual or job.estimate] * own + [*job.duplicate_actuals]
    unreported = len(job.duplicate_requests) - len(job.duplicate_actuals)
    costs += [job.estimate] * unreported
    return sum((cost.upper_usd for cost in costs if cost), Decimal(0))


def has_video(job: Job) -> bool:
    """Whether fal has made the job's own video."""
    return JobStatus.GENERATED in [step.status for step in job.history]


def _came(world: World, jobs: list[Job]) -> Iterator[str]:
    """Each video that a record knows of costs what fal reports, by hand."""
    made = {one.request_id: one.made for one in world.fal.requests}
    for job in jobs:
        own = job.request.request_id if job.request and has_video(job) else None
        if own and (job.actual is None or job.actual.upper_usd not in may_cost(made[own])):
            yield f"{made[own]} came, and the record says {job.actual}"
        noted = sorted(cost.upper_usd for cost in job.duplicate_actuals)
        others = [may_cost(made[one]) for one in job.duplicate_requests]
        if len(noted) > len(others) or not all(any(usd in one for one in others) for usd in noted):
            yield f"{len(others)} others came, and the record says {noted}"


def may_cost(made: Made) -> set[Decimal]:
    """The most that fal may bill for a video: by its bill, where that was fetched, or its size."""
    frames = -(-(made.frames - 1) // 8) * 8 + 1
    megapixels = {Decimal(-(-made.width * made.height * frames // 1_000_000))}
    megapixels |= {Decimal(made.units)} if made.units else set()
    return {(many * PRICE).quantize(Decimal("0.0001"), ROUND_CEILING) for many in megapixels}


def _told(world: World, jobs: list[Job]) -> Iterator[str]:
    """A job that has ended holds nothing, waits for nothing and is in no index of work."""
    if any({"due_at", "dispatch_at", "backlog_shard"} & set(item) for item in world.table.items()):
        yield "a record says that somebody should still look at it"
    for job in jobs:
        if job.reservation or job.waits_for:
            yield f"a {job.status} job holds {job.reservation} and waits for {job.waits_for}"
        if job.source_url and job.status is JobStatus.SUCCEEDED and not job.video_flaws:
            yield "the video's public URL is kept"


def published(world: World) -> Iterator[str]:
    """Each receipt is that of the newest record of its name, or of its audio file alone.

    And each step was an event, in order. Segments have neither.
    """
    if not world.publishes:
        return
    yield from (f"not published: {one}" for one in world.unpublished)
    yield from events_unlike_steps(world)
    receipts = _receipts(world)
    keys = {receipt.key for receipt in receipts}
    keys |= {receipt.audio_key for receipt in receipts if receipt.is_of_one}
    for key in keys:
        receipt = _newest(one for one in receipts if key in (one.key, one.audio_key))
        versions = world.buckets.versions.get((stack.OUTPUT, key))
        if not versions or Receipt.read(versions[-1].body) != receipt:
            yield f"the receipt of a {receipt.status} job tells something else"
    yield from stable_keys(world, jobs_of(world))


def newest_receipts(world: World) -> list[Receipt]:
    """For each name the receipt of its newest record."""
    receipts = _receipts(world)
    keys = dict.fromkeys(receipt.key for receipt in receipts)
    return [_newest(one for one in receipts if one.key == key) for key in keys]


def _receipts(world: World) -> list[Receipt]:
    """The receipt of each record, in its last state."""
    return [
        Receipt.of(Job.model_validate(item), next_look(item))
        for item in map(from_item, world.table.items())
        if "status" in item and "part_of" not in item
    ]


def _newest(receipts: Iterable[Receipt]) -> Receipt:
    return reduce(lambda one, other: other if other.is_newer_than(one) else one, receipts)


def events_unlike_steps(world: World) -> Iterator[str]:
    """Each step of a record was one event, in order, and nothing else was; segments have none."""
    sent = _sent(world)
    for job in jobs_of(world):
        steps = [str(step.status) for step in job.history]
        events = sent.get((job.job_id, written(job.created_at)), [])
        if not job.part_of and events != steps:
            shown = " ".join(events) or "none"
            yield f"{job.name}: steps {' '.join(steps)}, events {shown}; each step is one event"


def stable_keys(world: World, found: Sequence[Job]) -> Iterator[str]:
    """Each stable key holds the newest video of its name, and never held an older one after it."""
    jobs = {job.job_id: job for job in found}
    pointers = [pointer for job in found for pointer in Pointer.all_of(job)]
    for key in {pointer.stable_key for pointer in pointers}:
        newest = max((one for one in pointers if one.stable_key == key), key=recency)
        versions = world.buckets.versions.get((stack.OUTPUT, key), [])
        held = [jobs[dict(version.metadata)[JOB_ID]] for version in versions]
        pinned = (stack.OUTPUT, newest.video.key, newest.video.version_id)
        if not held or held[-1].job_id != newest.job_id:
            yield f"{key} does not hold the newest video"
        elif versions[-1].body != world.buckets.body(*pinned):
            yield f"{key} has other bytes than the video"
        kept = world.buckets.versions.get((stack.OUTPUT, newest.key), [])
        if not kept or Pointer.read(kept[-1].body) != newest:
            yield f"{newest.key} names another job"
        yield from _went_back(key, held)


def _went_back(key: str, held: Sequence[Job]) -> Iterator[str]:
    """No older video replaced a newer one; a repetition makes an older video the newest again."""
    if any(job.repeats for job in held):
        return
    if any(recency(after) < recency(before) for before, after in pairwise(held)):
        yield f"{key} went back to an older video"
    if len(held) != len({job.job_id for job in held}):
        yield f"{key} was copied twice from one video"


def _sent(world: World) -> dict[tuple[str, str], list[str]]:
    """The states in the events of each record, each event once.

    A half that is dropped again is another record by the same id.
    """
    events = {event["id"]: event for event in map(json.loads, world.events)}
    fields: dict[tuple[str, str], list[str]] = {}
    for event in events.values():
        fields.setdefault((event["job_id"], event["created_at"]), []).append(event["status"])
    return fields


def _history(job: Job) -> Iterator[str]:
    """A path of ``TRANSITIONS`` that ends where the job is."""
    path = [step.status for step in job.history]
    is_legal = path[0] in BORN_AS and all(b in TRANSITIONS[a] for a, b in pairwise(path))
    if not is_legal or path[-1] is not job.status:
        yield f"no legal history: {' '.join(path)}, now {job.status}"
