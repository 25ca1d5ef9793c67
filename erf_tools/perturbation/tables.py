"""Perturbation ERFs as tables: how far each agrees with the gradient's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from erf_tools.erf.measures.families.squares import THRESHOLDS
from erf_tools.perturbation.agreement import COMPARED, agreement, linearity
from erf_tools.perturbation.choices import IN_WORDS
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.tables import NONE, as_text, estimate_text, with_intervals, write_tables
from erf_tools.text import dimensions


def perturbation_table(results: Sequence[PerturbationERF]) -> pd.DataFrame:
    """Return a row per result, replacement and pair of maps that is compared.

    ``spearman``, ``spearman_of_means``, ``side_ratio`` and ``area_ratio_T`` are those of
    :class:`~erf_tools.perturbation.agreement.Agreement`, with 95 % intervals over images;
    ``linear_until`` is the largest step, in 255ths of the pixels' range, up to which the gradient
    predicts at least half, and ``error_N`` the relative error of the prediction at N 255ths.
    """
    return pd.DataFrame([row for result in results for row in _rows(result)])


def _rows(result: PerturbationERF) -> list[dict[str, object]]:
    setting = result.setting
    course = linearity(result)
    steps: dict[str, object] = {"linear_until": round(255 * course.until)}
    for step, error in zip(course.steps, course.errors, strict=True):
        steps |= error.columns(f"error_{255 * step:.0f}")
    return [
        {
            **result.subject._asdict(),
            "resolution": dimensions(setting["resolution"]),
            "protocol": setting["protocol"]["name"],
            "images": result.count,
            "cells": dimensions(result.grid.shape),
            "cells_reached": int(result.reached.sum()),
            "replacement": replacement,
            "compared": compared.name,
            **agreement(result, replacement, compared).columns(),
            **steps,
        }
        for replacement in result.replacements
        for compared in COMPARED
    ]


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`perturbation_table` as text for people."""
    two = "{:.2f}".format
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Replaced by": table["replacement"],
            "Compared": table["compared"],
            "Images": table["images"].map(str),
            "Spearman": with_intervals(table, "spearman", two),
            "Side, px": [
                NONE if side != side else f"{side:.0f} / {other:.0f}"
                for side, other in zip(table["side"], table["other_side"], strict=True)
            ],
            "Ratio of sides": with_intervals(table, "side_ratio", two),
        }
    )
    for threshold in THRESHOLDS:
        name = f"{100 * threshold:g}"
        shown[f"Ratio of r at {name} %"] = with_intervals(table, f"area_ratio_{name}", two)
    return shown


def compact(table: pd.DataFrame) -> str:
    """Return the main columns as text for a terminal."""
    return as_text(readable(table).iloc[:, :8])


def notes(results: Sequence[PerturbationERF]) -> list[str]:
    """Return what a reader of the table has to know, a sentence or two each."""
    used = dict.fromkeys(each for result in results for each in result.replacements)
    found = [
        "Check: each cell of an image is replaced, and the change of the unit is compared with the "
        "gradient map's mean over the same cells. Spearman: over cells the unit can see, of five "
        "images and more without what the noise of few takes from it (spearman_of_means in the "
        "CSV: with it). Ratios: perturbation by gradient, of effective sides and of linear r; 1 is "
        "perfect.",
        "Replaced by: " + "; ".join(f"{name}, {IN_WORDS[name]}" for name in used) + ".",
        "Compared: " + "; ".join(f"{each.name}, {each.words}" for each in COMPARED) + ".",
    ]
    for result in results:
        found.append(prediction(result))
        if result.count < len(result.images):
            left_out = len(result.images) - result.count
            found.append(
                f"{result.label}: {left_out} images gave no finite values and are left out."
            )
    return found


def prediction(result: PerturbationERF) -> str:
    """Return up to which steps the gradient predicts the unit's change, as a sentence."""
    course = linearity(result)
    if not course.known:
        return (
            f"{result.label}: the gradient is zero on every image, so it predicts no change of the "
            "unit."
        )
    until = round(255 * course.until)
    small, large = (estimate_text(course.errors[end], "{:.0%}".format) for end in (0, -1))
    said = f"up to steps of {until}/255" if until else "not even for steps of 1/255"
    return (
        f"{result.label}: the gradient predicts at least half of the unit's change {said}; it is "
        f"wrong by {small} at 1/255 and by {large} at 32/255."
    )


def write_perturbation_table(
    table: pd.DataFrame, results: Sequence[PerturbationERF], stem: Path
) -> list[Path]:
    """Write ``.csv`` (everything), ``.md`` and ``.tex`` (for people), with the notes in them."""
    return write_tables(stem, table, readable(table), notes(results))
