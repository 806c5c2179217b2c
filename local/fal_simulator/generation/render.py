"""Turns sound into a real video with PyAV: the waveform over a slow gradient, with the sound in it.

The picture is drawn at a third of its size and scaled up, which makes five seconds of 1024x576 in
about half a second on two cores. Everything here blocks; call it from a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import av.error
from av.filter import Graph

from local.fal_simulator.outcomes import ModelError
from local.fal_simulator.schema import OutputType, Quality

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.filter.context import FilterContext
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

RATE = 48_000  # Hz of the sound written; the only rate opus and every other codec here accept
AUDIO_FORMATS = ("aac", "flac", "mp3", "mov", "ogg", "wav")
# its usual search takes as long as drawing and encoding the picture
SOUND_OPTIONS = {"aac": {"aac_coder": "fast"}}
SUPPORTED = ["mp3", "wav", "flac", "m4a", "aac", "ogg", "opus"]
IMAGE_FORMATS = (
    *("png_pipe", "apng", "jpeg_pipe", "webp_pipe", "bmp_pipe", "gif", "image2", "webp"),
    "mov",  # AVIF
)
MAX_PIXELS = 4096 * 4096  # a limit of this simulator, not of fal
QUARTER = 90  # degrees


@dataclass(frozen=True, slots=True)
class Container:
    """How one `video_output_type` is written; `sound` is None for silent pictures."""

    suffix: str
    content_type: str
    codec: str
    pixels: str
    sound: str | None
    options: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    quality: tuple[str, dict[Quality, str]] | None = None


_CRF = {Quality.LOW: "32", Quality.MEDIUM: "27", Quality.HIGH: "23", Quality.MAXIMUM: "16"}
_VP9 = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "b": "0"}
# A fixed quantiser spares prores_ks its search: 1 s instead of 4.7 s for five seconds of video.
_PRORES = {"profile": "4444", "flags": "+qscale", "global_quality": str(118 * 8), "threads": "2"}

CONTAINERS = {
    OutputType.X264: Container(
        "mp4",
        "video/mp4",
        "libx264",
        "yuv420p",
        "aac",
        {"preset": "ultrafast"},
        {"movflags": "+faststart"},
        ("crf", _CRF),
    ),
    OutputType.VP9: Container(
        "webm", "video/webm", "libvpx-vp9", "yuv420p", "libopus", _VP9, {}, ("crf", _CRF)
    ),
    OutputType.PRORES: Container(
        "mov", "video/quicktime", "prores_ks", "yuva444p10le", "pcm_s16le", _PRORES
    ),
    OutputType.GIF: Container("gif", "image/gif", "gif", "rgb8", None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One video to make: what it sounds like, what it must measure, where it goes."""

    audio: Path
    output: Path
    container: Container
    width: int
    height: int
    fps: Fraction
    frames: int
    quality: Quality
    mood: str
    first: Path | None = None
    last: Path | None = None


class StoppedError(Exception):
    """The simulator is ending; the half-written video is worthless."""


def audio_seconds(path: Path, enough: float) -> float:
    """Measure by decoding, because headers of mp3 and raw aac only estimate.

    Stops counting once there is more than `enough` and answers what the header says.
    Raises `ModelError` unsupported_audio_format.
    """
    try:
        with _open(path, AUDIO_FORMATS) as source:
            return _count_seconds(source, enough)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ModelError(
            "unsupported_audio_format",
            "Unsupported audio format.",
            field="audio_url",
            ctx={"supported_formats": SUPPORTED},
        ) from error


def image_size(path: Path, field_name: str) -> tuple[int, int]:
    """Decode an image to learn its size, turned as its EXIF orientation says.

    Raises `ModelError` image_load_error.
    """
    try:
        frame = _picture(path)
    except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
        raise ModelError(
            "image_load_error", "Failed to load the image.", field=field_name
        ) from error
    is_on_its_side = abs(frame.rotation) == QUARTER
    return (frame.height, frame.width) if is_on_its_side else (frame.width, frame.height)


