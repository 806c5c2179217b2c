"""Any bytes: no crash, no hang, no more read than allowed, and never too short a length."""

from __future__ import annotations

import math
import re
import struct
from array import array
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from phonoscene.editing.sound import samples
from phonoscene.probe import object_reader
from tests.support.media import adts, flac, mp3, mp4, ogg, tags, wav
from tests.support.media.encoding import Codec, encoded
from tests.support.media.judging import FRAME, is_measured, seconds_of
from tests.support.media.reading import read
from tests.support.media.recipes import noise, table_of
from tests.support.media.segments import opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.media.reading import Reading

CODES: Final = {
    "not_audio",
    "audio_cut_off",
    "empty_audio",
    "unreadable_audio",
    "no_audio_stream",
    "unsupported_audio_codec",
}
#: A busy machine is ten times slower than a quiet one; a hang is longer than either.
MAX_MILLISECONDS: Final = 20_000
MAX_MEMORY: Final = 128 * 1024 * 1024
#: Reads beyond the file's own length: FFmpeg looks at the end first, and comes back.
MAX_READS: Final = 3
KIB_64: Final = 65_536
EXAMPLES: Final = 250

#: Undamaged files of a second, by name.
BASES: Final = (
    "wav, plain",
    "wav, extensible",
    "wav, RF64",
    "wav, lengths ffffffff",
    "mp3, CBR",
    "mp3, VBR without Xing",
    "mp3, VBRI",
    "flac, plain",
    "flac, total samples 0",
    "m4a, moov last",
    "m4a, moov first",
    "m4a, fragmented",
    "aac, ADTS",
    "aac, HLS segments",
    "ogg, opus",
    "ogg, vorbis",
    "ogg, flac",
    "ogg, speex",
    "ogg, opus, 3 links",
    "ogg, opus, empty last page of granule -1",
)


@cache
def base(name: str, seconds: float = 1.0) -> bytes:
    form = name.partition(",")[0]
    found = {f"{one.form}, {one.mux}": one for one in table_of(form, "muxes", seconds)}
    return found[name].make()


def suffix_of(name: str) -> str:
    return name.partition(",")[0]


def check(raw: bytes, suffix: str) -> Reading:
    """What holds for any bytes; what the product makes of them."""
    reading = read(raw, suffix)
    assert reading.milliseconds < MAX_MILLISECONDS
    assert reading.bytes <= MAX_READS * (len(raw) + object_reader.BLOCK)
    assert reading.memory < MAX_MEMORY
    if reading.seconds is None:
        assert reading.code in CODES
    else:
        true = seconds_of(raw, suffix)
        assert true is not None
        assert reading.seconds >= true - FRAME, (
            "what is measured too short costs more than reserved"
        )
        assert is_measured(true, reading)
    return reading


# Damage by chance ---------------------------------------------------------------------------------

names = st.sampled_from(BASES)
shares = st.floats(0, 1)
junk = st.one_of(
    st.sampled_from([b"", bytes(1), bytes(4096), b"\xff" * 5000, noise(300), noise(70_000)]),
    st.builds(tags.id3v2, st.integers(0, 3000), st.sampled_from([3, 4])),
    st.builds(tags.ape, st.integers(0, 3000)),
    st.just(tags.id3v1()),
    st.binary(max_size=64),
)


def _truncated(raw: bytes, share: float) -> bytes:
    return raw[: int(share * len(raw))]


def _without(raw: bytes, begin: float, end: float) -> bytes:
    first, last = sorted((int(begin * len(raw)), int(end * len(raw))))
    return raw[:first] + raw[last:]


def _inserted(raw: bytes, share: float, what: bytes) -> bytes:
    at = int(share * len(raw))
    return raw[:at] + what + raw[at:]


def _overwritten(raw: bytes, share: float, what: bytes) -> bytes:
    at = int(share * len(raw))
    return raw[:at] + what + raw[at + len(what) :]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, str]:
    """One or more files joined, with pieces cut out, put in and overwritten; and their suffix."""
    name = draw(names)
    raw = base(name)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["cut", "drop", "insert", "overwrite", "join", "wrap"]))
        event(kind)
        match kind:
            case "cut":
                raw = _truncated(raw, draw(shares))
            case "drop":
                raw = _without(raw, draw(shares), draw(shares))
            case "insert":
                raw = _inserted(raw, draw(shares), draw(junk))
            case "overwrite":
                raw = _overwritten(raw, draw(shares), draw(st.binary(min_size=1, max_size=16)))
            case "join":
                raw += _truncated(base(draw(names)), draw(st.floats(0.5, 1)))
            case _:
                raw = draw(junk) + raw + draw(junk)
    return raw, suffix_of(name)


