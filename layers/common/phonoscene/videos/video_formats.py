"""Video files: which container a file is, and whether the file is whole, both by its own bytes.

Sources: ISO/IEC 14496-12 (MP4) and Apple's QuickTime File Format (MOV) for boxes, RFC 8794 for
EBML, RFC 9559 for its document types and for Matroska's media type, the GIF89a specification.
Nothing here raises on any bytes, and the work on a file grows with its length only.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from phonoscene.errors import CopyFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MP4: Final = ".mp4"
WEBM: Final = ".webm"
MOV: Final = ".mov"
GIF: Final = ".gif"
MATROSKA: Final = ".mkv"

#: Matroska is never asked for; it may come instead of WebM, which is a part of it.
CONTENT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        MP4: "video/mp4",
        WEBM: "video/webm",
        MOV: "video/quicktime",
        GIF: "image/gif",
        MATROSKA: "video/matroska",
    }
)
#: Bytes by which a container is recognised: what may come before its name is skipped within them.
HEAD: Final = 64 * 1024
#: Bytes of the longest header: a box with a 64-bit size.
HEADER: Final = 16
#: So many pieces of a file are followed: 20 s of film have a few hundred, however it is cut up.
MAX_BOXES: Final = 20_000
#: Bytes of the longest index that is kept for ``tracks``: 20 s of video have some 20 KB.
MAX_INDEX: Final = 4 * 1024 * 1024

#: What may be odd about a video that is stored all the same: ``Job.video_flaws``.
FEWER_BYTES: Final = "fewer_bytes"
CUT_OFF: Final = "cut_off"
OTHER_CONTAINER: Final = "other_container"

_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
#: What lies side by side in an EBML file: headers, segments, fillers and checksums.
_OUTER: Final = frozenset({_EBML, _SEGMENT, b"\xec", b"\xbf"})
_DOCTYPE: Final = b"\x42\x82"
_DOCTYPES: Final = MappingProxyType({b"webm": WEBM, b"matroska": MATROSKA})
_GIFS: Final = (b"GIF87a", b"GIF89a")
_GIF_TRAILER: Final = b"\x3b"
#: The boxes that a file may begin with.
_FIRST: Final = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx"}
)
_BRANDED: Final = frozenset({b"ftyp", b"styp"})
_INDEX: Final = b"moov"
_INDEXES: Final = frozenset({_INDEX, b"moof"})
_MEDIA: Final = frozenset({b"mdat", b"imda"})
_QUICKTIME: Final = b"qt  "


def suffix_of(video_output_type: str) -> str:
    """``X264 (.mp4)`` → ``.mp4``: the endpoint names a codec and, in brackets, a suffix."""
    return video_output_type.partition("(")[2].rstrip(")")


def check_container(head: bytes, asked: str) -> str:
    """The suffix of the container that a file which begins with ``head`` is.

    Raises:
        CopyFailed: it is empty, or no video that is known: a page in its place, perhaps.
    """
    if not head:
        raise CopyFailed("the CDN sent an empty file")
    found = kind_of(head, asked)
    if found is None:
        raise CopyFailed("the CDN sent a file in no known video format")
    return found


def kind_of(head: bytes, asked: str) -> str | None:
    """A key of ``CONTENT_TYPES``, or None; ``asked`` is taken for true where it may be."""
    if head[:6] in _GIFS:
        return GIF
    if head[:4] == _EBML:
        return _DOCTYPES.get(_doctype(head))
    first = read_box(head[:HEADER])
    if first is None or first.name not in _FIRST:
        return None
    return _boxed(_brands(head), asked)


def _boxed(brands: list[bytes], asked: str) -> str:
    """MP4 or MOV. A file without brands is either; what QuickTime writes has none, or its own."""
    kinds = [MOV if brand == _QUICKTIME else MP4 for brand in brands] or [MOV, MP4]
    return asked if asked in kinds else kinds[0]


def _brands(head: bytes) -> list[bytes]:
    """The major brand and those that the file is compatible with; zeros are fillers."""
    at = 0
    while (box := read_box(head[at : at + HEADER])) and box.length:
        if box.name in _BRANDED:
            body = head[at + box.header : at + box.length]
            found = [body[:4], *(body[n : n + 4] for n in range(8, len(body), 4))]
            return [brand for brand in found if len(brand.rstrip(b"\x00")) == 4]  # noqa: PLR2004 - bytes of a brand
        at += box.length
    return []


def _doctype(head: bytes) -> bytes:
    """The DocType within an EBML header; other elements may come before it."""
    header = read_element(head[:HEADER])
    if header is None:
        return b""
    at, end = header.header, header.length or len(head)
    while at < end and (element := read_element(head[at : at + HEADER])) and element.length:
        if element.name == _DOCTYPE:
            return head[at + element.header : at + element.length].rstrip(b"\x00")
        at += element.length
    return b""


class Header(NamedTuple):
    """A box or an element: the bytes of its header, and of the whole; None: to the file's end."""

    name: bytes
    header: int
    length: int | None


def read_box(raw: bytes) -> Header | None:
    """The box that begins so; None where that is no box."""
    name, header, length = raw[4:8], 8, int.from_bytes(raw[:4])
    if length == 1:
        header, length = HEADER, int.from_bytes(raw[8:HEADER])
    # a name is printable; Apple's own begin with the sign of copyright
    is_name = len(name) == 4 and name.replace(b"\xa9", b"c").decode("latin-1").isprintable()  # noqa: PLR2004 - bytes of a name
    if not is_name or len(raw) < header or 0 < length < header or (header > 8 and not length):  # noqa: PLR2004 - a plain header
        return None
    return Header(name, header, length or None)


