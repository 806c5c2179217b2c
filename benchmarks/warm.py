"""Measures handlers that are warm: each event's own time, and the calls to AWS that a job needs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Row, Sample, Section, Table, milliseconds, paragraphs
from benchmarks.worlds import MeasuredWorld, TimedCalls
from tests.support.fakes.fal import video_of
from tests.support.fakes.world import FUNCTIONS, load
from tests.support.scenarios import SOUND, WISH

if TYPE_CHECKING:
    from collections.abc import Mapping

JOBS: Final = 120
#: The first events build clients and caches: not warm.
COLD: Final = 5
VIDEO_BYTES: Final = 10_000_000
VIDEO: Final = video_of(b" the film " * (VIDEO_BYTES // 10))
MAX_WEBHOOK: Final = 0.015
SETTINGS: Final = {"MAX_IN_FLIGHT": "40", "DAILY_BUDGET_USD": "100000"}


def measure() -> Section:
    """Drop many jobs, one after another, and let each be stored."""
    load()
    world = run(JOBS)
    section = Section("Warm handlers")
    section.rows += [_row(name, world.own[name][COLD:]) for name in FUNCTIONS if world.own[name]]
    half = run(JOBS // 2).calls
    section.rows.append(_constant(world.calls, half))
    section.tables.append(("Calls a job, one drop after another:", calls_table(world.calls, JOBS)))
    section.notes += paragraphs(NOTES)
    return section


def run(jobs: int) -> MeasuredWorld:
    """A world after so many jobs."""
    world = MeasuredWorld(
        settings=dict(SETTINGS), most_events=jobs * 40, has_whole_sdk=True, video=VIDEO
    )
    for number in range(jobs):
        at, name = number * 60.0, f"albums/{number}"
        world.at(at, lambda name=name: world.drop(f"{name}.wav", SOUND))  # type: ignore[misc]
        world.at(at + 1, lambda name=name: world.drop(f"{name}.json", WISH))  # type: ignore[misc]
    with world.under():
        world.settle()
        world.publish_each()
    return world


def _row(name: str, own: list[float]) -> Row:
    sample = Sample.of(own)
    p99 = sample.percentile(99)
    text = f"{milliseconds(sample.median)}, p99 {milliseconds(p99)}"
    if name == "webhook":
        return Row.held(f"{name}: own time an event", text, "p99 < 15 ms", p99 < MAX_WEBHOOK)
    return Row(f"{name}: own time an event", text)


def aws_calls(counts: Mapping[str, int]) -> Counter[str]:
    """Without what goes to fal over HTTP, and without the ticks, which come with time, not jobs."""
    kept = {call: times for call, times in counts.items() if " " not in call.partition(": ")[2]}
    return Counter({call: n for call, n in kept.items() if not call.startswith("reconcile")})


def a_job(calls: TimedCalls, jobs: int) -> Counter[str]:
    """The calls that each job makes; what only the first makes is none of them."""
    return Counter({call: round(n / jobs) for call, n in aws_calls(calls.counts).items()})


def _constant(all_calls: TimedCalls, half: TimedCalls) -> Row:
    counted = a_job(all_calls, JOBS)
    is_constant = counted == a_job(half, JOBS // 2)
    return Row.held("calls to AWS a job", str(counted.total()), "a constant", is_constant)


def calls_table(calls: TimedCalls, jobs: int) -> Table:
    """One line a call."""
    counted = sorted(a_job(calls, jobs).items())
    lines = (((*call.split(": "), str(times))) for call, times in counted if times)
    return Table(("function", "call", "times"), tuple(lines))


NOTES: Final = f"""\
{JOBS} jobs on the crash tests' world, in this process: the deployed handlers with the whole SDK
(parameters checked, requests serialised and signed, answers parsed), real signatures, logs
written. What is taken off is the time of the stand-ins that answer, and there is no network. Each
video has 10 MB.

The first five events of each function are left out: they make clients.
"""