relaxed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@relaxed
@given(damaged())
def test_damaged_files_are_measured_as_decoded_or_refused(file: tuple[bytes, str]) -> None:
    reading = check(*file)

    event("measured" if reading.seconds is not None else f"refused: {reading.code}")


@relaxed
@given(
    st.sampled_from([one for one in BASES if one.startswith(("wav", "mp3", "flac", "m4a"))]),
    st.floats(0.02, 0.98),
)
def test_a_file_that_ends_early_is_never_believed_to_be_whole(name: str, share: float) -> None:
    raw = _truncated(base(name, 3.0), share)

    reading = check(raw, suffix_of(name))

    if reading.seconds is not None:
        assert reading.seconds <= share * 3.0 + 0.5


@relaxed
@given(st.sampled_from([one for one in BASES if one.startswith(("mp3", "aac", "flac"))]), junk)
def test_tags_before_and_after_change_no_length(name: str, tag: bytes) -> None:
    whole, tail = base(name), tag if tag[:3] in (b"TAG", b"APE") else b""
    head = tag if tag[:3] == b"ID3" else b""
    without, suffix = read(whole, suffix_of(name)), suffix_of(name)

    assert is_measured(without.seconds or 0, check(head + whole + tail, suffix))


# Boundaries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [997, 4096, KIB_64 - 1, KIB_64, KIB_64 + 1])
@pytest.mark.parametrize("name", BASES)
def test_where_a_block_ends_changes_no_length(
    monkeypatch: pytest.MonkeyPatch, name: str, block: int
) -> None:
    raw = base(name, 3.0)
    at_once = read(raw, suffix_of(name))
    monkeypatch.setattr(object_reader, "BLOCK", block)

    in_blocks = read(raw, suffix_of(name))

    assert (in_blocks.seconds, in_blocks.code) == (at_once.seconds, at_once.code)
    assert in_blocks.requests >= len(raw) // block


def _wav_at(size: int) -> bytes:
    wave = wav.Wave.parse(base("wav, plain"))
    return wave.file(before=[(b"JUNK", bytes(size - 12 - 24 - 8))])


