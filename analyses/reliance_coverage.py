"""Do the intervals of reliance hold the truth? Simulated networks whose accuracies are known.

A network is right about an image under a suppression where ``b + r z + sqrt(1 - r^2) e`` is
positive: ``b`` belongs to the suppression's strength, ``z`` to the image (easy or hard, for all
strengths and networks), ``e`` to this one answer; ``z`` and ``e`` are standard normal. So the
accuracy over all images there could be is Phi(``b``), whatever ``r``, and relative accuracies,
areas, profiles and differences follow. Of cue-conflict stimuli ``z`` is the sum of an effect of the
shape image and one of the texture image, which other stimuli share. It is part (d) of
:mod:`analyses.coverage`.

Found (1,000 samples of each case, standard errors below .009): the intervals hold the truth in .93
to 1.00 of samples: of 20 images in .95 to 1.00, since half an image of each kind is added, of 63 in
.94 to 1.00, of 300 in .95 to .97, of 300 and of 1,200 stimuli in .93 to .99; those of paired
differences in .95 to 1.00. The least are those of a single strength that leaves few right answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import ndtr, ndtri

from analyses.decision_coverage import published_design
from analyses.held import Held, by_case, kept_rows
from analyses.programs import publish
from erf_tools.figures import PAGE, draw_grid, line_styles, own_style
from erf_tools.reliance import measures
from erf_tools.reliance.measures import Combination
from erf_tools.reliance.suppressions import SUPPRESSIONS, variants
from erf_tools.statistics import Estimate

ROWS = tuple(SUPPRESSIONS[name] for name in ("patch-shuffle", "gaussian-blur", "gray"))
_COUNT = len(list(variants(ROWS)))

#: Share of an answer's variance that is the image's.
_IMAGE = 0.6

#: Accuracies: on unchanged images, and under the strongest shuffle, blur and grey; those between
#: lie evenly between. ``robust`` loses nothing, ``weak`` is right about few.
NETWORKS = {
    "typical": (0.75, 0.02, 0.40, 0.68),
    "robust": (0.90, 0.90, 0.90, 0.90),
    "weak": (0.20, 0.01, 0.05, 0.15),
}

#: What is simulated: how many images, and whether they are stimuli.
_CASES = ((20, False), (63, False), (300, False), (300, True), (1200, True))


def thresholds(network: str) -> np.ndarray:
    """Return ``b`` of the unchanged images and of each variant, ``[1 + variants]``."""
    clean, *ends = NETWORKS[network]
    accuracies = [clean]
    for row, end in zip(ROWS, ends, strict=True):
        accuracies += np.linspace(clean, end, 1 + len(row.strengths))[1:].tolist()
    return ndtri(np.array(accuracies))


def combinations() -> list[Combination]:
    """Return what is estimated: one strength, the areas, the profile."""
    last = len(ROWS[0].strengths) - 1
    single = measures.single(last, _COUNT)
    return [single, *measures.areas(ROWS), *measures.profile(ROWS)]


def true_value(network: str, combination: Combination) -> float:
    """Return the value over all images there could be."""
    clean, *changed = ndtr(thresholds(network))
    return float(np.dot(combination.weights, changed) / clean + combination.constant)


def _hits(
    generator: np.random.Generator, images: int, stimuli: bool
) -> tuple[dict[str, np.ndarray], list[str] | None]:
    """Return each network's hits ``[images, 1 + variants]``, and names of stimuli."""
    if stimuli:
        design = published_design().part(images, generator)
        ways = design.shapes, design.textures
        easy = sum(generator.normal(size=way.max() + 1)[way] for way in ways) / sqrt(2)
        names = [str(name) for name in design.names]
    else:
        easy, names = generator.normal(size=images), None
    found = {}
    for network in NETWORKS:
        own = generator.normal(size=(images, 1 + _COUNT))
        found[network] = (
            thresholds(network) + sqrt(_IMAGE) * easy[:, None] + sqrt(1 - _IMAGE) * own > 0
        )
    return found, names


def _estimates(
    hits: dict[str, np.ndarray], names: list[str] | None
) -> Iterator[tuple[str, str, Estimate, float]]:
    """Yield network, measure, estimate and truth."""
    for each in combinations():
        for network in NETWORKS:
            estimate = measures.estimate(hits[network], each, names)
            yield network, each.name, estimate, true_value(network, each)
        estimate = measures.difference(hits["typical"], hits["robust"], each, names)
        truth = true_value("typical", each) - true_value("robust", each)
        yield "difference", each.name, estimate, truth


def coverage(
    images: int, stimuli: bool = False, repetitions: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Return how often each interval holds the true value.

    Args:
        images: how many there are in a sample.
        stimuli: whether they are cue-conflict stimuli, which share images.
        repetitions: how often images and answers are drawn.
        seed: of the draws.

    Returns:
        A row per network and measure: ``images``, ``stimuli``, ``network``, ``measure``,
        ``coverage``, ``standard_error``, ``mean_width``.
    """
    generator = np.random.default_rng(seed)
    held = Held()
    for _ in range(repetitions):
        for network, measure, found, truth in _estimates(*_hits(generator, images, stimuli)):
            if found.low == found.low:  # of no right answer at all there is nothing to say
                held.add((network, measure), found, truth)
    return held.rows(("network", "measure"), images=images, stimuli=stimuli)


def write_reliance_coverage(output: Path, samples: int) -> None:
    """Simulate, and write ``reliance_coverage`` as table, figure and provenance.

    Args:
        output: the folder; parts of an interrupted run that lie there are not computed again.
        samples: of each case.
    """
    rows: list[dict[str, Any]] = []
    for images, stimuli in _CASES:
        compute = partial(coverage, images, stimuli, samples)
        setting = {"images": images, "stimuli": stimuli, "samples": samples, "share": _IMAGE}
        rows += kept_rows(
            output / "parts" / f"reliance-{'stimuli' if stimuli else 'images'}-{images}.json",
            {**setting, "networks": NETWORKS},
            compute,
        )
    table = pd.DataFrame(rows)
    remarks = [
        "Share of samples whose 95 % interval holds the value over all images there could be.",
        *(
            f"{network}: {own['coverage'].min():.3f} to {own['coverage'].max():.3f}."
            for network, own in table.groupby("network", sort=False)
        ),
    ]
    shown = _readable(table)
    whole = {"samples": samples, "networks": NETWORKS, "share": _IMAGE}
    publish(output, "reliance_coverage", table, shown, remarks, _drawn(table), whole)


def _case(images: int, stimuli: bool) -> str:
    return f"{images} {'stimuli' if stimuli else 'images'}"


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per network and measure, a column per case."""
    found = by_case(table, ["network", "measure"], ["images", "stimuli"], _case)
    shown = found.map("{:.3f}".format)
    return shown.reset_index().rename(columns={"network": "Network", "measure": "Measure"})


def _drawn(table: pd.DataFrame) -> Figure:
    """Draw a panel per network: coverage of each measure in each case."""
    networks, kinds = list(dict.fromkeys(table["network"])), list(dict.fromkeys(table["measure"]))
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.4), layout="constrained")
        panels = figure.subplots(1, len(networks), sharey=True, sharex=True)
        cases = list(table.groupby(["images", "stimuli"], sort=False))
        for axes, network in zip(panels, networks, strict=True):
            axes.axvspan(0.90, 0.98, color="#dddddd")
            for place, ((case, own), style) in enumerate(
                zip(cases, line_styles(len(cases)), strict=True)
            ):
                each = own[own["network"] == network]
                beside = 0.14 * (place - (len(cases) - 1) / 2)
                places = [kinds.index(name) + beside for name in each["measure"]]
                line = {**style, "linestyle": "none"}
                axes.plot(
                    each["coverage"], places, marker="o", markersize=3, label=_case(*case), **line
                )
            axes.set_title(network)
            draw_grid(axes)
        panels[0].set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
        panels[0].invert_yaxis()
        figure.supxlabel("share that hold the truth", fontsize=8)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(cases))
        return figure
