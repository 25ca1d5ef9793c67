"""The networks of :mod:`analyses.training_study`, and how they are trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from analyses.shape_texture_images import CLASSES, Cue, make_images
from erf_tools import DepthwiseConv2d

#: Of the images' channels.
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

#: The stem's stride, and what the seeds of training and of test images differ in.
STRIDE, TRAINING, TEST = 4, 0, 1


@dataclass(frozen=True)
class Design:
    """What a network is made of, between stem and head.

    Attributes:
        mixing: how positions exchange values: depthwise kernels, the dense 3x3 pairs of a ResNet,
            attention within windows that shift from block to block (Swin), or nothing (patches).
        kernel_size: side of the depthwise kernels.
        shortcut: whether a depthwise block adds its input to its output.
        small_kernel: side of a parallel depthwise kernel with a norm of its own.
    """

    mixing: Literal["depthwise", "residual", "windows", "patches"]
    kernel_size: int = 3
    shortcut: bool = True
    small_kernel: int | None = None

    @property
    def name(self) -> str:
        """The design in a few words."""
        if self.mixing != "depthwise":
            return {"residual": "ResNet", "windows": "Swin", "patches": "patches"}[self.mixing]
        parallel = f" + {self.small_kernel}x{self.small_kernel}" if self.small_kernel else ""
        shortcut = "" if self.shortcut else ", no shortcut"
        return f"{self.kernel_size}x{self.kernel_size}{parallel}{shortcut}"


RESNET, SWIN = Design("residual"), Design("windows")

#: Knows of each patch of 8x8 pixels by itself and of no patch's place, so that it can use texture
#: (and what else a patch shows) but no shape; it is not among the networks that a claim is about.
PATCHES, PATCH = Design("patches", 1), 8


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


SIDES = (3, 7, 13, 31)

QUICK = Plan(
    designs=(
        *map(kernel, SIDES),
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
        *(kernel(*choice) for choice in product(SIDES, (True, False))),
        *(kernel(*choice, 5) for choice in product(SIDES[1:], (True, False))),
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
        window = (PATCH, PATCH, 0) if design == PATCHES else (2 * STRIDE - 1, STRIDE, STRIDE - 1)
        stem = nn.Sequential(
            nn.Conv2d(3, width, *window, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks = (_block(design, side // STRIDE, width, index) for index in range(depth))
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
    generator = np.random.default_rng([seed, TRAINING])
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
    return ((pixels - MEAN[0]) / STD[0]).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def decide(network: nn.Module, pixels: Tensor) -> np.ndarray:
    """Return the classes ``[N]`` that a network sees in images ``[N, 3, side, side]``."""
    answers = [network(_normalised(batch)).argmax(dim=1) for batch in pixels.split(256)]
    return torch.cat(answers).cpu().numpy()
