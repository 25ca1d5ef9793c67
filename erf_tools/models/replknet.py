"""RepLKNet, written from its description (Ding et al., CVPR 2022, arXiv:2203.06717).

The macro-architecture follows Swin: a stem, four stages and three transitions. A stage is made of
pairs: a RepLK block (large depthwise kernel) and a ConvFFN block. Module names are the official
ones, so that official state dicts load as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from erf_tools.kernels.depthwise import DepthwiseConv2d
from erf_tools.models.renamings import mmpretrain_to_official
from erf_tools.models.staged import (
    NetworkFamily,
    StagedNetwork,
    depthwise,
    drop_path,
    rising_rates,
)


@dataclass(frozen=True)
class Variant:
    """The choices in which published RepLKNets differ (paper, Section 4.1).

    Attributes:
        kernel_sizes: of the large kernels, per stage.
        channels: width of each stage.
        small_kernel: side of the parallel re-parameterisation kernel, or ``None`` for none.
        dw_ratio: width of the depthwise layer over that of the stage.
        layers: pairs of RepLK and ConvFFN blocks, per stage.
    """

    kernel_sizes: tuple[int, int, int, int]
    channels: tuple[int, int, int, int] = (128, 256, 512, 1024)
    small_kernel: int | None = 5
    dw_ratio: float = 1.0
    layers: tuple[int, int, int, int] = (2, 2, 18, 2)


#: As published, by name.
VARIANTS: dict[str, Variant] = {
    "31b": Variant((31, 29, 27, 13)),
    "31l": Variant((31, 29, 27, 13), (192, 384, 768, 1536)),
    "xl": Variant((27, 27, 27, 13), (256, 512, 1024, 2048), small_kernel=None, dw_ratio=1.5),
    "13": Variant((13, 13, 13, 13)),
    # A 5x5 beside a 3x3 would make the control a net of 5x5 kernels.
    "3": Variant((3, 3, 3, 3), small_kernel=None),
}


class ConvBN(nn.Sequential):
    """An unbiased ``same``-padded convolution and its BatchNorm, with or without a ReLU."""

    conv: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        relu: bool = False,
    ) -> None:
        padding = kernel_size // 2
        convolution = DepthwiseConv2d if groups > 1 and stride == 1 else nn.Conv2d
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv=convolution(
                in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
            ),
            bn=nn.BatchNorm2d(out_channels),
        )
        if relu:
            layers["nonlinear"] = nn.ReLU()
        super().__init__(layers)

    def fold(self) -> None:
        """Fold the BatchNorm into the convolution, in place."""
        self.conv = fuse_conv_bn_eval(self.conv, self.bn)
        del self.bn


class LargeKernelConv(nn.Module):
    """A large depthwise convolution with a parallel small one (paper, Section 3.2).

    In merged form both are one biased convolution, ``lkb_reparam``.

    Args:
        channels: width; each channel has its own kernel.
        kernel_size: side of the large kernel, odd.
        small_kernel: side of the small one, odd, or ``None``.
        merged: build the merged form.
    """

    lkb_origin: ConvBN
    small_conv: ConvBN
    lkb_reparam: nn.Conv2d

    def __init__(
        self, channels: int, kernel_size: int, small_kernel: int | None, merged: bool = False
    ) -> None:
        super().__init__()
        if merged:
            self.lkb_reparam = depthwise(channels, kernel_size)
            return
        self.lkb_origin = ConvBN(channels, channels, kernel_size, groups=channels)
        if small_kernel is not None:
            self.small_conv = ConvBN(channels, channels, small_kernel, groups=channels)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``; the size stays."""
        if hasattr(self, "lkb_reparam"):
            return self.lkb_reparam(features)
        out = self.lkb_origin(features)
        return out + self.small_conv(features) if hasattr(self, "small_conv") else out

    def reparameterize(self) -> None:
        """Turn both branches into one biased convolution, in place.

        The name is timm's: ``timm.utils.reparameterize_model`` calls it.
        """
        if hasattr(self, "lkb_reparam"):
            return
        self.lkb_origin.fold()
        large = self.lkb_origin.conv
        if hasattr(self, "small_conv"):
            self.small_conv.fold()
            small = self.small_conv.conv
            rim = (large.kernel_size[0] - small.kernel_size[0]) // 2
            with torch.no_grad():
                large.weight += F.pad(small.weight, [rim] * 4)
                large.bias += small.bias  # type: ignore[operator]
            del self.small_conv
        del self.lkb_origin
        self.lkb_reparam = large


