"""Images are as large, and as whole, as Pillow says, which reads none of their bytes as we do."""

from __future__ import annotations

import io
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, UnidentifiedImageError

from phonoscene.errors import MediaRefused
from phonoscene.probe.image import probe_image

ORIENTATION = 0x0112  # the tag of EXIF
sides = st.integers(2, 70)
#: Pillow encodes while an example is drawn, which takes its time on a machine that is busy.
unhurried = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def jpegs(draw: st.DrawFn) -> bytes:
    """A JPEG of any kind that Pillow writes, and perhaps something behind it."""
    options = {
        "quality": draw(st.integers(5, 95)),
        "progressive": draw(st.booleans()),
        "restart_marker_blocks": draw(st.integers(0, 3)),
        "comment": draw(st.binary(max_size=20)),
    }
    mode = draw(st.sampled_from(("RGB", "L", "CMYK")))
    made = _saved(draw, mode, "JPEG", **options)
    behind = [b"", made, b"\xff\xd9", b"\0\0\0\x18ftypmp42"]
    return made + draw(st.sampled_from(behind))


@st.composite
def gifs(draw: st.DrawFn) -> bytes:
    """A GIF with one picture or several, of which later ones may cover a part."""
    more = [_picture(draw, "P") for _ in range(draw(st.integers(0, 2)))]
    options = {
        "interlace": draw(st.booleans()),
        "comment": draw(st.binary(max_size=300)),
        "append_images": more,
        "save_all": bool(more),
    }
    return _saved(draw, "P", "GIF", **options)


@st.composite
def others(draw: st.DrawFn) -> bytes:
    """A whole PNG, WebP or AVIF."""
    form = draw(st.sampled_from(("PNG", "WEBP", "AVIF")))
    options = {"lossless": draw(st.booleans())} if form == "WEBP" else {}
    return _saved(draw, draw(st.sampled_from(("RGB", "RGBA"))), form, **options)


def _picture(draw: st.DrawFn, mode: str) -> Image.Image:
    size, seed = (draw(sides), draw(sides)), draw(st.integers(0, 99))
    made = Image.new(mode, size)
    made.frombytes(Random(seed).randbytes(len(made.tobytes())))  # noqa: S311 - a picture
    return made


def _saved(draw: st.DrawFn, mode: str, form: str, **options: Any) -> bytes:
    out, picture = io.BytesIO(), _picture(draw, mode)
    if form != "GIF" and (orientation := draw(st.integers(0, 8))):
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    picture.save(out, form, **options)
    return out.getvalue()


def size_by_pillow(raw: bytes) -> tuple[int, int] | None:
    """The size of the first picture as it is shown; None if it cannot be read."""
    try:
        with Image.open(io.BytesIO(raw)) as found:
            found.load()
            return ImageOps.exif_transpose(found).size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return None


def size_by_us(raw: bytes) -> tuple[int, int] | None:
    try:
        facts = probe_image(io.BytesIO(raw))
    except MediaRefused:
        return None
    return facts.width, facts.height


@unhurried
@given(st.one_of(jpegs(), gifs(), others()))
def test_a_whole_image_has_the_size_that_pillow_shows(raw: bytes) -> None:
    assert size_by_us(raw) == size_by_pillow(raw) is not None


@pytest.mark.parametrize("kind", [jpegs(), gifs()], ids=["JPEG", "GIF"])
@unhurried
@given(data=st.data())
def test_an_image_that_was_cut_off_is_refused_where_pillow_refuses_it(
    kind: st.SearchStrategy[bytes], data: st.DataObject
) -> None:
    raw = data.draw(kind)
    cut = raw[: data.draw(st.integers(0, len(raw)))]

    if size_by_pillow(cut) is None:
        assert size_by_us(cut) is None
