"""Intervals: estimates with their uncertainty, by closed form and by bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt

import numpy as np
from scipy.special import ndtri, stdtrit

#: Coverage of every interval here.
CONFIDENCE = 0.95


#: Differences that are none, of numbers around one; of larger ones relative to them.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where there is none."""

    value: float
    low: float = nan
    high: float = nan

    def columns(self, name: str) -> dict[str, float]:
        """Return it as columns of a table: ``name``, ``name_low`` and ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    def around(self) -> Estimate:
        """Return it with an interval that reaches to the value, should it not hold it."""
        return Estimate(self.value, min(self.low, self.value), max(self.high, self.value))

    def within(self, lowest: float, highest: float) -> Estimate:
        """Return it with an interval that ends where the range of the value does."""
        low, high = np.clip((self.low, self.high), lowest, highest).tolist()
        return Estimate(self.value, low, high)


def wilson_interval(successes: int, trials: int) -> Estimate:
    """Return a proportion with Wilson's score interval (Wilson 1927), all in [0, 1].

    It takes trials as independent. NaN for no trials.
    """
    if trials == 0:
        return Estimate(nan)
    return _score_interval(successes / trials, trials, float(ndtri((1 + CONFIDENCE) / 2)))


def _score_interval(share: float, trials: float, z: float) -> Estimate:
    center = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # The interval holds the share; rounding must not leave it outside at 0 and at 1.
    return Estimate(share, max(0.0, min(center - half, share)), min(1.0, max(center + half, share)))


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


#: Along each way; fewer clusters say too little of the spread between them.
FEWEST_CLUSTERS = 5


@dataclass(frozen=True)
class TwoWayVariance:
    """The variance of an estimate from observations that share clusters in two ways.

    Attributes:
        value: the variance.
        clusters: the smaller of the two numbers of clusters.
    """

    value: float
    clusters: int

    @property
    def quantile(self) -> float:
        """Student's t for the intervals; NaN with too few clusters."""
        if self.clusters < FEWEST_CLUSTERS:
            return nan
        return float(stdtrit(self.clusters - 1, (1 + CONFIDENCE) / 2))


def two_way_variance(influence: np.ndarray, one: np.ndarray, other: np.ndarray) -> TwoWayVariance:
    """Return the variance of an estimate whose observations are clustered in two ways.

    The sum of both one-way variances less that of single observations, which both count (Cameron,
    Gelbach and Miller, 2011, equation 2.11), but no less than either of them: by chance the
    difference can be smaller, or negative.

    Args:
        influence: of each observation on the estimate, ``[N]``, of sum 0.
        one: each observation's cluster in the first way, ``[N]``.
        other: in the second way.
    """
    squares, counts = zip(*(_squared_sums(influence, way) for way in (one, other)), strict=True)
    both = sum(squares) - float(influence @ influence)
    return TwoWayVariance(max(both, *squares), min(counts))


def _squared_sums(influence: np.ndarray, clusters: np.ndarray) -> tuple[float, int]:
    """Return the variance between clusters, and their number."""
    _, numbers = np.unique(clusters, return_inverse=True)
    sums = np.bincount(numbers, weights=influence)
    count = len(sums)
    return (float(sums @ sums) * count / (count - 1) if count > 1 else nan), count


def mean_interval(numbers: np.ndarray, ends: Sequence[float] = ()) -> Estimate:
    """Return the mean of independent numbers with Student's 95 % interval; none below two.

    Numbers that are all alike do not show their spread. Where the ends of their range are known,
    the interval is that with an observation at each end added (Agresti and Caffo 2000), and lies
    within them; where not, such numbers have none.

    Args:
        numbers: ``[N]``.
        ends: lowest and highest value that there can be; none for numbers without a range.
    """
    count = len(numbers)
    value = float(numbers.mean()) if count else nan
    if count < 2 or (not len(ends) and np.ptp(numbers) <= _ROUNDING * max(1.0, abs(value))):
        return Estimate(value)
    softened = np.append(numbers, ends)
    # The variance of the mean; of the numbers alone it is their variance by their number.
    variance = float(softened.var()) / len(softened) * count / (count - 1)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * sqrt(variance)
    center = float(softened.mean())
    found = Estimate(value, center - half, center + half).around()
    return found.within(*ends) if len(ends) else found


def clustered_interval(value: float, variance: TwoWayVariance) -> Estimate:
    """Return ``value`` with Student's interval; without one where clusters are too few."""
    half = variance.quantile * sqrt(variance.value) if variance.quantile > 0 else nan
    return Estimate(value, value - half, value + half)


def clustered_share(share: float, trials: int, variance: TwoWayVariance) -> Estimate:
    """Return a proportion with Wilson's interval for as many independent trials as it is worth.

    The effective number of trials is that of which the proportion would have this variance (Kish
    1965), and no more than there are. Unlike Student's interval it stays in [0, 1], and holds near
    both ends, where a variance of few hits says little.

    Args:
        share: in [0, 1].
        trials: number of decisions behind it.
        variance: of the share.
    """
    quantile = variance.quantile
    if trials == 0 or not quantile > 0:
        return Estimate(share if trials else nan)
    independent = share * (1 - share) / trials
    excess = max(variance.value / independent, 1) if independent > 0 else 1
    return _score_interval(share, trials / excess, quantile)
