"""Plain networks of depthwise kernels, whose ERF at initialisation is known in closed form.

A block mixes the stream ``x`` with a branch ``f``, a random k x k depthwise kernel followed by a
ReLU and a random 1x1 convolution: ``sqrt(1 - p) x + sqrt(p) f(x)``. Weights have mean zero and keep
the mean square of values and of gradients, so that ``p`` is the share of the gradient's mean square
that passes the kernel. Expanding the product over blocks, the mean square of the gradient at each
pixel is a mixture over the number m of kernels passed, ``sum_m P(m) u ** m``: ``u`` is the uniform
density of a kernel's taps, ``u ** m`` its m-fold convolution, and ``P`` the distribution of the
number of successes among blocks with probabilities ``p`` (Poisson-binomial). Veit et al., NeurIPS
2016, read residual networks as such an ensemble; Luo et al., NeurIPS 2016, have the case p = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools import DepthwiseConv2d

Wiring = Literal["plain", "residual", "normalised"]
WIRINGS: tuple[Wiring, ...] = get_args(Wiring)

#: For tables and figures.
WORDS: dict[str, str] = {
    "plain": "no shortcut",
    "residual": "shortcut, 1 : 1",
    "normalised": "shortcut, norm before branch",
}


def shares(wiring: Wiring, depth: int) -> list[float]:
    """Return for each block the share ``p`` of the variance that comes from its branch.

    ``plain``: 1, no shortcut. ``residual``: 1/2, branch and shortcut weigh the same.
    ``normalised``: 1 / (l + 1) for block l = 1, 2, ..., since a branch between norms adds one unit
    of variance to a stream that has gathered l (RepLKNet, and all with a norm before the branch).
    """
    if wiring == "plain":
        return [1.0] * depth
    return [0.5 if wiring == "residual" else 1 / (block + 1) for block in range(1, depth + 1)]


class Block(nn.Module):
    """A depthwise kernel, a ReLU and a 1x1 convolution, mixed with the stream.

    Args:
        channels: width.
        kernel_size: side of the kernel, odd.
        share: of the variance that the branch has, in (0, 1].
        small_kernel: side of a parallel kernel of the same variance, merged into the large one.
    """

    def __init__(
        self, channels: int, kernel_size: int, share: float, small_kernel: int | None = None
    ) -> None:
        super().__init__()
        self.share = share
        self.depthwise = DepthwiseConv2d(
            channels, channels, kernel_size, padding="same", groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.normal_(self.depthwise.weight, std=1 / kernel_size)
        if small_kernel:
            small = torch.randn(channels, 1, small_kernel, small_kernel) / small_kernel
            rim = (kernel_size - small_kernel) // 2
            with torch.no_grad():
                self.depthwise.weight.add_(F.pad(small, [rim] * 4)).div_(sqrt(2))
        # A ReLU halves the mean square.
        nn.init.normal_(self.pointwise.weight, std=sqrt(2 / channels))

    def forward(self, stream: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        branch = self.pointwise(F.relu(self.depthwise(stream)))
        return sqrt(1 - self.share) * stream + sqrt(self.share) * branch


class DepthwiseNetwork(nn.Sequential):
    """A random 1x1 convolution from RGB, then blocks; every map is as large as the image.

    Args:
        kernel_size: side of the kernels, odd.
        depth: number of blocks.
        wiring: see :func:`shares`.
        channels: width.
        small_kernel: see :class:`Block`.
        seed: of the weights.
    """

    def __init__(
        self,
        kernel_size: int,
        depth: int,
        wiring: Wiring = "residual",
        channels: int = 16,
        small_kernel: int | None = None,
        seed: int = 0,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            stem = nn.Conv2d(3, channels, 1, bias=False)
            nn.init.normal_(stem.weight, std=1 / sqrt(3))
            blocks = [
                Block(channels, kernel_size, share, small_kernel) for share in shares(wiring, depth)
            ]
        super().__init__(stem, *blocks)


def depth_distribution(block_shares: Sequence[float]) -> np.ndarray:
    """Return the probabilities of passing 0, 1, ... kernels: ``[depth + 1]``, sum 1."""
    distribution = np.ones(1)
    for share in block_shares:
        distribution = np.convolve(distribution, [1 - share, share])
    return distribution


def expected_map(
    kernel_size: int,
    block_shares: Sequence[float],
    side: int,
    small_kernel: int | None = None,
) -> np.ndarray:
    """Return the contribution map that such a network has in expectation, up to scale.

    The root of the mean square gradient: contributions are of one size where gradients are sums of
    many independent paths.

    Args:
        kernel_size: side of the kernels, odd.
        block_shares: see :func:`shares`.
        side: of the map, in pixels; the unit is at ``side // 2``.
        small_kernel: side of the parallel kernel, which has half of the kernels' variance.

    Returns:
        ``[side, side]``, float64, sum 1.
    """
    sides = [kernel_size] if small_kernel is None else [kernel_size, small_kernel]
    boxes = [np.full(taps, 1 / taps) for taps in sides]
    distribution = depth_distribution(block_shares)
    start = np.zeros(side)
    start[side // 2] = 1.0
    mean_square = np.zeros((side, side))
    # Passing m kernels, j of them small: boxes convolved along each axis apart.
    for small_passes in range(len(distribution) if small_kernel else 1):
        profile = start
        for _ in range(small_passes):
            profile = np.convolve(profile, boxes[-1], mode="same")
        for passes in range(small_passes, len(distribution)):
            ways = comb(passes, small_passes) / len(sides) ** passes
            mean_square += ways * distribution[passes] * np.outer(profile, profile)
            profile = np.convolve(profile, boxes[0], mode="same")
    contribution = np.sqrt(mean_square)
    return contribution / contribution.sum()
