"""What the identity shortcut and the parallel small kernel do to the ERF of a large-kernel network.

Claim: a shortcut makes a network an ensemble of many with different receptive fields, so that large
kernels widen what is seen without losing what is near; a small kernel beside the large one adds to
that (RepLKNet paper, guidelines 2 and 3; Veit et al., NeurIPS 2016).

Method: random networks of eight 31x31 depthwise kernels, whose ERF is in closed form a mixture over
the number of kernels passed (:mod:`analyses.depthwise_networks`): without shortcuts, with shortcuts
that weigh as much as the branch, and with those of networks normalised before the branch; each with
and without a parallel 5x5, merged. Radial profiles are measured with the library and compared with
the closed form. Then RepLKNet-31B an eighth as wide (:mod:`analyses.narrow_replknet`), untrained,
its norms settled on photographs, with and without shortcuts and small kernels; of each block the
share of the variance that its branch adds is measured, which gives the number of large kernels
passed.

Refuted by: profiles that are not those of the mixture; shortcuts or small kernels that leave the
ERF as it is, or take contribution away from the centre.

Found (``--quick``: two seeds; one photograph at 2048; two CPU cores): the profiles are those of the
mixture, over five orders of magnitude. Shortcuts make the ERF smaller, not larger, and peaked: of
eight 31x31 kernels 1.8 are passed where norms stand before the branches, and the effective side
falls from 75 to 43 pixels (closed form 75 and 39); the 5x5, with half of the kernel's variance,
takes it from there to 31, while the central 5x5 pixels' part rises from 0.4 % to 1.6 % and 6.1 %.
The narrow RepLKNet-31B passes 5.2 of its 24 large kernels; its effective side falls from 1,185
pixels without shortcuts to 891, and to 661 with the 5x5. So both keep what is near, as the
guidelines say, at the cost of what is far; large kernels are what makes the far reachable at all.
Whether training moves this was not looked at here (see :mod:`analyses.training_study`).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import erf_tools
from analyses.depthwise_networks import (
    WIRINGS,
    WORDS,
    DepthwiseNetwork,
    Wiring,
    depth_distribution,
    expected_map,
    shares,
)
from analyses.narrow_replknet import narrow, photographs, settle, untrained
from analyses.programs import Output, Quick, kept, publish, run
from erf_tools.erf.measures.families.squares import effective_side
from erf_tools.erf.measures.radial import radial_profile
from erf_tools.figures import PAGE, draw_grid, line_styles, own_style
from erf_tools.labels import in_lines, labelled
from erf_tools.models.replknet import RepLKBlock, RepLKNet

_KERNEL, _SMALL, _DEPTH, _CHANNELS = 31, 5, 8, 16

_NARROW = narrow("31b")
_BLOCKS = sum(_NARROW.layers)

#: Points of the narrow RepLKNet's radial profile: it is noisy, and drawn as means.
_POINTS = 48


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        seeds: random networks of each kind.
        side: of the depthwise networks' input, in pixels.
        resolution: of RepLKNet's input, in pixels.
        num_images: photographs that RepLKNet's ERF is the mean over.
    """

    seeds: int
    side: int
    resolution: int
    num_images: int


WHOLE = Size(seeds=5, side=320, resolution=2048, num_images=8)
QUICK = Size(seeds=2, side=320, resolution=2048, num_images=1)


