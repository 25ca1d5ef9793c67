"""ImageNet is not everything: published accuracies against ADE20K and COCO, beside the ERF.

Claim: networks of like ImageNet accuracy differ downstream, where large kernels gain more: from 3x3
to 31x31, RepLKNet gains little on ImageNet and much in segmentation, because its ERF grows
(RepLKNet paper, guideline 5 and Table 5).

Method: published numbers only, each with its source and its standing (``seen`` in the source named,
or ``recalled`` from memory and not checked), in ``published_downstream.csv``. Beside the kernel
ablation stands the effective side of the same kernels' ERF, measured with the library on narrow
untrained RepLKNets with settled norms (:mod:`analyses.narrow_replknet`): the paper's networks of
120 epochs are not all published. Correlations are Spearman's; with so few networks, none of which
is independent of the others, they describe and do not prove.

Refuted by: gains on ADE20K no larger than on ImageNet; an order downstream that is not the ERF's.

Found (``--quick``): from 3x3 to 13x13, numbers that were seen, ImageNet gains 0.91 points and
ADE20K 2.30; to 31x31, recalled, 0.96 and 3.12. Most of the gain downstream comes with 7x7 already
(2.00). The effective side rises with every step, 125, 257, 427, 535, 551 pixels at 1024, in the
order of ADE20K (rank correlation 1.00) and nearly in that of ImageNet (0.90): five networks of one
family do not tell the two apart. Among four networks of like training and size ImageNet spans 0.5
points, ADE20K 2.1 and COCO 0.8, and ConvNeXt-B with 7x7 kernels is ahead of the larger ones on
COCO.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from tqdm import tqdm

import erf_tools
from analyses.narrow_replknet import narrow, photographs, settle, untrained
from analyses.programs import Output, Quick, kept, publish, run
from erf_tools.figures import COLOURS, PAGE, draw_grid, own_style
from erf_tools.tables import NONE

_ABLATION = "kernel ablation"
_RESOLUTION = 1024
_MARKERS = "osD"


def published() -> pd.DataFrame:
    """Return the published numbers: a row per model, scores in per cent.

    Columns: ``group``, ``model``, ``kernels`` (side of the largest), ``training``, ``imagenet``
    (top-1), ``ade20k`` (mIoU, single scale, UperNet), ``coco_box`` (AP, Cascade Mask R-CNN, 3x),
    ``source``, ``standing``.
    """
    return pd.read_csv(Path(__file__).with_name("published_downstream.csv"))


def measure_kernels(backbone: str, resolution: int, num_images: int) -> dict[str, Any]:
    """Return the effective side, in pixels, of a narrow RepLKNet with a published set of kernels.

    Args:
        backbone: its kernels after the last space, as in ``RepLKNet 31-29-27-13``.
        resolution: side of the input, in pixels.
        num_images: photographs in the mean.
    """
    first, second, third, fourth = map(int, backbone.rpartition(" ")[2].split("-"))
    variant = replace(
        narrow("31b"),
        kernel_sizes=(first, second, third, fourth),
        small_kernel=5 if fourth > 5 else None,
    )
    network = settle(untrained(variant), photographs())
    erf = erf_tools.effective_receptive_field(network, num_images=num_images, resolution=resolution)
    return {"effective_side": erf.measures.effective_side}


def measure(size: dict[str, int], output: Path) -> pd.DataFrame:
    """Return the published numbers with the ``effective_side`` of the ablation's kernels.

    Args:
        size: the last two arguments of :func:`measure_kernels`.
        output: folder in which sides are kept.
    """
    table = published()
    sides = {}
    backbones = table.loc[table["group"] == _ABLATION, "model"]
    for backbone in tqdm(list(backbones), unit="network", disable=None):
        kernels = backbone.rpartition(" ")[2]
        sides[backbone] = kept(
            output / "networks" / f"{kernels}.json",
            {"kernels": kernels, **size},
            partial(measure_kernels, backbone, **size),
        )["effective_side"]
    table["effective_side"] = table["model"].map(sides)
    return table


def draw(table: pd.DataFrame) -> Figure:
    """Draw ImageNet against ADE20K and COCO, and the ablation's gains against the ERF."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.42), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _draw_scores(left, table, "ade20k", "ADE20K mIoU, %")
        _draw_scores(middle, table, "coco_box", "COCO box AP, %")
        _draw_gains(right, table[table["group"] == _ABLATION])
        left.plot([], [], "o", color="#555555", markerfacecolor="white", label="recalled")
        handles, labels = left.get_legend_handles_labels()
        gains, words = right.get_legend_handles_labels()
        figure.legend(handles + gains, labels + words, loc="outside lower center", ncols=3)
        return figure


