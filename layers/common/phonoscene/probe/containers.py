"""Opens media with FFmpeg, and only what Phonoscene takes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import av

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from phonoscene.probe.facts import SeekableFile


class _Named:
    """A file under another name: FFmpeg takes a suffix for a sign where the bytes are none."""

    def __init__(self, file: SeekableFile, name: str) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell
        self.name = name


#: How FFmpeg takes a list of names.
_LIST: Final = ","


@contextmanager
def opened(
    file: SeekableFile, formats: Mapping[str, str], decoders: frozenset[str], suffix: str = ""
) -> Iterator[Any]:
    """The opened container of a file whose name ends in ``suffix``.

    ``formats`` are FFmpeg's names of the demuxers that may be used. The other ones matter: HLS,
    concat and their like open further files and addresses that the file names.

    Raises:
        av.FFmpegError: it is none of ``formats``, or cannot be read.
    """
    options = {
        "format_whitelist": _LIST.join(formats),
        "codec_whitelist": _LIST.join(sorted(decoders)),
        "protocol_whitelist": "none",
    }
    file.seek(0)
    with av.open(
        _Named(file, f"media{suffix}"), options=options, metadata_errors="ignore"
    ) as container:
        yield container
