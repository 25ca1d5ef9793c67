"""Intervals: the fast resampling against measuring each resampled map, and what is read from it."""

from __future__ import annotations

import numpy as np
import pytest

from erf_tools.erf.bootstrap import resampled_measures, subsample_weights
from erf_tools.erf.intervals import DRAWS, resample
from erf_tools.erf.measures import effective_side, measure


def blobs(number: int, height: int, width: int, signed: bool = False) -> np.ndarray:
    """Maps that differ in width, place and strength by orders of magnitude."""
    generator = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width]
    maps = []
    for _ in range(number):
        (sigma_y, sigma_x), (row, column) = generator.uniform(1, 9, 2), generator.normal(0, 2, 2)
        exponent = ((y - height / 2 - row) / sigma_y) ** 2 + (
            (x - width / 2 - column) / sigma_x
        ) ** 2
        strength = 10.0 ** generator.uniform(-3, 1)
        maps.append(strength * np.exp(-exponent / 2) * generator.random((height, width)))
    signs = generator.choice([-1, 1], size=(number, height, width)) if signed else 1
    return np.stack(maps) * signs


@pytest.mark.parametrize(
    ("size", "centre", "signed"),
    [
        ((64, 64), None, False),
        ((33, 50), (10.5, 20.0), False),
        ((65, 40), (32.0, 19.5), True),
        ((6, 7), (0.0, 2.0), False),
        ((1, 1), None, False),
        ((130, 201), None, False),
    ],
)
def test_every_measure_equals_that_of_the_resampled_map(
    size: tuple[int, int], centre: tuple[float, float] | None, signed: bool
) -> None:
    parts = blobs(7, *size, signed=signed)
    counts = np.array([1, 3, 1, 2, 1, 1, 5])
    weights = subsample_weights(7, 7, 12, seed=1)
    fast = resampled_measures(parts, counts, weights, centre)
    for draw, weight in enumerate(weights):
        mean = np.abs(np.tensordot(weight, parts, axes=1)) / (weight @ counts)
        for name, value in measure(mean, centre).values().items():
            assert fast[name][draw] == pytest.approx(value, rel=5e-4, nan_ok=True), name


def test_a_draw_without_mass_has_no_measures() -> None:
    parts = np.stack([np.zeros((8, 8)), np.ones((8, 8))])
    found = resampled_measures(parts, np.array([1, 1]), np.array([[2, 0], [1, 1]]))
    for name, values in found.items():
        assert np.isnan(values[0]), name
    assert found["effective_side"][1] == 7


def test_narrow_maps_far_from_the_middle_keep_their_spread() -> None:
    """Moments about the middle of the map would round a variance of 1 to within a hundredth."""
    y, x = np.mgrid[:700, :700]
    narrow = np.exp(-((y - 680) ** 2 + (x - 675) ** 2 / 4) / 2)
    single = np.zeros((700, 700))
    single[680, 20] = 3
    for contribution in (narrow, single):
        found = resampled_measures(contribution[None], np.ones(1, dtype=int), np.array([[1]]))
        plain = measure(contribution).values()
        for name in ("sigma_y", "sigma_x", "anisotropy"):
            assert found[name][0] == pytest.approx(plain[name], rel=1e-5, nan_ok=True), name


def test_subsamples_have_the_size_asked_for_and_hang_on_the_seed() -> None:
    weights = subsample_weights(10, 4, 100, seed=0)
    assert (weights.sum(axis=1) == 4).all()
    assert np.array_equal(weights, subsample_weights(10, 4, 100, seed=0))
    assert not np.array_equal(weights, subsample_weights(10, 4, 100, seed=1))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Square maps of random width: the mean map's horizontal spread has a known expectation."""
    generator = np.random.default_rng(0)
    x = np.arange(21) - 10

    def sample() -> np.ndarray:
        sides = generator.choice([3, 9], size=20)
        return np.stack(
            [np.outer(np.abs(x) <= s, np.abs(x) <= s) / (2 * s + 1) ** 2 for s in sides]
        )

    # Each map has sum 1, so variances average: s (s + 1) / 3 for a width of 2 s + 1.
    truth = np.sqrt((3 * 4 / 3 + 9 * 10 / 3) / 2)
    covered = 0
    for seed in range(30):
        found = resample(sample(), np.ones(20, dtype=int), seed=seed)
        assert found is not None
        low, high = np.quantile(found.draws[found.measures.index("sigma_x")], [0.025, 0.975])
        covered += low <= truth <= high
    assert 25 <= covered <= 30


def test_intervals_narrow_with_the_number_of_images() -> None:
    found = resample(blobs(30, 32, 32), np.ones(30, dtype=int))
    assert found is not None
    curve = found.convergence("effective_side")
    assert [images for images, _ in curve] == [1, 2, 5, 10, 20, 30]
    widths = [spread.high - spread.low for _, spread in curve]
    assert widths[-1] < widths[0] / 2
    assert found.draws.shape == (len(found.measures), DRAWS)


def test_pairs_cancel_what_an_image_does_to_both() -> None:
    parts = blobs(20, 32, 32)
    ones = np.ones(20, dtype=int)
    one, other = resample(parts, ones), resample(3 * parts, ones)
    assert one is not None
    assert other is not None
    side = effective_side(parts.sum(axis=0))
    assert one.estimate("effective_side", side).high > one.estimate("effective_side", side).low
    paired = one.difference(other, "effective_side", 0.0)
    assert paired is not None
    assert paired.low == paired.high == 0
    assert one.difference(resample(parts, ones, seed=1), "radius", 0.0) is None  # type: ignore[arg-type]


def test_one_image_says_nothing_of_the_spread_and_left_out_ones_do_not_count() -> None:
    parts = blobs(3, 16, 16)
    assert resample(parts[:1], np.ones(1, dtype=int)) is None
    found = resample(parts, np.array([1, 0, 1]))
    without = resample(parts[[0, 2]], np.array([1, 1]))
    assert found is not None
    assert without is not None
    assert found.images == (1, 1)
    np.testing.assert_array_equal(found.draws, without.draws)
