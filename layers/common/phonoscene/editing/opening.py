"""Opens audio and videos with FFmpeg, and reads their packets within a limit of time."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import av

from phonoscene.errors import EditingFailed
from phonoscene.probe.audio import DECODERS as AUDIO_DECODERS
from phonoscene.probe.audio import FORMATS as AUDIO_FORMATS
from phonoscene.probe.claims import wav_end
from phonoscene.probe.containers import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.drops.media_facts import SeekableFile

#: What FFmpeg calls a container, and the suffixes of what fal makes in it.
VIDEO_FORMATS: Final = MappingProxyType(
    {"mov,mp4,m4a,3gp,3g2,mj2": ".mp4, .mov", "matroska,webm": ".webm"}
)
VIDEO_DECODERS: Final = frozenset({"h264", "vp9", "libvpx-vp9", "prores"})
#: For all but joining. ``submit`` waits 110 s for an answer, and the files are downloaded before:
#: an error that comes later is read by no one.
MAX_BUSY_SECONDS: Final = 80.0


class TimeLimit:
    """Raises once so many seconds are over: hostile files keep FFmpeg busy without an end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise ``EditingFailed`` if the time is over."""
        if time.monotonic() > self._end:
            raise EditingFailed(
                "editing_too_slow",
                f"The media files are not read within {self._seconds:g} s. Convert the audio to "
                "WAV or FLAC, or make a shorter or smaller video.",
            )


@contextmanager
def opened_audio(
    file: SeekableFile, limit: TimeLimit, suffix: str = ""
) -> Iterator[tuple[Any, Any]]:
    """The container of an audio file, or of a video, and its stream of audio.

    ``suffix`` is that of the file's name.

    Raises:
        EditingFailed: ``unreadable_audio`` or ``editing_too_slow``.
    """
    refused = EditingFailed(
        "unreadable_audio", "The audio cannot be decoded. Convert it to WAV or FLAC."
    )
    formats = {**AUDIO_FORMATS, **VIDEO_FORMATS}
    with ExitStack() as stack:
        try:
            container = stack.enter_context(
                opened(file, formats, AUDIO_DECODERS, suffix, wav_end(file), limit.check)
            )
        except av.FFmpegError as exc:
            raise refused from exc
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            raise refused
        yield container, stream


@contextmanager
def opened_video(
    file: SeekableFile, segment: int | None, limit: TimeLimit
) -> Iterator[tuple[Any, Any]]:
    """The container of a video, and its stream of pictures.

    Raises:
        EditingFailed: ``unreadable_video`` or ``editing_too_slow``.
    """
    name = "The video" if segment is None else f"The video of segment {segment}"
    refused = EditingFailed(
        "unreadable_video",
        f"{name} cannot be read: it is not H.264, VP9 or ProRes, or it is cut off.",
        segment,
    )
    with ExitStack() as stack:
        try:
            container = stack.enter_context(
                opened(file, VIDEO_FORMATS, VIDEO_DECODERS, check=limit.check)
            )
        except av.FFmpegError as exc:
            raise refused from exc
        stream = container.streams.best("video")
        context = stream.codec_context if stream else None
        if context is None or context.name not in VIDEO_DECODERS or not context.width:
            raise refused
        yield container, stream


def packets(container: Any, stream: Any, limit: TimeLimit) -> Iterator[Any]:
    """The stream's packets, up to where the container breaks off.

    The empty packet at the end, which makes decoders return what they hold back, comes always.
    PyAV 18.1 raises IndexError for a stream that begins in the middle of an Ogg.
    """
    try:
        for packet in container.demux(stream):
            limit.check()
            if packet.size:
                yield packet
    except (av.FFmpegError, IndexError):
        pass
    yield _flush(stream)


def whole_pictures(container: Any, stream: Any, limit: TimeLimit) -> Iterator[Any]:
    """The packets of pictures that are not cut off, and that the container does not leave out."""
    for packet in packets(container, stream, limit):
        if packet.size and not packet.is_corrupt and not packet.is_discard:
            yield packet


def _flush(stream: Any) -> Any:
    empty: Any = av.Packet()
    empty.stream, empty.time_base = stream, stream.time_base
    return empty
