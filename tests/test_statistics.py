"""Intervals: closed forms, coverage, and laws of the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from erf_tools.statistics import percentile_interval, resampling_weights, wilson_interval


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
