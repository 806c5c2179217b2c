"""What FFmpeg makes of small files; real sizes and muxers are in tests/media."""

from __future__ import annotations

import io
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.errors import MediaRefused, ObjectUnreadable
from phonoscene.probe import audio, image
from phonoscene.probe.audio import probe_audio
from phonoscene.probe.image import probe_image
from tests.support.media.recipes import table_of
from tests.support.media.samples import image_of, png, turned
from tests.support.media.truth import decoded

if TYPE_CHECKING:
    from collections.abc import Callable


ROOT = Path(__file__).parents[2]


def wave(data: bytes, claimed: int | None = None, rate: int = 8000) -> bytes:
    """PCM of eight bits in one channel; the header claims ``claimed`` bytes of it."""
    form = struct.pack("<HHIIHH", 1, 1, rate, rate, 1, 8)
    length = len(data) if claimed is None else claimed
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length)
    return b"RIFF" + struct.pack("<I", min(length + 36, 2**32 - 1)) + chunks + data


def test_a_length_is_exact_where_samples_are() -> None:
    facts = probe_audio(io.BytesIO(wave(b"\x80" * 12_345)))

    assert (facts.seconds, facts.format, facts.codec) == (12_345 / 8000, "audio/wav", "pcm_u8")


TAILS = {
    "nothing": b"",
    "zeros": bytes(40 << 20),
    "small chunks": b"junk\0\0\0\0" * (5 << 20),
    "a chunk": b"LIST" + struct.pack("<I", 1000) + bytes(1000),
    "another file": wave(b"\x80" * 8000),
}


@pytest.mark.parametrize("tail", TAILS)
def test_what_follows_the_audio_of_a_wav_costs_no_time_and_no_length(tail: str) -> None:
    file = io.BytesIO(wave(b"\x80" * 8000) + TAILS[tail])
    started = time.process_time()

    assert probe_audio(file).seconds == 1
    assert time.process_time() - started < 1


@pytest.mark.parametrize("between", [b"", b"LIST\4\0\0\0INFO"])
def test_of_two_sounds_in_a_wav_the_last_counts_as_in_ffmpeg(between: bytes) -> None:
    second = b"data" + struct.pack("<I", 24_000) + b"\x80" * 24_000
    raw = wave(b"\x80" * 8000) + between + second

    assert probe_audio(io.BytesIO(raw)).seconds == decoded(raw, "wav").seconds == 3
    with pytest.raises(MediaRefused, match=r"2\.00 s of the 3\.00 s"):
        probe_audio(io.BytesIO(raw[:-8000]))


@pytest.mark.parametrize("placeholder", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_placeholder_in_a_header_is_no_claim(placeholder: int) -> None:
    assert probe_audio(io.BytesIO(wave(b"\x80" * 16_000, placeholder))).seconds == 2


@pytest.mark.parametrize(("claimed", "code"), [(16_000, None), (17_999, None), (18_100, "cut")])
def test_a_file_that_holds_less_than_its_header_claims_is_cut_off(
    claimed: int, code: str | None
) -> None:
    file = io.BytesIO(wave(b"\x80" * 16_000, claimed))

    if code is None:
        assert probe_audio(file).seconds == 2
    else:
        with pytest.raises(MediaRefused, match=r"2\.00 s of the 2\.26 s") as caught:
            probe_audio(file)
        assert caught.value.code == "audio_cut_off"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_audio"),
        (b"x", "not_audio"),
        (b"not audio at all" * 100, "not_audio"),
        (b"\x00" * 100_000, "not_audio"),
        (b'{"prompt": "a harbour"}', "not_audio"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttps://example.com/a.ts\n", "not_audio"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not_audio"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, "not_audio"),
        (wave(b""), "empty_audio"),
        (wave(b"\x80" * 100)[:20], "not_audio"),
        (b"fLaC" + b"\xff" * 100, "not_audio"),
        (b"OggS" + b"\xff" * 100, "not_audio"),
    ],
)
def test_what_is_not_audio_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(MediaRefused) as caught:
        probe_audio(io.BytesIO(content))

    assert caught.value.code == code


