"""The length of raw AAC is counted frame by frame, and reading a file costs few requests."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.adts import SAMPLE_RATES, WALKED, adts_seconds
from phonoscene.errors import DropRefused, TooMuchRead
from phonoscene.media import BLOCK, MOST_BLOCKS, DropBucket, Found, RangeReader
from tests.unit.fakes import NOON


class File(io.BytesIO):
    """Bytes with their size."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.size = len(content)


class Stingy(File):
    """A file that gives at most a few bytes at a time, as a block's end does."""

    def read(self, count: int | None = -1, /) -> bytes:
        return super().read(min(count or 0, 4))


def frame(length: int = 200, rate: int = 44100, *, crc: bool = True) -> bytes:
    """One ADTS frame of ``length`` bytes: MPEG-4, LC, two channels."""
    header = bytes(
        [
            0xFF,
            0xF1 if crc else 0xF0,
            0x40 | SAMPLE_RATES.index(rate) << 2,
            0x80 | length >> 11,
            length >> 3 & 0xFF,
            (length & 7) << 5 | 0x1F,
            0xFC,
        ]
    )
    return header.ljust(length, b"\x00")


def id3(size: int) -> bytes:
    """An ID3v2 tag whose content has ``size`` bytes, told seven bits a byte."""
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + length + b"\xff" * size


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("frames", [2, 3, 100])
def test_a_length_is_its_frames_of_1024_samples(frames: int, rate: int) -> None:
    seconds = adts_seconds(File(frame(rate=rate) * frames))

    assert seconds == frames * 1024 / rate


def test_frames_of_different_lengths_each_count_once() -> None:
    content = b"".join(frame(length) for length in range(8, 800))

    assert adts_seconds(File(content)) == 792 * 1024 / 44100


@pytest.mark.parametrize("length", [8, 255, 256, 2047, 2048, 4097, 8191])
def test_a_frame_tells_its_length_in_thirteen_bits(length: int) -> None:
    assert adts_seconds(File(frame(length) * 9)) == 9 * 1024 / 44100


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 20_000])
def test_a_tag_before_the_frames_is_passed_over(size: int) -> None:
    content = id3(size) + frame() * 50

    assert adts_seconds(File(content)) == 50 * 1024 / 44100


def test_a_frame_that_is_cut_off_at_the_end_is_no_matter() -> None:
    content = frame() * 50 + frame()[:5]

    assert adts_seconds(File(content)) == 50 * 1024 / 44100


def test_a_file_that_gives_few_bytes_at_a_time_is_read_all_the_same() -> None:
    assert adts_seconds(Stingy(frame() * 5)) == 5 * 1024 / 44100


def test_beyond_what_is_walked_frames_are_taken_to_be_as_long_as_the_others() -> None:
    frames = 3 * WALKED // 400

    seconds = adts_seconds(File(frame(400) * frames))

    assert seconds == pytest.approx(frames * 1024 / 44100, rel=0.001)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"ID3",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"\x00" * 5000,
        b"\xff" * 5000,
        frame(),
        frame() + b"\x00" * 500,
        b"\xff\xfb\x90\x64"
        + b"\x00" * 413
        + b"\xff\xfb\x90\x64"
        + b"\x00" * 413,  # two frames of MP3
        frame()[:3] + b"\x80\x00\x1f\xfc" + b"\x00" * 500,  # a length of none
        b"\xff\xf1\x7c" + frame()[3:] + frame(),  # sample rate 15 is reserved
        id3(100) + b"\xff\xfb\x90\x64" + b"\x00" * 413,
        frame() * 3 + b"\x00" * 100_000,
    ],
)
def test_what_is_not_adts_has_no_length_here(content: bytes) -> None:
    assert adts_seconds(File(content)) is None


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_not_adts(content: bytes) -> None:
    for prefix in (b"", b"\xff\xf1", b"ID3\x04\x00\x00", frame()):
        seconds = adts_seconds(File(prefix + content))

        assert seconds is None or seconds > 0


# Reading a file in ranges


