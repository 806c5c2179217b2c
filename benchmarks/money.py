"""Meters what AWS would charge: real drops on the local cloud, priced from a dated table."""

from __future__ import annotations

import json
import time
import urllib.request
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from benchmarks.capacity import READS, WRITES, MeteredTable
from benchmarks.figures import Row, Section, Table, paragraphs
from benchmarks.meter import Logged, amounts, requests
from benchmarks.prices import AS_OF, PRICES
from benchmarks.worlds import MeasuredWorld
from local.cloud.cloud import running_cloud
from local.drops.jobs import Jobs
from local.drops.sample import make
from phonoscene.drops.pricing import PRESETS, estimate
from phonoscene.jobs import JobStatus
from tests.support.fakes.world import load
from tests.support.scenarios import SOUND, WISH
from tests.support.template import read

if TYPE_CHECKING:
    from local.cloud.endpoints import Endpoints

JOBS: Final = 30
VIDEO_BYTES: Final = 10_000_000
#: As long as a first drop takes, with everything cold, and some more for each.
PATIENCE: Final = 60 + 4 * JOBS
#: A day's jobs are far apart for an emulator that has two cores.
PAUSE: Final = 0.5
MAX_USD: Final = 0.25
MAX_OF_FALS: Final = 0.002
MAX_LINES: Final = 40
PARAMETERS: Final = {"DailyBudgetUsd": "1000"}


def measure() -> Section:
    """Drop, wait, count, price."""
    with TemporaryDirectory(prefix="metered-") as folder:
        metered, lines = _on_the_local_cloud(Path(folder))
    metered |= _units()
    each = {name: amount / JOBS for name, amount in metered.items()}
    usd = {name: PRICES[name].of(1000 * amount) for name, amount in each.items()}
    section = Section("Money")
    section.rows += _rows(sum(usd.values()), lines / JOBS)
    section.tables.append(("AWS for 1,000 jobs, each with a video of 10 MB:", _table(each, usd)))
    section.notes += paragraphs(NOTES)
    return section


def _rows(usd: float, lines: float) -> list[Row]:
    per_megapixel = Decimal(read()["Parameters"]["PricePerMegapixelUsd"]["Default"])
    one = estimate(121, PRESETS["landscape_16_9"], per_megapixel)
    fal_usd = 1000 * float(one.megapixels * per_megapixel)
    return [
        Row.held("AWS for 1,000 jobs", f"{usd:.3f} USD", f"≤ {MAX_USD} USD", usd <= MAX_USD),
        Row(
            "the same, to what fal charges for 1,000 videos of 5 s",
            f"{usd:.3f} USD",
            f"{fal_usd:.2f} USD",
            f"{usd / fal_usd:.3%}",
            f"≤ {MAX_OF_FALS:.1%}",
            "yes" if usd <= MAX_OF_FALS * fal_usd else "**no**",
        ),
        Row.held("log lines a job", f"{lines:.1f}", f"≤ {MAX_LINES}", lines <= MAX_LINES),
    ]


def _table(each: dict[str, float], usd: dict[str, float]) -> Table:
    headings = ("what", "a job", "unit", "USD for 1,000 jobs", "price", "page")
    lines = [
        (
            name,
            f"{each[name]:,.4g}",
            PRICES[name].unit,
            f"{usd[name]:.4f}",
            f"{PRICES[name].usd:g} for {PRICES[name].per:,.0f}",
            PRICES[name].page,
        )
        for name in sorted(usd, key=lambda name: -usd[name])
    ]
    total = ("**together**", "", "", f"**{sum(usd.values()):.4f}**", "", "")
    return Table(headings, (*lines, total))


def _on_the_local_cloud(folder: Path) -> tuple[dict[str, float], int]:
    """What the drops used, and how many lines the functions wrote."""
    log, audio = folder / "access.log", make()
    with running_cloud(folder / "cloud", PARAMETERS, access_log=log) as cloud:
        make_videos_large(cloud)
        begun = len(log.read_text().splitlines())  # what was before is the deployment's
        s3 = cloud.client("s3")
        for number in range(JOBS):
            name = f"metered/{number}"
            s3.put_object(Bucket=cloud.drop_bucket, Key=f"{name}.wav", Body=audio)
            sidecar = json.dumps({"prompt": f"rain {number}"}).encode()
            s3.put_object(Bucket=cloud.drop_bucket, Key=f"{name}.json", Body=sidecar)
            time.sleep(PAUSE)
        _await_all(Jobs(cloud))
        counted = requests(log.read_text().splitlines()[begun:])
        logged = _logged(cloud)
    return amounts(counted, logged, len(audio)), logged.lines


def make_videos_large(cloud: Endpoints) -> None:
    """Make every video of the simulator as large as one of fal's."""
    rule = {"stage": "render", "action": "big_file", "bytes": VIDEO_BYTES, "times": None}
    body = json.dumps([rule]).encode()
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"{cloud.simulator_url}/faults", body, headers)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(asked).close()


def _await_all(jobs: Jobs) -> None:
    deadline = time.monotonic() + PATIENCE
    while (counts := jobs.counts())[JobStatus.SUCCEEDED] < JOBS:
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE} s the jobs stand at {dict(counts)}")
        time.sleep(0.5)
    time.sleep(2)  # the last lines and messages


def _logged(cloud: Endpoints) -> Logged:
    logs, logged = cloud.client("logs"), Logged()
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events")
        for page in pages.paginate(logGroupName=group["logGroupName"]):
            for event in page["events"]:
                logged.add(event)
    return logged


def _units() -> dict[str, float]:
    """DynamoDB's units of as many jobs, on the crash tests' table."""
    load()
    table = MeteredTable()
    settings: dict[str, Any] = {"DAILY_BUDGET_USD": "1000"}
    world = MeasuredWorld(settings=settings, table=table, most_events=JOBS * 40)
    table.caller = lambda: world.calls._function
    for number in range(JOBS):
        at, name = number * 60.0, f"metered/{number}"
        world.at(at, lambda name=name: world.drop(f"{name}.wav", SOUND))  # type: ignore[misc]
        world.at(at + 1, lambda name=name: world.drop(f"{name}.json", WISH))  # type: ignore[misc]
    world.run()
    fields = {WRITES: 0.0, READS: 0.0}
    for (function, kind), units in table.units.items():
        if function != "reconcile":  # its ticks come with time
            fields[kind] += units
    return fields


NOTES: Final = f"""\
{JOBS} drops on the local cloud, half a second apart; every request of the functions is counted
from the emulator's access log, Lambda's time from its REPORT lines (cold starts, retries and this
machine's slowness included), log bytes from the log groups. DynamoDB's units are counted by its
rules on the crash tests' table.

List prices of {AS_OF}, us-east-1, on demand, without free tiers; sources in benchmarks/prices.py.
SQS: every message is sent, received and deleted by itself, which is the most it can be. X-Ray:
every invocation traced, likewise. The emulator hands out the table's stream without waiting for
the second that AWS would gather writes in, so receipts and their invocations are more here.

Where the share of fal's charge falls short: these videos are short. A video of 20 s costs AWS the
same but for its audio, and fal four times as much.

Not in it, because it does not come with jobs: alarms, dashboard and metrics, a tick a minute,
empty polls of the queues; and what comes with what you keep, 0.23 USD a month for 1,000 videos of
10 MB. See docs/scale.md.
"""
