"""Sound video files that begin otherwise than most: no trouble for a parser of the format.

Sources: ISO/IEC 14496-12 (boxes, `ftyp`, `styp`, `free`), Apple's QuickTime File Format (`wide`,
brand `qt  `, files without `ftyp`), RFC 8794 (EBML header, Void).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = 8  # bytes of a box's size and type
HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
OFFSETS = {b"stco": 4, b"co64": 8}  # tables of chunk offsets, and the bytes of one
EBML = bytes.fromhex("1a45dfa3")
VOID = 0xEC
VOID_BYTES = 96  # moves the DocType beyond the first 64 bytes


class NoSuchFormError(ValueError):
    """The form is another container's."""


def box(kind: bytes, body: bytes = b"") -> bytes:
    """A box of ISO base media."""
    return (HEAD + len(body)).to_bytes(4) + kind + body


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Type, first byte and end of each box that lies in a span."""
    end = len(data) if end is None else end
    while start + HEAD <= end:
        size, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + HEAD]
        if size == 1:
            size = int.from_bytes(data[start + HEAD : start + 16])
        stop = end if size == 0 else start + size
        if not start + HEAD <= stop <= end:
            raise NoSuchFormError(f"no box of ISO base media lies at byte {start}")
        yield kind, start, stop
        start = stop


def rewritten(data: bytes, suffix: str, form: str) -> bytes:
    """The same video in one of the `FORMS`; raises `NoSuchFormError` if that is another suffix's.

    `suffix` is `mp4`, `mov` or `webm`.
    """
    suffixes, change = FORMS[form]
    if suffix not in suffixes:
        raise NoSuchFormError(f"{form} is a form of {', '.join(suffixes)}, not of {suffix}")
    return change(data)


def _preceded(by: bytes) -> Callable[[bytes], bytes]:
    return lambda data: by + _shifted(data, len(by))


def _without_ftyp(data: bytes) -> bytes:
    kind, _, end = next(boxes(data))
    if kind != b"ftyp":
        raise NoSuchFormError("the file has no ftyp to leave out")
    return _shifted(data, -end)[end:]


def _branded(brand: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        kind, _, end = next(boxes(data))
        if kind != b"ftyp":
            raise NoSuchFormError("the file has no ftyp to name another brand")
        old = data[HEAD : HEAD + 4]
        return data[:HEAD] + data[HEAD:end].replace(old, brand) + data[end:]

    return change


def _shifted(data: bytes, by: int) -> bytes:
    """The file with every chunk offset moved, as what lies before the chunks grows or shrinks."""
    moved = bytearray(data)
    for kind, start, _ in _tables(data, 0, len(data)):
        width, at = OFFSETS[kind], start + HEAD + 8  # version, flags, count
        for _ in range(int.from_bytes(data[at - 4 : at])):
            entry = int.from_bytes(moved[at : at + width]) + by
            moved[at : at + width] = entry.to_bytes(width)
            at += width
    return bytes(moved)


def _tables(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for kind, first, stop in boxes(data, start, end):
        if kind in HOLDERS:
            yield from _tables(data, first + HEAD, stop)
        elif kind in OFFSETS:
            yield kind, first, stop


def _late_doctype(data: bytes) -> bytes:
    """An EBML Void before the header's other elements."""
    if data[:4] != EBML:
        raise NoSuchFormError("the file does not begin with an EBML header")
    width = 9 - data[4].bit_length()
    size = int.from_bytes(data[4 : 4 + width]) & ((1 << 7 * width) - 1)
    void = bytes([VOID]) + _length(VOID_BYTES) + bytes(VOID_BYTES)
    return EBML + _length(size + len(void)) + void + data[4 + width :]


def _length(size: int) -> bytes:
    """An EBML length of eight bytes."""
    return (1 << 56 | size).to_bytes(8)


_STYP = box(b"styp", b"msdh" + bytes(4) + b"msdhmsix")
FORMS: dict[str, tuple[tuple[str, ...], Callable[[bytes], bytes]]] = {
    "free_first": (("mp4", "mov"), _preceded(box(b"free", bytes(24)))),
    "wide_first": (("mp4", "mov"), _preceded(box(b"wide"))),
    "styp_first": (("mp4",), _preceded(_STYP)),
    "no_ftyp": (("mp4", "mov"), _without_ftyp),
    "qt_brand": (("mp4",), _branded(b"qt  ")),
    "isom_brand": (("mov",), _branded(b"isom")),
    "late_doctype": (("webm",), _late_doctype),
}
