"""Drains a backlog against a clock that jumps: the real workflow, and then the sum for a million.

The handlers are the deployed ones. What a second of theirs would be is stated: how long a result
takes from fal's end to the stored video, and a dispatch from there to fal's acceptance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import Row, Section, Table, paragraphs
from benchmarks.growth import an_item, put, ready_job
from benchmarks.worlds import MeasuredWorld
from phonoscene.jobs import Audio
from tests.support import stack
from tests.support.fakes.aws import Message
from tests.support.fakes.fal import RUNS_FOR
from tests.support.fakes.world import load

if TYPE_CHECKING:
    from collections.abc import Sequence

CONCURRENCY: Final = (2, 10, 40)
MILLION: Final = 1_000_000
HOUR: Final = timedelta(hours=1)
#: Jobs of each run of the workflow.
JOBS: Final = 800
#: From fal's end to the stored video: the webhook, a queue, the copy of 10 MB. And from there to
#: fal's acceptance of the next: a queue, and the POST. Assumed, and generously: on AWS a warm
#: function has done either in less.
STORES: Final = timedelta(seconds=2.0)
SUBMITS: Final = timedelta(seconds=1.5)
GAP: Final = STORES + SUBMITS
MAX_RATIO: Final = 1.02
#: Events that a job takes at most.
MAX_STEPS: Final = 100
#: A share of time that is printed as 0.0 %.
NO_SHARE: Final = 0.0005


def spare(concurrency: int) -> int:
    """How many more than fal runs at once hide the gap.

    As many as are on their way, and twice the square root of that: they come in no even order.
    """
    under_way = concurrency * GAP / RUNS_FOR
    return math.ceil(under_way + 2 * math.sqrt(under_way))


@dataclass
class Drain(MeasuredWorld):
    """A backlog, and a clock; what moves through a queue takes as long as its handler would."""

    #: The largest number of messages that each queue held, and of jobs that held a slot.
    peaks: dict[str, int] = field(default_factory=dict)
    most_in_flight: int = 0

    def send(self, queue: str, body: str, delay: int | None = None) -> None:
        """A message, seen when its handler would be done with it."""
        takes = STORES if queue == "verdicts" else SUBMITS
        target = self.queues[queue]
        visible_at = self.now + takes + timedelta(seconds=delay or 0)
        target.messages.append(Message(body, visible_at))
        self.peaks[queue] = max(self.peaks.get(queue, 0), len(target.messages))

    def invoke(self, name: str, event: Any) -> Any:
        """One invocation, after which the slots are counted."""
        result = super().invoke(name, event)
        window = self.table.answer("GetItem", {"Key": {"job_id": {"S": "window"}}})
        held = window.get("Item", {}).get("in_flight", {"SS": []})["SS"]
        self.most_in_flight = max(self.most_in_flight, len(held))
        return result


@dataclass(frozen=True)
class Drained:
    """What a run showed."""

    jobs: int
    concurrency: int
    slots: int
    most_in_flight: int
    #: Share of the runners' time in which one was free although jobs waited.
    idle: float
    #: How many positions of the queue a job was overtaken by at most.
    overtaken: int
    peaks: dict[str, int]


def ideal_hours(jobs: int, concurrency: int) -> float:
    """How long fal alone takes, without a pause."""
    return jobs / concurrency * RUNS_FOR / HOUR


def hours(jobs: int, concurrency: int, idle: float) -> float:
    """The sum: runners are idle for a share of the time while jobs wait, and once at the end."""
    return ideal_hours(jobs, concurrency) / (1 - idle) + (RUNS_FOR + GAP) / HOUR


def drain(jobs: int, concurrency: int, slots: int) -> Drained:
    """Run a backlog down."""
    settings = {"MAX_IN_FLIGHT": str(slots), "DAILY_BUDGET_USD": "1000000"}
    world = Drain(settings=settings, concurrency=concurrency)
    version = world.buckets.put(stack.DROPS, "albums/song.wav", b"its sound").version_id
    audio = Audio(key="albums/song.wav", version_id=version, bytes=9, seconds=5.0)
    for number in range(jobs):
        job = ready_job(job_id=f"{(number * 7919) % 2**32:08x}{number:024x}", audio=audio)
        put(world, an_item(job, job.created_at + timedelta(milliseconds=number)))
    with world.under():
        world.invoke("reconcile", {})
        for _ in range(MAX_STEPS * jobs):
            if not (
                len(world.fal.requests) < jobs
                or any(q.messages for q in world.queues.values())
                or world.fal.next_at()
            ):
                break
            world._step()
        else:
            raise RuntimeError("the backlog is not drained")
    return _drained(world, jobs, concurrency, slots)


def _drained(world: Drain, jobs: int, concurrency: int, slots: int) -> Drained:
    runs = list(zip(world.fal.began, world.fal.requests, strict=True))
    first, last = runs[0][0], max(world.fal.began)
    busy = sum((min(one.ends_at, last) - began for began, one in runs), timedelta(0))
    # a job's number is in its id, and that in the address of its webhook
    numbers = [int(one.webhook_url.split("/")[-2][8:], 16) for one in world.fal.requests]
    return Drained(
        jobs=jobs,
        concurrency=concurrency,
        slots=slots,
        most_in_flight=world.most_in_flight,
        idle=1 - busy / (concurrency * (last - first)),
        overtaken=max(abs(number - place) for place, number in enumerate(numbers)),
        peaks=world.peaks,
    )


def measure() -> Section:
    """Run the backlogs down, and do the sum for a million."""
    load()
    section = Section("Drain")
    runs: list[Drained] = []
    for concurrency in CONCURRENCY:
        tight = drain(JOBS, concurrency, concurrency)
        roomy = drain(JOBS, concurrency, concurrency + spare(concurrency))
        runs += [tight, roomy]
        section.rows += [_million(tight, None), _million(roomy, MAX_RATIO), *_kept(roomy)]
    section.tables.append(("A million jobs of 35 s each:", _table(runs)))
    section.notes += paragraphs(NOTES)
    return section


def _million(run: Drained, most: float | None) -> Row:
    took, ideal = hours(MILLION, run.concurrency, run.idle), ideal_hours(MILLION, run.concurrency)
    what = f"fal runs {run.concurrency}, MaxInFlight {run.slots}: hours for a million, to the ideal"
    return Row.at_most(what, (took, f"{took:,.0f} h"), (ideal, f"{ideal:,.0f} h"), most)


def _kept(run: Drained) -> Sequence[Row]:
    """What must hold at any time."""
    what, peak = f"fal runs {run.concurrency}, MaxInFlight {run.slots}", max(run.peaks.values())
    held, idle, late = str(run.most_in_flight), f"{run.idle:.1%}", str(run.overtaken)
    is_held, in_order = run.most_in_flight <= run.slots, run.overtaken < run.slots
    most, few = 2 * run.slots, peak <= 2 * run.slots
    return [
        Row.held(f"{what}: slots taken at most", held, f"≤ {run.slots}", is_held),
        Row.held(f"{what}: a runner idle though jobs wait", idle, "0 %", run.idle < NO_SHARE),
        Row.held(f"{what}: started out of turn, by positions", late, f"< {run.slots}", in_order),
        Row.held(f"{what}: messages in a queue at most", str(peak), f"≤ {most}", few),
    ]


def _table(runs: Sequence[Drained]) -> Table:
    headings = ("fal runs at once", "MaxInFlight", "idle", "hours", "days", "to the ideal")
    lines = []
    for run in runs:
        took = hours(MILLION, run.concurrency, run.idle)
        ratio = took / ideal_hours(MILLION, run.concurrency)
        lines.append(
            (
                str(run.concurrency),
                str(run.slots),
                f"{run.idle:.1%}",
                f"{took:,.0f}",
                f"{took / 24:,.1f}",
                f"{ratio:.3f} ×",
            )
        )
    return Table(headings, tuple(lines))


NOTES: Final = f"""\
{JOBS:,} jobs a run through the deployed handlers on a clock that jumps. A run at fal takes
{RUNS_FOR.seconds} s, give or take 30 %. A video is assumed to be stored
{STORES.total_seconds():g} s after fal's end, and the next job at fal
{SUBMITS.total_seconds():g} s after that. The share of time in which a runner is idle although
jobs wait is measured in the run; the hours for a million follow from it.

With MaxInFlight as large as what fal runs at once, a runner is idle for that gap between two
jobs. A few more slots hide it: their jobs wait in fal's queue, which starts them at once.

When all slots become free in one moment, as after an outage, each end announces as many jobs as
there are slots by then: at most MaxInFlight × (MaxInFlight + 1) / 2 messages, 1,176 for 48, and
each job is still claimed once.
"""