def webm() -> bytes:
    """Opus, but in a WebM."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output:
        stream: Any = output.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame("s16", "mono", 960)
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (webm(), ".opus"),
        ((b"\xff\xfb\x00\x04" + bytes(1300)) * 50, ".mp3"),  # free format: no bit rate is named
        (b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + wave(b"\x80" * 8000), ".wav"),
    ],
)
def test_what_is_not_as_its_suffix_says_is_refused_for_what_it_holds(
    content: bytes, suffix: str
) -> None:
    with pytest.raises(MediaRefused, match="whatever its suffix says") as caught:
        probe_audio(io.BytesIO(content), suffix)

    assert caught.value.code == "not_audio"


def video_of(container: str = "mp4", codec: str = "mpeg4") -> bytes:
    """A second of image without audio."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
    return file.getvalue()


def test_a_video_without_audio_is_refused_as_such() -> None:
    with pytest.raises(MediaRefused) as caught:
        probe_audio(io.BytesIO(video_of()))

    assert caught.value.code == "no_audio_stream"


def test_a_codec_that_is_not_supported_is_named() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("ac3", rate=48_000, layout="mono")
        frame = av.AudioFrame("fltp", "mono", 1536)
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    with pytest.raises(MediaRefused, match="ac3") as caught:
        probe_audio(file)

    assert caught.value.code == "unsupported_audio_codec"


def test_a_stream_that_nothing_decodes_is_refused() -> None:
    form = struct.pack("<HHIIHH", 1, 1, 8000, 0, 0, 0)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 4000)

    with pytest.raises(MediaRefused) as caught:
        probe_audio(io.BytesIO(b"RIFF\0\0\0\0" + chunks + bytes(4000)))

    assert caught.value.code == "unsupported_audio_codec"


def test_of_audio_longer_than_any_video_the_header_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audio, "MAX_DECODED_SECONDS", 10.0)

    assert probe_audio(io.BytesIO(wave(b"\x80" * 8000 * 500))).seconds == 500
    assert probe_audio(io.BytesIO(wave(b"\x80" * 8000 * 12, 0xFFFF_FFFF))).seconds == 12


def test_a_file_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_BUSY_SECONDS", -1.0)

    with pytest.raises(MediaRefused) as caught:
        probe_audio(io.BytesIO(wave(b"\x80" * 8000)))

    assert caught.value.code == "unreadable_audio"


def test_a_file_in_which_no_sound_is_found_for_too_long_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audio, "MAX_BUSY_SECONDS", 0.2)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    endless = io.BytesIO(b"RIFF\xff\xff\xff\x7fWAVE" + form + bytes(12 * 2**20))
    began = time.process_time()

    with pytest.raises(MediaRefused, match="takes over") as caught:
        probe_audio(endless)

    assert caught.value.code == "unreadable_audio"
    assert time.process_time() - began < 1


# Images


MADE: dict[str, Callable[[], bytes]] = {
    "image/png": lambda: image_of("png", "image2pipe", "rgb24"),
    "image/jpeg": lambda: image_of("mjpeg", "image2pipe", "yuvj420p"),
    "image/webp": lambda: image_of("libwebp", "webp", "yuv420p"),
    "image/gif": lambda: image_of("gif", "gif", "rgb8"),
    "image/avif": (ROOT / "tests/security/corpus/image/avif.bin").read_bytes,
}


@pytest.mark.parametrize("form", MADE)
def test_every_sort_of_image_is_measured(form: str) -> None:
    facts = probe_image(io.BytesIO(MADE[form]()))

    assert (facts.width, facts.format) == (64, form)


def gif(screen: int, reach: int, before: bytes = b"") -> bytes:
    """A GIF whose first picture reaches beyond its screen, or within it."""
    made = image_of("gif", "gif", "rgb8")
    at = made.index(b"!\xf9\4") + 8
    at = made.index(b",", at)
    sides = struct.pack("<2H", screen, screen), struct.pack("<4H", reach - 64, 0, 64, 32)
    return (
        made[:6] + sides[0] + made[10:at] + before + made[at : at + 1] + sides[1] + made[at + 9 :]
    )


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (gif(64, 64), (64, 64)),
        (gif(96, 64), (96, 96)),
        (gif(64, 70), (70, 64)),
        (gif(64, 70, b"!\xfe\2hi\0"), (70, 64)),
        ((ROOT / "tests/security/corpus/image/avif-tiles.bin").read_bytes(), (1024, 1024)),
    ],
)
def test_an_image_is_as_large_as_any_reader_may_take_it(
    content: bytes, size: tuple[int, int]
) -> None:
    facts = probe_image(io.BytesIO(content))

    assert (facts.width, facts.height) == size


