"""Everything that needs a GPU, in one call and one table.

Claim: on a card the results are those of a CPU, and they come at least 10 times as fast as by the
published procedure for RepLKNet-31B at 1024 pixels, 20 times in bfloat16.

Method: these parts, in this order: the card's own rates; maps against the CPU's per family of
networks; the published procedure; the Triton kernel against torch's convolution, with its
registers; all depthwise algorithms by shape; whole calls; what each precision does to the ratios;
batches from memory and their halving; decisions; peak memory; two processes on one card. What fails
is told in a line, and the rest goes on. The table is written after each case, and nothing is begun
after ``--minutes``. Without a card the CPU stands in, with ``--quick``.

Refuted by: a map that differs by more than float32 differs from float64, or a smaller ratio.

Found (one H100, torch 2.11; the parts up to the whole calls, some 13 minutes in all). Right: maps
of eight families are the CPU's to 1e-6 where no ReLU rounds values to zero (ConvNeXt, Swin, ViT,
UniRepLKNet, SLaK), to 1e-3 in ResNet-50 and RepLKNet-31B, to 4e-3 in folded EfficientNet-Lite0; the
Triton kernel is as exact as torch in bfloat16 and float16, 3e-4 in TF32, with 34 to 64 registers
and no spills. A depthwise layer of 31x31 on 256x256: 0.51 ms by FFT in float32 where torch takes
2.5 and its gradient 4.4; in bfloat16 0.41 by Triton and 2.9. Not fast enough: RepLKNet-31B at 1024
takes 61 ms a map against 108 as published (1.8 times; 38 % of the card's float32 rate of 51
TFLOP/s, so that 10 times is out of reach), in TF32 45 against 75, in bfloat16 38 (2.9 times);
ResNet-101 and Swin-B gain nothing. Whole calls of 50 images were slower than the published loop,
0.5 to 1.1 times: why, was not profiled (preparing images, fields and proofs of a call are not the
card's work). In bfloat16 RepLKNet-31B did not fit with 50 images, since what a failed batch held
was not let go of; that, the refusal of all faster ways for networks with large kernels, and timings
of algorithms for each size of batch were mended after the run, and have not been on a card since.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from analyses import gpu_kernels, gpu_networks
from analyses.gpu_bench import Bench, Case, small
from analyses.programs import Device, Output, Quick, publish, run
from erf_tools.errors import UsageError, suggestion
from erf_tools.failures import Failures
from erf_tools.figures import COLOURS, PAGE, draw_grid, own_style
from erf_tools.kernels.devices import choose_device, device_name
from erf_tools.tables import write_csv

#: The parts of the program, in this order.
PARTS: dict[str, Callable[[Bench], Iterator[Case]]] = {
    part.__name__.replace("_", " "): part
    for part in (
        gpu_kernels.rates,
        gpu_networks.agreement,
        gpu_networks.published,
        gpu_kernels.kernel,
        gpu_kernels.depthwise,
        gpu_networks.whole_calls,
        gpu_networks.precision,
        gpu_networks.batches,
        gpu_networks.decisions,
        gpu_networks.memory,
        gpu_networks.two_processes,
    )
}

_COLUMNS = ["part", "case", "what", "value", "unit"]


def measure(
    bench: Bench, parts: Sequence[str], minutes: float, table: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Run parts until they or the minutes are over.

    Args:
        bench: on what, and how large.
        parts: names of :data:`PARTS`.
        minutes: after which nothing is begun.
        table: a CSV file, written anew after each case.

    Returns:
        A row per number, with the columns ``part``, ``case``, ``what``, ``value`` and ``unit``; and
        a sentence per case that failed or was not begun.
    """
    end = time.monotonic() + 60 * minutes
    rows: list[dict[str, object]] = []
    failures, late = Failures(), []
    for part in parts:
        for case, read in PARTS[part](bench):
            if time.monotonic() > end:
                late.append(f"{part}: {case}")
                continue
            typer.echo(f"{part}: {case} [{60 * minutes - end + time.monotonic():.0f} s]")
            with failures.alone(f"{part}, {case}"):
                for reading in read():
                    rows.append({"part": part, "case": case, **reading._asdict()})
                    typer.echo(f"    {reading.what}: {reading.value:.4g} {reading.unit}")
            write_csv(pd.DataFrame(rows, columns=_COLUMNS), table)
            gc.collect()
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
    told = [str(failure) for failure in failures]
    if late:
        told.append(f"Not begun within {minutes:g} minutes: {'; '.join(late)}.")
    return pd.DataFrame(rows, columns=_COLUMNS), told


def draw(table: pd.DataFrame) -> Figure:
    """Draw how many times as fast maps are, and what the depthwise algorithms take."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.42), layout="constrained")
        left, right = figure.subplots(1, 2)
        own = table[table["what"] == "published procedure: ratio"]
        left.barh(own["case"], own["value"], color=COLOURS[0])
        left.invert_yaxis()
        left.set_xlabel("times as fast as the published procedure")
        left.tick_params(axis="y", labelsize=5)
        _draw_depthwise(right, table[table["part"] == "depthwise"])
        for axes in (left, right):
            draw_grid(axes)
        return figure


def _draw_depthwise(axes: Axes, table: pd.DataFrame) -> None:
    own = table[table["unit"] == "ms"]
    cases = list(dict.fromkeys(own["case"]))
    for colour, (what, rows) in zip(COLOURS, own.groupby("what", sort=False), strict=False):
        label = str(what).partition(":")[0]
        places = [cases.index(case) for case in rows["case"]]
        axes.semilogx(rows["value"], places, "o", color=colour, label=label, ms=3)
    axes.set_yticks(range(len(cases)), cases, fontsize=5)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of a depthwise layer")
    if cases:
        axes.legend()


def main(
    quick: Quick = False,
    minutes: Annotated[float, typer.Option(min=0, help="After which nothing is begun.")] = 8,
    device: Device = "auto",
    part: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(PARTS)}; repeatable.", show_default="all"),
    ] = None,
    output: Output = Path("results/gpu"),
) -> None:
    """Try, prove and time on a card all that needs one."""
    for name in part or ():
        if name not in PARTS:
            raise UsageError(f"--part: there is no part {name!r}: {suggestion(name, PARTS)}")
    target = choose_device(device, nn.Module())
    bench = small(target) if quick else Bench(target)
    table, told = measure(bench, part or list(PARTS), minutes, output / "gpu.csv")
    shown = table.astype({"value": object})
    shown["value"] = [f"{value:.4g}" for value in table["value"]]
    publish(
        output,
        "gpu",
        table,
        shown,
        [f"{device_name(target)}, torch {torch.__version__}.", *told],
        draw(table),
        {"device": device_name(target), "quick": quick, "minutes": minutes},
    )


if __name__ == "__main__":
    run(main)
