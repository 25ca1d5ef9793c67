"""How far two maps over the same cells and images agree, and where the gradient stops predicting.

A map's squares are those of :mod:`erf_tools.erf.measures.families.squares`, each cell spread evenly
over its pixels. Intervals are over images: the jackknife's, as those of the ERF's own measures, but
for the rank correlation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, nan, sqrt

import numpy as np

from erf_tools.erf.intervals import FEWEST, Spread, effective_number, jackknife, t_interval
from erf_tools.erf.measures.families.squares import THRESHOLDS, Squares
from erf_tools.erf.measures.frame import Frame
from erf_tools.perturbation.result import STEPS, PerturbationERF
from erf_tools.statistics import Estimate, resampling_weights

#: Draws of the bootstrap of rank correlations.
_DRAWS = 1000

#: Relative error of the prediction from which it counts as failed.
_FAILED = 0.5


@dataclass(frozen=True)
class Compared:
    """A pair of maps that are compared.

    Attributes:
        name: for tables and files.
        quantity: of the perturbation; see :data:`~erf_tools.perturbation.result.Quantity`.
        against: ``gradient``, the ERF's own map; or ``predicted``, what the gradient of each image
            says of the very same replacement, so that only what is not linear in it differs.
        words: for people.
    """

    name: str
    quantity: str
    against: str
    words: str


COMPARED: tuple[Compared, ...] = (
    Compared("change", "change", "gradient", "change of the scalar, against the gradient map"),
    Compared("norm", "norm", "gradient", "change of all channels (L2), against the gradient map"),
    Compared(
        "linear",
        "change",
        "predicted",
        "change of the scalar, against the change that the gradient predicts of it",
    ),
)


@dataclass(frozen=True)
class Agreement:
    """How far two maps agree; 1 everywhere is perfect.

    Attributes:
        spearman: rank correlation over the cells that reach the unit, in [-1, 1], of infinitely
            many images where there are enough for an estimate.
        spearman_of_means: that of the very maps that are shown.
        sides: effective sides of the perturbation's map and of the other, in pixels.
        side_ratio: the first by the second, of squares of any side.
        area_ratios: the same of the linear area ratios, by threshold.
    """

    spearman: Estimate
    spearman_of_means: float
    sides: tuple[float, float]
    side_ratio: Estimate
    area_ratios: dict[float, Estimate]

    def columns(self) -> dict[str, float]:
        """Return all of it as columns of a table."""
        found = self.spearman.columns("spearman") | self.side_ratio.columns("side_ratio")
        found |= {"spearman_of_means": self.spearman_of_means}
        for threshold, ratio in self.area_ratios.items():
            found |= ratio.columns(f"area_ratio_{100 * threshold:g}")
        return {**found, "side": self.sides[0], "other_side": self.sides[1]}


def agreement(result: PerturbationERF, replacement: str, compared: Compared) -> Agreement:
    """Return how far a perturbation map and another map of the same images agree.

    Values are of the mean maps. There are intervals for five images and more.

    Args:
        result: the check.
        replacement: one of its replacements.
        compared: which maps.
    """
    ours = result.each(compared.quantity, replacement)  # type: ignore[arg-type]
    theirs = (
        result.each_gradient()
        if compared.against == "gradient"
        else result.each(compared.against, replacement)  # type: ignore[arg-type]
    )
    if not ours.any() or not theirs.any():
        none = Estimate(nan)
        return Agreement(none, nan, (nan, nan), none, dict.fromkeys(THRESHOLDS, none))
    frame = Frame(tuple(result.setting["resolution"]), result.square_center)
    one, two = (_squares(maps, result, frame) for maps in (ours, theirs))
    effective = min(effective_number(maps.sum(axis=(1, 2))) for maps in (ours, theirs))
    ratios = [_ratio(one, two, place, effective) for place in range(len(one.value))]
    cells = ours[:, result.reached], theirs[:, result.reached]
    whole = float(_spearman(*(values.sum(axis=0) for values in cells)))
    return Agreement(
        _rank_correlation(whole, *cells, effective),
        whole,
        (float(one.value[-1]), float(two.value[-1])),
        ratios[-1],
        dict(zip(THRESHOLDS, ratios[:-1], strict=True)),
    )


def _squares(maps: np.ndarray, result: PerturbationERF, frame: Frame) -> Spread:
    """Return area ratios and effective side of maps over cells ``[images, rows, columns]``."""
    squares = Squares()
    pixels = (result.grid.spread(own) for own in maps)  # one at a time: many are large
    sums = np.stack([squares.sums(own, frame.fold(own), frame) for own in pixels])
    return squares.spread(sums, frame)


def _ratio(one: Spread, two: Spread, place: int, effective: float) -> Estimate:
    """Return the ratio of a measure of two maps; its interval is that of the logarithm."""
    ours, theirs = one.estimate[place], two.estimate[place]
    if not (ours > 0 and theirs > 0):
        return Estimate(nan)
    deviations = one.deviations[:, place] / ours - two.deviations[:, place] / theirs
    found = t_interval(log(ours / theirs), deviations, effective)
    return Estimate(exp(found.value), exp(found.low), exp(found.high))


def _rank_correlation(
    whole: float, ours: np.ndarray, theirs: np.ndarray, effective: float
) -> Estimate:
    """Return Spearman's correlation of two mean maps, by the bootstrap over images.

    Noise of few images lowers it, and the jackknife fails, since ranks change by jumps. So value
    and interval are less the bias that the bootstrap sees; simulation covers 90 to 96 %.

    Args:
        whole: that of the means over all images.
        ours: values of cells in each image, ``[images, cells]``.
        theirs: the same of the other map.
        effective: see :func:`~erf_tools.erf.intervals.t_interval`.
    """
    images = len(ours)
    if images < FEWEST:
        return Estimate(whole)
    weights = resampling_weights(images, _DRAWS, 0).astype(np.float64)
    draws = _spearman(weights @ ours, weights @ theirs)
    draws = draws[np.isfinite(draws)]
    if len(draws) < _DRAWS / 2:
        return Estimate(whole)
    corrected = float(np.clip(2 * whole - draws.mean(), -1, 1))
    # As if there were one deviation for each image, of this size together.
    deviation = draws.std() * sqrt(images / (images - 1))
    found = t_interval(corrected, np.full(images, deviation / sqrt(images)), effective)
    return Estimate(corrected, max(found.low, -1.0), min(found.high, 1.0))


def _spearman(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return rank correlations over the last axis; NaN where a map is the same everywhere."""
    from scipy.stats import rankdata  # which takes a second that few pages need

    ranks = [rankdata(each, axis=-1) - (each.shape[-1] + 1) / 2 for each in (one, two)]
    sizes = np.sqrt(np.prod([np.square(each).sum(axis=-1) for each in ranks], axis=0))
    with np.errstate(invalid="ignore"):
        return (ranks[0] * ranks[1]).sum(axis=-1) / sizes