class WithoutShortcut(nn.Module):
    """The branch of a residual block alone."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        return self.block(features) - features


def replknet(shortcut: bool, small_kernel: bool, images: Tensor) -> RepLKNet:
    """Return an untrained narrow RepLKNet-31B, its norms settled on images."""
    network = untrained(_NARROW if small_kernel else replace(_NARROW, small_kernel=None))
    if not shortcut:
        for stage in network.stages:
            blocks = map(WithoutShortcut, stage.get_submodule("blocks").children())
            stage.blocks = nn.ModuleList(blocks)
    return settle(network, images)


def branch_shares(network: RepLKNet, images: Tensor) -> list[float]:
    """Return for each large-kernel block the share of its output's variance that it adds.

    Args:
        network: with shortcuts.
        images: normalised, ``[N, 3, H, W]``.
    """
    found: list[float] = []

    def note(_block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        branch = (output - inputs[0]).var()
        found.append(float(branch / (branch + inputs[0].var())))

    blocks = [block for block in network.modules() if isinstance(block, RepLKBlock)]
    with ExitStack() as hooks, torch.no_grad():
        for block in blocks:
            hooks.enter_context(block.register_forward_hook(note))
        network(images)
    return found


def measure_depthwise(wiring: Wiring, small_kernel: int | None, size: Size) -> dict[str, Any]:
    """Return effective side, in pixels, and radial profile, measured and in closed form."""
    maps = []
    for seed in range(size.seeds):
        network = DepthwiseNetwork(_KERNEL, _DEPTH, wiring, _CHANNELS, small_kernel, seed).eval()
        erf = erf_tools.effective_receptive_field(network, num_images=1, resolution=size.side)
        maps.append(erf.map / erf.map.sum())
    measured = np.mean(maps, axis=0)
    expected = expected_map(_KERNEL, shares(wiring, _DEPTH), size.side, small_kernel)
    return {
        "effective_side": effective_side(measured),
        "expected_side": effective_side(expected),
        "profile": _profile(measured),
        "expected_profile": _profile(expected),
        "within_5": _within(measured, 5),
        "passed": sum(shares(wiring, _DEPTH)),
    }


def measure_replknet(shortcut: bool, small_kernel: bool, size: Size) -> dict[str, Any]:
    """Return effective side, radial profile and the branches' shares of the narrow RepLKNet."""
    images = photographs()
    network = replknet(shortcut, small_kernel, images)
    erf = erf_tools.effective_receptive_field(
        network, num_images=size.num_images, resolution=size.resolution
    )
    added = branch_shares(network, images) if shortcut else [1.0] * _BLOCKS
    return {
        "effective_side": erf.measures.effective_side,
        "profile": _profile(erf.map),
        "within_5": _within(erf.map, 5 * 32),
        "shares": added,
        "passed": sum(added),
    }


def _profile(contribution: np.ndarray) -> list[float]:
    """Return the radial profile as multiples of a uniform map."""
    return list(radial_profile(contribution / contribution.mean()).mean)


def _within(contribution: np.ndarray, side: int) -> float:
    """Return the share of the total in the central square of this side."""
    start = contribution.shape[0] // 2 - side // 2
    inside = slice(start, start + side)
    return float(contribution[inside, inside].sum() / contribution.sum())


def measure(size: Size, output: Path) -> list[dict[str, Any]]:
    """Return a record per network; see :func:`measure_depthwise` and :func:`measure_replknet`."""
    parts: dict[str, tuple[dict[str, Any], Any]] = {}
    for wiring in WIRINGS:
        for small in (None, _SMALL):
            setting = {"model": "depthwise", "wiring": wiring, "small_kernel": small is not None}
            parts[f"depthwise_{wiring}_{small}"] = (
                setting,
                partial(measure_depthwise, wiring, small, size),
            )
    for shortcut in (False, True):
        for small_kernel in (False, True):
            wiring = "normalised" if shortcut else "plain"
            setting = {"model": "replknet31b", "wiring": wiring, "small_kernel": small_kernel}
            parts[f"replknet31b_{wiring}_{small_kernel}"] = (
                setting,
                partial(measure_replknet, shortcut, small_kernel, size),
            )
    return [
        {
            **setting,
            **kept(output / "networks" / f"{name}.json", {**setting, **vars(size)}, compute),
        }
        for name, (setting, compute) in tqdm(parts.items(), unit="network", disable=None)
    ]


def draw(records: list[dict[str, Any]]) -> Figure:
    """Draw the distribution over kernels passed, and radial profiles of both kinds of network."""
    with own_style():
        figure = Figure(figsize=(PAGE, PAGE * 0.5), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        own = [record for record in records if record["model"] == "depthwise"]
        _draw_distributions(left)
        _draw_profiles(
            middle, own, f"{_DEPTH} kernels of {_KERNEL}x{_KERNEL}\n(lines: closed form)"
        )
        others = [record for record in records if record["model"] == "replknet31b"]
        _draw_profiles(right, others, in_lines(labelled("RepLKNet-31B, narrow", trained=False)))
        for axes in (left, middle, right):
            draw_grid(axes)
            axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2))
        return figure


