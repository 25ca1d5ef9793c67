"""Do networks of larger kernels look farther and decide by shape? Small ones, trained here.

Claim: large depthwise kernels give a larger ERF and decisions that follow the shape; identity
shortcuts are vital for them (guideline 2), and a parallel 5x5 kernel helps them (guideline 3) (Ding
et al., RepLKNet, CVPR 2022).

Method: networks of the same stem, width, depth, norms and pointwise convolutions differ in the
depthwise kernel, the shortcut and the parallel kernel; a ResNet and a net of shifted windows (Swin)
are of a like number of parameters. They are trained on new images in every step (see
:mod:`analyses.shape_texture_images`), whose label can be read from the shape, from the texture, or
from either. Every seed has its own weights and its own images, the same for all networks, and
differences are paired by seed; intervals are Student's over seeds. Measured on unseen images: the
accuracy in the own setting, on shapes without a texture and on textures without a shape; where both
cues disagree, decisions by shape (S), by texture (T), S / (S + T) and the coverage (S + T) / N; the
ERF of the last block's central unit on the same images. Where one cue alone is the label, the shape
bias is what was trained; the setting ``either`` asks what a network prefers.

Refuted by: no larger effective side, or no larger shape bias, at 31x31 than at 3x3; without the
shortcut no lower accuracy at 31x31 than with it, or one lower by no more than at 3x3; no higher
accuracy with the parallel kernel than without it.

Found (three seeds on two CPU cores, setting ``either``, by ``--quick`` with 100 steps of 32 images
and, from Python, by the same plan with Swin and 400 steps; neither the whole form nor a GPU has
been tried). After 400 steps all but Swin (0.95) are right on nearly every image. 31x31 against 3x3
adds 8 [3, 13] pixels to the effective side (22 against 14) and 0.26 [-0.04, 0.57] to the shape bias
(0.74 against 0.48). It was 0.50 [0.27, 0.73] after 100 steps: part of it was what is learned first,
and three seeds do not settle the rest. Nothing is gained beyond 7x7 (0.74); the largest ERF with a
shortcut is that of 13x13, 26 pixels. Over the nine networks effective side and shape bias go
together, rank correlation 0.67 [0.32, 1.03], but the ResNet has the smallest ERF of all, 12 pixels,
and a shape bias of 0.71 [0.68, 0.75]: a small ERF does not make a texture network. Guideline 2 does
not show in three blocks: without the shortcut 31x31 is as accurate, and looks 5 [-2, 13] pixels
farther. The parallel kernel adds 0.05 [-0.03, 0.13] to the accuracy of 31x31 after 100 steps, and
nothing to it after 400, nor to ERF and shape bias.

With one cue as the label (100 steps, two seeds) 3x3 reaches an accuracy of 0.80 by shape and 0.88
by texture, 31x31 0.89 and 0.24, the ResNet 0.80 and 0.98 by shape, 0.86 and 0.19 by texture: which
cue a network can learn at all in so short a training decides much of its preference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import product
from math import isnan, nan, sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy.stats import spearmanr
from scipy.stats import t as student
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock
from tqdm import tqdm

from analyses import programs
from analyses.shape_texture_images import CLASSES, Cue, make_images
from erf_tools import DepthwiseConv2d, Preprocessing, Tap, as_model, effective_receptive_field
from erf_tools.figures import COLOURS, PAGE, draw_grid, own_style
from erf_tools.kernels.devices import choose_device, device_name
from erf_tools.statistics import CONFIDENCE, Estimate
from erf_tools.tables import NONE, write_csv

NAME = "training_study"

_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

#: The stem's stride, and what the seeds of training and of test images differ in.
_STRIDE, _TRAINING, _TEST = 4, 0, 1

#: Which images, apart from those that it was trained on the like of, a network is tried on.
_MEASURED: tuple[Cue, ...] = ("silhouette", "swatch", "conflict")


@dataclass(frozen=True)
class Design:
    """What a network is made of, between stem and head.

    Attributes:
        mixing: how positions exchange values: depthwise kernels, the dense 3x3 pairs of a ResNet,
            or attention within windows that shift from block to block (Swin).
        kernel_size: side of the depthwise kernels.
        shortcut: whether a depthwise block adds its input to its output.
        small_kernel: side of a parallel depthwise kernel with a norm of its own.
    """

    mixing: Literal["depthwise", "residual", "windows"]
    kernel_size: int = 3
    shortcut: bool = True
    small_kernel: int | None = None

    @property
    def name(self) -> str:
        """The design in a few words."""
        if self.mixing != "depthwise":
            return {"residual": "ResNet", "windows": "Swin"}[self.mixing]
        parallel = f" + {self.small_kernel}x{self.small_kernel}" if self.small_kernel else ""
        shortcut = "" if self.shortcut else ", no shortcut"
        return f"{self.kernel_size}x{self.kernel_size}{parallel}{shortcut}"


RESNET, SWIN = Design("residual"), Design("windows")


def kernel(side: int, shortcut: bool = True, small_kernel: int | None = None) -> Design:
    """Return a depthwise design."""
    return Design("depthwise", side, shortcut, small_kernel)


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        designs: the networks.
        cues: what the label of a training image can be read from, one setting after another.
        seeds: repetitions, each with its own initial weights and images.
        side: of the images, pixels.
        width: channels of the networks.
        depth: blocks of the networks.
        steps: of a training.
        batch_size: new images in each step.
        rate: highest learning rate.
        test_images: of each kind.
        erf_images: that an ERF is the mean over.
    """

    designs: tuple[Design, ...]
    cues: tuple[Cue, ...]
    seeds: int
    side: int
    width: int
    depth: int
    steps: int
    batch_size: int
    rate: float
    test_images: int
    erf_images: int


