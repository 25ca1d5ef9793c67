"""How the ERF grows with kernel size and depth: a hundred 3x3 layers, or a few 31x31?

Claim: the ERF grows as kernel size times the root of the depth (Luo et al., NeurIPS 2016; RepLKNet
paper, section 1), so that enlarging kernels pays and stacking layers hardly does.

Method: random networks of depthwise kernels at full resolution, where nothing else widens the ERF,
with no shortcut, with a shortcut that weighs as much as the branch, and with the shortcut of
networks that are normalised before each branch (see :mod:`analyses.depthwise_networks`). The
effective side is measured with the library, over seeds; exponents of kernel size and depth are
fitted by least squares on logarithms, with 95 % intervals (Student's t over the networks). The size
of Luo et al., the extent, is fitted as well. Curves are the closed form, not fits.

Refuted by: an exponent of the kernel below 1, or of the depth not 1/2.

Found (``--quick``: kernels 3 to 31, depths 2 to 100, two seeds, two CPU cores; the whole form was
not run): both hold without a shortcut, k^1.00 [0.93, 1.08] d^0.53 [0.48, 0.57], and with one that
weighs as much as the branch, k^1.00 [0.94, 1.05] d^0.49 [0.46, 0.52]. They do not where a norm
stands before each branch, as in RepLKNet and most networks today: d^0.19 [0.15, 0.23], since a
block adds the less, the more the stream has gathered (the expected number of kernels passed grows
as the logarithm of the depth), while the kernel's exponent stays, k^1.00 [0.90, 1.10]. The closed
form is met (median ratio 1.00). A hundred 3x3 layers see 29, 18 and 6 pixels in the three wirings;
two layers of 31x31 see more than that in each, and five or six of 13x13 do in the first two. The
extent of Luo et al. gives the same exponents where there is no shortcut; with one it hangs on the
peak that the shortcut makes, and the kernel's exponent falls to 0.80 [0.73, 0.87].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, isfinite, log, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student
from tqdm import tqdm

import erf_tools
from analyses.depthwise_networks import (
    WIRINGS,
    WORDS,
    DepthwiseNetwork,
    Wiring,
    expected_map,
    shares,
)
from analyses.programs import Output, Quick, kept, publish, run
from erf_tools.erf.measures.families.squares import effective_side
from erf_tools.figures import PAGE, draw_grid, line_styles, own_style
from erf_tools.statistics import CONFIDENCE, Estimate
from erf_tools.tables import estimate_text

_CHANNELS = 8

#: Sides below this many pixels are rounded too coarsely for a fit.
_SMALLEST = 9

#: The stack that the question is about.
_STACK = (3, 100)

_MARKERS = "osD^vPX"


@dataclass(frozen=True)
class Grid:
    """Which networks are measured.

    Attributes:
        kernel_sizes: sides of the kernels.
        depths: numbers of blocks.
        seeds: how many networks of each.
        largest: side of the largest input, in pixels; networks whose ERF needs more are left out.
    """

    kernel_sizes: tuple[int, ...]
    depths: tuple[int, ...]
    seeds: int
    largest: int


WHOLE = Grid((3, 5, 7, 13, 21, 31, 51), (2, 4, 8, 16, 32, 64, 100), seeds=5, largest=1024)
QUICK = Grid((3, 7, 13, 31), (2, 8, 32, 100), seeds=2, largest=256)


@dataclass(frozen=True)
class PowerLaw:
    """A fit ``side = factor * kernel ** a * depth ** b``.

    Attributes:
        kernel: the exponent a.
        depth: the exponent b.
        networks: how many it rests on.
    """

    kernel: Estimate
    depth: Estimate
    networks: int


def input_side(kernel_size: int, depth: int, wiring: Wiring) -> int:
    """Return the side of an input that holds the ERF: four effective sides, or the field."""
    field = (kernel_size - 1) * depth + 1
    passed = sum(shares(wiring, depth))
    # A Gaussian of the root of the mean square; see the fits.
    expected = 0.86 * sqrt(passed * (kernel_size**2 - 1))
    return 16 * ceil(min(field + 2, max(4 * expected, 2 * kernel_size)) / 16)


def measure_network(kernel_size: int, depth: int, wiring: Wiring, seed: int) -> dict[str, Any]:
    """Return the sizes of one random network's ERF, in pixels, and the closed form's."""
    network = DepthwiseNetwork(kernel_size, depth, wiring, _CHANNELS, seed=seed).eval()
    side = input_side(kernel_size, depth, wiring)
    sizes = {
        protocol: erf_tools.effective_receptive_field(
            network, num_images=1, resolution=side, protocol=protocol, seed=seed
        ).measures
        for protocol in ("ding2022", "luo2016")
    }
    expected = expected_map(kernel_size, shares(wiring, depth), side)
    return {
        "resolution": side,
        "effective_side": sizes["ding2022"].effective_side,
        "extent_luo2016": sizes["luo2016"].extent,
        "expected_side": effective_side(expected),
    }


def measure(grid: Grid, output: Path) -> pd.DataFrame:
    """Return a row per network: wiring, kernel size, depth, seed and sizes in pixels."""
    cells = list(_cells(grid))
    rows = []
    for wiring, kernel_size, depth, seed in tqdm(cells, unit="network", disable=None):
        setting = {
            "wiring": wiring,
            "kernel_size": kernel_size,
            "depth": depth,
            "seed": seed,
            "channels": _CHANNELS,
        }
        found = kept(
            output / "networks" / f"{wiring}_{kernel_size}_{depth}_{seed}.json",
            setting,
            partial(measure_network, kernel_size, depth, wiring, seed),
        )
        rows.append({**setting, **found})
    return pd.DataFrame(rows)


def _cells(grid: Grid) -> Iterator[tuple[Wiring, int, int, int]]:
    for wiring in WIRINGS:
        for kernel_size in grid.kernel_sizes:
            for depth in grid.depths:
                if input_side(kernel_size, depth, wiring) <= grid.largest:
                    for seed in range(grid.seeds):
                        yield wiring, kernel_size, depth, seed


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean sizes of each wiring, kernel size and depth, and how much seeds differ."""
    groups = table.groupby(["wiring", "kernel_size", "depth"], sort=False)
    found = groups[["resolution", "effective_side", "extent_luo2016", "expected_side"]].mean()
    found["lowest"] = groups["effective_side"].min()
    found["highest"] = groups["effective_side"].max()
    return found.reset_index()


