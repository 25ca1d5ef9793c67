"""Intervals: closed forms, coverage, and laws of the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from erf_tools.statistics import (
    mean_interval,
    percentile_interval,
    resampling_weights,
    wilson_interval,
)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(trial: tuple[int, int]) -> None:
    successes, trials = trial
    found = wilson_interval(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_wilson_of_nothing_is_nan() -> None:
    assert math.isnan(wilson_interval(0, 0).value)


def test_resampling_draws_as_many_clusters_as_there_are_and_follows_the_seed() -> None:
    weights = resampling_weights(48, 500, 1)
    assert (weights.sum(axis=1) == 48).all()
    assert np.array_equal(weights, resampling_weights(48, 500, 1))
    assert not np.array_equal(weights, resampling_weights(48, 500, 2))
    assert weights.mean() == 1
    # The variance of a multinomial count: (1 - 1/n).
    assert weights.var(axis=0).mean() == pytest.approx(1 - 1 / 48, rel=0.05)


def test_percentile_interval_of_a_known_distribution() -> None:
    draws = np.random.default_rng(0).normal(3, 2, 200_000)
    found = percentile_interval(3, np.append(draws, np.nan))
    assert (found.low, found.high) == pytest.approx((3 - 3.92, 3 + 3.92), abs=0.05)
    assert math.isnan(percentile_interval(1, np.array([np.nan])).low)


def test_the_interval_of_a_mean_is_students() -> None:
    numbers = np.random.default_rng(0).normal(3, 2, 12)
    found = mean_interval(numbers)
    expected = ttest_1samp(numbers, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    many = np.random.default_rng(0).beta(2, 3, 1200)
    expected = ttest_1samp(many, 0).confidence_interval(0.95)
    within = mean_interval(many, (0, 1))
    assert (within.low, within.high) == pytest.approx((expected.low, expected.high), abs=3e-4)


def test_numbers_that_are_all_alike_make_no_mean_certain() -> None:
    found = mean_interval(np.ones(2), (0, 1))
    assert (found.value, found.low, found.high) == (1, 0, 1)
    found = mean_interval(np.ones(20), (0, 1))
    assert found.low == pytest.approx(0.86, abs=0.05)  # by Clopper and Pearson .832
    assert found.high == 1
    found = mean_interval(np.ones(20))
    assert found.value == 1
    assert math.isnan(found.low)
    assert math.isnan(mean_interval(np.ones(1), (0, 1)).low)
    assert math.isnan(mean_interval(np.array([0.1 + 0.2, 0.3])).low)


@pytest.mark.parametrize("count", [5, 20, 80])
def test_intervals_of_means_near_the_end_hold_the_truth(count: int) -> None:
    """Reciprocal ranks, of which nearly all are 1: Student's held 5, 31 and 80 % (of .98)."""
    generator = np.random.default_rng(0)
    chances = np.array([0.98] + [0.02 / 15] * 15)
    ranks = 1 / np.arange(1, 17)
    drawn = generator.choice(ranks, (400, count), p=chances)
    found = [mean_interval(numbers, (0, 1)) for numbers in drawn]
    truth = float(chances @ ranks)
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.93
    assert all(0 <= each.low <= each.value <= each.high <= 1 for each in found)
