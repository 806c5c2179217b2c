"""A video is what its bytes say, and whole where they say so."""

from __future__ import annotations

import io
import itertools
import struct
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import Mock

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.errors import CopyFailed
from phonoscene.videos import video_formats
from phonoscene.videos.video_formats import (
    CONTENT_TYPES,
    CUT_OFF,
    FEWER_BYTES,
    HEAD,
    OTHER_CONTAINER,
    Examination,
    check_container,
    kind_of,
    suffix_of,
)
from tests.support.media.mp4 import box, boxes

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIXES = {
    "X264 (.mp4)": ".mp4",
    "VP9 (.webm)": ".webm",
    "PRORES4444 (.mov)": ".mov",
    "GIF (.gif)": ".gif",
}
ASKED = tuple(SUFFIXES.values())


@cache
def video_of(form: str, codec: str = "mpeg4", pixels: str = "yuv420p", **options: str) -> bytes:
    """Three frames, as FFmpeg writes them; nothing in the file depends on when it was made."""
    file = io.BytesIO()
    options = {"fflags": "+bitexact", **options}
    with av.open(file, "w", format=form, options=options) as out:
        stream: Any = out.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for n in range(3):
            frame = av.VideoFrame(64, 48, "rgb24")
            size = frame.planes[0].buffer_size
            frame.planes[0].update(bytes((i * (n + 7)) & 255 for i in range(size)))
            out.mux(stream.encode(frame.reformat(format=pixels)))
        out.mux(stream.encode(None))
        out.close()
    return file.getvalue()


FILMS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "mp4": (".mp4", lambda: video_of("mp4")),
    "mp4 in fragments": (".mp4", lambda: video_of("mp4", movflags="frag_every_frame+empty_moov")),
    "mov": (".mov", lambda: video_of("mov")),
    "webm": (".webm", lambda: video_of("webm", "libvpx-vp9")),
    "matroska": (".mkv", lambda: video_of("matroska")),
    "gif": (".gif", lambda: video_of("gif", "gif", "rgb8")),
}


def after_examination(
    whole: bytes, asked: str = ".mp4", reported: int = 0, cuts: tuple[int, ...] = ()
) -> Examination:
    """A file that came in pieces, which end at these places."""
    examination = Examination(asked, reported)
    for start, end in itertools.pairwise((0, *cuts, len(whole))):
        examination.add(bytearray(whole[start:end]))
    return examination


def element(name: str, body: bytes, width: int = 1) -> bytes:
    """An EBML element whose size is written in so many bytes."""
    return bytes.fromhex(name) + (1 << 7 * width | len(body)).to_bytes(width) + body


def ebml(doctype: bytes, before: bytes = b"") -> bytes:
    return element("1A45DFA3", before + element("4282", doctype), 4)


def brand(*names: bytes, name: bytes = b"ftyp") -> bytes:
    return box(name, names[0] + struct.pack(">I", 512) + b"".join(names))


MOVIE = box(b"moov", b"\0" * 40) + box(b"mdat", b"frames")
FAR: Final = 0x1_0000_0000


