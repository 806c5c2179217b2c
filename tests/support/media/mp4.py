"""MP4 by the box (ISO 14496-12): where ``moov`` is, what it claims, what is beside the audio."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import av

from tests.support.media.encoding import encoded
from tests.support.media.tags import cover

if TYPE_CHECKING:
    from tests.support.media.encoding import Codec, Options

_CONTAINERS: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
FRAGMENTED: Final[Options] = (
    ("movflags", "+frag_keyframe+empty_moov"),
    ("frag_duration", "1000000"),
)
#: Each fragment names positions within itself, as those do that are sent one by one.
SEGMENTS: Final[Options] = (
    ("movflags", "+frag_keyframe+empty_moov+default_base_moof"),
    ("frag_duration", "1000000"),
)
DASH: Final[Options] = (("movflags", "+dash"), ("frag_duration", "1000000"))


def box(name: bytes, body: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(body), name) + body


def boxes(raw: bytes) -> list[tuple[bytes, bytes]]:
    """The boxes of a file or of a box's body: each name and body."""
    found, position = [], 0
    while position + 8 <= len(raw):
        size, name = struct.unpack_from(">I4s", raw, position)
        found.append((name, raw[position + 8 : position + size]))
        position += size
    return found


def moov_first(raw: bytes, *, extra: bytes = b"") -> bytes:
    """The index before the samples, with the positions it names moved accordingly."""
    parts = dict(boxes(raw))
    moov = parts[b"moov"] + extra
    before, order = len(parts[b"ftyp"]) + 8, [name for name, _ in boxes(raw)]
    old = sum(8 + len(body) for name, body in boxes(raw)[: order.index(b"mdat")])
    new = before + 8 + len(moov)
    return (
        box(b"ftyp", parts[b"ftyp"])
        + box(b"moov", _moved(moov, new - old))
        + box(b"mdat", parts[b"mdat"])
    )


def _moved(body: bytes, by: int) -> bytes:
    """Every chunk's position moved by so many bytes."""
    made = b""
    for name, inner in boxes(body):
        changed = inner
        if name in _CONTAINERS:
            changed = _moved(inner, by)
        elif name == b"stco":
            count = struct.unpack_from(">I", inner, 4)[0]
            offsets = struct.unpack_from(f">{count}I", inner, 8)
            changed = inner[:8] + struct.pack(f">{count}I", *(at + by for at in offsets))
        made += box(name, changed)
    return made


def edited(raw: bytes, name: bytes, edit: Any) -> bytes:
    """Every box of this name, at any depth, with its body changed and not its length."""
    made = b""
    for kind, body in boxes(raw):
        inner = edited(body, name, edit) if kind in _CONTAINERS else body
        made += box(kind, edit(inner) if kind == name else inner)
    return made


def with_edit(raw: bytes, start: int, length: int) -> bytes:
    """The one edit begins ``start`` units of the media later and has another length."""

    def change(body: bytes) -> bytes:
        media_time = struct.unpack_from(">i", body, 12)[0]
        return body[:8] + struct.pack(">Ii", length, media_time + start) + body[16:]

    return edited(raw, b"elst", change)


def with_delay(raw: bytes, length: int) -> bytes:
    """An empty edit before the one there is; ``moov`` has to be last."""

    def change(body: bytes) -> bytes:
        return body[:4] + struct.pack(">IIiI", 2, length, -1, 1 << 16) + body[8:]

    return edited(raw, b"elst", change)


def without_durations(raw: bytes) -> bytes:
    """Header durations of 0, as recorders leave them that never come back to the beginning."""
    done = edited(raw, b"mvhd", lambda body: body[:16] + bytes(4) + body[20:])
    done = edited(done, b"mdhd", lambda body: body[:16] + bytes(4) + body[20:])
    return edited(done, b"tkhd", lambda body: body[:20] + bytes(4) + body[24:])


def without_fragment(raw: bytes, number: int) -> bytes:
    """All fragments but one; the times of the later ones remain."""
    parts = boxes(raw)
    at = [place for place, (name, _) in enumerate(parts) if name == b"moof"][number]
    return b"".join(box(*part) for part in parts[:at] + parts[at + 2 :])


def with_open_mdat(raw: bytes) -> bytes:
    """``mdat`` last and without a length: it goes on to the end of the file."""
    done = moov_first(raw)
    at = done.rindex(b"mdat") - 4
    return done[:at] + bytes(4) + done[at + 4 :]


def with_long_mdat(raw: bytes) -> bytes:
    """``mdat`` with a length of 64 bits, in place of the empty box before it."""
    made = b""
    for name, body in boxes(raw):
        if name == b"mdat" and made.endswith(b"\0\0\0\x08free"):
            made = made[:-8] + struct.pack(">I4sQ", 1, b"mdat", 16 + len(body)) + body
        else:
            made += box(name, body)
    return made


def with_free(raw: bytes, size: int) -> bytes:
    """So many bytes of nothing before ``moov``, which is last."""
    return b"".join(
        (box(b"free", bytes(size)) if name == b"moov" else b"") + box(name, body)
        for name, body in boxes(raw)
    )


def with_cover(raw: bytes, size: int) -> bytes:
    """iTunes' metadata with a cover of so many bytes, at the end of ``moov``."""
    image = box(b"covr", box(b"data", struct.pack(">II", 14, 0) + cover(size)))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    meta = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", image)))
    return b"".join(
        box(name, body + meta if name == b"moov" else body) for name, body in boxes(raw)
    )


def with_pictures(codec: Codec, seconds: float, pictures: int, *, per_second: int = 1) -> bytes:
    """Audio beside a stream of still images, which may go on longer than the audio."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(encoded("nut", codec, seconds)), "r") as source,
        av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as out,
    ):
        audio = out.add_stream_from_template(source.streams.audio[0])
        video: Any = out.add_stream("mjpeg", rate=per_second)
        video.width = video.height = 32
        video.pix_fmt = "yuvj420p"
        for number in range(pictures):
            frame = av.VideoFrame(32, 32, "yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, per_second)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = audio
                out.mux_one(packet)
    return file.getvalue()


def pictures_alone(pictures: int = 3) -> bytes:
    """A video without audio."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        video: Any = out.add_stream("mjpeg", rate=1)
        video.width = video.height = 32
        video.pix_fmt = "yuvj420p"
        for number in range(pictures):
            frame = av.VideoFrame(32, 32, "yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return file.getvalue()
