"""Real audio files and videos, made once a session."""

from __future__ import annotations

import io
import math
import struct
import tempfile
import wave
from array import array
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import compress, crc32

import av

RATE: Final = 48_000

#: suffix and variety -> container, codec, options of either
SOUNDS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "wav": ("wav", "pcm_s16le", {}),
    "wav 24 bit": ("wav", "pcm_s24le", {}),
    "flac": ("flac", "flac", {}),
    "mp3 cbr": ("mp3", "libmp3lame", {"bit_rate": 128_000}),
    "mp3 vbr": ("mp3", "libmp3lame", {"options": {"flags": "qscale", "global_quality": "472"}}),
    "mp3 without a Xing header": ("mp3", "libmp3lame", {"container": {"write_xing": "0"}}),
    "m4a with moov at the end": ("mp4", "aac", {}),
    "m4a with moov at the beginning": ("mp4", "aac", {"container": {"movflags": "+faststart"}}),
    "aac": ("adts", "aac", {}),
    "ogg vorbis": ("ogg", "vorbis", {"options": {"strict": "experimental"}}),
    "ogg opus": ("ogg", "libopus", {}),
    "ogg flac": ("ogg", "flac", {}),
    "opus": ("ogg", "libopus", {}),
}


def silence(seconds: float, rate: int = 8000) -> bytes:
    """The smallest wav of a length; it costs nothing to make."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(rate)
        out.writeframes(b"\x80" * round(seconds * rate))
    return file.getvalue()


@cache
def _samples(count: int) -> bytes:
    """16 bits, stereo: a tone that glides, then nothing, so that variable bit rates do vary."""
    tone = array("h", [0]) * (2 * count)
    for n in range(count // 2):
        tone[2 * n] = tone[2 * n + 1] = int(9000 * math.sin(n * n / 9e5))
    return tone.tobytes()


@cache
def sound(variety: str, seconds: float = 2.0) -> bytes:
    """A tone that glides, in one of ``SOUNDS``."""
    form, codec, options = SOUNDS[variety]
    # on disk: what puts moov first opens the file a second time
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=form, options=options.get("container", {})) as out,
    ):
        stream: Any = out.add_stream(codec, rate=RATE, options=options.get("options", {}))
        stream.layout = "stereo"  # ffmpeg's own vorbis encoder knows nothing else
        if "bit_rate" in options:
            stream.bit_rate = options["bit_rate"]
        samples = _samples(round(seconds * RATE))
        for start in range(0, len(samples) // 4, 960):
            piece = samples[4 * start : 4 * (start + 960)]
            frame = av.AudioFrame(format="s16", layout="stereo", samples=len(piece) // 4)
            frame.planes[0].update(piece)
            frame.sample_rate, frame.pts = RATE, start
            frame.time_base = Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        out.close()
        return Path(file.name).read_bytes()


def with_id3(mp3: bytes, picture: int) -> bytes:
    """An ID3v2.3 tag with a title and a cover of so many bytes before the audio."""

    def frame(name: bytes, body: bytes) -> bytes:
        return name + struct.pack(">IH", len(body), 0) + body

    image = b"\x89PNG\r\n\x1a\n" + b"\xff\xfb\x90\x64" * (picture // 4)  # looks like mp3 frames
    frames = frame(b"TIT2", b"\0A title") + frame(b"APIC", b"\0image/png\0\x03\0" + image)
    size = len(frames)
    synchsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + synchsafe + frames + mp3


_FILMS: Final = {
    ".mp4": ("mp4", "libx264", "yuv420p"),
    ".webm": ("webm", "libvpx-vp9", "yuv420p"),
    ".mov": ("mov", "prores_ks", "yuva444p10le"),
    ".gif": ("gif", "gif", "rgb8"),
}


@cache
def video_file(suffix: str) -> bytes:
    """Three black frames in one of the four containers."""
    form, codec, pixels = _FILMS[suffix]
    file = io.BytesIO()
    with av.open(file, "w", format=form) as out:
        stream: Any = out.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for _ in range(3):
            frame = av.VideoFrame(64, 48, "rgb24")
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            out.mux(stream.encode(frame.reformat(format=pixels)))
        out.mux(stream.encode(None))
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A black image (PNG, 3rd edition, 11.2)."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = compress(bytes((width + 1) * height))
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def image_of(codec: str, container: str, pixels: str, width: int = 64, height: int = 32) -> bytes:
    """A grey image, encoded by FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        frame = av.VideoFrame(width, height, pixels)
        for plane in frame.planes:
            plane.update(b"\x80" * plane.buffer_size)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def turned(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF orientation (TIFF tag 274): 5 to 8 turn it by a quarter."""
    entry = struct.pack("<HHHII", 1, 274, 3, 1, orientation)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entry + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