def test_an_avif_that_claims_too_many_pixels_is_refused() -> None:
    tiles = (ROOT / "tests/security/corpus/image/avif-tiles.bin").read_bytes()
    side = struct.pack(">I", 1024)

    with pytest.raises(MediaRefused) as caught:
        probe_image(io.BytesIO(tiles.replace(side * 2, struct.pack(">I", 10_001) * 2)))

    assert caught.value.code == "image_too_large"


def several() -> bytes:
    """A JPEG whose header has another picture's end, as a camera's has that of a small one."""
    made = MADE["image/jpeg"]()
    return made[:2] + b"\xff\xe2\x10\0" + b"\xff\xd9" * 2047 + made[2:]


SEVERAL = several()


@pytest.mark.parametrize(
    "behind", [b"", b"\0\0\0\x18ftypmp42" + b"\xff\xd8\xff" * 9, MADE["image/jpeg"]()[:-2]]
)
@pytest.mark.parametrize("made", [SEVERAL, MADE["image/jpeg"]()])
def test_what_is_behind_a_whole_picture_does_not_matter(made: bytes, behind: bytes) -> None:
    assert probe_image(io.BytesIO(made + behind)).width == 64


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(SEVERAL[:-2], id="no-end"),
        pytest.param(SEVERAL[:-12], id="cut-off"),
        pytest.param(SEVERAL[:-12] + bytes(4096), id="zeros"),
        pytest.param(gif(64, 64)[:-12], id="gif"),
        pytest.param(gif(64, 64, b"!\xfe\2hi\0")[:-12], id="gif-with-a-comment"),
    ],
)
def test_an_image_that_was_cut_off_is_refused(content: bytes) -> None:
    with pytest.raises(MediaRefused, match="whole file") as caught:
        probe_image(io.BytesIO(content))

    assert caught.value.code == "image_cut_off"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_measured_as_a_person_sees_it(orientation: int) -> None:
    facts = probe_image(io.BytesIO(turned(MADE["image/jpeg"](), orientation)))

    assert (facts.width, facts.height) == ((64, 32) if orientation <= 4 else (32, 64))


ANIMATED_WEBP = (
    b"RIFF\x26\0\0\0WEBPVP8X\x0a\0\0\0\2\0\0\0\x3f\0\0\x1f\0\0ANIM\6\0\0\0\xff\xff\xff\xff\0\0"
)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_webp_is_turned_whether_its_exif_has_a_jpegs_prefix_or_not(
    order: str, prefix: bytes, orientation: int
) -> None:
    still = MADE["image/webp"]()[12:]
    tiff = struct.pack(
        f"{order}2sHIHHHIIHHIHHI",
        *(b"II" if order == "<" else b"MM", 42, 8, 2),
        *(271, 2, 1, 0),
        *(274, 3, 1, orientation, 0, 0),
    )
    exif = prefix + tiff
    chunks = (
        b"VP8X" + struct.pack("<IIHBHB", 10, 8, 63, 0, 31, 0),
        still,
        b"EXIF" + struct.pack("<I", len(exif)) + exif,
    )
    body = b"WEBP" + b"".join(chunks)

    facts = probe_image(io.BytesIO(b"RIFF" + struct.pack("<I", len(body)) + body))

    assert (facts.width, facts.height) == ((64, 32) if orientation <= 4 else (32, 64))


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "empty_image", "no bytes"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not_an_image", "SVG"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image", "web page"),
        (b"\x00\x00\x00\x18ftypheic" + b"\x00" * 50, "not_an_image", "HEIC"),
        (ANIMATED_WEBP, "not_an_image", "animated WebP"),
        (b"BM" + b"\x00" * 100, "not_an_image", "decoded"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x20\x08\2\0\0\0",
            "not_an_image",
            "decoded",
        ),
        (wave(b"\x80" * 100), "not_an_image", "again if it was cut off"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, code: str, words: str) -> None:
    with pytest.raises(MediaRefused, match=words) as caught:
        probe_image(io.BytesIO(content))

    assert caught.value.code == code


