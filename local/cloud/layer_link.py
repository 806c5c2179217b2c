"""How the emulator is given a layer: unpacked once, and not by every process that it starts.

ministack (1.5.33) unpacks a function's layers for each of its processes: 1,850 files, 0.8 s of CPU
in which it answers no request, and 85 MB. So the layer is linked here, once, and what is uploaded
in its place is a layer of one file that leads to it.
"""

import io
import os
import shutil
import zipfile
from pathlib import Path

# ministack takes it for a folder of site-packages, as Lambda does, and has its .pth files read.
GUIDE = "python/lib/python/site-packages/layer.pth"


def by_reference(layer: Path, folder: Path) -> bytes:
    """Copy a built layer to `folder`, unless it is there; the zip file of a layer that leads to it.

    The copy keeps what it has when the layer is built anew: that makes other files.
    """
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(layer, part, copy_function=_link)
        part.rename(folder)
    # first, like a layer's own folder; a path alone would come last, behind this Python's packages
    first = f"import sys; sys.path.insert(0, {str(folder / 'python')!a})\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as output:
        output.writestr(GUIDE, first)
    return archive.getvalue()


def _link(file: str, to: str) -> None:
    """A second name for a file, which takes no time and no room; a copy on another file system."""
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)
