"""A folder on the function's disk for the files of one edit."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "phonoscene-edit-"


@contextmanager
def work_folder() -> Iterator[Path]:
    """An empty folder, which is removed in the end."""
    with TemporaryDirectory(dir=_of_this_process()) as folder:
        yield Path(folder)


@cache
def _of_this_process() -> Path:
    """The folder of this process. Those of processes that have ended are removed.

    Lambda kills a process that takes too long or too much memory, and starts another one on the
    same disk, which may even have the same id.
    """
    mine = Path(gettempdir()) / f"{PREFIX}{os.getpid()}"
    for found in mine.parent.glob(f"{PREFIX}*"):
        if found == mine or not _is_running(found.name.removeprefix(PREFIX)):
            shutil.rmtree(found, ignore_errors=True)
    mine.mkdir(exist_ok=True)
    return mine


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):  # it is another's
        return True
    return True
