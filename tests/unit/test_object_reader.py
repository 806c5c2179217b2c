"""Reading an object in ranges: as the file itself, and within a bound."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.media_facts import StoredObject
from phonoscene.errors import ObjectUnreadable, TooMuchRead
from phonoscene.probe import object_reader
from phonoscene.probe.object_reader import ObjectReader

CONTENT = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many block boundaries in little content."""
    monkeypatch.setattr(object_reader, "BLOCK", 1024)
    monkeypatch.setattr(object_reader, "MAX_KEPT", 2)


def reader(content: bytes) -> tuple[ObjectReader, list[tuple[int, int]]]:
    asked = []

    def fetch(first: int, last: int) -> bytes:
        assert first <= last < len(content)
        asked.append((first, last))
        return content[first : last + 1]

    return ObjectReader(fetch, len(content)), asked


def test_no_more_of_a_large_object_is_kept_than_a_few_blocks() -> None:
    ranged: Any = reader(CONTENT)[0]

    while ranged.read(500):
        assert len(ranged._blocks) <= 2

    assert ranged.tell() == len(CONTENT)


SIZES = st.integers(0, 5000) | st.sampled_from([1023, 1024, 1025, 2047, 2048, 2049, 4096])
STEPS = st.tuples(st.sampled_from(["read", "readinto", "set", "current", "end"]), SIZES)


@given(SIZES, st.lists(STEPS, max_size=20))
def test_any_sequence_of_reads_and_seeks_is_as_on_the_file_itself(
    size: int, steps: list[tuple[str, int]]
) -> None:
    content = (CONTENT * 2)[:size]
    plain: Any = io.BytesIO(content)
    ranged: Any = reader(content)[0]

    for step, count in steps:
        assert outcome(ranged, step, count) == outcome(plain, step, count)
        assert ranged.tell() == plain.tell()


def outcome(file: Any, step: str, count: int) -> Any:
    """What a step gives; of an error, that there was one."""
    if step == "read":
        return file.read(count)
    if step == "readinto":
        buffer = bytearray(count)
        return file.readinto(buffer), bytes(buffer)
    whence = {"set": io.SEEK_SET, "current": io.SEEK_CUR, "end": io.SEEK_END}[step]
    target = {"set": 0, "current": file.tell(), "end": None}[step]
    if target is None:  # BytesIO stops at the beginning, where a file refuses
        count = -min(count, file.seek(0, io.SEEK_END))
    return file.seek(count, whence)


@pytest.mark.parametrize("size", [1023, 1024, 1025, 2048, 2049, 4096])
@pytest.mark.parametrize("position", [0, 1, 1000, 1023, 1024, 1025])
@pytest.mark.parametrize("count", [1, 23, 24, 25, 1024, 3000])
def test_a_read_across_block_boundaries_is_not_short(size: int, position: int, count: int) -> None:
    file, _ = reader(CONTENT[:size])
    file.seek(position)

    assert file.read(count) == CONTENT[:size][position : position + count]


@pytest.mark.parametrize("whence", [io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
def test_seeking_before_the_beginning_is_an_error_and_moves_nothing(whence: int) -> None:
    file, _ = reader(CONTENT)
    file.seek(5)

    with pytest.raises(OSError, match="before the beginning"):
        file.seek(-len(CONTENT) - 6, whence)

    assert file.tell() == 5


def test_a_block_is_fetched_once_while_it_is_kept() -> None:
    file, asked = reader(CONTENT)

    for position in (0, 10, 4000, 3):
        file.seek(position)
        file.read(1)

    assert asked == [(0, 1023), (3072, 4095)]


@pytest.mark.parametrize("position", [len(CONTENT), len(CONTENT) + 1, 10**12])
def test_at_the_end_and_beyond_there_is_nothing_and_nothing_is_fetched(position: int) -> None:
    file, asked = reader(CONTENT)

    file.seek(position)

    assert file.read(10) == b""
    assert asked == []


def test_no_more_is_read_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_reader, "MAX_BYTES", 2048)
    file, asked = reader(CONTENT)

    assert file.read(2048) == CONTENT[:2048]
    with pytest.raises(TooMuchRead):
        file.read(1)

    assert len(asked) == 2


# The bucket's ranges


class Client:
    """S3, with one answer to every GET."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    def get_object(self, **asked: Any) -> Any:
        self.asked = asked
        return self.answer


def read_range(client: Any, size: int = 100) -> bytes:
    stored = StoredObject(key="song.mp3", etag='"e"', bytes=size)
    return DropBucket(client, client, "drops").read_range(stored, 10, 19)


def test_a_range_is_read_of_the_object_that_was_found_and_of_no_other() -> None:
    client = Client(Body=io.BytesIO(b"0123456789"), ContentRange="bytes 10-19/100")

    assert read_range(client) == b"0123456789"
    assert client.asked == {
        "Bucket": "drops",
        "Key": "song.mp3",
        "IfMatch": '"e"',
        "Range": "bytes=10-19",
    }


@pytest.mark.parametrize(
    ("body", "content_range"),
    [
        (b"0123456789", None),
        (b"0123456789", "bytes 0-9/100"),
        (b"0123456789", "bytes 10-19/99"),
        (b"0123456789", "bytes */100"),
        (b"012345678", "bytes 10-19/100"),
        (b"01234567890", "bytes 10-19/100"),
        (b"x" * 100, None),
    ],
)
def test_any_other_answer_is_nothing_that_the_file_can_be_blamed_for(
    body: bytes, content_range: str | None
) -> None:
    ranged = {"ContentRange": content_range} if content_range else {}

    with pytest.raises(ObjectUnreadable):
        read_range(Client(Body=io.BytesIO(body), **ranged))
