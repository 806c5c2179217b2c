"""Slices, silences and last frames: all of the audio, at its time, and the very last picture."""

from __future__ import annotations

import io
import struct
from array import array
from contextlib import suppress
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonoscene.drops.keys import AUDIO_SUFFIXES
from phonoscene.editing import last_frame as last_frame_module
from phonoscene.editing import silences as silences_module
from phonoscene.editing import slices as slices_module
from phonoscene.editing.last_frame import last_frame
from phonoscene.editing.silences import silences
from phonoscene.editing.slices import write_slices
from phonoscene.editing.sound import samples
from phonoscene.errors import EditingFailed, MediaRefused
from phonoscene.probe.audio import probe_audio
from phonoscene.probe.image import probe_image
from tests.support.media.encoding import Codec, encoded, repeated, samples_of
from tests.support.media.mp4 import moov_first
from tests.support.media.segments import KINDS, audio, number_of, opened, segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RATE, WAV_HEADER, SAMPLE = 48_000, 44, 4
CASES = Path(__file__).with_name("cases")
#: Every format that people drop, and rates and layouts that have to be converted.
SOURCES = {
    "wav": ("wav", Codec("pcm_s16le")),
    "wav, 96 kHz": ("wav", Codec("pcm_s24le", rate=96_000)),
    "wav, mono, 44.1 kHz": ("wav", Codec("pcm_s16le", rate=44_100, layout="mono")),
    "wav, 5.1": ("wav", Codec("pcm_s16le", layout="5.1")),
    "flac": ("flac", Codec("flac", rate=44_100)),
    "mp3": ("mp3", Codec("libmp3lame", rate=44_100)),
    "mp3, VBR, mono": ("mp3", Codec("libmp3lame", layout="mono", options=(("q", "4"),))),
    "m4a": ("mp4", Codec("aac", rate=44_100, options=(("aac_coder", "fast"),))),
    "ogg": ("ogg", Codec("vorbis", rate=44_100)),
    "opus": ("ogg", Codec("libopus")),
}


def slices(raw: bytes, spans: Sequence[tuple[int, int]], suffix: str = "") -> list[bytes]:
    """The samples of the slices, behind their headers."""
    found: list[bytes] = []
    numbers: list[int] = []

    def write(number: int, wav: bytes) -> None:
        numbers.append(number)
        found.append(wav[WAV_HEADER:])

    write_slices(io.BytesIO(raw), spans, write, suffix)
    assert numbers == list(range(len(spans)))
    return found


