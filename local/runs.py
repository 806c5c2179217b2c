"""How a local cloud is asked for, and what is remembered of one that runs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.emulator import PACER, Fal, Ports
from local.processes import Process
from local.real_fal import RealFal


@dataclass(frozen=True)
class Options:
    """How to start a cloud. With `real` no simulator runs, and a pacer does, as with `pace`."""

    port: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    simulator: Sequence[str] = ()  # more arguments of local.fal_simulator
    real: RealFal | None = None
    pace: bool = False


@dataclass(frozen=True)
class Run:
    """`run.json`: a cloud that was started. With `real` fal's key is not in it, nor anywhere."""

    processes: list[Process]
    ports: Ports
    fal: Fal
    parameters: dict[str, str]
    fingerprint: str = ""
    real: bool = False

    @property
    def alive(self) -> bool:
        """Whether it still runs. Without its pacer it does, and is only slower."""
        return all(process.alive for process in self.processes if process.name != PACER)

    @classmethod
    def load(cls, file: Path) -> "Run | None":
        """The recorded run, or None; a record that cannot be read is no record."""
        try:
            raw: dict[str, Any] = json.loads(file.read_text())
            processes = [Process(**process) for process in raw.pop("processes")]
            return cls(processes, Ports(**raw.pop("ports")), Fal(**raw.pop("fal")), **raw)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def save(self, file: Path) -> None:
        """Write it; only its owner may read the simulator's key."""
        file.touch(mode=0o600)
        file.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
