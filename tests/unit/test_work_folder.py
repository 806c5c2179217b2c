"""What an edit leaves on its disk, also where its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from phonoscene.sequences import work_folder as module
from phonoscene.sequences.work_folder import PREFIX, work_folder
from tests.support.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLED = """
import os, signal
from phonoscene.sequences.work_folder import work_folder
with work_folder() as folder:
    (folder / "segment").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk on which this process has not worked yet."""
    monkeypatch.setattr(module, "gettempdir", lambda: str(tmp_path))
    module._of_this_process.cache_clear()
    yield tmp_path
    module._of_this_process.cache_clear()


def test_an_edit_leaves_no_file(disk: Path) -> None:
    with work_folder() as folder:
        (folder / "segment").write_bytes(b"x")

    assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_what_a_killed_process_left_is_removed_before_the_next_edit(disk: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT / "layers" / "common"), "TMPDIR": str(disk)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)  # noqa: S603 - our own words only
    left = [path.name for path in disk.rglob("*") if path.is_file()]

    with work_folder() as folder:
        assert list(folder.iterdir()) == []

    assert (done.returncode, left) == (-signal.SIGKILL, ["segment"])
    assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_a_new_process_with_the_id_of_a_killed_one_begins_with_an_empty_disk(disk: Path) -> None:
    before = disk / f"{PREFIX}{os.getpid()}" / "abc"
    before.mkdir(parents=True)

    with work_folder():
        assert not before.exists()


@pytest.mark.parametrize("other", ["1", "notes", "99999999999999999999", ""])
def test_what_others_have_on_the_disk_stays(disk: Path, other: str) -> None:
    theirs = disk / f"{PREFIX}{other}" / "file"
    theirs.parent.mkdir()
    theirs.touch()

    with work_folder():
        assert theirs.exists()
