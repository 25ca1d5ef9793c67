"""UniRepLKNet, written from its description (Ding et al., CVPR 2024, arXiv:2311.15599).

Four stages of blocks: a depthwise kernel, squeeze-and-excitation, and a feed-forward part with
global response normalisation. Large kernels have parallel small ones with dilation, each the same
as a sparse large one, so that all of them merge into one. Module names are the official ones, so
that official state dicts load as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from typing import Any

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval

from erf_tools.models.staged import (
    NetworkFamily,
    StagedNetwork,
    depthwise,
    drop_path,
    rising_rates,
    truncated_normal,
)


@dataclass(frozen=True)
class UniRepLKNetVariant:
    """The choices in which published UniRepLKNets differ (paper, Table 4).

    Attributes:
        width: of the first stage; it doubles from stage to stage.
        layers: blocks per stage.
        third_stage: kernel sizes of the third stage, repeated.
        large_kernel: kernel size of the second and fourth stage.
    """

    width: int
    layers: tuple[int, int, int, int]
    third_stage: tuple[int, ...] = (13,)
    large_kernel: int = 13

    def kernel_sizes(self, stage: int) -> list[int]:
        """Return the kernel size of each block of a stage, counted from 0."""
        pattern = ((3,), (self.large_kernel,), self.third_stage, (self.large_kernel,))[stage]
        return list(islice(cycle(pattern), self.layers[stage]))


_DEEP = (3, 3, 27, 3)

#: As published, by name.
VARIANTS: dict[str, UniRepLKNetVariant] = {
    "a": UniRepLKNetVariant(40, (2, 2, 6, 2)),
    "f": UniRepLKNetVariant(48, (2, 2, 6, 2)),
    "p": UniRepLKNetVariant(64, (2, 2, 6, 2)),
    "n": UniRepLKNetVariant(80, (2, 2, 8, 2)),
    "t": UniRepLKNetVariant(80, (3, 3, 18, 3), (13, 3)),
    "s": UniRepLKNetVariant(96, _DEEP, (13, 3, 3)),
    "b": UniRepLKNetVariant(128, _DEEP, (13, 3, 3)),
    "l": UniRepLKNetVariant(192, _DEEP, (13, 3, 3)),
    "xl": UniRepLKNetVariant(256, _DEEP, (13, 3, 3)),
}

#: Sides and dilations of the kernels beside a large one, by its side (Section 3.1).
_BRANCHES = {13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5))}

#: What LayerScale starts with.
_LAYER_SCALE = 1e-6


class DilatedReparamBlock(nn.Module):
    """A large depthwise kernel with parallel dilated ones, a BatchNorm each (Figure 2).

    Args:
        channels: width.
        kernel_size: side of the large kernel.
        merged: build the merged form, one biased convolution.
    """

    origin_bn: nn.BatchNorm2d

    def __init__(self, channels: int, kernel_size: int, merged: bool = False) -> None:
        super().__init__()
        self.lk_origin = depthwise(channels, kernel_size, bias=merged)
        self.branches = () if merged else _BRANCHES[kernel_size]
        if not merged:
            self.origin_bn = nn.BatchNorm2d(channels)
        for side, dilation in self.branches:
            branch = depthwise(channels, side, dilation, bias=False)
            self.add_module(f"dil_conv_k{side}_{dilation}", branch)
            self.add_module(f"dil_bn_k{side}_{dilation}", nn.BatchNorm2d(channels))

    def _branch(self, side: int, dilation: int) -> tuple[Any, Any]:
        conv = self.get_submodule(f"dil_conv_k{side}_{dilation}")
        return conv, self.get_submodule(f"dil_bn_k{side}_{dilation}")

    def forward(self, features: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``; the size stays."""
        out = self.lk_origin(features)
        if self.branches:
            out = self.origin_bn(out)
        for branch in self.branches:
            conv, norm = self._branch(*branch)
            out = out + norm(conv(features))
        return out

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Turn all branches into one biased convolution, in place."""
        if not self.branches:
            return
        large: Any = fuse_conv_bn_eval(self.lk_origin, self.origin_bn)
        for side, dilation in self.branches:
            small = fuse_conv_bn_eval(*self._branch(side, dilation))
            reach = dilation * (side // 2)
            rim = large.kernel_size[0] // 2 - reach
            taps = slice(rim, rim + 2 * reach + 1, dilation)
            large.weight[:, :, taps, taps] += small.weight
            large.bias += small.bias
            delattr(self, f"dil_conv_k{side}_{dilation}")
            delattr(self, f"dil_bn_k{side}_{dilation}")
        del self.origin_bn
        self.lk_origin, self.branches = large, ()


class SqueezeExcitation(nn.Module):
    """Channels scaled by what their means over the whole map say (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // 4, 1)
        self.up = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        means = F.adaptive_avg_pool2d(features, 1)
        return features * self.up(F.relu(self.down(means))).sigmoid()


class ResponseNormNHWC(nn.Module):
    """Global response normalisation of ``[N, H, W, C]`` (Woo et al., CVPR 2023)."""

    beta: nn.Parameter

    def __init__(self, channels: int, merged: bool) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        if not merged:  # the layer behind takes it over
            self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, H, W, C]`` to the same shape."""
        norms = torch.linalg.vector_norm(features, dim=(1, 2), keepdim=True)
        out = (self.gamma * (norms / (norms.mean(-1, keepdim=True) + 1e-6)) + 1) * features
        return out + self.beta if hasattr(self, "beta") else out


class Permutation(nn.Module):
    """Axes in another order; a module, since layers behind it are counted in their names."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, features: Tensor) -> Tensor:
        """Permute the axes."""
        return features.permute(self.axes)


