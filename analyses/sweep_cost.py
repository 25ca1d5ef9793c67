"""What the ERFs of all of timm would cost: 1,371 networks, 1,000 images, eight GPUs.

Claim: a cluster of eight GPUs can measure every network of timm in days.

Method: the multiply-adds from an image to the feature map are counted for every name of
``timm.list_models()`` without computing anything, on torch's ``meta`` device, at the network's own
size and at 1024; the way back costs as much, attention twice. What stands around the passes
(building, folding, the search for theoretical fields, images, intervals, files) is timed here, on a
CPU, and so are the passes of a sample, for how evenly operations explain time. The rate of a GPU is
NOT measured: no GPU was at hand. The plan is a function of the rate that is sustained, in float32
without TF32; 67 TFLOP/s, the peak on the data sheets of H100 and H200, bounds it from above.
Networks go to the GPUs longest first. Nothing of this knows the cone, which spares
convolutional networks a part of the work.

Refuted by: networks that no GPU can hold or that refuse 1024 pixels, in number; a plan of weeks.

Found (timm 1.0.31; counted whole; costs in processor time, on one core; no GPU rate): 1,348 of
1,371 networks have a map at 1024; 15 refuse the size, 6 need another multiple of pixels, 2 could
not be counted. An image through all of them is 5.37 PFLOP, 80 % of it in attention networks; the
64 largest are half, and with the 555 that are built for one size measured at that size 24 % is
left. The passes are 149 GPU hours at 10 TFLOP/s (299 at 5, 75 at 20, 22 at the peak). Longest
first, GPUs end within 0.1 % of each other even with whole networks. Beside the passes 7 GPU hours
are needed where each network is prepared and resampled once, as ``erf-tools sweep`` does: 20 hours
on eight GPUs. Weights are 646 GB. With attention matrices written out, 36 networks exceed 80 GB
with one image, 4 exceed 141 GB. On a CPU, operations explain seconds as their power 0.78, R² 0.98;
rates are 67 (quartiles 66 to 74) GFLOP/s with attention, 56 (49 to 60) without, 49 (37 to 58)
mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.programs import Output, Quick, kept, publish, run
from analyses.sweep_plan import (
    BANDWIDTH,
    GPUS,
    IMAGES,
    PEAK,
    PRICE,
    RATES,
    THREADS,
    Plan,
    plan,
    readable,
)
from analyses.sweep_times import TIMED_SIDE, costs, sample, time_networks, weigh
from analyses.timm_operations import FAMILIES, count, family, operations
from erf_tools.erf.procedure import DEFAULT_RESOLUTION
from erf_tools.figures import COLOURS, PAGE, draw_grid, line_styles, own_style

#: Bytes of GPU memory: H100, H200.
_MEMORY = {"H100": 80e9, "H200": 141e9}

#: Why there is no map, by what stands in a failure; the first that fits.
_REASONS = {
    "on meta tensors": "compute with values, and are not counted",
    "divisible": "need a multiple of their patch or window",
    "build": "are built for one size and take no other",
    "forward": "refuse the size",
    "map": "name no feature map (a layer has to be named)",
}

_MARKERS = "osD"


@dataclass(frozen=True)
class Size:
    """How much is counted and timed.

    Attributes:
        every: of timm's names one in so many is counted.
        timed: networks whose passes are timed.
        photographs: in the results whose files are weighed.
        groups: of images that intervals are resampled from.
    """

    every: int = 1
    timed: int = 39
    photographs: int = 8
    groups: int = 50


QUICK = Size(every=50, timed=6, photographs=2, groups=8)


def largest(counted: pd.DataFrame) -> pd.Series:
    """Return the share of all work at 1024 of the largest network, of the two largest, and so on.

    Indexed by how many.
    """
    work = operations(counted[counted["large_failure"].isna()]).sort_values(ascending=False)
    shares = work.cumsum() / work.sum()
    return shares.set_axis(range(1, len(shares) + 1))


def failures(counted: pd.DataFrame) -> pd.Series:
    """Return how many networks cannot be measured at 1024, by reason."""
    return counted["large_failure"].dropna().map(_reason).value_counts()


def _reason(failure: str) -> str:
    return next(reason for sign, reason in _REASONS.items() if sign in failure)


def draw(counted: pd.DataFrame, times: pd.DataFrame, plans: Sequence[Plan]) -> Figure:
    """Draw where the work lies, how evenly operations explain time, and hours against the rate."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.48), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _draw_shares(left, counted)
        _draw_times(middle, times)
        _draw_plans(right, plans)
        for axes in (left, middle, right):
            axes.minorticks_off()
            axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2))
            draw_grid(axes)
        return figure


