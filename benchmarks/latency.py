"""Times a drop on the local cloud: from its second half to the POST, and from fal's end to the end.

Beside it, in the same run, a script that uploads the same file and calls ``fal_client.submit``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import Row, Sample, Section, paragraphs, seconds
from benchmarks.money import make_videos_large
from local.cloud.cloud import LocalCloud, running_cloud
from local.drops.sample import make
from local.paths import PROJECT, StateDirectory
from phonoscene.drops.keys import receipt_key
from phonoscene.fal.requests import ENDPOINT

if TYPE_CHECKING:
    from local.cloud.endpoints import Endpoints

DROPS: Final = 20
MAX_SECONDS: Final = 1.0
#: As the template has it: the local cloud's own default is shorter.
PARAMETERS: Final = {"SettleSeconds": "5", "DailyBudgetUsd": "1000"}
#: Between the halves of a drop, and until a drop has ended.
GAP: Final = 0.3
PATIENCE: Final = 60.0
LOOK_AGAIN: Final = 0.02
_DIRECT: Final = """\
import json, os, sys, time
import boto3, fal_client
from local.cloud.endpoints import Endpoints
from pathlib import Path
cloud = Endpoints.load(Path(sys.argv[1]))
s3, audio, client = cloud.client("s3"), Path(sys.argv[2]).read_bytes(), fal_client.SyncClient()
for number in range(int(sys.argv[3])):
    at = {"Bucket": cloud.drop_bucket, "Key": f"_direct/{number}.wav"}
    s3.put_object(**at, Body=audio)
    put = time.time()
    url = s3.generate_presigned_url("get_object", Params=at)
    wish = {"prompt": f"direct {number}", "audio_url": url}
    client.submit(sys.argv[4], arguments=wish)
    print(json.dumps([wish["prompt"], put]), flush=True)
"""


def measure() -> Section:
    """One drop after the other, and then the script."""
    with TemporaryDirectory(prefix="latency-") as folder:
        state = StateDirectory(Path(folder) / "cloud")
        with running_cloud(state.root, PARAMETERS) as cloud:
            make_videos_large(cloud)
            _drop(cloud, "warm")
            pairs = [_drop(cloud, f"latency/{number}") for number in range(DROPS)]
            direct = _direct(cloud, state)
    starts, ends = (Sample.of(values) for values in zip(*pairs, strict=True))
    section = Section("Latency")
    section.rows += [
        _row("from the second half's PUT to the POST, beside a script's", starts, direct),
        _row("from fal's end to SUCCEEDED and its receipt, 10 MB", ends),
    ]
    section.notes += paragraphs(NOTES)
    return section


def _row(what: str, ours: Sample, theirs: Sample | None = None) -> Row:
    beside = {"theirs": theirs.formatted(seconds)} if theirs else {}
    goal, is_met = f"≤ {MAX_SECONDS:g} s", ours.median <= MAX_SECONDS
    return Row.held(what, ours.formatted(seconds), goal, is_met, **beside)


def _drop(cloud: Endpoints, name: str) -> tuple[float, float]:
    """Seconds of one drop: from its second half to the POST, and from fal's end to its receipt."""
    s3, wish = cloud.client("s3"), {"prompt": f"rain {name}"}
    place = {"Bucket": cloud.drop_bucket}
    s3.put_object(**place, Key=f"{name}.json", Body=json.dumps(wish).encode())
    time.sleep(GAP)
    s3.put_object(**place, Key=f"{name}.wav", Body=make())
    put, deadline = time.time(), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if _receipt(cloud, name).get("status") == "SUCCEEDED":
            seen, asked = time.time(), _request(cloud, wish["prompt"])
            return asked["submitted_at"] - put, seen - asked["completed_at"]
        time.sleep(LOOK_AGAIN)
    raise TimeoutError(f"{name} has no video after {PATIENCE:g} s: {_receipt(cloud, name)}")


def _receipt(cloud: Endpoints, name: str) -> dict[str, Any]:
    s3 = cloud.client("s3")
    try:
        body = s3.get_object(Bucket=cloud.output_bucket, Key=receipt_key(name))["Body"].read()
    except s3.exceptions.NoSuchKey:
        return {}
    return dict(json.loads(body))


def _request(cloud: Endpoints, prompt: str) -> dict[str, Any]:
    """What fal's books have of a prompt."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{cloud.simulator_url}/requests") as answer:
        listed = json.load(answer)["requests"]
    return next(one for one in listed if one["arguments"]["prompt"] == prompt)


def _direct(cloud: Endpoints, state: StateDirectory) -> Sample:
    """The same of a script without a stack: seconds from its PUT to its POST."""
    audio, run = state.root / "direct.wav", LocalCloud(state).recorded()
    assert run
    audio.write_bytes(make())
    command = [sys.executable, "-c", _DIRECT, str(state.endpoints_file), str(audio), str(DROPS)]
    done = subprocess.run(  # noqa: S603 - our own words
        [*command, ENDPOINT],
        cwd=PROJECT,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "HTTPS_PROXY": f"http://127.0.0.1:{run.ports.proxy}",
            "NO_PROXY": "localhost,127.0.0.1",
            "SSL_CERT_FILE": cloud.ca_bundle,
            "FAL_KEY": run.fal.key,
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=True,
    )
    puts = [json.loads(line) for line in done.stdout.splitlines()]
    return Sample.of(_request(cloud, prompt)["submitted_at"] - put for prompt, put in puts)


NOTES: Final = f"""\
{DROPS} drops, one after the other, on the local cloud with the template's SettleSeconds, after one
that started the functions. The sidecar's PUT is {GAP:g} s before the audio's. All clocks are this
machine's; fal's times are the simulator's. The receipt is read until it says SUCCEEDED.

The script has no table, no check of the audio and no webhook: it uploads, presigns and submits.
"""