def _draw_distributions(axes: Axes) -> None:
    drawn = {WORDS[wiring]: shares(wiring, _DEPTH) for wiring in WIRINGS}
    for (label, block_shares), line, marker in zip(
        drawn.items(), line_styles(len(drawn)), "os^", strict=True
    ):
        distribution = depth_distribution(block_shares)
        axes.plot(
            range(len(distribution)), distribution, label=label, marker=marker, markersize=3, **line
        )
    axes.set_xlabel("large kernels passed")
    axes.set_ylabel("share of the gradient's mean square")
    axes.set_title(f"{_DEPTH} blocks, closed form\n")


def _draw_profiles(axes: Axes, records: list[dict[str, Any]], title: str) -> None:
    wirings = list(dict.fromkeys(record["wiring"] for record in records))
    for record in records:
        line = line_styles(len(WIRINGS))[WIRINGS.index(record["wiring"])]
        style = {**line, "linestyle": "--" if record["small_kernel"] else "-"}
        label = WORDS[record["wiring"]] + (", with 5x5" if record["small_kernel"] else "")
        profile = np.asarray(record["profile"])
        if "expected_profile" in record:
            radius = np.arange(len(profile))
            axes.set_xlim(0, _KERNEL // 2 * _DEPTH * 1.2)
            axes.semilogy(radius, record["expected_profile"], label=label, **style)
            every = slice(wirings.index(record["wiring"]) * 3, None, 12)
            marker = "x" if record["small_kernel"] else "o"
            dots = {"color": line["color"], "marker": marker, "markersize": 2.5}
            axes.plot(radius[every], profile[every], linestyle="none", **dots)
        else:
            width = len(profile) // _POINTS
            smooth = profile[: width * _POINTS].reshape(_POINTS, width).mean(axis=1)
            axes.semilogy((np.arange(_POINTS) + 0.5) * width, smooth, label=label, **style)
    axes.set_ylim(bottom=1e-3)
    axes.set_xlabel("distance from the unit, pixels")
    axes.set_ylabel("contribution, uniform map = 1")
    axes.set_title(title)


def tabulated(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row per network, without profiles."""
    table = pd.DataFrame(records).drop(columns=["profile", "expected_profile", "shares"])
    blocks = table["model"].map({"depthwise": _DEPTH, "replknet31b": _BLOCKS})
    table.insert(3, "blocks", blocks)
    return table


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`tabulated` as text for people."""
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Wiring": table["wiring"].map(WORDS),
            "5x5": table["small_kernel"].map({True: "yes", False: "no"}),
            "Blocks": table["blocks"].map(str),
            "Kernels passed": table["passed"].map("{:.1f}".format),
            "Effective side, px": table["effective_side"].map("{:.0f}".format),
            "Closed form, px": table["expected_side"].map(
                lambda side: "-" if side != side else f"{side:.0f}"
            ),
            "Central 5x5, %": table["within_5"].map("{:.1%}".format),
        }
    )


def remarks(table: pd.DataFrame) -> list[str]:
    """Return what was found, in sentences."""
    sides = table.set_index(["model", "wiring", "small_kernel"])["effective_side"]
    return [
        "Kernels passed: expected number of large kernels on a path, weighted by the gradient's "
        "mean square. Central 5x5: of the total contribution, in units of the last map.",
        *(
            f"{network}: shortcuts take the effective side from "
            f"{sides[network, 'plain', False]:.0f} to {sides[network, 'normalised', False]:.0f} "
            f"pixels; the 5x5 from there to {sides[network, 'normalised', True]:.0f}."
            for network in ("depthwise", "replknet31b")
        ),
        "replknet31b: an eighth as wide, untrained, its norms settled on photographs.",
    ]


def main(quick: Quick = False, output: Output = Path("results/identity_shortcut")) -> None:
    """Measure the ERF of large-kernel networks with and without shortcuts and small kernels."""
    size = QUICK if quick else WHOLE
    records = measure(size, output)
    table = tabulated(records)
    publish(
        output,
        "identity_shortcut",
        table,
        readable(table),
        remarks(table),
        draw(records),
        vars(size),
    )


if __name__ == "__main__":
    run(main)
