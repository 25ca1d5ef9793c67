"""What the networks built here have in common with timm's: stages that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from timm.layers import DropPath
from torch import Tensor, nn

from erf_tools.kernels.depthwise import DepthwiseConv2d
from erf_tools.models.fitting import Renaming


class StagedNetwork(nn.Module):
    """A network of stages for ``[N, 3, H, W]`` images, which says so as timm's networks do.

    Args:
        channels: width of each stage's output, of stride 4, 8, 16 and so on.
        modules: dotted names of the modules that the stages end with.
    """

    def __init__(self, channels: Sequence[int], modules: Sequence[str]) -> None:
        super().__init__()
        self.num_features = channels[-1]
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**stage, "module": module}
            for stage, (width, module) in enumerate(zip(channels, modules, strict=True))
        ]

    def run_stages(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the output of each stage, ``[N, C, H, W]``; no stage is run before it is needed.

        Here, that of each of ``stages`` behind its part of ``downsample_layers``.
        """
        features = images
        parts: Any = (self.downsample_layers, self.stages)
        for downsample, stage in zip(*parts, strict=True):
            features = stage(downsample(features))
            yield features

    def normalised(self, features: Tensor) -> Tensor:
        """Put the final norm on the last stage's output; none where pooling comes before it."""
        return features

    def forward_intermediates(
        self,
        images: Tensor,
        indices: Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the outputs of stages, as timm's networks do.

        Args:
            images: ``[N, 3, H, W]``.
            indices: which stages; all by default.
            norm: put the final norm on the last stage's output.
            stop_early: run no stage behind the last that is asked for.
            output_fmt: ``NCHW``, the only one there is.
            intermediates_only: return the list alone.

        Returns:
            The last output and the list of the stages asked for, or the list alone.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}; {type(self).__name__} gives NCHW")
        last = len(self.feature_info) - 1
        wanted = range(last + 1) if indices is None else indices
        features, intermediates = images, []
        for index, output in enumerate(self.run_stages(images)):
            features = output
            if index in wanted:
                intermediates.append(self.normalised(output) if norm and index == last else output)
            if stop_early and index >= max(wanted):
                break
        return intermediates if intermediates_only else (features, intermediates)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last stage's output, before the final norm: ``[N, C, H / 32, W / 32]``."""
        *_, last = self.run_stages(images)
        return last


@dataclass(frozen=True)
class NetworkFamily:
    """Networks that are built here by one module, which has this as its ``FAMILY``.

    The names of their layers are the official ones.

    Attributes:
        network: their class, which takes a variant, and ``merged`` where there is such a form.
        variants: the published ones by name.
        merged_mark: a part of names that only merged files have; empty where there is no such form.
        renamings: what brings the names of other libraries to the official ones.
        classifier: name of its layer.
    """

    network: Callable[..., StagedNetwork]
    variants: Mapping[str, Any]
    merged_mark: str = ""
    renamings: tuple[Renaming, ...] = ()
    classifier: str = "head"

    def is_merged(self, names: Iterable[str]) -> bool:
        """Tell whether a state dict with these names is of the merged form."""
        return bool(self.merged_mark) and any(self.merged_mark in name for name in names)

    def build(self, variant: str, merged: bool = False) -> StagedNetwork:
        """Build a published variant, freshly initialised; merged where there is such a form."""
        form = {"merged": merged} if self.merged_mark else {}
        return self.network(self.variants[variant], **form)


def family_of(module: str) -> NetworkFamily:
    """Return the family that a module here builds."""
    found: NetworkFamily = import_module(f"erf_tools.models.{module}").FAMILY
    return found


def depthwise(
    channels: int, kernel_size: int, dilation: int = 1, bias: bool = True
) -> DepthwiseConv2d:
    """Return a depthwise convolution with a square kernel of odd side; the map's size stays."""
    return DepthwiseConv2d(
        *(channels, channels, kernel_size),
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        groups=channels,
        bias=bias,
    )


def rising_rates(rate: float, layers: Sequence[int]) -> list[list[float]]:
    """Return stochastic depth's rate for each block of each stage, rising linearly to ``rate``."""
    rates = iter(np.linspace(0, rate, sum(layers)).tolist())
    return [[next(rates) for _ in range(blocks)] for blocks in layers]


def drop_path(rate: float) -> nn.Module:
    """Return stochastic depth of a rate; it drops branches in training only."""
    return DropPath(rate) if rate > 0 else nn.Identity()


def truncated_normal(module: nn.Module) -> None:
    """Initialise a convolution or a linear layer as ConvNeXt and its kin do."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
