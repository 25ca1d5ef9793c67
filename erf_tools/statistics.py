"""Intervals: estimates with their uncertainty, by closed form and by bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt

import numpy as np
from scipy.stats import norm

#: Coverage of every interval here.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where there is none."""

    value: float
    low: float = nan
    high: float = nan


def wilson_interval(successes: int, trials: int) -> Estimate:
    """Return a proportion with Wilson's score interval (Wilson 1927), all in [0, 1].

    It takes trials as independent. NaN for no trials.
    """
    if trials == 0:
        return Estimate(nan)
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # The interval holds the share; rounding must not leave it outside at 0 and at 1.
    return Estimate(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


@lru_cache(maxsize=4)
def resampling_weights(clusters: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each cluster is drawn: integers ``[draws, clusters]``.

    Each row draws as many clusters as there are, with replacement (Efron 1979).
    """
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
    weights.setflags(write=False)
    return weights


def percentile_interval(value: float, draws: np.ndarray) -> Estimate:
    """Return ``value`` with the central 95 % of bootstrap ``draws``; NaN draws are left out."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Estimate(value)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
