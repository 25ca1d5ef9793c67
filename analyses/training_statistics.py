"""What the runs of :mod:`analyses.training_study` say: means, differences, sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analyses.trained_networks import SIDES, Design, kernel
from erf_tools.statistics import Estimate, mean_interval
from erf_tools.tables import estimate_text, with_intervals

#: What is averaged over seeds, how it is shown, and its name for people.
MEASURES = {
    "accuracy_own": ("{:.2f}", "accuracy"),
    "accuracy_silhouette": ("{:.2f}", "shape alone"),
    "accuracy_swatch": ("{:.2f}", "texture alone"),
    "effective_side": ("{:.1f}", "effective side"),
    "coverage": ("{:.2f}", "coverage"),
    "shape_bias": ("{:.2f}", "shape bias"),
    "global_shape": ("{:.2f}", "global shape"),
    "local_shape": ("{:.2f}", "local shape"),
    "texture": ("{:.2f}", "texture"),
}


def over_seeds(values: Iterable[float]) -> Estimate:
    """Return the mean with Student's interval; none of fewer than two values, nor of equal ones.

    NaN are left out.
    """
    return mean_interval(np.array([value for value in values if np.isfinite(value)]))


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per network and setting: sums of S, T and N, means with their intervals."""
    rows = []
    for (cue, design), own in runs.groupby(["cue", "design"], sort=False):
        row = {"model": design, "setting": cue, "seeds": len(own)}
        row |= {"parameters": own["parameters"].iloc[0], **own[["S", "T", "N"]].sum()}
        for measure in MEASURES:
            row |= over_seeds(own[measure]).columns(measure)
        rows.append(row)
    return pd.DataFrame(rows)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return what :func:`summarise` gives as text for people."""
    shown = table[["model", "setting", "parameters"]].copy()
    shown["parameters"] = shown["parameters"].map("{:,}".format)
    for measure, (form, label) in MEASURES.items():
        if measure == "coverage":
            shown["S / T / N"] = [f"{r.S} / {r.T} / {r.N}" for r in table.itertuples()]
        shown[label] = with_intervals(table, measure, form.format)
    return shown


def pairs_of(designs: Sequence[Design]) -> list[tuple[str, Design, Design]]:
    """Return what the claims compare: a question, the design with, and the design without."""
    asked = [("a larger kernel", kernel(SIDES[-1]), kernel(SIDES[0]))]
    for design in designs:
        asked.append(("the shortcut", design, replace(design, shortcut=False)))
        asked.append(("the parallel kernel", design, replace(design, small_kernel=None)))
    return [
        (question, larger, smaller)
        for question, larger, smaller in asked
        if larger != smaller and larger in designs and smaller in designs
    ]


def compare(runs: pd.DataFrame, designs: Sequence[Design]) -> pd.DataFrame:
    """Return the differences that the claims are about, paired by seed, with their intervals."""
    rows = []
    for cue, own in runs.groupby("cue", sort=False):
        for (question, larger, smaller), measure in product(
            pairs_of(designs), ("accuracy_own", "effective_side", "shape_bias")
        ):
            values = own.pivot(index="seed", columns="design", values=measure)
            found = over_seeds(values[larger.name] - values[smaller.name])
            names = {"what": question, "setting": cue, "model": larger.name, "other": smaller.name}
            rows.append({**names, "measure": measure, **found.columns("difference")})
    columns = ["what", "setting", "model", "other", "measure"]
    columns += ["difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=columns)


def rank_correlation(runs: pd.DataFrame, measure: str = "shape_bias") -> Estimate:
    """Return Spearman's correlation of effective side and a measure over networks.

    It is computed for each seed, and its interval is over the seeds.
    """
    return over_seeds(
        float(spearmanr(own["effective_side"], own[measure], nan_policy="omit").statistic)
        for _, own in runs.groupby("seed")
    )


def findings(runs: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Return the differences and the correlations as sentences."""
    said = []
    columns = ["what", "setting", "model", "other"]
    for (what, cue, larger, smaller), own in differences.groupby(columns, sort=False):
        parts = []
        for row in own.itertuples():
            form, label = MEASURES[row.measure]
            found = Estimate(row.difference, row.difference_low, row.difference_high)
            parts.append(f"{label} {estimate_text(found, form.replace(':', ':+').format)}")
        said.append(
            f"What {what} adds ({larger} minus {smaller}, label from {cue}): {', '.join(parts)}."
        )
    signed = "{:+.2f}".format
    for cue, own in runs.groupby("cue", sort=False):
        correlations = [
            f"{MEASURES[measure][1]} {estimate_text(rank_correlation(own, measure), signed)}"
            for measure in ("shape_bias", "global_shape", "local_shape", "texture")
        ]
        said.append(
            f"Rank correlation of effective side over the {own['design'].nunique()} networks "
            f"(label from {cue}) with {', '.join(correlations)}."
        )
    return said
