"""A cost is an interval that holds what fal will bill, whichever way it rounds."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.pricing import (
    MAX_MEGAPIXELS,
    PRESETS,
    actual,
    billed_frames,
    estimate,
    needed_frames,
)
from phonoscene.drops.sidecar import Sidecar
from phonoscene.fal.results import ReportedVideo
from phonoscene.jobs import Actual, Estimate, Job
from phonoscene.table.items import from_item, to_item, to_job, to_record
from tests.support.jobs import a_job

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


def test_the_pages_own_example_is_in_its_interval() -> None:
    cost = estimate(121, (1280, 720), PRICE)

    assert (cost.lower_usd, cost.upper_usd) == (Decimal("0.1343"), Decimal("0.1434"))
    assert cost.lower_usd <= Decimal("0.1344") <= cost.upper_usd


def test_the_most_that_the_schema_allows_costs_about_116_dollars() -> None:
    cost = estimate(481, (14142, 14142), PRICE)

    assert cost.upper_usd == Decimal("115.9524")


#: Frames that fal may bill for 17.894 s at 24 fps: one was measured, two follow from the model.
ROUNDINGS = (425, 430, 433)


def test_each_rounding_that_was_seen_is_in_the_interval() -> None:
    frames = needed_frames(Sidecar(prompt="a harbour"), 17.894)

    cost = estimate(frames, PRESETS["landscape_16_9"], PRICE, from_audio=True)

    for billed in ROUNDINGS:
        area = Decimal(1024 * 576 * billed) / 1_000_000
        assert cost.lower_usd <= area * PRICE
        assert math.ceil(area) * PRICE <= cost.upper_usd
    assert (cost.frames, frames) == (433, 430)


@given(st.floats(0.1, 20), st.floats(1, 60), sides, sides)
def test_whichever_way_frames_of_audio_are_rounded_their_cost_is_in_the_interval(
    seconds: float, fps: float, width: int, height: int
) -> None:
    needed = needed_frames(Sidecar(prompt="a harbour", fps=fps), seconds)
    cost = estimate(needed, (width, height), PRICE, from_audio=True)

    exact = round(seconds * fps, 6)
    for whole in (math.floor(exact), round(exact), math.ceil(exact)):
        for billed in ((whole - 1) // 8 * 8 + 1, whole, -(-(whole - 1) // 8) * 8 + 1):
            area = Decimal(width * height * max(9, billed)) / 1_000_000
            assert cost.lower_usd <= area * PRICE
            assert math.ceil(area) * PRICE <= cost.upper_usd


def test_frames_that_were_asked_for_by_number_are_not_taken_for_one_less() -> None:
    exact, heard = (
        estimate(121, PRESETS["square"], PRICE, from_audio=heard) for heard in (False, True)
    )

    assert exact.lower_usd == Decimal("0.0382")
    assert heard.lower_usd == Decimal("0.0356")  # 113 frames
    assert exact.upper_usd == heard.upper_usd


@pytest.mark.parametrize(
    ("asked", "made"), [((1280, 720), (1280, 768)), ((641, 361), (642, 362)), ((64, 1), (64, 64))]
)
def test_sides_that_the_models_grid_makes_larger_are_reserved(
    asked: tuple[int, int], made: tuple[int, int]
) -> None:
    cost = estimate(121, asked, PRICE)

    assert math.ceil(Decimal(made[0] * made[1] * 121) / 1_000_000) * PRICE <= cost.upper_usd
    assert (cost.width, cost.height) == asked


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
        (20.0417, 24, 482),  # a frame that is only begun is one that fal makes
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

    exact = Decimal(width * height * frames) / 1_000_000 * price
    grown = -(-width // 64) * 64 * -(-height // 64) * 64
    whole = -(-grown * cost.frames // 1_000_000) * price
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
def test_a_larger_image_never_costs_less(frames: int, height: int, widths: list[int]) -> None:
    costs = [estimate(frames, (width, height), PRICE) for width in sorted(widths)]

    assert all(less.upper_usd <= more.upper_usd for less, more in pairwise(costs))


@given(st.floats(0, 3600), st.floats(1, 60))
def test_frames_never_fall_short_of_the_audio_by_more_than_rounding(
    seconds: float, fps: float
) -> None:
    frames = needed_frames(Sidecar(prompt="a harbour", fps=fps), seconds)

    assert frames >= 9
    assert frames >= seconds * fps - 1e-6
    assert frames == 9 or frames - 1 <= seconds * fps + 1e-6


# What came ---------------------------------------------------------------------------------------

URL = "https://v3.fal.media/files/b/koala/video.mp4"


def priced_job(
    frames: int = 430, size: tuple[int, int] = (1024, 576), price: Decimal | None = PRICE
) -> Job:
    cost = estimate(frames, size, PRICE, from_audio=True)
    return a_job(
        arguments={"fps": 24}, estimate=cost.model_copy(update={"usd_per_megapixel": price})
    )


def came(units: str | None = None, job: Job | None = None, **reported: Any) -> Actual | None:
    video = ReportedVideo(url=URL, **reported)
    return actual(job or priced_job(), video, Decimal(units) if units else None)


SIZE: dict[str, Any] = {"width": 1024, "height": 576}


@pytest.mark.parametrize(
    ("reported", "units", "source", "frames", "lower", "upper"),
    [
        ({**SIZE, "num_frames": 430}, None, "frames", 430, "0.3020", "0.3085"),
        ({**SIZE, "num_frames": 433}, None, "frames", 433, "0.3077", "0.3085"),
        ({**SIZE, "num_frames": 434}, None, "frames", 434, "0.3077", "0.3146"),
        ({**SIZE, "duration": 17.9166, "fps": 24.0}, None, "duration", 430, "0.3020", "0.3085"),
        ({**SIZE, "duration": 17.9166}, None, "duration", 430, "0.3020", "0.3085"),
        ({**SIZE, "duration": 17.9166, "fps": 30}, None, "duration", 537, "0.3816", "0.3820"),
        ({"num_frames": 430}, None, "frames", 430, "0.3020", "0.3085"),
        (SIZE, None, "size", 433, "0.3020", "0.3085"),
        ({"width": 2048, "height": 576}, None, "size", 433, "0.6041", "0.6158"),
        ({**SIZE, "num_frames": 430}, "254", "billable_units", 430, "0.3060", "0.3061"),
        ({**SIZE, "num_frames": 430}, "250.6752", "billable_units", 430, "0.3020", "0.3021"),
        ({**SIZE, "num_frames": 430}, "9000", "billable_units", 430, "10.8450", "10.8450"),
        ({}, "254", "billable_units", 433, "0.3060", "0.3061"),
    ],
)
def test_what_came_is_priced_by_the_best_figure_that_fal_gives(
    reported: dict[str, Any], units: str | None, source: str, frames: int, lower: str, upper: str
) -> None:
    found = came(units, **reported)

    assert found
    assert (found.source, found.frames) == (source, frames)
    assert (found.lower_usd, found.upper_usd) == (Decimal(lower), Decimal(upper))


def test_a_size_that_fal_does_not_report_may_be_as_large_as_the_models_grid_makes_it() -> None:
    job = priced_job(size=(1000, 500))

    unknown = came(job=job, num_frames=430)
    known = came(job=job, num_frames=430, width=1000, height=500)

    assert job.estimate
    assert unknown
    assert known
    assert unknown.upper_usd == job.estimate.upper_usd > known.upper_usd


@pytest.mark.parametrize("units", ["0", "1", "20.04", "250.67"])
def test_a_bill_below_all_that_came_gives_no_money_back(units: str) -> None:
    """Its unit may be another than the megapixel: a second, or a video."""
    assert came(units, **SIZE, num_frames=430) == came(**SIZE, num_frames=430)
    assert came(units) is None


@pytest.mark.parametrize(
    "reported",
    [
        {},
        {"width": 1024},
        {"height": 576},
        {"fps": 24},
        {"num_frames": 0, "duration": 0},
        {"width": 0, "height": 0, "num_frames": -1},
        {"width": 2**63, "height": 2**63, "num_frames": 2**63},
        {"num_frames": 2**63},
        {"duration": 1e12, "fps": 1e12},
    ],
)
def test_figures_that_are_missing_or_cannot_be_true_are_compared_with_nothing(
    reported: dict[str, Any],
) -> None:
    assert came(**reported) is None


@pytest.mark.parametrize(
    "job", [priced_job(price=None), priced_job().model_copy(update={"estimate": None})]
)
def test_a_job_without_a_price_is_compared_with_nothing(job: Job) -> None:
    assert came(job=job, **SIZE, num_frames=430) is None


@given(frames_asked, sides, sides)
def test_what_comes_as_it_was_asked_for_costs_no_more_than_was_reserved(
    frames: int, width: int, height: int
) -> None:
    job = priced_job(frames, (width, height))

    found = came(job=job, num_frames=frames, width=width, height=height)

    assert found
    assert isinstance(job.estimate, Estimate)
    assert job.estimate.lower_usd <= found.lower_usd <= found.upper_usd <= job.estimate.upper_usd
    assert not job.model_copy(update={"actual": found}).costs_more_than_reserved


figures = st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.integers(1, 20_000))
numbers = st.one_of(st.none(), st.floats(0, 1e12), st.floats(0, 100))
units_billed = st.one_of(
    st.none(), st.decimals(0, 10**9, allow_nan=False, places=9), st.sampled_from([Decimal(0)])
)


@given(figures, figures, figures, numbers, numbers, units_billed)
def test_whatever_fal_reports_the_table_can_hold_what_follows_from_it(
    width: int, height: int, frames: int, duration: float, fps: float, units: Decimal | None
) -> None:
    video = ReportedVideo(
        url=URL, width=width, height=height, num_frames=frames, duration=duration, fps=fps
    )

    found = actual(priced_job(), video, units)

    job = priced_job().model_copy(update={"actual": found})
    back = to_job(from_item(to_item(to_record(job))))
    assert back == job
    if found:
        assert 0 <= found.lower_usd <= found.upper_usd
        assert found.megapixels <= MAX_MEGAPIXELS
