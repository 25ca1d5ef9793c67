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

import heapq
import tempfile
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
from tqdm import tqdm

import erf_tools
from analyses.programs import Output, Quick, kept, publish, run
from analyses.timing import processor_time
from analyses.timm_operations import FAMILIES, count, family, operations
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.measures.frame import Frame
from erf_tools.erf.measures.sample import Sample, image_sums
from erf_tools.erf.procedure import DEFAULT_RESOLUTION, Procedure
from erf_tools.figures import COLOURS, PAGE, draw_grid, line_styles, own_style
from erf_tools.images import Preprocessing, decode, select
from erf_tools.kernels.devices import floating_type, normalise, ready
from erf_tools.models.loading import Model, load_model

#: The plan: images of each network, and GPUs.
_IMAGES, _GPUS = 1000, 8

#: Sustained rates of a GPU in TFLOP/s, float32: assumed, and the peak on NVIDIA's data sheets.
_RATES, _PEAK = (5, 10, 20), 67

#: Assumed: US dollars for an hour of one GPU, bytes per second from the model hub, and threads that
#: make images ready for one GPU.
_PRICE, _BANDWIDTH, _THREADS = 3.0, 125e6, 4

#: Bytes of GPU memory: H100, H200.
_MEMORY = {"H100": 80e9, "H200": 141e9}

#: Networks whose results are weighed: with a bounded field, and with attention.
_WEIGHED = ("resnet18", "vit_tiny_patch16_224")

#: Networks that are timed: their own side, the most parameters, images in a batch, passes.
_TIMED_SIDE, _TIMED_PARAMETERS, _TIMED_IMAGES, _TIMED_PASSES = 224, 200_000_000, 2, 2

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


@dataclass(frozen=True)
class Costs:
    """What the library takes beside the passes, in seconds of one processor.

    Attributes:
        start: by family: building a network and preparing it.
        ready: making an image ready at 1024.
        finish: the intervals and the file of a result.
    """

    start: Mapping[str, float]
    ready: float
    finish: float


@dataclass(frozen=True)
class Plan:
    """What a sweep takes.

    Attributes:
        rate: sustained on a GPU, TFLOP/s.
        passes: GPU hours of forward and backward passes.
        waiting: GPU hours in which images are not ready.
        starting: GPU hours of building and preparing networks.
        finishing: GPU hours of intervals and files.
        wall: hours on all GPUs.
    """

    rate: float
    passes: float
    waiting: float
    starting: float
    finishing: float
    wall: float

    @property
    def gpu_hours(self) -> float:
        """All hours in which a GPU is taken up."""
        return self.passes + self.waiting + self.starting + self.finishing

    @property
    def excess(self) -> float:
        """By how much the last GPU ends after an even share of the hours, relative to it."""
        return self.wall * _GPUS / self.gpu_hours - 1