def render(shot: Shot, stop: Event) -> None:
    """Write the video; raises `StoppedError` when `stop` is set meanwhile."""
    muxer = shot.container.muxer
    with _open(shot.audio, AUDIO_FORMATS) as source, av.open(shot.output, "w", options=muxer) as to:
        _Rendering(shot, source, to, stop).run()


def _open(path: Path, formats: tuple[str, ...]) -> InputContainer:
    # The whitelist keeps playlists out, which could name other files of this machine.
    options = {"format_whitelist": _demuxers(formats), "protocol_whitelist": "file"}
    return av.open(path, options=options)


def _demuxers(formats: tuple[str, ...]) -> str:
    return ",".join(formats).replace("mov", "mov,mp4,m4a,3gp,3g2,mj2")


def _count_seconds(source: InputContainer, enough: float) -> float:
    seconds = 0.0
    for frame in _sound(source):
        seconds += frame.samples / frame.sample_rate
        if seconds > enough:
            return max(seconds, (source.duration or 0) / av.time_base)
    if not seconds:
        raise ValueError("no sound in it")
    return seconds


def _sound(source: InputContainer) -> Iterator[AudioFrame]:
    """Decode what can be decoded, as players do: damaged packets are skipped.

    Each link of a chained Ogg begins at 0 again; here its frames follow the link before.
    """
    stream, seconds = source.streams.audio[0], Fraction(0)
    unit = stream.time_base or Fraction(1, RATE)
    for packet in _packets(source, stream):
        with contextlib.suppress(av.error.InvalidDataError):
            for frame in packet.decode():
                frame.pts, frame.time_base = round(seconds / unit), unit
                seconds += Fraction(frame.samples, frame.sample_rate)
                yield frame


def _packets(source: InputContainer, stream: AudioStream) -> Iterator[Packet[AudioStream]]:
    """Demux up to the end, or to junk behind it.

    PyAV raises IndexError for a stream that begins in the middle.
    """
    with contextlib.suppress(av.FFmpegError, IndexError):
        yield from source.demux(stream)


def _picture(path: Path) -> VideoFrame:
    with _open(path, IMAGE_FORMATS) as source:
        return next(source.decode(source.streams.video[0]))


class _Rendering:
    """One pass over the sound: decode, draw, encode picture and sound side by side."""

    def __init__(
        self, shot: Shot, source: InputContainer, to: OutputContainer, stop: Event
    ) -> None:
        self._shot = shot
        self._source = source
        self._to = to
        self._stop = stop
        self._video = _video_stream(to, shot)
        self._sound = _sound_stream(to, shot)
        self._graph = _Drawing(shot, source.streams.audio[0], with_sound=self._sound is not None)
        self._stills = self._load_stills()
        self._drawn = 0
        self._samples_left = round(shot.frames / shot.fps * RATE)

    def run(self) -> None:
        for frame in _sound(self._source):
            self._graph.push(frame)
            self._drain()
        self._graph.push(None)  # from here on the sound is padded with silence
        self._drain()
        self._finish()

    def _load_stills(self) -> dict[int, VideoFrame]:
        ends = ((0, self._shot.first), (self._shot.frames - 1, self._shot.last))
        return {index: _picture(path) for index, path in ends if path}

    def _drain(self) -> None:
        for picture in self._graph.pictures(self._shot.frames - self._drawn):
            self._write_picture(picture)
        if self._sound is None:
            return
        for sound in self._graph.sounds():
            if self._samples_left <= 0:
                return
            self._samples_left -= sound.samples
            self._to.mux(self._sound.encode(sound))

    def _write_picture(self, drawn: VideoFrame) -> None:
        if self._stop.is_set():
            raise StoppedError
        still = self._stills.get(self._drawn)
        shot = self._shot
        picture = still.reformat(shot.width, shot.height, shot.container.pixels) if still else drawn
        # a still is RGB, and ProRes notes that of each picture: videos could not be joined
        picture.colorspace, picture.color_range = drawn.colorspace, drawn.color_range
        picture.pts, picture.time_base = self._drawn, 1 / shot.fps
        self._drawn += 1
        self._to.mux(self._video.encode(picture))

    def _finish(self) -> None:
        self._to.mux(self._video.encode(None))
        if self._sound is not None:
            self._to.mux(self._sound.encode(None))


