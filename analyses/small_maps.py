"""Large kernels on small feature maps: how much of a kernel ever meets the image, and the ERF.

Claim: large kernels are useful even on small feature maps, as 13x13 on 7x7, where much of them lies
on zero padding (RepLKNet paper, guideline 4); training at 224 would then leave weights without any
image to learn from, which matter at the larger resolutions of detection and segmentation.

Method: of an n x n map and a k x k kernel, the share of the weights that touch the image from any
unit is ``(min(k, 2n - 1) / k) ** 2``, and the mean share of the weights on the image, over units,
``(sum of max(n - |d|, 0) over |d| <= k // 2) ** 2 / (n k) ** 2``; both for the stages of
RepLKNet-31B by resolution. The ERF is measured for narrow RepLKNets (untrained, norms settled; see
:mod:`analyses.narrow_replknet`) at each resolution, and on an input so large that padding is far
away: how much of that unpadded ERF would lie on the image says how much padding takes.

Refuted by: weights of the published kernels that never touch the image at 224; an ERF that padding
leaves as it is.

Found (``--quick``: one photograph; two CPU cores): the published kernels fit 224 exactly. 27x27 on
14x14 and 13x13 on 7x7 are the largest whose weights all touch the image from some unit (2n - 1),
but in the mean over units only 27 % and 29 % of them lie on it, rising to 80 % and 81 % at 1024; of
a 15x15 kernel on 7x7 a quarter would never be trained. Without padding, RepLKNet-31B's ERF is so
large that an image of 224 holds 9 % of it (78 % at 1024), RepLKNet-13's 19 %, RepLKNet-3's 89 %;
zero padding lets the unit see what is left as nearly uniform: effective sides of 0.65, 0.64 and
0.54 of the image, where a uniform map has 0.71, and 8 % less than the same part of the unpadded
ERF. At 224 the ERFs of 13x13 and 31x31 kernels can hardly be told apart; at 1024 they can, 427 and
551 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

import erf_tools
from analyses.narrow_replknet import narrow, photographs, settle, untrained
from analyses.programs import Output, Quick, kept, publish, run
from erf_tools.erf.measures.families.squares import effective_side
from erf_tools.figures import PAGE, draw_grid, line_styles, own_style
from erf_tools.models.replknet import VARIANTS

_RESOLUTIONS = (224, 320, 384, 512, 768, 1024)
_STRIDES = (4, 8, 16, 32)
_VARIANTS = {"31b": "RepLKNet-31B", "13": "RepLKNet-13", "3": "RepLKNet-3"}
_MARKERS = "osD^"


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        unpadded: side of the input that padding is far away in, in pixels.
        num_images: photographs that an ERF is the mean over.
    """

    unpadded: int = 2048
    num_images: int = 8


QUICK = Size(num_images=1)


def touching_share(kernel_size: int, side: int) -> float:
    """Return the share of a kernel's weights that touch the image from any unit, in (0, 1].

    Args:
        kernel_size: side of the kernel, odd.
        side: of the feature map, in units.
    """
    return (min(kernel_size, 2 * side - 1) / kernel_size) ** 2


def mean_share(kernel_size: int, side: int) -> float:
    """Return the share of a kernel's weights that lie on the image, the mean over units.

    Arguments are those of :func:`touching_share`, which is its upper bound.
    """
    reach = kernel_size // 2
    meeting = sum(max(side - abs(offset), 0) for offset in range(-reach, reach + 1))
    return (meeting / (side * kernel_size)) ** 2


def kernel_use() -> pd.DataFrame:
    """Return both shares for each stage of RepLKNet-31B and each resolution."""
    rows = []
    for stage, (kernel, stride) in enumerate(
        zip(VARIANTS["31b"].kernel_sizes, _STRIDES, strict=True), start=1
    ):
        for resolution in _RESOLUTIONS:
            side = resolution // stride
            rows.append(
                {
                    "stage": stage,
                    "kernel_size": kernel,
                    "resolution": resolution,
                    "map_side": side,
                    "touching": touching_share(kernel, side),
                    "mean": mean_share(kernel, side),
                }
            )
    return pd.DataFrame(rows)


def measure_variant(variant: str, size: Size) -> dict[str, Any]:
    """Return the effective sides of a narrow RepLKNet by resolution, and without padding.

    Returns:
        ``padded``: effective side at each resolution, in pixels; ``unpadded``: that of the same
        part of the unpadded ERF; ``inside``: how much of the unpadded ERF lies there.
    """
    network = settle(untrained(narrow(variant)), photographs())
    measure = partial(erf_tools.effective_receptive_field, network, num_images=size.num_images)
    whole = measure(resolution=size.unpadded).map
    parts = {resolution: central(whole, resolution) for resolution in _RESOLUTIONS}
    return {
        "padded": [measure(resolution=r).measures.effective_side for r in _RESOLUTIONS],
        "unpadded": [effective_side(part) for part in parts.values()],
        "inside": [float(part.sum() / whole.sum()) for part in parts.values()],
    }


def central(contribution: np.ndarray, side: int) -> np.ndarray:
    """Return the central ``[side, side]`` of a map, its unit at ``side // 2``."""
    start = contribution.shape[0] // 2 - side // 2
    return contribution[start : start + side, start : start + side]


