"""Measures of a map: against brute force, closed forms and the published script."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from reference import brute_force_ratio, published_rectangle

from erf_tools.erf.measures import (
    area_ratio,
    displayed,
    effective_side,
    legacy_area_ratio,
    measure,
    second_moment_radius,
    smallest_square,
)
from erf_tools.errors import UsageError

maps = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    # Integers: sums are exact, so that ties at a threshold do not hang on rounding.
    elements=st.integers(0, 50).map(float),
).filter(lambda contribution: contribution.sum() > 0)
thresholds = st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])


@given(maps, thresholds)
def test_ratio_equals_brute_force(contribution: np.ndarray, threshold: float) -> None:
    assert area_ratio(contribution, threshold) == pytest.approx(
        brute_force_ratio(contribution, threshold)
    )


@given(maps, thresholds, thresholds)
def test_ratio_rises_with_the_threshold_and_is_a_share(
    contribution: np.ndarray, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    for ratio in (area_ratio, legacy_area_ratio):
        assert 0 < ratio(contribution, low) <= ratio(contribution, high) <= 1


@given(maps, thresholds, st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**30]))
def test_linear_ratio_and_lengths_do_not_depend_on_scale(
    contribution: np.ndarray, threshold: float, factor: float
) -> None:
    scaled = factor * contribution
    assert area_ratio(scaled, threshold) == area_ratio(contribution, threshold)
    assert effective_side(scaled) == effective_side(contribution)
    assert second_moment_radius(scaled) == pytest.approx(second_moment_radius(contribution))


def test_legacy_ratio_depends_on_scale() -> None:
    y, x = np.mgrid[-50:51, -50:51]
    contribution = np.exp(-(y**2 + x**2) / 200)
    assert legacy_area_ratio(1e4 * contribution, 0.5) > 2 * legacy_area_ratio(contribution, 0.5)


@pytest.mark.parametrize("side", [64, 65, 128])
@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.99])
def test_legacy_ratio_is_the_published_one(side: int, threshold: float) -> None:
    contribution = np.random.default_rng(side).random((side, side)) ** 4 * 100
    published = published_rectangle(
        np.log10(contribution + 1) / np.max(np.log10(contribution + 1)), threshold
    )
    if published is not None:
        assert legacy_area_ratio(contribution, threshold) == pytest.approx(published, rel=1e-12)
    else:
        assert legacy_area_ratio(contribution, threshold) == 1


def test_unreached_threshold_gives_the_whole_map() -> None:
    # All mass in the corner that no published square holds: the script fails with a TypeError.
    contribution = np.zeros((8, 8))
    contribution[0, 0] = 1
    assert published_rectangle(contribution, 0.5) is None
    assert area_ratio(contribution, 0.5) == 1


@pytest.mark.parametrize("shape", [(1024, 512), (512, 1024)])
def test_rectangular_maps(shape: tuple[int, int]) -> None:
    # A uniform map: the square's share of the mass is its share of the area.
    contribution = np.ones(shape)
    for threshold in (0.2, 0.5, 0.99, 0.999):
        ratio = area_ratio(contribution, threshold)
        assert threshold < ratio <= min(1, threshold + 0.01)
    # The naive slice starts below zero there and is empty: a share of 0 where it should be 1.
    square = smallest_square(contribution, 0.99)
    assert square is not None
    assert min(square.top, square.left) >= 0


@pytest.mark.parametrize("contribution", [np.zeros((6, 6)), np.full((6, 6), np.nan)])
def test_maps_without_a_total_give_nan(contribution: np.ndarray) -> None:
    measures = measure(contribution)
    values = [*measures.legacy.values(), *measures.linear.values(), measures.effective_side]
    assert all(math.isnan(value) for value in [*values, measures.sigma_y, measures.sigma_x])
    assert smallest_square(contribution, 0.5) is None


def test_one_pixel_in_the_centre() -> None:
    contribution = np.zeros((101, 101))
    contribution[50, 50] = 7
    assert area_ratio(contribution, 0.99) == pytest.approx(9 / 101**2)
    assert effective_side(contribution) == 3
    assert second_moment_radius(contribution) == (0, 0)


def test_gaussian_has_its_own_sigma() -> None:
    y, x = np.mgrid[-200:201, -200:201]
    contribution = np.exp(-(y**2) / (2 * 20**2) - x**2 / (2 * 30**2))
    assert second_moment_radius(contribution) == pytest.approx((20, 30), rel=1e-6)


def test_uniform_map_in_closed_form() -> None:
    contribution = np.ones((301, 301))
    variance = (301**2 - 1) / 12
    assert second_moment_radius(contribution) == pytest.approx((variance**0.5, variance**0.5))
    assert measure(contribution).radius == pytest.approx((2 * variance) ** 0.5)
    # The smallest odd side whose square exceeds half of 301 squared.
    assert effective_side(contribution) == 213


def test_displayed_is_the_published_display() -> None:
    contribution = np.array([[0.0, 9.0], [99.0, 0.5]])
    expected = np.log10(contribution + 1) / 2
    np.testing.assert_allclose(displayed(contribution), expected)
    assert displayed(np.zeros((3, 3))).max() == 0


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 1.5])
def test_threshold_outside_its_range_is_named(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold is"):
        area_ratio(np.ones((4, 4)), threshold)


def test_a_map_has_two_dimensions() -> None:
    with pytest.raises(UsageError, match=r"\[height, width\]; got shape \[2, 3, 4\]"):
        area_ratio(np.ones((2, 3, 4)), 0.5)
