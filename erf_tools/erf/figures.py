"""ERFs as figures: a heatmap of one, a comparison of several, profiles and curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, isfinite
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

from erf_tools.erf.display import density, displayed
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures.families.squares import smallest_square
from erf_tools.erf.measures.radial import radial_profile
from erf_tools.erf.networks import depths, growth_names, growths
from erf_tools.figures import (
    COLUMN,
    PAGE,
    draw_estimates,
    label_lines,
    line_plot,
    line_styles,
    literal,
    own_style,
)
from erf_tools.labels import distinct, in_lines
from erf_tools.text import dimensions

_COLOUR_MAP = "magma"
_DRAWN = {0.5: ("#56B4E9", "-"), 0.99: ("#FFFFFF", "--")}
_UNIT = "#009E73"
_FLOOR = 1e-3
_ACROSS = 4

#: How a protocol shows a map: what is drawn of it, and what that is called.
_DISPLAYS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "log": (displayed, "log10(A + 1)"),
    "linear": (lambda contribution: _to_one(contribution), "A"),
    "power": (lambda contribution: _to_one(contribution) ** 0.2, "A ** 0.2"),
    "fourth-root": (lambda contribution: _to_one(contribution) ** 0.25, "A ** 0.25"),
}


class Drawn(Protocol):
    """What is drawn beside others: an ERF, or a map of which less is known."""

    @property
    def label(self) -> str:
        """What it is called."""

    @property
    def map(self) -> np.ndarray:
        """The map ``[height, width]``."""

    @property
    def center(self) -> tuple[float, float] | None:
        """The unit's true centre, where it is known."""

    @property
    def square_center(self) -> tuple[float, float] | None:
        """Where squares are centred; ``None``: the published pixel."""

    @property
    def theoretical_box(self) -> tuple[int, int, int, int] | None:
        """The unit's theoretical receptive field, where it is bounded and known."""


def heatmap(result: ERF) -> Figure:
    """Draw one ERF as its protocol shows it, with squares, unit and theoretical outline."""
    with own_style():
        figure = Figure(figsize=(COLUMN, COLUMN * 1.12), layout="constrained")
        axes = figure.add_subplot()
        display = result.setting["protocol"]["display"]
        draw, label = _DISPLAYS[display]
        shown = draw(result.map)
        image = axes.imshow(shown, cmap=_COLOUR_MAP, vmin=0, vmax=1, interpolation="antialiased")
        colour_bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.05, 1)))
        colour_bar.set_label(f"{label} / max")
        size = dimensions(result.total.shape)
        axes.set_title(f"{literal(result.label)}\n{size}, {_images(result)}")
        squared = shown if display == "log" else result.map
        ratios = _draw_squares(axes, squared, None if display == "log" else result.square_center)
        handles = [*_square_handles(ratios), *_draw_unit(axes, result)]
        _label_pixels(axes)
        _legend(
            figure, handles, f"smallest square of {'log10(A + 1)' if display == 'log' else 'A'}"
        )
        return figure


