"""Measures of decisions: pure functions of tables and counts.

Of the 1,280 stimuli, the 80 whose shape and texture agree carry no conflict and are left out of all
measures but error consistency. ``S`` decisions equal the shape's category, ``T`` the texture's,
of ``N``.

Sources: Geirhos et al., ICLR 2019 (shape bias); Geirhos et al., Beyond accuracy: quantifying
trial-by-trial behaviour of CNNs and humans by measuring error consistency, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from math import inf, nan

import numpy as np
import pandas as pd

from erf_tools.cue_conflict.categories import SIXTEEN, Categories
from erf_tools.errors import UsageError
from erf_tools.statistics import (
    FEWEST_CLUSTERS,
    Estimate,
    TwoWayVariance,
    clustered_interval,
    clustered_share,
    percentile_interval,
    resampling_weights,
    two_way_variance,
    wilson_interval,
)

#: Bootstrap draws: enough for interval ends to settle within 0.005.
DRAWS = 10_000

_COUNTED = ["shape", "texture", "total"]

_Pair = tuple[pd.DataFrame, pd.DataFrame]

#: Whether either of two is right: the four kinds of stimuli.
_KINDS = ((True, True, False, False), (True, False, True, False))


@dataclass(frozen=True, eq=False)
class ConflictCounts:
    """Shape and texture decisions of one decision maker, or of several pooled.

    Attributes:
        by_stimulus: indexed by the stimulus (``cat7-elephant1``), of those with a conflict, in the
            order of their names. Columns ``category``, the shape's; ``shape``, ``texture`` and
            ``total``: how many decisions were for the shape's category, for the texture's, in all.
        categories: among which was decided.
    """

    by_stimulus: pd.DataFrame
    categories: Categories = SIXTEEN

    @property
    def shape(self) -> int:
        """S: decisions equal to the shape's category."""
        return int(self.by_stimulus["shape"].sum())

    @property
    def texture(self) -> int:
        """T: decisions equal to the texture's category."""
        return int(self.by_stimulus["texture"].sum())

    @property
    def total(self) -> int:
        """N: all decisions on stimuli with a conflict, ``na`` among them."""
        return int(self.by_stimulus["total"].sum())

    @property
    def by_category(self) -> pd.DataFrame:
        """Decisions by the shape's category; columns ``shape``, ``texture``, ``total``."""
        sums = self.by_stimulus.groupby("category")[_COUNTED].sum()
        return sums.reindex(list(self.categories.names), fill_value=0)

    @property
    def by_texture(self) -> pd.DataFrame:
        """Decisions by texture image (``elephant1``), each of which is in up to 37 stimuli."""
        textures = source_images(self.by_stimulus.index)[1]
        return self.by_stimulus[_COUNTED].groupby(textures).sum()

    def of(self, stimuli: pd.Index) -> ConflictCounts:
        """Return the counts of a part of the stimuli."""
        return ConflictCounts(self.by_stimulus.loc[stimuli], self.categories)


@dataclass(frozen=True, eq=False)
class Influenced:
    """A number from stimuli, with what its interval needs.

    Few stimuli, or all alike, show too little of what others would do: the interval would be narrow
    or empty just where least is known. So pseudo-observations, one of each kind there can be, widen
    and move it (Agresti and Caffo 2000).

    Attributes:
        value: the number.
        influence: of each stimulus on it, ``[N]``: its derivative by their weights.
        stimuli: their names.
        pseudo: influence of each pseudo-observation.
        shift: by how much these move the number.
        ends: its range.
    """

    value: float
    influence: np.ndarray
    stimuli: pd.Index
    pseudo: np.ndarray = field(default_factory=lambda: np.zeros(0))
    shift: float = 0.0
    ends: tuple[float, float] = (-inf, inf)

    @classmethod
    def ratio(
        cls,
        parts: np.ndarray,
        wholes: np.ndarray,
        stimuli: pd.Index,
        ends: tuple[float, float] = (0.0, 1.0),
    ) -> Influenced:
        """Return a ratio of sums over stimuli, ``[N]`` each; NaN where that of the wholes is zero.

        Its pseudo-observations are a whole of one at each end of its range.
        """
        size = float(wholes.sum()) or nan
        value = float(parts.sum()) / size
        softened = (float(parts.sum()) + sum(ends)) / (size + 2)
        pseudo = (np.array(ends) - softened) / (size + 2)
        influence = (parts - value * wholes) / size
        return cls(value, influence, stimuli, pseudo, softened - value, ends)

    @property
    def estimate(self) -> Estimate:
        """The number with its 95 % interval over shape images and texture images.

        None for too few images, nor where nothing varies and there are no pseudo-observations.
        """
        influence = self.influence - self.influence.mean()
        own, added = (float(each @ each) for each in (influence, self.pseudo))
        if own == added == 0:
            return Estimate(self.value)
        variance = image_variance(influence, self.stimuli)
        shared = max(variance.value / own, 1.0) if own else 1.0
        widened = TwoWayVariance(variance.value + shared * added, variance.clusters)
        found = clustered_interval(self.value + self.shift, widened)
        return Estimate(self.value, found.low, found.high).around().within(*self.ends)

    def __sub__(self, other: Influenced) -> Influenced:
        """Return the difference of two numbers from the same stimuli, for its paired interval.

        Raises:
            UsageError: they are from different stimuli.
        """
        if not self.stimuli.equals(other.stimuli):
            raise UsageError("numbers from different stimuli cannot be compared in pairs")
        return Influenced(
            self.value - other.value,
            self.influence - other.influence,
            self.stimuli,
            np.concatenate([self.pseudo, other.pseudo]),
            self.shift - other.shift,
            (self.ends[0] - other.ends[1], self.ends[1] - other.ends[0]),
        )


