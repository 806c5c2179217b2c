"""A video is what its suffix says, told by its first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.containers import CONTENT_TYPES, check_container, is_container, suffix_of
from phonoscene.errors import VideoRefused, VideoUnavailable

SUFFIXES = {
    "X264 (.mp4)": ".mp4",
    "VP9 (.webm)": ".webm",
    "PRORES4444 (.mov)": ".mov",
    "GIF (.gif)": ".gif",
}

HEADS = {
    ".mp4": [
        b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00",
        b"\x00\x00\x00\x1cftypmp42\x00\x00\x00\x00",
    ],
    ".mov": [b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00"],
    ".webm": [
        b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm"
    ],
    ".gif": [b"GIF89a\x10\x00\x10\x00", b"GIF87a\x10\x00\x10\x00"],
}
OTHERS = [
    b"",
    b"GIF",
    b"GIF90a",
    b"<!DOCTYPE html>",
    b'{"detail": "Not Found"}',
    b"\x1a\x45\xdf\xa3" + b"matroska".rjust(40, b"\x00"),
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x00\x00\x00\x00AVI ",
    b"\x00" * 64,
]


@pytest.mark.parametrize(("name", "suffix"), SUFFIXES.items())
def test_the_video_is_named_after_what_was_asked_for(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix
    assert suffix in CONTENT_TYPES


@pytest.mark.parametrize("suffix", HEADS)
@pytest.mark.parametrize(
    ("other", "head"), [(other, head) for other in HEADS for head in HEADS[other]]
)
def test_a_file_is_its_own_container_and_no_other(suffix: str, other: str, head: bytes) -> None:
    assert is_container(head.ljust(64, b"\x00"), suffix) is (suffix == other)


@pytest.mark.parametrize("suffix", HEADS)
@pytest.mark.parametrize("head", OTHERS)
def test_what_is_no_video_is_no_container(suffix: str, head: bytes) -> None:
    assert not is_container(head, suffix)


@pytest.mark.parametrize("suffix", HEADS)
@given(rest=st.binary())
def test_a_video_that_begins_as_it_should_is_let_through(suffix: str, rest: bytes) -> None:
    for head in HEADS[suffix]:
        check_container(head + rest, suffix)


def test_an_empty_file_may_be_whole_the_next_time() -> None:
    with pytest.raises(VideoUnavailable, match="empty"):
        check_container(b"", ".mp4")


@pytest.mark.parametrize("head", [b"<html>", b"\x00", b"\x00" + HEADS[".mp4"][0]])
def test_a_file_that_begins_otherwise_is_refused(head: bytes) -> None:
    with pytest.raises(VideoRefused, match="not mp4") as caught:
        check_container(head, ".mp4")

    assert caught.value.error.code == "wrong_container"
