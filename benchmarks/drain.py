"""Drains a backlog against a clock that jumps: the real workflow, and then the sum for a million.

The handlers are the deployed ones. What a second of theirs would be is told: how long a verdict
takes from fal's end to the stored video, and a dispatch from there to fal's acceptance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import Row, Section, Table
from benchmarks.growth import an_item, put, ready_job
from benchmarks.worlds import MeasuredWorld
from tests.crash.aws import Message
from tests.crash.fal import RUNS_FOR
from tests.crash.world import NOON, load

if TYPE_CHECKING:
    from collections.abc import Sequence

CONCURRENCY: Final = (2, 10, 40)
MILLION: Final = 1_000_000
#: Jobs of each run of the workflow.
JOBS: Final = 1_200
#: From fal's end to the stored video: the webhook, a queue, the copy of 10 MB. And from there to
#: fal's acceptance of the next: a queue, and the POST. Assumed, and generously: on AWS a warm
#: function has done either in less.
COMES_HOME: Final = timedelta(seconds=2.0)
GOES_OUT: Final = timedelta(seconds=1.5)
GAP: Final = COMES_HOME + GOES_OUT
MOST_RATIO: Final = 1.02


def spare(concurrency: int) -> int:
    """How many more than fal runs at once hide the gap: as many as end while one is under way."""
    return math.ceil(concurrency * GAP / RUNS_FOR)


@dataclass
class Drain(MeasuredWorld):
    """A backlog, and a clock; what moves through a queue takes as long as its handler would."""

    #: The largest number of messages that each queue held, and of jobs that held a place.
    peaks: dict[str, int] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    most_in_flight: int = 0
    stored_at: datetime = NOON

    def send(self, queue: str, body: str, delay: int | None = None) -> None:
        """A message, seen when its handler would be done with it."""
        takes = COMES_HOME if queue == "verdicts" else GOES_OUT
        target = self.queues[queue]
        visible_at = self.now + takes + timedelta(seconds=delay or 0)
        target.messages.append(Message(body, visible_at))
        self.peaks[queue] = max(self.peaks.get(queue, 0), len(target.messages))

    def invoke(self, name: str, event: Any) -> Any:
        """One invocation, after which the window is looked at."""
        told = super().invoke(name, event)
        window = self.table.answer("GetItem", {"Key": {"job_id": {"S": "window"}}})
        held = window.get("Item", {}).get("in_flight", {"SS": []})["SS"]
        self.most_in_flight = max(self.most_in_flight, len(held))
        if name == "store":
            self.stored_at = self.now
        return told


@dataclass(frozen=True)
class Drained:
    """What a run showed."""

    jobs: int
    concurrency: int
    places: int
    hours: float
    most_in_flight: int
    #: Share of the runners' time in which one was free although jobs waited.
    idle: float
    #: How many places of the queue a job was overtaken by at most.
    overtaken: int
    peaks: dict[str, int]

    @property
    def ratio(self) -> float:
        """To the time that fal alone would take."""
        return self.hours / ideal_hours(self.jobs, self.concurrency)


def ideal_hours(jobs: int, concurrency: int) -> float:
    """How long fal alone takes, without a pause."""
    return math.ceil(jobs / concurrency) * RUNS_FOR / timedelta(hours=1)


def hours(jobs: int, concurrency: int, places: int) -> float:
    """The sum: a place is taken for a run and the gap after it; fal's runners bound what runs."""
    by_places = jobs / places * (RUNS_FOR + GAP)
    by_runners = jobs / concurrency * RUNS_FOR
    return (max(by_places, by_runners) + GAP) / timedelta(hours=1)


def drain(jobs: int, concurrency: int, places: int) -> Drained:
    """Run a backlog down."""
    settings = {"MAX_IN_FLIGHT": str(places), "DAILY_BUDGET_USD": "1000000"}
    world = Drain(settings=settings, concurrency=concurrency)
    for number in range(jobs):
        job = ready_job(job_id=f"{(number * 7919) % 2**32:08x}{number:024x}")
        put(world, an_item(job, job.created_at + timedelta(milliseconds=number)))
    with world.under():
        world.invoke("reconcile", {})
        while len(world.fal.requests) < jobs or any(q.messages for q in world.queues.values()) or world.fal.next_at():
            world._step()  # noqa: SLF001 - the world's own next event
    return _drained(world, jobs, concurrency, places)


