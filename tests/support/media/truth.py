"""How long a file is: FFmpeg decodes all of it, and the samples are counted.

Nothing is read off a header, and nothing of the product is used.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av


@dataclass(frozen=True)
class Truth:
    """What came out of the decoder."""

    seconds: float
    codec: str
    rate: int


class NoAudio(Exception):
    """FFmpeg finds no audio stream, or decodes not one sample."""


class _Named(io.BytesIO):
    """FFmpeg takes a name's suffix for a sign of the format where the bytes leave it open."""

    def __init__(self, raw: bytes, suffix: str) -> None:
        super().__init__(raw)
        self.name = f"song.{suffix}"


def decoded(raw: bytes, suffix: str) -> Truth:
    """Decode the best audio stream to its end; a broken packet is skipped, as players do.

    Raises:
        NoAudio: there is nothing to hear.
    """
    try:
        with av.open(_Named(raw, suffix), metadata_errors="ignore") as container:
            return _decoded(container)
    except av.FFmpegError as exc:
        raise NoAudio(str(exc)) from exc


def _decoded(container: Any) -> Truth:
    stream = container.streams.best("audio")
    if stream is None or stream.codec_context is None:
        raise NoAudio("no audio stream, or no decoder for it")
    samples: dict[int, int] = {}
    # the demuxer gives up, or PyAV at a stream that was not there before: what came counts
    with suppress(av.FFmpegError, IndexError):
        for packet in container.demux(stream):
            with suppress(av.FFmpegError):
                for frame in packet.decode():
                    samples[frame.sample_rate] = samples.get(frame.sample_rate, 0) + frame.samples
    if not sum(samples.values()):
        raise NoAudio("no samples")
    seconds = sum(Fraction(count, rate) for rate, count in samples.items())
    return Truth(float(seconds), stream.codec_context.codec.name, max(samples))
