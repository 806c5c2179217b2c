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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from local import build, drops, materials
from local.cloud import LocalCloud, Options, Run
from local.endpoints import Endpoints
from local.errors import LocalCloudError
from local.jobs import Jobs
from local.paths import DEFAULT_STATE
from local.progress import RED, coloured, say, step

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    chosen = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        chosen.run(chosen)
    except LocalCloudError as error:
        say(f"{coloured('error:', RED)} {error}")
        return 1
    except (BotoCoreError, ClientError) as error:
        say(f"{coloured('error:', RED)} the emulator: {error}\nIts log: {DEFAULT_STATE.logs}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted. `make status` tells what runs, `make down` ends it.")
        return INTERRUPTED
    return 0


def _end(number: int, _frame: object) -> NoReturn:
    """End as an exception does, so that what was started is stopped on the way."""
    sys.exit(128 + number)


def _up(chosen: argparse.Namespace) -> None:
    endpoints = _cloud().up(_options(chosen))
    print(f"AWS        {endpoints.aws_endpoint_url}")
    print(f"simulator  {endpoints.simulator_url}")
    print(f"drop in    s3://{endpoints.drop_bucket}")
    print(f"videos in  s3://{endpoints.output_bucket}")
    print(f"endpoints  {_shown(DEFAULT_STATE.endpoints_file)}")


def _down(_: argparse.Namespace) -> None:
    was_up = _cloud().down()
    say("The local cloud is down." if was_up else "The local cloud was not running.")


def _status(chosen: argparse.Namespace) -> None:
    run = _cloud().run()
    endpoints = _cloud().endpoints() if run and DEFAULT_STATE.endpoints_file.is_file() else None
    status = _as_data(run, endpoints)
    if chosen.json:
        print(json.dumps(status, indent=2))
    elif endpoints is None:
        print("The local cloud is not running: start it with `make up`.")
    else:
        _print_status(status)


def _as_data(run: Run | None, endpoints: Endpoints | None) -> dict[str, Any]:
    return {
        "running": endpoints is not None,
        "processes": [dataclasses.asdict(process) for process in run.processes] if run else [],
        "parameters": run.parameters if run else {},
        "endpoints": dataclasses.asdict(endpoints) if endpoints else None,
        "jobs": dict(Jobs(endpoints).counts()) if endpoints else {},
    }


def _print_status(status: dict[str, Any]) -> None:
    for process in status["processes"]:
        print(f"{process['name']:<18} running, process {process['pid']}")
    for name, value in status["endpoints"].items():
        if not name.startswith("aws_") or name == "aws_endpoint_url":
            print(f"{name:<18} {value}")
    counts = ", ".join(f"{number} {state}" for state, number in sorted(status["jobs"].items()))
    print(f"{'jobs':<18} {counts or 'none yet'}")


def _demo(chosen: argparse.Namespace) -> None:
    """Start the cloud if it is not up, and then stop it again."""
    cloud = _cloud()
    was_up = cloud.run() is not None
    try:
        endpoints = cloud.up(_options(chosen))
        video = drops.put_and_fetch(endpoints, drops.sample_drop(), DEFAULT_STATE.videos)
    finally:
        if not was_up:
            cloud.down()
    print(f"video: {_shown(video)}")


def _drop(chosen: argparse.Namespace) -> None:
    settings = dict(chosen.set)
    if chosen.prompt is not None:
        settings["prompt"] = chosen.prompt
    drop = drops.file_drop(chosen.file, settings, chosen.image)
    endpoints = _cloud().endpoints()
    if chosen.watch:
        print(f"video: {_shown(drops.put_and_fetch(endpoints, drop, DEFAULT_STATE.videos))}")
    else:
        drops.put(endpoints, drop)
        print(f"dropped: s3://{endpoints.drop_bucket}/{drop.key}")


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
        archives.append(materials.write(build.build_layer("aws") / "python"))
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
    return Options(chosen.port, dict(chosen.parameter), simulator)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _json_pair(text: str) -> tuple[str, Any]:
    """A sidecar's field: the value is JSON where it can be read as such, else a text."""
    key, value = _pair(text)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 1 << 16:
        raise argparse.ArgumentTypeError(f"{port} is not a port (1 to 65535)")
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local",
        description="The cloud on your machine: AWS emulated, fal simulated, the template real.",
        epilog="Exit codes: 0 fine, 1 a sentence on stderr with the next step, 2 wrong usage.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "up", _up, "start it, or deploy what changed", _start_options)
    _command(commands, "down", _down, "stop it and forget its state")
    _command(commands, "status", _status, "what runs, where, and how many jobs", _status_options)
    _command(commands, "demo", _demo, "one sample, from drop to video", _start_options)
    _command(commands, "drop", _drop, "drop a file of yours and fetch its video", _drop_options)
    _command(commands, "logs", _logs, "what the functions logged")
    _command(commands, "build", _build, "build what AWS would receive, in .build/aws/")
    return parser


def _command(
    commands: Any, name: str, run: Any, summary: str, options: Any = lambda _parser: None
) -> None:
    parser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.set_defaults(run=run)
    options(parser)


def _start_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=_port, help="the emulator's; the default is 4566, or any if that is in use"
    )
    parser.add_argument(
        "--parameter",
        type=_pair,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of template.yaml; may be repeated",
    )
    parser.add_argument(
        "--fal",
        type=_pair,
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="an option of the fal simulator, as run-seconds=3 or concurrency=1; may be repeated",
    )


def _status_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _drop_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an audio file")
    parser.add_argument("--prompt", help="what the video shows")
    parser.add_argument(
        "--set",
        type=_json_pair,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another field of the sidecar, as fps=30; may be repeated",
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="the video's first picture")
    parser.add_argument(
        "--watch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="follow the job and fetch the video (the default)",
    )
    parser.add_argument(
        "--no-wait", dest="watch", action="store_false", help="the same as --no-watch"
    )
