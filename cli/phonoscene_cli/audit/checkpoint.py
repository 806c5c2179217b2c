"""Remembers how far a long command came, so that it can go on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.whole_files import check_writable, written_whole


@dataclass(frozen=True)
class Progress:
    """Everything up to the key ``after`` is done; ``sent`` drops of it."""

    bucket: str
    prefix: str
    after: str | None = None
    sent: int = 0


@dataclass(frozen=True)
class CursorFile:
    """One file; it is there only while something is unfinished."""

    path: Path

    def load(self, bucket: str, prefix: str) -> Progress:
        """How far it came; the beginning, where there is no file.

        Raises:
            CliError: the file is none of ours, or about something else.
        """
        try:
            found = _read(json.loads(self.path.read_text()))
        except FileNotFoundError:
            return Progress(bucket, prefix)
        except (OSError, ValueError, TypeError) as exc:
            raise CliError(
                f"{self.path} is not a cursor file. Remove it, or choose another."
            ) from exc
        if (found.bucket, found.prefix) != (bucket, prefix):
            raise CliError(
                f"{self.path} is about {found.prefix!r} in {found.bucket}. Choose another --cursor."
            )
        return found

    def save(self, progress: Progress) -> None:
        """Whole or not at all.

        Raises:
            CliError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(self.path) as file:
                file.write(f"{json.dumps(asdict(progress))}\n".encode())
        except OSError as exc:
            raise CliError(f"{self.path} cannot be written. Choose another --cursor.") from exc

    def check(self) -> None:
        """See that it can be written, before anything depends on it.

        Raises:
            WrongUsage: it cannot.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_writable(self.path)
        except OSError as exc:
            raise WrongUsage(f"{self.path} cannot be written. Choose another --cursor.") from exc

    def remove(self) -> None:
        """Delete the file, because the backfill is complete."""
        self.path.unlink(missing_ok=True)


def _read(data: Any) -> Progress:
    """Return the progress in a file; keys that a later version added are ignored."""
    known = {one.name for one in fields(Progress)}
    return Progress(**{name: value for name, value in dict(data).items() if name in known})


def default_path(bucket: str, prefix: str) -> Path:
    """In the user's own state folder (XDG), one for each prefix."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    digest = hashlib.sha256(json.dumps([bucket, prefix]).encode()).hexdigest()[:16]
    return Path(state) / "phonoscene" / f"backfill-{digest}.json"
