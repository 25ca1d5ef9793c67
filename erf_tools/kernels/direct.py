"""Depthwise convolutions as torch itself computes them, in three ways."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def memory_format(features: Tensor) -> torch.memory_format:
    """Return the format that a tensor has, or that it was cropped from."""
    if features.shape[1] > 1 and features.stride(1) == 1 and not features.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def crop(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Drop the taps that meet nothing but padding in maps of this size."""
    rows, columns = (
        max(0, taps // 2 - (side - 1)) for taps, side in zip(weight.shape[2:], size, strict=True)
    )
    height, width = weight.shape[2:]
    # Going through three dimensions drops a channels_last format, which the output would inherit.
    return weight[:, 0, rows : height - rows, columns : width - columns][:, None]


def plain(features: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve ``[N, C, H, W]`` with a kernel ``[C, 1, h, w]``, in the format that it has."""
    height, width = kernel.shape[2:]
    out = F.conv2d(
        features, kernel, bias, padding=(height // 2, width // 2), groups=kernel.shape[0]
    )
    return out.contiguous(memory_format=memory_format(features))


def in_other_layout(features: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve NCHW in channels_last, and channels_last in NCHW."""
    own = memory_format(features)
    nchw = own == torch.contiguous_format
    other = torch.channels_last if nchw else torch.contiguous_format
    return plain(features.contiguous(memory_format=other), kernel, bias).contiguous(
        memory_format=own
    )


def transposed(features: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with the flipped kernel. oneDNN is faster here if the bias is added by torch."""
    height, width = kernel.shape[2:]
    out = F.conv_transpose2d(
        features, kernel, padding=(height // 2, width // 2), groups=kernel.shape[0]
    )
    out = out.contiguous(memory_format=memory_format(features))
    return out if bias is None else out.add_(bias[:, None, None])
