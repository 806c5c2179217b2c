"""Counts what a segment asks of AWS, beside a job of one request, on the local cloud."""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Row
from benchmarks.meter import Logged, amounts, requests
from benchmarks.prices import PRICES
from local.cloud.cloud import running_cloud
from local.drops.jobs import Jobs
from phonoscene.jobs import JobStatus
from tests.support.media.encoding import Codec, encoded

if TYPE_CHECKING:
    from collections import Counter

    from local.cloud.endpoints import Endpoints

PARAMETERS: Final = {"DailyBudgetUsd": "1000", "MaxInFlight": "4"}
#: Seconds of audio: one request, and ten.
SHORT, LONG = 15.0, 171.0
#: Drops of one request.
SINGLES: Final = 4
PATIENCE: Final = 300.0
MAX_RATIO: Final = 1.2
_SMALL: Final = {"width": 64, "height": 64}


def rows() -> list[Row]:
    """Requests, and what they cost, a segment and a job."""
    with TemporaryDirectory(prefix="segments-") as folder:
        log = Path(folder) / "access.log"
        with running_cloud(Path(folder) / "cloud", PARAMETERS, access_log=log) as cloud:
            _counted(cloud, log, {"warm": SHORT})
            jobs = _counted(cloud, log, {f"single-{n}": SHORT for n in range(SINGLES)})
            whole = _counted(cloud, log, {"song": LONG})
            segments = len(Jobs(cloud).takes("song")[0]["sequence"]["segments"])
    return [
        _row("requests to AWS", whole.total() / segments, jobs.total() / SINGLES, "{:.1f}"),
        _row("dollars for 1,000", _usd(whole) / segments, _usd(jobs) / SINGLES, "{:.3f} USD"),
    ]


def _row(what: str, segment: float, job: float, form: str) -> Row:
    ratio = segment / job
    goal = f"≤ {MAX_RATIO:g} ×"
    texts = form.format(segment), form.format(job)
    is_met = "yes" if ratio <= MAX_RATIO else "**no**"
    return Row(f"{what} a segment, to a job of one request", *texts, f"{ratio:.2f} ×", goal, is_met)


def _usd(counted: Counter[str]) -> float:
    """What a thousand times as many requests cost; functions' time, logs and units aside."""
    metered = amounts(counted, Logged(), 0)
    return sum(PRICES[name].of(1000 * amount) for name, amount in metered.items() if amount)


def _counted(cloud: Endpoints, log: Path, drops: dict[str, float]) -> Counter[str]:
    """The requests of some drops, by their lengths in seconds, until all have their videos."""
    s3, begun = cloud.client("s3"), len(log.read_text().splitlines())
    for name, length in drops.items():
        sidecar = json.dumps({"prompt": name, "video_size": _SMALL}).encode()
        audio = encoded("wav", Codec("pcm_s16le"), length)
        s3.put_object(Bucket=cloud.drop_bucket, Key=f"{name}.json", Body=sidecar)
        s3.put_object(Bucket=cloud.drop_bucket, Key=f"{name}.wav", Body=audio)
    deadline = time.monotonic() + PATIENCE
    while not all(_has_video(cloud, name) for name in drops):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{', '.join(drops)}: no video after {PATIENCE:g} s")
        time.sleep(0.5)
    time.sleep(3)  # the last receipts and messages
    return requests(log.read_text().splitlines()[begun:])


def _has_video(cloud: Endpoints, name: str) -> bool:
    takes = Jobs(cloud).takes(name)
    return bool(takes) and takes[0]["status"] == JobStatus.SUCCEEDED
