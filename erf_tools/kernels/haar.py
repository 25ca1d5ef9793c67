"""Haar's wavelet transform of maps and its inverse, by sums and differences.

Both are left without the factor of a half, which their user can put into weights. Of torch's ways,
a convolution with stride 2 and groups, and its transposed form, take five and eight ms of one AVX2
core for [1, 96, 128, 128] in channels_last; this takes three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from erf_tools.kernels.direct import memory_format


def to_bands(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return twice the four sub-bands of maps, and the first of them by itself.

    Args:
        features: ``[N, C, H, W]``, rows and columns even in number.

    Returns:
        ``[N, 4 * C, H / 2, W / 2]``: means of all channels, then differences of rows, of columns
        and of both; and the means, ``[N, C, H / 2, W / 2]``. Both have the format of the maps.
    """
    return _ToBands.apply(features)


def from_bands(bands: Tensor, means: Tensor | None = None) -> Tensor:
    """Return twice the maps ``[N, C, H, W]`` that have these sub-bands.

    Args:
        bands: ``[N, 4 * C, H / 2, W / 2]``, in the order of :func:`to_bands`.
        means: ``[N, C, H / 2, W / 2]`` to be added to the first of them.
    """
    return _FromBands.apply(bands, means)


class _ToBands(torch.autograd.Function):
    """The transform is symmetric, so that the gradient is the inverse's value."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return _split(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bands: Tensor | None, means: Tensor | None) -> Tensor | None:
        if bands is None:
            if means is None:
                return None
            bands = means.new_zeros(means.shape[0], 4 * means.shape[1], *means.shape[2:])
        return _join(bands, means)


class _FromBands(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bands: Tensor, means: Tensor | None) -> Tensor:
        return _join(bands, means)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        bands, means = _split(gradient)
        return bands, means if ctx.needs_input_grad[1] else None


def _split(features: Tensor) -> tuple[Tensor, Tensor]:
    images, channels, height, width = features.shape
    bands = torch.empty(
        (images, 4 * channels, height // 2, width // 2),
        dtype=features.dtype,
        device=features.device,
        memory_format=memory_format(features),
    )
    parts = bands.chunk(4, dim=1)
    _butterfly(_corners(features), parts)
    return bands, parts[0]


def _join(bands: Tensor, means: Tensor | None) -> Tensor:
    images, channels, height, width = bands.shape
    features = torch.empty(
        (images, channels // 4, 2 * height, 2 * width),
        dtype=bands.dtype,
        device=bands.device,
        memory_format=memory_format(bands),
    )
    first, *others = bands.chunk(4, dim=1)
    _butterfly([first if means is None else first + means, *others], _corners(features))
    return features


def _corners(features: Tensor) -> list[Tensor]:
    """Return each 2x2 block's upper left, lower left, upper right and lower right values."""
    return [features[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]


def _butterfly(parts: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    """Multiply four parts with Hadamard's matrix, into four others."""
    first, second, third, fourth = parts
    total, rows, columns, both = outs
    torch.add(first, second, out=total)
    torch.sub(first, second, out=rows)
    right, right_rows = third + fourth, third - fourth
    torch.sub(total, right, out=columns)
    torch.sub(rows, right_rows, out=both)
    total += right
    rows += right_rows
