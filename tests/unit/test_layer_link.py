"""A layer that is linked into a local cloud's folder."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from local.cloud import layer_link

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A built layer of one package."""
    package = tmp_path / "CommonLayer" / "python" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("first")
    return tmp_path / "CommonLayer"


@pytest.mark.parametrize("can_link", [True, False])
def test_a_linked_layer_keeps_its_files_when_the_layer_is_built_anew(
    layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_link: bool
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    if not can_link:
        monkeypatch.setattr(os, "link", cannot)
    folder = tmp_path / "cloud" / "CommonLayer-1"

    layer_link.by_reference(layer, folder)
    shutil.rmtree(layer / "python" / "package")
    (layer / "python" / "package").mkdir()
    (layer / "python" / "package" / "module.py").write_text("second")

    assert (folder / "python" / "package" / "module.py").read_text() == "first"


def test_a_layer_that_was_linked_only_in_part_is_linked_whole(layer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cloud" / "CommonLayer-1"
    left = folder.with_suffix(".part") / "python" / "package"
    left.mkdir(parents=True)
    (left / "module.py").write_text("cut off")

    layer_link.by_reference(layer, folder)

    assert (folder / "python" / "package" / "module.py").read_text() == "first"


def test_the_archive_leads_to_the_folder_and_holds_nothing_else(
    layer: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cloud" / "CommonLayer-1"

    archive = zipfile.ZipFile(BytesIO(layer_link.by_reference(layer, folder)))

    assert archive.namelist() == [layer_link.GUIDE]
    assert repr(str(folder / "python")) in archive.read(layer_link.GUIDE).decode()
