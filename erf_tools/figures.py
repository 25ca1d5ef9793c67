"""What figures share: style for papers, and saving with provenance.

Figures are made without pyplot: no global state, no window, safe in threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from erf_tools.files import atomic_path
from erf_tools.statistics import Estimate
from erf_tools.text import visible

#: Widths of one and of two columns of a paper, inches.
COLUMN, PAGE = 3.5, 7.16

#: Colours that colour-blind readers can tell apart (Okabe & Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: Of a legend: inches of a row, of what is beside a label, and of a letter of it.
_ROW, _HANDLE, _LETTER = 0.146, 0.4, 0.06

#: Dots per inch, and dots along a side, of which matplotlib draws fewer than 2 ** 16.
_DPI, _DOTS = 300, 65_000

_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,  # text stays text in the PDF
}


def own_style() -> AbstractContextManager[None]:
    """Draw as figures for papers are drawn, whatever the user's own settings of matplotlib are."""
    return style.context(["default", _STYLE])


def literal(text: str) -> str:
    """Return text as matplotlib shows it: no formula begins in it, no legend leaves it out."""
    shown = visible(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def line_plot() -> tuple[Figure, Axes]:
    """Return a figure as wide as a column, and its axes with a grid."""
    figure = Figure(figsize=(COLUMN, COLUMN * 0.9), layout="constrained")
    axes = figure.add_subplot()
    draw_grid(axes)
    return figure, axes


def draw_grid(axes: Axes) -> None:
    """Draw a light grid behind what the axes show."""
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)


def line_styles(count: int) -> list[dict[str, Any]]:
    """Return how to draw each of several lines: by colour, then by dashes, then by width."""
    styles = ["-", "--", "-.", (0, (1, 1))]
    return [
        {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": styles[index // len(COLOURS) % len(styles)],
            "linewidth": 1.2 + 0.8 * (index // (len(COLOURS) * len(styles))),
        }
        for index in range(count)
    ]


def draw_estimates(
    axes: Axes,
    places: Sequence[float],
    found: Sequence[Estimate],
    label: str,
    line: Mapping[str, Any],
) -> None:
    """Draw values as a line of points with their intervals, where they have one.

    Args:
        axes: to draw in.
        places: of the values, from left to right.
        found: the values.
        label: in the legend.
        line: one of :func:`line_styles`.
    """
    reach = [[each.value - each.low, each.high - each.value] for each in found]
    axes.errorbar(
        places,
        [each.value for each in found],
        yerr=np.nan_to_num(np.reshape(reach, (-1, 2)).T),
        label=label,
        marker="o",
        markersize=3,
        capsize=2,
        **line,
    )


def label_lines(figure: Figure, axes: Axes) -> None:
    """Explain the lines of the axes below the figure, where they cover nothing.

    The figure, which has room for one row, grows by the others: the axes keep their height.
    """
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    width, height = figure.get_size_inches()
    fitting = int(width / (_HANDLE + _LETTER * max(map(len, labels))))
    columns = min(max(fitting, 1), 2 if width <= COLUMN else 4)
    figure.set_size_inches(width, height + _ROW * (ceil(len(labels) / columns) - 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def save_figure(figure: Figure, stem: Path, provenance: Mapping[str, Any]) -> list[Path]:
    """Write a figure as ``stem.png`` and ``stem.pdf`` with its provenance in their metadata.

    It has 300 dots per inch, or fewer where it would have more along a side than can be drawn.
    """
    text = json.dumps(provenance, sort_keys=True)
    dpi = min(_DPI, _DOTS / max(figure.get_size_inches()))
    paths = []
    for suffix, metadata in (
        (".png", {"Description": text}),
        (".pdf", {"Subject": text, "CreationDate": None}),
    ):
        path = stem.with_name(stem.name + suffix)
        with atomic_path(path) as temporary, own_style():
            figure.savefig(temporary, dpi=dpi, metadata=metadata)
        figure.set_layout_engine("none")  # both files have the layout found for the first
        paths.append(path)
    return paths
