"""How long a file is: FFmpeg decodes all of it, and the samples are counted.

Nothing is read off a header, and nothing of the product is used.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import av


@dataclass(frozen=True)
class Truth:
    """What came out of the decoder."""

    seconds: float
    codec: str
    rate: int


class NoAudio(Exception):
    """FFmpeg finds no audio stream, or decodes not one sample."""


def decoded(raw: bytes) -> Truth:
    """Decode the best audio stream to its end; a broken packet is skipped, as players do.

    Raises:
        NoAudio: there is nothing to hear.
    """
    try:
        with av.open(io.BytesIO(raw), metadata_errors="ignore") as container:
            return _decoded(container)
    except av.FFmpegError as exc:
        raise NoAudio(str(exc)) from exc


def _decoded(container: av.container.InputContainer) -> Truth:
    stream = container.streams.best("audio")
    if stream is None:
        raise NoAudio("no audio stream")
    samples: dict[int, int] = {}
    with suppress(av.FFmpegError):  # the demuxer gives up: what came until then counts
        for packet in container.demux(stream):
            with suppress(av.FFmpegError):
                for frame in packet.decode():
                    samples[frame.sample_rate] = samples.get(frame.sample_rate, 0) + frame.samples
    if not sum(samples.values()):
        raise NoAudio("no samples")
    seconds = sum(Fraction(count, rate) for rate, count in samples.items())
    return Truth(float(seconds), stream.codec_context.codec.name, max(samples))
