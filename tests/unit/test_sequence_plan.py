"""Where long audio is cut: the segments tile it, none is too long or too short."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phonoscene.drops.media_facts import SAMPLE_RATE
from phonoscene.editing.joiner import check_length
from phonoscene.sequences.plan import Grid, Span, samples

if TYPE_CHECKING:
    from collections.abc import Sequence

FPS = st.sampled_from([1.0, 8.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0])
QUIET = st.lists(st.floats(0, 700), max_size=300).map(sorted)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Grid, float, list[float], list[float]]:
    grid = Grid(draw(FPS), draw(st.sampled_from([481, 477, 241, 121])))
    lengths = draw(st.lists(st.floats(grid.min_scene, 200), min_size=1, max_size=12))
    starts = [0.0, *itertools.accumulate(lengths)]
    seconds = starts.pop()
    assume(seconds <= 900)
    return grid, seconds, starts, draw(QUIET)


@given(plans())
def test_segments_tile_the_audio_within_the_grid(
    plan: tuple[Grid, float, list[float], list[float]],
) -> None:
    grid, seconds, starts, quiet = plan
    spans = grid.cuts(seconds, starts, quiet)
    assert spans[0].first == 0
    assert all(one.end == after.first for one, after in itertools.pairwise(spans))
    assert all(span.frames % 8 == 1 for span in spans)
    assert all(grid.least <= span.frames <= grid.most for span in spans)
    over = spans[-1].end - seconds * grid.fps
    assert over >= -1e-5
    assert over < 8
    check_length(
        spans[-1].end, Fraction(str(grid.fps)), Fraction(seconds)
    )  # what is paid is joined
    assert [scene for scene, _ in itertools.groupby(spans, lambda span: span.scene)] == list(
        range(len(starts))
    )
    for scene, start in enumerate(starts):
        begun = next(span.first for span in spans if span.scene == scene)
        assert abs(begun - start * grid.fps) <= 8


@given(FPS, st.floats(0.01, 4))
def test_short_audio_with_one_scene_is_a_request_as_short_as_any(
    fps: float, seconds: float
) -> None:
    [span] = Grid(fps, 481).cuts(seconds, [0.0], [])
    assert span.frames == max(9, math.ceil((math.ceil(round(seconds * fps, 6)) - 1) / 8) * 8 + 1)
    check_length(span.frames, Fraction(str(fps)), Fraction(seconds))  # what is paid is joined


@pytest.mark.parametrize(
    ("frames", "fps"), [(249, 25.0), (465, 12.5), (481, 30.0), (209, 23.976), (1009, 59.94)]
)
def test_audio_that_ends_with_a_frame_gets_none_for_the_rounding_of_its_seconds(
    frames: int, fps: float
) -> None:
    seconds = frames / fps
    assert seconds * fps > frames  # which a computer says of these

    spans = Grid(fps, 1201).cuts(seconds, [0.0], [])

    assert sum(span.frames for span in spans) - len(spans) + 1 == frames


@given(plans())
def test_slices_follow_each_other_sample_by_sample(
    plan: tuple[Grid, float, list[float], list[float]],
) -> None:
    grid, seconds, starts, quiet = plan
    slices = [
        samples(span.first, span.frames, grid.fps) for span in grid.cuts(seconds, starts, quiet)
    ]
    assert slices[0][0] == 0
    assert all(one[0] + one[1] == after[0] for one, after in itertools.pairwise(slices))
    assert sum(length for _, length in slices) >= int(seconds * SAMPLE_RATE) - 1


def _starts(spans: Sequence[Span], fps: float) -> list[float]:
    return [round(span.first / fps, 2) for span in spans]


def test_a_minute_without_silence_is_cut_evenly() -> None:
    spans = Grid(24.0, 481).cuts(57.0, [0.0], [])
    assert len(spans) == 4
    assert max(span.frames for span in spans) - min(span.frames for span in spans) <= 8


def test_a_cut_moves_to_the_nearest_silence_within_reach() -> None:
    even = Grid(24.0, 481).cuts(57.0, [0.0], [])[1].first / 24
    spans = Grid(24.0, 481).cuts(57.0, [0.0], [even + 1.2, even + 3])
    assert abs(spans[1].first / 24 - (even + 1.2)) <= 4 / 24


def test_scenes_begin_where_they_say() -> None:
    spans = Grid(24.0, 481).cuts(60.0, [0.0, 12.5, 42.5], [])
    begun = [next(span.first for span in spans if span.scene == scene) / 24 for scene in range(3)]
    assert begun == pytest.approx([0, 12.5, 42.5], abs=4 / 24)


def test_another_start_of_a_late_scene_leaves_earlier_segments_alone() -> None:
    grid = Grid(24.0, 481)
    one, other = (grid.cuts(120.0, [0.0, 30.0, late], [])[:2] for late in (70.0, 71.0))
    assert one == other


@given(st.floats(20.1, 600), FPS)
def test_no_segment_is_needed_twice_where_the_price_is_the_same(seconds: float, fps: float) -> None:
    """Cutting makes at most one frame more a segment, and seven at the end."""
    grid = Grid(fps, 481)
    spans = grid.cuts(seconds, [0.0], [])
    assert sum(span.frames for span in spans) < seconds * fps + 8
    assert len(spans) <= math.ceil(math.ceil(seconds * fps) / (0.9 * grid.most))
