"""What an image is: decoded by FFmpeg, and turned as its EXIF orientation says."""

from __future__ import annotations

import math
import re
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import av

from phonoscene.drops.media_facts import ImageFacts
from phonoscene.errors import MediaRefused
from phonoscene.probe.containers import opened

if TYPE_CHECKING:
    from collections.abc import Mapping

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
#: An AVIF's box with the width and height of a picture, with a short or a long length.
_ISPE: Final = re.compile(rb"\0{3}(?:\x14ispe|\x01ispe\0{7}\x1c)\0.{3}(.{4})(.{4})", re.DOTALL)
#: A JPEG's marker that ends it, or that a length follows.
_MARKER: Final = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_END: Final = b"\xd9"
#: A WebP's EXIF with an orientation that turns it by a quarter, where the TIFF has a JPEG's prefix:
#: libvips writes it so, and FFmpeg does not read it.
_TURNED: Final = re.compile(
    rb"EXIF.{4}Exif\0\0(?:II\*\0\x08\0{3}..(?:.{12}){,99}?\x12\x01\x03\0\x01\0{3}[\x05-\x08]"
    rb"|MM\0\*\0{3}\x08..(?:.{12}){,99}?\x01\x12\0\x03\0{3}\x01\0[\x05-\x08])",
    re.DOTALL,
)
_LOOKS_LIKE: Final = (
    (b"<svg", "an SVG drawing"),
    (b"<html", "a web page"),
    (b"<!doctype html", "a web page"),
    (b"ftyphei", "a HEIC photo"),
    (b"ftypmif1", "a HEIF photo"),
    (b"%pdf-", "a PDF document"),
    (b"<?xml", "an XML document"),
    (b"anim\6\0\0\0", "an animated WebP"),
)


def probe_image(file: SeekableFile) -> ImageFacts:
    """Decode an image, or the first one of several.

    Raises:
        MediaRefused: ``not_an_image``, ``empty_image``, ``image_cut_off`` or ``image_too_large``.
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
        with opened(file, _formats(file), DECODERS) as container:
            return _facts(container, file)
    except av.FFmpegError as exc:
        raise MediaRefused("not_an_image", _not_an_image(file)) from exc


def _formats(file: SeekableFile) -> Mapping[str, str]:
    """Those to guess from. FFmpeg guesses wrong at some JPEGs that another picture follows."""
    file.seek(0)
    return {"jpeg_pipe": FORMATS["jpeg_pipe"]} if file.read(3) == b"\xff\xd8\xff" else FORMATS


def _facts(container: Any, file: SeekableFile) -> ImageFacts:
    for stream in container.streams.video:
        context = stream.codec_context
        if context.name not in DECODERS:
            continue
        _check_pixels(context.width, context.height)
        for frame in container.decode(stream):
            form = FORMATS[container.format.name]
            raw = b"" if form == "image/png" else _whole(file)  # nothing is looked for in a PNG
            sizes = [(frame.width, frame.height), *_claimed(form, container, raw)]
            size = max(sizes, key=math.prod)
            _check_pixels(*size)
            _check_end(form, raw)
            is_turned = abs(frame.rotation) == 90 or _is_turned_webp(form, raw)  # noqa: PLR2004 - degrees
            width, height = size[::-1] if is_turned else size
            return ImageFacts(width, height, form)
    raise av.InvalidDataError(0, "no picture")


def _whole(file: SeekableFile) -> bytes:
    file.seek(0)
    return file.read(MAX_BYTES) or b""


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MediaRefused(
            "image_too_large",
            f"has {width} x {height} pixels; at most {MAX_PIXELS:,} are read. Make it smaller",
        )


def _check_end(form: str, raw: bytes) -> None:
    """Refuse a JPEG or a GIF that was cut off: FFmpeg makes up the rest, fal's reader does not."""
    ends = {"image/jpeg": _jpeg_ends, "image/gif": _gif_ends}.get(form)
    if ends and not ends(raw):
        raise MediaRefused(
            "image_cut_off",
            "lacks its end: it was cut off. Upload the whole file, or export it again",
        )


def _jpeg_ends(raw: bytes) -> bool:
    """Whether the first picture does; another picture, or a video, may follow it."""
    at = 0
    while marker := _MARKER.search(raw, at):
        if marker[1] == _END:
            return True
        at = marker.end() + int.from_bytes(raw[marker.end() : marker.end() + 2])
    return False


def _is_turned_webp(form: str, raw: bytes) -> bool:
    return form == "image/webp" and bool(_TURNED.search(raw))


def _claimed(form: str, container: Any, raw: bytes) -> list[tuple[int, int]]:
    """Sizes by the file's own words, of which other readers may take the largest.

    Of an AVIF of tiles FFmpeg decodes one tile, of one with several pictures the first; and of a
    GIF it cuts off what is outside of the screen.
    """
    match form:
        case "image/gif":
            return [_gif_size(raw)]
        case "image/avif":
            sides = _ISPE.findall(raw)
            contexts = filter(None, (one.codec_context for one in container.streams.video))
            return [
                *((int.from_bytes(width), int.from_bytes(height)) for width, height in sides),
                *((context.width, context.height) for context in contexts),
            ]
    return []


def _gif_size(raw: bytes) -> tuple[int, int]:
    """The screen, as far as the first picture reaches beyond it."""
    at = _gif_picture(raw)
    if raw[at : at + 1] != b"," or len(raw) < at + 9:
        return 0, 0
    screen = struct.unpack_from("<2H", raw, 6)
    left, top, width, height = struct.unpack_from("<4H", raw, at + 1)
    return max(screen[0], left + width), max(screen[1], top + height)


def _gif_ends(raw: bytes) -> bool:
    """Whether the first picture does."""
    at = _gif_picture(raw) + 9
    return _after_blocks(raw, at + 2 + _colours(raw, at)) <= len(raw)


def _gif_picture(raw: bytes) -> int:
    """Where the first picture begins; before that are extensions."""
    at = 13 + _colours(raw, 10)
    while raw[at : at + 1] == b"!":
        at = _after_blocks(raw, at + 2)
    return at


def _colours(raw: bytes, at: int) -> int:
    """The bytes of the palette that the flags there announce."""
    flags = int.from_bytes(raw[at : at + 1])
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(raw: bytes, at: int) -> int:
    """Where blocks end, each with its length before it; beyond the end if the last is not there."""
    while raw[at : at + 1] not in (b"", b"\0"):
        at += raw[at] + 1
    return at + 1


def _not_an_image(file: SeekableFile) -> str:
    file.seek(0)
    head = (file.read(1024) or b"").lower()
    looks = next((what for sign, what in _LOOKS_LIKE if sign in head), None)
    seems = f"it looks like {looks}" if looks else "it cannot be decoded"
    again = "" if looks else "upload it again if it was cut off, or "
    return (
        f"is not an image that fal reads: {seems}. Phonoscene takes PNG, JPEG, WebP, GIF and AVIF; "
        f"{again}export it as PNG or JPEG"
    )
