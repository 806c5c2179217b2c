"""Video files: what a suffix promises, and whether a file keeps it."""

from __future__ import annotations

from types import MappingProxyType

from phonoscene.errors import VideoRefused, VideoUnavailable
from phonoscene.jobs import ErrorDetail

CONTENT_TYPES = MappingProxyType(
    {
        ".mp4": "video/mp4",
        ".webm": "video/webm",
        ".mov": "video/quicktime",
        ".gif": "image/gif",
    }
)


def suffix_of(video_output_type: str) -> str:
    """``X264 (.mp4)`` → ``.mp4``: the endpoint names a codec and, in brackets, a suffix."""
    return video_output_type.partition("(")[2].rstrip(")")


def is_container(head: bytes, suffix: str) -> bool:
    """Whether a file that begins with ``head`` is what its suffix says.

    Sources: ISO 14496-12 for mp4 and mov, EBML for webm, GIF89a.
    """
    if suffix == ".gif":
        return head[:6] in (b"GIF87a", b"GIF89a")
    if suffix == ".webm":
        return head[:4] == b"\x1a\x45\xdf\xa3" and b"webm" in head[:64]
    is_quicktime = head[8:12] == b"qt  "
    return head[4:8] == b"ftyp" and is_quicktime == (suffix == ".mov")


def check_container(head: bytes, suffix: str) -> None:
    """See that a file which begins with ``head`` is what was asked for.

    Raises:
        VideoRefused: it is not.
        VideoUnavailable: it is empty.
    """
    if not head:
        raise VideoUnavailable("the CDN sent an empty file")
    if not is_container(head, suffix):
        error = f"fal's file is not {suffix[1:]}, as was asked for"
        raise VideoRefused(ErrorDetail(code="wrong_container", message=error))
