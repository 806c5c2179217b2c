"""Decodes audio into one stream of samples, as slices and encoders need them."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import av
from av.audio.resampler import AudioResampler

from phonoscene.drops.media_facts import SAMPLE_RATE
from phonoscene.editing.opening import packets
from phonoscene.errors import EditingFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from phonoscene.editing.opening import TimeLimit

CHANNELS: Final = 2
#: Bytes of one sample of all channels.
SAMPLE_BYTES: Final = 2 * CHANNELS
#: How far the timestamps of audio may be from the number of its samples, in seconds. Ogg's and
#: WebM's are rounded.
MAX_JUMP_SECONDS: Final = 0.005


def decoded_frames(container: Any, stream: Any, limit: TimeLimit) -> Iterator[Any]:
    """FFmpeg's frames of an audio stream; a broken packet is skipped, as by the probe."""
    for packet in packets(container, stream, limit):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


@dataclass(frozen=True)
class Sound:
    """Decoded audio: its length, the time that its first sample has in the file, and its codec.

    It is steady if every packet has the time at which its samples come, at one rate, and none is
    broken. Players follow the times, and fal follows the samples, as the slices do.
    """

    seconds: Fraction
    start: float
    codec: str
    is_steady: bool


def examine_sound(container: Any, stream: Any, limit: TimeLimit) -> Sound:
    """Decode all of an audio stream, and compare the times of its samples with their number.

    Raises:
        EditingFailed: ``unreadable_audio`` or ``editing_too_slow``.
    """
    # by their rate, which may change where streams are chained
    counts: Counter[int] = Counter()
    start, is_steady = None, True
    for packet in packets(container, stream, limit):
        is_steady &= packet.pts is not None or not packet.size
        try:
            frames = packet.decode()
        except av.FFmpegError:
            is_steady = False
            continue
        for frame in frames:
            start = frame.time if start is None else start
            expected = (start or 0.0) + counts[frame.sample_rate] / frame.sample_rate
            is_steady &= frame.time is not None and abs(frame.time - expected) < MAX_JUMP_SECONDS
            counts[frame.sample_rate] += frame.samples
    if not counts.total():
        raise EditingFailed("unreadable_audio", "The audio has no sample that can be decoded.")
    seconds = sum((Fraction(count, rate) for rate, count in counts.items()), Fraction(0))
    codec = stream.codec_context.codec.canonical_name
    return Sound(seconds, start or 0.0, codec, is_steady and len(counts) == 1)


def samples(frames: Iterable[Any], rate: int = SAMPLE_RATE) -> Iterator[bytes]:
    """Sixteen-bit samples of two channels at ``rate``, as one stream, in pieces of any length.

    The resampler holds back some samples between frames, so nothing is lost where a slice ends.
    FFmpeg would make two channels of one at -3 dB; here both get it as it is.

    Raises:
        EditingFailed: ``unreadable_audio``.
    """
    resampler, form = None, None
    for frame in frames:
        found = frame.format.name, frame.layout.name, frame.sample_rate
        if found != form:  # where streams are chained, another rate may begin
            yield from _resampled(resampler, None)
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            resampler, form = AudioResampler("s16", layout, rate), found
        frame.pts = None  # the samples' number is their time
        yield from _resampled(resampler, frame)
    yield from _resampled(resampler, None)


def _resampled(resampler: AudioResampler | None, frame: Any) -> Iterator[bytes]:
    try:
        made = resampler.resample(frame) if resampler else ()
    except av.FFmpegError as exc:  # a damaged header may claim channels that nothing can mix
        raise EditingFailed(
            "unreadable_audio",
            "The audio's channels cannot be mixed to two. Mix it to stereo, and drop it again.",
        ) from exc
    for one in made:
        channels = one.layout.nb_channels
        piece = bytes(memoryview(one.planes[0])[: one.samples * 2 * channels])
        yield piece if channels == CHANNELS else _doubled(piece)


def _doubled(mono: bytes) -> bytes:
    one = array("h", mono)
    both = array("h", bytes(2 * len(mono)))
    both[0::2] = both[1::2] = one
    return both.tobytes()


def audio_frame(piece: bytes, first: int) -> Any:
    """A frame of what ``samples`` yields, whose first sample is number ``first``."""
    frame = av.AudioFrame("s16", "stereo", len(piece) // SAMPLE_BYTES)
    frame.planes[0].update(piece)
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
    return frame
