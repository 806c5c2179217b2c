"""A seekable file over ranged reads, within a bound of bytes."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from phonoscene.errors import TooMuchRead

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK: Final = 1024 * 1024
#: Blocks kept in memory. FFmpeg looks at a file's beginning and its end, then reads it in order.
MAX_KEPT: Final = 8
#: Bytes read of one object at most: ten minutes of stereo with 32 bits at 96 kHz are 439 MiB. A
#: block takes S3 some 30 ms, and ``probe`` has a minute.
MAX_BYTES: Final = 512 * BLOCK


class ObjectReader(io.RawIOBase):
    """Reads ``size`` bytes through ``fetch(first, last)``, a block at a time.

    A read is short at the end, nowhere else: parsers take a short read for the end.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self.size = size
        self.fetched = 0
        self._fetch = fetch
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0

    def readable(self) -> bool:
        """True, as the base class asks: every object can be read."""
        return True

    def seekable(self) -> bool:
        """True, as the base class asks: S3 returns any range."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; before the beginning is an error, as in any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(22, "seek before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the position on, across blocks.

        Raises:
            TooMuchRead: more than ``MAX_BYTES`` would be read.
        """
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and self._position < self.size:
            number, offset = divmod(self._position, BLOCK)
            piece = self._block(number)[offset : offset + len(view) - filled]
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._position += len(piece)
        return filled

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        block = self._blocks[number] = self._read_block(number * BLOCK)
        if len(self._blocks) > MAX_KEPT:
            self._blocks.popitem(last=False)
        return block

    def _read_block(self, first: int) -> bytes:
        last = min(first + BLOCK, self.size) - 1
        self.fetched += last - first + 1
        if self.fetched > MAX_BYTES:
            raise TooMuchRead
        return self._fetch(first, last)
