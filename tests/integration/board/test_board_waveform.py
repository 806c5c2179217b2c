"""Drawings of audio: their peaks and their length, and what cannot be drawn."""

from __future__ import annotations

import io
import math
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonoscene.errors import EditingFailed
from phonoscene_cli.board.media.waveform import BARS, Waveform, waveform
from tests.support.media.samples import SOUNDS, silence, sound

FEW = settings(deadline=None, max_examples=50)
CASES = Path(__file__).parents[2] / "media" / "cases"
DAMAGED = sorted(file for file in CASES.iterdir() if file.suffix not in (".md", ".json", ".png"))


def wav(channels: list[list[int]], rate: int = 8000) -> bytes:
    """A WAV of 16 bits."""
    count, wide = len(channels[0]), 2 * len(channels)
    frames = b"".join(struct.pack("<h", one[at]) for at in range(count) for one in channels)
    head = struct.pack("<HHIIHH", 1, len(channels), rate, rate * wide, wide, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(frames))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(frames)) + b"WAVE" + chunks + frames


def drawn(data: bytes, suffix: str = ".wav") -> Waveform:
    return waveform(io.BytesIO(data), suffix)


SAMPLES = st.lists(st.integers(-32768, 32767), min_size=1, max_size=3000)


@FEW
@given(SAMPLES)
def test_its_peaks_are_the_loudest_samples_of_equal_parts(samples: list[int]) -> None:
    found = drawn(wav([samples]))

    steps = [max(map(abs, samples[at : at + 160])) for at in range(0, len(samples), 160)]
    assert found.peaks == tuple(round(step / 32768, 3) for step in steps)
    assert found.seconds == len(samples) / 8000


def test_a_long_sound_has_no_more_peaks_than_a_screen_has_lines() -> None:
    rising = [round(32767 * at / 80_000) for at in range(80_000)]
    found = drawn(wav([rising]))

    assert BARS / 2 < len(found.peaks) <= BARS
    assert list(found.peaks) == sorted(found.peaks)
    assert found.peaks[-1] == pytest.approx(1, abs=0.001)
    assert found.seconds == 10


def test_both_channels_are_seen_even_where_they_cancel_each_other() -> None:
    left = [round(30000 * math.sin(at / 5)) for at in range(8000)]
    found = drawn(wav([left, [-one for one in left]]))

    assert min(found.peaks) > 0.8


@pytest.mark.parametrize("variety", sorted(SOUNDS))
def test_every_kind_of_audio_is_drawn(variety: str) -> None:
    found = drawn(sound(variety), "")

    assert found.seconds == pytest.approx(2, abs=0.15)
    assert max(found.peaks) == pytest.approx(9000 / 32768, abs=0.1)


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".ogg"])
@pytest.mark.parametrize("body", [b"", b"x"])
def test_a_file_that_is_hardly_there_is_refused_with_words(
    tmp_path: Path, suffix: str, body: bytes
) -> None:
    (tmp_path / "x").write_bytes(body)

    with (tmp_path / "x").open("rb") as file, pytest.raises(EditingFailed, match="decoded"):
        waveform(file, suffix)


def test_silence_is_a_line() -> None:
    assert set(drawn(silence(1)).peaks) == {0}


@pytest.mark.parametrize("file", DAMAGED, ids=lambda file: file.name)
def test_what_is_damaged_is_drawn_or_refused_with_words(file: Path) -> None:
    try:
        found = drawn(file.read_bytes(), file.suffix)
    except EditingFailed:
        pass  # which has a sentence for people
    else:
        assert found.seconds > 0
        assert len(found.peaks) <= BARS


@FEW
@given(st.binary(max_size=300) | SAMPLES.map(lambda samples: wav([samples])[:-5]), st.data())
def test_any_bytes_are_drawn_or_refused_with_words(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    broken = body[:at] + data.draw(st.binary(max_size=4)) + body[at:]
    try:
        found = drawn(broken)
    except EditingFailed:
        pass  # which has a sentence for people
    else:
        assert all(0 <= peak <= 1 for peak in found.peaks)


@FEW
@given(st.lists(st.floats(0, 1), max_size=BARS).map(tuple), st.floats(0, 1000))
def test_a_drawing_stays_in_its_box(peaks: tuple[float, ...], seconds: float) -> None:
    found = Waveform(seconds, peaks)

    lines = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)", found.path)
    assert len(lines) == len(peaks)
    assert "".join(f"M{x} {top}V{end}" for x, top, end in lines) == found.path
    for x, top, end in lines:
        assert 0 <= float(x) <= BARS
        assert 0 <= float(top) < float(end) <= 100
    assert 0 <= float(found.at(seconds / 2)) <= BARS
