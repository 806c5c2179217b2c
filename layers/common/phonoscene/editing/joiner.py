"""Joins the videos of a sequence's segments, with the audio that they were made from."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from heapq import merge
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import av

from phonoscene.comparison import MIN_FRAMES
from phonoscene.drops.media_facts import SAMPLE_RATE
from phonoscene.drops.pricing import STEP_FRAMES
from phonoscene.editing.opening import (
    TimeLimit,
    opened_audio,
    opened_video,
    packets,
    whole_pictures,
)
from phonoscene.editing.pictures import check_equal, examine, rate_of
from phonoscene.editing.sound import (
    SAMPLE_BYTES,
    audio_frame,
    decoded_frames,
    examine_sound,
    samples,
)
from phonoscene.errors import EditingFailed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from fractions import Fraction
    from pathlib import Path

    from phonoscene.drops.media_facts import SeekableFile
    from phonoscene.editing.pictures import Pictures
    from phonoscene.editing.sound import Sound

#: Less than the 15 minutes of the function ``edit``, so that the error is in its log. ``submit``
#: does not wait so long: when it asks again, the video is at its key.
MAX_BUSY_SECONDS: Final = 720.0
#: The last segment goes on behind the audio by less than so many frames: lengths are 8k + 1 whole
#: frames, and audio ends within one. Only the shortest video may go on for longer.
MAX_PADDING_FRAMES: Final = STEP_FRAMES
#: Rounding of lengths, in frames.
ROUNDING: Final = 0.05
#: By how much the audio's length may change, in seconds, if a frame is shorter: FFmpeg decodes the
#: last packet to its end, where players stop as the container says. A packet has 1,152 samples.
MAX_PACKET_SECONDS: Final = 0.03


@dataclass(frozen=True)
class Container:
    """How a joined video is written: what is copied as it is, and how other audio is encoded."""

    format: str
    copied: frozenset[str]
    encoder: str
    bit_rate: int | None = None
    encoding: dict[str, str] = field(default_factory=dict)
    muxing: dict[str, str] = field(default_factory=dict)


_FASTSTART: Final = {"movflags": "+faststart"}
#: By suffix. At these bit rates, the encoders are hard to tell from their source. FFmpeg's authors
#: prefer AAC's fast coder at such rates, and it takes half as long.
CONTAINERS: Final = MappingProxyType(
    {
        ".mp4": Container(
            "mp4",
            frozenset({"aac", "mp3"}),
            "aac",
            256_000,
            {"aac_coder": "fast"},
            _FASTSTART,
        ),
        ".webm": Container("webm", frozenset({"opus", "vorbis"}), "libopus", 192_000),
        # ProRes is for editing, where lossless audio is usual and its size is small beside it
        ".mov": Container(
            "mov",
            frozenset({"aac", "mp3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"}),
            "pcm_s16le",
            muxing=_FASTSTART,
        ),
    }
)


@dataclass(frozen=True)
class Joined:
    """A joined video; lengths in seconds."""

    frames: int
    seconds: float
    sound_seconds: float
    is_sound_copied: bool


def join(
    videos: Sequence[SeekableFile],
    frames: Sequence[int],
    fps: float | Fraction,
    audio: SeekableFile,
    to: Path,
    suffix: str = "",
) -> Joined:
    """Write the videos, one behind the other, and the audio to the file ``to``.

    ``frames`` are the frames that each video should have. The suffix of ``to`` chooses the
    container: .mp4, .webm or .mov; ``suffix`` is that of the audio's name. Packets of pictures are
    copied; so are the audio's where the container takes them, otherwise it is encoded once. Audio
    of the videos is left out. The result is read again and counted; after an error there is no
    file. All files are read several times, so they should be on disk.

    Raises:
        EditingFailed: ``unreadable_audio``, ``unreadable_video``, ``segments_differ``,
            ``wrong_frames``, ``wrong_frame_rate``, ``wrong_length``, ``joined_wrong`` or
            ``editing_too_slow``.
        OSError: the file cannot be written.
    """
    try:
        return _joined(videos, frames, rate_of(fps), audio, to, suffix)
    except BaseException:
        to.unlink(missing_ok=True)
        raise


def _joined(
    videos: Sequence[SeekableFile],
    frames: Sequence[int],
    rate: Fraction,
    audio: SeekableFile,
    to: Path,
    suffix: str,
) -> Joined:
    limit = TimeLimit(MAX_BUSY_SECONDS)
    segments = []
    for number, (video, planned) in enumerate(zip(videos, frames, strict=True), 1):
        segments.append(examine(video, planned, rate, limit, number))
    check_equal(segments)
    with opened_audio(audio, limit, suffix) as (container, stream):
        sound = examine_sound(container, stream, limit)
    check_length(sum(frames), rate, sound.seconds)
    return _Work(videos, segments, rate, audio, suffix, sound, to, limit).join()


def check_length(frames: int, rate: Fraction, seconds: Fraction) -> None:
    """See that so many frames belong to audio of so many seconds, as it was planned.

    Raises:
        EditingFailed: ``wrong_length``.
    """
    excess = frames - seconds * rate
    is_padded = excess < MAX_PADDING_FRAMES or frames == MIN_FRAMES
    if not (excess >= -ROUNDING and is_padded):
        raise EditingFailed(
            "wrong_length",
            f"The segments last {float(frames / rate):.3f} s and the audio lasts "
            f"{float(seconds):.3f} s. The picture must be less than {MAX_PADDING_FRAMES} "
            "frames longer, and not shorter. Drop the audio again.",
        )


@dataclass(frozen=True)
class _Work:
    videos: Sequence[SeekableFile]
    segments: Sequence[Pictures]
    rate: Fraction
    audio: SeekableFile
    suffix: str
    sound: Sound
    to: Path
    limit: TimeLimit

    @property
    def container(self) -> Container:
        return CONTAINERS[self.to.suffix]

    def join(self) -> Joined:
        """Write and check the file; audio that cannot be copied after all is encoded."""
        can_copy = self.sound.is_steady and self.sound.codec in self.container.copied
        if can_copy and (joined := self._tried(is_copied=True)):
            return joined
        if joined := self._tried(is_copied=False):
            return joined
        raise EditingFailed(
            "joined_wrong",
            "FFmpeg cannot write the audio into the joined video. Convert it to WAV or FLAC.",
        )

    def _tried(self, *, is_copied: bool) -> Joined | None:
        """The joined file, written and checked; None if its audio is not as it should be."""
        try:
            self._write(is_copied=is_copied)
        except av.FFmpegError as exc:
            if isinstance(exc, OSError):  # of the disk, and not of these files
                raise
            return None
        return self._checked(is_copied=is_copied)

    def _write(self, *, is_copied: bool) -> None:
        options = {"fflags": "+bitexact", **self.container.muxing}
        with ExitStack() as stack:
            out = stack.enter_context(
                av.open(str(self.to), "w", format=self.container.format, options=options)
            )
            with opened_video(self.videos[0], 1, self.limit) as (_, template):
                picture: Any = out.add_stream_from_template(template)
                picture.time_base = 1 / self.rate
                # PyAV drops the profile, and FFmpeg then writes ProRes 4444 under the tag of 422 HQ
                picture.codec_context.codec_tag = template.codec_context.codec_tag
            audio = opened_audio(self.audio, self.limit, self.suffix)
            container, source = stack.enter_context(audio)
            if is_copied:
                track: Any = out.add_stream_from_template(source)
                track.time_base = source.time_base
                sounds = self._copied(container, source, track)
            else:
                track = out.add_stream(
                    self.container.encoder,
                    rate=SAMPLE_RATE,
                    layout="stereo",
                    options=self.container.encoding,
                )
                if self.container.bit_rate:
                    track.bit_rate = self.container.bit_rate
                sounds = self._encoded(container, source, track)
            pictures = stack.enter_context(closing(self._pictures(picture)))
            for packet in merge(pictures, sounds, key=lambda one: one.dts * float(one.time_base)):
                self.limit.check()
                out.mux_one(packet)

    def _pictures(self, to: Any) -> Generator[Any]:
        """The packets of all videos, on one grid: a frame lasts 1, and is decoded in its turn."""
        delay = max(pictures.delay for pictures in self.segments)
        first = 0
        for number, (video, pictures) in enumerate(zip(self.videos, self.segments, strict=True), 1):
            with opened_video(video, number, self.limit) as (container, stream):
                read = whole_pictures(container, stream, self.limit)
                places = zip(pictures.positions, pictures.decoded, strict=True)
                for packet, (at, decoded) in zip(read, places, strict=True):
                    packet.time_base = 1 / self.rate
                    packet.pts, packet.dts = first + at, first + decoded - delay
                    packet.duration, packet.stream = 1, to
                    yield packet
            first += pictures.frames

    def _copied(self, container: Any, source: Any, to: Any) -> Iterator[Any]:
        start = round(self.sound.start / float(source.time_base))
        for packet in packets(container, source, self.limit):
            if not packet.size:
                return
            packet.pts -= start
            packet.dts = packet.pts
            packet.stream = to
            yield packet

    def _encoded(self, container: Any, source: Any, to: Any) -> Iterator[Any]:
        first = 0
        for piece in samples(decoded_frames(container, source, self.limit)):
            yield from to.encode(audio_frame(piece, first))
            first += len(piece) // SAMPLE_BYTES
        yield from to.encode(None)

    def _checked(self, *, is_copied: bool) -> Joined | None:
        """Read the file again: every picture is there and in its place, and so is the audio."""
        frames = sum(segment.frames for segment in self.segments)
        with self.to.open("rb") as file:
            examine(file, frames, self.rate, self.limit)
            with opened_audio(file, self.limit) as (container, stream):
                sound = examine_sound(container, stream, self.limit)
        off = max(abs(float(sound.seconds - self.sound.seconds)), abs(sound.start))
        if off > max(float(1 / self.rate), MAX_PACKET_SECONDS) or not sound.is_steady:
            return None
        seconds = float(frames / self.rate)
        return Joined(frames, seconds, float(sound.seconds), is_sound_copied=is_copied)
