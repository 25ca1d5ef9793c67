"""The plan of a sweep over all of timm, by the rate of a GPU; see :mod:`analyses.sweep_cost`."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyses.timm_operations import operations

#: The plan: images of each network, and GPUs.
IMAGES, GPUS = 1000, 8

#: Sustained rates of a GPU in TFLOP/s, float32: assumed, and the peak on NVIDIA's data sheets.
RATES, PEAK = (5, 10, 20), 67

#: Assumed: US dollars for an hour of one GPU, bytes per second from the model hub, and threads that
#: make images ready for one GPU.
PRICE, BANDWIDTH, THREADS = 3.0, 125e6, 4


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
        return self.wall * GPUS / self.gpu_hours - 1


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
    image = np.maximum(passes, costs.ready / THREADS)
    start = counted["family"].map(costs.start).fillna(max(costs.start.values()))
    lengths = start + IMAGES * image + costs.finish
    return Plan(
        rate=rate,
        passes=IMAGES * passes.sum() / 3600,
        waiting=IMAGES * (image - passes).sum() / 3600,
        starting=start.sum() / 3600,
        finishing=len(counted) * costs.finish / 3600,
        wall=makespan(lengths.tolist(), GPUS) / 3600,
    )


def readable(plans: Sequence[Plan]) -> pd.DataFrame:
    """Return the plans as text for people."""
    return pd.DataFrame(
        [
            {
                "TFLOP/s": f"{each.rate:g}" + (" (peak)" if each.rate == PEAK else ""),
                "GPU hours: passes": f"{each.passes:.0f}",
                "waiting for images": f"{each.waiting:.1f}",
                "building, preparing": f"{each.starting:.1f}",
                "intervals, files": f"{each.finishing:.1f}",
                "in all": f"{each.gpu_hours:.0f}",
                f"hours on {GPUS} GPUs": f"{each.wall:.1f}",
                "over an even share": f"{each.excess:.1%}",
                f"at {PRICE:g} USD a GPU hour": f"{PRICE * each.gpu_hours:,.0f}",
            }
            for each in plans
        ]
    )
