"""Reliance as figures: profile, curves, curves by how much was changed, and an image in a strip."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from erf_tools.figures import (
    COLOURS,
    COLUMN,
    PAGE,
    draw_grid,
    label_lines,
    line_styles,
    literal,
    own_style,
)
from erf_tools.labels import UNTRAINED, labelled
from erf_tools.reliance.changes import CHANGES
from erf_tools.reliance.measures import areas, profile
from erf_tools.reliance.sheet import sheet
from erf_tools.reliance.suppressions import BANDS, Suppression
from erf_tools.tables import interval_columns

_MARKERS = "os^Dv<>"

#: Of the strip: height of the labels above a row, in images; inches and letters of the titles.
_LABELS, _TITLES, _LETTERS = 0.28, 0.85, 14
_GAP = 8  # pixels between its images


def _groups(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each network and what is counted, with its label."""
    several = table["counted"].nunique() > 1
    found = []
    for (model, weights, counted), own in table.groupby(
        ["model", "weights", "counted"], sort=False
    ):
        extra = [counted] if several else []
        found.append((literal(labelled(model, weights != UNTRAINED, *extra)), own))
    return found


def profile_plot(table: pd.DataFrame, rows: Sequence[Suppression]) -> Figure:
    """Draw the reliance of each network on each cue (areas, where no profile is known).

    Args:
        table: of :func:`~erf_tools.reliance.tables.reliance_table`.
        rows: the suppressions.
    """
    shown = profile(rows) or areas(rows)
    title = "reliance, 95 % interval" if profile(rows) else "mean relative accuracy, 95 % interval"
    groups = _groups(table[~table["low_accuracy"]])
    with own_style():
        height = 1.0 + len(shown) * (0.22 + 0.11 * max(len(groups), 1))
        figure = Figure(figsize=(COLUMN, height), layout="constrained")
        axes = figure.add_subplot()
        draw_grid(axes)
        spread = np.linspace(-0.28, 0.28, len(groups)) if len(groups) > 1 else [0.0]
        for (label, own), shift, style, index in zip(
            groups, spread, line_styles(len(groups)), range(len(groups)), strict=False
        ):
            places = np.arange(len(shown)) + shift
            values = [float(own[each.name].iloc[0]) for each in shown]
            ends = [
                (float(own[f"{each.name}_low"].iloc[0]), float(own[f"{each.name}_high"].iloc[0]))
                for each in shown
            ]
            for place, (low, high) in zip(places, ends, strict=True):
                axes.plot([low, high], [place, place], color=style["color"], linewidth=1)
            axes.plot(
                values,
                places,
                linestyle="none",
                marker=_MARKERS[(index + index // len(COLOURS)) % len(_MARKERS)],
                markersize=4,
                color=style["color"],
                label=label,
            )
        axes.set_yticks(range(len(shown)), [each.label for each in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.axvline(0, color="#888888", linewidth=0.6)
        axes.set_xlabel(title)
        label_lines(figure, axes)
        return figure


def curves_plot(curves: pd.DataFrame, rows: Sequence[Suppression]) -> Figure:
    """Draw relative accuracy against strength: a panel per suppression, a line per network.

    Networks with too low an accuracy are left out.

    Args:
        curves: of :func:`~erf_tools.reliance.tables.curves_table`.
        rows: the suppressions.
    """
    shown = curves[~curves["low_accuracy"]]
    drawn = shown[interval_columns("relative_accuracy")].to_numpy(dtype=float)
    top = float(np.nanmax([1.25, *1.02 * drawn.ravel()]))
    columns = min(3, len(rows))
    lines = ceil(len(rows) / columns)
    with own_style():
        figure = Figure(figsize=(PAGE, 0.5 + 1.75 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for panel, row in zip(panels, rows, strict=False):
            draw_grid(panel)
            groups = _groups(shown[shown["suppression"] == row.name])
            for (label, values), style in zip(groups, line_styles(len(groups)), strict=True):
                panel.fill_between(
                    values["strength"],
                    values["relative_accuracy_low"],
                    values["relative_accuracy_high"],
                    color=style["color"],
                    alpha=0.15,
                    linewidth=0,
                )
                panel.plot(values["strength"], values["relative_accuracy"], label=label, **style)
            names = ["0", *(each.label for each in row.strengths)]
            panel.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=5.5)
            panel.set_title(row.title)
            panel.set_ylim(-0.05, top)
        for panel in panels[len(rows) :]:
            panel.set_visible(False)
        for panel in panels[::columns]:
            panel.set_ylabel("relative accuracy")
        label_lines(figure, panels[0])
        return figure


def changes_plot(curves: pd.DataFrame, rows: Sequence[Suppression]) -> Figure:
    """Draw relative accuracy against how strongly images were changed, filters of texture alike.

    A panel per measure of change; a colour per network, a marker per filter. Networks with too low
    an accuracy are left out. For the arguments see :func:`curves_plot`.
    """
    filters = [row for row in rows if row.cue == "texture"] or list(rows)
    with own_style():
        figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
        for panel, change in zip(
            figure.subplots(1, len(CHANGES), sharey=True), CHANGES, strict=True
        ):
            draw_grid(panel)
            groups = _groups(curves[~curves["low_accuracy"]])
            for (label, own), style in zip(groups, line_styles(len(groups)), strict=True):
                for row, marker in zip(filters, _MARKERS * len(filters), strict=False):
                    values = own[own["suppression"] == row.name]
                    panel.plot(
                        values[change.name],
                        values["relative_accuracy"],
                        marker=marker,
                        markersize=3,
                        label=f"{label}, {row.title}",
                        **style,
                    )
            panel.set_xlabel(change.label.replace(", ", ",\n").replace(" with", "\nwith"))
        panel.figure.axes[0].set_ylabel("relative accuracy")
        label_lines(figure, panel)
        return figure


def critical_band_plot(table: pd.DataFrame) -> Figure:
    """Draw the loss by noise of each octave, a line per network, with 95 % intervals.

    Args:
        table: of :func:`~erf_tools.reliance.critical_band.critical_band_table`.
    """
    groups = _groups(table[~table["low_accuracy"]])
    middles = [(low * high) ** 0.5 for low, high in BANDS]
    bottom = 0.0
    with own_style():
        figure = Figure(figsize=(COLUMN, 2.53), layout="constrained")
        axes = figure.add_subplot()
        draw_grid(axes)
        for (label, own), style in zip(groups, line_styles(len(groups)), strict=True):
            losses, lows, highs = (
                [float(own[f"loss_{number}{end}"].iloc[0]) for number in range(1, len(BANDS) + 1)]
                for end in ("", "_low", "_high")
            )
            axes.plot(middles, losses, marker="o", markersize=3, label=label, **style)
            bottom = float(np.nanmin([bottom, *losses, *lows]))  # noise may help, by chance
            axes.fill_between(middles, lows, highs, color=style["color"], alpha=0.15, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(middles, [f"{low:g}\u2013{high:g}" for low, high in BANDS], fontsize=5.5)
        axes.set_xlabel("octave of the noise, cycles per image")
        axes.set_ylim(1.05 * bottom, 1.05)
        axes.set_ylabel("accuracy lost, 95 % interval")
        label_lines(figure, axes)
        return figure


def strip_plot(images: np.ndarray, rows: Sequence[Suppression]) -> Figure:
    """Draw an image under all strengths: a line per suppression.

    Args:
        images: uint8 ``[1 + variants, height, width, 3]``; see
            :func:`~erf_tools.reliance.suppressions.suppress`.
        rows: the suppressions.
    """
    images = np.pad(images, ((0, 0), (0, 0), (0, _GAP), (0, 0)), constant_values=255)
    _, height, width, _ = images.shape
    above = round(_LABELS * height)
    drawn = sheet(images, rows, above)
    with own_style():
        scale = PAGE / drawn.shape[1]
        figure = Figure(figsize=(PAGE + _TITLES, scale * drawn.shape[0]))
        axes = figure.add_axes((_TITLES / (PAGE + _TITLES), 0, PAGE / (PAGE + _TITLES), 1))
        axes.set_axis_off()
        axes.imshow(drawn, aspect="auto")
        for line, row in enumerate(rows):
            top = line * (above + height)
            title = "\n".join(wrap(row.title, _LETTERS))
            axes.text(
                -0.1 * width, top + above + height / 2, title, ha="right", va="center", size=6
            )
            for cell, label in enumerate(["unchanged", *(each.label for each in row.strengths)]):
                place = (cell + 0.5) * width - _GAP / 2, top + 0.8 * above
                axes.text(*place, label, ha="center", va="bottom", size=4.5)
        return figure