# What it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "suffix"), SUFFIXES.items())
def test_the_video_is_named_after_what_was_asked_for(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix
    assert suffix in CONTENT_TYPES


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", FILMS)
def test_what_ffmpeg_writes_is_known_whatever_was_asked_for(name: str, asked: str) -> None:
    kind, make = FILMS[name]

    assert check_container(make()[:HEAD], asked) == kind


@pytest.mark.parametrize("first", ["moov", "mdat", "free", "skip", "wide", "pnot", "moof", "styp"])
@pytest.mark.parametrize("asked", [".mp4", ".mov"])
def test_a_video_without_brands_is_taken_for_what_was_asked_for(first: str, asked: str) -> None:
    head = box(first.encode(), b"\0" * 40) + MOVIE

    assert kind_of(head, asked) == asked


def test_a_video_without_brands_that_was_not_asked_for_is_quicktime() -> None:
    assert kind_of(MOVIE, ".webm") == ".mov"


@pytest.mark.parametrize("filler", [b"", box(b"free", b"\0" * 3000), box(b"wide", b"")])
@pytest.mark.parametrize(
    ("brands", "mp4", "mov"),
    [
        ([b"isom"], ".mp4", ".mp4"),
        ([b"qt  "], ".mov", ".mov"),
        ([b"qt  ", b"\0\0\0\0"], ".mov", ".mov"),
        ([b"qt  ", b"mp42"], ".mp4", ".mov"),
        ([b"isom", b"qt  "], ".mp4", ".mov"),
    ],
)
def test_brands_decide_between_mp4_and_quicktime_wherever_they_are(
    filler: bytes, brands: list[bytes], mp4: str, mov: str
) -> None:
    head = filler + brand(*brands) + MOVIE

    assert (kind_of(head, ".mp4"), kind_of(head, ".mov")) == (mp4, mov)


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.parametrize("filler", [0, 80, 126, 3000])
def test_a_document_type_is_found_behind_fillers(filler: int, width: int) -> None:
    if filler >= (1 << 7 * width) - 1:
        pytest.skip("its size cannot be written so")
    void = element("EC", bytes(filler), width)

    assert kind_of(ebml(b"webm", void), ".webm") == ".webm"
    assert kind_of(ebml(b"matroska", void), ".webm") == ".mkv"
    assert kind_of(ebml(b"webm\0\0", void), ".webm") == ".webm"


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "head",
    [
        b"GIF",
        b"GIF90a",
        b"<!DOCTYPE html>",
        b"<html>" * 9,
        b'{"detail": "Not Found"}',
        b"\x00",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x00\x00\x00AVI ",
        b"\x00" * 64,
        b"\x00" + MOVIE,
        b"\x1f\x8b\x08\x00" + MOVIE,
        b"\x1a\x45\xdf\xa3" + bytes(60),
        ebml(b"book"),
        b"\0\0\0\4moov",
        b"\0\0\0\1moov" + bytes(8),
        b"\0\0\0\1mdat\0\0",
        b"\0\0\0\x08meta",
    ],
)
def test_what_is_no_known_video_may_be_one_the_next_time(asked: str, head: bytes) -> None:
    assert kind_of(head, asked) is None
    with pytest.raises(CopyFailed, match="no known video"):
        check_container(head, asked)


def test_an_empty_file_may_be_whole_the_next_time() -> None:
    with pytest.raises(CopyFailed, match="empty"):
        check_container(b"", ".mp4")


# Whether it is whole -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILMS)
def test_a_whole_video_has_no_flaw_but_what_was_asked_for(name: str) -> None:
    kind, make = FILMS[name]
    whole = make()

    assert after_examination(whole, kind, len(whole)).flaws == frozenset()
    other = ".gif" if kind != ".gif" else ".mp4"
    assert after_examination(whole, other, len(whole)).flaws == {OTHER_CONTAINER}


def ends_of_pieces(whole: bytes, name: str) -> set[int]:
    """Where a video may end and look whole by its outer sizes: a box further, nothing is missed.

    A GIF looks whole where a byte happens to be its trailer's.
    """
    if name == "gif":
        return {n + 1 for n, byte in enumerate(whole) if byte == 0x3B}
    if name not in ("mp4", "mov", "mp4 in fragments"):
        return {len(whole)}
    ends = list(itertools.accumulate(8 + len(body) for _, body in boxes(whole)))
    names = [kind for kind, _ in boxes(whole)]
    return {
        end
        for n, end in enumerate(ends)
        if b"mdat" in names[: n + 1] and {b"moov", b"moof"} & set(names[: n + 1])
    }


@pytest.mark.parametrize("name", FILMS)
def test_a_video_that_is_cut_anywhere_is_cut_off(name: str) -> None:
    kind, make = FILMS[name]
    whole = make()
    looks_whole = ends_of_pieces(whole, name)
    places = {*range(1, 200), *range(200, len(whole), 7), *range(len(whole) - 40, len(whole) + 1)}
    at_ends = {end + n for end in looks_whole for n in range(-17, 18)}

    for length in sorted(places | {n for n in at_ends if 0 < n <= len(whole)}):
        examination = after_examination(whole[:length], kind)
        is_known = kind_of(whole[:length], kind) is not None
        cut = examination.is_cut
        assert cut is (length not in looks_whole) or not is_known, length


@pytest.mark.parametrize("name", FILMS)
@given(data=st.data())
def test_in_whatever_pieces_a_video_comes_it_is_judged_alike(name: str, data: Any) -> None:
    kind, make = FILMS[name]
    whole = make()
    length = data.draw(st.integers(1, len(whole)))
    first = min(length, 200)  # it is recognised by what comes first
    cuts = data.draw(st.lists(st.integers(first, length), max_size=12).map(sorted))

    pieces = after_examination(whole[:length], kind, cuts=tuple(cuts))

    assert pieces.flaws == after_examination(whole[:length], kind).flaws
    assert pieces.length == length


def test_a_video_that_comes_byte_by_byte_is_followed() -> None:
    whole = brand(b"isom") + box(b"free", b"") + MOVIE + box(b"free", b"1")

    examination = after_examination(whole, cuts=tuple(range(40, len(whole))))

    assert examination.flaws == frozenset()


