"""The length of raw AAC (ADTS), the one format of ours that tinytag does not read.

An ADTS file has no header, only frames, each of which tells its own length in bytes (ISO 13818-7,
6.2). Its frames are walked where that is cheap, and beyond that their mean length is taken for the
rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE_RATES: Final = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
SAMPLES_PER_FRAME: Final = 1024
HEADER: Final = 7
#: As much as is walked: at 128 kbit/s more than two minutes, far beyond the longest job.
WALKED: Final = 2 * 1024 * 1024


class Seekable(Protocol):
    """What is read of: a binary file of ``size`` bytes."""

    size: int

    def seek(self, offset: int, /) -> int:
        """Move to ``offset`` bytes from the beginning."""

    def read(self, count: int, /) -> bytes | None:
        """At most ``count`` bytes."""


def adts_seconds(file: Seekable) -> float | None:
    """The length in seconds, or None where this is not ADTS."""
    start = _after_id3(file)
    frames = walked = rate = 0
    for length, rate in _frames(file, start):  # noqa: B007 - the last rate is used below
        frames, walked = frames + 1, walked + length
    if frames < 2 or start + walked < min(file.size, WALKED) // 2:  # noqa: PLR2004 - one sync word is chance
        return None
    whole = (
        frames if start + walked >= file.size - HEADER else frames * (file.size - start) / walked
    )
    return whole * SAMPLES_PER_FRAME / rate


def _after_id3(file: Seekable) -> int:
    """Where the frames begin: encoders put an ID3v2 tag, with a 28-bit length, before them."""
    head = _read(file, 0, 10)
    if not head.startswith(b"ID3") or len(head) < 10:  # noqa: PLR2004 - the tag's own header
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _frames(file: Seekable, start: int) -> Iterator[tuple[int, int]]:
    """Length in bytes and sample rate in Hz of each frame, while they follow upon each other."""
    position = start
    while position < min(file.size, start + WALKED):
        head = _read(file, position, HEADER)
        frame = _frame(head)
        if frame is None:
            return
        yield frame
        position += frame[0]


def _frame(head: bytes) -> tuple[int, int] | None:
    if len(head) < HEADER or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:  # noqa: PLR2004 - sync word, layer 0
        return None
    length = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    rate = head[2] >> 2 & 0x0F
    return (length, SAMPLE_RATES[rate]) if length > HEADER and rate < len(SAMPLE_RATES) else None


def _read(file: Seekable, position: int, count: int) -> bytes:
    """Exactly ``count`` bytes, or what there is of them."""
    file.seek(position)
    head = file.read(count) or b""
    return head + (file.read(count - len(head)) or b"") if len(head) < count else head