def tiles(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Spans, one behind the other."""
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    return list(zip(starts, lengths, strict=True))


@cache
def whole(name: str) -> tuple[bytes, bytes]:
    """A source of 0.7 s, and what FFmpeg decodes and resamples of it in one go."""
    form, codec = SOURCES[name]
    raw = encoded(form, codec, 0.7)
    mono = codec.layout == "mono"
    resampler = av.AudioResampler("s16", "mono" if mono else "stereo", RATE)
    with opened(raw) as container:
        frames = [f for one in container.decode(audio=0) for f in resampler.resample(one)]
        frames += resampler.resample(None)
    samples = b"".join(bytes(f.planes[0])[: f.samples * (2 if mono else 4)] for f in frames)
    return raw, doubled(samples) if mono else samples


def doubled(mono: bytes) -> bytes:
    return b"".join(mono[at : at + 2] * 2 for at in range(0, len(mono), 2))


# Slices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=8))
def test_slices_side_by_side_are_the_whole_sample_for_sample(name: str, lengths: list[int]) -> None:
    raw, samples = whole(name)
    have = len(samples) // SAMPLE
    spans = [span for span in tiles(lengths) if span[0] < have]

    made = slices(raw, spans)

    assert [len(one) // SAMPLE for one in made] == [length for _, length in spans]
    together = b"".join(made)
    assert together[: len(samples)] == samples[: len(together)]
    assert not any(together[len(samples) :])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 33_000), st.integers(1, 33_000)), max_size=5).map(sorted))
def test_spans_may_overlap_and_leave_gaps(spans: list[tuple[int, int]]) -> None:
    raw, samples = whole("wav")

    expected = [samples[first * SAMPLE : (first + length) * SAMPLE] for first, length in spans]

    assert [one[: len(e)] for one, e in zip(slices(raw, spans), expected, strict=True)] == expected


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_samples_of_a_wav_are_in_its_slices_as_they_are(layout: str) -> None:
    samples = Random(5).randbytes(2 * RATE)  # noqa: S311 - repeatable noise

    (made,) = slices(audio("wav", Codec("pcm_s16le", layout=layout), samples), [(0, RATE)])

    expected = doubled(samples) if layout == "mono" else samples
    assert made[: len(expected)] == expected


def test_a_slice_is_a_wav_of_two_channels_at_48_khz_that_the_probe_measures() -> None:
    found: list[bytes] = []

    write_slices(io.BytesIO(whole("mp3")[0]), [(100, 12_345)], lambda _, wav: found.append(wav))

    facts = probe_audio(io.BytesIO(found[0]), ".wav")
    assert (facts.seconds, facts.format) == (12_345 / RATE, "audio/wav")
    with opened(found[0]) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.sample_rate, stream.codec_context.channels) == (RATE, 2)


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_audio_and_span_give_the_same_bytes_whatever_else_is_cut(name: str) -> None:
    raw, _ = whole(name)

    alone = slices(raw, [(5_000, 9_000)])

    assert slices(raw, [(0, 1), (77, 4_000), (5_000, 9_000), (6_000, 1)])[2:3] == alone


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp3", Codec("libmp3lame", rate=44_100)),
        ("mp4", Codec("aac", options=(("aac_coder", "fast"),))),
        ("ogg", Codec("libopus")),
    ],
)
def test_a_minute_is_cut_as_a_whole(form: str, codec: Codec) -> None:
    raw = repeated(form, codec, 60.0)
    seconds = probe_audio(io.BytesIO(raw), form).seconds
    length = round(18.375 * RATE)

    made = slices(raw, [(first, length) for first in range(0, round(seconds * RATE), length)])

    assert sum(map(len, made)) // SAMPLE - seconds * RATE < length
    (middle,) = slices(raw, [(3 * length - 5, 10)])
    assert made[2][-5 * SAMPLE :] + made[3][: 5 * SAMPLE] == middle


def test_five_minutes_of_wav_are_cut_where_they_should_be() -> None:
    samples = samples_of(300.0, RATE, 2)
    raw = encoded("wav", Codec("pcm_s16le"), 300.0)
    spans = [(first, 881_000) for first in range(0, 300 * RATE, 881_000)]

    made = slices(raw, spans)

    assert b"".join(made)[: len(samples)] == samples


@pytest.mark.parametrize("path", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_the_slices_of_odd_files_are_as_long_as_the_probe_says(path: Path) -> None:
    if path.suffix not in AUDIO_SUFFIXES:
        return
    raw = path.read_bytes()
    try:
        seconds = probe_audio(io.BytesIO(raw), path.suffix).seconds
    except MediaRefused:
        return  # such audio becomes no job
    last = round(seconds * RATE)

    slices(raw, [(last - 10, 1)], path.suffix)

    with pytest.raises(EditingFailed) as caught:
        slices(raw, [(last + 10, 1)], path.suffix)
    assert caught.value.code == "audio_too_short"


@pytest.mark.parametrize("spans", [[(0, 0)], [(0, -1)], [(10, 5), (9, 5)], [(-1, 5)]])
def test_spans_out_of_order_are_a_mistake(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="out of order"):
        slices(whole("wav")[0], spans)


# Silences -----------------------------------------------------------------------------------------


def toned(parts: Sequence[tuple[float, int]], rate: int = RATE) -> bytes:
    """Samples of one channel: a square tone for some seconds, at some amplitude, and the next."""
    made = array("h")
    for seconds, height in parts:
        period = [height] * 24 + [-height] * 24
        made.extend((period * (1 + round(seconds * rate) // 48))[: round(seconds * rate)])
    return made.tobytes()


LOUD, QUIET = 12_000, 100


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(1.0, LOUD)], []),
        ([(1.0, 0)], [(0.0, 1.0)]),
        ([(1.0, QUIET)], [(0.0, 1.0)]),
        ([(0.5, LOUD), (0.15, 0), (0.5, LOUD)], []),
        ([(0.5, LOUD), (0.25, 0), (0.5, LOUD)], [(0.5, 0.75)]),
        ([(0.5, LOUD), (0.25, QUIET), (0.5, LOUD), (0.4, 0)], [(0.5, 0.75), (1.25, 1.65)]),
        ([(0.3, 0), (0.5, LOUD), (0.3, 0)], [(0.0, 0.3), (0.8, 1.1)]),
    ],
)
@pytest.mark.parametrize("name", ["wav", "mp3", "m4a", "opus"])
def test_silences_are_found_at_their_time(
    name: str, parts: list[tuple[float, int]], expected: list[tuple[float, float]]
) -> None:
    form, codec = SOURCES[name]
    raw = audio(form, Codec(codec.name, layout="mono", options=codec.options), toned(parts))

    found = silences(io.BytesIO(raw))

    # what encoders smear, and fill up at the end
    near = 0.0001 if name == "wav" else 0.04
    assert [silence.start for silence in found] == pytest.approx([a for a, _ in expected], abs=near)
    assert [silence.end for silence in found] == pytest.approx([b for _, b in expected], abs=near)


def test_silence_counts_samples_where_links_of_a_chain_begin_at_zero_again() -> None:
    raw = (CASES / "ogg-chained-three.ogg").read_bytes()
    seconds = probe_audio(io.BytesIO(raw), ".ogg").seconds

    found = silences(io.BytesIO(raw), ".ogg")

    assert all(0 <= silence.start < silence.end <= seconds + 0.001 for silence in found)
    assert all(a.end < b.start for a, b in pairwise(found))


# The last frame -----------------------------------------------------------------------------------


def last_frame_of(video: bytes, frames: int) -> bytes:
    """The last frame of the video of segment 2, at 24 frames per second."""
    return last_frame(io.BytesIO(video), frames, 24, 2)


def shown(png: bytes) -> tuple[int, Any]:
    """The number that a PNG shows, and its size."""
    facts = probe_image(io.BytesIO(png))
    with opened(png) as container:
        (picture,) = container.decode(video=0)
        return number_of(picture), (facts.width, facts.height, facts.format)


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 25, 73])
def test_the_last_frame_is_the_last_that_is_shown(suffix: str, frames: int) -> None:
    png = last_frame_of(segment(suffix, frames), frames)

    assert shown(png) == (frames - 1, (64, 64, "image/png"))
    assert last_frame_of(segment(suffix, frames), frames) == png


@pytest.mark.parametrize(
    ("video", "frames", "code"),
    [
        (segment(".mp4", 25), 33, "wrong_frames"),
        (segment(".mp4", 25, Fraction(25)), 25, "wrong_frame_rate"),
        (segment(".webm", 73)[: len(segment(".webm", 73)) * 2 // 3], 73, "wrong_frames"),
        (moov_first(segment(".mov", 25))[:-200], 25, "wrong_frames"),
    ],
)
def test_a_video_that_could_not_be_joined_is_refused_with_its_last_frame(
    video: bytes, frames: int, code: str
) -> None:
    with pytest.raises(EditingFailed) as caught:
        last_frame_of(video, frames)

    assert (caught.value.code, caught.value.segment) == (code, 2)


@pytest.mark.parametrize("video", [b"", b"<html>", whole("mp3")[0], segment(".mp4", 25)[:900]])
def test_what_is_no_video_has_no_last_frame(video: bytes) -> None:
    with pytest.raises(EditingFailed) as caught:
        last_frame_of(video, 25)

    assert (caught.value.code, caught.value.segment) == ("unreadable_video", 2)


def test_a_video_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_frame_module, "MAX_PIXELS", 64 * 64 - 1)

    with pytest.raises(EditingFailed, match="64 x 64 pixels"):
        last_frame_of(segment(".mp4", 25), 25)


# Bounds -------------------------------------------------------------------------------------------

READERS: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "slices": (slices_module, lambda raw: slices(raw, [(0, 1)])),
    "silences": (silences_module, lambda raw: silences(io.BytesIO(raw))),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("raw", [b"", b"#EXTM3U\nfile:///etc/passwd", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_audio_is_refused(name: str, raw: bytes) -> None:
    with pytest.raises(EditingFailed) as caught:
        READERS[name][1](raw)

    assert caught.value.code in {"unreadable_audio", "audio_too_short"}


@pytest.mark.parametrize("name", READERS)
def test_channels_that_cannot_be_mixed_are_named(name: str) -> None:
    raw = bytearray(encoded("wav", Codec("pcm_s16le", layout="5.1"), 0.3))
    at = raw.index(b"fmt ") + 8
    raw[at : at + 16] = struct.pack("<HHIIHH", 1, 9, RATE, RATE * 18, 18, 16)

    with pytest.raises(EditingFailed, match="Mix it to stereo") as caught:
        READERS[name][1](bytes(raw))

    assert caught.value.code == "unreadable_audio"


@pytest.mark.parametrize("name", READERS)
def test_reading_ends_when_its_time_is_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, read = READERS[name]
    monkeypatch.setattr(module, "MAX_BUSY_SECONDS", -1.0)

    with pytest.raises(EditingFailed) as caught:
        read(whole("mp3")[0])

    assert caught.value.code == "editing_too_slow"


@pytest.mark.parametrize("name", READERS)
def test_a_file_in_which_no_sound_is_found_is_not_searched_for_longer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, read = READERS[name]
    monkeypatch.setattr(module, "MAX_BUSY_SECONDS", -1.0)

    with pytest.raises(EditingFailed) as caught:
        read(whole("wav")[0].replace(b"data", b"junk", 1))

    assert caught.value.code == "editing_too_slow"


def test_decoding_pictures_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_frame_module, "MAX_BUSY_SECONDS", -1.0)

    with pytest.raises(EditingFailed) as caught:
        last_frame_of(segment(".mp4", 25), 25)

    assert caught.value.code == "editing_too_slow"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_broken_audio_is_cut_or_refused(data: st.DataObject) -> None:
    raw = bytearray(whole(data.draw(st.sampled_from(sorted(SOURCES))))[0])
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    with suppress(EditingFailed):
        made = slices(bytes(raw), [(0, 1_000), (1_000, 10)])
        assert [len(one) for one in made] == [1_000 * SAMPLE, 10 * SAMPLE]


def test_a_slice_says_in_both_places_how_long_it_is() -> None:
    found: list[bytes] = []

    write_slices(io.BytesIO(whole("wav")[0]), [(0, 100)], lambda _, wav: found.append(wav), ".wav")

    [wav] = found
    assert int.from_bytes(wav[4:8], "little") == len(wav) - 8
    assert int.from_bytes(wav[40:44], "little") == len(wav) - 44 == 400


@pytest.mark.parametrize("rates", [(44_100, 48_000), (48_000, 44_100), (22_050, 32_000)])
def test_nothing_is_lost_where_audio_goes_on_at_another_rate(rates: tuple[int, int]) -> None:
    frames = []
    for rate in rates:
        frame = av.AudioFrame("s16", "stereo", rate)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = rate
        frames.append(frame)

    assert sum(map(len, samples(frames))) == 2 * RATE * 4


def test_a_slice_that_begins_where_the_audio_ends_is_refused_and_not_made_of_silence() -> None:
    raw = whole("wav")[0]
    end = round(probe_audio(io.BytesIO(raw), ".wav").seconds * RATE)

    slices(raw, [(end - 1, 5)], ".wav")

    with pytest.raises(EditingFailed) as caught:
        slices(raw, [(end, 5)], ".wav")
    assert caught.value.code == "audio_too_short"