_SIDES = (3, 7, 13, 31)

QUICK = Plan(
    designs=(
        *map(kernel, _SIDES),
        kernel(3, shortcut=False),
        kernel(31, shortcut=False),
        kernel(31, small_kernel=5),
        RESNET,
    ),
    cues=("either",),
    seeds=3,
    side=64,
    width=32,
    depth=3,
    steps=100,
    batch_size=32,
    rate=1e-2,
    test_images=256,
    erf_images=16,
)

WHOLE = replace(
    QUICK,
    designs=(
        *(kernel(*choice) for choice in product(_SIDES, (True, False))),
        *(kernel(*choice, 5) for choice in product(_SIDES[1:], (True, False))),
        RESNET,
        SWIN,
    ),
    cues=("shape", "texture", "either"),
    seeds=5,
    side=128,
    width=64,
    depth=6,
    steps=1500,
    batch_size=128,
    rate=5e-3,
    test_images=2048,
    erf_images=64,
)


class DepthwiseBlock(nn.Module):
    """1x1, depthwise and 1x1 convolution, each with its norm, as in a RepLKNet block.

    Args:
        width: channels.
        design: kernels and shortcut.
    """

    def __init__(self, width: int, design: Design) -> None:
        super().__init__()
        self.shortcut = design.shortcut
        sides = [design.kernel_size, *([design.small_kernel] if design.small_kernel else [])]
        self.enter = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        self.kernels = nn.ModuleList(
            nn.Sequential(
                DepthwiseConv2d(width, width, side, padding=side // 2, groups=width, bias=False),
                nn.BatchNorm2d(width),
            )
            for side in sides
        )
        self.leave = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, stream: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        entered = F.relu(self.enter(stream))
        mixed = sum(branch(entered) for branch in self.kernels)
        branch = self.leave(F.relu(mixed))
        return stream + branch if self.shortcut else branch


class WindowBlock(SwinTransformerBlock):
    """A Swin block on maps: windows of a quarter of the side, four heads.

    Args:
        width: channels.
        side: of the maps.
        shifted: whether the windows are moved by half of their side.
    """

    def __init__(self, width: int, side: int, shifted: bool) -> None:
        window = side // 4
        super().__init__(
            width, (side, side), 4, window_size=window, shift_size=window // 2 if shifted else 0
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Network(nn.Module):
    """A strided convolution, blocks on maps of one size, the mean over positions, a linear layer.

    Args:
        design: of the blocks.
        side: of the images, pixels.
        width: channels.
        depth: number of blocks.
    """

    def __init__(self, design: Design, side: int, width: int, depth: int) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(3, width, 2 * _STRIDE - 1, _STRIDE, _STRIDE - 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        blocks = (_block(design, side // _STRIDE, width, index) for index in range(depth))
        self.features = nn.Sequential(stem, *blocks)
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Return scores ``[N, classes]`` of normalised images ``[N, 3, side, side]``."""
        return self.head(self.features(images).mean(dim=(2, 3)))


def _block(design: Design, side: int, width: int, index: int) -> nn.Module:
    if design.mixing == "windows":
        return WindowBlock(width, side, shifted=index % 2 == 1)
    return (
        BasicBlock(width, width) if design.mixing == "residual" else DepthwiseBlock(width, design)
    )


def train(design: Design, cue: Cue, seed: int, plan: Plan, device: torch.device) -> Network:
    """Return a trained network; on one machine's CPU the same arguments give the same weights.

    A seed stands for the same images in every design.
    """
    generator = np.random.default_rng([seed, _TRAINING])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(design, plan.side, plan.width, plan.depth)
    network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), plan.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.steps)
    for _ in range(plan.steps):
        images = make_images(plan.batch_size, cue, plan.side, generator, device)
        scores = network(_normalised(images.pixels))
        loss = F.cross_entropy(scores, torch.from_numpy(images.labels).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _normalised(pixels: Tensor) -> Tensor:
    return ((pixels - _MEAN[0]) / _STD[0]).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def decide(network: nn.Module, pixels: Tensor) -> np.ndarray:
    """Return the classes ``[N]`` that a network sees in images ``[N, 3, side, side]``."""
    answers = [network(_normalised(batch)).argmax(dim=1) for batch in pixels.split(256)]
    return torch.cat(answers).cpu().numpy()


def count_cues(decisions: np.ndarray, shapes: np.ndarray, textures: np.ndarray) -> dict[str, float]:
    """Return how often decisions follow the shape and the texture of images where they disagree.

    ``shape_bias`` is S / (S + T), in [0, 1] and NaN for no such decisions; ``coverage`` is
    (S + T) / N. Guessing alone gives a bias of 1/2 and a coverage of two over the classes.
    """
    by_shape, by_texture = int((decisions == shapes).sum()), int((decisions == textures).sum())
    followed = by_shape + by_texture
    return {
        "S": by_shape,
        "T": by_texture,
        "N": len(decisions),
        "shape_bias": by_shape / followed if followed else nan,
        "coverage": followed / len(decisions),
    }


def measure_run(
    design: Design, cue: Cue, seed: int, plan: Plan, device: torch.device
) -> dict[str, float]:
    """Train a network and return what it can do on unseen images, and how far it looks."""
    with _one_thread():
        network = train(design, cue, seed, plan, device)
        generator = np.random.default_rng([seed, _TEST])
        found: dict[str, float] = {"parameters": sum(p.numel() for p in network.parameters())}
        for kind in (*_MEASURED, cue):
            images = make_images(plan.test_images, kind, plan.side, generator, device)
            decisions = decide(network, images.pixels)
            if kind == "conflict":
                found |= count_cues(decisions, images.shapes, images.textures)
                seen = images.pixels[: plan.erf_images]
            else:
                name = kind if kind in _MEASURED else "own"
                found[f"accuracy_{name}"] = float((decisions == images.labels).mean())
        found["effective_side"] = effective_side(network, design.name, seen)
        return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread, inside: the same numbers, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def effective_side(network: nn.Module, name: str, pixels: Tensor) -> float:
    """Return the effective side in pixels of the central unit of the last block's map."""
    array = (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    side = array.shape[1]
    model = as_model(network, name, Preprocessing(side, _MEAN, _STD), Tap("features", "NCHW"))
    pictures = [Image.fromarray(picture) for picture in array]
    return effective_receptive_field(model, pictures, resolution=side).measures.effective_side


def study(plan: Plan, output: Path, device: torch.device, workers: int = 1) -> pd.DataFrame:
    """Measure every network in every setting under every seed; a run that is kept is not repeated.

    Args:
        plan: what to do.
        output: folder in which runs are kept, one file each.
        device: where to train.
        workers: processes; with one, all is done in this process.

    Returns:
        A row per run: ``design`` (its name), ``cue``, ``seed`` and what :func:`measure_run` gives.
    """
    tasks = list(product(plan.cues, range(plan.seeds), plan.designs))
    run = partial(_kept_run, plan=plan, output=output, device=device)
    with tqdm(total=len(tasks), desc=NAME, unit="run", disable=None) as bar, ExitStack() as stack:
        each: Callable[..., Iterable[dict[str, Any]]] = map
        if workers > 1:
            each = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn"))).map
        rows = []
        for row in each(run, tasks):
            rows.append(row)
            bar.update()
    return pd.DataFrame(rows).astype(dict.fromkeys(MEASURES, float))


def _kept_run(
    task: tuple[Cue, int, Design], plan: Plan, output: Path, device: torch.device
) -> dict[str, Any]:
    cue, seed, design = task
    setting = {"design": asdict(design), "cue": cue, "seed": seed, "device": device.type}
    for field in fields(plan):
        if field.name not in ("designs", "cues", "seeds"):
            setting[field.name] = getattr(plan, field.name)
    name = re.sub(r"\W+", "-", design.name.lower())
    found = programs.kept(
        output / "runs" / f"{cue}-{seed}-{name}.json",
        setting,
        lambda: measure_run(design, cue, seed, plan, device),
    )
    return {"design": design.name, "cue": cue, "seed": seed, **found}


#: What is averaged over seeds, how it is shown, and its name for people.
MEASURES = {
    "accuracy_own": ("{:.2f}", "accuracy"),
    "accuracy_silhouette": ("{:.2f}", "shape alone"),
    "accuracy_swatch": ("{:.2f}", "texture alone"),
    "effective_side": ("{:.1f}", "effective side"),
    "coverage": ("{:.2f}", "coverage"),
    "shape_bias": ("{:.2f}", "shape bias"),
}


def over_seeds(values: Iterable[float]) -> Estimate:
    """Return the mean with Student's interval; none for fewer than two values. NaN are left out."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) < 2:
        return Estimate(float(finite[0]) if len(finite) else nan)
    mean, error = float(finite.mean()), float(finite.std(ddof=1)) / sqrt(len(finite))
    half = float(student.ppf((1 + CONFIDENCE) / 2, len(finite) - 1)) * error
    return Estimate(mean, mean - half, mean + half)


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per network and setting: sums of S, T and N, means with their intervals."""
    rows = []
    for (cue, design), own in runs.groupby(["cue", "design"], sort=False):
        row = {"network": design, "setting": cue, "seeds": len(own)}
        row |= {"parameters": own["parameters"].iloc[0], **own[["S", "T", "N"]].sum()}
        for measure in MEASURES:
            found = over_seeds(own[measure])
            row |= {
                measure: found.value,
                f"{measure}_low": found.low,
                f"{measure}_high": found.high,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return what :func:`summarise` gives as text for people."""
    shown = table[["network", "setting", "parameters"]].copy()
    shown["parameters"] = shown["parameters"].map("{:,}".format)
    for measure, (form, label) in MEASURES.items():
        if measure == "coverage":
            shown["S / T / N"] = [f"{r.S} / {r.T} / {r.N}" for r in table.itertuples()]
        bounds = (table[f"{measure}{end}"] for end in ("", "_low", "_high"))
        shown[label] = [_interval(Estimate(*found), form) for found in zip(*bounds, strict=True)]
    return shown


def _interval(found: Estimate, form: str) -> str:
    if isnan(found.value):
        return NONE
    value, low, high = map(form.format, (found.value, found.low, found.high))
    return value if isnan(found.low) else f"{value} [{low}, {high}]"


def pairs_of(designs: Sequence[Design]) -> list[tuple[str, Design, Design]]:
    """Return what the claims compare: a question, the design with, and the design without."""
    asked = [("a larger kernel", kernel(_SIDES[-1]), kernel(_SIDES[0]))]
    for design in designs:
        asked.append(("the shortcut", design, replace(design, shortcut=False)))
        asked.append(("the parallel kernel", design, replace(design, small_kernel=None)))
    return [
        (question, larger, smaller)
        for question, larger, smaller in asked
        if larger != smaller and larger in designs and smaller in designs
    ]


def compare(runs: pd.DataFrame, designs: Sequence[Design]) -> pd.DataFrame:
    """Return the differences that the claims are about, paired by seed, with their intervals."""
    rows = []
    for cue, own in runs.groupby("cue", sort=False):
        for (question, larger, smaller), measure in product(
            pairs_of(designs), ("accuracy_own", "effective_side", "shape_bias")
        ):
            values = own.pivot(index="seed", columns="design", values=measure)
            found = over_seeds(values[larger.name] - values[smaller.name])
            names = (question, cue, larger.name, smaller.name, measure)
            rows.append((*names, found.value, found.low, found.high))
    columns = ["what", "setting", "network", "minus", "measure", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def rank_correlation(runs: pd.DataFrame) -> Estimate:
    """Return Spearman's correlation of effective side and shape bias over networks.

    It is computed for each seed, and its interval is over the seeds.
    """
    return over_seeds(
        float(spearmanr(own["effective_side"], own["shape_bias"]).statistic)
        for _, own in runs.groupby("seed")
    )


def findings(runs: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Return the differences and the correlations as sentences."""
    said = []
    columns = ["what", "setting", "network", "minus"]
    for (what, cue, larger, smaller), own in differences.groupby(columns, sort=False):
        parts = []
        for row in own.itertuples():
            form, label = MEASURES[row.measure]
            found = Estimate(row.difference, row.low, row.high)
            parts.append(f"{label} {_interval(found, form.replace(':', ':+'))}")
        said.append(
            f"What {what} adds ({larger} minus {smaller}, label from {cue}): {', '.join(parts)}."
        )
    for cue, own in runs.groupby("cue", sort=False):
        said.append(
            f"Rank correlation of effective side and shape bias over the {own['design'].nunique()} "
            f"networks (label from {cue}): {_interval(rank_correlation(own), '{:+.2f}')}."
        )
    return said


_MARKERS = {
    "kernels": "o",
    "kernels, no shortcut": "s",
    "kernels + 5x5": "P",
    "kernels + 5x5, no shortcut": "p",
    "ResNet": "D",
    "Swin": "X",
}


def draw(runs: pd.DataFrame, designs: Sequence[Design]) -> Figure:
    """Draw effective side and shape bias of each network, and one against the other.

    Args:
        runs: of one setting.
        designs: the networks, in the order in which they are shown.
    """
    with own_style():
        figure = Figure(figsize=(PAGE, 1.1 + 0.19 * len(designs)), layout="constrained")
        sides, biases, both = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
        for axes, measure in ((sides, "effective_side"), (biases, "shape_bias")):
            _draw_rows(axes, runs, designs, measure)
        sides.set_yticks(range(len(designs)), [design.name for design in designs])
        biases.set_yticks(range(len(designs)))
        biases.tick_params(axis="y", length=0, labelleft=False)
        _draw_both(both, runs, designs)
        for axes in (sides, both):
            axes.set_xlabel("effective side, pixels")
            axes.set_xlim(0, 1.25 * runs["effective_side"].max())
        biases.set_xlabel("shape bias")
        both.set_ylabel("shape bias")
        biases.set_xlim(-0.03, 1.03)
        both.set_ylim(-0.03, 1.03)
        handles = {label: _marker(design) for design in designs for label in [_family(design)]}
        figure.legend(
            [Line2D([], [], linestyle="", markersize=5, **style) for style in handles.values()],
            handles,
            loc="outside lower center",
            ncols=len(handles),
        )
        return figure


def _draw_rows(axes: Axes, runs: pd.DataFrame, designs: Sequence[Design], measure: str) -> None:
    """Draw the mean of each network with its interval, and below it each seed."""
    draw_grid(axes)
    for row, design in enumerate(designs):
        values = runs.loc[runs["design"] == design.name, measure]
        found = over_seeds(values)
        style = _marker(design)
        axes.plot([found.low, found.high], [row, row], color=style["color"], linewidth=1)
        axes.plot(found.value, row, markersize=5, **style)
        axes.plot(values, [row + 0.3] * len(values), "|", color="#555555", markersize=4)
    axes.set_ylim(len(designs) - 0.4, -0.6)


def _draw_both(axes: Axes, runs: pd.DataFrame, designs: Sequence[Design]) -> None:
    """Draw means over seeds against each other; kernels have their side written on them."""
    draw_grid(axes)
    for design in designs:
        own = runs[runs["design"] == design.name]
        place = (own["effective_side"].mean(), own["shape_bias"].mean())
        axes.plot(*place, markersize=9, **_marker(design))
        if design.mixing == "depthwise":
            side = str(design.kernel_size)
            axes.text(*place, side, color="white", size=5, weight="bold", ha="center", va="center")


def _family(design: Design) -> str:
    """Return the design's name without the side of its kernels."""
    return re.sub(r"^\d+x\d+", "kernels", design.name)


def _marker(design: Design) -> dict[str, Any]:
    families = list(_MARKERS)
    family = _family(design)
    return {"marker": _MARKERS[family], "color": COLOURS[families.index(family)]}


def main(
    quick: programs.Quick = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Repetitions; 5, or 3 in the smaller form.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    output: programs.Output = Path("results/training_study"),
) -> None:
    """Train small networks on shapes with textures; compare what they look at and decide by."""
    target = choose_device(device, nn.Module())
    plan = QUICK if quick else WHOLE
    plan = replace(plan, seeds=seeds or plan.seeds)
    workers = os.cpu_count() if target.type == "cpu" else 1
    runs = study(plan, output, target, workers or 1)
    differences = compare(runs, plan.designs)
    table = summarise(runs)
    write_csv(runs, output / f"{NAME}_runs.csv")
    write_csv(differences, output / f"{NAME}_differences.csv")
    remarks = [
        f"{device_name(target)}; {plan.steps} steps of {plan.batch_size} images, {plan.seeds} "
        "seeds; mean [95 % interval over seeds, Student's t]; S, T and N are sums over seeds. "
        f"Guessing: accuracy {1 / CLASSES:.3f}, shape bias 0.5, coverage {2 / CLASSES:.2f}.",
        *findings(runs, differences),
    ]
    setting = {**asdict(plan), "device": device_name(target)}
    figure = draw(runs[runs["cue"] == "either"], plan.designs)
    programs.publish(output, NAME, table, as_text(table), remarks, figure, setting)


if __name__ == "__main__":
    programs.run(main)
