"""Answers under suppression as tables: areas and profile per network, every strength, pairs."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import pandas as pd

from erf_tools.labels import UNTRAINED
from erf_tools.reliance import measures
from erf_tools.reliance.changes import CHANGES, mean_changes
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import Suppression, variants
from erf_tools.statistics import Estimate, wilson_interval
from erf_tools.tables import DIFFERENCES, NONE, difference_row, with_intervals


def _stimuli(result: SuppressedAnswers) -> Sequence[str] | None:
    return result.names if "shape" in result.hits else None


def _about(result: SuppressedAnswers, counted: str) -> dict[str, Any]:
    hits = result.hits[counted]
    clean = wilson_interval(int(hits[:, 0].sum()), len(hits))
    return {
        "model": result.name,
        "weights": result.weights,
        "counted": counted,
        "images": len(hits),
        **clean.columns("accuracy"),
        "low_accuracy": measures.is_low(clean.value, float(result.chances.mean())),
    }


def reliance_table(
    results: Sequence[SuppressedAnswers], rows: Sequence[Suppression]
) -> pd.DataFrame:
    """Return a row per network, and per what is counted: accuracy, profile, areas.

    ``accuracy`` is on the unchanged images, with Wilson's interval. The columns of
    :func:`~erf_tools.reliance.measures.profile` are reliances, those of
    :func:`~erf_tools.reliance.measures.areas` means of relative accuracy.
    """
    table = []
    for result in results:
        for counted, hits in result.hits.items():
            row = _about(result, counted)
            for each in (*measures.profile(rows), *measures.areas(rows)):
                row |= measures.estimate(hits, each, _stimuli(result)).columns(each.name)
            row["weights_sha256"] = result.setting["model"]["weights"]["sha256"]
            table.append(row)
    return pd.DataFrame(table)


def curves_table(results: Sequence[SuppressedAnswers], rows: Sequence[Suppression]) -> pd.DataFrame:
    """Return a row per network, suppression and strength, 0 being the unchanged images."""
    listed = list(variants(rows))
    table = []
    for result in results:
        changes = mean_changes(result.changes)
        for counted, hits in result.hits.items():
            about = {key: _about(result, counted)[key] for key in ("model", "weights", "counted")}
            for row in rows:
                steps = [(0, "unchanged", 0)]
                steps += [
                    (number, strength.label, place)
                    for place, (own, number, strength) in enumerate(listed, 1)
                    if own.name == row.name
                ]
                for number, label, place in steps:
                    relative = Estimate(1.0, 1.0, 1.0) if hits[:, 0].any() else Estimate(nan)
                    if place:
                        single = measures.single(place - 1, len(listed))
                        relative = measures.estimate(hits, single, _stimuli(result))
                    share = wilson_interval(int(hits[:, place].sum()), len(hits))
                    table.append(
                        {
                            **about,
                            "suppression": row.name,
                            "cue": row.cue,
                            "strength": number,
                            "parameters": label,
                            **share.columns("accuracy"),
                            **relative.columns("relative_accuracy"),
                            **{c.name: changes[place, i] for i, c in enumerate(CHANGES)},
                        }
                    )
    return pd.DataFrame(table)


def difference_table(
    results: Sequence[SuppressedAnswers], rows: Sequence[Suppression]
) -> pd.DataFrame:
    """Return the difference of every pair of networks on the same images, paired by image."""
    found = []
    for index, one in enumerate(results):
        for other in results[index + 1 :]:
            if one.sha256 != other.sha256:
                continue
            for counted, hits in one.hits.items():
                for each in (*measures.profile(rows), *measures.areas(rows)):
                    value = measures.difference(hits, other.hits[counted], each, _stimuli(one))
                    subjects = (one.name, one.weights, ""), (other.name, other.weights, "")
                    row = difference_row(*subjects, each.name, value)
                    found.append({**row, "counted": counted})
    return pd.DataFrame(found, columns=[*DIFFERENCES, "counted"])


def readable(table: pd.DataFrame, rows: Sequence[Suppression]) -> pd.DataFrame:
    """Return :func:`reliance_table` as text for people: accuracy and profile, or areas if none."""
    shown = table[["model", "weights", "counted"]].rename(columns=str.capitalize)
    shown["Images"] = table["images"].map(str)
    accuracy = with_intervals(table, "accuracy", "{:.3f}".format)
    lows = [" LOW" if low else "" for low in table["low_accuracy"]]
    shown["Clean"] = [text + low for text, low in zip(accuracy, lows, strict=True)]
    for each in measures.profile(rows) or measures.areas(rows):
        texts = with_intervals(table, each.name, "{:.2f}".format)
        shown[each.label.capitalize()] = [
            NONE if low else text for text, low in zip(texts, table["low_accuracy"], strict=True)
        ]
    return shown


def notes(table: pd.DataFrame, rows: Sequence[Suppression]) -> list[str]:
    """Return what a reader of :func:`reliance_table` has to know."""
    found = [
        "Clean: share of unchanged images (224x224) that are answered right, with Wilson's 95 % "
        "interval. Relative accuracy: accuracy under a suppression over that.",
    ]
    if measures.profile(rows):
        found.append(
            "Reliance, 0 to 1: on global shape, what shuffling large cells takes (2, 4, 6 along a "
            "side); on local shape, what shuffling small ones takes beyond that (12, 14, 16); on "
            "texture and colour, one minus the mean relative accuracy under their suppressions. "
            "95 % intervals over images. They need not add up to one, and a filter never takes "
            "one cue alone."
        )
    if table["low_accuracy"].any():
        names = ", ".join(dict.fromkeys(table.loc[table["low_accuracy"], "model"]))
        found.append(
            f"LOW: the clean accuracy of {names} is less than {measures.LOW_ACCURACY:.0%} of the "
            "way from guessing to always right; what is relative to it means nothing, and is not "
            "shown."
        )
    if (table["weights"] == UNTRAINED).any():
        found.append("untrained: random weights, which recognise nothing.")
    found += [f"Source: {source}." for source in dict.fromkeys(row.source for row in rows)]
    return found
