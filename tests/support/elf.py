"""What a compiled library of 64 bits, little-endian, says of itself (ELF)."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

MAGIC: Final = b"\x7fELF"
AARCH64: Final = 183
_LOAD, _DYNAMIC = 1, 2  # kinds of program headers
_NEEDED, _STRINGS = 1, 5  # tags of the dynamic section


def libraries(folder: Path) -> dict[str, bytes]:
    """The bytes of each compiled file in a folder, whatever its suffix, by name."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    bodies = {file.name: file.read_bytes() for file in files if _begins(file)}
    assert bodies
    return bodies


def _begins(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == MAGIC


def machine(body: bytes) -> int:
    """The processor that it is compiled for (``e_machine``)."""
    return int.from_bytes(body[18:20], "little")


def needed(body: bytes) -> set[str]:
    """The libraries that it loads."""
    (start,) = struct.unpack_from("<Q", body, 32)
    size, count = struct.unpack_from("<HH", body, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", body, start + n * size) for n in range(count)]
    (dynamic,) = (header for header in headers if header[0] == _DYNAMIC)
    tags = list(struct.iter_unpack("<QQ", body[dynamic[2] : dynamic[2] + dynamic[5]]))
    address = next(value for tag, value in tags if tag == _STRINGS)
    strings = next(
        offset + address - first
        for kind, _, offset, first, _, length, _, _ in headers
        if kind == _LOAD and first <= address < first + length
    )
    names = (strings + value for tag, value in tags if tag == _NEEDED)
    return {body[name : body.index(b"\0", name)].decode() for name in names}


def newest(body: bytes, prefix: str) -> tuple[int, ...]:
    """The highest version of a library's symbols that it names, such as ``GLIBC_2.17``."""
    found = re.findall(rb"\0" + prefix.encode() + rb"_([\d.]+)(?=\0)", body)
    return max((tuple(map(int, one.split(b"."))) for one in found), default=())
