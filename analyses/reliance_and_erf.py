"""Does a network that looks farther rely more on global shape?

Claim: a larger ERF lets a network use the arrangement of parts, so that it relies more on global
shape (as argued for large kernels and shape bias: Ding et al., RepLKNet, CVPR 2022). Untrained
networks recognise nothing, and do not apply.

Method: (a) EfficientNet-Lite0, 1 and 2, trained on ImageNet, each at its own input size, on
photographs with labels: the effective side of the last map as a share of the input's, and the
profile of ``erf-tools reliance`` (patch shuffle, bilateral filter and blur, grey). Differences of
networks are paired by image. (b) The networks of :mod:`analyses.training_study`, which differ in
hardly anything but their kernels, over seeds: their profile on new images of the kind that they
were trained on, against their effective side. Spearman's rank correlation, computed for each seed;
its interval is Student's over seeds.

Refuted by: in (b) an interval of the correlation of effective side and global shape that lies below
or around 0. Part (a) can refute little: three networks of one family, whose rank correlation is one
of four values, and which differ in depth, width and input size at once.

Found (``--quick`` with two seeds, on a CPU; the whole form has not been tried): over the eight
small networks the rank correlation of effective side and reliance on global shape is .67 and .34 in
the two seeds, on local shape -.78 and -.46, on texture -.74 and -.98. Two seeds give no useful
interval (global shape .51 [-1.60, 2.61]): they neither support nor refute the claim. All eight rely
mostly on global shape (.71 to .84), the ResNet with the smallest ERF, 12 pixels, as much (.77) as
13x13 with 27 (.78). What a larger ERF goes with more clearly is less reliance on texture: .42 to
.45 for kernels of 3x3 and the ResNet, .26 to .34 for kernels of 7x7 and more. Of the three
EfficientNets the ERF takes .59, .58 and .57 of the input's side, and on 63 photographs they cannot
be told apart: global shape .44, .43 and .42, local shape .55 to .56, texture .19 to .20, all paired
differences within .02 of nothing, their intervals reaching to .10.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from analyses.programs import Output, Quick, publish, run
from analyses.trained_networks import QUICK, WHOLE, Plan
from analyses.training_figure import draw_legend, marker
from analyses.training_statistics import over_seeds, rank_correlation
from analyses.training_study import study
from erf_tools.cores import available_cores
from erf_tools.erf.procedure import Procedure
from erf_tools.figures import PAGE, draw_grid, line_styles, own_style
from erf_tools.images import select
from erf_tools.kernels.devices import choose_device
from erf_tools.models.requests import requests
from erf_tools.numbers import LARGEST
from erf_tools.reliance.choices import Suppressing
from erf_tools.reliance.judged import labelled_images
from erf_tools.reliance.tables import difference_table
from erf_tools.statistics import Estimate
from erf_tools.studies.erf import measure_erfs
from erf_tools.studies.reliance import measure_reliance
from erf_tools.tables import estimate_text, with_intervals

NAME = "reliance_and_erf"
NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")

#: Non-local means would take most of the time, and are one of three filters of texture.
CUES = "patch-shuffle,bilateral,gaussian-blur,gray"

PHOTOGRAPHS, SMALL = "photographs", "small networks"

#: What is related to the ERF, with a name for people.
RELIANCES = {
    "global_shape": "global shape",
    "local_shape": "local shape",
    "texture": "texture",
}


def photographed(images: Path, count: int, output: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the trained networks on photographs.

    Args:
        images: folder of labelled photographs.
        count: how many at most.
        output: where the studies lie, and go on.

    Returns:
        A row per network, with ``side_share`` beside its reliances; and the paired differences.
    """
    wanted, selection = requests(NETWORKS, ["pretrained"]), select(images, count)
    relied = measure_reliance(
        wanted, labelled_images(selection), output / "reliance", Suppressing(CUES), progress=True
    )
    sides = []
    for request, answers in zip(wanted, relied.results, strict=True):
        size = answers.setting["model"]["preprocessing"]["size"]
        study = measure_erfs(
            [request], selection, output / f"erf_{size}", Procedure(resolution=size), progress=True
        )
        found = study.results[0].measures.estimate("effective_side")
        sides.append(Estimate(*(end / size for end in (found.value, found.low, found.high))))
    columns = pd.DataFrame([side.columns("side") for side in sides])
    table = pd.concat([relied.table, columns], axis=1)
    return table, difference_table(relied.results, relied.results[0].rows)


