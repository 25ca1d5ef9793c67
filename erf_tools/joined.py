"""Joining what is measured of models: ERFs beside shape bias and reliance, one row per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, nan
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from erf_tools.cue_conflict.categories import worded
from erf_tools.cue_conflict.tables import caution, cues_of
from erf_tools.errors import UsageError
from erf_tools.figures import COLUMN, PAGE, draw_grid, literal, own_style, save_figure
from erf_tools.files import file_sha256
from erf_tools.labels import OTHERS, PUBLISHED, UNTRAINED, in_lines, labelled
from erf_tools.provenance import versions
from erf_tools.reliance.measures import profile
from erf_tools.reliance.suppressions import SUPPRESSIONS
from erf_tools.tables import (
    interval_columns,
    intervals,
    marked_low,
    numbers,
    read_csv,
    with_intervals,
    write_tables,
)

_ERF_COLUMNS = [
    *("model", "weights", "weights_sha256", "layer", "default_layer", "protocol", "resolution"),
    *("images", "legacy_99", "linear_50", "linear_99", "effective_side", "radius"),
]
_BIAS_COLUMNS = [
    *("model", *interval_columns("shape_bias"), "coverage", "low_coverage"),
    *("preset", "aggregation", "stimuli", "weights", "weights_sha256", "cues"),
]
_RELIANCE_COLUMNS = [
    *("model", "weights", "weights_sha256", "counted"),
    *(*interval_columns("accuracy"), "low_accuracy"),
]
#: The reliances that a folder may have, with names for people.
_RELIANCES = {each.name: each.label for each in profile(tuple(SUPPRESSIONS.values()))}

_WORDS = (
    *("model", "weights", "weights_sha256", "layer", "protocol", "resolution", "preset"),
    *("aggregation", "stimuli", "cues", "counted"),
)


@dataclass(frozen=True)
class Joined:
    """Models of which all that was asked for is known.

    Attributes:
        table: a row per model; several only for a model of which only layers other than its default
            one were measured.
        remarks: what a reader has to know.
        left_out: models that are not in all tables, or with several checkpoints of which none
            decided.
        other_weights: models that are known to be measured with different weights.
        files: what was written.
    """

    table: pd.DataFrame
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    other_weights: tuple[str, ...]
    files: tuple[Path, ...]


def join(erf: Path, shape_bias: Path | None, output: Path, reliance: Path | None = None) -> Joined:
    """Join ``erf_table.csv`` with ``shape_bias.csv``, ``reliance.csv`` or both, and draw them.

    Of several layers of a model the default one counts, of several checkpoints the one that
    decided.

    Args:
        erf: output folder of ``erf-tools erf``.
        shape_bias: output folder of ``erf-tools shape-bias``.
        output: where ``comparison.csv|md|tex|png|pdf`` go.
        reliance: output folder of ``erf-tools reliance``, of labelled images.

    Raises:
        UsageError: neither is given, a table is missing or is none, or no model is in all.
    """
    sources, tables = {"erf": erf / "erf_table.csv"}, {}
    if shape_bias:
        sources["shape_bias"] = shape_bias / "shape_bias.csv"
        found = _read(sources["shape_bias"], _BIAS_COLUMNS, "--shape-bias")
        tables["shape_bias"] = found.drop_duplicates()
    if reliance:
        sources["reliance"] = reliance / "reliance.csv"
        tables["reliance"] = _relied(sources["reliance"])
    if not tables:
        raise UsageError("give --shape-bias or --reliance, or both: what ERFs are compared with")
    measured = _read(sources["erf"], _ERF_COLUMNS, "--erf")
    measured = measured[~measured["weights"].isin([OTHERS, PUBLISHED])]
    joined = measured
    for name, table in tables.items():
        joined = _chosen(joined, table).merge(table, on="model", suffixes=("", f"_{name}"))
    names = {
        "erf": measured["model"].unique().tolist(),
        **{name: table["model"].tolist() for name, table in tables.items()},
    }
    if joined.empty:
        listed = (f"{path} has {', '.join(names[name])}" for name, path in sources.items())
        of = "both" if len(sources) == 2 else "all three"
        raise UsageError(f"no model is in {of}: {', and '.join(listed)}")
    both = set(joined["model"])
    known = dict.fromkeys(model for own in names.values() for model in own)
    differ, unknown = (
        joined.loc[pd.concat([found(joined, name) for name in tables], axis=1).any(axis=1), "model"]
        for found in (_of_other_weights, _of_unknown_weights)
    )
    other = tuple(differ.unique())
    remarks = [
        *_remarks(joined),
        *(f"{name}: measured with different weights." for name in other),
        *(f"{name}: with which weights it decided is not known." for name in unknown.unique()),
    ]
    files = write_tables(output / "comparison", joined, _readable(joined), remarks)
    provenance: Mapping[str, Any] = {
        "versions": versions(),
        "sources": {str(path): file_sha256(path) for path in sources.values()},
    }
    files += save_figure(scatter(joined), output / "comparison", provenance)
    left_out = tuple(name for name in known if name not in both)
    return Joined(joined, tuple(remarks), left_out, other, tuple(files))


def _of_unknown_weights(table: pd.DataFrame, name: str) -> pd.Series:
    """Tell of which rows it is not known whether both measures are of the same weights."""
    return (table["weights_sha256"] == "") | (table[f"weights_sha256_{name}"] == "")


def _of_other_weights(table: pd.DataFrame, name: str) -> pd.Series:
    """Tell which rows are of an ERF and of a measure of other weights."""
    differ = table["weights_sha256"] != table[f"weights_sha256_{name}"]
    return differ & ~_of_unknown_weights(table, name)


def _relied(path: Path) -> pd.DataFrame:
    """Read reliances; those relative to an accuracy that is too low are missing."""
    table = _read(path, _RELIANCE_COLUMNS, "--reliance", list(_RELIANCES))
    if set(table["counted"]) != {"accuracy"}:
        raise UsageError(
            f"{path} counts shape and texture of stimuli apart; compare the reliance that was "
            "measured of labelled images (erf-tools reliance --images)"
        )
    relative = [name for name in table if str(name).startswith(tuple(_RELIANCES))]
    if not relative:
        raise UsageError(
            f"{path} has no profile; measure with --cues global-shape, texture, color or all"
        )
    table.loc[table["low_accuracy"], relative] = nan
    return table.drop(columns="counted")


def _remarks(table: pd.DataFrame) -> list[str]:
    """Return what a reader has to know of a joined table."""
    said = [
        "Effective side: of the smallest centred square with half of the linear ERF, input pixels."
    ]
    if "shape_bias" in table:
        cues = cues_of(table)
        ratio = "Shape bias: S / (S + T), with its 95 % interval over shape and texture images."
        said = [f"{said[0]} {worded(ratio, cues)}", caution(cues)]
        said += [f"Stimuli: {label}." for label in sorted(set(table["stimuli"]) - {""})]
    if "accuracy" in table:
        said.append(
            "Reliance, 0 to 1: what of the accuracy is lost where a cue is suppressed, with its "
            "95 % interval over images; none where the accuracy is LOW. Which network loses more "
            "does not say which is better."
        )
    return said


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


def _label(row: Mapping[Any, Any], other_weights: bool, decided: str, low: bool) -> str:
    """Return what a mark is called, with what a reader has to know of it."""
    layer = "" if row["default_layer"] else f" {row['layer']}"
    other = "decided untrained" if decided == UNTRAINED else "other weights"
    notes = [*([other] if other_weights else []), *(["LOW"] if low else [])]
    return labelled(f"{row['model']}{layer}", row["weights"] != UNTRAINED, *notes)


def scatter(table: pd.DataFrame) -> Figure:
    """Draw effective side against all else, with the intervals that are known: a panel each."""
    drawn = {name: f"reliance on {label}" for name, label in _RELIANCES.items() if name in table}
    if "shape_bias" in table:
        ratio = literal(worded("shape bias, S / (S + T)", cues_of(table)))
        drawn = {"shape_bias": ratio, **drawn}
    columns = 2 if len(drawn) == 4 else min(3, len(drawn))
    rows = ceil(len(drawn) / columns)
    width = COLUMN if columns == 1 else PAGE
    with own_style():
        figure = Figure(
            figsize=(width, rows * 0.85 * max(COLUMN / 1.3, width / columns)), layout="constrained"
        )
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        resolutions = ", ".join(sorted(set(table["resolution"])))
        for axes, (name, label) in zip(panels, drawn.items(), strict=False):
            _scatter(axes, table, name)
            axes.set_ylabel(label)
        for axes in panels[len(drawn) :]:
            axes.set_visible(False)
        figure.supxlabel(f"effective side of the ERF, pixels at {resolutions}", fontsize="medium")
        return figure


def _scatter(axes: Axes, table: pd.DataFrame, name: str) -> None:
    """Draw one measure against the effective side; what is of an untrained network is hollow."""
    kind = "shape_bias" if name == "shape_bias" else "reliance"
    others = _of_other_weights(table, kind)
    for row, other_weights in zip(table.to_dict("records"), others, strict=True):
        decided = row[f"weights_{kind}"]
        untrained = UNTRAINED in (row["weights"], decided)
        value, low, high = (row[column] for column in interval_columns(name))
        side = row["effective_side"]
        axes.errorbar(
            side,
            value,
            yerr=None if pd.isna(low) else [[value - low], [high - value]],
            marker="o",
            color="#0072B2",
            markerfacecolor="white" if untrained else "#0072B2",
            markersize=4,
            elinewidth=0.8,
            linestyle="none",
        )
        if not pd.isna(value):
            label = _label(
                row, other_weights, decided, name == "shape_bias" and row["low_coverage"]
            )
            axes.annotate(
                in_lines(literal(label)),
                (side, value),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
            )
    drawn = table[interval_columns(name)]
    lowest, highest = drawn.min().min(), drawn.max().max()  # reliances, and their ends, exceed 1
    axes.set_ylim(min(0, lowest - 0.03), highest + 0.03 if highest > 1 else 1)
    axes.margins(x=0.25)
    draw_grid(axes)


def _read(
    path: Path, columns: Sequence[str], option: str, estimates: Sequence[str] = ()
) -> pd.DataFrame:
    """Read columns of a table, and those estimates that it has."""
    if not path.is_file():
        raise UsageError(f"{option} {path.parent}: there is no {path.name} in this folder")
    table = read_csv(path, _WORDS, columns)
    known = [name for name in estimates if {*interval_columns(name)} <= {*table}]
    return table[[*columns, *interval_columns(*known)]].copy()


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Layer": table["layer"],
            "Resolution": table["resolution"],
            "Effective side, px": table["effective_side"].map("{:.0f}".format),
            "linear r at 50 %, %": (100 * table["linear_50"]).map("{:.2f}".format),
            "linear r at 99 %, %": (100 * table["linear_99"]).map("{:.2f}".format),
        }
    )
    three = "{:.3f}".format
    if "shape_bias" in table:
        shown[worded("Shape bias", cues_of(table))] = numbers(table["shape_bias"], "{:.4f}".format)
        shown["95 %"] = intervals(table, "shape_bias", three)
        shown["Weights that decided"] = table["weights_shape_bias"]
        shown["Coverage"] = marked_low(table["coverage"].map(three), table["low_coverage"])
    if "accuracy" in table:
        shown["Weights of reliance"] = table["weights_reliance"]
        shown["Accuracy"] = marked_low(table["accuracy"].map(three), table["low_accuracy"])
        for name in (name for name in _RELIANCES if name in table):
            shown[_RELIANCES[name].capitalize()] = with_intervals(table, name, "{:.2f}".format)
    return shown