class RepLKBlock(nn.Module):
    """BN, 1x1, large depthwise, 1x1, shortcut (paper, Figure 2)."""

    def __init__(
        self,
        channels: int,
        dw_channels: int,
        kernel_size: int,
        small_kernel: int | None,
        rate: float,
        merged: bool,
    ) -> None:
        super().__init__()
        self.pw1 = ConvBN(channels, dw_channels, 1, relu=True)
        self.pw2 = ConvBN(dw_channels, channels, 1)
        self.large_kernel = LargeKernelConv(dw_channels, kernel_size, small_kernel, merged)
        self.lk_nonlinear = nn.ReLU()
        self.prelkb_bn = nn.BatchNorm2d(channels)
        self.drop_path = drop_path(rate)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        out = self.pw1(self.prelkb_bn(features))
        out = self.pw2(self.lk_nonlinear(self.large_kernel(out)))
        return features + self.drop_path(out)


class ConvFFN(nn.Module):
    """BN, 1x1 to ``internal_channels``, GELU, 1x1 back, shortcut (paper, Figure 2)."""

    def __init__(self, channels: int, internal_channels: int, rate: float) -> None:
        super().__init__()
        self.preffn_bn = nn.BatchNorm2d(channels)
        self.pw1 = ConvBN(channels, internal_channels, 1)
        self.pw2 = ConvBN(internal_channels, channels, 1)
        self.nonlinear = nn.GELU()
        self.drop_path = drop_path(rate)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        out = self.pw2(self.nonlinear(self.pw1(self.preffn_bn(features))))
        return features + self.drop_path(out)


class RepLKNetStage(nn.Module):
    """Pairs of a RepLK block and a ConvFFN block at one resolution."""

    def __init__(self, variant: Variant, stage: int, rates: list[float], merged: bool) -> None:
        super().__init__()
        channels = variant.channels[stage]
        self.blocks = nn.ModuleList()
        for rate in rates:
            self.blocks.append(
                RepLKBlock(
                    channels,
                    int(channels * variant.dw_ratio),
                    variant.kernel_sizes[stage],
                    variant.small_kernel,
                    rate,
                    merged,
                )
            )
            self.blocks.append(ConvFFN(channels, 4 * channels, rate))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        for block in self.blocks:
            features = block(features)
        return features


class RepLKNet(StagedNetwork):
    """RepLKNet for ``[N, 3, H, W]`` images of any size; the last map has stride 32.

    Args:
        variant: kernel sizes, widths and depths; the published ones are in :data:`VARIANTS`.
        num_classes: width of the classifier.
        drop_path_rate: stochastic depth, rising linearly over the pairs of blocks; used in
            training only.
        merged: build the form that ``timm.utils.reparameterize_model`` gives, which is that of
            official merged files.
    """

    def __init__(
        self,
        variant: Variant,
        num_classes: int = 1000,
        drop_path_rate: float = 0.0,
        merged: bool = False,
    ) -> None:
        channels = variant.channels
        super().__init__(channels, [f"stages.{stage}" for stage in range(len(channels))])
        base = channels[0]
        self.stem = nn.ModuleList(
            [
                ConvBN(3, base, 3, stride=2, relu=True),
                ConvBN(base, base, 3, groups=base, relu=True),
                ConvBN(base, base, 1, relu=True),
                ConvBN(base, base, 3, stride=2, groups=base, relu=True),
            ]
        )
        rates = rising_rates(drop_path_rate, variant.layers)
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for stage in range(len(channels)):
            self.stages.append(RepLKNetStage(variant, stage, rates[stage], merged))
            if stage + 1 < len(channels):
                wider = channels[stage + 1]
                self.transitions.append(
                    nn.Sequential(
                        ConvBN(channels[stage], wider, 1, relu=True),
                        ConvBN(wider, wider, 3, stride=2, groups=wider, relu=True),
                    )
                )
        self.norm = nn.BatchNorm2d(channels[-1])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels[-1], num_classes)

    def run_stages(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the output of each stage; see :class:`~erf_tools.models.staged.StagedNetwork`."""
        features = images
        for layer in self.stem:
            features = layer(features)
        for index, stage in enumerate(self.stages):
            features = stage(self.transitions[index - 1](features) if index else features)
            yield features

    def normalised(self, features: Tensor) -> Tensor:
        """Put the final norm on the last stage's output."""
        return self.norm(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits ``[N, num_classes]``."""
        features = self.normalised(self.forward_features(images))
        return self.head(self.avgpool(features).flatten(1))


FAMILY = NetworkFamily(RepLKNet, VARIANTS, ".lkb_reparam.", (mmpretrain_to_official,))
