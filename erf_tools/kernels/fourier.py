"""Depthwise convolutions, and gradients to their kernels, by the fast Fourier transform."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F

from erf_tools.kernels.direct import crop

#: Elements of the FFTs that are done at a time on a CPU, so that they stay in its caches.
_CHUNK = 2**18

#: Types that the FFT is used for: in 16 bits it would round too coarsely.
TRANSFORMED = (torch.float32, torch.float64)


def transform_size(kernel: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of the FFT of a cropped kernel and a map of this size.

    Half a kernel beyond the map is enough: what wraps around then only meets zeros.
    """
    rows, columns = (
        next_fast_len(side + taps // 2, real=True)
        for side, taps in zip(size, kernel.shape[2:], strict=True)
    )
    return rows, columns


def transform(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the spectrum ``[C, rows, columns]`` of a kernel whose centre is at the origin."""
    kernel = crop(weight.detach(), size)[:, 0]
    rows, columns = transform_size(kernel[:, None], size)
    height, width = kernel.shape[1:]
    padded = F.pad(kernel, (0, columns - width, 0, rows - height))
    return torch.fft.rfft2(padded.roll((-(height // 2), -(width // 2)), (1, 2)))


def convolve(
    features: Tensor,
    spectrum: Tensor,
    transform_size: tuple[int, int],
    bias: Tensor | None,
    flipped: bool,
) -> Tensor:
    """Multiply spectra. What networks call convolution is correlation, hence the conjugate."""
    channels, height, width = features.shape[1:]
    together = _together(features, transform_size)
    out = torch.empty_like(features)
    for start in range(0, channels, together):
        part = slice(start, start + together)
        product = torch.fft.rfft2(features[:, part], s=transform_size)
        product *= spectrum[part] if flipped else spectrum[part].conj()
        maps = torch.fft.irfft2(product, s=transform_size)[..., :height, :width]
        out[:, part] = maps if bias is None else maps + bias[part, None, None]
    return out


def _together(features: Tensor, transform_size: Sequence[int]) -> int:
    """Return how many channels to transform at a time."""
    if features.device.type != "cpu":
        return features.shape[1]
    return max(1, _CHUNK // (len(features) * transform_size[0] * transform_size[1]))


def weight_gradient(gradient: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient to a weight ``[C, 1, h, w]``: maps correlated with their gradients."""
    taps = weight.shape[2:]
    transform_size = [
        next_fast_len(side + tap // 2, real=True)
        for side, tap in zip(features.shape[2:], taps, strict=True)
    ]
    # Taps beyond half of the transform would wrap around; they meet nothing but padding.
    inner = crop(weight, (features.shape[2], features.shape[3]))
    rows, columns = inner.shape[2:]
    found = torch.zeros_like(inner)
    together = _together(features, transform_size)
    for start in range(0, features.shape[1], together):
        part = slice(start, start + together)
        spectrum = torch.fft.rfft2(features[:, part], s=transform_size)
        spectrum *= torch.fft.rfft2(gradient[:, part], s=transform_size).conj()
        offsets = torch.fft.irfft2(spectrum.sum(dim=0), s=transform_size)
        found[part, 0] = offsets.roll((rows // 2, columns // 2), (1, 2))[:, :rows, :columns]
    rim = [(tap - kept) // 2 for tap, kept in zip(taps, (rows, columns), strict=True)]
    return F.pad(found, [rim[1], rim[1], rim[0], rim[0]])