def _draw_shares(axes: Axes, counted: pd.DataFrame) -> None:
    shares = largest(counted)
    axes.plot(shares.index, 100 * shares, color=COLOURS[0], label="of all operations at 1024")
    half = _first(shares, 0.5)
    axes.plot(half, 100 * shares[half], "o", color=COLOURS[1], label=f"half: {half} networks")
    axes.set_ylim(0, 103)
    axes.set_xlabel("networks, largest first")
    axes.set_ylabel("share, %")
    axes.set_title("where the work lies (counted)")


def _draw_times(axes: Axes, times: pd.DataFrame) -> None:
    for name, line, marker in zip(FAMILIES, line_styles(len(FAMILIES)), _MARKERS, strict=True):
        own = times[times["family"] == name]
        axes.loglog(
            own["operations"] / 1e9,
            own["image"],
            marker,
            markersize=3.5,
            color=line["color"],
            label=name,
        )
    ends = np.array([times["operations"].min(), times["operations"].max()])
    axes.plot(ends / 1e9, ends / times["rate"].median(), color="#555555", label="median rate")
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    axes.set_xlabel("operations of a pass, GFLOP")
    axes.set_ylabel("processor seconds an image")
    axes.set_title(f"at {TIMED_SIDE} (measured)")


def _draw_plans(axes: Axes, plans: Sequence[Plan]) -> None:
    rates = [each.rate for each in plans]
    walls = [each.wall for each in plans]
    passes = [each.passes / GPUS for each in plans]
    axes.loglog(rates, walls, "o-", markersize=3.5, color=COLOURS[0], label="all of it")
    axes.plot(rates, passes, color="#555555", linestyle=":", label="the passes alone")
    axes.set_xticks([*RATES, PEAK])
    axes.set_xticklabels([*map(str, RATES), f"peak {PEAK}"])
    ticks = [0.1, 0.3, 1, 3, 10, 30, 100, 300]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(0.8 * min(passes), 1.25 * max(walls))
    axes.set_xlabel("TFLOP/s that a GPU sustains")
    axes.set_ylabel(f"hours on {GPUS} GPUs")
    axes.set_title("the plan (no GPU was timed)")


def _first(shares: pd.Series, share: float) -> int:
    return int((shares >= share).idxmax())


