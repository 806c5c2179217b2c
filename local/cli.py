"""The command line of the local cloud, for people.

Exit codes: 0 fine · 1 something is wrong; a sentence on stderr says what, and the next step ·
2 the command line is wrong · 130 interrupted.
"""

import argparse
import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from local.arguments import parser
from local.cloud import build, deploy, parameters, sbom
from local.cloud.cloud import LocalCloud, lost
from local.cloud.endpoints import Endpoints
from local.cloud.real_fal import RealFal, key_is_set
from local.cloud.run_state import Options, Run
from local.drops import drops, spending_consent
from local.drops.jobs import Jobs
from local.errors import LocalCloudError
from local.paths import DEFAULT_STATE
from local.progress import RED, coloured, say, step
from phonoscene_cli.failures import DEBUG, explained
from phonoscene_cli.upload.upload import Drop

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    chosen = parser(COMMANDS).parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        chosen.run(chosen)
    except KeyboardInterrupt:
        say("Interrupted. `make status` shows what runs, `make down` ends it.")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it is, a person reads it
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        sentence, code = _explained(error)
        say(f"{coloured('error:', RED)} {sentence}")
        return code
    return 0


def _explained(error: Exception) -> tuple[str, int]:
    """What happened and what to do, and the exit code."""
    if isinstance(error, LocalCloudError):
        return str(error), 1
    if isinstance(error, (BotoCoreError, ClientError)):
        return f"the emulator: {error}\nIts log: {DEFAULT_STATE.logs}", 1
    return explained(error)


def _end(number: int, _frame: object) -> NoReturn:
    """End as an exception does, so that what was started is stopped on the way."""
    sys.exit(128 + number)


def _up(chosen: argparse.Namespace) -> None:
    options, cloud = _options(chosen), _cloud()
    if options.real and cloud.run() is None:
        spending_consent.agree_to_pay(options.parameters, yes=chosen.yes)
    endpoints = cloud.up(options)
    print(f"AWS        {endpoints.aws_endpoint_url}")
    print(f"fal        {endpoints.simulator_url or spending_consent.REAL}")
    print(f"drop in    s3://{endpoints.drop_bucket}")
    print(f"videos in  s3://{endpoints.output_bucket}")
    print(f"endpoints  {_shown(DEFAULT_STATE.endpoints_file)}")


def _down(chosen: argparse.Namespace) -> None:
    """Save paid videos first. What an emulator that ended had held is past saving."""
    run = _cloud().recorded()
    if run and run.real and not run.has_emulator:
        say(lost(run))
    elif run and run.real and not chosen.force and DEFAULT_STATE.endpoints_file.is_file():
        spending_consent.bring_home(_cloud().endpoints(), DEFAULT_STATE.videos)
    was_up = _cloud().down()
    say("The local cloud is down." if was_up else "The local cloud was not running.")


def _status(chosen: argparse.Namespace) -> None:
    run = _cloud().recorded()
    is_up = run is not None and run.has_emulator and DEFAULT_STATE.endpoints_file.is_file()
    status = _as_data(run, _cloud().endpoints() if is_up else None)
    if chosen.json:
        print(json.dumps(status, indent=2))
        return
    if run is None or run.is_stale:
        print("The local cloud is not running: start it with `make up`.")
        return
    _print_processes(run)
    if is_up:
        _print_status(status)


def _as_data(run: Run | None, endpoints: Endpoints | None) -> dict[str, Any]:
    return {
        "running": endpoints is not None,
        "real_fal": bool(run and run.real),
        "processes": [dataclasses.asdict(process) for process in run.processes] if run else [],
        "ended": run.dead if run else [],
        "parameters": run.parameters if run else {},
        "endpoints": dataclasses.asdict(endpoints) if endpoints else None,
        "jobs": dict(Jobs(endpoints).counts()) if endpoints else {},
    }


def _print_processes(run: Run) -> None:
    """Each part, and how one that ended is started again."""
    for process in run.processes:
        if process.name not in run.dead:
            print(f"{process.name:<18} running, process {process.pid}")
    for part in run.dead:
        print(f"{part:<18} ended{': `make up` starts it again' if run.has_emulator else ''}")
    if not run.has_emulator:
        print(lost(run))


