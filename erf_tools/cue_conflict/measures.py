"""Measures of decisions: pure functions of tables and counts.

Of the 1,280 stimuli, the 80 whose shape and texture agree carry no conflict and are left out of all
measures but error consistency. ``S`` decisions equal the shape's category, ``T`` the texture's,
of ``N``.

Sources: Geirhos et al., ICLR 2019 (shape bias); Geirhos et al., Beyond accuracy: quantifying
trial-by-trial behaviour of CNNs and humans by measuring error consistency, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.errors import UsageError
from erf_tools.statistics import Estimate, percentile_interval, resampling_weights, wilson_interval

#: Twice what blind guessing among sixteen categories gives (shape or texture: 2 / 16). Below it,
#: the ratio rests on hits that guessing could explain.
LOW_COVERAGE = 0.25

#: Bootstrap draws: enough for interval ends to settle within 0.005.
DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class ConflictCounts:
    """Shape and texture decisions of one decision maker, or of several pooled.

    Attributes:
        by_category: indexed by the shape's category, columns ``shape``, ``texture``, ``total``.
        by_texture: indexed by texture image (``elephant1``), columns ``shape``, ``texture``: the
            clusters of the bootstrap, since a texture image stands in up to 37 stimuli.
    """

    by_category: pd.DataFrame
    by_texture: pd.DataFrame

    @property
    def shape(self) -> int:
        """S: decisions equal to the shape's category."""
        return int(self.by_category["shape"].sum())

    @property
    def texture(self) -> int:
        """T: decisions equal to the texture's category."""
        return int(self.by_category["texture"].sum())

    @property
    def total(self) -> int:
        """N: all decisions on stimuli with a conflict, ``na`` among them."""
        return int(self.by_category["total"].sum())


def count(frames: Sequence[pd.DataFrame]) -> ConflictCounts:
    """Count shape and texture decisions, pooled over decision makers.

    Args:
        frames: of :class:`~erf_tools.cue_conflict.decisions.Decisions`.
    """
    table = pd.concat(frames)
    table = table[table["shape"] != table["texture"]]
    hits = pd.DataFrame(
        {
            "category": table["shape"].to_numpy(),
            "texture_image": [name.partition("-")[2] for name in table.index],
            "shape": (table["response"] == table["shape"]).to_numpy(dtype=int),
            "texture": (table["response"] == table["texture"]).to_numpy(dtype=int),
            "total": 1,
        }
    )
    by_category = hits.groupby("category")[["shape", "texture", "total"]].sum()
    return ConflictCounts(
        by_category.reindex(list(CATEGORIES), fill_value=0),
        hits.groupby("texture_image")[["shape", "texture"]].sum(),
    )


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


def bootstrap(counts: ConflictCounts, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the shape bias with a bootstrap interval over texture images.

    Stimuli that share a texture image are drawn together: they are not independent.
    """
    weights = resampling_weights(len(counts.by_texture), draws, seed)
    return percentile_interval(shape_bias(counts), _drawn(counts, weights))


def difference(
    one: ConflictCounts, other: ConflictCounts, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return shape bias of ``one`` minus that of ``other``, with a paired bootstrap interval.

    Both are drawn over the same texture images.

    Raises:
        UsageError: they were not measured on the same stimuli, as far as counts tell.
    """
    if list(one.by_texture.index) != list(other.by_texture.index):
        raise UsageError("decisions on different stimuli cannot be compared in pairs")
    weights = resampling_weights(len(one.by_texture), draws, seed)
    return percentile_interval(
        shape_bias(one) - shape_bias(other), _drawn(one, weights) - _drawn(other, weights)
    )


def error_consistency(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Return Cohen's kappa of being right and wrong on the same stimuli, the shape as the truth.

    ``(o - e) / (1 - e)`` with the observed share ``o`` of stimuli on which both are right or both
    wrong, and ``e = p1 p2 + (1 - p1)(1 - p2)`` expected from the accuracies; from -1 to 1, 0 for
    independent errors. Over all stimuli that both have answered to; NaN without any. Two that agree
    on every stimulus have 1, also where no other agreement is possible (``e`` = 1), as in
    model-vs-human.
    """
    common = one.index.intersection(other.index)
    if not len(common):
        return nan
    right = [
        (frame.loc[common, "response"] == frame.loc[common, "shape"]).to_numpy()
        for frame in (one, other)
    ]
    observed = float((right[0] == right[1]).mean())
    first, second = (float(answers.mean()) for answers in right)
    expected = first * second + (1 - first) * (1 - second)
    return (observed - expected) / (1 - expected) if observed < 1 else 1.0


def consistency_with(maker: pd.DataFrame, observers: Sequence[pd.DataFrame]) -> float:
    """Return the mean :func:`error_consistency` with each observer; NaN without any."""
    kappas = [error_consistency(maker, observer) for observer in observers]
    return float(np.mean(kappas)) if kappas else nan


def consistency_among(observers: Sequence[pd.DataFrame]) -> float:
    """Return the mean :func:`error_consistency` over all pairs of observers; NaN below two."""
    kappas = [
        error_consistency(one, other)
        for index, one in enumerate(observers)
        for other in observers[:index]
    ]
    return float(np.mean(kappas)) if kappas else nan


def accuracy(frame: pd.DataFrame) -> Estimate:
    """Return the share of right answers on single-cue stimuli, with Wilson's interval."""
    right = frame["response"] == frame["shape"]
    return wilson_interval(int(right.sum()), len(right))


def accuracy_by_category(frame: pd.DataFrame) -> pd.Series:
    """Return the share of right answers for each category; NaN where there are no stimuli."""
    right = (frame["response"] == frame["shape"]).groupby(frame["shape"]).mean()
    return right.reindex(list(CATEGORIES))


def _ratio(shape: int, texture: int) -> float:
    return shape / (shape + texture) if shape + texture else nan


def _drawn(counts: ConflictCounts, weights: np.ndarray) -> np.ndarray:
    shape = weights @ counts.by_texture["shape"].to_numpy()
    texture = weights @ counts.by_texture["texture"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return shape / (shape + texture)
