"""Joining the two halves: ERF measures beside shape bias, one row per model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from erf_tools.cue_conflict.categories import worded
from erf_tools.cue_conflict.tables import caution, cues_of
from erf_tools.errors import UsageError
from erf_tools.figures import COLUMN, literal, own_style, save_figure
from erf_tools.files import file_sha256
from erf_tools.labels import OTHERS, PUBLISHED, UNTRAINED, labelled
from erf_tools.provenance import versions
from erf_tools.tables import NONE, intervals, read_csv, write_tables

_ERF_COLUMNS = [
    "model",
    "weights",
    "weights_sha256",
    "layer",
    "default_layer",
    "protocol",
    "resolution",
    "images",
    "legacy_99",
    "linear_50",
    "linear_99",
    "effective_side",
    "radius",
]
_BIAS_COLUMNS = [
    "model",
    "shape_bias",
    "shape_bias_low",
    "shape_bias_high",
    "coverage",
    "low_coverage",
    "preset",
    "aggregation",
    "stimuli",
    "weights_sha256",
    "cues",
]


_WORDS = (
    *("model", "weights", "weights_sha256", "layer", "protocol", "resolution", "preset"),
    *("aggregation", "stimuli", "cues"),
)


@dataclass(frozen=True)
class Joined:
    """Models for which both halves are known.

    Attributes:
        table: a row per model; several only for a model of which only layers other than its default
            one were measured.
        remarks: what a reader has to know.
        left_out: models of one half only, or with several checkpoints of which none decided.
        other_weights: models whose two halves were measured with other weights.
        files: what was written.
    """

    table: pd.DataFrame
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    other_weights: tuple[str, ...]
    files: tuple[Path, ...]


def join(erf: Path, shape_bias: Path, output: Path) -> Joined:
    """Join ``erf_table.csv`` and ``shape_bias.csv`` by model, and draw the one against the other.

    Of several layers of a model the default one counts, of several checkpoints the one that
    decided.

    Args:
        erf: output folder of ``erf-tools erf``.
        shape_bias: output folder of ``erf-tools shape-bias``.
        output: where ``comparison.csv|md|tex|png|pdf`` go.

    Raises:
        UsageError: a table is missing or is none, or no model is in both.
    """
    sources = {"erf": erf / "erf_table.csv", "shape_bias": shape_bias / "shape_bias.csv"}
    left = _read(sources["erf"], _ERF_COLUMNS, "--erf")
    left = left[~left["weights"].isin([OTHERS, PUBLISHED])]
    right = _read(sources["shape_bias"], _BIAS_COLUMNS, "--shape-bias")
    decided = right.drop_duplicates()
    joined = _chosen(left, decided).merge(decided, on="model", suffixes=("", "_shape_bias"))
    if joined.empty:
        raise UsageError(
            f"no model is in both: {sources['erf']} has {', '.join(left['model'].unique())}, and "
            f"{sources['shape_bias']} has {', '.join(right['model'])}"
        )
    both = set(joined["model"])
    left_out = [
        name for name in dict.fromkeys([*left["model"], *right["model"]]) if name not in both
    ]
    cues = cues_of(joined)
    differ = joined["weights_sha256"] != joined["weights_sha256_shape_bias"]
    other = joined.loc[differ, "model"].unique()
    ratio = "Shape bias: S / (S + T), with its 95 % interval over shape and texture images."
    remarks = [
        "Effective side: of the smallest centred square with half of the linear ERF, input pixels. "
        + worded(ratio, cues),
        caution(cues),
        *(f"Stimuli: {label}." for label in sorted(set(joined["stimuli"]) - {""})),
        *(f"{name}: the two halves were measured with different weights." for name in other),
    ]
    files = write_tables(output / "comparison", joined, _readable(joined), remarks)
    provenance: Mapping[str, Any] = {
        "versions": versions(),
        "sources": {str(path): file_sha256(path) for path in sources.values()},
    }
    files += save_figure(scatter(joined), output / "comparison", provenance)
    return Joined(joined, tuple(remarks), tuple(left_out), tuple(other), tuple(files))


def _chosen(left: pd.DataFrame, decided: pd.DataFrame) -> pd.DataFrame:
    """Return which ERFs are joined: of each model those of one layer and one checkpoint."""
    digests = decided.drop_duplicates("model").set_index("model")["weights_sha256"]
    rows = []
    for model, own in left.groupby("model", sort=False):
        if model not in digests.index:
            continue
        same = own[own["weights_sha256"] == digests[model]]
        if same.empty and own["weights_sha256"].nunique() > 1:
            continue  # which of them it should be, nobody can tell
        own = own if same.empty else same
        default = own[own["default_layer"]]
        rows.append(own if default.empty else default)
    return pd.concat(rows) if rows else left.iloc[:0]


def _label(row: Any) -> str:
    layer = "" if row.default_layer else f" {row.layer}"
    return labelled(f"{row.model}{layer}", row.weights != UNTRAINED)


def scatter(table: pd.DataFrame) -> Figure:
    """Draw effective side against shape bias, with the intervals that are known."""
    with own_style():
        figure = Figure(figsize=(COLUMN, COLUMN * 0.85), layout="constrained")
        axes = figure.add_subplot()
        for row in table.itertuples():
            untrained = row.weights == UNTRAINED
            below, above = row.shape_bias - row.shape_bias_low, row.shape_bias_high - row.shape_bias
            axes.errorbar(
                row.effective_side,
                row.shape_bias,
                yerr=None if pd.isna(below) else [[below], [above]],
                marker="o",
                color="#0072B2",
                markerfacecolor="white" if untrained else "#0072B2",
                markersize=4,
                elinewidth=0.8,
                linestyle="none",
            )
            axes.annotate(
                literal(_label(row)),
                (row.effective_side, row.shape_bias),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
            )
        axes.set_ylim(0, 1)
        axes.margins(x=0.25)
        resolutions = ", ".join(sorted(set(table["resolution"])))
        axes.set_xlabel(f"effective side of the ERF, pixels at {resolutions}")
        axes.set_ylabel(literal(worded("shape bias, S / (S + T)", cues_of(table))))
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        return figure


def _read(path: Path, columns: list[str], option: str) -> pd.DataFrame:
    if not path.is_file():
        raise UsageError(f"{option} {path.parent}: there is no {path.name} in this folder")
    table = read_csv(path, _WORDS)
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise UsageError(f"{path} lacks the columns {', '.join(absent)}; measure again")
    return table[columns]


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Layer": table["layer"],
            "Resolution": table["resolution"],
            "Effective side, px": table["effective_side"].map("{:.0f}".format),
            "linear r at 50 %, %": (100 * table["linear_50"]).map("{:.2f}".format),
            "linear r at 99 %, %": (100 * table["linear_99"]).map("{:.2f}".format),
            worded("Shape bias", cues_of(table)): table["shape_bias"].map(
                lambda v: f"{v:.4f}" if v == v else NONE
            ),
            "95 %": intervals(table, "shape_bias", "{:.3f}".format),
            "Coverage": [
                f"{value:.3f}{' LOW' if low else ''}"
                for value, low in zip(table["coverage"], table["low_coverage"], strict=True)
            ],
        }
    )