def test_an_image_that_fal_does_not_read_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image, "MAX_PIXELS", 64 * 32 - 1)
    with pytest.raises(MediaRefused, match="64 x 32"):
        probe_image(io.BytesIO(MADE["image/png"]()))

    monkeypatch.setattr(image, "MAX_BYTES", 10)
    with pytest.raises(MediaRefused, match="MiB"):
        probe_image(io.BytesIO(MADE["image/png"]()))


class Failing(io.BytesIO):
    """A file whose n-th read raises, and each read after it."""

    def __init__(self, raw: bytes, nth: int, error: BaseException) -> None:
        super().__init__(raw)
        self.nth = nth
        self.error = error

    def read(self, size: int | None = -1, /) -> bytes:
        self.nth -= 1
        if self.nth <= 0:
            raise self.error
        return super().read(size)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6, 8, 12])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ObjectUnreadable("S3")])
@pytest.mark.parametrize("form", ["audio/wav", *MADE])
def test_what_a_read_raises_ends_the_probe_and_is_neither_swallowed_nor_blamed_on_the_file(
    form: str, error: BaseException, nth: int
) -> None:
    is_audio = form == "audio/wav"
    raw = wave(b"\x80" * 400_000) if is_audio else MADE[form]() + bytes(400_000)
    file = Failing(raw, nth, error)

    try:
        (probe_audio if is_audio else probe_image)(file)
    except BaseException as exc:  # noqa: BLE001 - one of them is no Exception
        assert exc is error  # noqa: PT017 - likewise
    else:
        assert file.nth > 0


@pytest.mark.parametrize("name", ["m4a, fragmented", "m4a, 2 MB cover", "mp3, junk before"])
def test_where_ffmpeg_reads_on_after_an_error_nothing_is_printed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = name.partition(",")[0]
    (recipe,) = (r for r in table_of(suffix, "muxes", 20.0) if f"{suffix}, {r.mux}" == name)

    for nth in range(2, 12):
        with suppress(ObjectUnreadable):
            probe_audio(Failing(recipe.make(), nth, ObjectUnreadable("S3")), f".{suffix}")

    assert capsys.readouterr().err == ""


HEADS = [
    b"",
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00",
    b"fLaC\x00\x00\x00\x22",
    b"OggS\x00\x02",
    b"ID3\x04\x00\x00\x00\x00\x00\x05",
    b"\xff\xfb\x90\x64",
    b"\xff\xf1\x50\x80\x02\x1f\xfc",
    b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00",
    b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel",
    b"FORM\x00\x00\x00\x20AIFFCOMM",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"RIFF\x24\x00\x00\x00WEBPVP8 ",
]


@given(st.sampled_from(HEADS), st.binary(max_size=300))
def test_any_bytes_are_media_or_refused(head: bytes, tail: bytes) -> None:
    with suppress(MediaRefused):
        assert 0 < probe_audio(io.BytesIO(head + tail)).seconds < float("inf")
    with suppress(MediaRefused):
        assert probe_image(io.BytesIO(head + tail)).width > 0


@pytest.mark.parametrize("kind", [audio, image])
def test_ffmpeg_may_use_no_other_demuxer_decoder_or_protocol(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    opened: list[dict[str, str]] = []
    real = av.open

    def seen(*arguments: Any, **given: Any) -> Any:
        opened.append(given["options"])
        return real(*arguments, **given)

    monkeypatch.setattr(av, "open", seen)
    if kind is audio:
        probe_audio(io.BytesIO(wave(b"\x80" * 800)))
    else:
        probe_image(io.BytesIO(png(8, 8)))

    [options] = opened
    assert set(options["format_whitelist"].split(",")) == set(",".join(kind.FORMATS).split(","))
    assert set(options["codec_whitelist"].split(",")) == kind.DECODERS
    assert options["protocol_whitelist"] == "none"
