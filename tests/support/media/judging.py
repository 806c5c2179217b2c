"""Compares what the product makes of a file with what FFmpeg decodes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.support.media.reading import Reading, read
from tests.support.media.truth import NoAudio, decoded

if TYPE_CHECKING:
    from tests.support.media.recipes import Recipe

#: One frame of video at 24 frames a second.
FRAME: Final = 1 / 24
#: No video is as long as that, so of longer audio nothing more has to be known.
LONG_ENOUGH: Final = 660.0
#: Encoders' padding, and a last packet that is broken, are within a figure of a message.
ABOUT: Final = 0.25


@dataclass(frozen=True)
class Verdict:
    """One file, measured; ``wrong`` says what is wrong about it."""

    name: str
    bytes: int
    true: float | None
    reading: Reading
    wrong: str | None

    @property
    def error(self) -> float:
        """Seconds between the two lengths, where both are known."""
        measured = self.reading.seconds
        if self.true is None or measured is None or self.true > LONG_ENOUGH:
            return 0.0
        return abs(self.true - measured)


def judged(recipe: Recipe) -> Verdict:
    """Make a file, decode it, have the product measure it, and compare."""
    raw = recipe.make()
    true = seconds_of(raw, recipe.suffix)
    reading = read(raw, recipe.suffix)
    wrong = _wrong_oracle(recipe, true) or _wrong(recipe, true, reading)
    return Verdict(recipe.name, len(raw), true, reading, wrong)


def seconds_of(raw: bytes, suffix: str) -> float | None:
    """What FFmpeg decodes, or None where that is nothing."""
    try:
        return decoded(raw, suffix).seconds
    except NoAudio:
        return None


def _wrong_oracle(recipe: Recipe, true: float | None) -> str | None:
    """FFmpeg itself may be wrong, or the recipe: compared with what was put in."""
    if true is None:
        return None if recipe.refused else "FFmpeg decodes nothing"
    if recipe.seconds and abs(true - recipe.seconds) > recipe.padding:
        return f"FFmpeg decodes {true:.3f} s of the {recipe.seconds:g} s that were put in"
    return None


def _wrong(recipe: Recipe, true: float | None, reading: Reading) -> str | None:
    is_right = true is not None and is_measured(true, reading)
    if not recipe.refused:
        return None if is_right else f"true {true}, measured {reading.seconds} {reading.code}"
    if recipe.may_be_measured and is_right:
        return None
    if reading.code not in recipe.refused:
        return f"not refused with {recipe.refused} but {reading.code}, {reading.seconds} s"
    if recipe.claims and true:
        return _unsaid(reading.message, true, recipe)
    return None


def is_measured(true: float, reading: Reading) -> bool:
    """Whether the length is right to a frame; where no video is as long, whether it is no less."""
    if reading.seconds is None:
        return False
    if true > LONG_ENOUGH:
        return reading.seconds > LONG_ENOUGH
    return abs(reading.seconds - true) <= FRAME


def _unsaid(message: str, true: float, recipe: Recipe) -> str | None:
    """A refusal of what was cut off names what there is and what was claimed."""
    figures = [float(number) for number in re.findall(r"\d+\.\d+", message)]
    held = any(abs(figure - true) <= ABOUT for figure in figures)
    claimed = any(abs(figure - (recipe.claims or 0)) <= ABOUT for figure in figures)
    return None if held and claimed else f"{true} and {recipe.claims} are not both in {message!r}"