def measure(size: Size, output: Path) -> pd.DataFrame:
    """Return a row per network and resolution: sides in pixels, shares in [0, 1]."""
    tables = []
    for variant, name in tqdm(_VARIANTS.items(), unit="network", disable=None):
        found = kept(
            output / "networks" / f"{variant}.json",
            {"variant": variant, "resolutions": list(_RESOLUTIONS), **vars(size)},
            partial(measure_variant, variant, size),
        )
        table = pd.DataFrame({"resolution": _RESOLUTIONS, **found})
        table.insert(0, "model", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def draw(use: pd.DataFrame, fields: pd.DataFrame) -> Figure:
    """Draw the kernels' use by stage, and how the ERFs fill the image, by resolution."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.48), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_use(left, use)
        _draw_fields(right, fields)
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks(_RESOLUTIONS, [str(resolution) for resolution in _RESOLUTIONS])
            axes.minorticks_off()
            axes.set_xlabel("side of the input, pixels")
            axes.set_ylim(0, 1.03)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
            draw_grid(axes)
        return figure


def _draw_use(axes: Axes, use: pd.DataFrame) -> None:
    stages = list(use.groupby("stage"))
    for (stage, own), line, marker in zip(stages, line_styles(len(stages)), _MARKERS, strict=True):
        kernel = own["kernel_size"].iloc[0]
        label = f"stage {stage}, {kernel}x{kernel}"
        axes.plot(
            own["resolution"], own["mean"], label=label, marker=marker, markersize=3.5, **line
        )
        axes.plot(own["resolution"], own["touching"], **{**line, "linestyle": ":"})
    axes.set_ylabel("share of the kernel's weights on the image")
    axes.set_title("RepLKNet-31B: mean over units (dotted: from any unit)")


def _draw_fields(axes: Axes, fields: pd.DataFrame) -> None:
    networks = list(fields.groupby("model", sort=False))
    for (name, own), line, marker in zip(
        networks, line_styles(len(networks)), _MARKERS, strict=False
    ):
        share = own["padded"] / own["resolution"]
        axes.plot(own["resolution"], share, label=name, marker=marker, markersize=3.5, **line)
        axes.plot(own["resolution"], own["inside"], **{**line, "linestyle": ":"})
    axes.axhline(np.sqrt(0.5), color="#555555", linewidth=0.8, linestyle="--", label="uniform map")
    axes.set_ylabel("share")
    axes.set_title("effective side / side (dotted: unpadded ERF on the image)")


def readable(use: pd.DataFrame, fields: pd.DataFrame) -> pd.DataFrame:
    """Return a row per resolution with the kernels' use and the ERFs, as text."""
    rows = []
    for resolution in _RESOLUTIONS:
        row = {"Resolution": str(resolution)}
        for each in use[use["resolution"] == resolution].itertuples():
            label = f"{each.kernel_size}x{each.kernel_size}: map; touching / mean, %"
            row[label] = f"{each.map_side}; {100 * each.touching:.0f} / {100 * each.mean:.0f}"
        for each in fields[fields["resolution"] == resolution].itertuples():
            label = f"{each.model}: side (unpadded), px; inside, %"
            row[label] = f"{each.padded:.0f} ({each.unpadded:.0f}); {100 * each.inside:.0f}"
        rows.append(row)
    return pd.DataFrame(rows)


def remarks(use: pd.DataFrame, fields: pd.DataFrame) -> list[str]:
    """Return what was found, in sentences."""
    never = use[use["touching"] < 1]
    smallest = use["resolution"] == _RESOLUTIONS[0]
    (last,) = use[smallest & (use["stage"] == len(_STRIDES))].itertuples()
    first = next(fields[fields["model"] == _VARIANTS["31b"]].itertuples())
    return [
        "touching: share of the kernel's weights that lie on the image from any unit; mean: over "
        "units. side: of the square with half of the ERF; unpadded: of the same part of the ERF on "
        "a large input; inside: how much of that ERF the image holds.",
        "Weights of RepLKNet-31B that never touch the image: "
        + (
            "none at any of these resolutions."
            if never.empty
            else ", ".join(f"stage {e.stage} at {e.resolution}" for e in never.itertuples()) + "."
        ),
        f"At {last.resolution}, {last.kernel_size}x{last.kernel_size} on "
        f"{last.map_side}x{last.map_side}: {last.mean:.0%} of the weights lie on the image in the "
        f"mean over units; of a 15x15 kernel {touching_share(15, last.map_side):.0%} ever would.",
        f"{first.model} at {first.resolution}: the image holds {first.inside:.0%} of the "
        "unpadded ERF.",
        "Networks are an eighth as wide as published, untrained, their norms settled on "
        "photographs.",
    ]


def main(quick: Quick = False, output: Output = Path("results/small_maps")) -> None:
    """Work out how much of large kernels meets small maps, and measure what padding does."""
    size = QUICK if quick else Size()
    use, fields = kernel_use(), measure(size, output)
    publish(
        output,
        "small_maps",
        use.merge(fields.pivot(index="resolution", columns="model").pipe(_flat), on="resolution"),
        readable(use, fields),
        remarks(use, fields),
        draw(use, fields),
        {"resolutions": list(_RESOLUTIONS), **vars(size)},
    )


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    table.columns = [f"{network} {measure}" for measure, network in table.columns]
    return table.reset_index()


if __name__ == "__main__":
    run(main)
