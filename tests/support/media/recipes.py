"""Every format and mux that people drop, as tables of recipes.

A recipe makes one file, and says how much audio was put in, or how the file must be refused.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from tests.support.media import adts, flac, mp3, mp4, ogg, tags, wav
from tests.support.media.encoding import Codec, encoded, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.media.encoding import Options

RATES: Final = (8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000)
AAC_RATES: Final = RATES[:-1]
MP3_RATES: Final = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
OPUS_RATES: Final = (8000, 12_000, 16_000, 24_000, 48_000)
LAYOUTS: Final = ("mono", "5.1", "7.1")
MIB: Final = 1024 * 1024
#: Beyond so many seconds, packets of the slow encoders are repeated.
ENCODED_SECONDS: Final = 8.0
#: From so many seconds on, quick files are mono and of few samples.
LONG: Final = 60.0
#: Joined, chained and cut files need some length to be what they are.
PARTS: Final = 1.0
#: The padding and priming of encoders: what was put in and what comes out differ by less. At 8 kHz
#: a packet of AAC alone is 0.128 s.
PADDING: Final = 0.25
CUT: Final = ("audio_cut_off",)
NOT_AUDIO: Final = ("not_audio",)
#: FFmpeg believes the suffix, and finds nothing of it.
NO_STREAM: Final = ("no_audio_stream", "not_audio")
#: FFmpeg finds a stream and not one sample, or no stream: either word will do.
NOTHING: Final = ("empty_audio", *NO_STREAM)


@dataclass(frozen=True)
class Recipe:
    """One file."""

    form: str
    mux: str
    #: Of audio that was put in.
    seconds: float
    make: Callable[[], bytes]
    #: The codes one of which refuses it; none: it is measured.
    refused: tuple[str, ...] = ()
    #: How much what FFmpeg decodes may differ from ``seconds``.
    padding: float = PADDING
    #: What its header claims, where it holds less; the refusal names both.
    claims: float | None = None
    #: To measure what is left of it is right too.
    may_be_measured: bool = False

    @property
    def suffix(self) -> str:
        """Of its name; what is no audio claims to be some."""
        return "mp3" if self.form == "none" else self.form

    @property
    def name(self) -> str:
        """For people and for test ids."""
        return f"{self.form}, {self.mux}, {self.seconds:g} s"


class Table:
    """Collects the recipes of one format at one length."""

    def __init__(self, form: str, seconds: float) -> None:
        self.form, self.seconds = form, seconds
        self.recipes: list[Recipe] = []

    def add(self, mux: str, make: Callable[[], bytes], **more: Any) -> None:
        """One more; a ``seconds`` of its own replaces the table's."""
        seconds = more.pop("seconds", self.seconds)
        self.recipes.append(Recipe(self.form, mux, seconds, make, **more))

    def add_cut(self, mux: str, make: Callable[[], bytes], share: float = 0.5) -> None:
        """A file whose header claims the whole, and whose end is missing."""
        self.add(
            mux,
            lambda: cut(make(), share),
            seconds=self.seconds * share,
            refused=CUT,
            padding=max(PADDING, self.seconds),
            claims=self.seconds,
        )


def muxed(form: str, codec: Codec, seconds: float, muxer: Options = ()) -> bytes:
    """Encoded, or repeated where encoding takes long."""
    is_slow = codec.name in _SLOW and seconds > ENCODED_SECONDS
    return (repeated if is_slow else encoded)(form, codec, seconds, muxer)


