"""Segments and their audio become one video: nothing is lost, late, or encoded twice."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonoscene.editing import joiner
from phonoscene.editing.joiner import Joined, join
from phonoscene.editing.opening import TimeLimit
from phonoscene.editing.pictures import examine
from phonoscene.editing.slices import write_slices
from phonoscene.errors import EditingFailed
from tests.support.media import ogg
from tests.support.media.encoding import Codec, encoded
from tests.support.media.segments import (
    KINDS,
    clicking,
    heard,
    looped,
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


def refused(*arguments: Any, **named: Any) -> EditingFailed:
    with pytest.raises(EditingFailed) as caught:
        joined(*arguments, **named)
    assert not arguments[0].exists()
    return caught.value


def short(source: str = "m4a", seconds: float = 0.74, clicks: Sequence[float] = ()) -> bytes:
    form, codec = SOURCES[source]
    return clicking(form, codec, seconds, clicks)


# Nothing drifts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("suffix", KINDS)
def test_each_segment_begins_with_its_audio(tmp_path: Path, suffix: str, source: str) -> None:
    lengths = [41, 73, 33]
    starts = accumulate(lengths[:-1], initial=0)
    audio = short(source, sum(lengths) / FPS - 0.1, [start / FPS + CLICK for start in starts])
    to = tmp_path / f"joined{suffix}"

    made = joined(to, [segment(suffix, n) for n in lengths], audio, lengths, suffix=source)

    video = to.read_bytes()
    shown = pictures(video)
    assert made.frames == sum(lengths)
    assert made.is_sound_copied == ((suffix, source) in COPIED)
    assert [number for _, number in shown] == [n for frames in lengths for n in range(frames)]
    assert all(abs(b - a - 1 / FPS) < 0.0011 for (a, _), (b, _) in pairwise(shown))
    after = CLICK + DELAYS.get(source, 0)
    begins = [time for time, number in shown if number == 0]
    assert heard(video) == pytest.approx([begin + after for begin in begins], abs=NEAR)
    assert clicks_of_slices(audio, lengths, source) == pytest.approx([after] * 3, abs=NEAR)


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
