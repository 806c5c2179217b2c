"""A cost is an interval that holds what fal will bill, whichever way it rounds."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.pricing import PRESETS, billed_frames, estimate, needed_frames
from phonoscene.sidecar import Sidecar

PRICE = Decimal("0.001205")

#: Preset, frames, megapixels, and the cost from the exact area to megapixels rounded up.
COSTS = [
    ("square", 121, "31.719424", "0.0382", "0.0386"),
    ("square", 241, "63.176704", "0.0761", "0.0772"),
    ("square", 481, "126.091264", "0.1519", "0.1531"),
    ("landscape_16_9", 121, "71.368704", "0.0859", "0.0868"),
    ("portrait_16_9", 241, "142.147584", "0.1712", "0.1724"),
    ("landscape_16_9", 481, "283.705344", "0.3418", "0.3423"),
    ("landscape_4_3", 121, "95.158272", "0.1146", "0.1157"),
    ("portrait_4_3", 241, "189.530112", "0.2283", "0.2290"),
    ("landscape_4_3", 481, "378.273792", "0.4558", "0.4567"),
    ("square_hd", 121, "126.877696", "0.1528", "0.1531"),
    ("square_hd", 241, "252.706816", "0.3045", "0.3049"),
    ("square_hd", 481, "504.365056", "0.6077", "0.6086"),
]

frames_asked = st.integers(9, 481)
sides = st.integers(1, 14142)


@pytest.mark.parametrize(("preset", "frames", "megapixels", "lower", "upper"), COSTS)
def test_a_preset_costs_what_the_page_says(
    preset: str, frames: int, megapixels: str, lower: str, upper: str
) -> None:
    cost = estimate(frames, PRESETS[preset], PRICE)

    assert cost.frames == frames
    assert cost.megapixels == Decimal(megapixels)
    assert (cost.lower_usd, cost.upper_usd) == (Decimal(lower), Decimal(upper))


def test_the_pages_own_example_lies_in_its_interval() -> None:
    cost = estimate(121, (1280, 720), PRICE)

    assert (cost.lower_usd, cost.upper_usd) == (Decimal("0.1343"), Decimal("0.1350"))
    assert cost.lower_usd <= Decimal("0.1344") <= cost.upper_usd


def test_the_most_that_the_schema_allows_costs_about_116_dollars() -> None:
    cost = estimate(481, (14142, 14142), PRICE)

    assert cost.upper_usd == Decimal("115.9198")


@pytest.mark.parametrize(
    ("frames", "billed"),
    [(9, 9), (10, 17), (16, 17), (17, 17), (18, 25), (121, 121), (122, 129), (480, 481)],
)
def test_frames_are_billed_as_the_next_number_of_the_form_8n_plus_1(
    frames: int, billed: int
) -> None:
    assert billed_frames(frames) == billed


def test_no_number_of_frames_is_billed_as_fewer_or_as_eight_more() -> None:
    billed = {frames: billed_frames(frames) for frames in range(9, 482)}

    assert all(number % 8 == 1 for number in billed.values())
    assert all(frames <= number < frames + 8 for frames, number in billed.items())


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [
        (5.0, 24, 120),
        (5.01, 24, 121),
        (20.0, 24, 480),
        (20.04, 24, 481),
        (20.05, 24, 482),
        (0.001, 24, 9),
        (0.0, 24, 9),
        (8.016666666666667, 60, 481),
        (481.0, 1, 481),
        (19.2, 25, 480),  # 19.2 x 25 is 480.00000000000006 to some
        (3.3, 30, 99),
    ],
)
def test_a_video_that_matches_its_audio_has_frames_for_every_second_of_it(
    seconds: float, fps: float, frames: int
) -> None:
    sidecar = Sidecar(prompt="a harbour", fps=fps)

    assert needed_frames(sidecar, seconds) == frames


def test_a_video_that_does_not_match_its_audio_has_the_frames_that_were_asked_for() -> None:
    sidecar = Sidecar(prompt="a harbour", match_audio_length=False, num_frames=33)

    assert needed_frames(sidecar, 500.0) == 33


@given(frames_asked, sides, sides, st.decimals("0.0001", "1", places=6))
def test_the_interval_holds_the_exact_area_and_whole_megapixels(
    frames: int, width: int, height: int, price: Decimal
) -> None:
    cost = estimate(frames, (width, height), price)

    exact = Decimal(width * height * cost.frames) / 1_000_000 * price
    whole = -(-width * height * cost.frames // 1_000_000) * price
    assert cost.lower_usd <= exact <= cost.upper_usd
    assert exact <= whole <= cost.upper_usd
    assert cost.upper_usd - whole < Decimal("0.0001")


@given(sides, sides, st.lists(frames_asked, min_size=2))
def test_more_frames_never_cost_less(width: int, height: int, frames: list[int]) -> None:
    costs = [estimate(count, (width, height), PRICE) for count in sorted(frames)]

    for less, more in pairwise(costs):
        assert less.lower_usd <= more.lower_usd
        assert less.upper_usd <= more.upper_usd


@given(frames_asked, sides, st.lists(sides, min_size=2))
def test_a_larger_picture_never_costs_less(frames: int, height: int, widths: list[int]) -> None:
    costs = [estimate(frames, (width, height), PRICE) for width in sorted(widths)]

    assert all(less.upper_usd <= more.upper_usd for less, more in pairwise(costs))


@given(st.floats(0, 3600), st.floats(1, 60))
def test_frames_never_fall_short_of_the_audio_by_more_than_rounding(
    seconds: float, fps: float
) -> None:
    frames = needed_frames(Sidecar(prompt="a harbour", fps=fps), seconds)

    assert frames >= 9
    assert frames >= seconds * fps - 0.001
    assert frames == 9 or frames - 1 <= seconds * fps + 0.001
