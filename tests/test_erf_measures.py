"""Measures of a map: against brute force, closed forms and the published script."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from reference import brute_force_ratio, published_rectangle
from scipy.optimize import curve_fit

from erf_tools.erf.display import displayed
from erf_tools.erf.measures import measure
from erf_tools.erf.measures.families.gaussian import fit_gaussian
from erf_tools.erf.measures.families.squares import effective_side, smallest_square
from erf_tools.erf.measures.radial import radial_profile
from erf_tools.errors import UsageError

maps = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    # Integers: sums are exact, so that ties at a threshold do not hang on rounding.
    elements=st.integers(0, 50).map(float),
).filter(lambda contribution: contribution.sum() > 0)
thresholds = st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])


def area_ratio(
    contribution: np.ndarray, threshold: float, center: tuple[float, float] | None = None
) -> float:
    square = smallest_square(contribution, threshold, center)
    return math.nan if square is None else square.ratio


def sigmas(contribution: np.ndarray) -> tuple[float, float]:
    found = measure(contribution)
    return found.sigma_y, found.sigma_x


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
    assert 0 < area_ratio(contribution, low) <= area_ratio(contribution, high) <= 1


@given(maps)
def test_legacy_ratio_rises_with_the_threshold_and_is_a_share(contribution: np.ndarray) -> None:
    measured = measure(contribution)
    at_20, at_30, at_50, at_99 = (
        getattr(measured, f"legacy_{percent}") for percent in (20, 30, 50, 99)
    )
    assert 0 < at_20 <= at_30 <= at_50 <= at_99 <= 1


@given(maps, thresholds, st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**30]))
def test_linear_ratio_and_lengths_do_not_depend_on_scale(
    contribution: np.ndarray, threshold: float, factor: float
) -> None:
    scaled = factor * contribution
    assert area_ratio(scaled, threshold) == area_ratio(contribution, threshold)
    assert effective_side(scaled) == effective_side(contribution)
    assert sigmas(scaled) == pytest.approx(sigmas(contribution))


def test_legacy_ratio_depends_on_scale() -> None:
    y, x = np.mgrid[-50:51, -50:51]
    contribution = np.exp(-(y**2 + x**2) / 200)
    assert measure(1e4 * contribution).legacy_50 > 2 * measure(contribution).legacy_50


@pytest.mark.parametrize("side", [64, 65, 128])
@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.99])
def test_legacy_ratio_is_the_published_one(side: int, threshold: float) -> None:
    contribution = np.random.default_rng(side).random((side, side)) ** 4 * 100
    published = published_rectangle(
        np.log10(contribution + 1) / np.max(np.log10(contribution + 1)), threshold
    )
    found = getattr(measure(contribution), f"legacy_{100 * threshold:g}")
    if published is None:
        assert found == 1
    else:
        assert found == pytest.approx(published, rel=1e-12)


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
    assert all(math.isnan(value) for value in measure(contribution).values().values())
    assert smallest_square(contribution, 0.5) is None


@pytest.mark.parametrize("value", [-0.5, -math.inf])
def test_negative_values_are_refused(value: float) -> None:
    contribution = np.eye(5)
    contribution[1, 3] = value
    with pytest.raises(UsageError, match="the map has negative values; a map of contributions"):
        measure(contribution)


def test_one_pixel_in_the_centre() -> None:
    contribution = np.zeros((101, 101))
    contribution[50, 50] = 7
    assert area_ratio(contribution, 0.99) == pytest.approx(9 / 101**2)
    assert effective_side(contribution) == 3
    assert sigmas(contribution) == (0, 0)


def test_gaussian_has_its_own_sigma() -> None:
    y, x = np.mgrid[-200:201, -200:201]
    contribution = np.exp(-(y**2) / (2 * 20**2) - x**2 / (2 * 30**2))
    assert sigmas(contribution) == pytest.approx((20, 30), rel=1e-6)


def test_uniform_map_in_closed_form() -> None:
    contribution = np.ones((301, 301))
    variance = (301**2 - 1) / 12
    assert sigmas(contribution) == pytest.approx((variance**0.5, variance**0.5))
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


def gaussian(
    size: tuple[int, int], center: tuple[float, float], sigma: tuple[float, float]
) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.exp(-(((y - center[0]) / sigma[0]) ** 2 + ((x - center[1]) / sigma[1]) ** 2) / 2)


@pytest.mark.parametrize("center", [(3.0, 5.0), (3.5, 5.5), (3.5, 4.0), (0.0, 8.0)])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.99])
def test_squares_about_any_half_pixel_equal_brute_force(
    center: tuple[float, float], threshold: float
) -> None:
    contribution = np.random.default_rng(0).integers(1, 50, (8, 9)).astype(float)
    y, x = np.mgrid[:8, :9]
    for reach in range(1, 20):
        # Sides of 2 reach + 1 about a pixel, of 2 reach between two.
        half_y = reach if center[0] % 1 == 0 else reach - 0.5
        half_x = reach if center[1] % 1 == 0 else reach - 0.5
        inside = (np.abs(y - center[0]) <= half_y) & (np.abs(x - center[1]) <= half_x)
        if contribution[inside].sum() > threshold * contribution.sum():
            break
    assert area_ratio(contribution, threshold, center) == inside.sum() / 72


def test_the_published_square_is_that_about_the_middle_pixel() -> None:
    contribution = np.random.default_rng(0).random((16, 16))
    assert area_ratio(contribution, 0.5) == area_ratio(contribution, 0.5, (8.0, 8.0))
    shifted = gaussian((64, 64), (20, 40), (4, 4))
    assert area_ratio(shifted, 0.5, (20, 40)) < area_ratio(shifted, 0.5) / 4
    assert measure(shifted, (20, 40)).legacy_50 == measure(shifted).legacy_50


def test_a_centre_outside_the_map_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be centred at pixel 9,3, outside the 8x8 map"):
        area_ratio(np.ones((8, 8)), 0.5, (9, 3))
    with pytest.raises(UsageError, match="cannot be centred at pixel nan,3"):
        area_ratio(np.ones((8, 8)), 0.5, (math.nan, 3))
    with pytest.raises(UsageError, match="outside the 8x8 map"):
        area_ratio(np.zeros((8, 8)), 0.5, (9, 3))


@given(maps)
def test_turning_a_map_swaps_its_axes(contribution: np.ndarray) -> None:
    turned = contribution.T
    assert measure(turned).anisotropy == pytest.approx(
        measure(contribution).anisotropy, nan_ok=True
    )
    assert measure(turned).participation == pytest.approx(measure(contribution).participation)
    assert measure(turned).extent == measure(contribution).extent
    assert measure(turned).cross_share == pytest.approx(
        measure(contribution).cross_share, nan_ok=True
    )
    assert sigmas(contribution.T) == pytest.approx(sigmas(contribution)[::-1])


@given(maps, st.sampled_from([2.0**-20, 4.0, 2.0**30]))
def test_shape_measures_do_not_depend_on_scale_and_stay_in_range(
    contribution: np.ndarray, factor: float
) -> None:
    names = ("anisotropy", "cross_share", "participation", "extent")
    values, scaled = (
        {name: getattr(measured, name) for name in names}
        for measured in (measure(contribution), measure(factor * contribution))
    )
    for name in names:
        assert scaled[name] == pytest.approx(values[name], nan_ok=True)
    assert 1 / contribution.size <= values["participation"] <= 1 + 1e-12
    assert not values["anisotropy"] < 1
    assert not values["cross_share"] > 1 + 1e-12
    assert 1 <= values["extent"] <= math.sqrt(contribution.size)


def test_anisotropy_of_a_turned_ellipse_and_of_a_line() -> None:
    y, x = np.mgrid[:101, :101] - 50
    along, across = (x + y) / math.sqrt(2), (x - y) / math.sqrt(2)
    ellipse = np.exp(-((along / 12) ** 2 + (across / 4) ** 2) / 2)
    assert measure(ellipse).anisotropy == pytest.approx(3, rel=0.01)
    assert measure(np.eye(20)).anisotropy == math.inf
    assert math.isnan(measure(np.eye(1)).anisotropy)


def test_cross_share_tells_a_cross_from_a_disc_and_a_saltire() -> None:
    y, x = np.mgrid[:101, :101] - 50
    disc = (np.hypot(x, y) <= 40).astype(float)
    assert measure(disc).cross_share == pytest.approx(0.5, abs=0.01)
    cross = ((np.abs(x) <= 1) | (np.abs(y) <= 1)).astype(float)
    assert measure(cross).cross_share > 0.97
    assert measure((np.abs(x) == np.abs(y)).astype(float)).cross_share == 0
    assert measure(np.ones((101, 101))).cross_share == pytest.approx(
        math.tan(math.pi / 8), abs=0.01
    )


def test_participation_and_extent_of_known_maps() -> None:
    single = np.zeros((10, 10))
    single[2, 3] = 7
    assert measure(single).participation == pytest.approx(0.01)
    assert measure(np.ones((10, 10))).participation == pytest.approx(1)
    assert measure(single).extent == 1
    # A Gaussian is above 4.55 % of its peak within sqrt(-2 ln 0.0455) standard deviations.
    wide = measure(gaussian((201, 201), (100, 100), (20, 20))).extent
    assert wide == pytest.approx(20 * math.sqrt(math.pi * -2 * math.log(0.0455)), rel=0.005)


@pytest.mark.parametrize("sigma", [(3.0, 5.0), (30.0, 20.0), (100.0, 60.0)])
def test_gaussian_fit_equals_a_full_resolution_fit(sigma: tuple[float, float]) -> None:
    """A Gaussian on a ramp with noise, so that no fit is perfect."""
    generator = np.random.default_rng(0)
    contribution = gaussian((192, 230), (80.3, 120.7), sigma)
    contribution += np.linspace(0, 0.02, 230) + 0.01 * generator.random((192, 230))
    ours = fit_gaussian(contribution)
    y, x = np.mgrid[:192, :230]

    def surface(_: object, a: float, row: float, column: float, s: float, t: float) -> np.ndarray:
        return (a * np.exp(-(((y - row) / s) ** 2 + ((x - column) / t) ** 2) / 2)).ravel()

    normalised = (contribution / contribution.sum()).ravel()
    start = (normalised.max(), 80, 120, *sigma)
    fitted, _ = curve_fit(surface, None, normalised, start)
    assert (ours.y, ours.x) == pytest.approx(fitted[1:3], abs=0.2)
    assert (ours.sigma_y, ours.sigma_x) == pytest.approx(np.abs(fitted[3:]), rel=0.01)
    assert ours.amplitude == pytest.approx(fitted[0], rel=0.02)


def test_gaussian_fit_equals_that_of_openerf() -> None:
    pytest.importorskip("lmfit", reason="the extra `test` is missing")
    openerf = pytest.importorskip("openerf.fit", reason="the extra `test` is missing")
    contribution = gaussian((64, 64), (30, 33), (6, 9)) + 0.1 * gaussian(
        (64, 64), (30, 33), (25, 20)
    )
    ours, theirs = fit_gaussian(contribution), openerf.fit_2d_gaussian(contribution)
    assert (ours.y, ours.x) == pytest.approx((theirs.yc, theirs.xc), abs=0.02)
    assert (ours.sigma_y, ours.sigma_x) == pytest.approx((theirs.sigma_y, theirs.sigma_x), rel=0.01)
    assert ours.r_squared == pytest.approx(theirs.r_squared, abs=0.005)


@pytest.mark.parametrize("name", ["resnet101.a1_in1k", "swin_base_patch4_window7_224.ms_in1k"])
def test_gaussian_fit_of_a_published_map_equals_that_of_openerf(
    name: str, published_maps: Path
) -> None:
    pytest.importorskip("lmfit", reason="the extra `test` is missing")
    openerf = pytest.importorskip("openerf.fit", reason="the extra `test` is missing")
    contribution = np.load(published_maps / f"OpenERF_{name}.npy").astype(np.float64)
    ours, theirs = fit_gaussian(contribution), openerf.fit_2d_gaussian(contribution)
    assert ours.r_squared == pytest.approx(theirs.r_squared, abs=1e-3)
    assert ours.sigma_y == pytest.approx(abs(theirs.sigma_y), rel=0.01)
    assert ours.sigma_x == pytest.approx(abs(theirs.sigma_x), rel=0.01)


def test_gaussian_fit_finds_a_narrow_peak_on_wide_noise() -> None:
    contribution = gaussian((256, 256), (90, 200), (1, 1))
    contribution += 1e-3 * np.random.default_rng(0).random((256, 256))
    fitted = fit_gaussian(contribution)
    assert (fitted.y, fitted.x) == pytest.approx((90, 200), abs=0.5)
    assert fitted.sigma_y == pytest.approx(1, abs=0.3)


def test_gaussian_fit_of_a_map_that_has_no_gaussian() -> None:
    # 1e-17 of rounding is no shape either.
    for flat in (np.ones((64, 64)), np.full((100, 77), 0.1)):
        assert math.isnan(fit_gaussian(flat).sigma_y)
        assert math.isnan(fit_gaussian(flat).r_squared)
    noise = fit_gaussian(np.random.default_rng(0).random((64, 48)))
    assert -0.5 <= noise.y <= 63.5
    assert -0.5 <= noise.x <= 47.5
    assert noise.sigma_y <= 640
    assert noise.sigma_x <= 480


def test_radial_profile_of_a_gaussian_and_its_mass() -> None:
    contribution = gaussian((61, 81), (25, 40), (8, 8))
    profile = radial_profile(contribution, (25, 40))
    expected = np.exp(-(profile.radius[1:30] ** 2) / 128)
    assert profile.mean[1:30] == pytest.approx(expected, rel=0.03)
    assert profile.mean[0] == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1)])
@pytest.mark.parametrize("value", [0.0, 1.0, math.nan, math.inf])
def test_odd_maps_have_values_or_nan_and_never_raise(shape: tuple[int, int], value: float) -> None:
    values = measure(np.full(shape, value)).values()
    if value != 1:
        assert all(math.isnan(each) for each in values.values())
    else:
        assert values["participation"] == 1
