"""How a local cloud is asked for, and what is remembered of one that runs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.cloud.build import Target
from local.cloud.emulator import EMULATOR, SIMULATOR, TICKER, Fal
from local.cloud.ports import Ports
from local.cloud.processes import Process
from local.cloud.real_fal import RealFal
from local.errors import LocalCloudError


@dataclass(frozen=True)
class Options:
    """How to start a cloud. With `real` no simulator runs, and a ticker does, as with `ticker`."""

    port: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    simulator: Sequence[str] = ()  # more arguments of local.fal_simulator
    real: RealFal | None = None
    ticker: bool = False
    access_log: Path | None = None  # where the emulator writes one line a request: for the meter
    #: A Python 3.13 on arm64 for the functions, which then run the artefacts for AWS.
    lambda_python: Path | None = None

    @property
    def target(self) -> Target:
        """What the layers are built for."""
        return "aws" if self.lambda_python else "host"


@dataclass(frozen=True)
class Run:
    """`run.json`: a cloud that was started. With `real` fal's key is not in it, nor anywhere."""

    processes: list[Process]
    ports: Ports
    fal: Fal
    parameters: dict[str, str]
    fingerprint: str = ""
    real: bool = False
    #: The simulator's own options.
    simulator: list[str] = field(default_factory=list)
    #: Whether a ticker runs, although fal is simulated.
    ticker: bool = False

    @property
    def parts(self) -> list[str]:
        """The processes that belong to it."""
        own = [] if self.real else [SIMULATOR]
        return [*own, EMULATOR, *([TICKER] if self.real or self.ticker else [])]

    @property
    def dead(self) -> list[str]:
        """Those of its parts that do not run."""
        living = {process.name for process in self.processes if process.alive}
        return [part for part in self.parts if part not in living]

    @property
    def has_emulator(self) -> bool:
        """Whether the emulator runs, which has everything in its memory: buckets, table, queues."""
        return EMULATOR not in self.dead

    @property
    def is_stale(self) -> bool:
        """Whether all of it ended, as when the machine restarts, and nothing paid was in it."""
        return not self.real and len(self.dead) == len(self.parts)

    def replacing(self, process: Process) -> "Run":
        """The run with this process in the place of its predecessor."""
        others = [one for one in self.processes if one.name != process.name]
        return dataclasses.replace(self, processes=[*others, process])

    @classmethod
    def load(cls, file: Path) -> "Run | None":
        """The recorded run, or None where there is no record.

        Raises:
            LocalCloudError: the record cannot be read, so it is unknown what runs.
        """
        try:
            raw: dict[str, Any] = json.loads(file.read_text())
            processes = [Process(**process) for process in raw.pop("processes")]
            ports, fal = Ports(**raw.pop("ports")), Fal(**raw.pop("fal"))
            known = {key: value for key, value in raw.items() if key in cls.__dataclass_fields__}
            return cls(processes, ports, fal, **known)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise LocalCloudError(
                f"{file} cannot be read: it is damaged, or another version wrote it. End the "
                "local cloud's processes (`ps -ef | grep -e ministack -e fal_simulator`) and "
                "remove the file."
            ) from error

    def save(self, file: Path) -> None:
        """Write it whole or not at all; only its owner may read the simulator's key."""
        part = file.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        part.replace(file)
