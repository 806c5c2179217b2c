"""The words of the local cloud's command line: options, their types, and what is said of them."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from local.fal_simulator.config import refusal


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _fal_pair(text: str) -> tuple[str, str]:
    if text == "real":
        raise argparse.ArgumentTypeError("for the real fal, say --real-fal")
    key, value = _pair(text)
    why = refusal([f"--{key}", value])
    if why:
        raise argparse.ArgumentTypeError(f"{text!r}: {why} (docs/fal-simulator.md lists them)")
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


def parser(commands: Mapping[str, Any]) -> argparse.ArgumentParser:
    """Of these commands, each what runs under its name."""
    made = argparse.ArgumentParser(
        prog="python -m local",
        description="The cloud on your machine: AWS emulated, fal simulated, the template real.",
        epilog="Exit codes: 0 fine, 1 a sentence on stderr with the next step, 2 wrong usage.",
    )
    names = made.add_subparsers(required=True, metavar="COMMAND")
    for name, (summary, options) in _COMMANDS.items():
        one = names.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        one.set_defaults(run=commands[name])
        options(one)
    return made


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
    parser.set_defaults(real_fal=False)
    parser.add_argument(
        "--fal",
        type=_fal_pair,
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="an option of the fal simulator, as run-seconds=3 or concurrency=1; may be repeated",
    )


def _up_options(parser: argparse.ArgumentParser) -> None:
    _start_options(parser)
    parser.add_argument(
        "--real-fal",
        action="store_true",
        help="no simulator: jobs run on fal.ai and are paid by the account of FAL_KEY",
    )
    _yes_option(parser)


def _yes_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask before money is spent")


def _down_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="with the real fal: even if paid videos are not home, and will be lost",
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
        "--start",
        action="store_true",
        help="start the cloud if it is down: with the real fal if FAL_KEY is set, else simulated",
    )
    _yes_option(parser)
    parser.add_argument(
        "--watch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="follow the job and fetch the video (the default)",
    )
    parser.add_argument(
        "--no-wait", dest="watch", action="store_false", help="the same as --no-watch"
    )


_COMMANDS: Final[dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "up": ("start it, or deploy what changed", _up_options),
    "down": ("stop it and forget its state", _down_options),
    "status": ("what runs, where, and how many jobs", _status_options),
    "demo": ("one sample, from drop to video", _start_options),
    "drop": ("drop a file of yours and fetch its video", _drop_options),
    "logs": ("what the functions logged", lambda _: None),
    "build": ("build what AWS would receive, in .build/aws/", lambda _: None),
}
