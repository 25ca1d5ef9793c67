"""Decision makers as figures: the matrix plot, and shape bias with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, e, nan
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from erf_tools.cue_conflict.categories import SIXTEEN, Categories, worded
from erf_tools.cue_conflict.makers import DecisionMaker, maker_label
from erf_tools.cue_conflict.measures import bias_by_category
from erf_tools.cue_conflict.published import HUMANS
from erf_tools.cue_conflict.tables import cues_of
from erf_tools.figures import (
    COLUMN,
    PAGE,
    draw_grid,
    label_lines,
    line_styles,
    literal,
    own_style,
)
from erf_tools.labels import UNTRAINED, labelled

_HUMAN_COLOUR = "#D55E00"
#: Okabe and Ito's colour-blind safe palette, without the colour of humans and with grey and purple
#: in place of yellow; markers tell them apart as well.
_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#5B2A86")
#: Share of the dimensions of shape, and of texture, where nothing is shared.
_NOTHING_SHARED = 1 / (2 + e)
_MARKERS = ("s", "^", "D", "v", "P", "X", "*", "<", ">")


def matrix_plot(makers: Sequence[DecisionMaker]) -> Figure:
    """Draw the share of shape decisions per category, and pooled as a vertical line.

    The figure of Geirhos et al., ICLR 2019, Figure 4, with names in place of icons: texture
    decisions grow to the right. Single observers are left out: humans stand pooled.
    """
    shown = [maker for maker in makers if not maker.human or maker.name.startswith(HUMANS)]
    categories = _categories(makers)
    names = categories.names
    with own_style():
        height = 1.16 + 0.19 * len(names) + 0.13 * ((len(shown) + 1) // 2)
        figure = Figure(figsize=(COLUMN + 1.1, height))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        rows = np.arange(len(names))
        networks = [maker for maker in shown if not maker.human]
        for maker in shown:
            colour, marker = (_HUMAN_COLOUR, "o") if maker.human else _look(networks.index(maker))
            texture = 1.0 - bias_by_category(maker.counts).to_numpy(dtype=float)
            pooled = 1 - maker.bias.value
            axes.axvline(pooled, color=colour, linewidth=1, linestyle="-", zorder=1)
            axes.plot(
                texture,
                rows,
                linestyle="none",
                marker=marker,
                markersize=5 if maker.human else 4.2,
                color=colour,
                markerfacecolor="white" if maker.published and not maker.human else colour,
                label=_label(maker),
                zorder=3 if maker.human else 2,
                clip_on=False,
            )
        axes.set_yticks(rows, [literal(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel(_word("share of texture decisions", categories))
        axes.set_ylabel(_word("shape category", categories))
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        top = axes.secondary_xaxis("top", functions=(_complement, _complement))
        top.set_xlabel(_word("share of shape decisions", categories))
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return figure


def interval_plot(makers: Sequence[DecisionMaker]) -> Figure:
    """Draw each decision maker's shape bias with its 95 % interval, humans marked."""
    order = sorted(makers, key=lambda maker: -np.nan_to_num(maker.bias.value, nan=-1))
    with own_style():
        figure = Figure(figsize=(COLUMN, 0.8 + 0.19 * len(order)), layout="constrained")
        axes = figure.add_subplot()
        for row, maker in enumerate(order):
            bias = maker.bias
            colour = _HUMAN_COLOUR if maker.human else "#0072B2"
            hollow = maker.published and not maker.human
            axes.plot([bias.low, bias.high], [row, row], color=colour, linewidth=1.2)
            axes.plot(
                bias.value,
                row,
                marker="o" if maker.human else "s",
                markersize=4,
                color=colour,
                markerfacecolor="white" if hollow else colour,
            )
        axes.set_yticks(range(len(order)), [_label(maker) for maker in order])
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel(_word("shape bias, S / (S + T), 95 % interval", _categories(makers)))
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        for label, maker in zip(axes.get_yticklabels(), order, strict=True):
            if maker.human:
                label.set_color(_HUMAN_COLOUR)
        return figure


def sensitivity_plot(makers: Sequence[DecisionMaker]) -> Figure:
    """Draw absolute shape against absolute texture sensitivity.

    On the left the shares of all decisions: the angle is the shape bias, the distance from the
    origin the coverage. On the right, where it is known, the mean reciprocal ranks with their 95 %
    intervals, which see cues that lose as well.
    """
    shown = [maker for maker in makers if not maker.human or maker.name.startswith(HUMANS)]
    networks = [maker for maker in shown if not maker.human]
    categories = _categories(makers)
    ranked = [maker for maker in shown if "mrr_shape" in maker.absolute]
    with own_style():
        width = PAGE if ranked else COLUMN
        columns = max(1, int(width / (0.4 + 0.06 * max(len(_label(each)) for each in shown))))
        figure = Figure(figsize=(width, COLUMN + 0.15 * ceil(len(shown) / columns)))
        figure.set_layout_engine("constrained")
        first, *others = figure.subplots(1, 2 if ranked else 1, squeeze=False)[0]
        _draw_rays(first)
        first.set_xlabel(_word("texture decisions / all", categories))
        first.set_ylabel(_word("shape decisions / all", categories))
        first.set_title(_word("dashed: equal shape bias", categories))
        for axes in others:
            axes.set_xlabel(_word("mean reciprocal rank of the texture", categories))
            axes.set_ylabel(_word("mean reciprocal rank of the shape", categories))
            axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.7)
        for maker in shown:
            colour, marker = (_HUMAN_COLOUR, "o") if maker.human else _look(networks.index(maker))
            look = {
                "linestyle": "none",
                "marker": marker,
                "markersize": 5,
                "color": colour,
                "markerfacecolor": "white" if maker.published and not maker.human else colour,
            }
            place = (
                part / maker.total if maker.total else nan for part in (maker.texture, maker.shape)
            )
            first.plot(*place, **look, label=_label(maker), clip_on=False)
            if maker in ranked:
                _draw_estimates(others[0], maker, look)
        for axes in (first, *others):
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.set_aspect("equal")
            draw_grid(axes)
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
        return figure


