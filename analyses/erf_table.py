"""The RepLKNet paper's ERF table and figure: two ResNets and two RepLKNets, published and measured.

Claim: at 1024x1024 the high-contribution area of RepLKNet-31 is many times that of ResNet-101 and
152, and going from 101 to 152 layers hardly widens it (RepLKNet paper, Table 10 and Figure 1).

Method: the paper's protocol (``ding2022``), with the library's own study: a result per network, a
95 % interval over images. With trained weights at hand (``erf-tools weights fetch resnet101
resnet152 replknet13_120e replknet31_120e``) and ImageNet's validation images in ``--images`` it is
the paper's table; networks whose weights cannot be had are measured untrained, and every row and
title says so: the published numbers are not theirs.

Refuted by: intervals of trained networks that leave out the published values, or ResNets whose
ratios reach those of the RepLKNets.

Found (``--quick``, without the trained weights, which could not be had on the machine it was
written on, so that the claim was not tested): untrained at 512, two photographs, the legacy ratio
ranks ResNet-101 above RepLKNet-31 at t = 50 % (33.2 and 22.9 %), the scale-invariant one the other
way round (7.6 and 22.9 %): the published form compares the scale of gradients as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.programs import Output, Quick, publish, run
from erf_tools.erf.display import displayed
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures.families.squares import THRESHOLDS
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.published import PUBLISHED, STANDING
from erf_tools.errors import ErfToolsError
from erf_tools.figures import PAGE, draw_grid, line_styles, literal, own_style
from erf_tools.images import select
from erf_tools.labels import UNTRAINED, in_lines, labelled
from erf_tools.models.loading import load_model
from erf_tools.models.requests import Request
from erf_tools.studies.erf import measure_erfs
from erf_tools.tables import intervals, numbers

NETWORKS = ("resnet101", "resnet152", "replknet13_120e", "replknet31_120e")

_MARKERS = "osD^"


def requests(untrained: bool) -> tuple[list[Request], list[str]]:
    """Return the four networks with trained weights where they can be had, and why the rest not.

    Args:
        untrained: do not look for weights.
    """
    wanted, missing = [], []
    for name in NETWORKS:
        weights = "random"
        if not untrained:
            try:
                load_model(name)
                weights = "pretrained"
            except ErfToolsError as error:
                missing.append(str(error))
        wanted.append(Request(name, weights))
    return wanted, missing


def compared(results: tuple[ERF, ...]) -> pd.DataFrame:
    """Return a row per network and threshold: published and measured ratio, shares in (0, 1].

    Columns ``model``, ``weights``, ``threshold``, ``published``, ``standing`` (``seen`` or
    ``recalled``), ``legacy`` (ours, by the paper's form) with its interval, ``difference`` (ours
    minus published), and ``linear`` (on the map itself: independent of its scale).
    """
    rows = []
    for result in results:
        measures, paper = result.measures, PUBLISHED[result.name]
        for threshold in THRESHOLDS:
            ours = measures.estimate(f"legacy_{100 * threshold:g}")
            row = {
                "model": result.name,
                "weights": result.setting["model"]["weights"]["label"],
                "threshold": threshold,
                "published": paper.ratios[threshold],
                "standing": "seen" if threshold in paper.seen else "recalled",
                **ours.columns("legacy"),
                "difference": ours.value - paper.ratios[threshold],
                "linear": measures.estimate(f"linear_{100 * threshold:g}").value,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def draw(results: tuple[ERF, ...], table: pd.DataFrame) -> Figure:
    """Draw the maps as the paper does, and below them the ratios, published and measured."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.68), layout="constrained")
        (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.15))
        panels = above.subplots(1, len(results), squeeze=False)[0]
        image = None
        for axes, result in zip(panels, results, strict=True):
            shown = displayed(result.map)
            image = axes.imshow(shown, cmap="magma", vmin=0, vmax=1, interpolation="antialiased")
            axes.set_title(in_lines(literal(result.label)))
            axes.locator_params(nbins=3, integer=True)
        panels[0].set_ylabel("input pixel")
        colour_bar = above.colorbar(image, ax=panels, shrink=0.8, pad=0.01)
        colour_bar.set_label("log10(A + 1) / max")
        _draw_ratios(below.subplots(), table)
        return figure


