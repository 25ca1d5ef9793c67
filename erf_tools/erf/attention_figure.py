"""Mean attention distances, as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from erf_tools.erf.attention_distances import AttentionDistances
from erf_tools.figures import COLOURS, COLUMN, draw_grid, literal, own_style
from erf_tools.labels import in_lines

#: Networks side by side, at most.
_COLUMNS = 3


def attention_figure(results: Sequence[AttentionDistances]) -> Figure:
    """Draw the heads of each layer against depth, and the mean over heads: a panel per network."""
    with own_style():
        columns = min(len(results), _COLUMNS)
        rows = -(-len(results) // columns)
        size = (0.5 + 2.2 * columns if columns > 1 else COLUMN, 0.2 + 2.6 * rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(results) :]:
            axes.set_axis_off()
        for axes, result in zip(grid.flat, results, strict=False):
            heads = [distance.mean(axis=0) for _, distance in result.layers()]
            depth = np.repeat(np.arange(1, len(heads) + 1), [len(own) for own in heads])
            axes.scatter(
                depth, np.concatenate(heads), s=10, color=COLOURS[0], alpha=0.6, linewidths=0
            )
            means = [own.mean() for own in heads]
            axes.plot(range(1, len(heads) + 1), means, color=COLOURS[1], linewidth=1.2)
            axes.set_title(in_lines(literal(result.label)))
            axes.set_xlabel("layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            draw_grid(axes)
        farthest = max(
            distance.mean(axis=0).max() for each in results for _, distance in each.layers()
        )
        grid[0, 0].set_ylim(0, 1.05 * farthest)  # of all, which share it
        for line in grid:
            line[0].set_ylabel("mean attention distance, pixels")
        return figure
