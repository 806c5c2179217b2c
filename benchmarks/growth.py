"""Measures whether a job costs the same however many others wait."""

from __future__ import annotations

import gc
import statistics
import tracemalloc
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import Row, Section, milliseconds, paragraphs
from benchmarks.worlds import IndexedTable, MeasuredWorld
from phonoscene.fal.webhook_message import hash_token
from phonoscene.jobs import Audio, Estimate, Job, JobStatus, Request
from phonoscene.table.items import index_attributes, to_dynamodb, to_item, to_record
from tests.support import stack
from tests.support.fakes.fal import QUEUE, RUNS_FOR
from tests.support.fakes.fal import Request as Submitted
from tests.support.fakes.world import load
from tests.support.jobs import NOON
from tests.support.scenarios import SOUND, WISH

if TYPE_CHECKING:
    from datetime import datetime

WAITING: Final = (100, 10_000, 100_000)
DUE: Final = (1_000, 10_000)
#: Jobs that go all the way while the others wait, and as many that are dropped.
MOVING: Final = 60
MAX_GROWTH: Final = 1.1
RICH: Final = {"DAILY_BUDGET_USD": "100000"}
#: How often each size is measured; the least time counts, as the rest is the machine's.
ROUNDS: Final = 3


@dataclass(frozen=True)
class Cost:
    """AWS requests and own seconds for each job."""

    requests: float
    seconds: float


def measure() -> Section:
    """Ever more jobs that wait, and ever more that are due."""
    load()
    section = Section("Growth")
    section.rows += _waiting() + _due()
    section.notes += paragraphs(NOTES)
    return section


def _waiting() -> list[Row]:
    # round after round, so that a busy moment is not one size's alone
    rounds = [[cost_with(waiting) for waiting in WAITING] for _ in range(ROUNDS)]
    best = [min(costs, key=lambda cost: cost.seconds) for costs in zip(*rounds, strict=True)]
    few, *more = best
    rows = []
    for waiting, cost in zip(WAITING[1:], more, strict=True):
        what = f"with {waiting:,} waiting, to {WAITING[0]}"
        ours, theirs = cost.requests, few.requests
        shown = (ours, f"{ours:.1f}"), (theirs, f"{theirs:.1f}")
        rows.append(Row.at_most(f"AWS requests a job {what}", *shown, MAX_GROWTH))
        times = [(one.seconds, milliseconds(one.seconds)) for one in (cost, few)]
        rows.append(Row.at_most(f"own time a job {what}", times[0], times[1], MAX_GROWTH))
    return rows


def cost_with(waiting: int, moving: int = MOVING) -> Cost:
    """What a job costs while so many wait: one is dropped, and the oldest goes all the way."""
    world = MeasuredWorld(settings={"MAX_IN_FLIGHT": "2", **RICH})
    fill(world, waiting)
    gc.freeze()  # on AWS the table is not in the function's memory, and none of its garbage
    for number in range(moving):
        name = f"albums/{number}"
        world.drop(f"{name}.wav", SOUND, delay=20 * number)
        world.drop(f"{name}.json", WISH, delay=20 * number)
    with world.under():
        world.invoke("reconcile", {})  # the first dispatch
        while sum(len(queue.messages) for queue in world.queues.values()) or _ended(world) < moving:
            world._step()
    own = sum(
        statistics.median(times) * len(times)
        for name, times in world.own.items()
        if name != "reconcile"
    )
    return Cost(_requests(world) / moving, own / moving)


def _ended(world: MeasuredWorld) -> int:
    return len(world.fal.requests) - 2


def _requests(world: MeasuredWorld) -> float:
    counts = world.calls.counts.items()
    return sum(n for call, n in counts if call.count(" ") == 1 and "reconcile" not in call)


def fill(world: MeasuredWorld, count: int) -> None:
    """So many READY jobs, admitted a moment after each other."""
    item, born = an_item(ready_job()), NOON - timedelta(days=1)
    for number in range(count):
        job_id, shard = f"{number:08x}{'0' * 24}", number % 16
        at = to_dynamodb(born + timedelta(milliseconds=number))
        placed = {
            "job_id": {"S": job_id},
            "backlog_shard": {"N": str(shard)},
            "dispatch_at": {"S": at},
        }
        put(world, item | placed)


