"""The video that is copied: one block of random bytes over and over, beginning as an MP4 does.

Any range of it can be sent, and any part of it recognised, without the whole being anywhere.
"""

from __future__ import annotations

import ctypes
import random
from typing import Final

#: Bytes of the block. Odd, so that two parts of a copy begin at the same place of it only after
#: more parts than S3 takes, and parts that changed places are noticed.
PERIOD: Final = 4 * 1024 * 1024 + 4099
HEAD: Final = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2\0\0\0\x08moov\0\0\0\0mdat"
#: So many bytes tell where in the block they are.
TELLING: Final = 32

_libc: Final = ctypes.CDLL(None)
_libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


#: Two blocks, so that a block's length of bytes is in one piece from every place. Made when there
#: is one thread only, for its address is kept as well.
TWICE: Final = 2 * (HEAD + random.Random(1902).randbytes(PERIOD - len(HEAD)))  # noqa: S311 - repeatable
_ADDRESS: Final = ctypes.cast(ctypes.c_char_p(TWICE), ctypes.c_void_p).value or 0


def piece(offset: int, length: int) -> memoryview:
    """At most ``length`` bytes of the video from ``offset`` on; at most a block."""
    start = offset % PERIOD
    return memoryview(TWICE)[start : start + min(length, PERIOD)]


def place_of(head: bytes, guess: int = 0) -> int | None:
    """Where in the block these bytes are; None where they are none of the video's.

    ``guess`` is looked at first: the search takes milliseconds.
    """
    if piece(guess, len(head)) == head:
        return guess % PERIOD
    found = TWICE.find(head)
    return found % PERIOD if found >= 0 else None


def is_film(body: bytearray, offset: int) -> bool:
    """Whether ``body`` is, byte for byte, what the video holds from ``offset`` on."""
    done, at = 0, ctypes.addressof(ctypes.c_char.from_buffer(body)) if body else 0
    while done < len(body):
        expected = (offset + done) % PERIOD
        length = min(len(body) - done, PERIOD)
        if _libc.memcmp(at + done, _ADDRESS + expected, length):
            return False
        done += length
    return True
