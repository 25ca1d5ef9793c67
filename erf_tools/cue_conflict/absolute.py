"""Absolute measures of decisions: what the ratio of shape and texture decisions hides.

Each is the mean, over the stimuli whose cues conflict, of a number of the single stimulus, so that
all have the same intervals and paired differences. They need the scores of a head, or at least the
confidence of each decision.

Sources: ranks: REFINED-BIAS, arXiv 2603.10834; both cues at once: Doshi et al., arXiv 2507.00493;
confidence over the categories, its calibration, over- and underconfidence: Gavrikov et al., ICLR
2025; the margin: Harvard vision lab's fork of model-vs-human, on probabilities.
"""

from __future__ import annotations

from math import nan, sqrt

import numpy as np
import pandas as pd

from erf_tools.cue_conflict.decisions import Decisions
from erf_tools.cue_conflict.measures import Influenced, image_variance
from erf_tools.statistics import Estimate, clustered_share, mean_interval

#: Name of each measure, as a column, and what it is called where it is shown.
MEASURES = {
    "mrr_shape": "MRR shape",
    "mrr_texture": "MRR texture",
    "mrr_shape_classes": "MRR shape, all classes",
    "mrr_texture_classes": "MRR texture, all classes",
    "both_cues": "Both cues on top",
    "runner_up": "Runner-up",
    "margin_shape": "Margin shape",
    "margin_texture": "Margin texture",
    "confidence": "Confidence",
    "ece": "ECE",
    "overconfidence": "Overconfidence",
    "underconfidence": "Underconfidence",
}

#: Range of each measure, but for those in [0, 1].
_RANGES = dict.fromkeys(("margin_shape", "margin_texture"), (-1 / sqrt(2), 1 / sqrt(2)))

#: Of equal width, over the confidences from 0 to 1.
CALIBRATION_BINS = 15


def absolute_values(made: Decisions) -> pd.DataFrame:
    """Return a number per stimulus with a conflict and measure of :data:`MEASURES`.

    Of what is not known there is no column; NaN stands where a stimulus does not count. Shares are
    the categories' scores over their sum.

    - ``mrr_shape``, ``mrr_texture``: one over the rank of the category among all categories, in
      (0, 1]; blind guessing among sixteen gives .211.
    - ``mrr_shape_classes``, ``mrr_texture_classes``: one over the rank of the category's best class
      among all classes of the head, in (0, 1].
    - ``both_cues``: whether shape and texture have the two largest shares.
    - ``runner_up``: of decisions for shape or texture, the second largest share over the largest,
      in [0, 1].
    - ``margin_shape``, ``margin_texture``: the share of the category less the largest of the
      others, over the square root of two: the signed distance from equality, in [-.707, .707].
    - ``confidence``: the largest share, or what a file says, in [0, 1].
    - ``ece``: what the stimulus adds to the expected calibration error: confidence less whether
      shape or texture was named, with the sign of their sum over its bin. The mean is the error in
      [0, 1]; it is never negative, and so too large where stimuli are few.
    - ``overconfidence``: confidence where neither was named; ``underconfidence``: one less it where
      one was.
    """
    frame = made.frame[made.frame["shape"] != made.frame["texture"]]
    shape, texture, response = (frame[column] for column in ("shape", "texture", "response"))
    named = ((response == shape) | (response == texture)).to_numpy()
    values: dict[str, np.ndarray] = {}
    confidence = frame.get("confidence")
    if made.scores is not None:
        scores = made.scores.categories.loc[frame.index]
        shares = shares_of(scores.to_numpy(dtype=float))
        places = [scores.columns.get_indexer(cue) for cue in (shape, texture)]
        values |= _of_shares(shares, named, *places)
        for cue, ranks in made.scores.ranks.loc[frame.index].items():
            values[f"mrr_{cue}_classes"] = 1 / ranks.to_numpy()
        confidence = shares.max(axis=1)
    if confidence is not None:
        values |= _of_confidence(np.asarray(confidence, dtype=float), named)
    return pd.DataFrame(
        {name: values[name] for name in MEASURES if name in values}, index=frame.index, dtype=float
    )


