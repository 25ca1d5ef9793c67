"""Answers under suppression as tables: areas and profile per network, every strength, pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.cue_conflict.tables import undecided_notes
from erf_tools.labels import UNTRAINED
from erf_tools.reliance import measures
from erf_tools.reliance.changes import CHANGES, mean_changes
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import Suppression, variants
from erf_tools.statistics import Estimate, wilson_interval
from erf_tools.tables import DIFFERENCES, NONE, Subject, difference_row, marked_low, with_intervals

#: Columns of :func:`about` that rows of every strength have as well.
_WHOSE = ("model", "weights", "counted", "low_accuracy")

#: Columns of how often nothing was decided, and on what.
_UNDECIDED = {"undecided": "unchanged images", "undecided_changed": "changed versions of images"}


def about(result: SuppressedAnswers, counted: str, clean: Estimate | None = None) -> dict[str, Any]:
    """Return the first columns of a row: whose answers, and how many of them are right.

    Args:
        result: the answers.
        counted: what is counted.
        clean: the accuracy that others are relative to; by default that of unchanged images.
    """
    hits = result.hits[counted]
    clean = clean or wilson_interval(int(hits[:, 0].sum()), len(hits))
    return {
        "model": result.name,
        "weights": result.weights,
        "counted": counted,
        "images": len(hits),
        **clean.columns("accuracy"),
        "low_accuracy": measures.is_low(clean.value, float(result.chances.mean())),
    }


def first_columns(table: pd.DataFrame, accuracy: str) -> pd.DataFrame:
    """Return what :func:`about` gave as text for people; ``accuracy`` is what it is called."""
    shown = table[["model", "weights", "counted"]].rename(columns=str.capitalize)
    shown["Images"] = table["images"].map(str)
    texts = with_intervals(table, "accuracy", "{:.3f}".format)
    return shown.assign(**{accuracy: marked_low(texts, table["low_accuracy"])})


def unless_low(table: pd.DataFrame, texts: Iterable[str]) -> list[str]:
    """Return texts of what is relative to the accuracy, without those where that is too low."""
    return [NONE if low else text for text, low in zip(texts, table["low_accuracy"], strict=True)]


def cautions(table: pd.DataFrame, meaning: str) -> list[str]:
    """Return what a reader has to know of networks with too low an accuracy, and untrained ones.

    Args:
        table: with the columns of :func:`about`.
        meaning: of a low accuracy, a sentence with ``{names}`` of networks.
    """
    found = []
    if table["low_accuracy"].any():
        names = ", ".join(dict.fromkeys(table.loc[table["low_accuracy"], "model"]))
        found.append(f"LOW: {meaning.format(names=names)}")
    if (table["weights"] == UNTRAINED).any():
        found.append("untrained: random weights, which recognise nothing.")
    return found


def reliance_table(
    results: Sequence[SuppressedAnswers], rows: Sequence[Suppression]
) -> pd.DataFrame:
    """Return a row per network, and per what is counted: accuracy, profile, areas.

    ``accuracy`` is on the unchanged images, with Wilson's interval. The columns of
    :func:`~erf_tools.reliance.measures.profile` are reliances, those of
    :func:`~erf_tools.reliance.measures.areas` means of relative accuracy. ``undecided`` is on how
    many unchanged images all classes, or categories, had the same score, and ``undecided_changed``
    on how many versions that are changed; NaN where that was not recorded.
    """
    table = []
    for result in results:
        for counted, hits in result.hits.items():
            row = about(result, counted)
            for each in (*measures.profile(rows), *measures.areas(rows)):
                row |= measures.estimate(hits, each, result.stimuli).columns(each.name)
            tied = np.full(2, nan) if result.tied is None else result.tied.sum(axis=0)
            row |= {"undecided": tied[0], "undecided_changed": tied[1:].sum()}
            row["weights_sha256"] = result.setting["model"]["weights"]["sha256"]
            table.append(row)
    return pd.DataFrame(table)


def curves_table(results: Sequence[SuppressedAnswers], rows: Sequence[Suppression]) -> pd.DataFrame:
    """Return a row per network, suppression and strength, 0 being the unchanged images.

    ``low_accuracy`` says that what is relative to the accuracy of the network means nothing.
    """
    listed = list(variants(rows))
    table = []
    for result in results:
        changes = mean_changes(result.changes)
        for counted, hits in result.hits.items():
            beginning = about(result, counted)
            whose = {key: beginning[key] for key in _WHOSE}
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
                        relative = measures.estimate(hits, single, result.stimuli)
                    share = wilson_interval(int(hits[:, place].sum()), len(hits))
                    table.append(
                        {
                            **whose,
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
    """Return the difference of every pair of networks on the same images, paired by image.

    ``low_accuracy`` says that it means nothing, since what is relative to the accuracy of one of
    the two does not.
    """
    found = []
    for index, one in enumerate(results):
        for other in results[index + 1 :]:
            if one.sha256 != other.sha256:
                continue
            for counted, hits in one.hits.items():
                low = any(about(each, counted)["low_accuracy"] for each in (one, other))
                for each in (*measures.profile(rows), *measures.areas(rows)):
                    value = measures.difference(hits, other.hits[counted], each, one.stimuli)
                    subjects = Subject(one.name, one.weights), Subject(other.name, other.weights)
                    row = difference_row(*subjects, each.name, value)
                    found.append({**row, "counted": counted, "low_accuracy": low})
    return pd.DataFrame(found, columns=[*DIFFERENCES, "counted", "low_accuracy"])


def readable(table: pd.DataFrame, rows: Sequence[Suppression]) -> pd.DataFrame:
    """Return :func:`reliance_table` as text for people: accuracy and profile, or areas if none."""
    shown = first_columns(table, "Clean")
    for each in measures.profile(rows) or measures.areas(rows):
        texts = with_intervals(table, each.name, "{:.2f}".format)
        shown[each.label.capitalize()] = unless_low(table, texts)
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
    found += cautions(
        table,
        f"the clean accuracy of {{names}} is less than {measures.LOW_ACCURACY:.0%} of the way from "
        "guessing to always right; what is relative to it means nothing, and is not shown.",
    )
    if "undecided" in table:  # earlier tables do not say
        networks = table.drop_duplicates(["model", "weights", "weights_sha256"])
        for column, shown in _UNDECIDED.items():
            for counted, own in networks.groupby(networks["counted"] == "accuracy"):
                choices = "classes" if counted else "categories"
                found += undecided_notes(own, column, choices, shown)
    found += [f"Source: {source}." for source in dict.fromkeys(row.source for row in rows)]
    return found
