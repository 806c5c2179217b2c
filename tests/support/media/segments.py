"""Small videos whose pictures show their number, and audio that clicks, to be joined."""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import av

from tests.support.media.encoding import ENCODER_OPTIONS, Codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RATE: Final = 48_000
SIZE, BLOCK, BITS = 64, 16, 16
#: By suffix: the muxer, the encoders of pictures and audio, and the pixel format, as fal has them.
KINDS: Final = {
    ".mp4": ("mp4", "libx264", "aac", "yuv420p"),
    ".webm": ("webm", "libvpx-vp9", "libopus", "yuv420p"),
    ".mov": ("mov", "prores_ks", "pcm_s16le", "yuva444p10le"),
}
#: Quick, and yet with pictures that are decoded before they are shown, or never shown.
ENCODERS: Final = {
    "libx264": {"preset": "ultrafast", "bf": "2", "b_strategy": "0", "g": "48"},
    "libvpx-vp9": {
        "deadline": "realtime",
        "cpu-used": "8",
        "auto-alt-ref": "1",
        "lag-in-frames": "25",
        "b": "100k",
    },
    "prores_ks": {"profile": "4444"},
}


@dataclass(frozen=True)
class Look:
    """How a video is encoded; ``colours`` is a number of ITU-T H.273, and 2 is not given."""

    size: int = SIZE
    pixels: str = ""
    colours: int = 2
    options: tuple[tuple[str, str], ...] = ()


@cache
def segment(suffix: str, frames: int, fps: Fraction = Fraction(24), look: Look = Look()) -> bytes:
    """A video whose picture n shows the number n; it has half a second of audio of its own."""
    form, encoder, sound, usual = KINDS[suffix]
    file = io.BytesIO()
    with av.open(file, "w", format=form, options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream(
            encoder, rate=fps, options={**ENCODERS[encoder], **dict(look.options)}
        )
        stream.width, stream.height, stream.pix_fmt = look.size, look.size, look.pixels or usual
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, name, look.colours)
        track: Any = out.add_stream(sound, rate=RATE, layout="stereo")
        for number in range(frames):
            picture = drawn(number, look.size).reformat(format=stream.pix_fmt)
            picture.pts, picture.time_base = number, 1 / fps
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        for frame in [*_frames(bytes(4 * RATE // 2), RATE), None]:
            out.mux(track.encode(frame))
    return file.getvalue()


def opened(media: bytes, suffix: str = "") -> Any:
    """The container of a file with this suffix."""
    file = io.BytesIO(media)
    file.name = f"media.{suffix}"
    return av.open(file)


def drawn(number: int, size: int = SIZE) -> Any:
    """A picture of sixteen squares, each a bit of its number: white or dark grey."""
    frame = av.VideoFrame(size, size, "gray")
    block = size // 4
    shades = [b"\xeb" if number >> bit & 1 else b"\x30" for bit in range(16)]
    rows = [b"".join(shade * block for shade in shades[4 * n : 4 * n + 4]) for n in range(4)]
    width = frame.planes[0].line_size
    frame.planes[0].update(b"".join(row.ljust(width) * block for row in rows))
    return frame


def number_of(picture: Any) -> int:
    """The number that a picture shows."""
    if picture.format.name != "yuv420p":
        picture = picture.reformat(format="gray")
    luma, block = picture.planes[0], picture.width // 4
    plane, pitch = memoryview(luma), luma.line_size
    centres = (
        plane[(block * (bit // 4) + block // 2) * pitch + block * (bit % 4) + block // 2]
        for bit in range(BITS)
    )
    return sum((value > 128) << bit for bit, value in enumerate(centres))


def pictures(video: bytes) -> list[tuple[float, int]]:
    """The time and the number of each picture that a video shows."""
    with opened(video) as container:
        return [(float(frame.time), number_of(frame)) for frame in container.decode(video=0)]


def clicking(form: str, codec: Codec, seconds: float, clicks: Iterable[float]) -> bytes:
    """Audio that is silent but for a click of a millisecond at each of these times."""
    samples = array("h", bytes(2 * round(seconds * codec.rate)))
    for click in clicks:
        first = round(click * codec.rate)
        samples[first : first + 48] = array("h", [28_000, -28_000] * 24)
    channels = av.AudioLayout(codec.layout).nb_channels
    every = array("h", bytes(len(samples) * 2 * channels))
    for channel in range(channels):
        every[channel::channels] = samples
    return audio(form, codec, every.tobytes())


def audio(form: str, codec: Codec, samples: bytes) -> bytes:
    """A file of these samples, sixteen bits each."""
    file = io.BytesIO()
    with av.open(file, "w", format=form, options={"fflags": "+bitexact"}) as out:
        options = {**ENCODER_OPTIONS.get(codec.name, {}), **dict(codec.options)}
        stream: Any = out.add_stream(codec.name, rate=codec.rate, options=options)
        stream.layout = codec.layout
        for frame in [*_frames(samples, codec.rate, codec.layout), None]:
            out.mux(stream.encode(frame))
    return file.getvalue()


def looped(raw: bytes, count: int, gap_at: int | None = None) -> bytes:
    """An M4A with so many packets: the first of ``raw``, which primes the decoder, then the others.

    They are repeated as often as it takes: encoding is the slow part. Packets from ``gap_at`` on
    have timestamps that are ten packets later.
    """
    first, *others = packets(raw, "audio")
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(raw)) as source,
        av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as out,
    ):
        stream: Any = out.add_stream_from_template(source.streams.audio[0])
        for number in range(count):
            packet: Any = av.Packet(others[(number - 1) % len(others)] if number else first)
            late = 10 if gap_at is not None and number >= gap_at else 0
            packet.pts = packet.dts = number - 1 + late
            packet.duration, packet.time_base, packet.stream = 1, Fraction(1024, RATE), stream
            out.mux_one(packet)
    return file.getvalue()


def _frames(samples: bytes, rate: int, layout: str = "stereo") -> Iterator[Any]:
    width = 2 * av.AudioLayout(layout).nb_channels
    for first in range(0, len(samples) // width, RATE):
        piece = samples[first * width : (first + RATE) * width]
        frame = av.AudioFrame("s16", layout, len(piece) // width)
        frame.planes[0].update(piece)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        yield frame


def heard(media: bytes, suffix: str = "") -> list[float]:
    """When the audio of a file clicks, in seconds by its timestamps, as a player hears it."""
    found: list[float] = []
    with opened(media, suffix) as container:
        for frame in container.decode(audio=0):
            kind, loud = ("f", 0.25) if "flt" in frame.format.name else ("h", 8000)
            step = 1 if frame.format.is_planar else frame.layout.nb_channels
            samples = array(kind, bytes(frame.planes[0]))[: frame.samples * step : step]
            if max(samples) > loud:
                at = float(frame.time) + samples.index(max(samples)) / frame.sample_rate
                if not found or at - found[-1] > 0.1:
                    found.append(at)
    return found


def packets(media: bytes, kind: str, suffix: str = "") -> list[bytes]:
    """The packets of a file's first stream of a kind, in their order."""
    with opened(media, suffix) as container:
        stream = container.streams.best(kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]