def single_cue_estimates(made: Decisions) -> dict[str, Estimate]:
    """Return the mean reciprocal ranks of the right category on single-cue stimuli, with intervals.

    ``mrr`` is among all categories, ``mrr_classes``, of its best class, among all classes of the
    head; both in (0, 1]. Student's 95 % intervals over stimuli, which are taken as independent.
    NaN where the scores are not known.
    """
    if made.scores is None:
        return {name: Estimate(nan) for name in ("mrr", "mrr_classes")}
    frame = made.frame
    scores = made.scores.categories.loc[frame.index]
    ranks = ranks_of(shares_of(scores.to_numpy(dtype=float)))
    own = ranks[np.arange(len(frame)), scores.columns.get_indexer(frame["shape"])]
    of_classes = made.scores.ranks.loc[frame.index, "shape"].to_numpy()
    found = {"mrr": 1 / own, "mrr_classes": 1 / of_classes}
    return {name: mean_interval(values, (0, 1)) for name, values in found.items()}


def shares_of(scores: np.ndarray) -> np.ndarray:
    """Return scores ``[N, categories]`` over their sums; all alike where they are all zero."""
    sums = scores.sum(axis=1, keepdims=True)
    return np.divide(scores, sums, out=np.full_like(scores, 1 / scores.shape[1]), where=sums > 0)


def ranks_of(shares: np.ndarray) -> np.ndarray:
    """Return the rank, from 1, of each category ``[N, categories]``; of equal ones the first."""
    order = np.argsort(-shares, axis=1, kind="stable")
    return np.argsort(order, axis=1) + 1


def _of_shares(
    shares: np.ndarray, named: np.ndarray, shape: np.ndarray, texture: np.ndarray
) -> dict[str, np.ndarray]:
    rows = np.arange(len(shares))
    ranks = ranks_of(shares)
    values = {"both_cues": (ranks[rows, shape] + ranks[rows, texture] == 3).astype(float)}
    for cue, places in {"shape": shape, "texture": texture}.items():
        values[f"mrr_{cue}"] = 1 / ranks[rows, places]
        others = shares.copy()
        others[rows, places] = -np.inf
        values[f"margin_{cue}"] = (shares[rows, places] - others.max(axis=1)) / sqrt(2)
    second, first = np.sort(shares, axis=1)[:, -2:].T
    values["runner_up"] = np.where(named, second / first, nan)
    return values


def _of_confidence(confidence: np.ndarray, named: np.ndarray) -> dict[str, np.ndarray]:
    gaps = confidence - named
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.digitize(confidence, edges)
    signs = np.sign(np.bincount(bins, weights=gaps, minlength=CALIBRATION_BINS))
    return {
        "confidence": confidence,
        "ece": signs[bins] * gaps,
        "overconfidence": np.where(named, nan, confidence),
        "underconfidence": np.where(named, 1 - confidence, nan),
    }


def estimate_of(values: pd.Series) -> Estimate:
    """Return the mean of a measure with its interval, within the measure's range.

    That of a share of stimuli is Wilson's, which holds near both ends.

    Args:
        values: a column of :func:`absolute_values`.
    """
    found = mean(values)
    if values.name == "both_cues":
        variance = image_variance(found.influence, found.stimuli)
        return clustered_share(found.value, int(values.notna().sum()), variance)
    return found.estimate


def mean(values: pd.Series) -> Influenced:
    """Return the mean of a measure, and the influence of each stimulus; NaN where none counts.

    Args:
        values: a column of :func:`absolute_values`; NaN does not count.
    """
    counts = values.notna().to_numpy()
    ends = _RANGES.get(str(values.name), (0.0, 1.0))
    return Influenced.ratio(values.fillna(0).to_numpy(), counts, values.index, ends)
