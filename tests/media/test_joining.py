"""Segments and their audio become one video: nothing is lost, late, or encoded twice."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonoscene.editing import joiner
from phonoscene.editing.joiner import Joined, join
from phonoscene.editing.opening import TimeLimit
from phonoscene.editing.pictures import examine, rate_of
from phonoscene.editing.slices import write_slices
from phonoscene.editing.vp9 import is_shown
from phonoscene.errors import EditingFailed
from phonoscene.probe.audio import probe_audio
from tests.support.media import ogg
from tests.support.media.encoding import Codec, encoded
from tests.support.media.mp4 import moov_first
from tests.support.media.recipes import table_of
from tests.support.media.segments import (
    KINDS,
    Look,
    clicking,
    heard,
    looped,
    opened,
    packets,
    pictures,
    segment,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FPS = 24
#: Lossy encoders smear a click over a millisecond or two, and WebM counts milliseconds. An MP3's
#: delay (25 ms) or an AAC's (21 ms) is more.
NEAR = 0.005
#: When a segment's click comes, in seconds: encoders smear what is at the very beginning.
CLICK = 0.25
#: Raw AAC does not say how many samples its encoder put in front, so all readers decode them.
DELAYS = {"aac": 1024 / 44_100}
#: What people drop, by suffix.
SOURCES = {
    "wav": ("wav", Codec("pcm_s16le", rate=44_100)),
    "flac": ("flac", Codec("flac", layout="mono")),
    "mp3": ("mp3", Codec("libmp3lame", rate=44_100)),
    "m4a": ("mp4", Codec("aac", options=(("aac_coder", "fast"),))),
    "aac": ("adts", Codec("aac", rate=44_100, options=(("aac_coder", "fast"),))),
    "ogg": ("ogg", Codec("vorbis")),
    "opus": ("ogg", Codec("libopus")),
}
COPIED = {
    (".mp4", "mp3"),
    (".mp4", "m4a"),
    (".mp4", "aac"),
    (".webm", "ogg"),
    (".webm", "opus"),
    (".mov", "wav"),
    (".mov", "mp3"),
    (".mov", "m4a"),
    (".mov", "aac"),
}


def joined(
    to: Path,
    videos: Sequence[bytes],
    audio: bytes,
    frames: Sequence[int],
    fps: Any = FPS,
    suffix: str = "",
) -> Joined:
    return join([*map(io.BytesIO, videos)], frames, fps, io.BytesIO(audio), to, suffix)


COLOURED = Look(colours=1)


def refused(*arguments: Any, **named: Any) -> EditingFailed:
    with pytest.raises(EditingFailed) as caught:
        joined(*arguments, **named)
    assert not arguments[0].exists()
    return caught.value


def short(source: str = "m4a", seconds: float = 1.0, clicks: Sequence[float] = ()) -> bytes:
    form, codec = SOURCES[source]
    return clicking(form, codec, seconds, clicks)


# Nothing drifts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "source"),
    [
        *((".mp4", source) for source in SOURCES),
        *((".webm", source) for source in ("ogg", "opus", "mp3", "flac")),
        *((".mov", source) for source in ("wav", "flac", "m4a")),
    ],
)
def test_each_segment_begins_with_its_audio(tmp_path: Path, suffix: str, source: str) -> None:
    lengths = [41, 73, 33]
    starts = accumulate(lengths[:-1], initial=0)
    audio = short(source, sum(lengths) / FPS - 0.1, [start / FPS + CLICK for start in starts])
    to = tmp_path / f"joined{suffix}"

    made = joined(to, [segment(suffix, n) for n in lengths], audio, lengths, suffix=f".{source}")

    video = to.read_bytes()
    shown = pictures(video)
    assert made.frames == sum(lengths)
    assert made.is_sound_copied == ((suffix, source) in COPIED)
    assert [number for _, number in shown] == [n for frames in lengths for n in range(frames)]
    assert all(abs(b - a - 1 / FPS) < 0.0011 for (a, _), (b, _) in pairwise(shown))
    after = CLICK + DELAYS.get(source, 0)
    begins = [time for time, number in shown if number == 0]
    assert heard(video) == pytest.approx([begin + after for begin in begins], abs=NEAR)
    assert clicks_of_slices(audio, lengths, f".{source}") == pytest.approx([after] * 3, abs=NEAR)


def test_nothing_drifts_in_ten_minutes(tmp_path: Path) -> None:
    lengths = [192] + [384] * 37  # 384 frames are 16 s and 750 packets
    audio = looped(clicking(*SOURCES["m4a"], 16.0, [8.0 + CLICK]), 1 + 14_400 * 750 // 384)
    to = tmp_path / "joined.mp4"

    made = joined(to, [segment(".mp4", n) for n in lengths], audio, lengths)

    video = to.read_bytes()
    shown = pictures(video)
    assert (made.frames, made.is_sound_copied) == (14_400, True)
    assert [number for _, number in shown] == [n for frames in lengths for n in range(frames)]
    begins = [time for time, number in shown if number == 0]
    assert heard(video) == pytest.approx([begin + CLICK for begin in begins[1:]], abs=NEAR)


def clicks_of_slices(audio: bytes, lengths: Sequence[int], suffix: str) -> list[float]:
    """When each segment's slice clicks, in seconds from its beginning."""
    starts = accumulate((frames * 48_000 // FPS for frames in lengths), initial=0)
    slices: list[bytes] = []
    write_slices(
        io.BytesIO(audio),
        [(first, end - first) for first, end in pairwise(starts)],
        lambda _, wav: slices.append(wav),
        suffix,
    )
    return [click for wav in slices for click in heard(wav)]


# Nothing is encoded twice -------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "source"), sorted(COPIED - {(".mov", "wav")}))
def test_audio_that_the_container_takes_is_copied_bit_for_bit(
    tmp_path: Path, suffix: str, source: str
) -> None:
    audio = encoded(*SOURCES[source], 1.2)
    to = tmp_path / f"joined{suffix}"

    made = joined(to, [segment(suffix, 33)], audio, [33], suffix=f".{source}")

    assert made.is_sound_copied
    without_header = 7 if source == "aac" else 0  # of ADTS, which MP4 has in one place for all
    assert packets(to.read_bytes(), "audio") == [
        packet[without_header:] for packet in packets(audio, "audio", source)
    ]


@pytest.mark.parametrize("kind", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"])
def test_samples_are_copied_into_a_mov(tmp_path: Path, kind: str) -> None:
    audio = encoded("wav", Codec(kind), 1.0)
    to = tmp_path / "joined.mov"

    made = joined(to, [segment(".mov", 25)], audio, [25])

    assert made.is_sound_copied
    copied, source = packets(to.read_bytes(), "audio"), packets(audio, "audio")
    assert b"".join(copied) == b"".join(source)


@pytest.mark.parametrize("suffix", KINDS)
def test_pictures_are_copied_bit_for_bit_and_described_as_they_were(
    tmp_path: Path, suffix: str
) -> None:
    videos = [segment(suffix, 41, look=COLOURED), segment(suffix, 33, look=COLOURED)]
    to = tmp_path / f"joined{suffix}"

    joined(to, videos, short(seconds=3.0), [41, 33])

    copied = to.read_bytes()
    assert packets(copied, "video") == [p for video in videos for p in packets(video, "video")]
    one, all_of_them = (
        examine(io.BytesIO(video), frames, Fraction(FPS), TimeLimit(60))
        for video, frames in ((videos[0], 41), (copied, 74))
    )
    assert one.properties == all_of_them.properties
    assert one.properties["colour space"] == 1


def test_the_videos_of_these_tests_have_what_makes_joining_hard() -> None:
    film, web = segment(".mp4", 73), segment(".webm", 73)

    with opened(film) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert times != sorted(times)  # decoded before they are shown
    assert [p for p in packets(web, "video") if p[-1] >> 5 == 0b110]  # pictures never shown


def test_a_picture_that_is_never_shown_is_kept_and_not_counted(tmp_path: Path) -> None:
    video, whole = apart(segment(".webm", 73)), packets(segment(".webm", 73), "video")
    to = tmp_path / "joined.webm"
    assert len(packets(video, "video")) > len(whole)

    made = joined(to, [video, video], short(seconds=6.0), [73, 73])

    assert made.frames == 146
    assert [number for _, number in pictures(to.read_bytes())] == [*range(73), *range(73)]
    assert packets(to.read_bytes(), "video") == whole * 2


def apart(video: bytes) -> bytes:
    """A WebM in which each frame of a superframe is a packet of its own, as some muxers write."""
    file = io.BytesIO()
    with (
        opened(video) as source,
        av.open(file, "w", format="webm", options={"fflags": "-autobsf"}) as out,
    ):
        stream = source.streams.video[0]
        to = out.add_stream_from_template(stream)
        split = av.BitStreamFilterContext("vp9_superframe_split", stream, to)
        for packet in source.demux(stream):
            for one in split.filter(packet if packet.size else None):
                one.stream = to
                out.mux_one(one)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_segment_whose_first_picture_is_missing_is_refused(tmp_path: Path, suffix: str) -> None:
    file = io.BytesIO()
    with opened(segment(suffix, 26)) as source, av.open(file, "w", format=suffix[1:]) as out:
        stream = source.streams.video[0]
        to = out.add_stream_from_template(stream)
        for packet in list(source.demux(stream))[1:-1]:
            packet.stream = to
            out.mux_one(packet)

    with pytest.raises(EditingFailed) as caught:
        joined(tmp_path / f"joined{suffix}", [file.getvalue()], short(seconds=1.0), [25])

    assert caught.value.code == "unreadable_video"


@pytest.mark.parametrize("suffix", KINDS)
def test_the_same_segments_make_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    made = []
    for name in ("a", "b"):
        to = tmp_path / f"{name}{suffix}"
        joined(to, [segment(suffix, 25)] * 2, short(seconds=2.0), [25, 25])
        made.append(to.read_bytes())

    assert made[0] == made[1]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_player_can_begin_before_it_has_the_whole_file(tmp_path: Path, suffix: str) -> None:
    to = tmp_path / f"joined{suffix}"

    joined(to, [segment(suffix, 25)], short(seconds=1.0), [25])

    assert 0 < to.read_bytes().find(b"moov") < to.read_bytes().find(b"mdat")


@pytest.mark.parametrize("fps", [1, 12.5, 23.976, 24.00001234, 30_000 / 1001, 59.94, 60])
def test_any_frame_rate_is_one_grid(tmp_path: Path, fps: Any) -> None:
    rate = rate_of(fps)
    audio = short("wav", float(50 / rate))
    to = tmp_path / "joined.mp4"

    made = joined(to, [segment(".mp4", 25, rate)] * 2, audio, [25, 25], fps)

    assert made.seconds == pytest.approx(float(50 / rate))
    with opened(to.read_bytes()) as container:
        stream = container.streams.video[0]
        times = [packet.pts * packet.time_base for packet in container.demux(stream) if packet.size]
    assert sorted(times) == [number / rate for number in range(50)]


# What does not fit is refused ---------------------------------------------------------------------

#: Property, what the third segment has otherwise, and the two values in the message.
DIFFERENT = {
    "width": (Look(size=96), "64", "96"),
    "pixel format": (Look(pixels="yuv444p"), "yuv420p", "yuv444p"),
    "colour range": (COLOURED, "0", "1"),
    "decoder set-up": (Look(options=(("crf", "40"),)), "014d400affe1", "014d400affe1"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_segments_that_differ_are_named_with_the_property_and_both_values(
    tmp_path: Path, name: str
) -> None:
    other, ours, theirs = DIFFERENT[name]
    videos = [segment(".mp4", 25), segment(".mp4", 25), segment(".mp4", 25, look=other)]

    error = refused(tmp_path / "joined.mp4", videos, short(seconds=3.0), [25] * 3)

    assert (error.code, error.segment) == ("segments_differ", 3)
    assert f"Segment 3 differs from segment 1 in {name}: {theirs}" in str(error)
    assert f" and {ours}" in str(error)


def test_segments_of_different_codecs_are_not_joined(tmp_path: Path) -> None:
    videos = [segment(".mp4", 25), segment(".webm", 25)]

    error = refused(tmp_path / "joined.mp4", videos, short(seconds=2.0), [25, 25])

    assert (error.code, error.segment) == ("segments_differ", 2)
    assert "vp9 and h264" in str(error)


def test_a_first_segment_that_differs_from_all_others_is_the_one_that_is_named(
    tmp_path: Path,
) -> None:
    videos = [segment(".mp4", 25, look=Look(size=96)), *[segment(".mp4", 25)] * 2]

    error = refused(tmp_path / "joined.mp4", videos, short(seconds=3.0), [25] * 3)

    assert (error.code, error.segment) == ("segments_differ", 1)


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("frames", [24, 26, 33])
def test_a_segment_that_is_longer_or_shorter_than_planned_is_named(
    tmp_path: Path, suffix: str, frames: int
) -> None:
    videos = [segment(suffix, 25), segment(suffix, frames), segment(suffix, 25)]

    error = refused(tmp_path / f"joined{suffix}", videos, short(seconds=3.0), [25] * 3)

    assert (error.code, error.segment) == ("wrong_frames", 2)
    assert f"segment 2 has {frames} frames instead of 25" in str(error)


def test_a_segment_of_another_frame_rate_is_named(tmp_path: Path) -> None:
    videos = [segment(".mp4", 25), segment(".mp4", 25, Fraction(25))]

    error = refused(tmp_path / "joined.mp4", videos, short(seconds=2.0), [25, 25])

    assert (error.code, error.segment) == ("wrong_frame_rate", 2)


@pytest.mark.parametrize(
    "video",
    [
        b"",
        b"\0",
        b"<!doctype html><title>Not found</title>",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        short("mp3"),
        short("m4a"),
        short("wav"),
    ],
)
def test_a_segment_that_is_no_video_is_named(tmp_path: Path, video: bytes) -> None:
    error = refused(
        tmp_path / "joined.mp4", [segment(".mp4", 25), video], short(seconds=2.0), [25, 25]
    )

    assert (error.code, error.segment) == ("unreadable_video", 2)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_segment_that_was_cut_off_is_never_joined(tmp_path: Path, suffix: str) -> None:
    whole = segment(suffix, 25)
    to = tmp_path / f"joined{suffix}"
    for eighths in range(8):
        cut = whole[: len(whole) * eighths // 8]

        error = refused(to, [whole, cut], short(seconds=2.0), [25, 25])

        assert error.segment == 2


@pytest.mark.parametrize("missing", [1, 10, 100])
def test_a_segment_whose_last_picture_was_cut_off_is_named(tmp_path: Path, missing: int) -> None:
    whole = segment(".mp4", 25)
    cut = moov_first(whole)[:-missing]

    error = refused(tmp_path / "joined.mp4", [whole, cut], short(seconds=2.0), [25, 25])

    assert (error.code, error.segment) == ("wrong_frames", 2)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_broken_segments_are_joined_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    broken = bytearray(segment(suffix, 25))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    to = tmp_path_factory.getbasetemp() / f"broken{suffix}"

    try:
        made = joined(to, [segment(suffix, 25), bytes(broken)], SHORT, [25, 25])
    except EditingFailed:
        assert not to.exists()
    else:
        assert made.frames == len(packets(to.read_bytes(), "video")) == 50


SHORT = short(seconds=2.0)


@pytest.mark.parametrize("excess", [*range(-2, 10), -0.5, 0.5, 7.1, 7.6, 7.97, 8.1])
def test_the_picture_is_less_than_eight_frames_longer_than_the_audio_and_not_shorter(
    tmp_path: Path, excess: float
) -> None:
    audio, to = short("wav", (50 - excess) / FPS), tmp_path / "joined.mp4"
    videos = [segment(".mp4", 25)] * 2

    if 0 <= excess < 8:
        made = joined(to, videos, audio, [25, 25])
        assert abs(made.sound_seconds - (50 - excess) / FPS) < 1 / FPS
    else:
        assert refused(to, videos, audio, [25, 25]).code == "wrong_length"


# The audio is not what it seems -------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_audio_whose_timestamps_do_not_count_its_samples_is_encoded(
    tmp_path: Path, suffix: str
) -> None:
    # each link of a chain begins at 0 again, and players disagree about the second
    link = short("opus", 1.0, [CLICK])
    audio, to = ogg.chained(link, link), tmp_path / f"joined{suffix}"

    made = joined(to, [segment(suffix, 25)] * 2, audio, [25, 25])

    assert not made.is_sound_copied
    assert heard(to.read_bytes()) == pytest.approx([CLICK, 1 + CLICK], abs=NEAR)


def test_audio_with_a_gap_in_its_timestamps_is_heard_as_its_samples_are_cut(
    tmp_path: Path,
) -> None:
    piece = clicking(*SOURCES["m4a"], 2.0, [CLICK, 1 + CLICK])
    audio, to = looped(piece, len(packets(piece, "audio")), gap_at=40), tmp_path / "joined.mp4"
    assert heard(audio)[1] > 1.2 + CLICK  # a player waits

    made = joined(to, [segment(".mp4", 25)] * 2, audio, [25, 25])

    assert not made.is_sound_copied
    assert heard(to.read_bytes()) == pytest.approx([CLICK, 1 + CLICK], abs=NEAR)


def test_audio_that_the_container_refuses_after_all_is_encoded(tmp_path: Path) -> None:
    # MPEG 2.5, which MP4 has no name for
    audio = clicking("mp3", Codec("libmp3lame", rate=8_000), 1.2, [CLICK])
    to = tmp_path / "joined.mp4"

    made = joined(to, [segment(".mp4", 33)], audio, [33])

    assert not made.is_sound_copied
    assert heard(to.read_bytes()) == pytest.approx([CLICK], abs=NEAR)


@pytest.mark.parametrize("audio", [b"", b"no audio", segment(".webm", 1)[:300]])
def test_what_is_no_audio_is_refused(tmp_path: Path, audio: bytes) -> None:
    error = refused(tmp_path / "joined.mp4", [segment(".mp4", 25)], audio, [25])

    assert (error.code, error.segment) == ("unreadable_audio", None)


# Bounds and interruptions -------------------------------------------------------------------------


def test_a_full_disk_is_no_fault_of_the_files_and_nothing_is_left(tmp_path: Path) -> None:
    to = tmp_path / "joined.mp4"
    to.symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left on device"):
        joined(to, [segment(".mp4", 25)], short(), [25])

    assert not to.is_symlink()


def test_a_join_ends_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner, "MAX_BUSY_SECONDS", -1.0)

    error = refused(tmp_path / "joined.mp4", [segment(".mp4", 25)], short(), [25])

    assert error.code == "editing_too_slow"


class Breaking(io.BytesIO):
    """A file whose reads fail, from the so many-th on."""

    def __init__(self, raw: bytes, reads: int) -> None:
        super().__init__(raw)
        self.reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise ConnectionError("S3 is gone")
        return super().read(size)


@pytest.mark.parametrize("which", ["video", "audio"])
def test_an_error_of_a_read_is_raised_as_it_is_whenever_it_comes(
    tmp_path: Path, which: str
) -> None:
    raw = {"video": segment(".mp4", 25), "audio": short("wav", 1.0)}
    to = tmp_path / "joined.mp4"
    for reads in range(100):
        files = {
            name: Breaking(one, reads) if name == which else io.BytesIO(one)
            for name, one in raw.items()
        }
        try:
            join([files["video"]], [25], FPS, files["audio"], to)
        except ConnectionError:
            assert not to.exists()
        else:
            break
    assert 2 < reads < 99


#: Where FFmpeg leaves out some samples at the beginning, or none although it should.
DELAYED = [
    *(("mp3", mux) for mux in ("CBR", "CBR without Xing", "VBR", "VBRI", "starts in mid-frame")),
    *(("m4a", mux) for mux in ("fragmented", "edit at the beginning", "edit at the end")),
    *(("aac", mux) for mux in ("HLS segments", "checksums", "starts in mid-frame")),
    *(("ogg", f"opus, pre-skip {samples}") for samples in (0, 312, 30_000)),
    *(("ogg", f"{codec}, from the middle") for codec in ("opus", "vorbis")),
]


@pytest.mark.parametrize(("form", "mux"), DELAYED)
def test_copied_audio_decodes_to_the_samples_of_the_slices(
    tmp_path: Path, form: str, mux: str
) -> None:
    (recipe,) = (one for one in table_of(form, "muxes", 1.0) if one.mux == mux)
    raw, suffix = recipe.make(), ".webm" if form == "ogg" else ".mp4"
    frames = ceil(probe_audio(io.BytesIO(raw), f".{form}").seconds * FPS)
    to = tmp_path / f"joined{suffix}"

    made = joined(to, [segment(suffix, frames)], raw, [frames], suffix=f".{form}")

    assert made.is_sound_copied
    copied, source = sliced(to.read_bytes(), ""), sliced(raw, f".{form}")
    assert any(source)
    assert copied == source


def sliced(media: bytes, suffix: str) -> bytes:
    """The first 0.95 s: a container may hold a last packet that a source leaves out in part."""
    made: list[bytes] = []
    write_slices(io.BytesIO(media), [(0, 45_600)], lambda _, wav: made.append(wav), suffix)
    return made[0]


@pytest.mark.parametrize(
    ("packet", "is_one"),
    [
        ([0x82, *[0] * 20], True),
        ([0x80, *[0] * 20], False),
        ([0x88, *[0] * 20], True),  # it shows one that was stored
        ([0xB1, *[0] * 20], True),  # profile 3 has a bit more before
        ([0xB0, *[0] * 20], False),
        ([0x80, 0, 0x82, 0, 0xC1, 2, 2, 0xC1], True),
        ([0x80, 0, 0x80, 0, 0xC1, 2, 2, 0xC1], False),
        ([0x82, *[0] * 20, 0xC0], True),  # it only ends like an index
        ([], False),
    ],
)
def test_a_packet_of_vp9_is_a_picture_where_a_frame_of_it_is_shown(
    packet: list[int], *, is_one: bool
) -> None:
    assert is_shown(bytes(packet)) is is_one