def _draw_ratios(axes: Axes, table: pd.DataFrame) -> None:
    models = list(table.groupby("model", sort=False))
    for index, ((name, own), line, marker) in enumerate(
        zip(models, line_styles(len(models)), _MARKERS, strict=False)
    ):
        style = {"color": line["color"], "marker": marker, "markersize": 5, "linestyle": "none"}
        left = [place + 0.12 * index - 0.25 for place in range(len(own))]
        ours = labelled(f"{name}, ours", (own["weights"] != UNTRAINED).all())
        axes.plot(left, own["published"], label=f"{name}, published", fillstyle="none", **style)
        right = [place + 0.05 for place in left]
        axes.plot(right, own["legacy"], label=ours, **style)
        axes.vlines(right, own["legacy_low"], own["legacy_high"], color=line["color"], linewidth=1)
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1.3)
    axes.set_yticks([0.001, 0.01, 0.1, 1], ["0.1", "1", "10", "100"])
    axes.set_xticks(range(len(THRESHOLDS)), [f"{100 * t:g} %" for t in THRESHOLDS])
    axes.set_xlabel("share of the contribution, t")
    axes.set_ylabel("area ratio r, %")
    draw_grid(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02))


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`compared` as text for people, in per cent."""
    seen = table["standing"] == "seen"
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "t, %": table["threshold"].map(lambda t: f"{100 * t:g}"),
            "Published r, %": [
                f"{100 * r:.1f}{'†' * mark}"
                for r, mark in zip(table["published"], seen, strict=True)
            ],
            "Ours, %": (100 * table["legacy"]).map("{:.2f}".format),
            "95 %": intervals(table, "legacy", lambda share: f"{100 * share:.2f}"),
            "Difference": numbers(100 * table["difference"], "{:+.2f}".format),
            "Linear r, %": (100 * table["linear"]).map("{:.2f}".format),
        }
    )


def main(
    quick: Quick = False,
    images: Annotated[str, typer.Option(help="Folder of images, or builtin.")] = "builtin",
    num_images: Annotated[int, typer.Option(min=1, help="How many images at most.")] = 50,
    resolution: Annotated[int, typer.Option(min=32, help="Side of the input, in pixels.")] = 1024,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Do not look for trained weights.")
    ] = False,
    output: Output = Path("results/erf_table"),
) -> None:
    """Remake the RepLKNet paper's table of effective receptive fields."""
    if quick:
        num_images, resolution = min(num_images, 2), min(resolution, 512)
    wanted, missing = requests(untrained)
    for reason in missing:
        typer.echo(f"untrained instead: {reason}", err=True)
    selection = select(images, num_images)
    procedure = Procedure(resolution=resolution)
    study = measure_erfs(wanted, selection, output / "study", procedure, progress=True)
    table = compared(study.results)
    remarks = [
        f"Published: {STANDING}.",
        f"Ours: protocol ding2022 at {resolution}x{resolution}, {len(selection)} images "
        f"({images}); r on log10(A + 1), as published, with 95 % intervals over images; linear r "
        "on A itself, which does not depend on its scale.",
    ]
    if any(not result.trained for result in study.results):
        remarks.append(
            "untrained: random weights, so that differences to the published values say nothing of "
            "the paper."
        )
    if resolution != 1024:
        remarks.append(f"The published values are at 1024x1024, these at {resolution}.")
    publish(
        output,
        "erf_table",
        table,
        readable(table),
        remarks,
        draw(study.results, table),
        {"results": [result.record() for result in study.results]},
    )


if __name__ == "__main__":
    run(main)
