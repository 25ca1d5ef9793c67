"""How fast is it? Each thing is timed beside what it is compared with, in turns, in one process.

Claim: the results are those of the published procedure, OpenERF and plain loops, sooner.

Method: both sides of a comparison have to give the same result before they are timed. Times are
medians, ratios are medians of the ratios of pairs: the machine's speed drifts, and a pair sees the
same machine. Single maps come first, then whole calls (:mod:`analyses.whole_calls`), on the machine
as it is and with one of its cores kept busy. ``--quick`` times fewer pairs, of smaller images.

Refuted by: a result that differs, or a ratio below 1.

Found: see the README's table, which says on which machine. Where nothing can be folded or cut (Swin
at 512) the ratio is 1; with four images OpenERF takes half as long, since folding and the search
for theoretical fields are done once per network.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from torch import nn

from analyses.comparisons import (
    Comparison,
    compare_decisions,
    compare_maps,
    compare_openerf,
    in_fresh_process,
    matrix_rate,
    peak_memory,
)
from analyses.programs import Device, Output, Quick, publish, run
from analyses.timing import duration
from analyses.whole_calls import QUICK as QUICK_CALLS
from analyses.whole_calls import WHOLE as WHOLE_CALLS
from analyses.whole_calls import call_memory, compare_calls
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.procedure import Procedure
from erf_tools.figures import COLOURS, PAGE, draw_grid, own_style
from erf_tools.images import select
from erf_tools.kernels.devices import choose_device, device_name
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model, as_model
from erf_tools.models.names import resolve
from erf_tools.models.replknet import VARIANTS, RepLKNet
from erf_tools.tables import write_csv

#: What is compared: model and resolution.
_QUICK = (("replknet31b", 256), ("resnet50", 512))
_WHOLE = (
    ("replknet31b", 512),
    ("resnet50", 1024),
    ("resnet101", 1024),
    ("resnet152", 1024),
    ("replknet13_120e", 512),
    ("swin_b", 512),
    ("unireplknet_t", 512),
    ("slak_t", 512),
    ("wtconvnext_t", 512),
    ("van_b1", 512),
    ("replknet31b", 1024),
)
_KERNELS = (3, 7, 13, 21, 31, 51)


def scaling(pairs: int, device: torch.device, quick: bool) -> pd.DataFrame:
    """Time the map of one image against resolution and kernel size, ours and as published."""
    sides = (128, 256) if quick else (128, 256, 384, 512, 768)
    cases = [("resolution", side, _small_replknet(31), side) for side in sides]
    for kernel in _KERNELS[::4] if quick else _KERNELS:
        cases.append(("kernel", kernel, _small_replknet(kernel), 256))
    rows = []
    for axis, value, model, side in cases:
        found = next(compare_maps(model, side, device, pairs, "fp32"))
        for way, seconds in (("erf-tools", found.seconds), ("published", found.other_seconds)):
            rows.append({"axis": axis, "value": value, "way": way, "seconds": seconds})
    model = load_model("resnet50", "random")
    side = 256 if quick else 512
    for count in (1, 8) if quick else (1, 2, 4, 8):
        selection = select("builtin", count)
        measure = partial(
            effective_receptive_field, model, selection, resolution=side, device=str(device)
        )
        measure()
        seconds = median(duration(measure, device) for _ in range(pairs))
        rows.append({"axis": "images", "value": count, "way": "erf-tools", "seconds": seconds})
    return pd.DataFrame(rows)


def _small_replknet(kernel: int) -> Model:
    """Return an untrained RepLKNet of five pairs of blocks."""
    variant = replace(VARIANTS["31b"], kernel_sizes=(kernel,) * 4, layers=(1, 1, 2, 1))
    module = RepLKNet(variant if kernel >= 5 else replace(variant, small_kernel=None))
    return as_model(module.eval(), f"five pairs of {kernel}x{kernel}")


def draw(growth: pd.DataFrame) -> Figure:
    """Draw time against resolution, kernel size and number of images."""
    labels = {
        "resolution": "side of the image, pixels (five pairs of 31x31)",
        "kernel": "kernel side (a RepLKNet of five pairs at 256)",
        "images": "ResNet-50: images, with field and intervals",
    }
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.36), layout="constrained")
        for axes, (axis, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
            own = growth[growth["axis"] == axis]
            for colour, (way, rows) in zip(COLOURS, own.groupby("way"), strict=False):
                axes.plot(rows["value"], rows["seconds"], "o-", color=colour, label=way, ms=3)
            axes.set_xlabel(label, fontsize=6)
            axes.set_ylim(bottom=0)
            draw_grid(axes)
            axes.legend()
        figure.axes[0].set_ylabel("seconds")
        return figure


def main(
    quick: Quick = False,
    pairs: Annotated[
        int | None,
        typer.Option(min=1, help="How often to time each.", show_default="5, or 2 with --quick"),
    ] = None,
    device: Device = "auto",
    precision: Annotated[list[str], typer.Option(help="fp32, tf32 or bf16; repeatable.")] = [  # noqa: B006
        "fp32"
    ],
    stimuli: Annotated[
        Path | None, typer.Option(help="The cue-conflict set; without it decisions are not timed.")
    ] = None,
    output: Output = Path("results/benchmark"),
) -> None:
    """Time erf-tools against the published procedure, OpenERF and plain loops."""
    target = choose_device(device, nn.Module())
    pairs = pairs or (2 if quick else 5)
    cases = _QUICK if quick else _WHOLE
    for name, _ in cases:  # what cannot be done is said before anything is timed
        resolve(name)
    for each in precision:
        Procedure(precision=each)  # type: ignore[arg-type]
    found = open_stimuli(str(stimuli)) if stimuli else None
    rate = matrix_rate(target)
    remarks = [
        f"{device_name(target)}, float32 matrix product {rate / 1e9:.0f} GFLOP/s. Seconds are per "
        "map, or for all images where their number is named; they and ratios are medians of pairs."
    ]
    comparisons: list[Comparison] = []
    for name, resolution in cases:
        model = load_model(name, "random", resolution=resolution)
        for each in precision:
            comparisons += compare_maps(model, resolution, target, pairs, each)  # type: ignore[arg-type]
    comparisons += compare_calls(QUICK_CALLS if quick else WHOLE_CALLS, target, pairs)
    resnet = load_model("resnet50", "random")
    comparisons += compare_openerf(resnet, 8 if quick else 50, target, pairs)
    if found:
        comparisons.append(
            compare_decisions(load_model("efficientnet_lite0"), found, target, pairs)
        )
    if target.type == "cpu" and sys.platform == "linux" and not quick:
        name, resolution = cases[-1]
        ours, published = (
            in_fresh_process(peak_memory, name, resolution, way) for way in (False, True)
        )
        remarks.append(
            f"Peak memory of a process that makes one map, {name} at {resolution}: "
            f"{ours / 1e9:.2f} GB, as published {published / 1e9:.2f} GB: {ours / published:.0%}."
        )
        many, one = (in_fresh_process(call_memory, "resnet50", 1024, count) for count in (50, 1))
        remarks.append(
            f"Peak memory of a whole call, resnet50 at 1024: {many / 1e9:.2f} GB with 50 images, "
            f"{one / 1e9:.2f} GB with one: {many / one:.0%}."
        )
    growth = scaling(min(pairs, 3), target, quick)
    write_csv(growth, output / "scaling.csv")
    publish(
        output,
        "benchmark",
        pd.DataFrame([asdict(each) for each in comparisons]),
        readable(comparisons),
        remarks,
        draw(growth),
        {"device": device_name(target), "pairs": pairs, "quick": quick},
    )


def readable(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return comparisons as text for people."""
    return pd.DataFrame(
        [
            {
                "what": each.what,
                "against": each.other,
                "s": f"{each.seconds:.3g}",
                "other, s": f"{each.other_seconds:.3g}",
                "ratio": f"{each.ratio:.2f} ({each.lowest:.2f}-{each.highest:.2f})",
                "difference": f"{each.difference:.1g}",
                "of the matrix rate": "-" if np.isnan(each.share) else f"{each.share:.0%}",
            }
            for each in comparisons
        ]
    )


if __name__ == "__main__":
    run(main)
