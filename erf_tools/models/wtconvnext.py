"""WTConvNeXt, written from its description (Finder et al., ECCV 2024, arXiv:2407.05848).

ConvNeXt whose depthwise kernel sees far by wavelets: Haar transforms halve the map several times,
small depthwise kernels are put on the sub-bands of every level, and the inverse transforms bring
them together. Module names are the official ones, so that official state dicts load as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import LayerNorm2d, Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.kernels.haar import from_bands, to_bands
from erf_tools.models.staged import (
    NetworkFamily,
    StagedNetwork,
    depthwise,
    drop_path,
    rising_rates,
    truncated_normal,
)


@dataclass(frozen=True)
class WTConvNeXtVariant:
    """The choices in which published WTConvNeXts differ (paper, Section 5.1).

    Attributes:
        channels: width of each stage, those of ConvNeXt.
        layers: blocks per stage.
        levels: how often the map is halved, per stage.
        kernel_size: side of the kernels on the map and on all sub-bands.
    """

    channels: tuple[int, int, int, int]
    layers: tuple[int, int, int, int]
    levels: tuple[int, int, int, int] = (5, 4, 3, 2)
    kernel_size: int = 5


#: As published, by name.
VARIANTS: dict[str, WTConvNeXtVariant] = {
    "t": WTConvNeXtVariant((96, 192, 384, 768), (3, 3, 9, 3)),
    "s": WTConvNeXtVariant((96, 192, 384, 768), (3, 3, 27, 3)),
    "b": WTConvNeXtVariant((128, 256, 512, 1024), (3, 3, 27, 3)),
}

#: What LayerScale starts with.
_LAYER_SCALE = 1e-6

#: The four 2x2 filters of Haar's wavelets: means, and differences of rows, of columns, of both.
_HAAR = (((1, 1), (1, 1)), ((1, 1), (-1, -1)), ((1, -1), (1, -1)), ((1, -1), (-1, 1)))


class ChannelScale(nn.Module):
    """A factor for each channel; a module of its own for the sake of its name."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, channels, 1, 1), value))

    def forward(self, features: Tensor) -> Tensor:
        """Scale ``[N, C, H, W]``."""
        return self.weight * features


