"""Where long audio is cut: on a grid of frames, in silences, and where its scenes begin.

fal rounds a number of frames in one of several ways, and does not say which. A segment asks for
8n + 1 frames and gets a slice of exactly that length, so that all of them agree. Segments follow
each other frame by frame, and nothing is added up from rounded lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from phonoscene.comparison import MIN_FRAMES
from phonoscene.drops.media_facts import SAMPLE_RATE
from phonoscene.drops.pricing import STEP_FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: A shorter segment is no shot: models need some time for a movement.
MIN_SECONDS: Final = 3.0
#: How much of the longest segment is used: the rest is room to reach a silence.
USED: Final = 0.9
#: How far a cut may leave its even place for a silence, as a part of a segment.
REACH: Final = 0.25
#: Bytes of the function's disk that a join may fill: the segments, the audio, and the result.
MAX_JOIN_BYTES: Final = 9_000_000_000


@dataclass(frozen=True)
class Span:
    """The frames of one segment: ``frames`` from the frame ``first`` on; of a scene, from 0."""

    scene: int
    first: int
    frames: int

    @property
    def end(self) -> int:
        """The first frame behind it."""
        return self.first + self.frames


@dataclass(frozen=True)
class Grid:
    """The lengths that a segment may have, in frames, at ``fps`` frames per second."""

    fps: float
    max_frames: int

    @property
    def most(self) -> int:
        """The longest segment: 8n + 1 frames."""
        return (self.max_frames - 1) // STEP_FRAMES * STEP_FRAMES + 1

    @property
    def least(self) -> int:
        """The shortest one: at most half the longest, or some lengths could not be divided."""
        return max(MIN_FRAMES, min(_up(MIN_SECONDS * self.fps), _down(self.most / 2)))

    @property
    def min_scene(self) -> float:
        """The shortest scene, in seconds: both its ends may move to the grid."""
        return (self.least + STEP_FRAMES) / self.fps

    def cuts(
        self, seconds: float, starts: Sequence[float], silences: Sequence[float]
    ) -> list[Span]:
        """The segments of ``seconds`` of audio whose scenes begin at ``starts``, the first at 0.

        ``silences``: the middle of each, in seconds, ascending. The last segment ends less than
        eight frames after the audio, and never before it; a scene begins within the grid's reach of
        its time. Every scene must be at least ``least`` frames long, unless it is the only one.
        """
        end = max(MIN_FRAMES, math.ceil(round(seconds * self.fps, 6)))
        targets = [round(start * self.fps) for start in starts[1:]] + [end]
        quiet = [middle * self.fps for middle in silences]
        spans: list[Span] = []
        at = 0
        for scene, target in enumerate(targets):
            is_last = scene == len(targets) - 1
            for frames in self._scene(at, target, quiet, is_last=is_last):
                spans.append(Span(scene, at, frames))
                at += frames
        return spans

    def _scene(
        self, at: int, target: int, quiet: Sequence[float], *, is_last: bool
    ) -> Iterator[int]:
        """The lengths of a scene's segments, which end as near to ``target`` as the grid allows."""
        count = max(1, math.ceil((target - at) / (USED * self.most)))
        if count * self.least > target - at:
            count = max(1, (target - at) // self.least)
        count = max(count, math.ceil((target - at) / self.most))
        for left in range(count - 1, 0, -1):
            frames = self._cut(at, target, left, quiet)
            yield frames
            at += frames
        # the only scene of short audio is as short as a request may be, or it could not be joined
        rest = max(MIN_FRAMES, _up(target - at)) if is_last else max(self.least, _near(target - at))
        yield min(self.most, rest)

    def _cut(self, at: int, target: int, left: int, quiet: Sequence[float]) -> int:
        """The length of a segment that ``left`` others follow within its scene."""
        even = (target - at) / (left + 1)
        # what is left must fit between the shortest and the longest segments
        first = max(self.least, target - at - left * self.most)
        last = min(self.most, target - at - left * self.least)
        reach = REACH * even
        places = [
            place - at
            for place in quiet
            if max(first, even - reach) <= place - at <= min(last, even + reach)
        ]
        frames = _near(min(places, key=lambda place: abs(place - even), default=even))
        lowest, highest = _up(first), max(_up(first), _down(last))
        return min(max(frames, lowest), highest)


def samples(first: int, frames: int, fps: float) -> tuple[int, int]:
    """The first sample of some frames, and how many they have; counted in absolute samples."""
    begin, end = (round(frame * SAMPLE_RATE / fps) for frame in (first, first + frames))
    return begin, end - begin


def _up(frames: float) -> int:
    """The next number of the form 8n + 1."""
    return math.ceil((frames - 1) / STEP_FRAMES) * STEP_FRAMES + 1


def _down(frames: float) -> int:
    return math.floor((frames - 1) / STEP_FRAMES) * STEP_FRAMES + 1


def _near(frames: float) -> int:
    return round((frames - 1) / STEP_FRAMES) * STEP_FRAMES + 1
