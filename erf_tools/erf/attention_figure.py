"""Mean attention distance, as a figure."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from erf_tools.figures import COLOURS, line_plot, literal, own_style


def attention_figure(table: pd.DataFrame, label: str) -> Figure:
    """Draw the heads of each layer against depth.

    Args:
        table: :func:`erf_tools.erf.attention.attention_distances`.
        label: of the network.
    """
    with own_style():
        figure, axes = line_plot()
        depth = pd.factorize(table["layer"])[0] + 1
        axes.scatter(depth, table["distance"], s=10, color=COLOURS[0], alpha=0.7, linewidths=0)
        axes.set_title(literal(label))
        axes.set_xlabel("layer")
        axes.set_ylabel("mean attention distance, pixels")
        axes.set_ylim(0, 1.05 * table["distance"].max())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure
