"""Do the intervals of decisions hold the truth? Simulated decision makers with known measures.

A decision for the shape, the texture or something else has the odds
``exp(s + a) : exp(t + b) : 1``. The effects ``a`` of shape images and ``b`` of texture images are
normal; each image has its own, which all stimuli made from it share, and all decision makers.
Measures over all images there could be follow by quadrature; the published design of 1,200 stimuli
samples them. It is part (c) of :mod:`analyses.coverage`.

Found (1,000 samples of 300 and of 1,200 stimuli; standard errors below .015): the printed intervals
hold the truth in 94 to 97 % of samples, whichever images matter, those of differences and of kappa
in 94 to 97 % too. Over texture images alone it is 83 to 94 % (least where shape images matter), for
Wilson's, which takes decisions as independent, 70 to 96 %. Of two networks that are right on about
1 % and less (500 samples of 100 and of 300 stimuli, 250 of 1,200) differences hold it in 95 to
100 %, and kappa in 99 to 100 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses.held import Held, by_case, kept_rows
from analyses.programs import publish
from erf_tools.cue_conflict import measures
from erf_tools.cue_conflict.measures import ConflictCounts
from erf_tools.cue_conflict.published import PUBLICATIONS, published_counts
from erf_tools.figures import PAGE, draw_grid, line_styles, own_style
from erf_tools.statistics import Estimate

#: Decision makers: the constants ``s`` and ``t``, near those of a ResNet-50, of a second network
#: and of people; and two networks that hardly ever see a shape.
_MAKERS = {
    "network": (-1.1, 0.2),
    "other": (-0.6, -0.3),
    "human": (2.2, -1.2),
    "blind": (-5.0, 0.2),
    "blinder": (-6.0, 0.2),
}

#: Who is compared: the pair's name, and both of it.
_PAIRS = (
    ("two networks", "network", "other"),
    ("network and blind one", "network", "blind"),
    ("human and blind one", "human", "blind"),
    ("two blind ones", "blind", "blinder"),
)

#: Standard deviations of the effects of shape images and of texture images.
EFFECTS = {
    "no effects": (0.0, 0.0),
    "texture effects": (0.0, 1.0),
    "shape effects": (1.0, 0.0),
    "both effects": (1.0, 1.0),
}

#: What is simulated: effects, and how many of the 1,200 stimuli are decided on.
_CASES = (*((effects, 1200) for effects in EFFECTS), ("both effects", 300), ("both effects", 100))

_NODES = 60


@dataclass(frozen=True)
class Design:
    """Which images the stimuli are made from.

    Attributes:
        names: of the stimuli.
        categories: of their shapes.
        shapes: number of each one's shape image.
        textures: number of each one's texture image.
    """

    names: pd.Index
    categories: pd.Series
    shapes: np.ndarray
    textures: np.ndarray

    def part(self, number: int, generator: np.random.Generator) -> Design:
        """Return some of the stimuli, drawn without replacement."""
        if number == len(self.names):
            return self
        chosen = np.sort(generator.choice(len(self.names), number, replace=False))
        return Design(
            self.names[chosen],
            self.categories.iloc[chosen],
            self.shapes[chosen],
            self.textures[chosen],
        )


@cache
def published_design() -> Design:
    """Return the 1,200 published stimuli with a conflict."""
    table = published_counts(PUBLICATIONS[0])["humans"].by_stimulus
    shapes, textures = zip(*(name.split("-") for name in table.index), strict=True)
    numbers = [np.unique(images, return_inverse=True)[1] for images in (shapes, textures)]
    return Design(table.index, table["category"], *numbers)


def _odds(maker: str, shape: np.ndarray, texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of a decision for the shape and for the texture."""
    for_shape, for_texture = (
        np.exp(constant + effect)
        for constant, effect in zip(_MAKERS[maker], (shape, texture), strict=True)
    )
    total = 1 + for_shape + for_texture
    return for_shape / total, for_texture / total


def true_values(effects: tuple[float, float]) -> dict[str, float]:
    """Return each measure over all images there could be, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    grid = np.meshgrid(effects[0] * nodes, effects[1] * nodes, indexing="ij")
    mass = np.outer(weights, weights)
    chances = {maker: _odds(maker, *grid) for maker in _MAKERS}

    def bias(maker: str) -> float:
        shape, texture = ((mass * chance).sum() for chance in chances[maker])
        return float(shape / (shape + texture))

    def kappa(maker: str, beside: str) -> float:
        right, other = chances[maker][0], chances[beside][0]
        one, two = float((mass * right).sum()), float((mass * other).sum())
        observed = float((mass * (right * other + (1 - right) * (1 - other))).sum())
        expected = one * two + (1 - one) * (1 - two)
        return (observed - expected) / (1 - expected)

    return {
        "shape bias, network": bias("network"),
        "shape bias, human": bias("human"),
        **{f"difference, {name}": bias(one) - bias(other) for name, one, other in _PAIRS},
        **{f"kappa, {name}": kappa(one, other) for name, one, other in _PAIRS},
    }


def _decide(
    design: Design, effects: tuple[float, float], generator: np.random.Generator
) -> dict[str, pd.DataFrame]:
    """Return every decision maker's frame, as the library reads it."""
    shape, texture = (
        size * generator.normal(size=images.max() + 1)[images]
        for size, images in zip(effects, (design.shapes, design.textures), strict=True)
    )
    frames = {}
    for maker in _MAKERS:
        by_shape, by_texture = _odds(maker, shape, texture)
        drawn = generator.random(len(design.names))
        response = np.select([drawn < by_shape, drawn < by_shape + by_texture], ["s", "t"], "na")
        frames[maker] = pd.DataFrame(
            {"shape": "s", "texture": "t", "response": response}, index=design.names
        )
    return frames


def _estimates(frames: dict[str, pd.DataFrame]) -> Iterator[tuple[str, str, Estimate]]:
    """Yield measure, interval and estimate."""
    counts: dict[str, ConflictCounts] = {
        maker: measures.count([frame]) for maker, frame in frames.items()
    }
    for maker in ("network", "human"):
        name = f"shape bias, {maker}"
        yield name, "printed", measures.clustered_bias(counts[maker])
        yield name, "texture images alone", measures.texture_bootstrap(counts[maker], draws=400)
        yield name, "Wilson", measures.wilson(counts[maker])
    for name, one, other in _PAIRS:
        difference = measures.difference(counts[one], counts[other])
        yield f"difference, {name}", "printed", difference
        kappa = measures.consistency_with(frames[one], [frames[other]])
        yield f"kappa, {name}", "printed", kappa


def coverage(
    effects: str, stimuli: int = 1200, repetitions: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Return how often each interval holds the true value.

    Args:
        effects: a name of :data:`EFFECTS`.
        stimuli: how many of the published ones are decided on.
        repetitions: how often images and decisions are drawn.
        seed: of the draws.

    Returns:
        A row per measure and interval: ``source``, ``interval``, ``measure``, ``images``,
        ``coverage``, ``standard_error``, ``mean_width``.
    """
    generator = np.random.default_rng(seed)
    truth = true_values(EFFECTS[effects])
    held = Held()
    for _ in range(repetitions):
        design = published_design().part(stimuli, generator)
        frames = _decide(design, EFFECTS[effects], generator)
        for measure, interval, found in _estimates(frames):
            held.add((interval, measure), found, truth[measure])
    return held.rows(("interval", "measure"), source=f"decisions, {effects}", images=stimuli)


def write_decision_coverage(output: Path, samples: int) -> None:
    """Simulate, and write ``decision_coverage`` as table, figure and provenance.

    Args:
        output: the folder; parts of an interrupted run that lie there are not computed again.
        samples: of each case.
    """
    rows: list[dict[str, Any]] = []
    for effects, stimuli in _CASES:
        compute = partial(coverage, effects, stimuli, samples)
        name = f"decisions-{effects.replace(' ', '-')}-{stimuli}.json"
        setting = {"effects": EFFECTS[effects], "stimuli": stimuli, "samples": samples}
        rows += kept_rows(output / "parts" / name, setting, compute)
    table = pd.DataFrame(rows)
    printed = table[table["interval"] == "printed"]
    others = table[table["interval"] != "printed"]
    remarks = [
        "Share of samples whose 95 % interval holds the value over all images there could be.",
        f"Printed intervals: {printed['coverage'].min():.3f} to {printed['coverage'].max():.3f}.",
        *(
            f"{name}: {own['coverage'].min():.3f} to {own['coverage'].max():.3f}."
            for name, own in others.groupby("interval")
        ),
    ]
    publish(
        output,
        "decision_coverage",
        table,
        _readable(table),
        remarks,
        _drawn(table),
        {"samples": samples},
    )


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per measure and interval, a column per case."""

    def case(source: str, stimuli: int) -> str:
        return f"{source.removeprefix('decisions, ')}, {stimuli} stimuli"

    found = by_case(table, ["measure", "interval"], ["source", "images"], case)
    shown = found.map("{:.3f}".format)
    return shown.reset_index().rename(columns={"measure": "Measure", "interval": "Interval"})


def _drawn(table: pd.DataFrame) -> Figure:
    """Draw a panel per interval: coverage of each measure in each case."""
    cases = list(dict.fromkeys(zip(table["source"], table["images"], strict=True)))
    labels = [f"{source.removeprefix('decisions, ')}, {number}" for source, number in cases]
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.4), layout="constrained")
        intervals = list(dict.fromkeys(table["interval"]))
        panels = figure.subplots(1, len(intervals), sharey=True, sharex=True)
        styles = line_styles(table["measure"].nunique())
        style_of = dict(zip(dict.fromkeys(table["measure"]), styles, strict=True))
        for axes, interval in zip(panels, intervals, strict=True):
            axes.axvspan(0.90, 0.98, color="#dddddd")
            own = table[table["interval"] == interval]
            for measure, each in own.groupby("measure", sort=False):
                own_cases = zip(each["source"], each["images"], strict=True)
                beside = 0.15 * (list(style_of).index(measure) - (len(style_of) - 1) / 2)
                places = [cases.index(case) + beside for case in own_cases]
                line = {**style_of[measure], "linestyle": "none"}
                axes.plot(each["coverage"], places, marker="o", markersize=4, label=measure, **line)
            axes.set_title(interval)
            axes.set_xlabel("share that hold the truth")
            draw_grid(axes)
        panels[0].set_yticks(range(len(cases)), labels)
        panels[0].invert_yaxis()
        panels[0].legend(loc="lower left", fontsize="x-small")
        return figure
