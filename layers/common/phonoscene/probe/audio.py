"""How long audio is: what FFmpeg decodes of it, held against what its header claims.

A header only claims. Speech services stream WAVs with a placeholder for the length, joined MP3s
keep the first piece's frame count, Ogg and ADTS have no length at all, and an upload that was cut
off still claims the whole. So everything is decoded, as fal decodes it; and where a header claims
more than there is, the end is missing.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import av

from phonoscene.drops.media_facts import AudioFacts
from phonoscene.errors import MediaRefused
from phonoscene.probe.claims import Stream, claimed_seconds, wav_end
from phonoscene.probe.containers import opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from phonoscene.drops.media_facts import SeekableFile

#: What FFmpeg calls a container, and what the web calls it.
FORMATS: Final = MappingProxyType(
    {
        "mp3": "audio/mpeg",
        "wav": "audio/wav",
        "flac": "audio/flac",
        "mov,mp4,m4a,3gp,3g2,mj2": "audio/mp4",
        "aac": "audio/aac",
        "ogg": "audio/ogg",
    }
)
#: FFmpeg's decoders of what these containers usually hold.
DECODERS: Final = frozenset(
    [
        "aac",
        "alac",
        "flac",
        "mp3",
        "mp3float",
        "opus",
        "speex",
        "vorbis",
        "adpcm_ima_wav",
        "adpcm_ms",
        "gsm_ms",
        "pcm_alaw",
        "pcm_mulaw",
        "pcm_f32be",
        "pcm_f32le",
        "pcm_f64be",
        "pcm_f64le",
        "pcm_s16be",
        "pcm_s16le",
        "pcm_s24be",
        "pcm_s24le",
        "pcm_s32be",
        "pcm_s32le",
        "pcm_s8",
        "pcm_u8",
    ]
)

#: Longer than any video that can be made: behind it, the header's word is enough.
MAX_DECODED_SECONDS: Final = 660.0
#: A file that is not decoded by then is refused.
MAX_BUSY_SECONDS: Final = 60.0
#: How much less than its claim a whole file may hold: encoders count their padding, or do not.
CLAIM_TOLERANCE_SECONDS: Final = 0.25
#: How much in a row may be broken: more is no damage that a listener overlooks.
MAX_BROKEN_SECONDS: Final = 1.0


@dataclass
class _Tally:
    """What came out of a file so far; times in seconds."""

    check: Callable[[], None]
    #: Samples by their rate, which may change where streams are chained.
    samples: Counter[int] = field(default_factory=Counter)
    demuxed: float = 0.0
    packet: float = 0.0
    #: When the last packet ends, by the packets' own times.
    end: float = 0.0
    #: Of the first packet the position, in bytes, and the duration.
    first: tuple[int | None, float] | None = None

    @property
    def decoded(self) -> float:
        """The length of all samples."""
        return sum(samples / rate for rate, samples in self.samples.items())

    def demux(self, packet: Any) -> None:
        """Add a packet's duration, and keep what is known of the first."""
        self.packet = float((packet.duration or 0) * packet.time_base)
        self.demuxed += self.packet
        self.end = max(self.end, float((packet.pts or 0) * packet.time_base) + self.packet)
        if self.first is None:
            self.first = packet.pos, self.packet
        self.check()


def probe_audio(file: SeekableFile, suffix: str = "") -> AudioFacts:
    """Decode the audio of a file whose name ends in ``suffix``.

    Raises:
        MediaRefused: ``not_audio``, ``no_audio_stream``, ``unsupported_audio_codec``,
            ``empty_audio``, ``audio_cut_off`` or ``unreadable_audio``.
    """
    if not file.seek(0, 2):
        raise MediaRefused("empty_audio", "has no bytes; upload it again")
    check = partial(_check_time, time.monotonic())
    try:
        with opened(file, FORMATS, DECODERS, suffix, wav_end(file), check) as container:
            return _facts(container, file, check)
    except av.FFmpegError as exc:
        raise MediaRefused("not_audio", NOT_AUDIO) from exc


_BROKEN: Final = (
    f"has more than {MAX_BROKEN_SECONDS:g} s that cannot be decoded; convert it to WAV or FLAC, "
    "and listen to it"
)
_NO_SAMPLE: Final = (
    "has no sound: not one sample can be decoded. If other programs play it, convert it to "
    "WAV or FLAC"
)
_CHANGES: Final = "changes {} in the middle; convert it to WAV or FLAC"
NOT_AUDIO: Final = (
    "is not a readable MP3, WAV, FLAC, M4A, AAC, Ogg or Opus file, whatever its suffix says. "
    "Convert it to one of them with a program that plays it"
)


