"""What an image is: decoded by FFmpeg, and turned as its EXIF orientation says."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import av

from phonoscene.drops.media_facts import ImageFacts
from phonoscene.errors import MediaRefused
from phonoscene.probe.containers import opened

if TYPE_CHECKING:
    from phonoscene.drops.media_facts import SeekableFile

#: What FFmpeg calls a container, and what the web calls it.
FORMATS: Final = MappingProxyType(
    {
        "png_pipe": "image/png",
        "apng": "image/png",
        "jpeg_pipe": "image/jpeg",
        "webp_pipe": "image/webp",
        "gif": "image/gif",
        "mov,mp4,m4a,3gp,3g2,mj2": "image/avif",
    }
)
DECODERS: Final = frozenset({"png", "apng", "mjpeg", "webp", "gif", "av1", "libdav1d"})

#: fal's toolkit reads images of 50 MiB at most.
MAX_BYTES: Final = 50 * 1024 * 1024
#: Decoded, that many pixels take 400 MB.
MAX_PIXELS: Final = 100_000_000
_LOOKS_LIKE: Final = (
    (b"<svg", "an SVG drawing"),
    (b"<html", "a web page"),
    (b"<!doctype html", "a web page"),
    (b"ftyphei", "a HEIC photo"),
    (b"ftypmif1", "a HEIF photo"),
    (b"%pdf-", "a PDF document"),
    (b"<?xml", "an XML document"),
)


def probe_image(file: SeekableFile) -> ImageFacts:
    """Decode an image, or the first one of several.

    Raises:
        MediaRefused: ``not_an_image``, ``empty_image`` or ``image_too_large``.
    """
    size = file.seek(0, 2)
    if not size:
        raise MediaRefused("empty_image", "has no bytes; upload it again")
    if size > MAX_BYTES:
        raise MediaRefused(
            "image_too_large",
            f"has {size / 2**20:.1f} MiB; fal reads images of 50 MiB at most. Make it smaller",
        )
    try:
        with opened(file, FORMATS, DECODERS) as container:
            return _facts(container)
    except av.FFmpegError as exc:
        raise MediaRefused("not_an_image", _not_an_image(file)) from exc


def _facts(container: Any) -> ImageFacts:
    for stream in container.streams.video:
        context = stream.codec_context
        if context.name not in DECODERS:
            continue
        if context.width * context.height > MAX_PIXELS:
            raise MediaRefused(
                "image_too_large",
                f"has {context.width} x {context.height} pixels; at most {MAX_PIXELS:,} are read. "
                "Make it smaller",
            )
        for frame in container.decode(stream):
            size = frame.width, frame.height
            width, height = size[::-1] if abs(frame.rotation) == 90 else size  # noqa: PLR2004 - degrees
            return ImageFacts(width, height, FORMATS[container.format.name])
    raise av.InvalidDataError(0, "no picture")


def _not_an_image(file: SeekableFile) -> str:
    file.seek(0)
    head = (file.read(1024) or b"").lower()
    looks = next((what for sign, what in _LOOKS_LIKE if sign in head), None)
    seems = f"it looks like {looks}" if looks else "it cannot be decoded"
    return (
        f"is not an image that fal reads: {seems}. Phonoscene takes PNG, JPEG, WebP, GIF and AVIF; "
        "export it as PNG or JPEG"
    )
