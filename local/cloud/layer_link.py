"""How the emulator is given a layer: unpacked once, and not by every process that it starts.

ministack (1.5.33) unpacks a function's layers for each of its processes: 1,850 files, 0.8 s of CPU
in which it answers no request, and 85 MB. So the archive is unpacked here, and what is uploaded in
its place is a layer of one file that leads to it.
"""

import io
import zipfile
from pathlib import Path

# ministack takes it for a folder of site-packages, as Lambda does, and has its .pth files read.
GUIDE = "python/lib/python/site-packages/layer.pth"


def by_reference(archive: Path, folder: Path) -> bytes:
    """Unpack a layer to `folder`, unless it is there; the zip file of a layer that leads to it."""
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        with zipfile.ZipFile(archive) as whole:
            whole.extractall(part)
        part.rename(folder)
    # first, like a layer's own folder; a path alone would come last, behind this Python's packages
    first = f"import sys; sys.path.insert(0, {str(folder / 'python')!a})\n"
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as output:
        output.writestr(GUIDE, first)
    return layer.getvalue()
