"""Perturbation ERFs as figures: each beside the gradient's over the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from erf_tools.erf.display import density
from erf_tools.figures import (
    PAGE,
    draw_grid,
    label_lines,
    line_plot,
    line_styles,
    literal,
    own_style,
)
from erf_tools.labels import in_lines
from erf_tools.perturbation.agreement import COMPARED, agreement, linearity
from erf_tools.perturbation.choices import IN_WORDS
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.tables import numbers

_COLOUR_MAP, _FLOOR = "magma", 1e-2


def perturbations(results: Sequence[PerturbationERF]) -> Figure:
    """Draw each network's gradient map over cells, and beside it those of real changes.

    One scale for all: a cell's influence, where that of a uniform map is 1.
    """
    with own_style():
        columns = 1 + max(len(result.replacements) for result in results)
        panel = (PAGE - 0.8) / columns
        size = (PAGE, len(results) * (panel + 0.5) + 0.2)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(results), columns, squeeze=False)
        shown = [
            [result.gradient_map, *(result.map("change", own) for own in result.replacements)]
            for result in results
        ]
        densities = [
            [density(result.grid.spread(own)) for own in maps]
            for result, maps in zip(results, shown, strict=True)
        ]
        peak = max(float(np.nanmax(own)) for maps in densities for own in maps)
        scale = LogNorm(_FLOOR, max(peak, 10 * _FLOOR))
        image = None
        for line, result, maps in zip(grid, results, densities, strict=True):
            for axes in line[len(maps) :]:
                axes.set_axis_off()
            for axes, own, title in zip(line, maps, _titles(result), strict=False):
                image = axes.imshow(np.maximum(own, _FLOOR), cmap=_COLOUR_MAP, norm=scale)
                axes.plot([result.center[1]], [result.center[0]], "+", color="#009E73", ms=5)
                axes.set_title(title, fontsize=7)
                axes.set_xticks([])
                axes.set_yticks([])
            line[0].set_ylabel(in_lines(literal(result.label)), fontsize=7)
        assert image is not None
        bar = figure.colorbar(image, ax=grid, shrink=0.8, extend="min", pad=0.01)
        bar.set_label("influence of a cell, uniform map = 1")
        return figure


def _titles(result: PerturbationERF) -> list[str]:
    titles = ["gradient\n"]
    for replacement in result.replacements:
        agreed = agreement(result, replacement, COMPARED[0])
        found = (agreed.spearman.value, agreed.side_ratio.value)
        spearman, ratio = numbers(found, "{:.2f}".format)
        titles.append(f"{IN_WORDS[replacement]}\nSpearman {spearman}, side x {ratio}")
    return titles


def linearities(results: Sequence[PerturbationERF]) -> Figure:
    """Draw how wrong the gradient's prediction of the unit's change is, against the step."""
    with own_style():
        figure, axes = line_plot()
        for result, style in zip(results, line_styles(len(results)), strict=True):
            _draw_linearity(axes, result, style)
        axes.axhline(1, color="#555555", linestyle=":", linewidth=0.8)
        draw_grid(axes)
        axes.set_xscale("log", base=2)
        steps = [round(255 * step) for step in linearity(results[0]).steps]
        axes.set_xticks(steps, [f"{step}" for step in steps])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step of every pixel, 1/255 of its range")
        axes.set_ylabel("error of the prediction, relative to it")
        label_lines(figure, axes)
        return figure


def _draw_linearity(axes: Axes, result: PerturbationERF, style: dict[str, Any]) -> None:
    course = linearity(result)
    steps = [255 * step for step in course.steps]
    axes.plot(
        steps, [error.value for error in course.errors], "o", ms=3, label=literal(result.label),
        **style,
    )  # fmt: skip
    axes.fill_between(
        steps,
        [error.low for error in course.errors],
        [error.high for error in course.errors],
        color=style["color"],
        alpha=0.2,
        linewidth=0,
    )
