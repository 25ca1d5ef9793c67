"""Dilated depthwise convolutions from interleaved parts, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from erf_tools.kernels import dilated, fourier
from erf_tools.kernels.depthwise import DepthwiseConv2d, exact_dependency

FORMATS = (torch.contiguous_format, torch.channels_last)

# Images, channels, height, width; kernel; dilation.
SHAPES = (
    ((2, 3, 24, 18), (7, 7), (3, 3)),
    ((1, 4, 17, 20), (7, 7), (3, 3)),
    ((1, 2, 5, 4), (7, 7), (3, 3)),
    ((2, 3, 16, 9), (3, 5), (1, 2)),
    ((1, 2, 13, 13), (3, 3), (5, 4)),
    ((1, 1, 40, 31), (21, 21), (2, 2)),
    ((2, 3, 1, 1), (3, 3), (2, 2)),
)


def make(
    shape: tuple[int, ...], kernel: tuple[int, int], dilation: tuple[int, int], dtype: torch.dtype
) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    padding = tuple(d * (side // 2) for d, side in zip(dilation, kernel, strict=True))
    channels = shape[1]
    conv = DepthwiseConv2d(
        channels, channels, kernel, padding=padding, dilation=dilation, groups=channels
    )
    return conv.to(dtype), torch.randn(shape, dtype=dtype)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("shape", "kernel", "dilation"), SHAPES)
def test_dilated_is_torchs_convolution(
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> None:
    conv, features = make(shape, kernel, dilation, dtype)
    features = features.contiguous(memory_format=memory_format).requires_grad_()
    gradient = torch.randn(shape, dtype=dtype)
    out = conv(features)
    assert out.is_contiguous(memory_format=memory_format)
    inputs = (features, conv.weight, conv.bias)
    actual = [out.detach(), *torch.autograd.grad(out, inputs, gradient)]
    own = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = F.conv2d(*own, padding=conv.padding, dilation=dilation, groups=shape[1])
    wanted = [expected.detach(), *torch.autograd.grad(expected, own, gradient.double())]
    for ours, theirs in zip(actual, wanted, strict=True):
        limit = 1e-12 if dtype == torch.float64 else 1e-5
        assert (ours.double() - theirs).norm() <= limit * theirs.norm()


def test_parts_are_cut_and_joined_without_loss() -> None:
    features = torch.arange(2.0 * 3 * 7 * 8).reshape(2, 3, 7, 8)
    for memory_format in FORMATS:
        maps = features.contiguous(memory_format=memory_format)
        parts = dilated.split(maps, (3, 2))
        assert parts.shape == (12, 3, 3, 4)
        assert torch.equal(dilated.join(parts, (3, 2), maps), features)


def test_exact_dependency_holds_with_dilation(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Tensor:
        raise AssertionError("the FFT was used")

    monkeypatch.setattr(fourier, "convolve", refuse)
    conv, features = make((1, 1, 60, 60), (21, 21), (2, 2), torch.float32)
    features[0, 0, 29, 29] = float("nan")
    with exact_dependency(), torch.no_grad():
        reached = conv(features).isnan()[0, 0].nonzero()
    # Every second row and column from the pixel, ten of them on either side.
    assert reached.min() == 29 - 20
    assert reached.max() == 29 + 20
    assert len(reached) == 21 * 21