def _check_time(started: float) -> None:
    if time.monotonic() - started > MAX_BUSY_SECONDS:
        raise MediaRefused(
            "unreadable_audio",
            f"takes over {MAX_BUSY_SECONDS:g} s to decode; convert it to 48 kHz, or trim it",
        )


def _facts(container: Any, file: SeekableFile, check: Callable[[], None]) -> AudioFacts:
    stream = container.streams.best("audio")
    # FFmpeg took the suffix's word for it, and found nothing, or nothing that it knows, such as
    # free-format MP3
    if not container.streams or (stream is None and container.streams.audio):
        raise MediaRefused("not_audio", NOT_AUDIO)
    if stream is None:
        raise MediaRefused("no_audio_stream", "has no sound; drop an audio file")
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    if codec not in DECODERS:
        raise MediaRefused(
            "unsupported_audio_codec",
            f"holds {codec} audio, which is not supported; convert it to MP3, AAC, FLAC or WAV",
        )
    tally = _Tally(check)
    _decode(container, stream, tally)
    seconds = tally.decoded
    if seconds > MAX_DECODED_SECONDS:
        seconds = max(seconds, (container.duration or 0) / av.time_base)
    elif not seconds:
        raise MediaRefused("empty_audio", _NO_SAMPLE)
    else:
        _check_claim(file, container.format.name, stream, tally)
    return AudioFacts(seconds, FORMATS[container.format.name], codec.removesuffix("float"))


def _decode(container: Any, stream: Any, tally: _Tally) -> None:
    """Decode packet by packet; a broken one is passed over, as players do.

    Raises:
        MediaRefused: ``unreadable_audio``, if too many in a row are broken.
    """
    broken = 0.0
    for packet in _packets(container, stream):
        if packet.size:
            tally.demux(packet)
        _check_settings(packet, stream.codec_context)
        try:
            frames = packet.decode()
        except av.FFmpegError as exc:
            broken += tally.packet
            if broken > MAX_BROKEN_SECONDS:
                raise MediaRefused("unreadable_audio", _BROKEN) from exc
            continue
        broken = 0.0
        for frame in frames:
            tally.samples[frame.sample_rate] += frame.samples
        if tally.decoded > MAX_DECODED_SECONDS:
            return


def _check_settings(packet: Any, context: Any) -> None:
    """See that the decoder is set up for a packet: FFmpeg 8 sets up Vorbis once, for all of an Ogg.

    Where the next file was encoded at another quality, it decodes noise.

    Raises:
        MediaRefused: ``unreadable_audio``.
    """
    if context.name != "vorbis" or not packet.has_sidedata("new_extradata"):
        return
    new = bytes(packet.get_sidedata("new_extradata"))
    if _setup(new) != _setup(context.extradata or b""):
        raise MediaRefused("unreadable_audio", _CHANGES.format("its quality"))


def _setup(headers: bytes) -> bytes:
    """What Vorbis's decoder is set up with: the last of three headers, behind the comments."""
    return headers[headers.find(b"\x05vorbis") :]


def _packets(container: Any, stream: Any) -> Any:
    """The stream's packets, and an empty one at the end; a container that breaks off ends there.

    Ogg files may be written one behind the other. Where the next has another rate, codec or number
    of channels, FFmpeg's demuxer ends with one of two errors, and the rest would be left out.
    PyAV 18.1 raises IndexError for a stream that begins in the middle of an Ogg.

    Raises:
        MediaRefused: ``unreadable_audio``, of such an Ogg.
    """
    try:
        yield from container.demux(stream)
    except (av.error.PatchWelcomeError, av.error.ArgumentError) as exc:
        changes = "its sampling rate, its channels or its codec"
        raise MediaRefused("unreadable_audio", _CHANGES.format(changes)) from exc
    except (av.FFmpegError, IndexError):
        return


def _check_claim(file: SeekableFile, container: str, stream: Any, tally: _Tally) -> None:
    duration = float(stream.duration * stream.time_base) if stream.duration else None
    gaps = max(0.0, tally.end - tally.demuxed)
    shape = Stream(container, duration, gaps, tally.demuxed, *(tally.first or (None, 0.0)))
    claimed = claimed_seconds(file, shape)
    if claimed and claimed - tally.demuxed > CLAIM_TOLERANCE_SECONDS:
        raise MediaRefused(
            "audio_cut_off",
            f"holds {tally.demuxed:.2f} s of the {claimed:.2f} s that its header claims: it was "
            "cut off. Upload the whole file, or convert it to correct its header",
        )
