"""What a large depthwise kernel costs: parameters, operations, and time on this machine.

Claim: depthwise, large kernels add little to a network's size, since its 1x1 convolutions dominate
(from 3x3 to 31x31, RepLKNet grows by 10.4 % in parameters and 18.6 % in FLOPs); and time grows less
than the operations do, since each value that is loaded serves more of them: the arithmetic density,
operations per second, rises by up to 71 times from 3x3 to 31x31 (RepLKNet paper, guideline 1;
latencies of a GTX 2080 Ti in Zhang et al., arXiv:2410.08049, Table 1).

Method: parameters and multiplications of RepLKNet-31B are counted, layer by layer, with its kernels
replaced. Depthwise layers of the published shapes are then timed in turns, after a check that all
ways give the same map: torch's convolution in both memory formats, one plain FFT, and
:class:`erf_tools.DepthwiseConv2d`. The shortest time of each counts: what else the machine does can
only add to it.

Refuted by: a share of the large kernels that dominates; time that grows as the operations do.

Found (``--quick``; two CPU cores without AVX-512; no GPU was at hand): from 3x3 to 31-29-27-13 the
merged RepLKNet-31B grows by 10.6 % in parameters and 18.7 % in multiplications, of which its large
kernels then are 9.7 and 15.9 %; with the 51x51 kernels of SLaK it would be 31 and 54 %. Time does
not follow the operations, but how it does depends on the implementation: torch's own convolution
gains a density of at most 5 times that of 3x3 in its default memory format, the library's 57 times,
51x51 on 16x16 maps. On 64x64 maps 51x51 takes torch 1,090 ms, or 151 ms in channels_last, one FFT
44 ms and the library 20 ms. The published GPU latencies reach 71 times, on 16x16 maps, and 17 on
64x64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from analyses.programs import Device, Output, Quick, publish, run
from analyses.timing import duration
from erf_tools import DepthwiseConv2d
from erf_tools.errors import ErfToolsError
from erf_tools.figures import COLOURS, PAGE, draw_grid, line_styles, own_style
from erf_tools.kernels.devices import choose_device, copy_on_device, device_name
from erf_tools.models.replknet import VARIANTS, RepLKNet
from erf_tools.tables import write_csv

#: Kernel sizes of the four stages; those of the paper, then those of SLaK (Liu et al., ICLR 2023).
_STAGES = (
    (3, 3, 3, 3),
    (7, 7, 7, 7),
    (13, 13, 13, 13),
    (25, 25, 25, 13),
    (31, 29, 27, 13),
    (51, 49, 47, 13),
)
_RESOLUTIONS = (224, 1024)

_CHANNELS = 384
_PUBLISHED_KERNELS = (3, 5, 7, 9, 13, 17, 21, 27, 29, 31)

#: Milliseconds of 24 layers on [64, 384, side, side] maps, float32, GTX 2080 Ti: side -> kernels.
#: Zhang et al., arXiv:2410.08049, Table 1, read in a text of the paper; "ours" there.
PUBLISHED_LATENCY = {
    16: (5.6, 6.5, 6.4, 6.9, 7.5, 8.4, 8.4, 8.4, 8.3, 8.4),
    32: (21.9, 28.7, 34.6, 40.6, 52.5, 64.5, 73.9, 87.9, 92.7, 96.7),
    64: (69.6, 112.6, 130.7, 152.6, 199.7, 251.5, 301.0, 378.2, 406.0, 431.7),
}

_WAYS = ("torch, NCHW", "torch, channels_last", "FFT", "erf-tools")


@dataclass(frozen=True)
class Shapes:
    """Which layers are timed.

    Attributes:
        kernel_sizes: sides of the kernels.
        sides: of the maps.
        batch: images at once.
        repeats: of each.
    """

    kernel_sizes: tuple[int, ...]
    sides: tuple[int, ...]
    batch: int
    repeats: int


QUICK = Shapes((3, 7, 13, 31, 51), (16, 32, 64), batch=1, repeats=4)


def count(kernel_sizes: tuple[int, int, int, int], resolution: int) -> dict[str, Any]:
    """Count RepLKNet-31B with other kernels, merged: all of it, and its depthwise blocks alone.

    Args:
        kernel_sizes: of the four stages.
        resolution: side of the input, in pixels.

    Returns:
        ``parameters`` and ``macs`` (multiplications and additions of convolutions and head), and
        the same of the large depthwise kernels as ``large_parameters`` and ``large_macs``.
    """
    with torch.device("meta"):
        network = RepLKNet(replace(VARIANTS["31b"], kernel_sizes=kernel_sizes), merged=True)
    macs: dict[nn.Module, int] = {}

    def note(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight: Any = layer.weight
        macs[layer] = output.numel() * weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(note)
    network.eval()(torch.empty(1, 3, resolution, resolution, device="meta"))
    large = [layer for name, layer in network.named_modules() if name.endswith("lkb_reparam")]
    return {
        "kernels": "-".join(map(str, kernel_sizes)),
        "resolution": resolution,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": sum(macs.values()),
        "large_parameters": sum(p.numel() for layer in large for p in layer.parameters()),
        "large_macs": sum(macs[layer] for layer in large),
    }


def counts() -> pd.DataFrame:
    """Return a row per set of kernels and resolution; see :func:`count`."""
    return pd.DataFrame(
        [count(kernels, resolution) for resolution in _RESOLUTIONS for kernels in _STAGES]
    )


def by_fft(features: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    """Return the depthwise convolution of a map as products of spectra, that of the kernel kept."""
    height, width = features.shape[2:]
    reach = weight.shape[2] // 2
    size = (height + 2 * reach, width + 2 * reach)
    spectrum = torch.fft.rfft2(weight[:, 0], s=size).conj()

    def convolve() -> Tensor:
        padded = F.pad(features, [reach] * 4)
        product = torch.fft.rfft2(padded) * spectrum
        return torch.fft.irfft2(product, s=size)[..., :height, :width]

    return convolve


def ways(kernel_size: int, features: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return four ways to the same depthwise convolution of ``[N, C, H, W]``, ready to run."""
    channels = features.shape[1]
    layer = DepthwiseConv2d(
        channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False
    ).to(features.device)
    weight = layer.weight
    last = features.contiguous(memory_format=torch.channels_last)

    def direct(maps: Tensor) -> Tensor:
        return F.conv2d(maps, weight, padding=kernel_size // 2, groups=channels)

    found = (
        lambda: direct(features),
        lambda: direct(last),
        by_fft(features, weight),
        lambda: layer(last),
    )
    return dict(zip(_WAYS, found, strict=True))


def time_layers(shapes: Shapes, device: torch.device) -> pd.DataFrame:
    """Time depthwise layers of each shape in each way.

    Returns:
        Columns ``side``, ``kernel_size``, ``way``, ``seconds`` (shortest) and ``rate``: operations
        of the direct convolution per second.

    Raises:
        ErfToolsError: two ways give different maps.
    """
    rows = []
    cells = [(side, kernel) for side in shapes.sides for kernel in shapes.kernel_sizes]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for side, kernel_size in tqdm(cells, unit="layer", disable=None):
            size = (shapes.batch, _CHANNELS, side, side)
            features = torch.randn(size, generator=generator).to(device)
            found = ways(kernel_size, features)
            expected = found[_WAYS[0]]()
            times: dict[str, list[float]] = {way: [] for way in found}
            for way, convolve in found.items():
                difference = float((convolve() - expected).norm() / expected.norm())
                if not difference < 1e-4:
                    raise ErfToolsError(
                        f"{way} differs from {_WAYS[0]} by {difference:.2g} for a kernel of "
                        f"{kernel_size}; nothing is timed"
                    )
            for _ in range(shapes.repeats):
                for way, convolve in found.items():
                    times[way].append(duration(convolve, device))
            operations = 2 * expected.numel() * kernel_size**2
            for way, seconds in times.items():
                rows.append(
                    {
                        "side": side,
                        "kernel_size": kernel_size,
                        "way": way,
                        "seconds": min(seconds),
                        "rate": operations / min(seconds),
                    }
                )
    return pd.DataFrame(rows)


def density(times: pd.DataFrame, way: str) -> pd.DataFrame:
    """Return how many times the rate of a 3x3 kernel each kernel reaches, in one way.

    Returns:
        Columns ``side``, ``kernel_size`` and ``density``.
    """
    own = times[times["way"] == way].copy()
    smallest = own[own["kernel_size"] == 3].set_index("side")["rate"]
    own["density"] = own["rate"] / own["side"].map(smallest)
    return own[["side", "kernel_size", "density"]].reset_index(drop=True)


def published_density() -> pd.DataFrame:
    """Return :func:`density` of the published latencies."""
    rows = []
    for side, latencies in PUBLISHED_LATENCY.items():
        for kernel_size, latency in zip(_PUBLISHED_KERNELS, latencies, strict=True):
            operations = (kernel_size / _PUBLISHED_KERNELS[0]) ** 2
            found = operations * latencies[0] / latency
            rows.append({"side": side, "kernel_size": kernel_size, "density": found})
    return pd.DataFrame(rows)


def draw(counted: pd.DataFrame, times: pd.DataFrame) -> Figure:
    """Draw sizes by kernels, times by kernel, and densities beside the published ones."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.48), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _draw_counts(left, counted)
        _draw_times(middle, times)
        _draw_densities(right, times)
        for axes in (middle, right):
            kernels = sorted(times["kernel_size"].unique())
            axes.set_xscale("log")
            axes.set_xticks(kernels, [str(kernel) for kernel in kernels])
            axes.set_xlabel("kernel side")
            axes.xaxis.minorticks_off()
            axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2))
        left.legend(loc="upper left")
        for axes in (left, middle, right):
            draw_grid(axes)
        return figure


def _draw_counts(axes: Axes, counted: pd.DataFrame) -> None:
    own = counted[counted["resolution"] == _RESOLUTIONS[0]]
    places = range(len(own))
    for shift, kind, colour, words in (
        (-0.2, "parameters", COLOURS[0], "parameters"),
        (0.2, "macs", COLOURS[1], "multiplications"),
    ):
        smallest = own[kind].iloc[0]
        rest = (own[kind] - own[f"large_{kind}"]) / smallest
        large = own[f"large_{kind}"] / smallest
        bars = [place + shift for place in places]
        axes.bar(bars, rest, 0.38, color=colour, alpha=0.35)
        axes.bar(bars, large, 0.38, bottom=rest, color=colour, label=f"{words}: large kernels")
    axes.set_xticks(places, own["kernels"].str.partition("-")[0])
    axes.set_ylim(0, 2.2)
    axes.set_xlabel("kernel side in the first stage")
    axes.set_ylabel("size, with 3x3 kernels = 1")
    axes.set_title(f"RepLKNet-31B at {_RESOLUTIONS[0]}")


def _draw_times(axes: Axes, times: pd.DataFrame) -> None:
    side = times["side"].max()
    own = times[times["side"] == side]
    for way, line, marker in zip(_WAYS, line_styles(len(_WAYS)), "osD^", strict=True):
        rows = own[own["way"] == way]
        drawn = {"label": way, "marker": marker, "markersize": 3.5, **line}
        axes.loglog(rows["kernel_size"], 1e3 * rows["seconds"], **drawn)
    kernels = own["kernel_size"].drop_duplicates()
    start = 1e3 * own[own["way"] == _WAYS[0]]["seconds"].iloc[0]
    axes.plot(kernels, start * (kernels / 3) ** 2, color="#555555", linestyle=":", label="as $k^2$")
    axes.set_ylabel("milliseconds")
    axes.set_title(f"{_CHANNELS} channels, {side}x{side}")


def _draw_densities(axes: Axes, times: pd.DataFrame) -> None:
    published = published_density()
    sides = sorted(times["side"].unique())
    ours = density(times, _WAYS[-1])
    for side, line, marker in zip(sides, line_styles(len(sides)), "osD^", strict=False):
        rows = ours[ours["side"] == side]
        label = f"{side}x{side}, erf-tools here"
        axes.loglog(
            rows["kernel_size"], rows["density"], label=label, marker=marker, markersize=3.5, **line
        )
        rows = published[published["side"] == side]
        if len(rows):
            axes.plot(rows["kernel_size"], rows["density"], **{**line, "linestyle": ":"})
    axes.plot([], [], color="#555555", linestyle=":", label="published, 2080 Ti")
    axes.set_ylabel("operations per second, 3x3 = 1")
    axes.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.yaxis.minorticks_off()
    axes.set_title("arithmetic density")


def readable(counted: pd.DataFrame) -> pd.DataFrame:
    """Return the counts as text for people."""
    first = counted.groupby("resolution")[["parameters", "macs"]].transform("first")
    return pd.DataFrame(
        {
            "Kernels": counted["kernels"],
            "Resolution": counted["resolution"].map(str),
            "Parameters, M": (counted["parameters"] / 1e6).map("{:.1f}".format),
            "over 3x3": (counted["parameters"] / first["parameters"] - 1).map("{:+.1%}".format),
            "in large kernels": (counted["large_parameters"] / counted["parameters"]).map(
                "{:.1%}".format
            ),
            "GMAC": (counted["macs"] / 1e9).map("{:.1f}".format),
            "GMAC over 3x3": (counted["macs"] / first["macs"] - 1).map("{:+.1%}".format),
            "GMAC in large kernels": (counted["large_macs"] / counted["macs"]).map("{:.1%}".format),
        }
    )


def remarks(times: pd.DataFrame, device: str) -> list[str]:
    """Return what was measured, in sentences."""
    found = [
        "Merged form: each large kernel one biased convolution. The paper says +10.4 % parameters "
        "and +18.6 % FLOPs from 3x3 to 31-29-27-13 at 224 (as quoted in a secondary text).",
        f"Times: {device}, float32, {_CHANNELS} channels, shortest of several.",
    ]
    largest = times["kernel_size"].max()
    for side in sorted(times["side"].unique()):
        own = times[(times["side"] == side) & (times["kernel_size"] == largest)]
        seconds = own.set_index("way")["seconds"]
        found.append(
            f"{largest}x{largest} on {side}x{side}: "
            + ", ".join(f"{way} {1e3 * seconds[way]:.3g} ms" for way in _WAYS)
            + "."
        )
    for way in (_WAYS[0], _WAYS[-1]):
        best = density(times, way).sort_values("density").iloc[-1]
        found.append(
            f"Highest density of {way}: {best['density']:.1f} times that of 3x3, "
            f"{best['kernel_size']:.0f}x{best['kernel_size']:.0f} on "
            f"{best['side']:.0f}x{best['side']:.0f}."
        )
    published = published_density()
    best = published.sort_values("density").iloc[-1]
    found.append(
        f"Published (2080 Ti): up to {best['density']:.0f} times, "
        f"{best['kernel_size']:.0f}x{best['kernel_size']:.0f} on "
        f"{best['side']:.0f}x{best['side']:.0f} maps."
    )
    return found


def main(
    quick: Quick = False,
    device: Device = "auto",
    output: Output = Path("results/kernel_cost"),
) -> None:
    """Count what large kernels add to RepLKNet, and time depthwise layers on this machine."""
    target = choose_device(device, nn.Identity())
    batch = 64 if target.type == "cuda" else 1
    whole = Shapes((*_PUBLISHED_KERNELS, 51), tuple(PUBLISHED_LATENCY), batch, repeats=9)
    shapes = replace(QUICK, batch=batch) if quick else whole
    counted = counts()
    with copy_on_device(nn.Identity(), target):
        times = time_layers(shapes, target)
    name = device_name(target)
    write_csv(times, output / "kernel_times.csv")
    publish(
        output,
        "kernel_cost",
        counted,
        readable(counted),
        remarks(times, name),
        draw(counted, times),
        {**vars(shapes), "channels": _CHANNELS, "device": name, "threads": torch.get_num_threads()},
    )


if __name__ == "__main__":
    run(main)