def _drained(world: Drain, jobs: int, concurrency: int, places: int) -> Drained:
    began = world.fal.began
    first, last = min(began), max(began)
    busy = len([at for at in began if at < last]) * RUNS_FOR
    # a job's number stands in its id, and that in the address of its webhook
    numbers = [int(one.webhook_url.split("/")[-2][8:], 16) for one in world.fal.requests]
    return Drained(
        jobs=jobs,
        concurrency=concurrency,
        places=places,
        hours=(world.stored_at - first) / timedelta(hours=1),
        most_in_flight=world.most_in_flight,
        idle=max(0.0, 1 - busy / (concurrency * (last - first))),
        overtaken=max(abs(number - place) for place, number in enumerate(numbers)),
        peaks=world.peaks,
    )


def measure() -> Section:
    """Run the backlogs down, check the sum against them, and do the sum."""
    load()
    section = Section("Drain")
    for concurrency in CONCURRENCY:
        exact = drain(JOBS, concurrency, concurrency)
        roomy = drain(JOBS, concurrency, concurrency + spare(concurrency))
        section.rows += _rows(exact, roomy)
    section.tables.append(("A million jobs of 35 s each:", million_table()))
    section.notes += NOTES
    return section


def _rows(exact: Drained, roomy: Drained) -> Sequence[Row]:
    fal = f"fal runs {roomy.concurrency} at once, MaxInFlight"
    peak = max(roomy.peaks.values())
    summed = hours(roomy.jobs, roomy.concurrency, roomy.places)
    return [
        _ratio(f"{fal} {exact.places}: hours, to the ideal", exact, None),
        _ratio(f"{fal} {roomy.places}: hours, to the ideal", roomy, MOST_RATIO),
        Row.held(f"{fal} {roomy.places}: places ever taken", str(roomy.most_in_flight),
                 f"≤ {roomy.places}", roomy.most_in_flight <= roomy.places),
        Row.held(f"{fal} {roomy.places}: a runner idle while jobs wait", f"{roomy.idle:.2%}",
                 "0 %", roomy.idle < 0.0005),
        Row.held(f"{fal} {roomy.places}: oldest first, overtaken by", str(roomy.overtaken),
                 "less than a window", roomy.overtaken < roomy.places),
        Row.held(f"{fal} {roomy.places}: most messages in a queue", str(peak),
                 f"≤ {2 * roomy.places}", peak <= 2 * roomy.places),
        Row.at_most(f"{fal} {roomy.places}: the sum, to the run", (summed, f"{summed:.3f} h"),
                    (roomy.hours, f"{roomy.hours:.3f} h")),
    ]  # fmt: skip


def _ratio(what: str, drained: Drained, most: float | None) -> Row:
    ideal = ideal_hours(drained.jobs, drained.concurrency)
    told = (drained.hours, f"{drained.hours:.3f} h"), (ideal, f"{ideal:.3f} h")
    return Row.at_most(what, *told, most)


def million_table() -> Table:
    """Hours and days, for the window as large as fal's concurrency, and with room to spare."""
    headings = ("fal runs at once", "MaxInFlight", "hours", "days", "to the ideal")
    lines = []
    for concurrency in CONCURRENCY:
        for places in (concurrency, concurrency + spare(concurrency)):
            took = hours(MILLION, concurrency, places)
            ratio = took / ideal_hours(MILLION, concurrency)
            lines.append((str(concurrency), str(places), f"{took:,.0f}", f"{took / 24:,.1f}",
                          f"{ratio:.3f} ×"))  # fmt: skip
    return Table(headings, tuple(lines))


NOTES: Final = [
    f"{JOBS:,} jobs a run through the deployed handlers on a clock that jumps; a run at fal takes {RUNS_FOR.seconds} s. "
    f"A video is assumed to be home {COMES_HOME.total_seconds():g} s after fal's end, and the next job at fal "
    f"{GOES_OUT.total_seconds():g} s after that.",
    "With MaxInFlight as large as what fal runs at once, a runner is idle for that gap between two jobs. Some places more "
    "hide it: their jobs wait in fal's queue, which starts them at once.",
]