def accuracy_plot(table: pd.DataFrame) -> Figure:
    """Draw accuracy and mean reciprocal ranks on single-cue stimuli, with 95 % intervals.

    Args:
        table: :func:`erf_tools.cue_conflict.tables.accuracy_table`.
    """
    shown = {"accuracy": "accuracy", "mrr": "MRR", "mrr_classes": "MRR, all classes"}
    with own_style():
        figure = Figure(figsize=(COLUMN, 1.0 + 0.3 * len(table)), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, label) in enumerate(shown.items()):
            rows = np.arange(len(table)) + 0.22 * (place - 1)
            axes.hlines(rows, table[f"{name}_low"], table[f"{name}_high"], _COLOURS[place], lw=1.2)
            axes.plot(
                table[name],
                rows,
                linestyle="none",
                marker=_MARKERS[place],
                markersize=4,
                color=_COLOURS[place],
                label=label,
                clip_on=False,
            )
        names = [
            literal(labelled(row.model, row.weights != UNTRAINED)) for row in table.itertuples()
        ]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel("95 % intervals")
        draw_grid(axes)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        return figure


def depth_plot(table: pd.DataFrame) -> Figure:
    """Draw how shape and texture grow through the layers of networks, with 95 % intervals.

    Args:
        table: :func:`erf_tools.cue_conflict.layer_tables.layer_table`.
    """
    networks, cues = list(table.groupby(["model", "weights"], sort=False)), cues_of(table)
    with own_style():
        figure = Figure(figsize=(PAGE, 2.73), layout="constrained")
        triplets, dimensions = figure.subplots(1, 2)
        for ((name, weights), rows), line in zip(networks, line_styles(len(networks)), strict=True):
            depth = rows["place"] / max(len(rows) - 1, 1)
            label = literal(labelled(name, weights != UNTRAINED))
            _draw_growth(triplets, depth, rows, "triplets_shape", {**line, "label": label})
            for cue, marker in (("shape", "o"), ("texture", "^")):
                look = {**line, "marker": marker, "markersize": 3.5}
                _draw_growth(dimensions, depth, rows, f"{cue}_dimensions", look)
        triplets.axhline(0.5, color="#777777", linewidth=0.7, linestyle=":")
        triplets.set_ylim(0, 1)
        triplets.set_ylabel(literal(worded("triplets won by shape", cues)))
        dimensions.axhline(_NOTHING_SHARED, color="#777777", linewidth=0.7, linestyle=":")
        dimensions.set_ylim(bottom=0)
        dimensions.set_ylabel(literal(worded("dimensions: ○ shape, △ texture", cues)))
        for axes in (triplets, dimensions):
            axes.set_xlabel(
                "depth: first to last measured layer"
                if table["ordered"].all()
                else "measured layers, by their definition"
            )
            draw_grid(axes)
        label_lines(figure, triplets)
        return figure


def _categories(makers: Sequence[DecisionMaker]) -> Categories:
    return makers[0].categories if makers else SIXTEEN


def _word(text: str, categories: Categories) -> str:
    return literal(worded(text, categories.cues))


def _draw_growth(
    axes: Axes, depth: pd.Series, rows: pd.DataFrame, name: str, look: Mapping[str, Any]
) -> None:
    axes.plot(depth, rows[name], **look)
    ends = (rows[f"{name}_low"], rows[f"{name}_high"])
    axes.fill_between(depth, *ends, color=look["color"], alpha=0.15, linewidth=0)


def _draw_rays(axes: Axes) -> None:
    """Draw lines of equal shape bias, and that of all decisions."""
    axes.plot([0, 1], [1, 0], color="#BBBBBB", linewidth=0.7)
    for bias in (0.1, 0.25, 0.5, 0.75, 0.9):
        axes.plot([0, 1 - bias], [0, bias], color="#BBBBBB", linewidth=0.7, linestyle="--")
        axes.annotate(
            f"{bias:g}",
            (1 - bias, bias),
            textcoords="offset points",
            xytext=(3, 2),
            color="#777777",
            fontsize=6,
        )


def _draw_estimates(axes: Axes, maker: DecisionMaker, look: Mapping[str, Any]) -> None:
    texture, shape = (maker.estimate(f"mrr_{cue}") for cue in ("texture", "shape"))
    errors = [[[found.value - found.low], [found.high - found.value]] for found in (texture, shape)]
    axes.errorbar(
        texture.value, shape.value, xerr=errors[0], yerr=errors[1], elinewidth=0.8, **look
    )


def _complement(share: Any) -> Any:
    return 1 - share


def _look(index: int) -> tuple[str, str]:
    return _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]


def _label(maker: DecisionMaker) -> str:
    return literal(maker_label(maker.name, maker.weights, maker.provenance))
