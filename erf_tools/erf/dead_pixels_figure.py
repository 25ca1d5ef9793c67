"""Contributions of pixels to all units, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from matplotlib.figure import Figure

from erf_tools.erf.dead_pixels import BRIGHTEST, PixelContributions, relative
from erf_tools.figures import COLUMN, literal, own_style
from erf_tools.labels import in_lines


def dead_pixels_figure(results: Sequence[PixelContributions]) -> Figure:
    """Draw maps side by side, relative to the median of the pixels that contribute at all."""
    with own_style():
        figure = Figure(figsize=(0.8 + 2.2 * len(results), COLUMN), layout="constrained")
        row = figure.subplots(1, len(results), squeeze=False)[0]
        for axes, result in zip(row, results, strict=True):
            image = axes.imshow(
                relative(result.map),
                cmap="magma",
                vmin=0,
                vmax=BRIGHTEST,
                interpolation="nearest",
            )
            share = result.dead.value
            dead = "no pixel contributes" if isnan(share) else f"{100 * share:.1f} % dead"
            axes.set_title(f"{in_lines(literal(result.label))}\n{dead}")
            axes.set_xlabel("pixels")
        colour_bar = figure.colorbar(image, ax=row, shrink=0.7, extend="max")
        colour_bar.set_label("contribution to all units,\nmedian of pixels that contribute = 1")
        return figure
