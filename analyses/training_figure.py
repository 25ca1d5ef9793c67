"""The figure of :mod:`analyses.training_study`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.trained_networks import Design
from analyses.training_statistics import over_seeds
from erf_tools.figures import COLOURS, PAGE, draw_grid, own_style

_MARKERS = {
    "kernels": "o",
    "kernels, no shortcut": "s",
    "kernels + 5x5": "P",
    "kernels + 5x5, no shortcut": "p",
    "ResNet": "D",
    "Swin": "X",
}


def draw(runs: pd.DataFrame, designs: Sequence[Design]) -> Figure:
    """Draw effective side and shape bias of each network, and one against the other.

    Args:
        runs: of one setting.
        designs: the networks, in the order in which they are shown.
    """
    with own_style():
        figure = Figure(figsize=(PAGE, 1.1 + 0.19 * len(designs)), layout="constrained")
        sides, biases, both = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
        for axes, measure in ((sides, "effective_side"), (biases, "shape_bias")):
            _draw_rows(axes, runs, designs, measure)
        sides.set_yticks(range(len(designs)), [design.name for design in designs])
        biases.set_yticks(range(len(designs)))
        biases.tick_params(axis="y", length=0, labelleft=False)
        _draw_both(both, runs, designs)
        for axes in (sides, both):
            axes.set_xlabel("effective side, pixels")
            axes.set_xlim(0, 1.25 * runs["effective_side"].max())
        biases.set_xlabel("shape bias")
        both.set_ylabel("shape bias")
        biases.set_xlim(-0.03, 1.03)
        both.set_ylim(-0.03, 1.03)
        draw_legend(figure, designs)
        return figure


def draw_legend(figure: Figure, designs: Sequence[Design]) -> None:
    """Say below a figure what the marks of designs are."""
    handles = {label: marker(design) for design in designs for label in [_family(design)]}
    figure.legend(
        [Line2D([], [], linestyle="", markersize=5, **style) for style in handles.values()],
        handles,
        loc="outside lower center",
        ncols=len(handles),
    )


def _draw_rows(axes: Axes, runs: pd.DataFrame, designs: Sequence[Design], measure: str) -> None:
    """Draw the mean of each network with its interval, and below it each seed."""
    draw_grid(axes)
    for row, design in enumerate(designs):
        values = runs.loc[runs["design"] == design.name, measure]
        found = over_seeds(values)
        style = marker(design)
        axes.plot([found.low, found.high], [row, row], color=style["color"], linewidth=1)
        axes.plot(found.value, row, markersize=5, **style)
        axes.plot(values, [row + 0.3] * len(values), "|", color="#555555", markersize=4)
    axes.set_ylim(len(designs) - 0.4, -0.6)


def _draw_both(axes: Axes, runs: pd.DataFrame, designs: Sequence[Design]) -> None:
    """Draw means over seeds against each other; kernels have their side written on them."""
    draw_grid(axes)
    for design in designs:
        own = runs[runs["design"] == design.name]
        place = (own["effective_side"].mean(), own["shape_bias"].mean())
        axes.plot(*place, markersize=9, **marker(design))
        if design.mixing == "depthwise":
            side = str(design.kernel_size)
            axes.text(*place, side, color="white", size=5, weight="bold", ha="center", va="center")


def _family(design: Design) -> str:
    """Return the design's name without the side of its kernels."""
    return re.sub(r"^\d+x\d+", "kernels", design.name)


def marker(design: Design) -> dict[str, Any]:
    """Return how matplotlib marks a design."""
    families = list(_MARKERS)
    family = _family(design)
    return {"marker": _MARKERS[family], "color": COLOURS[families.index(family)]}
