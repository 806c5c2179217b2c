"""What is probed, what is found, and who can probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

#: Of the slices that long audio is cut into, in samples a second: fal's model resamples to it.
SAMPLE_RATE: Final = 48_000


class SeekableFile(Protocol):
    """What a media file has to offer: a read is short at the end, nowhere else."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Bytes from the position on."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position, and return the new one."""
        ...

    def tell(self) -> int:
        """The position, in bytes from the beginning."""
        ...


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object of the drop bucket, with the ETag and the size that it has now."""

    key: str
    etag: str
    bytes: int


@dataclass(frozen=True)
class AudioFacts:
    """Length in seconds, the container's content type, and FFmpeg's name of the codec."""

    seconds: float
    format: str
    codec: str


@dataclass(frozen=True)
class ImageFacts:
    """Width and height in pixels as a person sees them, and the content type."""

    width: int
    height: int
    format: str


class Prober(Protocol):
    """Measures an object of the drop bucket, in this process or in the function ``probe``.

    Both methods raise ``DropRefused`` if the file is not what it should be, ``DropUnsettled`` if it
    changes meanwhile, and ``ObjectUnreadable`` or ``ProbeFailed`` if trying again may help.
    """

    def audio(self, stored: StoredObject) -> AudioFacts:
        """Measure an audio file."""
        ...

    def image(self, stored: StoredObject) -> ImageFacts:
        """Measure an image: its width, height and format."""
        ...
