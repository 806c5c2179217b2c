"""Opens media with FFmpeg, and only what Phonoscene takes."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import av

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from phonoscene.drops.media_facts import SeekableFile


class _View:
    """A file under another name, up to ``end``.

    FFmpeg takes a name's suffix for a sign of the format where the bytes are none.

    ``failure`` keeps the first error of a read, for ``opened`` to raise. PyAV and FFmpeg may
    swallow an error and go on as if the file ended there. Of what is no ``Exception``, such as ^C,
    PyAV makes a read of no bytes, after which FFmpeg reads again, for ever. FFmpeg may also read
    again after an error, and finds the end: of a second error, PyAV would print the traceback.
    """

    def __init__(
        self, file: SeekableFile, name: str, end: int | None, check: Callable[[], None]
    ) -> None:
        self._file = file
        self._check = check
        self._end = file.seek(0, 2) if end is None else end
        self.tell = file.tell
        self.name = name
        self.failure: BaseException | None = None
        file.seek(0)

    def read(self, size: int) -> bytes | None:
        """Bytes from the position on, none behind the end."""
        if self.failure:
            return b""
        try:
            self._check()
            return self._file.read(max(0, min(size, self._end - self.tell())))
        except BaseException as exc:
            self.failure = exc
            raise OSError("a read failed") from exc

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position, and return the new one; the end is where reads end.

        FFmpeg looks for what is at the end of a file, also in one that is shorter than that.
        """
        if whence == io.SEEK_END:
            return self._file.seek(max(0, self._end + offset))
        return self._file.seek(offset, whence)


#: How FFmpeg takes a list of names.
_LIST: Final = ","


@contextmanager
def opened(
    file: SeekableFile,
    formats: Mapping[str, str],
    decoders: frozenset[str],
    suffix: str = "",
    end: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Any]:
    """The opened container of a file whose name ends in ``suffix``; nothing behind ``end`` is read.

    ``formats`` are FFmpeg's names of the demuxers that may be used. The other ones matter: HLS,
    concat and their like open further files and addresses that the file names. A single one is used
    without a guess.

    ``check`` is called before each read, and ends the work by an error: FFmpeg may read a whole
    file before it finds a packet, or none.

    Raises:
        av.FFmpegError: it is none of ``formats``, or cannot be read.
        BaseException: whatever ``file`` or ``check`` raised at a read; it comes before all else.
    """
    options = {
        "format_whitelist": _LIST.join(formats),
        "codec_whitelist": _LIST.join(sorted(decoders)),
        "protocol_whitelist": "none",
    }
    only = next(iter(formats)) if len(formats) == 1 else None
    view = _View(file, f"media{suffix}", end, check)
    try:
        with av.open(view, format=only, options=options, metadata_errors="ignore") as container:
            yield container
    finally:
        if view.failure:
            raise view.failure
