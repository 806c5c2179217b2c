"""RIFF files by hand: the chunks and lengths that encoders, editors and streams write."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What a writer puts where it does not know the length yet.
UNKNOWN: Final = 0xFFFFFFFF
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
#: The last fourteen bytes of a subformat (RFC 2361).
_GUID: Final = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"


@dataclass(frozen=True)
class Wave:
    """A WAV in its parts."""

    format: bytes
    data: bytes
    fact: bytes = b""

    @classmethod
    def parse(cls, raw: bytes) -> Wave:
        """The chunks that matter of a whole file."""
        chunks = dict(_chunks(raw))
        return cls(chunks[b"fmt "], chunks[b"data"], chunks.get(b"fact", b""))

    def extensible(self) -> Wave:
        """The same with the format that names a subformat."""
        tag, channels, rate, speed, align, bits = struct.unpack("<HHIIHH", self.format[:16])
        if tag == _EXTENSIBLE:
            return self
        head = struct.pack("<HHIIHH", _EXTENSIBLE, channels, rate, speed, align, bits)
        rest = struct.pack("<HHIH", 22, bits, (1 << channels) - 1, tag) + _GUID
        return Wave(head + rest, self.data, self.fact)

    def file(
        self,
        *,
        before: Iterable[tuple[bytes, bytes]] = (),
        after: Iterable[tuple[bytes, bytes]] = (),
        length: int | None = None,
        riff: int | None = None,
        junk: bytes = b"",
    ) -> bytes:
        """A file; ``length`` and ``riff`` are what its header claims instead of the truth."""
        chunks = [(b"fmt ", self.format), *before]
        if self.fact:
            chunks.append((b"fact", self.fact))
        body = b"WAVE" + b"".join(chunk(*one) for one in chunks)
        claimed = len(self.data) if length is None else length
        body += b"data" + struct.pack("<I", claimed & UNKNOWN) + self.data
        body += bytes(len(self.data) % 2) + b"".join(chunk(*one) for one in after)
        return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body + junk

    def empty(self) -> Wave:
        """The same without a sample."""
        return Wave(self.format, b"")

    def file64(self, *, form: bytes = b"RF64", length: int | None = None) -> bytes:
        """RF64 or BW64: the lengths are in a chunk ``ds64``, and -1 is in their places."""
        body = chunk(b"fmt ", self.format)
        whole = 4 + 36 + len(body) + 8 + len(self.data)
        lengths = struct.pack("<QQQI", whole, len(self.data) if length is None else length, 0, 0)
        head = form + struct.pack("<I", UNKNOWN) + b"WAVE" + chunk(b"ds64", lengths)
        return head + body + b"data" + struct.pack("<I", UNKNOWN) + self.data


def chunk(name: bytes, body: bytes) -> bytes:
    """Padded to an even length, which the length does not count."""
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _chunks(raw: bytes) -> Iterable[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(raw):
        name, length = struct.unpack_from("<4sI", raw, position)
        yield name, raw[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


#: Chunks that editors write before the samples.
LIST: Final = (b"LIST", b"INFO" + chunk(b"INAM", b"A title\0") + chunk(b"ISFT", b"Editor\0"))
BEXT: Final = (b"bext", b"A description".ljust(602, b"\0"))
ODD: Final = (b"odd ", b"seven b")


def junk_chunk(size: int) -> tuple[bytes, bytes]:
    """So many bytes that say nothing; some writers align their samples with them."""
    return (b"JUNK", b"data" * (size // 4))
