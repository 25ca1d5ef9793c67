"""How far the large-kernel networks after RepLKNet look, for their parameters and operations.

Claim: large kernels buy a large ERF cheaply, whichever way they are made: a dense kernel (RepLKNet,
UniRepLKNet), two strips (SLaK), wavelets (WTConvNeXt) or dilation (VAN); and kernels up to 51x51
and beyond pay (SLaK paper, Liu et al., ICLR 2023, section 3).

Method: every network is measured beside its control, which is the same network with all depthwise
kernels 3x3, without dilation and wavelets; SLaK-T too with strips of 7, 31, 51 and 61. All are
untrained, of one seed, at one resolution, with LayerScales at one and their BatchNorms settled on
the photographs that are measured (see :func:`analyses.narrow_replknet.settle`). Parameters and
multiply-adds are those of the training form.

Refuted by: a control whose effective side is that of its network; a side that depends on
parameters or operations more than on kernels; SLaK's side not growing from 7 to 61.

Found (the whole form: eight photographs at 512, one seed, eight networks; no intervals): kernels
make the ERF, and size hardly does. Own kernels give 1.75 (WTConvNeXt-T: 149 pixels against 85) to
3.06 times (SLaK-T: 315 against 103) the side of the 3x3 control, which has 1 to 10 % fewer
parameters. Over the eight, the side's rank correlation is 0.38 with parameters and 0.32 with
multiply-adds: UniRepLKNet-A, of 5 million parameters, sees 317 pixels, RepLKNet-31B of 80 million
321. All ways of making a large kernel reach 300 but wavelets, and WTConvNeXt-T stays below
ConvNeXt-T (191). SLaK-T sees 103, 195, 299, 315 and 319 pixels with strips of 3, 7, 31, 51 and 61:
it grows to 61, with most of it gained by 31. In the quick form, two photographs at 256, padding and
the edge hold large ERFs back (1.34 to 1.69 times the control's side, and nothing beyond 31).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod, sqrt
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor, nn
from tqdm import tqdm

import erf_tools
from analyses.narrow_replknet import photographs, settle
from analyses.programs import Output, Quick, kept, publish, run
from erf_tools.figures import COLOURS, PAGE, draw_grid, own_style
from erf_tools.models import slak
from erf_tools.models.initialisation import switch_on_branches
from erf_tools.models.operations import multiply_adds
from erf_tools.models.wtconvnext import WaveletConv

#: The networks, by their name in the catalogue or in timm, and as they are named in the figure.
NETWORKS = {
    "convnext_tiny": "ConvNeXt-T",
    "van_b0": "VAN-B0",
    "van_b1": "VAN-B1",
    "unireplknet_a": "UniRepLKNet-A",
    "unireplknet_t": "UniRepLKNet-T",
    "wtconvnext_t": "WTConvNeXt-T",
    "slak_t": "SLaK-T",
    "replknet31b": "RepLKNet-31B",
}

#: Lengths of SLaK's strips in the four stages (paper, Section 3), beside its own of 51.
STRIPS = {7: (7, 7, 7, 7), 31: (31, 29, 27, 13), 61: (61, 59, 57, 13)}


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        resolution: side of the input, in pixels.
        num_images: photographs.
        networks: names in :data:`NETWORKS`.
    """

    resolution: int
    num_images: int
    networks: tuple[str, ...]


WHOLE = Size(512, 8, tuple(NETWORKS))
QUICK = Size(
    *(256, 2),
    ("convnext_tiny", "van_b0", "unireplknet_a", "wtconvnext_t", "slak_t", "replknet31b"),
)


