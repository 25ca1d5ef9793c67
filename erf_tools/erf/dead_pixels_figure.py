"""Contributions of pixels to all units, as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from erf_tools.erf.dead_pixels import PixelContributions
from erf_tools.figures import COLUMN, literal, own_style
from erf_tools.labels import in_lines

#: Contributions are drawn up to this many times the median.
_BRIGHTEST = 3


def dead_pixels_figure(results: Sequence[PixelContributions]) -> Figure:
    """Draw maps side by side, relative to the median of the pixels that contribute at all."""
    with own_style():
        figure = Figure(figsize=(0.8 + 2.2 * len(results), COLUMN), layout="constrained")
        row = figure.subplots(1, len(results), squeeze=False)[0]
        for axes, result in zip(row, results, strict=True):
            live = result.map[result.map > 0]
            relative = result.map / np.median(live) if live.size else result.map
            image = axes.imshow(
                relative, cmap="magma", vmin=0, vmax=_BRIGHTEST, interpolation="nearest"
            )
            share = 100 * result.dead.value
            axes.set_title(f"{in_lines(literal(result.label))}\n{share:.1f} % dead")
            axes.set_xlabel("pixels")
        colour_bar = figure.colorbar(image, ax=row, shrink=0.7, extend="max")
        colour_bar.set_label("contribution to all units, median = 1")
        return figure