def count(frames: Sequence[pd.DataFrame], categories: Categories = SIXTEEN) -> ConflictCounts:
    """Count shape and texture decisions, pooled over decision makers.

    Args:
        frames: of :class:`~erf_tools.cue_conflict.decisions.Decisions`.
        categories: among which was decided.
    """
    table = pd.concat(frames)
    table = table[table["shape"] != table["texture"]]
    hits = pd.DataFrame(
        {
            "category": table["shape"],
            "shape": (table["response"] == table["shape"]).astype(int),
            "texture": (table["response"] == table["texture"]).astype(int),
            "total": 1,
        }
    )
    added = {"category": "first", **dict.fromkeys(_COUNTED, "sum")}
    return ConflictCounts(hits.groupby(level=0).agg(added), categories)


def source_images(stimuli: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the shape image and the texture image of each stimulus, by name, ``[N]`` each."""
    parts = [name.partition("-") for name in stimuli]
    return np.array([part[0] for part in parts]), np.array([part[2] for part in parts])


def shape_bias(counts: ConflictCounts) -> float:
    """Return S / (S + T), pooled over categories, in [0, 1]; NaN if both are zero.

    It says nothing of how often either was chosen: read it beside :func:`coverage`.
    """
    return _ratio(counts.shape, counts.texture)


def coverage(counts: ConflictCounts) -> float:
    """Return (S + T) / N, in [0, 1]; NaN without stimuli."""
    return (counts.shape + counts.texture) / counts.total if counts.total else nan


def bias_by_category(counts: ConflictCounts) -> pd.Series:
    """Return S / (S + T) for each shape category; NaN where both are zero."""
    table = counts.by_category
    return table["shape"] / (table["shape"] + table["texture"]).where(lambda hits: hits > 0)


def mean_of_categories(counts: ConflictCounts) -> float:
    """Return the mean of :func:`bias_by_category`, over the categories that have one.

    Another number than the pooled ratio: a category with few hits counts as much as any.
    """
    return float(bias_by_category(counts).mean())


def wilson(counts: ConflictCounts) -> Estimate:
    """Return the shape bias with Wilson's interval, as if decisions were independent trials."""
    return wilson_interval(counts.shape, counts.shape + counts.texture)


def clustered_bias(counts: ConflictCounts) -> Estimate:
    """Return the shape bias with its 95 % interval over shape images and texture images.

    Stimuli that share either image are not independent
    (:func:`~erf_tools.statistics.two_way_variance`); the interval is Wilson's at the effective
    number of decisions.
    """
    variance = image_variance(_influenced_bias(counts).influence, counts.by_stimulus.index)
    return clustered_share(shape_bias(counts), counts.shape + counts.texture, variance)


def texture_bootstrap(counts: ConflictCounts, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the shape bias with a bootstrap interval over texture images alone.

    It takes stimuli that share a shape image as independent, and is too narrow where they are not;
    for comparison with :func:`clustered_bias`. Images are drawn together with two
    pseudo-observations, one decision for the shape and one for the texture: where all decisions
    are for one of them, no draw of them alone differs. None for too few images.
    """
    by_texture, bias = counts.by_texture, shape_bias(counts)
    if len(by_texture) < FEWEST_CLUSTERS or not counts.shape + counts.texture:
        return Estimate(bias)
    weights = resampling_weights(len(by_texture) + 2, draws, seed)
    shape, texture = (
        weights @ np.append(by_texture[kind].to_numpy(), added)
        for kind, added in (("shape", (1, 0)), ("texture", (0, 1)))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return percentile_interval(bias, shape / (shape + texture)).around()


def difference(one: ConflictCounts, other: ConflictCounts) -> Estimate:
    """Return shape bias of ``one`` minus that of ``other``, with its paired 95 % interval.

    What a stimulus does to both cancels; clusters are those of :func:`clustered_bias`. Two who
    decided alike on all stimuli need not on others: their difference is 0, and not certain.

    Raises:
        UsageError: they were not measured on the same stimuli.
    """
    return (_influenced_bias(one) - _influenced_bias(other)).estimate


def consistency_with(maker: pd.DataFrame, observers: Sequence[pd.DataFrame]) -> Estimate:
    """Return the mean error consistency with each observer, and its 95 % interval.

    It is Cohen's kappa of being right and wrong on the same stimuli, the shape as the truth:
    ``(o - e) / (1 - e)`` with the observed share ``o`` of stimuli on which both are right or both
    wrong, and ``e = p1 p2 + (1 - p1)(1 - p2)`` expected from the accuracies; from -1 to 1, 0 for
    independent errors. Over all stimuli that both have answered to; NaN without any. Where both are
    right on all or wrong on all, no other agreement is possible (``e`` = 1); it is 1, as in the
    toolbox model-vs-human. Observers without a stimulus in common are left out of the mean, see
    :func:`in_common`.

    The interval is over stimuli, clustered as in :func:`clustered_bias`, for these observers; the
    pseudo-observations are a stimulus on which both are right, one, the other, and none. NaN
    without any.
    """
    return _mean_consistency(in_common((maker, observer) for observer in observers))


def consistency_among(observers: Sequence[pd.DataFrame]) -> Estimate:
    """Return the same over all pairs of observers; NaN below two."""
    return _mean_consistency(in_common(combinations(observers, 2)))


def in_common(pairs: Iterable[_Pair]) -> list[_Pair]:
    """Return the pairs of decision makers that have answered to a stimulus in common."""
    return [(one, other) for one, other in pairs if len(one.index.intersection(other.index))]


def _mean_consistency(pairs: Sequence[_Pair]) -> Estimate:
    if not pairs:
        return Estimate(nan)
    found = [_consistency(*pair) for pair in pairs]
    influences = [pd.Series(each.influence, each.stimuli) for each in found]
    influence = pd.concat(influences).groupby(level=0).sum() / len(found)
    value = float(np.mean([each.value for each in found]))
    shift = float(np.mean([each.shift for each in found]))
    pseudo = np.mean([each.pseudo for each in found], axis=0)
    ends = found[0].ends
    return Influenced(value, influence.to_numpy(), influence.index, pseudo, shift, ends).estimate


def _consistency(one: pd.DataFrame, other: pd.DataFrame) -> Influenced:
    """Return kappa; the influences are those where the pseudo-observations have moved it."""
    common = one.index.intersection(other.index)
    right = [
        (frame["response"] == frame["shape"]).loc[common].to_numpy(dtype=bool)
        for frame in (one, other)
    ]
    value, _ = _kappa(*right)
    softened, influence = _kappa(
        *(np.append(own, kinds) for own, kinds in zip(right, _KINDS, strict=True))
    )
    count = len(common)
    shift = softened - value
    return Influenced(value, influence[:count], common, influence[count:], shift, (-1.0, 1.0))


def _kappa(one: np.ndarray, other: np.ndarray) -> tuple[float, np.ndarray]:
    """Return kappa of right answers, bool ``[N]`` each, and each one's influence ``[N]``."""
    alike = one == other
    observed, first, second = (float(shares.mean()) for shares in (alike, one, other))
    expected = first * second + (1 - first) * (1 - second)
    if expected == 1:
        return 1.0, np.zeros(len(one))
    by_expected = (observed - 1) / (1 - expected) ** 2
    influence = (
        (alike - observed) / (1 - expected)
        + by_expected * (2 * second - 1) * (one - first)
        + by_expected * (2 * first - 1) * (other - second)
    ) / len(one)
    return (observed - expected) / (1 - expected), influence


def _influenced_bias(counts: ConflictCounts) -> Influenced:
    """Return the shape bias and the influence of each stimulus; NaN where there is no bias."""
    shape, texture = (counts.by_stimulus[kind].to_numpy() for kind in ("shape", "texture"))
    return Influenced.ratio(shape, shape + texture, counts.by_stimulus.index)


def image_variance(influence: np.ndarray, stimuli: pd.Index) -> TwoWayVariance:
    """Return the variance of an estimate from stimuli, clustered by both of their images.

    Args:
        influence: of each stimulus on the estimate, of sum 0; see
            :func:`~erf_tools.statistics.two_way_variance`.
        stimuli: their names.
    """
    return two_way_variance(influence, *_numbered_images(tuple(stimuli.tolist())))


@lru_cache(maxsize=32)
def _numbered_images(stimuli: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers ``[N]`` for :func:`source_images`, kept: estimates share their stimuli."""
    one, other = (np.unique(images, return_inverse=True)[1] for images in source_images(stimuli))
    return one, other


def accuracy(frame: pd.DataFrame) -> Estimate:
    """Return the share of right answers on single-cue stimuli, with Wilson's interval."""
    right = frame["response"] == frame["shape"]
    return wilson_interval(int(right.sum()), len(right))


def accuracy_by_category(frame: pd.DataFrame, categories: Categories = SIXTEEN) -> pd.Series:
    """Return the share of right answers for each category; NaN where there are no stimuli."""
    right = (frame["response"] == frame["shape"]).groupby(frame["shape"]).mean()
    return right.reindex(list(categories.names))


def _ratio(shape: int, texture: int) -> float:
    return shape / (shape + texture) if shape + texture else nan