@torch.no_grad()
def as_control(network: nn.Module) -> nn.Module:
    """Return a copy with all depthwise kernels 3x3, without dilation, and without wavelets.

    A new kernel has as large a sum of squares as the old one is expected to have, so that branches
    weigh as much as before. A kernel made of parallel ones becomes as many parallel 3x3 ones.

    Args:
        network: untrained.
    """
    control = copy.deepcopy(network)
    for name, module in list(control.named_modules()):
        if isinstance(module, WaveletConv):
            _replace(control, name, module.base_conv)
    generator = torch.Generator().manual_seed(0)
    for name, module in list(control.named_modules()):
        if not isinstance(module, nn.Conv2d) or not _reaches_far(module):
            continue
        width, biased = module.in_channels, module.bias is not None
        small = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=biased)
        spread = float(module.weight.std()) * sqrt(prod(module.kernel_size)) / 3
        small.weight.normal_(std=spread, generator=generator)
        if module.bias is not None and small.bias is not None:
            small.bias.copy_(module.bias)
        _replace(control, name, small)
    return control


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def _reaches_far(conv: nn.Conv2d) -> bool:
    """Tell whether a layer is depthwise, keeps the size and sees more than 3x3."""
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1
    sides = zip(conv.kernel_size, conv.dilation, strict=True)
    return depthwise and max(conv.stride) == 1 and max((k - 1) * d for k, d in sides) > 2


def slak_with(kernel_sizes: tuple[int, int, int, int]) -> nn.Module:
    """Return an untrained SLaK-T whose strips have these lengths, one per stage."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = slak.SLaK(replace(slak.VARIANTS["t"], kernel_sizes=kernel_sizes))
    switch_on_branches(network)
    return network.eval()


def measure_network(build: Callable[[], nn.Module], images: Tensor, size: Size) -> dict[str, Any]:
    """Return parameters, multiply-adds and the effective side, in pixels.

    Args:
        build: gives the network, untrained.
        images: normalised, ``[N, 3, H, W]``, which its norms are settled on.
        size: how much is measured.
    """
    network = settle(build(), images)
    side = (size.resolution, size.resolution)
    erf = erf_tools.effective_receptive_field(
        network, num_images=size.num_images, resolution=size.resolution, exact=True
    )
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": multiply_adds(copy.deepcopy(network).to("meta"), side),
        "effective_side": erf.measures.effective_side,
    }


def _untrained(name: str) -> nn.Module:
    return erf_tools.load_model(name, "random").module


def _control_of(name: str) -> nn.Module:
    return as_control(_untrained(name))


def _cases(networks: Sequence[str]) -> dict[tuple[str, str], Callable[[], nn.Module]]:
    """Return how each network is built, by its name and kernels."""
    cases: dict[tuple[str, str], Callable[[], nn.Module]] = {}
    for name in networks:
        shown = NETWORKS[name]
        cases[shown, "own"] = partial(_untrained, name)
        cases[shown, "3x3"] = partial(_control_of, name)
    for length, kernel_sizes in STRIPS.items():
        cases["SLaK-T", str(length)] = partial(slak_with, kernel_sizes)
    return cases


def measure(size: Size, output: Path) -> pd.DataFrame:
    """Return a row per network and kernels: ``own``, ``3x3`` or the length of SLaK's strips."""
    images = photographs(size.num_images, size.resolution)
    rows = []
    for (name, kernels), build in tqdm(_cases(size.networks).items(), unit="network", disable=None):
        setting = {
            **{"network": name, "kernels": kernels},
            **{"resolution": size.resolution, "num_images": size.num_images},
        }
        path = output / "networks" / f"{name}_{kernels}.json"
        rows.append(
            {**setting, **kept(path, setting, partial(measure_network, build, images, size))}
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Draw side against parameters, against multiply-adds, and against SLaK's kernels."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.5), layout="constrained")
        left, middle, right = figure.subplots(1, 3, sharey=True)
        for axes, column, label in (
            (left, "parameters", "parameters, millions"),
            (middle, "multiply_adds", "multiply-adds, billions"),
        ):
            _draw_costs(axes, table, column, label)
        _draw_strips(right, _strips(table))
        left.set_ylabel("effective side, pixels (untrained)")
        left.set_ylim(0, None)
        for axes in (left, middle, right):
            draw_grid(axes)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
        return figure


def _draw_costs(axes: Axes, table: pd.DataFrame, column: str, label: str) -> None:
    scale = 1e6 if column == "parameters" else 1e9
    for index, name in enumerate(NETWORKS.values()):
        pair = table[(table["network"] == name) & table["kernels"].isin(["own", "3x3"])]
        if pair.empty:
            continue
        own = pair[pair["kernels"] == "own"]
        colour, marker = COLOURS[index % len(COLOURS)], "osD^vPX*"[index]
        style: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 5,
            "linestyle": "none",
        }
        places = pair[column] / scale
        axes.plot(places, pair["effective_side"], color=colour, linewidth=0.8, linestyle=":")
        axes.plot(places, pair["effective_side"], fillstyle="none", **style)
        axes.plot(own[column] / scale, own["effective_side"], label=name, **style)
    axes.plot([], [], "o", color="#555555", fillstyle="none", markersize=5, label="kernels 3x3")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel(label)