class UniRepLKNetBlock(nn.Module):
    """A depthwise kernel, squeeze-and-excitation, feed-forward part, LayerScale, shortcut.

    Args:
        channels: width.
        kernel_size: 3, or the side of a large kernel.
        rate: of stochastic depth.
        merged: build the merged form, without BatchNorms and LayerScale.
    """

    gamma: nn.Parameter

    def __init__(self, channels: int, kernel_size: int, rate: float, merged: bool = False) -> None:
        super().__init__()
        large = kernel_size in _BRANCHES
        self.dwconv: Any = (
            DilatedReparamBlock(channels, kernel_size, merged)
            if large
            else depthwise(channels, kernel_size, bias=merged)
        )
        self.norm: Any = nn.Identity() if merged else nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels)
        width = 4 * channels
        self.pwconv1 = nn.Sequential(Permutation(0, 2, 3, 1), nn.Linear(channels, width))
        self.act = nn.Sequential(nn.GELU(), ResponseNormNHWC(width, merged))
        self.pwconv2 = nn.Sequential(
            nn.Linear(width, channels, bias=merged), Permutation(0, 3, 1, 2)
        )
        if not merged:
            self.pwconv2.append(nn.BatchNorm2d(channels))
            self.gamma = nn.Parameter(torch.full((channels,), _LAYER_SCALE))
        self.drop_path = drop_path(rate)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        out = self.pwconv1(self.se(self.norm(self.dwconv(features))))
        out = self.pwconv2(self.act(out))
        if hasattr(self, "gamma"):
            out = self.gamma[:, None, None] * out
        return features + self.drop_path(out)

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Merge branches, BatchNorms and LayerScale into the layers before them, in place.

        The name is timm's: ``timm.utils.reparameterize_model`` calls it.
        """
        if not hasattr(self, "gamma"):
            return
        if isinstance(self.dwconv, DilatedReparamBlock):
            self.dwconv.reparameterize()
            self.dwconv.lk_origin = fuse_conv_bn_eval(self.dwconv.lk_origin, self.norm)
        else:
            self.dwconv = fuse_conv_bn_eval(self.dwconv, self.norm)
        self.norm = nn.Identity()
        parts: Any = (*self.pwconv2, self.act[1])
        linear, permutation, norm, response = parts
        # The linear layer takes over GRN's shift, and then the BatchNorm and LayerScale.
        linear.bias = nn.Parameter(linear.weight @ response.beta.flatten(), False)
        linear = fuse_linear_bn_eval(linear, norm)
        linear.weight *= self.gamma[:, None]
        linear.bias *= self.gamma
        self.pwconv2 = nn.Sequential(linear, permutation)
        del response.beta, self.gamma


class UniRepLKNet(StagedNetwork):
    """UniRepLKNet for ``[N, 3, H, W]`` images of any size; the last map has stride 32.

    Args:
        variant: kernel sizes, widths and depths; the published ones are in :data:`VARIANTS`.
        num_classes: width of the classifier.
        drop_path_rate: stochastic depth, rising linearly over the blocks; used in training only.
        merged: build the form that ``timm.utils.reparameterize_model`` gives.
    """

    def __init__(
        self,
        variant: UniRepLKNetVariant,
        num_classes: int = 1000,
        drop_path_rate: float = 0.0,
        merged: bool = False,
    ) -> None:
        channels = [variant.width * 2**stage for stage in range(4)]
        super().__init__(channels, [f"stages.{stage}" for stage in range(4)])
        half = variant.width // 2
        stem = nn.Sequential(
            *(nn.Conv2d(3, half, 3, 2, 1), LayerNorm2d(half), nn.GELU()),
            *(nn.Conv2d(half, variant.width, 3, 2, 1), LayerNorm2d(variant.width)),
        )
        self.downsample_layers = nn.ModuleList([stem])
        for narrow, wide in pairwise(channels):
            self.downsample_layers.append(
                nn.Sequential(nn.Conv2d(narrow, wide, 3, 2, 1), LayerNorm2d(wide))
            )
        self.stages = nn.ModuleList()
        for stage, rates in enumerate(rising_rates(drop_path_rate, variant.layers)):
            blocks = [
                UniRepLKNetBlock(channels[stage], kernel_size, rate, merged)
                for kernel_size, rate in zip(variant.kernel_sizes(stage), rates, strict=True)
            ]
            self.stages.append(nn.Sequential(*blocks))
        self.norm = nn.LayerNorm(channels[-1], eps=1e-6)
        self.head = nn.Linear(channels[-1], num_classes)
        self.apply(truncated_normal)

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits ``[N, num_classes]``."""
        return self.head(self.norm(self.forward_features(images).mean((2, 3))))


FAMILY = NetworkFamily(UniRepLKNet, VARIANTS, ".lk_origin.bias")
