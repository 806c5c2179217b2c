"""Reads the last picture of a video, with which the next segment may begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import av

from phonoscene.editing.opening import MAX_BUSY_SECONDS, TimeLimit, opened_video, packets
from phonoscene.editing.pictures import examine, rate_of
from phonoscene.errors import EditingFailed

if TYPE_CHECKING:
    from phonoscene.drops.media_facts import SeekableFile

#: 8K; a picture takes 12 bytes a pixel, at most, while it is converted.
MAX_PIXELS: Final = 7680 * 4320


def last_frame(file: SeekableFile, frames: int, fps: float, segment: int) -> bytes:
    """A PNG of the last picture that can be decoded of a segment's video of so many frames.

    All is decoded: what a seek finds depends on the container's index, and a segment is short. A
    video that could not be joined is refused now, before the segments that follow it are paid.

    Raises:
        EditingFailed: ``unreadable_video``, ``wrong_frames``, ``wrong_frame_rate`` or
            ``editing_too_slow``.
    """
    last, limit = None, TimeLimit(MAX_BUSY_SECONDS)
    examine(file, frames, rate_of(fps), limit, segment)
    with opened_video(file, segment, limit) as (container, stream):
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise _unreadable(f"has {context.width} x {context.height} pixels", segment)
        stream.thread_type = "AUTO"
        for packet in packets(container, stream, limit):
            for frame in _decoded(packet):
                last = frame
    if last is None:
        raise _unreadable("has no picture that can be decoded", segment)
    return _png(last)


def _decoded(packet: Any) -> list[Any]:
    """The whole pictures of a packet; a broken one may be decoded in part, and grey below."""
    if packet.is_corrupt:
        return []
    try:
        return [frame for frame in packet.decode() if not frame.is_corrupt]
    except av.FFmpegError:
        return []


def _png(picture: Any) -> bytes:
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "rgb24"
    encoder.time_base = picture.time_base
    return b"".join(map(bytes, encoder.encode(picture.reformat(format="rgb24"))))


def _unreadable(what: str, segment: int) -> EditingFailed:
    message = f"The video of segment {segment} {what}."
    return EditingFailed("unreadable_video", message, segment)