def _draw_strips(axes: Axes, strips: pd.DataFrame) -> None:
    lengths, sides = strips["kernels"], strips["effective_side"]
    colour = COLOURS[list(NETWORKS.values()).index("SLaK-T") % len(COLOURS)]
    axes.plot(lengths, sides, color=colour, marker="X", markersize=5)
    axes.set_xticks(lengths)
    axes.set_xlabel("SLaK-T: length of strips, first stage")


def _strips(table: pd.DataFrame) -> pd.DataFrame:
    """Return SLaK's rows by the length of its strips in the first stage, 3 and 51 among them."""
    found = table[table["network"] == "SLaK-T"].replace({"kernels": {"3x3": "3", "own": "51"}})
    return found.astype({"kernels": int}).sort_values("kernels")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`measure` as text for people."""
    return pd.DataFrame(
        {
            "Network": table["network"],
            "Kernels": table["kernels"],
            "Parameters, M": (table["parameters"] / 1e6).map("{:.1f}".format),
            "Multiply-adds, G": (table["multiply_adds"] / 1e9).map("{:.1f}".format),
            "Effective side, px": table["effective_side"].map("{:.0f}".format),
        }
    )


def remarks(table: pd.DataFrame, size: Size) -> list[str]:
    """Return what a reader has to know, and what was found."""
    pairs = table[table["kernels"].isin(["own", "3x3"])]
    pairs = pairs.pivot(index="network", columns="kernels")
    ratio = pairs["effective_side", "own"] / pairs["effective_side", "3x3"]
    own = pairs.xs("own", axis=1, level=1)
    ranks = own[["parameters", "multiply_adds", "effective_side"]].corr("spearman")
    strips = _strips(table)
    return [
        "untrained: random weights, LayerScales at one, BatchNorms settled on the photographs; "
        "training changes ERFs, and moves networks past each other.",
        f"Protocol ding2022 at {size.resolution}x{size.resolution}, {size.num_images} built-in "
        f"photographs: no side can exceed {size.resolution}, and padding takes from large ones.",
        f"Own kernels over 3x3: {ratio.min():.2f} ({ratio.idxmin()}) to {ratio.max():.2f} "
        f"({ratio.idxmax()}) times the side.",
        f"Rank correlation of the side, over {len(own)} networks with their own kernels: "
        f"{ranks.loc['parameters', 'effective_side']:.2f} with parameters, "
        f"{ranks.loc['multiply_adds', 'effective_side']:.2f} with multiply-adds.",
        f"SLaK-T, strips of {', '.join(map(str, strips['kernels']))}: "
        f"{', '.join(f'{side:.0f}' for side in strips['effective_side'])} pixels.",
    ]


def main(quick: Quick = False, output: Output = Path("results/large_kernels")) -> None:
    """Measure the large-kernel networks beside their 3x3 controls, and SLaK by its kernels."""
    size = QUICK if quick else WHOLE
    table = measure(size, output)
    publish(
        output,
        "large_kernels",
        table,
        readable(table),
        remarks(table, size),
        draw(table),
        vars(size),
    )


if __name__ == "__main__":
    run(main)
