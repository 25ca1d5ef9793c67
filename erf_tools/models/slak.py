"""SLaK, written from its description (Liu et al., ICLR 2023, arXiv:2207.03620).

ConvNeXt with kernels up to 51x51 and beyond, each the sum of two strips and a small square: k x 5,
5 x k and 5 x 5, which merge into one kernel that is zero outside a cross. Weights are published of
sparse training; zeros are stored in them as all other values are. Module names are the official
ones, so that official state dicts load as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from erf_tools.kernels.depthwise import DepthwiseConv2d
from erf_tools.models.staged import (
    NetworkFamily,
    StagedNetwork,
    depthwise,
    drop_path,
    rising_rates,
    truncated_normal,
)


@dataclass(frozen=True)
class SLaKVariant:
    """The choices in which published SLaKs differ (paper, Section 4 and Appendix).

    Attributes:
        channels: width of each stage, those of ConvNeXt times 1.3, rounded down.
        layers: blocks per stage.
        kernel_sizes: length of the strips, per stage.
        small_kernel: width of the strips, and side of the square beside longer ones.
    """

    channels: tuple[int, int, int, int]
    layers: tuple[int, int, int, int]
    kernel_sizes: tuple[int, int, int, int] = (51, 49, 47, 13)
    small_kernel: int = 5


_TINY = SLaKVariant((124, 249, 499, 998), (3, 3, 9, 3))

#: As published, by name.
VARIANTS: dict[str, SLaKVariant] = {
    "t": _TINY,
    "s": replace(_TINY, layers=(3, 3, 27, 3)),
    "b": SLaKVariant((166, 332, 665, 1331), (3, 3, 27, 3)),
    "t31": replace(_TINY, kernel_sizes=(31, 29, 27, 13)),
    "t61": replace(_TINY, kernel_sizes=(61, 59, 57, 13)),
}

#: What LayerScale starts with.
_LAYER_SCALE = 1e-6


class StripConvBN(nn.Sequential):
    """An unbiased depthwise convolution with a kernel of any shape, and its BatchNorm."""

    conv: DepthwiseConv2d
    bn: nn.BatchNorm2d

    def __init__(self, channels: int, height: int, width: int) -> None:
        conv = DepthwiseConv2d(
            *(channels, channels, (height, width)),
            padding=(height // 2, width // 2),
            groups=channels,
            bias=False,
        )
        super().__init__(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))


class CrossKernelConv(nn.Module):
    """Two strips and a square as parallel depthwise convolutions (paper, Section 4.2).

    In merged form all are one biased convolution, ``lkb_reparam``, with a kernel that is a cross.

    Args:
        channels: width; each channel has its own kernels.
        kernel_size: length of the strips, odd.
        small_kernel: their width, odd.
        merged: build the merged form.
    """

    lkb_reparam: DepthwiseConv2d

    def __init__(
        self, channels: int, kernel_size: int, small_kernel: int, merged: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.kernel_size = channels, kernel_size
        if merged:
            self.lkb_reparam = self._whole()
            return
        self.LoRA1 = StripConvBN(channels, kernel_size, small_kernel)
        self.LoRA2 = StripConvBN(channels, small_kernel, kernel_size)
        if small_kernel < kernel_size:
            self.small_conv = StripConvBN(channels, small_kernel, small_kernel)

    def _whole(self) -> DepthwiseConv2d:
        return depthwise(self.channels, self.kernel_size)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``; the size stays."""
        if hasattr(self, "lkb_reparam"):
            return self.lkb_reparam(features)
        out = self.LoRA1(features) + self.LoRA2(features)
        return out + self.small_conv(features) if hasattr(self, "small_conv") else out

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Turn all branches into one biased convolution, in place.

        The name is timm's: ``timm.utils.reparameterize_model`` calls it.
        """
        if hasattr(self, "lkb_reparam"):
            return
        whole: Any = self._whole().to(self.LoRA1.conv.weight)
        whole.weight.zero_()
        whole.bias.zero_()
        for name in [name for name, _ in self.named_children()]:
            branch: Any = self.get_submodule(name)
            part: Any = fuse_conv_bn_eval(branch.conv, branch.bn)
            height, width = part.kernel_size
            top, left = (self.kernel_size - height) // 2, (self.kernel_size - width) // 2
            whole.weight[:, :, top : top + height, left : left + width] += part.weight
            whole.bias += part.bias
            delattr(self, name)
        self.lkb_reparam = whole


class SLaKBlock(nn.Module):
    """The block of ConvNeXt around a cross-shaped kernel."""

    def __init__(
        self, channels: int, kernel_size: int, small_kernel: int, rate: float, merged: bool
    ) -> None:
        super().__init__()
        self.large_kernel = CrossKernelConv(channels, kernel_size, small_kernel, merged)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), _LAYER_SCALE))
        self.drop_path = drop_path(rate)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        out = self.norm(self.large_kernel(features).permute(0, 2, 3, 1))
        out = self.gamma * self.pwconv2(self.act(self.pwconv1(out)))
        return features + self.drop_path(out.permute(0, 3, 1, 2))


class SLaK(StagedNetwork):
    """SLaK for ``[N, 3, H, W]`` images of any size; the last map has stride 32.

    Args:
        variant: kernel sizes, widths and depths; the published ones are in :data:`VARIANTS`.
        num_classes: width of the classifier.
        drop_path_rate: stochastic depth, rising linearly over the blocks; used in training only.
        merged: build the form that ``timm.utils.reparameterize_model`` gives.
    """

    def __init__(
        self,
        variant: SLaKVariant,
        num_classes: int = 1000,
        drop_path_rate: float = 0.0,
        merged: bool = False,
    ) -> None:
        channels = variant.channels
        super().__init__(channels, [f"stages.{stage}" for stage in range(len(channels))])
        stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), LayerNorm2d(channels[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for narrow, wide in pairwise(channels):
            self.downsample_layers.append(
                nn.Sequential(LayerNorm2d(narrow), nn.Conv2d(narrow, wide, 2, 2))
            )
        self.stages = nn.ModuleList()
        rates = rising_rates(drop_path_rate, variant.layers)
        for width, kernel_size, own in zip(channels, variant.kernel_sizes, rates, strict=True):
            sizes = (width, kernel_size, variant.small_kernel)
            self.stages.append(nn.Sequential(*(SLaKBlock(*sizes, rate, merged) for rate in own)))
        self.norm = nn.LayerNorm(channels[-1], eps=1e-6)
        self.head = nn.Linear(channels[-1], num_classes)
        self.apply(truncated_normal)

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits ``[N, num_classes]``."""
        return self.head(self.norm(self.forward_features(images).mean((2, 3))))


FAMILY = NetworkFamily(SLaK, VARIANTS, ".lkb_reparam.")