def put(world: MeasuredWorld, item: dict[str, Any]) -> None:
    """Write an item beside the product."""
    world.table.answer("PutItem", {"TableName": stack.JOBS, "Item": item})


def an_item(job: Job, at: datetime | None = None) -> dict[str, Any]:
    """A job in DynamoDB's words."""
    return to_item(to_record(job) | index_attributes(job, at))


def ready_job(**fields: Any) -> Job:
    """A READY job that can be submitted."""
    one = Decimal("0.0868")
    answer: dict[str, Any] = {
        "job_id": "0" * 32,
        "name": "albums/song",
        "bucket": stack.DROPS,
        "audio": Audio(key="albums/song.wav", version_id="v1", bytes=9, seconds=5.0),
        "arguments": {"prompt": "a harbour", "video_output_type": "X264 (.mp4)"},
        "estimate": Estimate(
            width=1024,
            height=576,
            frames=121,
            megapixels=Decimal(72),
            lower_usd=one,
            upper_usd=one,
        ),
    }
    return Job.new(JobStatus.READY, NOON - timedelta(days=1), **answer | fields)


def _due() -> list[Row]:
    few, many = (pass_over(due) for due in DUE)
    requests = (few.requests, f"{few.requests:.2f}"), (many.requests, f"{many.requests:.2f}")
    return [
        Row.at_most(
            f"requests a job, a pass over {DUE[1]:,} due, to {DUE[0]:,}",
            requests[1],
            requests[0],
            MAX_GROWTH,
        ),
        Row.held(
            f"memory of a pass over {DUE[1]:,} due, beside {DUE[0]:,}",
            f"{many.peak / 1e6:.2f} MB",
            "no more than a page of an index more",
            many.peak - few.peak < PAGE_BYTES,
            f"{few.peak / 1e6:.2f} MB",
        ),
        Row(f"time a job, a pass over {DUE[1]:,} due", milliseconds(many.seconds)),
    ]


#: DynamoDB's page is 1 MB; in Python's objects that is some five times as much.
PAGE_BYTES: Final = 5_000_000


@dataclass(frozen=True)
class Passed:
    """One pass: requests (to AWS and fal) and own seconds for each job; most bytes above before."""

    requests: float
    seconds: float
    peak: int


def pass_over(due: int) -> Passed:
    """One pass over so many jobs that fal is still busy with."""
    settings, table = {"MAX_IN_FLIGHT": str(2 * due), **RICH}, IndexedTable()
    world = MeasuredWorld(settings=settings, table=table)
    _submit(world, due)
    with world.under():
        world.invoke("reconcile", {})  # it builds clients
        _submit(world, due)
        world.calls.counts.clear()
        world.own.clear()
        table.keeps = False  # what the stand-in keeps is not the pass's memory
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        looked = world.invoke("reconcile", {})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    if looked != {JobStatus.SUBMITTED: due}:
        raise AssertionError(f"the pass looked at {looked}, not at {due} jobs")
    return Passed(world.calls.counts.total() / due, world.own["reconcile"][0] / due, peak - before)


def _submit(world: MeasuredWorld, count: int) -> None:
    """So many jobs that fal has taken, all of them due."""
    for number in range(count):
        job_id = f"{number:08x}{'0' * 24}"
        job = ready_job(
            job_id=job_id,
            attempt=1,
            token_hashes=(hash_token("t"),),
            request=Request(
                request_id=job_id,
                status_url=f"{QUEUE}/{job_id}/status",
                response_url=f"{QUEUE}/{job_id}",
            ),
        )
        job = job.model_copy(update={"status": JobStatus.SUBMITTED})
        put(world, an_item(job, world.now - timedelta(seconds=1)))
        if len(world.fal.requests) < count:
            ends_at = world.now + 10 * RUNS_FOR
            world.fal.add(
                Submitted(
                    job_id, "", "", failure=None, ends_at=ends_at, webhook_at=None, duplicates=0
                )
            )


NOTES: Final = """\
A job here is one drop of two files, and one run of the oldest waiting job to its video. The SDK
is left out, so the time is the product's own; the table in memory keeps its indexes sorted.
"""