#: Makes a file whose first audio, or its header, is about so many bytes behind the beginning.
SHIFTED: Final[dict[str, Callable[[int], bytes]]] = {
    "wav": _wav_at,
    "mp3": lambda size: tags.id3v2(size - 50) + base("mp3, CBR"),
    "aac": lambda size: tags.id3v2(size - 50) + base("aac, ADTS"),
    "flac": lambda size: flac.with_blocks(base("flac, plain"), [flac.padding(size - 50)]),
    "m4a": lambda size: mp4.with_free(base("m4a, moov last"), size - len(base("m4a, moov last"))),
    "ogg": lambda size: ogg.with_comments(base("ogg, opus"), size - size // 255 - 200),
}


@pytest.mark.parametrize("block", [KIB_64, object_reader.BLOCK])
@pytest.mark.parametrize("form", SHIFTED)
def test_audio_that_begins_at_a_blocks_end_is_measured(form: str, block: int) -> None:
    true, measured = seconds_of(SHIFTED[form](40_000), form), 0

    for byte in (-50, -27, -9, -8, -4, -3, -2, -1, 0, 1, 4):
        raw = SHIFTED[form](block + byte)
        reading = check(raw, form)
        measured += reading.seconds == true
        assert reading.seconds == seconds_of(raw, form)

    assert measured > 4  # FFmpeg gives up at ADTS whose ID3 tag ends just before its first MiB does


@pytest.mark.parametrize("page", [-4096, -1, 0, 1, 4096])
@pytest.mark.parametrize("block", [KIB_64, object_reader.BLOCK])
def test_a_file_as_long_as_a_block_is_measured(block: int, page: int) -> None:
    rate, seconds = 8000, (block + page - 44) / 16_000
    wave = wav.Wave.parse(encoded("wav", Codec("pcm_s16le", rate, "mono"), 0.5))
    raw = wav.Wave(wave.format, noise(block + page - 44)).file()

    assert len(raw) - block - page in (0, 1)
    assert check(raw, "wav").seconds == pytest.approx(seconds, abs=1 / rate)


@pytest.mark.parametrize("name", ["wav, plain", "m4a, moov last", "ogg, flac"])
def test_no_more_is_read_than_the_bound(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    raw = base(name, 3.0)
    monkeypatch.setattr(object_reader, "BLOCK", 4096)
    monkeypatch.setattr(object_reader, "MAX_BYTES", len(raw) // 2)

    reading = read(raw, suffix_of(name))

    assert (reading.seconds, reading.code) == (None, "audio_too_large")
    assert reading.bytes <= len(raw) // 2


class Silence:
    """A WAV of 32 bits at 96 kHz without the memory that its samples take."""

    def __init__(self, seconds: int, channels: int) -> None:
        size = seconds * channels * 4 * 96_000
        raw = _wav_of(channels, 96_000, 32, b"")
        self.head = raw[:-4] + struct.pack("<I", size)
        self.size = len(raw) + size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        piece = self.head[part]
        return piece + bytes(min(part.stop, self.size) - part.start - len(piece))


@pytest.mark.parametrize(
    ("minutes", "channels", "measured"),
    [(10, 2, 600), (11, 2, 660), (10, 8, "audio_too_large")],
)
def test_ten_minutes_of_studio_stereo_are_read(
    minutes: int, channels: int, measured: float | str
) -> None:
    raw: Any = Silence(minutes * 60, channels)

    reading = read(raw, "wav")

    assert (reading.seconds or reading.code) == measured
    assert reading.memory < MAX_MEMORY


# Files made to hurt -------------------------------------------------------------------------------


def _wav_of(channels: int, rate: int, bits: int, data: bytes = bytes(4000)) -> bytes:
    align = channels * bits // 8 & 0xFFFF
    shape = struct.pack("<HHIIHH", 1, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    return wav.Wave(shape, data).file()


def _table(name: bytes, count: int) -> bytes:
    """An MP4 whose table of samples claims so many entries."""

    def claim(body: bytes) -> bytes:
        at = 8 if name == b"stsz" else 4
        return body[:at] + struct.pack(">I", count) + body[at + 4 :]

    return mp4.edited(base("m4a, moov first"), name, claim)


def _claims(raw: bytes, name: bytes, length: int) -> bytes:
    """A box or chunk whose length is a lie."""
    at = raw.index(name) - 4
    return raw[:at] + struct.pack(">I", length) + raw[at + 4 :]


def _without_tail(raw: bytes) -> bytes:
    return raw[:-12]


HURTING: Final[dict[str, Callable[[], bytes]]] = {
    "65,535 channels": lambda: _wav_of(65_535, 48_000, 16),
    "no channels": lambda: _wav_of(0, 48_000, 16),
    "a sample a second": lambda: _wav_of(1, 1, 16),
    "four billion samples a second": lambda: _wav_of(1, 0xFFFFFFFF, 16),
    "no samples a second": lambda: _wav_of(1, 0, 16),
    "samples of no bits": lambda: _wav_of(1, 8000, 0),
    "a chunk of 4 GB": lambda: (
        wav.Wave.parse(base("wav, plain"))
        .file(before=[wav.LIST])
        .replace(b"LIST\x28", b"LIST\xff\xff\xff\xff")
    ),
    "an ID3 tag of 256 MB": lambda: b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + base("mp3, CBR"),
    "a FLAC picture of 16 MB": lambda: (
        base("flac, plain")[:42] + b"\x06\xff\xff\xff" + base("flac, plain")[42:]
    ),
    "Ogg without an end of a packet": lambda: ogg.joined(
        [
            *ogg.pages(base("ogg, opus"))[:2],
            *[ogg.Page(1, -1, 5, n, b"\xff" * 255, bytes(255 * 255)) for n in range(60)],
        ]
    ),
    "moov of 2 GB": lambda: _claims(base("m4a, moov first"), b"moov", 0x7FFFFFFF),
    "mdat of 4 GB": lambda: _claims(base("m4a, moov last"), b"mdat", 0xFFFFFFF0),
    "boxes of no length": lambda: base("m4a, moov first")[:28] + bytes(100_000),
    **{
        f"{2**28} entries of {name.decode()}": partial(_table, name, 2**28)
        for name in (b"stsz", b"stts", b"stsc", b"stco")
    },
    "the smallest MP3 frames there are": lambda: (
        mp3.with_garbage(
            encoded(
                "mp3",
                Codec("libmp3lame", 8000, "mono", 8000),
                2.0,
                (("write_xing", "0"), ("id3v2_version", "0")),
            ),
            b"",
            1,
        )
        * 300
    ),
    "ADTS frames of a header alone": lambda: (
        next(adts.frames(base("aac, ADTS")))[:3]
        + b"\x80\0\xff\xfc"
        + b"\xff\xf1\x50\x80\0\xff\xfc" * 20_000
    ),
    "five thousand links": lambda: ogg.chained(
        *[ogg.joined(ogg.pages(base("ogg, opus"))[:2])] * 5000
    ),
    "a stream that begins in the middle": lambda: (
        _without_tail(ogg.joined(ogg.pages(base("ogg, opus, 3 links") * 2)[:-1]))
        + base("ogg, speex")
    ),
}


@pytest.mark.parametrize("name", HURTING)
def test_a_file_made_to_hurt_is_measured_or_refused_within_its_bounds(name: str) -> None:
    for suffix in ("wav", "mp3", "m4a"):
        check(HURTING[name](), suffix)


#: What an Ogg may hold, and so what may be written behind another.
LINKS: Final = {
    "vorbis": Codec("vorbis", 44_100, "stereo"),
    "vorbis, 22 kHz": Codec("vorbis", 22_050, "stereo"),
    "opus": Codec("libopus", 48_000, "mono"),
    "opus, stereo": Codec("libopus", 48_000, "stereo"),
    "flac": Codec("flac", 44_100, "mono"),
    "flac, stereo": Codec("flac", 44_100, "stereo"),
    "flac, 22 kHz": Codec("flac", 22_050, "mono"),
    "flac, 24 bit": Codec("flac", 44_100, "mono", sample_format="s32"),
}
LINK_SECONDS: Final = 3
#: FFmpeg's own encoder of Vorbis has one quality; these two links are by oggenc.
OGGENC: Final = Path(__file__).with_name("cases") / "ogg-vorbis-two-qualities.ogg"


def link(name: str) -> bytes:
    if name in LINKS:
        return encoded("ogg", LINKS[name], LINK_SECONDS)
    raw = OGGENC.read_bytes()
    end = raw.index(raw[:6], 1)  # the next stream's first page
    return raw[:end] if name == "oggenc -q 0" else raw[end:]


def loudness(raw: bytes) -> list[float]:
    """How loud each second is, of what a slice would hold of it."""
    found = array("h")
    with opened(raw) as container:
        for piece in samples(container.decode(audio=0), 8000):
            found.frombytes(piece)
    seconds = [found[at : at + 16_000] for at in range(0, len(found) - 15_000, 16_000)]
    return [math.sqrt(sum(one * one for one in second) / len(second)) for second in seconds]


@pytest.mark.parametrize("first", [*LINKS, "oggenc -q 0", "oggenc -q 4"])
@pytest.mark.parametrize("second", [*LINKS, "oggenc -q 0", "oggenc -q 4"])
def test_an_ogg_behind_another_is_measured_and_heard_as_well_or_both_are_refused(
    first: str, second: str
) -> None:
    links = [link(one) for one in (first, second)]
    raw = ogg.chained(*links)

    reading = read(raw, "ogg")

    if reading.code is None or first == second:
        assert reading.seconds == pytest.approx(2 * LINK_SECONDS, abs=0.1)
        heard = [*loudness(links[0]), *loudness(links[1])]
        assert loudness(raw) == pytest.approx(heard, rel=0.2)
    else:
        assert reading.code == "unreadable_audio"


@pytest.mark.parametrize("first", [8000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("second", [8000, 22_050, 44_100, 48_000])
def test_an_mp3s_frame_count_is_of_frames_as_long_as_its_first(first: int, second: int) -> None:
    whole, tail = (
        encoded("mp3", Codec("libmp3lame", rate, "mono"), seconds)
        for rate, seconds in ((first, 6.0), (second, 1.0))
    )

    true = seconds_of(whole + tail, "mp3")
    assert read(whole + tail, "mp3").seconds == pytest.approx(true)

    reading = read(whole[: len(whole) // 2] + tail, "mp3")
    assert reading.code == "audio_cut_off"
    assert re.search(r"of the 6\.[01]\d s that", reading.message)
