"""Where everything of the local cloud lies. Nothing is written anywhere else."""

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / ".build"
TEMPLATE = PROJECT / "template.yaml"


@dataclass(frozen=True)
class StateDirectory:
    """The folder of one cloud, `.local/` for the developer's own.

    `videos/` and `logs/` are for people and outlive `down`; all else is a running cloud's.
    """

    root: Path

    @property
    def run_file(self) -> Path:
        """Which processes run, and what they were started with."""
        return self.root / "run.json"

    @property
    def endpoints_file(self) -> Path:
        """What a client needs to talk to the cloud."""
        return self.root / "endpoints.json"

    @property
    def lock_file(self) -> Path:
        """Held by `up` and `down`, so that two terminals take turns."""
        return self.root / "lock"

    @property
    def tls(self) -> Path:
        """The throw-away certificate authority's files."""
        return self.root / "tls"

    @property
    def temporary(self) -> Path:
        """The processes' TMPDIR, HOME and data."""
        return self.root / "tmp"

    @property
    def layers(self) -> Path:
        """Layers as the handlers read them."""
        return self.temporary / "layers"

    @property
    def logs(self) -> Path:
        """What each process printed in its latest run."""
        return self.root / "logs"

    @property
    def videos(self) -> Path:
        """What `demo` and `drop` fetched."""
        return self.root / "videos"


DEFAULT_STATE = StateDirectory(PROJECT / ".local")