class Objects:
    """S3 with one object; it keeps the ranges that were asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[str] = []

    def get_object(self, **named: Any) -> dict[str, Any]:
        assert (named["Bucket"], named["Key"], named["VersionId"]) == ("drops", "song.aac", "v1")
        self.asked.append(named["Range"])
        first, last = map(int, named["Range"].removeprefix("bytes=").split("-"))
        assert first <= last < len(self.content)
        return {"Body": io.BytesIO(self.content[first : last + 1])}


def reader(content: bytes) -> tuple[RangeReader, Objects]:
    client: Any = Objects(content)
    return RangeReader(client, "drops", Found("song.aac", "v1", len(content), NOON)), client


CONTENT = bytes(range(256)) * 1024  # four blocks


def test_a_read_fetches_the_block_it_is_in_and_no_other() -> None:
    file, client = reader(CONTENT)

    file.seek(BLOCK + 5)
    piece = file.read(3)

    assert piece == CONTENT[BLOCK + 5 : BLOCK + 8]
    assert client.asked == [f"bytes={BLOCK}-{2 * BLOCK - 1}"]


def test_a_block_is_fetched_once() -> None:
    file, client = reader(CONTENT)

    for position in (0, 10, BLOCK - 1, 3):
        file.seek(position)
        file.read(1)

    assert client.asked == [f"bytes=0-{BLOCK - 1}"]


def test_the_last_block_ends_where_the_file_does() -> None:
    file, client = reader(CONTENT[: BLOCK + 10])

    file.seek(-4, io.SEEK_END)

    assert file.read(100) == CONTENT[BLOCK + 6 : BLOCK + 10]
    assert client.asked == [f"bytes={BLOCK}-{BLOCK + 9}"]


@pytest.mark.parametrize(
    ("offset", "whence", "position"),
    [
        (7, io.SEEK_SET, 7),
        (2, io.SEEK_CUR, 7),
        (-5, io.SEEK_CUR, 0),
        (0, io.SEEK_END, 100),
        (50, io.SEEK_END, 150),
    ],
)
def test_seeking_is_as_in_any_file(offset: int, whence: int, position: int) -> None:
    file, _ = reader(CONTENT[:100])
    file.seek(5)

    assert file.seek(offset, whence) == position
    assert file.tell() == position


@pytest.mark.parametrize(
    ("offset", "whence"), [(-1, io.SEEK_SET), (-6, io.SEEK_CUR), (-101, io.SEEK_END)]
)
def test_seeking_before_the_beginning_is_an_error_and_moves_nothing(
    offset: int, whence: int
) -> None:
    file, _ = reader(CONTENT[:100])
    file.seek(5)

    with pytest.raises(OSError, match="before the beginning"):
        file.seek(offset, whence)

    assert file.tell() == 5


@pytest.mark.parametrize("position", [100, 101, 10**12])
def test_at_the_end_and_beyond_there_is_nothing_and_nothing_is_asked(position: int) -> None:
    file, client = reader(CONTENT[:100])

    file.seek(position)

    assert file.read(10) == b""
    assert client.asked == []


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 9), st.integers(0, 200_000)), max_size=8))
def test_a_buffered_file_over_ranges_reads_as_the_file_itself(
    reads: list[tuple[int, int]],
) -> None:
    file, client = reader(CONTENT)
    plain, ranged = io.BytesIO(CONTENT), io.BufferedReader(file)

    for position, count in reads:
        plain.seek(position)
        ranged.seek(position)

        assert ranged.read(count) == plain.read(count)

    assert len(client.asked) == len(set(client.asked)) <= 4


def test_no_more_is_read_of_a_file_than_64_blocks() -> None:
    file, client = reader(b"\x00" * (MOST_BLOCKS + 1) * BLOCK)

    for block in range(MOST_BLOCKS):
        file.seek(block * BLOCK)
        file.read(1)
    file.seek(MOST_BLOCKS * BLOCK)

    with pytest.raises(TooMuchRead):
        file.read(1)
    assert len(client.asked) == MOST_BLOCKS


# Measuring


def bucket(content: bytes) -> tuple[DropBucket, Found, Objects]:
    client: Any = Objects(content)
    return DropBucket(client, client, "drops"), Found("song.aac", "v1", len(content), NOON), client


def wave(seconds: int, rate: int = 8000) -> bytes:
    """PCM, one channel, eight bits."""
    data = b"\x80" * seconds * rate
    numbers = [16, 4], [1, 2], [1, 2], [rate, 4], [rate, 4], [1, 2], [8, 2]
    form = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    chunks = b"WAVEfmt " + form + b"data" + len(data).to_bytes(4, "little") + data
    return b"RIFF" + len(chunks).to_bytes(4, "little") + chunks


def test_raw_aac_is_measured_whatever_it_is_called() -> None:
    drops, found, _ = bucket(frame() * 431)

    audio = drops.measure(found)

    assert (audio.seconds, audio.format) == (431 * 1024 / 44100, "audio/aac")
    assert (audio.key, audio.version_id, audio.bytes) == ("song.aac", "v1", 431 * 200)


def test_a_wave_file_is_measured_from_its_header() -> None:
    drops, found, client = bucket(wave(60))

    audio = drops.measure(found)

    assert audio.seconds == 60
    assert len(client.asked) < 4


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"not audio at all" * 100,
        b"\x00" * 100_000,
        b'{"prompt": "a harbour"}',
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\x00" * 100,
        wave(1)[:20],
        b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + b"\x00" * 60,
        b"fLaC" + b"\xff" * 100,
        b"OggS" + b"\xff" * 100,
        b"\x00\x00\x00\x20ftypM4A " + b"\xff" * 100,
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
    ],
)
def test_what_is_not_audio_is_refused_by_its_name(content: bytes) -> None:
    drops, found, _ = bucket(content)

    with pytest.raises(DropRefused) as caught:
        drops.measure(found)

    [error] = caught.value.errors
    assert (error.code, error.field, error.source) == ("not_audio", "audio", "song.aac")
    assert error.message.startswith("song.aac is not audio that can be read;")


def test_an_empty_file_is_refused_and_not_read() -> None:
    drops, found, client = bucket(b"")

    with pytest.raises(DropRefused) as caught:
        drops.measure(found)

    assert caught.value.errors[0].code == "empty_audio"
    assert client.asked == []


HEADS = [
    b"",
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00",
    b"fLaC\x00\x00\x00\x22",
    b"OggS\x00\x02",
    b"ID3\x04\x00\x00\x00\x00\x00\x05",
    b"\xff\xfb\x90\x64",
    b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00",
    b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel",
    b"FORM\x00\x00\x00\x20AIFFCOMM",
]


@given(st.sampled_from(HEADS), st.binary(max_size=300))
def test_any_bytes_are_audio_of_some_length_or_refused(head: bytes, tail: bytes) -> None:
    drops, found, _ = bucket(head + tail)

    with suppress(DropRefused):
        audio = drops.measure(found)

        assert audio.seconds is not None
        assert 0 < audio.seconds < float("inf")
