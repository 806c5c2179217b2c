"""Files that a browser has sent, before they are drops: each page has a folder of its own.

The folders are on this machine, so that the product examines them as `phonoscene drop` does. Their
files are deleted when the drop is in the bucket, when newer drops need the room, or when the board
ends.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.keys import AUDIO_SUFFIXES, IMAGE_SUFFIXES, illegible
from phonoscene.drops.sidecar_files import MAX_SIDECAR_BYTES
from phonoscene.errors import DropRefused
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.failures import explained
from phonoscene_cli.upload.sidecars import takes_of_sidecar
from phonoscene_cli.upload.upload import Dropped, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phonoscene_cli.upload.several import Candidate

ID: Final = re.compile(r"[0-9a-f]{32}")
#: Pages whose files were not dropped.
MAX_STAGED: Final = 20
#: Audio files of one page: each change of the form examines all of them.
MAX_AUDIO: Final = 50
#: What one file may hold. The longest audio, ten minutes of eight channels at 192 kHz, is smaller.
MAX_BYTES: Final = 4 * 1024**3
MAX_IMAGES: Final = 70
MAX_NAME: Final = 200
#: The name of a staged sidecar, whatever it was called.
SIDECAR: Final = ".sidecar.json"


@dataclass
class StagedDrop:
    """The files of one page, and how far their upload is: a drop for each audio file."""

    folder: Path
    #: In the order in which they came.
    audio: list[Path] = field(default_factory=list)
    #: What the JSON file was called.
    sidecar_name: str = ""
    #: The texts of the form's fields that come from files; any other text was typed.
    filled: dict[str, str] = field(default_factory=dict)
    #: Held while one examination runs, until what it found is started: no file changes meanwhile.
    lock: threading.RLock = field(default_factory=threading.RLock)
    sent: int = 0
    total: int = 0
    is_started: bool = False
    is_done: bool = False
    problem: str = ""
    #: What is in the bucket, with the ids of its jobs.
    dropped: list[tuple[Dropped, list[str]]] = field(default_factory=list)
    _thread: threading.Thread | None = None

    @property
    def images(self) -> list[Path]:
        """The pictures that were sent along."""
        return sorted(
            file for file in self.folder.glob("*") if file.name.lower().endswith(IMAGE_SUFFIXES)
        )

    @property
    def sidecar(self) -> bytes | None:
        """The JSON file that was sent along."""
        file = self.folder / SIDECAR
        return file.read_bytes() if file.is_file() else None

    @property
    def takes(self) -> list[dict[str, Any]]:
        """The fields of each take of the JSON file; none without such a file."""
        raw = self.sidecar
        return [] if raw is None else takes_of_sidecar(self.sidecar_name, raw)

    @property
    def only_image(self) -> str:
        """The image that an empty image field gets; none where each take names its own."""
        images = self.images
        return images[0].name if len(images) == 1 and len(self.takes) <= 1 else ""

    def place_for(self, name: str) -> Path:
        """Where a file of that name goes.

        Raises:
            WrongUsage: it is no file that a drop can have.
        """
        lower = name.lower()
        if lower.endswith(".json"):
            return self.folder / SIDECAR
        is_short = len(name.encode(errors="replace")) <= MAX_NAME
        if illegible(name) or name.startswith(".") or not is_short or "/" in name or "\\" in name:
            raise WrongUsage(f"{name!r} cannot be used as a file's name. Rename the file.")
        if lower.endswith(IMAGE_SUFFIXES):
            if len(self.images) >= MAX_IMAGES and not (self.folder / name).is_file():
                raise WrongUsage(f"A drop has at most {MAX_IMAGES} images. Remove some.")
            return self.folder / name
        if not lower.endswith(AUDIO_SUFFIXES):
            raise WrongUsage(
                f"{name} has a format that is not supported. Convert audio to MP3, WAV or FLAC, "
                "and images to PNG or JPEG. Supported suffixes: "
                f"{' '.join((*AUDIO_SUFFIXES, *IMAGE_SUFFIXES))} .json"
            )
        if len(self.audio) >= MAX_AUDIO and self.folder / name not in self.audio:
            raise WrongUsage(f"A page takes at most {MAX_AUDIO} audio files. Drop these first.")
        return self.folder / name

    def accept(self, part: Path, name: str) -> None:
        """Take a file that has arrived whole; a file of its name, or a JSON file, is replaced.

        Raises:
            WrongUsage: the file is refused, or the drop was started while it arrived.
        """
        with self.lock:
            place = self.place_for(name)
            if self.is_started:
                raise WrongUsage("This drop was already sent. Open the drop page again.")
            if not part.stat().st_size:
                raise WrongUsage(f"{name} has no bytes. Save or export it again, then add it.")
            if place.name == SIDECAR:
                _check_sidecar(part, name)
                self.sidecar_name = name
            part.replace(place)
            if place.name == self.only_image:
                self.filled.setdefault("image_url", place.name)
            if place.name.lower().endswith(AUDIO_SUFFIXES) and place not in self.audio:
                self.audio.append(place)

    def remove(self, name: str) -> None:
        """Forget a file that was taken.

        Raises:
            WrongUsage: the drop was started.
        """
        with self.lock:
            if self.is_started:
                raise WrongUsage("This drop was already sent. Open the drop page again.")
            place = self.place_for(name)
            place.unlink(missing_ok=True)
            self.audio = [one for one in self.audio if one != place]

    def lacks(self, listed: str) -> bool:
        """Whether a page lists a file, by its place, that is not here: ``a.wav/sidecar/a.png``."""
        # several files keep their names, and the page still lists those that were dropped
        gone = {dropped.audio.key.rpartition("/")[2] for dropped, _ in self.dropped}
        names = {one.name for one in (*self.audio, *self.images)} | gone
        here = names if self.sidecar is None else {*names, "sidecar"}
        return not {*filter(None, listed.split("/"))} <= here

    def start(self, drops: Sequence[Candidate], s3: Any, bucket: str) -> bool:
        """Put the drops in the bucket, in a thread; False where that has begun already."""
        with self.lock:
            if self.is_started:
                return False
            self.is_started, self.problem = True, ""
            self.sent, self.total = 0, sum(one.plan.drop.audio.bytes for one in drops)
            self._thread = threading.Thread(target=self._run, args=(drops, s3, bucket))
            self._thread.start()
        return True

    def wait(self) -> None:
        """Return when no upload runs."""
        if self._thread:
            self._thread.join()

    @property
    def ending(self) -> list[str]:
        """What an upload that is over has put, and what it has not."""
        lines = [f"dropped s3://{one.bucket}/{one.audio.key}" for one, _ in self.dropped]
        if not self.problem:
            return lines
        left = ", ".join(file.name for file in self.audio)
        return [*lines, f"This upload failed: {left}. {self.problem}"]

    def _run(self, drops: Sequence[Candidate], s3: Any, bucket: str) -> None:
        try:
            for one in drops:
                self._put(one, s3, bucket)
        except Exception as exc:  # noqa: BLE001 - the page says what happened
            done = len(self.dropped)
            total = done + len(self.audio)
            known = "" if hasattr(exc, "__notes__") else "Nothing was dropped. "  # they say what is
            if done:
                known = f"{done} of {total} files were dropped, and are not dropped again. "
            self.problem = f"{known}{explained(exc)[0]}"
            self.is_started = False
        else:
            self.is_done = True
            shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, one: Candidate, s3: Any, bucket: str) -> None:
        """Put one drop in the bucket, and forget its audio file: if another fails, it is done."""
        before, audio = self.sent, one.plan.drop.audio

        def advance(sent: int) -> None:
            self.sent = before + sent

        dropped = Upload(s3, bucket, one.plan.drop, advance).run()
        self.dropped.append((dropped, one.job_ids(dropped)))
        self.sent = before + audio.bytes
        with self.lock:
            self.audio = [file for file in self.audio if file != audio.source]


def _check_sidecar(file: Path, name: str) -> None:
    """See that a JSON file can be read.

    Raises:
        WrongUsage: it cannot, and why.
    """
    if file.stat().st_size > MAX_SIDECAR_BYTES:
        raise WrongUsage(f"{name} is larger than {MAX_SIDECAR_BYTES // 1024**2} MiB. Shorten it.")
    try:
        takes_of_sidecar(name, file.read_bytes())
    except DropRefused as exc:
        raise WrongUsage(f"{exc} Correct the file, then add it again.") from exc


class Staging:
    """The drops that are being prepared; a context manager that deletes what is left."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="phonoscene-board-"))
        self._drops: OrderedDict[str, StagedDrop] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, drop_id: str) -> StagedDrop:
        """The files of that id, which a page has made up; none yet where it is new.

        Raises:
            WrongUsage: it is no id.
        """
        if not ID.fullmatch(drop_id):
            raise WrongUsage("There is no such drop. Open the drop page again.")
        with self._lock:
            if drop_id not in self._drops:
                self._make_room()
                folder = self._root / drop_id
                folder.mkdir(mode=0o700)
                self._drops[drop_id] = StagedDrop(folder)
            self._drops.move_to_end(drop_id)
            return self._drops[drop_id]

    def _make_room(self) -> None:
        """Forget the drop that was used least lately, of those that are not on their way."""
        idle = [one for one, drop in self._drops.items() if not drop.is_started or drop.is_done]
        while len(self._drops) >= MAX_STAGED and idle:
            oldest = idle.pop(0)
            shutil.rmtree(self._drops.pop(oldest).folder, ignore_errors=True)

    @property
    def uploading(self) -> list[StagedDrop]:
        """Those on their way to the bucket."""
        return [drop for drop in self._drops.values() if drop.is_started and not drop.is_done]

    def close(self) -> list[str]:
        """Delete all files, once no upload needs them: a drop is whole or not at all.

        How each of these uploads ended is returned: no page shows it any more.
        """
        last = self.uploading
        for drop in self._drops.values():
            drop.wait()
        shutil.rmtree(self._root, ignore_errors=True)
        return [line for drop in last for line in drop.ending]