def _print_status(status: dict[str, Any]) -> None:
    for name, value in status["endpoints"].items():
        if value and (not name.startswith("aws_") or name == "aws_endpoint_url"):
            print(f"{name:<18} {value}")
    if status["real_fal"]:
        print(f"{'fal':<18} {spending_consent.REAL}")
    counts = ", ".join(f"{number} {state}" for state, number in sorted(status["jobs"].items()))
    print(f"{'jobs':<18} {counts or 'none yet'}")


def _demo(chosen: argparse.Namespace) -> None:
    """Start the cloud if it is not up, and then stop it again."""
    cloud = _cloud()
    run = cloud.run()
    if run and run.real:
        raise LocalCloudError(
            "The local cloud has the real fal: `make down` first, or drop a file of yours."
        )
    was_up = run is not None
    try:
        endpoints = cloud.up(_options(chosen))
        videos = drops.put_and_fetch(endpoints, drops.sample_drop(), DEFAULT_STATE.videos)
    finally:
        if not was_up:
            cloud.down()
    for video in videos:
        print(f"video: {_shown(video)}")


def _drop(chosen: argparse.Namespace) -> None:
    settings = dict(chosen.set)
    if chosen.prompt is not None:
        settings["prompt"] = chosen.prompt
    drop = drops.file_drop(chosen.file, settings, chosen.image)
    endpoints = _endpoints_for(drop, chosen)
    if chosen.watch:
        seconds = (
            drops.FOLLOW_SECONDS if endpoints.simulator_url else spending_consent.FOLLOW_SECONDS
        )
        for video in drops.put_and_fetch(endpoints, drop, DEFAULT_STATE.videos, seconds):
            print(f"video: {_shown(video)}")
    else:
        drops.upload(endpoints, drop)
        print(f"dropped: s3://{endpoints.drop_bucket}/{drop.audio.key}")


def _endpoints_for(drop: Drop, chosen: argparse.Namespace) -> Endpoints:
    """The cloud that a drop goes to; what it costs is agreed upon before one is started for it."""
    cloud = _cloud()
    run = cloud.run()
    if run and run.dead and not chosen.start:
        raise LocalCloudError(f"The {run.dead[0]} has ended: `make up` starts it again.")
    if run is None and not chosen.start:
        return cloud.endpoints()
    real = RealFal.from_env(os.environ) if run is None and key_is_set() else None
    if real or (run and run.real):
        spending_consent.agree_to_drop(drop, run.parameters if run else {}, yes=chosen.yes)
    else:
        say(spending_consent.simulated(is_running=run is not None))
    return cloud.up(Options(real=real)) if run is None or run.dead else cloud.endpoints()


def _logs(_: argparse.Namespace) -> None:
    """All groups' lines in the order of time; this is a toy's amount."""
    logs = _cloud().endpoints().client("logs")
    lines = []
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=name):
            lines += [(event["timestamp"], name, event["message"]) for event in page["events"]]
    for _moment, name, message in sorted(lines):
        print(f"{name.rpartition('/')[2]:<24} {message.rstrip()}")


def _build(_: argparse.Namespace) -> None:
    with step("building for AWS: python3.13 on arm64"):
        archives = build.build_all("aws")
        archives.append(sbom.write([build.build_layer("aws", layer) for layer in build.ALL_LAYERS]))
    for archive in archives:
        print(f"{_shown(archive)}  {archive.stat().st_size / 1e6:.2f} MB")


def _cloud() -> LocalCloud:
    return LocalCloud(DEFAULT_STATE)


def _shown(path: Path) -> str:
    """A path as short as it can be typed here."""
    short = os.path.relpath(path)
    return str(path) if short.startswith("..") else short


def _options(chosen: argparse.Namespace) -> Options:
    simulator = [word for pair in chosen.fal for word in (f"--{pair[0]}", pair[1])]
    real = RealFal.from_env(os.environ) if chosen.real_fal else None
    if real and simulator:
        raise LocalCloudError("--fal turns the simulator, which does not run with --real-fal.")
    wanted = dict(chosen.parameter)
    if wanted:
        parameters.check(deploy.read_template(), wanted)
    return Options(chosen.port, wanted, simulator, real)


COMMANDS: Final = {
    "up": _up,
    "down": _down,
    "status": _status,
    "demo": _demo,
    "drop": _drop,
    "logs": _logs,
    "build": _build,
}