def trained(runs: pd.DataFrame, side: int) -> pd.DataFrame:
    """Return a row per network of the training study: means over seeds with their intervals.

    Args:
        runs: of one setting.
        side: of the images, pixels.
    """
    rows = []
    for design, own in runs.groupby("design", sort=False):
        row = {"model": design, "images": len(own)}
        row |= over_seeds(own["effective_side"] / side).columns("side")
        row |= over_seeds(own["accuracy_own"]).columns("accuracy")
        for name in RELIANCES:
            row |= over_seeds(own[name]).columns(name)
        rows.append(row)
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text for people."""
    shown = table[["model", "part"]].rename(columns=str.capitalize)
    for name, label in {"side": "ERF side / input", "accuracy": "accuracy", **RELIANCES}.items():
        shown[label] = with_intervals(table, name, "{:.2f}".format)
    return shown


def findings(differences: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Return what was found, as sentences; the part of three networks with a caution."""
    said = []
    asked = differences[differences["measure"].isin(RELIANCES)]
    for pair, own in asked.groupby(["model", "other"], sort=False):
        parts = [
            f"{RELIANCES[row.measure]} "
            + estimate_text(
                Estimate(row.difference, row.difference_low, row.difference_high), _signed
            )
            for row in own.itertuples()
        ]
        said.append(f"{pair[0]} minus {pair[1]}: {', '.join(parts)}, paired by image.")
    if said:
        said.append(
            "Three networks of one family differ in depth, width and input at once: what goes "
            "together among them says nothing of ERFs."
        )
    found = [
        f"{label} {estimate_text(rank_correlation(runs, name), _signed)}"
        for name, label in RELIANCES.items()
    ]
    said.append(
        f"Rank correlation of the effective side over {runs['design'].nunique()} small networks "
        f"with {', '.join(found)}; intervals over {runs['seed'].nunique()} seeds."
    )
    return said


def draw(table: pd.DataFrame, plan: Plan) -> Figure:
    """Draw reliance against the size of the ERF: left on photographs, then cue by cue."""
    seen, designs = table[table["part"] == PHOTOGRAPHS], {d.name: d for d in plan.designs}
    with own_style():
        figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
        panels = figure.subplots(1, len(RELIANCES) + bool(len(seen)), sharey=True)
        for axes in panels:
            draw_grid(axes)
            axes.set_xlabel("ERF side / input")
        if len(seen):
            panels[0].set_title("EfficientNet-Lite0, 1, 2")
            for (name, label), line in zip(RELIANCES.items(), line_styles(3), strict=True):
                style = {**line, "linestyle": "none", "marker": "o"}
                _draw_ends(panels[0], seen, name, {**style, "label": label})
            panels[0].legend(loc="upper right")
        for axes, (name, label) in zip(panels[-len(RELIANCES) :], RELIANCES.items(), strict=True):
            axes.set_title(label)
            for model, own in table[table["part"] == SMALL].groupby("model"):
                _draw_ends(axes, own, name, {**marker(designs[model]), "linestyle": "none"})
            axes.set_xlim(0, None)
        panels[0].set_ylim(-0.3, 1.2)  # intervals over few seeds are wider
        panels[0].set_ylabel("reliance")
        draw_legend(figure, plan.designs)
        return figure


def _draw_ends(axes: Axes, table: pd.DataFrame, name: str, style: dict[str, Any]) -> None:
    for row in table.to_dict("records"):
        ends = [row[f"{name}_low"], row[f"{name}_high"]]
        axes.plot([row["side"]] * 2, ends, color=style["color"], linewidth=0.8)
    axes.plot(table["side"], table[name], markersize=5, **style)


_signed = "{:+.2f}".format


def main(
    quick: Quick = False,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs named by synsets, for part (a); else left out."),
    ] = None,
    num_images: Annotated[int, typer.Option(min=5, help="How many of them at most.")] = LARGEST,
    output: Output = Path("results/reliance_and_erf"),
) -> None:
    """Relate the size of the ERF to what networks rely on."""
    plan = QUICK if quick else WHOLE
    target = choose_device("auto", nn.Module())
    workers = available_cores() if target.type == "cpu" else 1
    runs = study(plan, output.parent / "training_study", target, workers)
    runs = runs[runs["cue"] == "either"]
    parts, differences = [trained(runs, plan.side).assign(part=SMALL)], difference_table([], ())
    if images:
        table, differences = photographed(images, num_images, output)
        parts.insert(0, table.assign(part=PHOTOGRAPHS))
    table = pd.concat(parts, ignore_index=True)
    remarks = [
        "ERF side / input: side of the centred square with half of the ERF, as a share of the "
        "input's. Reliances: what is lost where a cue is suppressed. 95 % intervals over images, "
        "or over seeds.",
        *findings(differences, runs),
    ]
    setting = {"plan": asdict(plan), "cues": CUES, "images": str(images) if images else None}
    publish(output, NAME, table, readable(table), remarks, draw(table, plan), setting)


if __name__ == "__main__":
    run(main)