def _draw_scores(axes: Axes, table: pd.DataFrame, score: str, label: str) -> None:
    groups = list(table.groupby("group", sort=False))
    for (group, own), colour, marker in zip(groups, COLOURS, _MARKERS, strict=False):
        style: dict[str, Any] = {
            "marker": marker,
            "color": colour,
            "markersize": 4,
            "linestyle": "none",
        }
        axes.plot([], [], label=group, **style)
        for row in own.dropna(subset=score).itertuples():
            place = (row.imagenet, getattr(row, score))
            filled = colour if row.standing == "seen" else "white"
            axes.plot(*place, markerfacecolor=filled, **style)
            # Those of like training crowd: RepLKNets are named to the left, others to the right.
            leftwards = row.model.startswith("RepLKNet") and row.imagenet < 85
            kernels = f"{row.kernels:.0f}x{row.kernels:.0f}"
            axes.annotate(
                kernels if group == _ABLATION else row.model,
                place,
                xytext=(-4 if leftwards else 4, -2),
                textcoords="offset points",
                ha="right" if leftwards else "left",
                fontsize=5.5,
            )
    axes.set_xlim(79, 92)
    axes.set_xlabel("ImageNet top-1, %")
    axes.set_ylabel(label)
    draw_grid(axes)


def _draw_gains(axes: Axes, ablation: pd.DataFrame) -> None:
    for score, colour, marker, label in (
        ("ade20k", COLOURS[3], "^", "gain on ADE20K"),
        ("imagenet", COLOURS[4], "v", "gain on ImageNet"),
    ):
        gains = ablation[score] - ablation[score].iloc[0]
        sides = ablation["effective_side"]
        axes.plot(
            sides, gains, color=colour, label=label, linewidth=1.2, marker=marker, markersize=4
        )
    axes.set_xlabel("effective side at 1024, pixels")
    axes.set_ylabel("points over 3x3 kernels")
    draw_grid(axes)


def correlation(table: pd.DataFrame, one: str, other: str) -> float:
    """Return Spearman's rank correlation of two columns where both are known."""
    both = table[[one, other]].dropna()
    return float(spearmanr(both[one], both[other]).statistic) if len(both) > 2 else np.nan


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text for people; what was recalled is marked with an asterisk."""
    marks = np.where(table["standing"] == "recalled", "*", "")

    decimals = np.where(table["group"] == _ABLATION, 2, 1)

    def scores(column: str) -> list[str]:
        return [
            NONE if score != score else f"{score:.{places}f}{mark}"
            for score, places, mark in zip(table[column], decimals, marks, strict=True)
        ]

    return pd.DataFrame(
        {
            "Model": table["model"],
            "Training": table["training"],
            "ImageNet, %": scores("imagenet"),
            "ADE20K mIoU, %": scores("ade20k"),
            "COCO box AP, %": scores("coco_box"),
            "Effective side, px": table["effective_side"].map(
                lambda side: NONE if side != side else f"{side:.0f}"
            ),
            "Source": table["source"],
        }
    )


def remarks(table: pd.DataFrame) -> list[str]:
    """Return what the numbers say, in sentences."""
    ablation = table[table["group"] == _ABLATION]
    gain = ablation.iloc[-1][["imagenet", "ade20k"]] - ablation.iloc[0][["imagenet", "ade20k"]]
    seen = ablation[ablation["standing"] == "seen"]
    checked = seen.iloc[-1][["imagenet", "ade20k"]] - seen.iloc[0][["imagenet", "ade20k"]]
    like = table[table["group"] == "ImageNet-1K, 300 epochs"]
    return [
        "*: recalled from memory, not checked against the paper; all else was seen in the source "
        "named. ADE20K: UperNet, single scale; COCO: Cascade Mask R-CNN, 3x.",
        f"From 3x3 to {seen.iloc[-1]['kernels']:.0f}x{seen.iloc[-1]['kernels']:.0f} kernels: "
        f"{checked['imagenet']:+.2f} points on ImageNet, {checked['ade20k']:+.2f} on ADE20K; to "
        f"31x31 {gain['imagenet']:+.2f} and {gain['ade20k']:+.2f}*.",
        f"Of like training (ImageNet-1K, 300 epochs): ImageNet spans "
        f"{np.ptp(like['imagenet']):.1f} points, ADE20K {np.ptp(like['ade20k']):.1f}, COCO "
        f"{np.ptp(like['coco_box']):.1f}; Spearman's correlation with ImageNet "
        f"{correlation(like, 'imagenet', 'ade20k'):.2f} and "
        f"{correlation(like, 'imagenet', 'coco_box'):.2f}.",
        f"Kernel ablation: Spearman's correlation of the effective side with ADE20K "
        f"{correlation(ablation, 'effective_side', 'ade20k'):.2f}, with ImageNet "
        f"{correlation(ablation, 'effective_side', 'imagenet'):.2f}.",
        "Effective side: narrow untrained RepLKNets, norms settled, at 1024.",
    ]


def main(quick: Quick = False, output: Output = Path("results/downstream")) -> None:
    """Put published accuracies on three tasks beside the ERF of the same kernels."""
    size = {"resolution": _RESOLUTION, "num_images": 1 if quick else 8}
    table = measure(size, output)
    publish(output, "downstream", table, readable(table), remarks(table), draw(table), size)


if __name__ == "__main__":
    run(main)