_SLOW: Final = {"libmp3lame", "aac", "libopus", "vorbis"}


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes without a meaning, the same each time; none begins a frame."""
    return random.Random(seed).randbytes(size).replace(b"\xff", b"\xfe")  # noqa: S311 - repeatable


def _tagged(size: int, make: Callable[[], bytes]) -> bytes:
    return tags.id3v2(size) + make()


def cut(raw: bytes, share: float) -> bytes:
    """The beginning of a file."""
    return raw[: int(len(raw) * share)]


def shapes(name: str, rates: tuple[int, ...], layouts: tuple[str, ...]) -> Iterator[Codec]:
    """Stereo at every rate, and every layout at 48 kHz."""
    for rate in rates:
        yield Codec(name, rate)
    for layout in layouts:
        yield Codec(name, 48_000, layout)


def _shape(codec: Codec) -> str:
    return f"{codec.rate} Hz {codec.layout}"


# WAV ----------------------------------------------------------------------------------------------


def wavs(seconds: float) -> list[Recipe]:
    """What writers of RIFF do with chunks and lengths."""
    codec = Codec("pcm_s16le", 16_000, "mono")
    table = Table("wav", seconds)

    def wave(**how: Any) -> bytes:
        return wav.Wave.parse(encoded("wav", codec, seconds)).file(**how)

    def wave64(**how: Any) -> bytes:
        return wav.Wave.parse(encoded("wav", codec, seconds)).file64(**how)

    def longer(extra: int) -> bytes:
        return wave(length=2 * round(seconds * codec.rate) + extra)

    _wav_chunks(table, wave)
    table.add(
        "extensible", lambda: wav.Wave.parse(encoded("wav", codec, seconds)).extensible().file()
    )
    table.add("RF64", wave64)
    table.add("BW64", partial(wave64, form=b"BW64"))
    table.add("RF64, no length either", partial(wave64, length=0), refused=NOTHING)
    for name, length in (
        ("ffffffff", wav.UNKNOWN),
        ("7fffffff", 0x7FFFFFFF),
        ("0", 0),
        ("fffff000", 0xFFFFF000),
        ("ffffff9b", wav.UNKNOWN - 100),
    ):
        table.add(f"lengths {name}", partial(wave, length=length, riff=length))
    table.add("length 2 over the file", partial(longer, 2))
    table.add("RIFF length wrong", partial(wave, riff=36))
    if seconds >= PARTS:
        table.add_cut("cut off at a third", wave, 1 / 3)
        table.add_cut("cut off", partial(wave, before=[wav.BEXT, wav.ODD]), 0.6)
        table.add_cut("RF64 cut off", wave64)
        table.add_cut("BW64 cut off", partial(wave64, form=b"BW64"))
        table.add_cut("claims three times more", partial(longer, 0), 1 / 3)
    return table.recipes


def _wav_chunks(table: Table, wave: Callable[..., bytes]) -> None:
    table.add("plain", wave)
    table.add("LIST before", partial(wave, before=[wav.LIST]))
    table.add("bext and odd chunks before", partial(wave, before=[wav.BEXT, wav.ODD, wav.LIST]))
    table.add("JUNK over 64 KiB before", partial(wave, before=[wav.junk_chunk(100_000)]))
    table.add("JUNK over 1 MiB before", partial(wave, before=[wav.junk_chunk(MIB + 8)]))
    table.add(
        "LIST before, length unknown",
        partial(wave, before=[wav.LIST], length=wav.UNKNOWN, riff=wav.UNKNOWN),
    )
    table.add("LIST after", partial(wave, after=[wav.LIST]))
    table.add("tags after", partial(wave, after=[(b"id3 ", tags.id3v2(70_000))]))
    table.add("trailing junk", partial(wave, junk=noise(100_001)))
    table.add("ID3v2 before", lambda: tags.id3v2() + wave(), refused=NOT_AUDIO)


def wav_codecs(seconds: float) -> list[Recipe]:
    """What a WAV may hold, at every rate and layout."""
    table = Table("wav", seconds)
    names = (
        "pcm_u8",
        "pcm_s16le",
        "pcm_s24le",
        "pcm_s32le",
        "pcm_f32le",
        "pcm_f64le",
        "pcm_alaw",
        "pcm_mulaw",
        "adpcm_ms",
        "adpcm_ima_wav",
        "libmp3lame",
    )
    for name in names:
        table.add(name, partial(encoded, "wav", Codec(name, 44_100), seconds))
    table.add(
        "odd bytes of data", partial(encoded, "wav", Codec("pcm_u8", 11_025, "mono"), seconds)
    )
    for codec in shapes("pcm_s16le", RATES, LAYOUTS):
        table.add(_shape(codec), partial(encoded, "wav", codec, seconds))
    if seconds >= PARTS:
        for name in ("libmp3lame", "adpcm_ms", "pcm_s24le"):
            whole = partial(encoded, "wav", Codec(name, 44_100), seconds)
            table.add_cut(f"{name} cut off", whole)
    return table.recipes


# MP3 ----------------------------------------------------------------------------------------------

_BARE: Final[Options] = (("write_xing", "0"), ("id3v2_version", "0"))
_VBR: Final[Options] = (("flags", "qscale"), ("global_quality", "472"))


def mp3s(seconds: float) -> list[Recipe]:
    """Streams with and without a header that names their length."""
    rate, layout = (16_000, "mono") if seconds >= LONG else (44_100, "stereo")
    cbr = Codec("libmp3lame", rate, layout)
    vbr = Codec("libmp3lame", rate, layout, options=_VBR)
    table = Table("mp3", seconds)

    def bare(codec: Codec = cbr, share: float = 1.0) -> bytes:
        return muxed("mp3", codec, seconds * share, _BARE)

    table.add("CBR", partial(muxed, "mp3", cbr, seconds))
    table.add("CBR without Xing", bare)
    table.add("VBR", partial(muxed, "mp3", vbr, seconds))
    table.add("VBR without Xing", partial(bare, vbr))
    table.add("VBRI", lambda: mp3.with_vbri(bare(vbr)))
    table.add("Xing without a count", lambda: mp3.with_xing(bare(vbr), flags=0))
    table.add("Xing counts too few", lambda: mp3.with_xing(bare(vbr), count=5))
    table.add("2 MB cover", lambda: tags.id3v2(2_000_000) + bare())
    table.add("cover like frames", lambda: tags.id3v2_of(b"\xff\xfb\x90\x64" * 20_000) + bare())
    table.add("last frame cut", lambda: bare()[:-100])
    if seconds >= PARTS:
        _mp3_tags(table, bare)
        _mp3_damaged(table, bare)
        _mp3_joined(table, partial(bare, cbr, 0.1))
        table.add_cut("cut off, with Xing", lambda: mp3.with_xing(bare(vbr)))
        table.add_cut("cut off, VBRI", lambda: mp3.with_vbri(bare(vbr)))
        table.add_cut("cut off, with Xing by LAME", partial(muxed, "mp3", cbr, seconds))
    return table.recipes


def _mp3_joined(table: Table, tenth: Callable[[], bytes]) -> None:
    table.add("ten joined, first Xing", lambda: mp3.with_xing(tenth()) + tenth() * 9, padding=1)
    table.add("ten joined, Xing each", lambda: mp3.with_xing(tenth()) * 10, padding=1.5)
    table.add("ten joined, ID3 each", lambda: (tags.id3v2() + tenth()) * 10, padding=1)


def _mp3_tags(table: Table, bare: Callable[[], bytes]) -> None:
    table.add("two ID3v2 tags", lambda: tags.id3v2() + tags.id3v2(70_000, version=4) + bare())
    table.add("ID3v1 and APE", lambda: bare() + tags.ape() + tags.id3v1())
    table.add("APE of 200 kB", lambda: bare() + tags.ape(200_000))
    table.add(
        "an ID3v2 tag in the middle",
        lambda: bare() + tags.id3v2(70_000) + bare(),
        seconds=table.seconds * 2,
        padding=2 * PADDING,
    )


def _mp3_damaged(table: Table, bare: Callable[[], bytes]) -> None:
    table.add("starts in mid-frame", lambda: bare()[150:])
    table.add("junk before", lambda: noise(20_000) + bare())
    table.add("zeros before", lambda: bytes(3000) + bare())
    table.add("zeros after", lambda: bare() + bytes(200_000))
    # FFmpeg drops the frame before garbage
    table.add(
        "garbage between frames",
        lambda: mp3.with_garbage(bare(), noise(300), 7),
        padding=PADDING + table.seconds / 5,
    )


def mp3_shapes(seconds: float) -> list[Recipe]:
    """MPEG-1, 2 and 2.5."""
    table = Table("mp3", seconds)
    for codec in shapes("libmp3lame", MP3_RATES, ("mono",)):
        table.add(_shape(codec), partial(encoded, "mp3", codec, seconds))
        bare = partial(encoded, "mp3", codec, seconds, _BARE)
        table.add(f"{_shape(codec)} without Xing", bare)
    return table.recipes


# FLAC ---------------------------------------------------------------------------------------------


def flacs(seconds: float) -> list[Recipe]:
    """What its header says, and what is between the header and the audio."""
    codec = Codec("flac", 16_000, "mono") if seconds >= LONG else Codec("flac", 44_100)
    table = Table("flac", seconds)
    total = round(seconds * codec.rate)
    plain = partial(encoded, "flac", codec, seconds)

    table.add("plain", plain)
    table.add("total samples 0", lambda: flac.with_total(plain(), 0))
    table.add("total samples too few", lambda: flac.with_total(plain(), total // 2))
    table.add("2 MB cover", lambda: flac.with_blocks(plain(), [flac.picture(2_000_000)]))
    table.add("9000 seek points", lambda: flac.with_blocks(plain(), [flac.seek_points(9000)]))
    table.add("1 MiB of padding", lambda: flac.with_blocks(plain(), [flac.padding(MIB)]))
    for size in (70_000, 2_000_000):
        table.add(f"ID3v2 of {size} bytes", partial(_tagged, size, plain))
    table.add("ID3v1 after", lambda: plain() + tags.id3v1())
    table.add("trailing junk", lambda: plain() + noise(100_001))
    if seconds >= PARTS:
        table.add(
            "cut off, total samples 0",
            lambda: cut(flac.with_total(plain(), 0), 0.5),
            seconds=seconds / 2,
            padding=seconds / 2,
        )
        table.add_cut("cut off", plain)
    return table.recipes


def flac_shapes(seconds: float) -> list[Recipe]:
    """Every rate and layout, and 24 bits."""
    table = Table("flac", seconds)
    for codec in shapes("flac", RATES, LAYOUTS):
        table.add(_shape(codec), partial(encoded, "flac", codec, seconds))
    deep = Codec("flac", 96_000, sample_format="s32")
    table.add("96000 Hz, 24 bits", partial(encoded, "flac", deep, seconds))
    return table.recipes


# MP4 ----------------------------------------------------------------------------------------------


def m4as(seconds: float) -> list[Recipe]:
    """Where the index is, what it claims, and what is beside the audio."""
    rate, layout = (16_000, "mono") if seconds >= LONG else (44_100, "stereo")
    codec = Codec("aac", rate, layout)
    table = Table("m4a", seconds)
    plain = partial(muxed, "mp4", codec, seconds)

    table.add("moov last", plain)
    table.add("moov first", lambda: mp4.moov_first(plain()))
    table.add("fragmented", partial(plain, mp4.FRAGMENTED))
    table.add("fragmented, with sidx", partial(plain, mp4.DASH))
    table.add("2 MB cover", lambda: mp4.with_cover(plain(), 2_000_000))
    table.add("2 MB cover, moov first", lambda: mp4.moov_first(mp4.with_cover(plain(), 2_000_000)))
    table.add("1 MiB free before moov", lambda: mp4.with_free(plain(), MIB))
    table.add("durations 0", lambda: mp4.without_durations(plain()))
    table.add("mdat to the end", lambda: mp4.with_open_mdat(plain()))
    table.add("mdat of 64 bits", lambda: mp4.with_long_mdat(plain()))
    if seconds >= PARTS:
        _m4a_edits(table, plain, codec.rate)
        table.add_cut("cut off, moov first", lambda: mp4.moov_first(plain()), 0.6)
        table.add("cut off, moov last", lambda: cut(plain(), 0.6), refused=(*CUT, *NOT_AUDIO))
        # each fragment claims its own length
        table.add(
            "fragmented, cut off",
            lambda: cut(plain(mp4.FRAGMENTED), 0.6),
            refused=CUT,
            may_be_measured=True,
            seconds=seconds * 0.6,
            padding=seconds * 0.6,
        )
    _m4a_segments(table, partial(plain, mp4.SEGMENTS))
    if PARTS <= seconds <= ENCODED_SECONDS:
        table.add("still pictures", lambda: mp4.with_pictures(codec, seconds, 2))
        table.add("pictures for 40 s", lambda: mp4.with_pictures(codec, seconds, 40))
    return table.recipes


def _m4a_edits(table: Table, plain: Callable[[], bytes], rate: int) -> None:
    """What is played of the audio there is, and when."""
    table.add(
        "edit at the beginning",
        lambda: mp4.with_edit(plain(), rate // 2, round(1000 * table.seconds) - 500),
        seconds=table.seconds - 0.5,
    )
    table.add(
        "edit at the end",
        lambda: mp4.with_edit(plain(), 0, round(500 * table.seconds)),
        seconds=table.seconds / 2,
    )
    table.add(
        "edit at the end, after a delay",
        lambda: mp4.with_delay(mp4.with_edit(plain(), 0, round(500 * table.seconds)), 400),
        seconds=table.seconds / 2,
    )


def _m4a_segments(table: Table, plain: Callable[[], bytes]) -> None:
    """What is left of a live stream: fragments of a second each, one of which is not there."""
    if table.seconds < 2 * PARTS:
        return
    seconds = table.seconds - 1
    there = seconds - 0.5
    for mux, number in (("from the middle", 0), ("one missing", 1)):
        table.add(f"fragmented, {mux}", partial(_lacking, number, plain), seconds=seconds)
        if seconds < LONG:  # of more, the index behind the fragments alone is as much
            table.add(
                f"fragmented, {mux}, cut off",
                partial(_lacking, number, plain, there / seconds),
                seconds=there,
                refused=CUT,
                claims=seconds,
            )


def _lacking(number: int, make: Callable[[], bytes], share: float = 1.0) -> bytes:
    return cut(mp4.without_fragment(make(), number), share)


def m4a_codecs(seconds: float) -> list[Recipe]:
    """What an MP4 may hold, at every rate and layout."""
    table = Table("m4a", seconds)
    for name in ("flac", "libopus", "libmp3lame"):
        table.add(name, partial(encoded, "mp4", Codec(name), seconds))
    table.add("alac for iTunes", partial(encoded, "ipod", Codec("alac", 44_100), seconds))
    table.add("HE-AAC", partial(_high_efficiency, seconds))
    for codec in [*shapes("aac", AAC_RATES, LAYOUTS), *shapes("alac", RATES, LAYOUTS[:2])]:
        make = partial(encoded, "mp4", codec, seconds)
        table.add(f"{codec.name} {_shape(codec)}", make)
    table.add(
        "AC-3", partial(encoded, "mp4", Codec("ac3"), seconds), refused=("unsupported_audio_codec",)
    )
    return table.recipes


def _high_efficiency(seconds: float) -> bytes:
    """22,050 Hz whose header promises 44,100 (ISO 14496-3, 1.6.5: object type 5)."""
    bits = f"{5:05b}{7:04b}{2:04b}{4:04b}{2:05b}".ljust(32, "0")
    config = int(bits, 2).to_bytes(4, "big")
    return repeated("mp4", Codec("aac", 22_050), seconds, extradata=config)


# AAC ----------------------------------------------------------------------------------------------


def aacs(seconds: float) -> list[Recipe]:
    """Frames without any header for the whole."""
    rate, layout = (16_000, "mono") if seconds >= LONG else (44_100, "stereo")
    table = Table("aac", seconds)
    plain = partial(muxed, "adts", Codec("aac", rate, layout), seconds)

    table.add("ADTS", plain)
    for size in (70_000, 2_000_000):
        table.add(f"ID3v2 of {size} bytes", partial(_tagged, size, plain))
    table.add("HLS segments", lambda: adts.hls(plain(), 10))
    table.add("ID3v1 after", lambda: plain() + tags.id3v1())
    table.add("APE after", lambda: plain() + tags.ape(70_000))
    table.add("checksums", lambda: adts.with_checksums(plain()))
    table.add("starts in mid-frame", lambda: plain()[40:])
    table.add("last frame cut", lambda: plain()[:-20])
    return table.recipes


def aac_shapes(seconds: float) -> list[Recipe]:
    """Every rate and layout, HE-AAC in the frames, and the other raw forms."""
    table = Table("aac", seconds)
    for codec in shapes("aac", AAC_RATES, LAYOUTS):
        table.add(_shape(codec), partial(encoded, "adts", codec, seconds))
    table.add("HE-AAC", lambda: adts.with_sbr(encoded("adts", Codec("aac", 22_050), seconds)))
    table.add("ADIF", lambda: adts.adif(encoded("adts", Codec("aac"), seconds)), refused=NO_STREAM)
    table.add("LATM", partial(encoded, "latm", Codec("aac"), seconds), refused=NO_STREAM)
    return table.recipes


# Ogg ----------------------------------------------------------------------------------------------

OPUS: Final = Codec("libopus", 48_000, bit_rate=64_000)
_SMALL_PAGES: Final[Options] = (("page_duration", "20000"),)
_LARGE_PAGES: Final[Options] = (("page_duration", "60000000"),)


def oggs(seconds: float) -> list[Recipe]:
    """The same muxes for each codec, and what Opus alone has."""
    rate = 16_000 if seconds >= LONG else 44_100
    layout = "mono" if seconds >= LONG else "stereo"
    vorbis = Codec("vorbis", rate)
    table = Table("ogg", seconds)
    _ogg(table, "opus", partial(muxed, "ogg", OPUS))
    _ogg(table, "vorbis", partial(muxed, "ogg", vorbis))
    _ogg(table, "flac", partial(muxed, "ogg", Codec("flac", rate, layout)))
    _ogg(
        table,
        "speex",
        lambda length, muxer=(): ogg.speex(length, {(): 50, _SMALL_PAGES: 1}.get(muxer, 150)),
    )
    opus = partial(muxed, "ogg", OPUS, seconds)
    for samples in (0, 312, 3840, 30_000):
        if samples < seconds * OPUS.rate:
            table.add(
                f"opus, pre-skip {samples}",
                partial(_skipping, samples, opus),
                padding=samples / OPUS.rate + PADDING,
            )
    table.add("opus, 300 kB of comments", lambda: ogg.with_comments(opus(), 300_000))
    table.add(
        "opus and vorbis side by side",
        lambda: ogg.side_by_side(opus(), muxed("ogg", vorbis, seconds)),
    )
    return table.recipes


def _skipping(samples: int, make: Callable[[], bytes]) -> bytes:
    return ogg.with_pre_skip(make(), samples)


def _chained(count: int, make: Callable[[], bytes]) -> bytes:
    return ogg.chained(*[make()] * count)


def _ogg(table: Table, name: str, write: Callable[..., bytes]) -> None:
    seconds = table.seconds
    plain = partial(write, seconds)
    table.add(name, plain)
    table.add(f"{name}, small pages", partial(plain, _SMALL_PAGES))
    table.add(f"{name}, large pages", partial(plain, _LARGE_PAGES))
    table.add(f"{name}, empty last page of granule -1", lambda: ogg.with_empty_end(plain()))
    if name != "opus" or seconds >= 2 * PARTS:  # FFmpeg drops Opus's last page if it has none
        table.add(
            f"{name}, last granule -1",
            lambda: ogg.with_last_granule(plain(), ogg.UNKNOWN),
            padding=1.25,
        )
    table.add(
        f"{name}, no granules",
        lambda: ogg.without_granules(plain()),
        refused=NOTHING if name == "opus" else (),
    )
    table.add(f"{name}, from the middle", lambda: ogg.from_the_middle(plain(), 10_000_000))
    table.add(f"{name}, no end mark", lambda: ogg.without_end(plain()))
    table.add(f"{name}, with skeleton", lambda: ogg.with_skeleton(plain()))
    table.add(f"{name}, trailing junk", lambda: plain() + noise(100_001))
    if seconds >= PARTS:
        for count in (2, 3):
            link = partial(write, seconds / count)
            table.add(f"{name}, {count} links", partial(_chained, count, link), padding=0.5)
        half = partial(write, seconds / 2)
        table.add(
            f"{name}, 2 links, the first without its end",
            lambda: ogg.chained(ogg.without_end(half()), half()),
            padding=0.5,
        )
    if seconds >= 2 * PARTS:
        table.add(
            f"{name}, 2 links, the first cut",
            lambda: ogg.chained(ogg.without_last_page(half()), half()),
            padding=seconds / 2,
        )
        table.add(
            f"{name}, cut off", lambda: cut(plain(), 0.6), seconds=seconds * 0.6, padding=seconds
        )


def ogg_shapes(seconds: float) -> list[Recipe]:
    """Every rate and layout of Opus, Vorbis and FLAC."""
    table = Table("ogg", seconds)
    for codec in [
        *shapes("libopus", OPUS_RATES, LAYOUTS),
        *shapes("vorbis", RATES, ()),  # FFmpeg's own encoder writes stereo only
        *shapes("flac", RATES, LAYOUTS),
    ]:
        name = codec.name.removeprefix("lib")
        table.add(f"{name} {_shape(codec)}", partial(encoded, "ogg", codec, seconds))
    return table.recipes


# What is no audio ---------------------------------------------------------------------------------


def others(_: float = 0.0) -> list[Recipe]:
    """Files under an audio's name that hold none, or none that Phonoscene takes."""
    table = Table("none", 0.0)
    for name, raw in {
        "one byte": b"\xff",
        "zeros": bytes(300_000),
        "text": b"These are words.\n" * 500,
        "HTML": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "a playlist": b"#EXTM3U\n#EXTINF:3,\nfile:///etc/passwd\n",
        "a concat script": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "half a RIFF header": b"RIFF\x24\0\0\0WAVEfm",
    }.items():
        table.add(name, partial(bytes, raw), refused=NO_STREAM)
    table.add("noise", lambda: noise(300_000), refused=NO_STREAM)
    table.add("an ID3 tag alone", lambda: tags.id3v2(70_000), refused=NOTHING)
    table.add("a film without sound", mp4.pictures_alone, refused=("no_audio_stream",))
    table.add(
        "a WAV without samples",
        lambda: wav.Wave.parse(encoded("wav", Codec("pcm_s16le"), 0.1)).empty().file(),
        refused=NOTHING,
    )
    table.add(
        "Opus headers alone",
        lambda: ogg.joined(ogg.pages(encoded("ogg", OPUS, 0.5))[:2]),
        refused=NOTHING,
    )
    for form, codec in (
        ("aiff", "pcm_s16be"),
        ("webm", "vorbis"),
        ("w64", "pcm_s16le"),
        ("caf", "alac"),
        ("asf", "wmav2"),
        ("wv", "wavpack"),
        ("au", "pcm_s16be"),
        ("mpegts", "aac"),
        ("amr", "libopencore_amrnb"),
    ):
        rate, layout, bits = _TELEPHONE if form == "amr" else (44_100, "stereo", 128_000)
        make = partial(encoded, form, Codec(codec, rate, layout, bit_rate=bits), 1.0)
        table.add(form, make, refused=(*NO_STREAM, "unsupported_audio_codec"))
    return table.recipes


_TELEPHONE: Final = (8000, "mono", 12_200)


# All ----------------------------------------------------------------------------------------------

#: Format and what varies -> the recipes of a length.
GROUPS: Final[dict[tuple[str, str], Callable[[float], list[Recipe]]]] = {
    ("wav", "muxes"): wavs,
    ("wav", "codecs, rates, layouts"): wav_codecs,
    ("mp3", "muxes"): mp3s,
    ("mp3", "rates, layouts"): mp3_shapes,
    ("flac", "muxes"): flacs,
    ("flac", "rates, layouts"): flac_shapes,
    ("m4a", "muxes"): m4as,
    ("m4a", "codecs, rates, layouts"): m4a_codecs,
    ("aac", "muxes"): aacs,
    ("aac", "rates, layouts"): aac_shapes,
    ("ogg", "muxes"): oggs,
    ("ogg", "codecs, rates, layouts"): ogg_shapes,
    ("none", "no audio"): others,
}


@cache
def table_of(form: str, kind: str, seconds: float) -> tuple[Recipe, ...]:
    """The recipes of one group at one length."""
    return tuple(GROUPS[form, kind](seconds))