def remarks(
    counted: pd.DataFrame, names: int, times: pd.DataFrame, weighed: Mapping[str, Any]
) -> list[str]:
    """Return what was counted and measured, in sentences."""
    measurable = counted[counted["large_failure"].isna()]
    work, shares = operations(measurable), largest(counted)
    tied = measurable["one_size"]
    cheaper = operations(measurable, "own").where(tied, work)
    attention = measurable["large_attention"].sum() / measurable["large_forward"].sum()
    lost = failures(counted)
    elsewhere = (counted["large_failure"].notna() & counted["own_failure"].isna()).sum()
    published = counted[counted["weights"]]
    download = published["weight_bytes"].sum()
    rates = times.groupby("family")["rate"].quantile([0.25, 0.5, 0.75]).unstack() / 1e9
    slope, intercept = np.polyfit(np.log(times["operations"]), np.log(times["image"]), 1)
    residuals = np.log(times["image"]) - slope * np.log(times["operations"]) - intercept
    explained = 1 - residuals.var(ddof=0) / np.log(times["image"]).var(ddof=0)
    start = times.groupby("family")[["build", "prepare"]].mean()
    return [
        "The rate of a GPU was NOT measured; the hours are operations divided by assumed rates. "
        f"{PEAK} TFLOP/s is the float32 peak of NVIDIA's data sheets for H100 and H200, an upper "
        f"bound. Assumed, too: {PRICE:g} USD a GPU hour, {THREADS} threads per GPU that make "
        f"images ready, {8 * BANDWIDTH / 1e9:g} Gbit/s.",
        f"Counted, and planned for: {len(counted)} of {names} networks. A map at "
        f"{DEFAULT_RESOLUTION}: {len(measurable)}. No map there: {len(counted) - len(measurable)}"
        + "".join(f"; {number} {reason}" for reason, number in lost.items())
        + f". Of these {elsewhere} have one at their own size.",
        f"An image through all of them, there and back: {work.sum() / 1e15:.2f} PFLOP, "
        f"{attention:.0%} of the way there in products of activations (attention).",
        f"The 50 largest are {shares[min(50, len(shares))]:.0%} of the work, "
        f"{_first(shares, 0.5)} are half of it; the first: "
        + ", ".join(
            f"{measurable['network'][index]} ({value / work.sum():.1%})"
            for index, value in work.nlargest(5).items()
        )
        + f". The {tied.sum()} built for one size are {work[tied].sum() / work.sum():.0%}; with "
        f"those at their own size the work is {cheaper.sum() / work.sum():.0%}.",
        "Activations held for the way back, one image, attention matrices written out: "
        + ", ".join(
            f"{(measurable['large_kept_bytes'] + measurable['weight_bytes'] > limit).sum()} "
            f"networks do not fit an {card} ({limit / 1e9:.0f} GB)"
            for card, limit in _MEMORY.items()
        )
        + "; fused attention needs less.",
        f"Weights: {len(published)} have published ones, {download / 1e9:.0f} GB in float32: "
        f"{download / BANDWIDTH / 3600:.1f} hours, and the same on disk.",
        f"Measured on a CPU at {TIMED_SIDE}, in processor time ({torch.get_num_threads()} "
        "threads, all together), GFLOP/s, median (quartiles): "
        + ", ".join(
            f"{name} {row[0.5]:.0f} ({row[0.25]:.0f} to {row[0.75]:.0f})"
            for name, row in rates.iterrows()
        )
        + f"; seconds ~ operations^{slope:.2f}, R² {explained:.2f}, {len(times)} networks.",
        "Processor time. Building and preparing a network, means: "
        + ", ".join(
            f"{name} {row['build']:.1f} and {row['prepare']:.1f} s"
            for name, row in start.iterrows()
        )
        + f". An image made ready: {1e3 * weighed['ready']:.0f} ms. Intervals of a result: "
        f"{weighed['intervals']:.0f} s, its file: {weighed['write']:.1f} s.",
        "Files at 1024: "
        + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in weighed["bytes"].items())
        + f"; at most {_file_bound() / 1e6:.0f} MB, so {len(measurable) * _file_bound() / 1e9:.0f} "
        "GB of results.",
    ]


def _file_bound() -> int:
    """Bytes of a result's two maps, uncompressed."""
    return 2 * 8 * DEFAULT_RESOLUTION**2


def main(quick: Quick = False, output: Output = Path("results/sweep_cost")) -> None:
    """Count and time what the ERFs of all of timm would take, and plan them on eight GPUs."""
    size = QUICK if quick else Size()
    names = timm.list_models()
    counted = count(names[:: size.every], output)
    counted["family"] = family(counted)
    times = time_networks(sample(counted, size.timed), output).merge(counted, on="model")
    times["operations"] = operations(times, "own")
    times["rate"] = times["operations"] / times["image"]
    weighed = kept(
        output / "results.json", vars(size), partial(weigh, size.photographs, size.groups)
    )
    beside = costs(times, weighed)
    plans = [plan(counted, beside, rate) for rate in (*RATES, PEAK)]
    publish(
        output,
        "sweep_cost",
        counted.merge(times[["model", "build", "prepare", "image"]], on="model", how="left"),
        readable(plans),
        remarks(counted, len(names), times, weighed),
        draw(counted, times, plans),
        {
            **vars(size),
            "images": IMAGES,
            "gpus": GPUS,
            "costs": {**vars(beside), "start": dict(beside.start)},
            "plans": [vars(each) for each in plans],
        },
    )


if __name__ == "__main__":
    run(main)
