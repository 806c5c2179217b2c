"""The lengths of picture and sound are those that FFmpeg wrote, and no bytes raise."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.videos.tracks import Tracks, read_tracks
from phonoscene.videos.video_formats import MAX_INDEX, Examination
from tests.support.media.films import FORMS, FPS, film
from tests.support.media.mp4 import box

if TYPE_CHECKING:
    from collections.abc import Iterable


def tracks_of(parts: Iterable[bytes], asked: str = ".mp4") -> Tracks:
    examination = Examination(asked)
    for part in parts:
        examination.add(part)
    return read_tracks(examination.kind, examination.index)


@pytest.mark.parametrize("form", [".mp4", "moov first", ".mov"])
@pytest.mark.parametrize(("frames", "sound"), [(12, 0.5), (24, 0.5), (12, 1.0), (9, None)])
def test_boxes_name_the_length_of_each_track(form: str, frames: int, sound: float | None) -> None:
    found = tracks_of([film(form, frames, sound)])

    assert found.seconds == pytest.approx(frames / FPS, abs=0.001)
    assert found.sound_seconds == pytest.approx(sound or 0, abs=0.05)
    assert (found.sound_seconds == 0) == (sound is None)


@pytest.mark.parametrize("form", [".webm", ".mkv"])
@pytest.mark.parametrize(("sound", "expected"), [(0.5, None), (None, 0.0)])
def test_matroska_names_one_length_and_whether_there_is_sound(
    form: str, sound: float | None, expected: float | None
) -> None:
    found = tracks_of([film(form, 24, sound)])

    assert found.seconds == pytest.approx(1.0, abs=0.05)
    assert found.sound_seconds == expected


def test_a_fragmented_file_names_no_length_and_a_gif_nothing() -> None:
    assert tracks_of([film("fragmented")]) == (None, None)
    assert tracks_of([film("fragmented", 12, None)]) == (None, 0.0)
    assert tracks_of([film(".gif")], ".gif") == (None, None)


@pytest.mark.parametrize(("more", "is_kept"), [(0, True), (1, False)])
def test_an_index_that_is_longer_than_any_videos_takes_no_memory(
    more: int, *, is_kept: bool
) -> None:
    examination = Examination(".mp4")
    moov = box(b"moov", bytes(MAX_INDEX - 8 + more))

    examination.add(box(b"ftyp", b"isom\0\0\0\0isom") + moov)

    assert len(examination.index) == (len(moov) if is_kept else 0)


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_the_tracks_do_not_depend_on_how_the_bytes_are_cut_up(
    form: str, data: st.DataObject
) -> None:
    raw = film(form)  # its first part is always longer than what names the container
    cuts = data.draw(st.lists(st.integers(min(2048, len(raw)), len(raw)), max_size=6))

    parts = [raw[start:end] for start, end in pairwise([0, *sorted(cuts), len(raw)])]

    assert tracks_of(part for part in parts if part) == tracks_of([raw])


@given(st.sampled_from([".mp4", ".mov", ".webm", ".mkv", ".gif", None]), st.data())
def test_no_bytes_raise(kind: str | None, data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([film(".mp4"), film(".webm"), b""])))
    for at in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=20)):
        raw[at : at + 1] = data.draw(st.binary(max_size=2))

    found = read_tracks(kind, bytes(raw))

    assert all(length is None or length >= 0 for length in found)


@pytest.mark.parametrize("name", [b"moov", b"free"])
def test_an_index_without_a_picture_proves_nothing(name: bytes) -> None:
    assert read_tracks(".mp4", box(name, b"")) == (None, None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (bytes(12) + (1000).to_bytes(4) + (2500).to_bytes(4), 2.5),
        (b"\x01" + bytes(19) + (1000).to_bytes(4) + (2500).to_bytes(8), 2.5),
        (bytes(12) + (0).to_bytes(4) + (2500).to_bytes(4), None),
        (bytes(12) + (1000).to_bytes(4), None),
        (b"\x01", None),
        (b"", None),
    ],
)
def test_a_header_that_names_no_length_leaves_it_unknown(
    header: bytes, seconds: float | None
) -> None:
    named = box(b"hdlr", bytes(8) + b"vide" + bytes(12))
    track = box(b"trak", box(b"mdia", box(b"mdhd", header) + named))

    assert read_tracks(".mp4", box(b"moov", track)) == (seconds, 0.0)
