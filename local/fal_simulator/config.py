"""The command line of the simulator, parsed into one frozen record."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from local.cloud.certificates import SUBSCRIBER

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a port of 127.0.0.1, or a listening socket that the process inherits."""

    port: int = 0
    fd: int | None = None

    @classmethod
    def of(cls, text: str) -> Self:
        """`4600`, or `fd://5` as servers write it."""
        fd = text.removeprefix("fd://")
        return cls(int(text)) if fd == text else cls(fd=int(fd))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The simulator's settings; times are in seconds.

    `retry_seconds` is the pause before the second webhook attempt, each later pause is double.
    `result_lifetime` is how long a small result is kept (fal documents 1 h; 6 min from 10 KB).
    """

    certificate: Path
    private_key: Path
    ca_bundle: Path
    emulator_port: int
    fal_key: str
    user_id: str
    proxy_port: Address = Address()
    subscriber_port: int = 0
    control_port: Address = Address()
    concurrency: int = 2
    run_seconds: float = 0.2
    queue_seconds: float = 0.0
    retry_seconds: float = 1.0
    result_lifetime: float = 3600.0
    files: Path | None = None
    seed: int | None = None

    def lifetime_of(self, result_bytes: int) -> float:
        """Seconds a result of this many bytes of JSON is kept after it completed."""
        return self.result_lifetime / 10 if result_bytes >= LARGE_RESULT else self.result_lifetime


LARGE_RESULT = 10 * 1024  # bytes; fal keeps larger results for 6 minutes instead of 60


def parse(arguments: Sequence[str]) -> Config:
    """Read the command line; a mistake exits with code 2, as argparse does."""
    return Config(**vars(_parser().parse_args(arguments)))


class _Raising(argparse.ArgumentParser):
    """A parser that does not end the program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def refusal(arguments: Sequence[str]) -> str | None:
    """Why the simulator would not start with these options of `make up`; None where it would."""
    parser = _Raising(add_help=False, allow_abbrev=False)
    _add_behaviour(parser)
    _add_subscriber(parser)
    try:
        parser.parse_args(arguments)
    except ValueError as error:
        return str(error)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.fal_simulator", description=__doc__)
    _add_addresses(parser)
    _add_subscriber(parser)
    _add_behaviour(parser)
    return parser


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    where = "; 0 picks a free port, fd://N is an inherited socket"
    add("--proxy-port", type=Address.of, required=True, help=f"HTTPS proxy{where}")
    add("--control-port", type=Address.of, required=True, help=f"control API{where}")
    add("--certificate", type=Path, required=True, help="PEM chain that names fal's hosts")
    add("--private-key", type=Path, required=True, help="PEM key of that certificate")
    add("--ca-bundle", type=Path, required=True, help="PEM CA that signed the emulator's TLS")
    add("--emulator-port", type=int, required=True, help="TLS port of the local AWS emulator")
    add("--fal-key", required=True, help="the only key that is accepted")
    add("--user-id", required=True, help="the account that webhooks are signed for")


def _add_subscriber(parser: argparse.ArgumentParser) -> None:
    lead = f"port of this machine that the proxy leads https://{SUBSCRIBER} to; 0: nowhere"
    parser.add_argument("--subscriber-port", type=int, default=0, help=lead)


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--concurrency", type=_at_least_one, default=2, help="jobs that run at once (fal: 2)")
    add("--run-seconds", type=_seconds, default=0.2, help="the shortest run of a job")
    add("--queue-seconds", type=_seconds, default=0.0, help="the shortest wait in the queue")
    add("--retry-seconds", type=_seconds, default=1.0, help="first pause between webhook attempts")
    add("--result-lifetime", type=_seconds, default=3600.0, help="how long a result is kept")
    add("--files", type=Path, help="folder for videos and signing key; default: temporary")
    add("--seed", type=int, help="makes probabilities and generated seeds repeatable")


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be zero or more seconds")
    return number