def fit(cells: pd.DataFrame, measure: str) -> PowerLaw:
    """Fit a power law to the cells of one wiring whose size is at least nine pixels.

    Args:
        cells: with the columns ``kernel_size``, ``depth`` and ``measure``.
        measure: the size that is fitted.

    Returns:
        Exponents with 95 % intervals; NaN with fewer than four cells.
    """
    used = cells[cells[measure] >= _SMALLEST]
    if len(used) < 4 or used["kernel_size"].nunique() < 2 or used["depth"].nunique() < 2:
        return PowerLaw(Estimate(nan), Estimate(nan), len(used))
    logarithms = np.log(used[["kernel_size", "depth"]].to_numpy(float))
    design = np.column_stack([logarithms, np.ones(len(used))])
    target = np.log(used[measure].to_numpy(float))
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    freedom = len(used) - design.shape[1]
    variance = ((target - design @ solution) ** 2).sum() / freedom
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    half = errors * student.ppf((1 + CONFIDENCE) / 2, freedom)
    kernel, depth = (
        Estimate(float(value), float(value - width), float(value + width))
        for value, width in zip(solution[:2], half[:2], strict=True)
    )
    return PowerLaw(kernel, depth, len(used))


def layers_needed(cells: pd.DataFrame, target: float) -> pd.DataFrame:
    """Return for each kernel size how many layers give an effective side of ``target`` pixels.

    Args:
        cells: of one wiring.
        target: in pixels.

    Returns:
        Columns ``kernel_size`` and ``layers``: interpolated on logarithms; the smallest depth
        measured where that is enough already, infinite where the largest is not.
    """
    rows = []
    for kernel_size, group in cells.sort_values("depth").groupby("kernel_size"):
        sides, depths = group["effective_side"].to_numpy(), group["depth"].to_numpy()
        if sides.max() < target:
            layers = inf
        elif sides[0] >= target:
            layers = float(depths[0])
        else:
            rising = np.maximum.accumulate(sides)
            layers = float(np.exp(np.interp(log(target), np.log(rising), np.log(depths))))
        rows.append({"kernel_size": kernel_size, "layers": layers})
    return pd.DataFrame(rows)