def sample(counted: pd.DataFrame, number: int) -> list[str]:
    """Return networks to be timed, of each family alike, evenly spaced in the order of their work.

    They are among those whose own size is 224 and that have at most 200 million parameters.
    """
    fit = counted["own_failure"].isna() & (counted["side"] == _TIMED_SIDE)
    fit &= counted["parameters"] <= _TIMED_PARAMETERS
    chosen: list[str] = []
    for name in FAMILIES:
        own = counted[fit & (counted["family"] == name)].sort_values("own_forward")
        wanted = min(number // len(FAMILIES), len(own))
        ranks = [int((place + 0.5) * len(own) / wanted) for place in range(wanted)]
        chosen += own["network"].iloc[ranks].tolist()
    return chosen


def time_network(name: str) -> dict[str, float]:
    """Time the library on an untrained network at 224, on this machine's CPU.

    Returns:
        Seconds of a processor: ``build``; ``prepare`` (folding, the search for theoretical
        fields); and ``image``, the map of an image in a batch, the less of two times.
    """
    cpu, size = torch.device("cpu"), (_TIMED_SIDE, _TIMED_SIDE)
    models: list[Model] = []
    build = processor_time(lambda: models.append(load_model(name, "random")))
    (model,) = models
    procedure, own = Procedure(resolution=_TIMED_SIDE), model.preprocessing
    pixels = list(decode(select("builtin", _TIMED_IMAGES).images, procedure.view(own)))
    made: list[Contributions] = []
    with ready(model.module, cpu) as network:
        fixed = model.input_size is not None
        contributions = partial(
            Contributions, network, [model.tap], procedure, size, fixed, fast=True
        )
        prepare = processor_time(lambda: made.append(contributions()))
        inputs = normalise(np.stack(pixels), own.mean, own.std, cpu, floating_type(network))
        made[0].maps(inputs)  # finds the layer's shape
        maps = partial(made[0].maps, inputs, made[0].fastest)
        image = min(processor_time(maps) for _ in range(_TIMED_PASSES)) / len(pixels)
    return {"build": build, "prepare": prepare, "image": image}


def time_networks(names: Sequence[str], output: Path) -> pd.DataFrame:
    """Return a row per network; see :func:`time_network`."""
    rows = []
    for name in tqdm(names, unit="network", disable=None):
        setting = {"network": name, "side": _TIMED_SIDE, "threads": torch.get_num_threads()}
        found = kept(output / "times" / f"{name}.json", setting, partial(time_network, name))
        rows.append({"network": name, **found})
    return pd.DataFrame(rows)


def weigh(size: Size) -> dict[str, Any]:
    """Time and weigh what a result at 1024 takes beside the passes.

    Returns:
        Seconds of a processor: ``ready`` (making an image ready), ``intervals`` (of a result),
        ``write`` (the file that takes longer). ``bytes`` of the file, by network.
    """
    selection, view = select("builtin", size.photographs), Procedure().view(Preprocessing())
    images = selection.images
    making = processor_time(lambda: [np.asarray(view(image.open())) for image in images])
    sides = (DEFAULT_RESOLUTION, DEFAULT_RESOLUTION)
    groups = np.random.default_rng(0).random((size.groups, *sides), dtype=np.float32)
    frame, ones = Frame(sides), [1] * size.groups
    sums = image_sums(groups, frame)
    total = groups.sum(axis=0, dtype=np.float64)
    intervals = processor_time(partial(Sample.of_groups, total, groups, ones, sums, frame))
    weights, write = {}, 0.0
    for name in _WEIGHED:
        model = load_model(name, "random", resolution=DEFAULT_RESOLUTION)
        erf = erf_tools.effective_receptive_field(model, selection)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "erf.npz"
            write = max(write, processor_time(partial(erf.save, path)))
            weights[name] = path.stat().st_size
    return {
        "ready": making / len(images),
        "intervals": intervals,
        "write": write,
        "bytes": weights,
    }


def costs(times: pd.DataFrame, weighed: Mapping[str, Any]) -> Costs:
    """Return what stands beside the passes: means of the timed networks of each family."""
    start = (times["build"] + times["prepare"]).groupby(times["family"]).mean()
    return Costs(start.to_dict(), weighed["ready"], weighed["intervals"] + weighed["write"])


def makespan(durations: Sequence[float], machines: int) -> float:
    """Return when the last of several jobs ends that go to equal machines longest first.

    At most 4/3 - 1/(3 machines) of the shortest possible (Graham 1969).
    """
    ends = [0.0] * machines
    for length in sorted(durations, reverse=True):
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


def plan(counted: pd.DataFrame, costs: Costs, rate: float) -> Plan:
    """Plan a sweep over all networks that have a map at 1024.

    As in ``erf-tools sweep``, a network is built and prepared once, by the worker that goes on with
    all of its units, and its parts are joined once.

    Args:
        counted: from :func:`analyses.timm_operations.count`, with ``family``.
        costs: of what stands beside the passes.
        rate: that a GPU sustains, TFLOP/s.
    """
    counted = counted[counted["large_failure"].isna()]
    passes = operations(counted) / (1e12 * rate)
    image = np.maximum(passes, costs.ready / _THREADS)
    start = counted["family"].map(costs.start).fillna(max(costs.start.values()))
    lengths = start + _IMAGES * image + costs.finish
    return Plan(
        rate=rate,
        passes=_IMAGES * passes.sum() / 3600,
        waiting=_IMAGES * (image - passes).sum() / 3600,
        starting=start.sum() / 3600,
        finishing=len(counted) * costs.finish / 3600,
        wall=makespan(lengths.tolist(), _GPUS) / 3600,
    )


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
    axes.set_title(f"at {_TIMED_SIDE} (measured)")


def _draw_plans(axes: Axes, plans: Sequence[Plan]) -> None:
    rates = [each.rate for each in plans]
    walls = [each.wall for each in plans]
    passes = [each.passes / _GPUS for each in plans]
    axes.loglog(rates, walls, "o-", markersize=3.5, color=COLOURS[0], label="all of it")
    axes.plot(rates, passes, color="#555555", linestyle=":", label="the passes alone")
    axes.set_xticks([*_RATES, _PEAK])
    axes.set_xticklabels([*map(str, _RATES), f"peak {_PEAK}"])
    ticks = [0.1, 0.3, 1, 3, 10, 30, 100, 300]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(0.8 * min(passes), 1.25 * max(walls))
    axes.set_xlabel("TFLOP/s that a GPU sustains")
    axes.set_ylabel(f"hours on {_GPUS} GPUs")
    axes.set_title("the plan (no GPU was timed)")


def _first(shares: pd.Series, share: float) -> int:
    return int((shares >= share).idxmax())


def readable(plans: Sequence[Plan]) -> pd.DataFrame:
    """Return the plans as text for people."""
    return pd.DataFrame(
        [
            {
                "TFLOP/s": f"{each.rate:g}" + (" (peak)" if each.rate == _PEAK else ""),
                "GPU hours: passes": f"{each.passes:.0f}",
                "waiting for images": f"{each.waiting:.1f}",
                "building, preparing": f"{each.starting:.1f}",
                "intervals, files": f"{each.finishing:.1f}",
                "in all": f"{each.gpu_hours:.0f}",
                f"hours on {_GPUS} GPUs": f"{each.wall:.1f}",
                "over an even share": f"{each.excess:.1%}",
                f"at {_PRICE:g} USD a GPU hour": f"{_PRICE * each.gpu_hours:,.0f}",
            }
            for each in plans
        ]
    )


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
        f"{_PEAK} TFLOP/s is the float32 peak of NVIDIA's data sheets for H100 and H200, an upper "
        f"bound. Assumed, too: {_PRICE:g} USD a GPU hour, {_THREADS} threads per GPU that make "
        f"images ready, {8 * _BANDWIDTH / 1e9:g} Gbit/s.",
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
        f"{download / _BANDWIDTH / 3600:.1f} hours, and the same on disk.",
        f"Measured on a CPU at {_TIMED_SIDE}, in processor time ({torch.get_num_threads()} "
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
    times = time_networks(sample(counted, size.timed), output).merge(counted, on="network")
    times["operations"] = operations(times, "own")
    times["rate"] = times["operations"] / times["image"]
    weighed = kept(output / "results.json", vars(size), partial(weigh, size))
    beside = costs(times, weighed)
    plans = [plan(counted, beside, rate) for rate in (*_RATES, _PEAK)]
    publish(
        output,
        "sweep_cost",
        counted.merge(times[["network", "build", "prepare", "image"]], on="network", how="left"),
        readable(plans),
        remarks(counted, len(names), times, weighed),
        draw(counted, times, plans),
        {
            **vars(size),
            "images": _IMAGES,
            "gpus": _GPUS,
            "costs": {**vars(beside), "start": dict(beside.start)},
            "plans": [vars(each) for each in plans],
        },
    )


if __name__ == "__main__":
    run(main)
