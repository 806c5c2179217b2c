"""Encodes audio with FFmpeg's own encoders, and writes encoded packets into any container.

Encoding is the slow part. A long file is therefore a short encoded piece whose packets are muxed
again and again, each with the next timestamp, which is how joined and streamed files come about.
"""

from __future__ import annotations

import io
import random
from array import array
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, Final

import av

#: Frames of the loop that every audio is made of.
LOOP: Final = 48_000
#: Seconds of a piece whose packets are repeated.
PIECE_SECONDS: Final = 4.0
#: Samples in one packet, of codecs that have a fixed number.
PACKET_SAMPLES: Final = {"aac": 1024, "alac": 4096, "libopus": 960, "vorbis": 1024}
#: What makes an encoder quick, or work at all.
ENCODER_OPTIONS: Final[dict[str, dict[str, str]]] = {
    "libmp3lame": {"compression_level": "9"},
    "vorbis": {"strict": "experimental"},
    "libopus": {"compression_level": "1"},
}

Options = tuple[tuple[str, str], ...]


@cache
def loop(channels: int) -> bytes:
    """Sixteen-bit samples, interleaved: noise that swells, a low hum, then silence.

    Its loudness varies, so a variable bit rate does vary.
    """
    noise = array("h", random.Random(7).randbytes(2 * LOOP // 2))  # noqa: S311 - repeatable noise
    swelling = [sample >> (7 - 6 * n // len(noise)) for n, sample in enumerate(noise)]
    hum = [900 if n % 240 < 120 else -900 for n in range(LOOP // 4)]
    mono = array("h", [*swelling, *hum, *[0] * (LOOP - len(swelling) - len(hum))])
    samples = array("h", bytes(2 * LOOP * channels))
    for channel in range(channels):
        samples[channel::channels] = mono
    return samples.tobytes()


def samples_of(seconds: float, rate: int, channels: int) -> bytes:
    """So many seconds of the loop."""
    frames = round(seconds * rate)
    one = loop(channels)
    whole, rest = divmod(frames, LOOP)
    return one * whole + one[: rest * 2 * channels]


def _frames(seconds: float, rate: int, layout: str) -> Any:
    width = 2 * av.AudioLayout(layout).nb_channels
    samples = samples_of(seconds, rate, width // 2)
    for start in range(0, len(samples) // width, LOOP):
        piece = samples[start * width : (start + LOOP) * width]
        frame = av.AudioFrame(format="s16", layout=layout, samples=len(piece) // width)
        frame.planes[0].update(piece)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


@dataclass(frozen=True)
class Codec:
    """An encoder and its settings."""

    name: str
    rate: int = 48_000
    layout: str = "stereo"
    bit_rate: int | None = None
    options: Options = ()
    sample_format: str | None = None


@lru_cache(maxsize=24)
def encoded(form: str, codec: Codec, seconds: float, muxer: Options = ()) -> bytes:
    """A whole file, every second of it encoded."""
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=_muxer(muxer)) as out:
        stream: Any = out.add_stream(
            codec.name,
            rate=codec.rate,
            options={**ENCODER_OPTIONS.get(codec.name, {}), **dict(codec.options)},
        )
        stream.layout = codec.layout
        if codec.bit_rate:
            stream.bit_rate = codec.bit_rate
        if codec.sample_format:
            stream.format = codec.sample_format
        for frame in _frames(seconds, codec.rate, codec.layout):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@cache
def _piece(codec: Codec) -> tuple[bytes, tuple[bytes, ...], Fraction]:
    """A file with an encoder's parameters, its packets, and the seconds of each."""
    raw = encoded("nut", codec, PIECE_SECONDS)
    with av.open(io.BytesIO(raw), "r") as source:
        stream = source.streams.audio[0]
        packets = tuple(bytes(packet) for packet in source.demux(stream) if packet.size)
        samples = PACKET_SAMPLES.get(codec.name) or stream.codec_context.frame_size
    return raw, packets, Fraction(samples, codec.rate)


def repeated(
    form: str, codec: Codec, seconds: float, muxer: Options = (), *, extradata: bytes | None = None
) -> bytes:
    """A file as long as wanted, its packets a piece's over and over.

    ``extradata`` describes the codec in the container's header otherwise than the encoder did.
    """
    raw, packets, each = _piece(codec)
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(raw)) as source,
        av.open(file, "w", format=form, options=_muxer(muxer)) as out,
    ):
        stream = out.add_stream_from_template(source.streams.audio[0])
        if extradata is not None:
            stream.codec_context.extradata = extradata
        for number in range(int(Fraction(seconds) / each)):
            out.mux_one(_packet(packets[number % len(packets)], number, each, stream))
    return file.getvalue()


def _packet(raw: bytes, number: int, each: Fraction, stream: Any) -> Any:
    packet: Any = av.Packet(raw)
    packet.pts = packet.dts = number
    packet.duration, packet.time_base, packet.stream = 1, each, stream
    return packet


def _muxer(options: Options) -> dict[str, str]:
    """The same bytes each time: no random serial numbers, no date."""
    return {"fflags": "+bitexact", **dict(options)}