def _video_stream(to: OutputContainer, shot: Shot) -> VideoStream:
    kind = shot.container
    options = dict(kind.options)
    if kind.quality:
        name, values = kind.quality
        options[name] = values[shot.quality]
    stream = cast("VideoStream", to.add_stream(kind.codec, rate=shot.fps, options=options))
    stream.width, stream.height, stream.pix_fmt = shot.width, shot.height, kind.pixels
    return stream


def _sound_stream(to: OutputContainer, shot: Shot) -> AudioStream | None:
    if shot.container.sound is None:
        return None
    options = SOUND_OPTIONS.get(shot.container.sound)
    stream = to.add_stream(shot.container.sound, rate=RATE, options=options)
    return cast("AudioStream", stream)


class _Drawing:
    """The filter graph: sound in; pictures, and the same sound padded with silence, out."""

    def __init__(self, shot: Shot, stream: AudioStream, *, with_sound: bool) -> None:
        self._graph = Graph()
        self._sound_end: FilterContext | None = None
        layout = f"sample_fmts=fltp:sample_rates={RATE}:channel_layouts=stereo"
        self._start = self._graph.add_abuffer(template=stream)
        tail = self._chain(self._start, ("aformat", layout), ("apad", ""))
        if with_sound:
            tail = self._chain(tail, ("asplit", "2"))
            self._sound_end = self._graph.add("abuffersink")
            tail.link_to(self._sound_end, 1, 0)
        self._picture_end = self._draw(tail, shot)
        self._graph.configure()

    def _draw(self, sound: FilterContext, shot: Shot) -> FilterContext:
        small = f"{max(2, shot.width // 3)}:{max(2, shot.height // 3)}"
        size, back, wave = small.replace(":", "x"), *_colours(shot.mood)
        gradient = self._graph.add("gradients", f"{back}:s=64x36:r={shot.fps}:speed=0.02")
        behind = self._chain(gradient, ("scale", f"{small}:flags=fast_bilinear"))
        style = f"mode=cline:draw=full:colors={wave}"
        waves = self._graph.add("showwaves", f"s={size}:rate={shot.fps}:{style}")
        sound.link_to(waves, 0, 0)
        both = self._graph.add("overlay", "format=yuv420")
        behind.link_to(both, 0, 0)
        waves.link_to(both, 0, 1)
        full = f"{shot.width}:{shot.height}:flags=fast_bilinear"
        end = ("format", shot.container.pixels)
        return self._chain(both, ("scale", full), end, ("buffersink", ""))

    def _chain(self, start: FilterContext, *filters: tuple[str, str]) -> FilterContext:
        for name, arguments in filters:
            following = self._graph.add(name, arguments or None)
            start.link_to(following)
            start = following
        return start

    def push(self, frame: AudioFrame | None) -> None:
        self._start.push(frame)

    def pictures(self, limit: int) -> Iterator[VideoFrame]:
        """Yield at most `limit` pictures, and no more than are ready."""
        for _ in range(limit):
            try:
                yield cast("VideoFrame", self._picture_end.pull())
            except (av.BlockingIOError, av.EOFError):
                return

    def sounds(self) -> Iterator[AudioFrame]:
        """Yield the sound that is ready; after the end of the source that is endless silence."""
        while self._sound_end is not None:
            try:
                yield cast("AudioFrame", self._sound_end.pull())
            except (av.BlockingIOError, av.EOFError):
                return


def _colours(mood: str) -> tuple[str, str]:
    """Choose a gradient and two wave colours; the same prompt always gets the same ones."""
    digest = hashlib.sha256(mood.encode()).digest()
    dark = [f"0x{a % 64:02x}{b % 48:02x}{c % 112:02x}" for a, b, c in (digest[:3], digest[3:6])]
    light = [f"0x{a | 128:02x}{b | 96:02x}{c | 160:02x}" for a, b, c in (digest[6:9], digest[9:12])]
    seed = int.from_bytes(digest[12:15])
    return f"c0={dark[0]}:c1={dark[1]}:n=2:seed={seed}", "|".join(light)