class WaveletConv(nn.Module):
    """A depthwise convolution of a map and of its wavelet sub-bands (paper, Section 3.3).

    Args:
        channels: width; each channel has its own kernels.
        kernel_size: side of all of them, odd.
        levels: how often the map is halved.
    """

    def __init__(self, channels: int, kernel_size: int, levels: int) -> None:
        super().__init__()
        haar = torch.tensor(_HAAR)[:, None].repeat(channels, 1, 1, 1) / 2
        self.wt_filter = nn.Parameter(haar, requires_grad=False)
        self.iwt_filter = nn.Parameter(haar.clone(), requires_grad=False)
        self.base_conv = depthwise(channels, kernel_size, bias=True)
        self.base_scale = ChannelScale(channels, 1.0)
        bands = 4 * channels
        self.wavelet_convs = nn.ModuleList(
            depthwise(bands, kernel_size, bias=False) for _ in range(levels)
        )
        self.wavelet_scale = nn.ModuleList(ChannelScale(bands, 0.1) for _ in range(levels))

    def forward(self, features: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``; the size stays."""
        out = self.base_scale(self.base_conv(features))
        return out + self._of_bands(features, 0) if self.wavelet_convs else out

    def _of_bands(self, features: Tensor, level: int) -> Tensor:
        """Return what the sub-bands of a map give from this level on, in the map's size."""
        _, channels, height, width = features.shape
        even = F.pad(features, (0, width % 2, 0, height % 2))
        bands = F.conv2d(even, self.wt_filter, stride=2, groups=channels)
        out = self.wavelet_scale[level](self.wavelet_convs[level](bands))
        if level + 1 < len(self.wavelet_convs):
            means = bands.unflatten(1, (channels, 4))[:, :, 0]
            deeper = F.pad(self._of_bands(means, level + 1)[:, :, None], (0, 0, 0, 0, 0, 3))
            out = out + deeper.flatten(1, 2)
        back = F.conv_transpose2d(out, self.iwt_filter, stride=2, groups=channels)
        return back[:, :, :height, :width]

    def fuse(self) -> nn.Module:
        """Return what computes the same in less time; itself where the wavelets are not Haar's.

        The name is timm's: ``timm.utils.reparameterize_model`` calls it.
        """
        haar = torch.tensor(_HAAR)[:, None].to(self.wt_filter) / 2
        filters = (self.wt_filter, self.iwt_filter)
        same = all(torch.allclose(own.unflatten(0, (-1, 4)), haar, rtol=1e-6) for own in filters)
        return FusedWaveletConv(self) if same else self


class FusedWaveletConv(nn.Module):
    """A :class:`WaveletConv` with scales folded into kernels, and its wavelets as sums; frozen."""

    @torch.no_grad()
    def __init__(self, kernels: WaveletConv) -> None:
        super().__init__()
        base: Any = copy.deepcopy(kernels.base_conv)
        scale = kernels.base_scale.weight.flatten()
        base.weight *= scale[:, None, None, None]
        base.bias *= scale
        self.base_conv = base
        self.wavelet_convs = copy.deepcopy(kernels.wavelet_convs)
        parts: Any = zip(self.wavelet_convs, kernels.wavelet_scale, strict=True)
        for level, (conv, scaling) in enumerate(parts):
            # Each level's sums are twice what they should be, on the way down and on the way up.
            weight = conv.weight * scaling.weight.flatten()[:, None, None, None] / 4 ** (level + 1)
            # A sub-band's channels become neighbours; they were a channel's sub-bands.
            conv.weight.copy_(weight.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1))
        self.requires_grad_(False).train(kernels.training)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``; the size stays."""
        out = self.base_conv(features)
        return out + self._of_bands(features, 0) if self.wavelet_convs else out

    def _of_bands(self, features: Tensor, level: int) -> Tensor:
        height, width = features.shape[2:]
        if height % 2 or width % 2:
            features = F.pad(features, (0, width % 2, 0, height % 2))
        bands, means = to_bands(features)
        out = self.wavelet_convs[level](bands)
        deeper = self._of_bands(means, level + 1) if level + 1 < len(self.wavelet_convs) else None
        return from_bands(out, deeper)[:, :, :height, :width]


class WTConvNeXtBlock(nn.Module):
    """The block of ConvNeXt around a wavelet convolution."""

    def __init__(self, channels: int, kernel_size: int, levels: int, rate: float) -> None:
        super().__init__()
        self.conv_dw = WaveletConv(channels, kernel_size, levels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, 4 * channels)
        self.gamma = nn.Parameter(torch.full((channels,), _LAYER_SCALE))
        self.drop_path = drop_path(rate)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        out = self.gamma * self.mlp(self.norm(self.conv_dw(features).permute(0, 2, 3, 1)))
        return features + self.drop_path(out.permute(0, 3, 1, 2))


class WTConvNeXtStage(nn.Module):
    """Blocks at one resolution, behind what halves it but for the first stage."""

    def __init__(
        self, variant: WTConvNeXtVariant, stage: int, below: int, rates: list[float]
    ) -> None:
        super().__init__()
        channels, levels = variant.channels[stage], variant.levels[stage]
        self.downsample = (
            nn.Sequential(LayerNorm2d(below), nn.Conv2d(below, channels, 2, 2))
            if stage
            else nn.Identity()
        )
        self.blocks = nn.Sequential(
            *(WTConvNeXtBlock(channels, variant.kernel_size, levels, rate) for rate in rates)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the stage's output."""
        return self.blocks(self.downsample(features))


class ConvNeXtHead(nn.Module):
    """Pooling, norm and classifier."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return class logits of ``[N, C, H, W]``."""
        return self.fc(self.norm(features.mean((2, 3), keepdim=True)).flatten(1))


class WTConvNeXt(StagedNetwork):
    """WTConvNeXt for ``[N, 3, H, W]`` images of any size; the last map has stride 32.

    Args:
        variant: levels, widths and depths; the published ones are in :data:`VARIANTS`.
        num_classes: width of the classifier.
        drop_path_rate: stochastic depth, rising linearly over the blocks; used in training only.
    """

    def __init__(
        self, variant: WTConvNeXtVariant, num_classes: int = 1000, drop_path_rate: float = 0.0
    ) -> None:
        channels = variant.channels
        super().__init__(channels, [f"stages.{stage}" for stage in range(len(channels))])
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), LayerNorm2d(channels[0]))
        self.stages = nn.ModuleList()
        for stage, rates in enumerate(rising_rates(drop_path_rate, variant.layers)):
            below = channels[max(stage - 1, 0)]
            self.stages.append(WTConvNeXtStage(variant, stage, below, rates))
        self.head = ConvNeXtHead(channels[-1], num_classes)
        self.apply(truncated_normal)

    def run_stages(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the output of each stage; see :class:`~erf_tools.models.staged.StagedNetwork`."""
        features = self.stem(images)
        for stage in self.stages:
            features = stage(features)
            yield features

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits ``[N, num_classes]``."""
        return self.head(self.forward_features(images))


FAMILY = NetworkFamily(WTConvNeXt, VARIANTS, classifier="head.fc")