def read_element(raw: bytes) -> Header | None:
    """The EBML element that begins so; None where that is none."""
    id_length = _width(raw[:1])
    size_length = _width(raw[id_length : id_length + 1])
    header = id_length + size_length
    if not 1 <= id_length <= 4 or not size_length or len(raw) < header:  # noqa: PLR2004 - EBML's longest id
        return None
    most = (1 << 7 * size_length) - 1
    size = int.from_bytes(raw[id_length:header]) & most
    return Header(raw[:id_length], header, None if size == most else header + size)


def _width(first: bytes) -> int:
    """Bytes of a number of variable length, given by its first one; 0 if there is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _outer_element(raw: bytes) -> Header | None:
    """The same, outside of all others: only these can be there."""
    found = read_element(raw)
    return found if found and found.name in _OUTER else None


class _Walk:
    """Follows a file's outermost pieces, one after another, as its bytes come."""

    def __init__(self, read: Callable[[bytes], Header | None]) -> None:
        self._read = read
        #: Where the next piece begins, and how many bytes have come.
        self._at = self._end = 0
        #: What has come of the next piece's header.
        self._begun = b""
        self._pieces = 0
        #: Where the index begins and ends, once its header was seen; and what has come of it.
        self._index_at: tuple[int, int] | None = None
        self.index = bytearray()
        self.names: set[bytes] = set()
        #: Whether the last piece goes on to the file's end, or nothing can be made of the rest.
        self._is_over = False

    def add(self, body: bytes | bytearray) -> None:
        """Some more of the file, in order."""
        raw = self._begun + body if self._begun else body
        start = self._end - len(self._begun)
        self._end += len(body)
        while not self._is_over and self._at - start + HEADER <= len(raw):
            offset = self._at - start
            self._is_over = not self._step(bytes(raw[offset : offset + HEADER]))
        if self._index_at:
            first, end = self._index_at
            self.index += raw[max(0, first - start) : max(0, end - start)]
        self._begun = b"" if self._is_over else bytes(raw[self._at - start :])

    def ends_early(self) -> bool:
        """Whether a piece, or the header of one, ends beyond the file; there is no more of it."""
        rest = self._begun
        # zeros are fillers, but for the first of a size's four bytes
        while rest.strip(b"\x00") or 0 < len(rest) < 4:  # noqa: PLR2004 - as just said
            piece = self._read(rest)
            if piece is None:
                return True
            self.names.add(piece.name)
            if piece.length is None or piece.length == len(rest):
                return False
            if piece.length > len(rest):
                return True
            rest = rest[piece.length :]
        return self._at > self._end

    def _step(self, raw: bytes) -> bool:
        """Go on to the next piece; whether it is followed by another that can be found."""
        piece = self._read(raw)
        self._pieces += 1
        if piece is None or self._pieces > MAX_BOXES:
            return False
        self.names.add(piece.name)
        if piece.name == _INDEX and (piece.length or 0) <= MAX_INDEX and not self._index_at:
            self._index_at = self._at, self._at + (piece.length or 0)
        self._at += piece.length or 0
        return piece.length is not None


class Examination:
    """What the bytes of a video show, once all of them were added.

    ``asked`` is the suffix of what was asked for, ``reported`` how many bytes fal says it has (0:
    not known), ``takes_cut`` whether a video that is cut off is better than none by now.
    """

    def __init__(self, asked: str, reported: int = 0, *, takes_cut: bool = False) -> None:
        self._asked = asked
        self._reported = reported
        self._takes_cut = takes_cut
        #: The suffix of the container that it is, if that is known.
        self.kind: str | None = None
        self._head = b""
        self._walk: _Walk | None = None
        self._last = b""
        #: Bytes so far.
        self.length = 0

    def add(self, body: bytes | bytearray) -> None:
        """Some more of the file, in order; the first are its head, by which it is recognised."""
        if not self.length:
            self._begin(bytes(body[:HEAD]))
        if self._walk:
            self._walk.add(body)
        self._last = bytes(body[-1:]) or self._last
        self.length += len(body)

    @property
    def content_type(self) -> str:
        """Of the container that it is; of the one that was asked for where that is not known."""
        return CONTENT_TYPES[self.kind or self._asked]

    @property
    def index(self) -> bytes:
        """The bytes in which the container describes its tracks, as far as they came."""
        return bytes(self._walk.index) if self._walk and self.kind in (MP4, MOV) else self._head

    def _begin(self, head: bytes) -> None:
        self._head = head
        self.kind = kind_of(head, self._asked)
        if self.kind in (MP4, MOV):
            self._walk = _Walk(read_box)
        elif self.kind in (WEBM, MATROSKA):
            self._walk = _Walk(_outer_element)

    def check(self) -> None:
        """See that the file may be stored now.

        Raises:
            CopyFailed: it is cut off, and may be whole the next time.
        """
        if self.is_cut and not self._takes_cut:
            raise CopyFailed(f"the video is cut off after {self.length} bytes")

    @property
    def is_cut(self) -> bool:
        """Whether some of the file is missing, by its own sizes or by fal's."""
        return bool(self.flaws & {FEWER_BYTES, CUT_OFF})

    @property
    def flaws(self) -> frozenset[str]:
        """Return what is odd about the video, by code."""
        found = {
            FEWER_BYTES: self.length < self._reported,
            CUT_OFF: self._is_cut_off(),
            OTHER_CONTAINER: self.kind != self._asked,
        }
        return frozenset(flaw for flaw, is_there in found.items() if is_there)

    def _is_cut_off(self) -> bool:
        if self._walk is None:
            return self.kind == GIF and self._last != _GIF_TRAILER
        if self._walk.ends_early():
            return True
        names = self._walk.names
        if self.kind in (MP4, MOV):
            return not (names & _INDEXES and names & _MEDIA)
        return _SEGMENT not in names