@pytest.mark.parametrize(
    ("body", "is_cut"),
    [
        (MOVIE, False),
        (box(b"mdat", b"frames") + box(b"moov", b""), False),
        (box(b"mdat", b"frames"), True),
        (box(b"moov", b""), True),
        (box(b"free", b"") * 3, True),
        (box(b"moof", b"") + box(b"mdat", b""), False),
        (box(b"moov", b"") + struct.pack(">I4s", 0, b"mdat") + b"frames", False),
        (struct.pack(">I4s", 0, b"mdat") + b"frames" + box(b"moov", b""), True),
        (box(b"moov", b"") + struct.pack(">I4sQ", 1, b"mdat", 22) + b"frames", False),
        (box(b"moov", b"") + struct.pack(">I4sQ", 1, b"mdat", 23) + b"frames", True),
        (box(b"moov", b"") + struct.pack(">I4sQ", 1, b"mdat", FAR) + b"frames", True),
        (MOVIE + b"\0\0\0\0", False),
        (MOVIE + bytes(4096), False),
        (MOVIE + b"\0\0\0", True),
        (MOVIE + b"\0\0\0\x18fr", True),
        (MOVIE + box(b"\xa9too", b"Lavf"), False),
        (MOVIE + b"\x01\x02\x03\x04\x05\x06\x07\x08" * 9, False),
        (MOVIE + box(b"moov", b"\0" * 40)[:-1], True),
    ],
)
def test_boxes_end_with_their_file_or_the_video_is_cut_off(body: bytes, is_cut: bool) -> None:
    assert after_examination(body).is_cut is is_cut


@pytest.mark.parametrize(
    ("body", "is_cut"),
    [
        (element("18538067", b"cluster"), False),
        (element("18538067", b"cluster", 8), False),
        (element("18538067", b"cluster", 8)[:-1], True),
        (b"\x18\x53\x80\x67\xff" + b"of a live stream", False),
        (b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + b"of a live stream", False),
        (element("EC", bytes(9)) + element("18538067", b"cluster"), False),
        (element("EC", bytes(9)), True),
        (b"", True),
        (element("18538067", b"cluster") + b"\x80 junk behind it is no element", False),
        (element("18538067", b"cluster") + bytes(30), False),
    ],
)
def test_a_segment_ends_with_its_file_or_the_video_is_cut_off(body: bytes, is_cut: bool) -> None:
    assert after_examination(ebml(b"webm") + body, ".webm").is_cut is is_cut


@pytest.mark.parametrize("reported", [-1, 0, 1, len(MOVIE)])
def test_more_bytes_than_reported_are_no_flaw(reported: int) -> None:
    assert after_examination(MOVIE, reported=reported).flaws == frozenset()


def test_fewer_bytes_than_reported_are_a_flaw() -> None:
    assert after_examination(MOVIE, reported=len(MOVIE) + 1).flaws == {FEWER_BYTES}
    assert after_examination(MOVIE[:-1], reported=len(MOVIE)).flaws == {FEWER_BYTES, CUT_OFF}


def test_a_video_that_is_cut_off_is_refused_until_it_is_better_than_none() -> None:
    strict, lenient = Examination(".mp4"), Examination(".mp4", takes_cut=True)
    for examination in (strict, lenient):
        examination.add(MOVIE[:-1])

    lenient.check()
    with pytest.raises(CopyFailed, match="cut off"):
        strict.check()


# Any bytes ---------------------------------------------------------------------------------------


BEGINNINGS = st.sampled_from(
    [b"", b"GIF89a", b"\x1a\x45\xdf\xa3", ebml(b"webm"), b"\0\0\0\x08moov", brand(b"qt  "), MOVIE]
)


@given(start=BEGINNINGS, body=st.binary(max_size=300), asked=st.sampled_from(ASKED))
def test_any_bytes_are_judged(start: bytes, body: bytes, asked: str) -> None:
    whole = start + body

    examination = after_examination(whole, asked, cuts=tuple(range(1, len(whole), 50)))

    assert kind_of(whole, asked) in {None, *CONTENT_TYPES}
    assert examination.flaws <= {FEWER_BYTES, CUT_OFF, OTHER_CONTAINER}
    assert examination.length == len(whole)


def test_a_file_of_the_smallest_boxes_is_followed_so_far_and_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Mock(side_effect=video_formats.read_box)
    monkeypatch.setattr(video_formats, "read_box", read)
    monkeypatch.setattr(video_formats, "MAX_BOXES", 500)
    body = box(b"free", b"") * 100_000

    examination = Examination(".mp4")
    for _ in range(3):
        examination.add(body)

    assert read.call_count <= HEAD // 8 + 1 + 501 + 1
    assert examination.is_cut
