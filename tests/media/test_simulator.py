"""fal's simulator makes a video of every kind of audio, as long as the product measured it."""

from __future__ import annotations

from fractions import Fraction
from threading import Event
from typing import TYPE_CHECKING

import av
import pytest

from local.fal_simulator.generation.render import CONTAINERS, Shot, audio_seconds, render
from local.fal_simulator.schema import OutputType, Quality
from tests.support.media import one_second
from tests.support.media.judging import is_measured
from tests.support.media.reading import read

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 25


@pytest.mark.parametrize("kind", one_second.CHOICES[one_second.ALL], ids=", ".join)
def test_what_the_product_measures_the_simulator_hears_and_renders(
    tmp_path: Path, kind: one_second.Kind
) -> None:
    audio, video = tmp_path / "audio", tmp_path / "video.mp4"
    audio.write_bytes(one_second.sound(kind))
    shot = Shot(
        audio=audio,
        output=video,
        container=CONTAINERS[OutputType.X264],
        width=64,
        height=64,
        fps=Fraction(24),
        frames=FRAMES,
        quality=Quality.LOW,
        mood="any",
    )

    render(shot, Event())

    assert is_measured(audio_seconds(audio, enough=60), read(one_second.sound(kind), kind[0]))
    with av.open(video) as made:
        assert sum(1 for _ in made.decode(video=0)) == FRAMES