def comparison(results: Sequence[Drawn]) -> Figure:
    """Draw ERFs side by side on one scale, each with its 50 % and 99 % squares.

    The scale is contribution per pixel relative to a uniform map of the same total, which does not
    depend on how large a network's gradients are; the squares are those of the linear map.
    """
    with own_style():
        across = min(len(results), _ACROSS)
        down = ceil(len(results) / across)
        width = PAGE if across > 1 else COLUMN
        panel = (width - 0.9) / across
        names = [in_lines(literal(result.label)) for result in results]
        above = 0.75 + 0.2 * max((name.count("\n") - 1 for name in names), default=0)
        figure = Figure(figsize=(width, down * (panel + above) + 0.45), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        densities = [density(result.map) for result in results]
        peak = max((float(shown.max()) for shown in densities), default=1.0)
        scale = LogNorm(_FLOOR, max(peak, 10 * _FLOOR))
        image = None
        handles: dict[object, Line2D] = {}
        for axes, name, result, shown in zip(grid.flat, names, results, densities, strict=False):
            image = axes.imshow(
                np.maximum(shown, _FLOOR),
                cmap=_COLOUR_MAP,
                norm=scale,
                interpolation="antialiased",
            )
            ratios = _draw_squares(axes, shown, result.square_center)
            drawn = _draw_unit(axes, result)
            handles = {handle.get_label(): handle for handle in [*handles.values(), *drawn]}
            lines = [
                f"{threshold * 100:g} %: r = {_per_cent(r)}" for threshold, r in ratios.items()
            ]
            axes.set_title("\n".join([name, *lines]), fontsize=7)
            _label_pixels(axes)
        for axes in grid.flat[len(results) :]:
            axes.set_axis_off()
        for axes in grid[:, 1:].flat:
            axes.set_ylabel("")
        if image is not None:
            colour_bar = figure.colorbar(image, ax=grid, shrink=0.8, extend="min", pad=0.01)
            colour_bar.set_label("contribution, uniform map = 1")
        _legend(
            figure,
            [*_square_handles(None), *handles.values()],
            "smallest centred square, linear map; r: its share of the area",
        )
        return figure


def radial_profiles(results: Sequence[Drawn]) -> Figure:
    """Draw the mean contribution at each distance from the unit, on a logarithmic axis."""
    with own_style():
        figure, axes = line_plot()
        for result, line in zip(results, line_styles(len(results)), strict=True):
            profile = radial_profile(density(result.map), result.center)
            axes.semilogy(
                profile.radius, np.maximum(profile.mean, 1e-12), label=literal(result.label), **line
            )
        peak = max((float(density(result.map).max()) for result in results), default=1.0)
        axes.set_ylim(max(peak * 1e-8, 1e-6), max(peak * 2, 1e-5))
        axes.set_xlabel("distance from the unit's centre, pixels")
        axes.set_ylabel("contribution, uniform map = 1")
        label_lines(figure, axes)
        return figure


def stage_growth(results: Sequence[ERF]) -> Figure:
    """Draw how the effective side grows from stage to stage, a line per network.

    Args:
        results: in the order of the stages, of one or several networks.
    """
    with own_style():
        figure, axes = line_plot()
        rows = growths(results)
        for name, own, line in zip(growth_names(rows), rows, line_styles(len(rows)), strict=True):
            _draw_sides(axes, range(len(own)), own, literal(name), line)
            bounds = [result.theoretical_side for result in own]
            finite = [bound if isfinite(bound) else np.nan for bound in bounds]
            axes.plot(range(len(own)), finite, color=line["color"], linestyle=":", linewidth=0.8)
        axes.set_yscale("log")
        depth = max(map(len, rows))
        axes.set_xticks(range(0, depth, ceil(depth / 12)))
        ordered = all(depths(row) for row in rows)
        order = "0: nearest to the image" if ordered else "in the order of the results"
        axes.set_xlabel(f"layer ({order})")
        axes.set_ylabel("effective side, pixels")
        axes.plot([], [], color="#555555", linestyle=":", label="theoretical receptive field")
        label_lines(figure, axes)
        return figure


def convergence(results: Sequence[ERF]) -> Figure:
    """Draw the effective side against the number of images: median and 95 % range."""
    with own_style():
        figure, axes = line_plot()
        for result, line in zip(results, line_styles(len(results)), strict=True):
            curve = result.measures.convergence("effective_side")
            if not curve:
                continue
            images = [count for count, _ in curve]
            axes.semilogx(images, [s.value for _, s in curve], label=literal(result.label), **line)
            axes.fill_between(
                images,
                [spread.low for _, spread in curve],
                [spread.high for _, spread in curve],
                color=line["color"],
                alpha=0.2,
                linewidth=0,
            )
        sizes = sorted({count for line in axes.lines for count in np.asarray(line.get_xdata())})
        axes.set_xticks(sizes, [f"{count:g}" for count in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0)
        axes.set_xlabel("number of images")
        axes.set_ylabel("effective side, pixels")
        label_lines(figure, axes)
        return figure


def series(results: Sequence[ERF]) -> Figure:
    """Draw the effective side over the checkpoints of a training, a line per model and layer.

    Checkpoints are named below the axis, or numbered from 1 where those of models have other names.

    Args:
        results: in the order of training; untrained ones, wherever they are, begin it.
    """
    results = sorted(results, key=lambda result: result.trained)
    lines: dict[tuple[str, str], list[ERF]] = {}
    for result in results:
        layer = "" if result.setting["tap"]["default"] else result.setting["tap"]["name"]
        lines.setdefault((result.name, layer), []).append(result)
    courses = {name: _checkpoints(results, name) for name, _ in lines}
    longest = max(courses.values(), key=len)
    named = all({*own.values()} <= {*longest.values()} for own in courses.values())
    ticks = list(longest.values()) if named else [str(1 + place) for place in range(len(longest))]
    with own_style():
        figure, axes = line_plot()
        for ((name, layer), own), line in zip(lines.items(), line_styles(len(lines)), strict=True):
            course = courses[name]
            order = ticks if named else list(course.values())
            places = [order.index(course[_origin(result)]) for result in own]
            _draw_sides(axes, places, own, literal(f"{name} {layer}".strip()), line)
        every = ceil(len(ticks) / 10)
        shown = [literal(tick) for tick in ticks[::every]]
        aslant: dict[str, Any] = {"rotation": 45, "ha": "right"} if named else {}
        axes.set_xticks(range(0, len(ticks), every), shown, **aslant)
        axes.set_xlabel("checkpoint" if named else "checkpoint, by its number in the series")
        axes.set_ylabel("effective side, pixels")
        axes.set_ylim(bottom=0)
        label_lines(figure, axes)
        return figure


def _checkpoints(results: Sequence[ERF], model: str) -> dict[tuple[str, str], str]:
    """Return the checkpoints of a model in their order, by their origin, as names that differ."""
    origins = dict.fromkeys(_origin(result) for result in results if result.name == model)
    labels, sources = zip(*origins, strict=True)
    return dict(zip(origins, distinct(labels, sources), strict=True))


def _origin(result: ERF) -> tuple[str, str]:
    """Return what weights are called, and where they are from."""
    weights = result.setting["model"]["weights"]
    return weights["label"], weights["source"]


def _draw_sides(
    axes: Axes, places: Sequence[int], results: Sequence[ERF], label: str, line: Mapping[str, Any]
) -> None:
    """Draw effective sides as a line."""
    sides = [result.measures.estimate("effective_side") for result in results]
    draw_estimates(axes, places, sides, label, line)


def _to_one(contribution: np.ndarray) -> np.ndarray:
    peak = contribution.max()
    return contribution / peak if peak > 0 else contribution


def _draw_squares(
    axes: Axes, contribution: np.ndarray, center: tuple[float, float] | None
) -> dict[float, float | None]:
    """Draw the squares on a map and return their ratios; ``None`` where there is no square."""
    ratios: dict[float, float | None] = {}
    for threshold, (colour, style) in _DRAWN.items():
        square = smallest_square(contribution, threshold, center)
        ratios[threshold] = square.ratio if square else None
        if square:
            box = (square.top, square.bottom, square.left, square.right)
            _draw_box(axes, box, edgecolor=colour, linestyle=style, linewidth=1.0)
    return ratios


def _draw_unit(axes: Axes, result: Drawn) -> list[Line2D]:
    """Mark the unit's true centre and the theoretical receptive field; return what they are."""
    if result.center is None:
        return []
    height, width = result.map.shape
    row, column = result.center
    axes.set_autoscale_on(False)
    mark: dict[str, Any] = {"marker": "+", "color": _UNIT, "markersize": 5, "linestyle": "none"}
    axes.plot([column], [row], markeredgewidth=0.8, **mark)
    handles = [Line2D([], [], label="unit", **mark)]
    box = result.theoretical_box
    if box and (box[0] > 0 or box[2] > 0 or box[1] < height or box[3] < width):
        _draw_box(axes, box, edgecolor=_UNIT, linestyle=":", linewidth=0.9)
        handles.append(Line2D([], [], color=_UNIT, linestyle=":", label="theoretical"))
    return handles


def _draw_box(axes: Axes, box: tuple[int, int, int, int], **style: Any) -> None:
    top, bottom, left, right = box
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, **style)
    )


def _square_handles(ratios: Mapping[float, float | None] | None) -> list[Line2D]:
    handles = []
    for threshold, (colour, style) in _DRAWN.items():
        label = f"{threshold * 100:g} %"
        if ratios is not None:
            label += f": r = {_per_cent(ratios[threshold])}"
        handles.append(Line2D([], [], color=colour, linestyle=style, label=label))
    return handles


def _legend(figure: Figure, handles: Sequence[Line2D], title: str) -> None:
    figure.legend(
        handles=handles,
        title=title,
        loc="outside lower center",
        ncols=min(len(handles), 4 if figure.get_figwidth() > COLUMN else 2),
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


def _images(result: ERF) -> str:
    return f"{result.count} image" + ("s" if result.count != 1 else "")