@dataclass(frozen=True)
class Linearity:
    """How well the gradient predicts changes of a unit by steps of several sizes.

    Attributes:
        steps: of the pixels' range, in (0, 1).
        errors: root mean square of what is predicted wrongly, relative to what is predicted: 0 for
            a linear network, 1 and more where the prediction says nothing.
    """

    steps: tuple[float, ...]
    errors: tuple[Estimate, ...]

    @property
    def known(self) -> bool:
        """Whether the gradient predicts anything at all: that of a unit which is off does not."""
        return not np.isnan([error.value for error in self.errors]).all()

    @property
    def until(self) -> float:
        """The largest step up to which at least half of the prediction is right; 0 for none."""
        failed = [not error.value < _FAILED for error in self.errors]
        right = failed.index(True) if any(failed) else len(failed)
        return self.steps[right - 1] if right else 0.0


def linearity(result: PerturbationERF) -> Linearity:
    """Return how soon the gradient stops predicting changes of the unit."""
    found = result.counted
    wrong = np.square(found.actual - found.expected).sum(axis=2)
    size = np.square(found.expected).sum(axis=2)
    return Linearity(STEPS, tuple(_error(*pair) for pair in zip(wrong.T, size.T, strict=True)))


def _error(wrong: np.ndarray, size: np.ndarray) -> Estimate:
    """Return the root of a ratio of sums over images, ``[images]`` each."""
    if not size.sum() > 0:
        return Estimate(nan)
    whole = float(np.sqrt(wrong.sum() / size.sum()))
    if len(wrong) < FEWEST:
        return Estimate(whole)
    rest = size.sum() - size
    if not (rest > 0).all():
        return Estimate(whole)
    without = np.sqrt(np.maximum(wrong.sum() - wrong, 0) / rest)[:, None]
    _, deviations = jackknife(np.array([whole]), without, np.ones(len(wrong)))
    found = t_interval(whole, deviations[:, 0], effective_number(size))
    return Estimate(whole, max(found.low, 0.0), found.high)