def draw(cells: pd.DataFrame) -> Figure:
    """Draw side against depth for each kernel, and against kernel times root of depth."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_depths(left, cells[cells["wiring"] == "residual"])
        _draw_collapse(right, cells)
        for axes in (left, right):
            axes.set_ylabel("effective side, pixels")
            axes.set_yticks([3, 10, 30, 100, 300], ["3", "10", "30", "100", "300"])
            axes.set_ylim(2.5, 1.3 * cells["effective_side"].max())
            axes.minorticks_off()
            draw_grid(axes)
        return figure


def _draw_depths(axes: Axes, cells: pd.DataFrame) -> None:
    kernel_sizes = sorted(cells["kernel_size"].unique())
    lines = line_styles(len(kernel_sizes))
    for kernel_size, line, marker in zip(kernel_sizes, lines, _MARKERS, strict=False):
        own = cells[cells["kernel_size"] == kernel_size]
        axes.loglog(own["depth"], own["expected_side"], **{**line, "linewidth": 0.8})
        axes.plot(
            own["depth"],
            own["effective_side"],
            label=f"{kernel_size}x{kernel_size}",
            color=line["color"],
            marker=marker,
            markersize=4,
            linestyle="none",
        )
    depths = sorted(cells["depth"].unique())
    axes.set_xticks(depths, [str(depth) for depth in depths])
    stack = _side_of(cells, *_STACK)
    if stack:
        label = f"{_STACK[1]} x {_STACK[0]}x{_STACK[0]}: {stack:.0f} px"
        axes.axhline(stack, color="#555555", linestyle=":", linewidth=1, label=label)
    axes.set_xlabel("layers")
    axes.set_title("shortcut, 1 : 1 (lines: closed form)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _draw_collapse(axes: Axes, cells: pd.DataFrame) -> None:
    for wiring, line, marker in zip(WIRINGS, line_styles(len(WIRINGS)), _MARKERS, strict=False):
        own = cells[cells["wiring"] == wiring]
        law = fit(own, "effective_side")
        axes.loglog(
            own["kernel_size"] * np.sqrt(own["depth"]),
            own["effective_side"],
            label=f"{WORDS[wiring]}: $k^{{{law.kernel.value:.2f}}} d^{{{law.depth.value:.2f}}}$",
            color=line["color"],
            marker=marker,
            markersize=3.5,
            linestyle="none",
        )
    ends = np.array(axes.get_xlim())
    axes.plot(ends, 0.86 * ends, color="#555555", linestyle=":", label="$0.86\\, k\\, d^{0.5}$")
    axes.set_xticks([3, 10, 30, 100, 300], ["3", "10", "30", "100", "300"])
    axes.set_xlim(*ends)
    axes.set_xlabel("kernel side k times root of depth d")
    axes.set_title("all wirings")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _side_of(cells: pd.DataFrame, kernel_size: int, depth: int) -> float | None:
    found = cells[(cells["kernel_size"] == kernel_size) & (cells["depth"] == depth)]
    return float(found["effective_side"].iloc[0]) if len(found) else None


def readable(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a row per wiring and measure with both exponents, as text."""
    rows = []
    for wiring in WIRINGS:
        own = cells[cells["wiring"] == wiring]
        for measure, words in (
            ("effective_side", "effective side, ding2022"),
            ("extent_luo2016", "extent, luo2016"),
            ("expected_side", "effective side, closed form"),
        ):
            law = fit(own, measure)
            rows.append(
                {
                    "Wiring": WORDS[wiring],
                    "Size": words,
                    "Networks": str(law.networks),
                    "Exponent of the kernel": estimate_text(law.kernel, "{:.2f}".format),
                    "Exponent of the depth": estimate_text(law.depth, "{:.2f}".format),
                }
            )
    return pd.DataFrame(rows)


def remarks(cells: pd.DataFrame) -> list[str]:
    """Return the answer to the question, in sentences."""
    found = [
        "Exponents of side = c kernel^a depth^b with 95 % intervals over networks; sides below "
        f"{_SMALLEST} pixels are left out of the fit."
    ]
    for wiring in WIRINGS:
        own = cells[cells["wiring"] == wiring]
        target = _side_of(own, *_STACK)
        if target is None:
            continue
        needed = ", ".join(
            f"{int(row.kernel_size)}x{int(row.kernel_size)} {_layers(own, row.layers)}"
            for row in layers_needed(own, target).itertuples()
        )
        found.append(
            f"{WORDS[wiring]}: {_STACK[1]} layers of {_STACK[0]}x{_STACK[0]} see {target:.0f} "
            f"pixels; layers needed for that by kernel: {needed}."
        )
    difference = (cells["effective_side"] / cells["expected_side"])[
        cells["expected_side"] >= _SMALLEST
    ]
    found.append(
        f"Measured over closed form: median {difference.median():.2f}, from "
        f"{difference.min():.2f} to {difference.max():.2f}."
    )
    return found


def _layers(cells: pd.DataFrame, layers: float) -> str:
    if not isfinite(layers):
        return f"over {cells['depth'].max()}"
    return f"{layers:.0f}" if layers > cells["depth"].min() else f"{layers:.0f} or fewer"


def main(quick: Quick = False, output: Output = Path("results/erf_scaling")) -> None:
    """Measure how the ERF of random depthwise networks grows with kernel size and depth."""
    grid = QUICK if quick else WHOLE
    table = measure(grid, output)
    cells = over_seeds(table)
    publish(
        output,
        "erf_scaling",
        table,
        readable(cells),
        remarks(cells),
        draw(cells),
        {**vars(grid), "channels": _CHANNELS},
    )


if __name__ == "__main__":
    run(main)
