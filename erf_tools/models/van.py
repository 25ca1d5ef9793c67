"""VAN, the Visual Attention Network, written from its description (Guo et al., arXiv:2202.09741).

A large kernel made of small ones: a 5x5 depthwise convolution, a 7x7 one with dilation 3 and a 1x1
convolution give the attention that their input is multiplied with. Module names are the official
ones, so that official state dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from erf_tools.models.staged import (
    NetworkFamily,
    StagedNetwork,
    depthwise,
    drop_path,
    rising_rates,
)


@dataclass(frozen=True)
class VANVariant:
    """The choices in which published VANs differ (paper, Table 2).

    Attributes:
        channels: width of each stage.
        layers: blocks per stage.
        expansions: width of the feed-forward part over that of the stage.
    """

    channels: tuple[int, int, int, int]
    layers: tuple[int, int, int, int]
    expansions: tuple[int, int, int, int] = (8, 8, 4, 4)


#: As published, by name.
VARIANTS: dict[str, VANVariant] = {
    "b0": VANVariant((32, 64, 160, 256), (3, 3, 5, 2)),
    "b1": VANVariant((64, 128, 320, 512), (2, 2, 4, 2)),
    "b2": VANVariant((64, 128, 320, 512), (3, 3, 12, 3)),
    "b3": VANVariant((64, 128, 320, 512), (3, 5, 27, 3)),
}

#: What LayerScale starts with.
_LAYER_SCALE = 1e-2


class LargeKernelAttention(nn.Module):
    """What a 21x21 convolution would give, from three small ones, times the input (Section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = depthwise(channels, 5)
        self.conv_spatial = depthwise(channels, 7, dilation=3)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        return features * self.conv1(self.conv_spatial(self.conv0(features)))


class Attention(nn.Module):
    """1x1, GELU, large-kernel attention, 1x1, shortcut (Figure 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = LargeKernelAttention(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        out = self.spatial_gating_unit(self.activation(self.proj_1(features)))
        return features + self.proj_2(out)


class DepthwisePart(nn.Module):
    """A 3x3 depthwise convolution; a module of its own for the sake of its name."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = depthwise(channels, 3)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``; the size stays."""
        return self.dwconv(features)


class FeedForward(nn.Module):
    """1x1 to a larger width, 3x3 depthwise, GELU, 1x1 back."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, width, 1)
        self.dwconv = DepthwisePart(width)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(width, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        return self.fc2(self.act(self.dwconv(self.fc1(features))))


class VANBlock(nn.Module):
    """Attention, then the feed-forward part, each behind a BatchNorm and scaled per channel."""

    def __init__(self, channels: int, expansion: int, rate: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = Attention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = FeedForward(channels, expansion * channels)
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), _LAYER_SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), _LAYER_SCALE))
        self.drop_path = drop_path(rate)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to the same shape."""
        attended = self.layer_scale_1[:, None, None] * self.attn(self.norm1(features))
        features = features + self.drop_path(attended)
        fed = self.layer_scale_2[:, None, None] * self.mlp(self.norm2(features))
        return features + self.drop_path(fed)


class PatchEmbedding(nn.Module):
    """A strided convolution whose windows overlap, and its BatchNorm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to a map that is smaller by the stride."""
        return self.norm(self.proj(features))


class VAN(StagedNetwork):
    """VAN for ``[N, 3, H, W]`` images of any size; the last map has stride 32.

    Args:
        variant: widths and depths; the published ones are in :data:`VARIANTS`.
        num_classes: width of the classifier.
        drop_path_rate: stochastic depth, rising linearly over the blocks; used in training only.
    """

    def __init__(
        self, variant: VANVariant, num_classes: int = 1000, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__(variant.channels, [f"block{number}" for number in range(1, 5)])
        rates = rising_rates(drop_path_rate, variant.layers)
        below = 3
        for stage, channels in enumerate(variant.channels):
            kernel_size, stride = (3, 2) if stage else (7, 4)
            embedding = PatchEmbedding(below, channels, kernel_size, stride)
            blocks = [VANBlock(channels, variant.expansions[stage], rate) for rate in rates[stage]]
            self.add_module(f"patch_embed{stage + 1}", embedding)
            self.add_module(f"block{stage + 1}", nn.Sequential(*blocks))
            self.add_module(f"norm{stage + 1}", nn.LayerNorm(channels, eps=1e-6))
            below = channels
        self.head = nn.Linear(below, num_classes)
        self.apply(_initialise)

    def _stage_norm(self, stage: int, features: Tensor) -> Tensor:
        norm = self.get_submodule(f"norm{stage}")
        return norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def run_stages(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the output of each stage; see :class:`~erf_tools.models.staged.StagedNetwork`."""
        features = images
        for stage in range(1, 5):
            if stage > 1:
                features = self._stage_norm(stage - 1, features)
            embedded = self.get_submodule(f"patch_embed{stage}")(features)
            features = self.get_submodule(f"block{stage}")(embedded)
            yield features

    def normalised(self, features: Tensor) -> Tensor:
        """Put the final norm on the last stage's output."""
        return self._stage_norm(4, features)

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits ``[N, num_classes]``."""
        return self.head(self.normalised(self.forward_features(images)).mean((2, 3)))


def _initialise(module: nn.Module) -> None:
    """Initialise a layer as the authors do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        taps = module.kernel_size[0] * module.kernel_size[1]
        fan_out = taps * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


FAMILY = NetworkFamily(VAN, VARIANTS)
