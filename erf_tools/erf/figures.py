"""ERFs as figures: a heatmap of one, a comparison of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import displayed, smallest_square
from erf_tools.figures import COLUMN, PAGE, STYLE

_COLOUR_MAP = "magma"
_DRAWN = {0.5: ("#56B4E9", "-"), 0.99: ("#FFFFFF", "--")}
_FLOOR = 1e-3
_ACROSS = 4


def heatmap(result: ERF) -> Figure:
    """Draw one ERF as the protocol shows it, ``log10(A + 1) / max``, with the legacy squares."""
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, COLUMN), layout="constrained")
        axes = figure.add_subplot()
        shown = displayed(result.map)
        image = axes.imshow(shown, cmap=_COLOUR_MAP, vmin=0, vmax=1, interpolation="antialiased")
        colour_bar = figure.colorbar(image, ax=axes, shrink=0.8)
        colour_bar.set_label("log10(A + 1) / max")
        axes.set_title(f"{result.label}, {_resolution(result)}, {_images(result)}")
        ratios = _draw_squares(axes, shown)
        _label_pixels(axes)
        _legend(figure, ratios, "smallest square of log10(A + 1)")
        return figure


def comparison(results: Sequence[ERF]) -> Figure:
    """Draw ERFs side by side on one scale, each with its 50 % and 99 % squares.

    The scale is contribution per pixel relative to a uniform map of the same total, which does not
    depend on how large a network's gradients are; the squares are those of the linear map.
    """
    with rc_context(STYLE):
        across = min(len(results), _ACROSS)
        down = ceil(len(results) / across)
        width = PAGE if across > 1 else COLUMN
        panel = (width - 0.9) / across
        figure = Figure(figsize=(width, down * (panel + 0.62) + 0.45), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        densities = [_density(result.map) for result in results]
        peak = max((float(density.max()) for density in densities), default=1.0)
        scale = LogNorm(_FLOOR, max(peak, 10 * _FLOOR))
        image = None
        for axes, result, density in zip(grid.flat, results, densities, strict=False):
            image = axes.imshow(
                np.maximum(density, _FLOOR),
                cmap=_COLOUR_MAP,
                norm=scale,
                interpolation="antialiased",
            )
            ratios = _draw_squares(axes, density)
            trained = "" if result.trained else "\n(untrained)"
            lines = [
                f"{threshold * 100:g} %: r = {_per_cent(r)}" for threshold, r in ratios.items()
            ]
            axes.set_title("\n".join([result.name + (trained or "\n"), *lines]), fontsize=7)
            _label_pixels(axes)
        for axes in grid.flat[len(results) :]:
            axes.set_axis_off()
        for axes in grid[:, 1:].flat:
            axes.set_ylabel("")
        if image is not None:
            colour_bar = figure.colorbar(image, ax=grid, shrink=0.8, extend="min", pad=0.01)
            colour_bar.set_label("contribution, uniform map = 1")
        _legend(figure, None, "smallest centred square, linear map; r: its share of the area")
        return figure


def _density(contribution: np.ndarray) -> np.ndarray:
    """Return the map as multiples of a uniform one; zeros for a map without a total."""
    total = contribution.sum()
    if not np.isfinite(total) or total <= 0:
        return np.zeros_like(contribution)
    return contribution / total * contribution.size


def _draw_squares(axes: Axes, contribution: np.ndarray) -> dict[float, float | None]:
    """Draw the squares on a map and return their ratios; ``None`` where there is no square."""
    ratios: dict[float, float | None] = {}
    for threshold, (colour, style) in _DRAWN.items():
        square = smallest_square(contribution, threshold)
        ratios[threshold] = square.ratio if square else None
        if square:
            axes.add_patch(
                Rectangle(
                    (square.left - 0.5, square.top - 0.5),
                    square.right - square.left,
                    square.bottom - square.top,
                    fill=False,
                    edgecolor=colour,
                    linestyle=style,
                    linewidth=1.0,
                )
            )
    return ratios


def _legend(figure: Figure, ratios: Mapping[float, float | None] | None, title: str) -> None:
    handles = []
    for threshold, (colour, style) in _DRAWN.items():
        label = f"{threshold * 100:g} %"
        if ratios is not None:
            label += f": r = {_per_cent(ratios[threshold])}"
        handles.append(Line2D([], [], color=colour, linestyle=style, label=label))
    figure.legend(
        handles=handles,
        title=title,
        loc="outside lower center",
        ncols=len(handles),
        facecolor="#444444",
        labelcolor="white",
        title_fontsize=7,
    ).get_title().set_color("white")


def _label_pixels(axes: Axes) -> None:
    axes.set_xlabel("input pixel")
    axes.set_ylabel("input pixel")
    axes.locator_params(nbins=4, integer=True)


def _per_cent(ratio: float | None) -> str:
    return "none" if ratio is None else f"{100 * ratio:.3g} %"


def _resolution(result: ERF) -> str:
    height, width = result.total.shape
    return f"{width}x{height}"


def _images(result: ERF) -> str:
    return f"{result.count} image" + ("s" if result.count != 1 else "")
