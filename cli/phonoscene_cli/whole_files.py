"""Writes files whole: what is at a name is complete, even if several processes write to it."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where files have other names, and words of a command other quotes.
IS_WINDOWS: Final = os.name == "nt"


def is_special(path: Path) -> bool:
    """Whether there is something that is neither a regular file nor a folder, such as a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_writable(file: Path) -> None:
    """See that ``written_whole`` can write a file in its folder, which exists.

    Raises:
        OSError: it cannot, or the name belongs to something other than a regular file.
    """
    target = _followed(file)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise FileExistsError(errno.EEXIST, "Not a regular file")
    part = _beside(target)
    part.touch(exist_ok=False)
    part.unlink()


@contextmanager
def written_whole(file: Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces ``file`` when the body has ended; a link is followed.

    It belongs to this process alone. If the body raises, nothing is left of it.
    """
    target = _followed(file)
    part = _beside(target)
    try:
        with part.open("xb") as made:  # not by tempfile, which ignores the umask
            yield made
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _followed(file: Path) -> Path:
    return Path(os.path.realpath(file))


def _beside(target: Path) -> Path:
    """A new hidden name in the same folder, so that it can be renamed to the target."""
    return target.with_name(f".phonoscene-{secrets.token_hex(8)}.part")
