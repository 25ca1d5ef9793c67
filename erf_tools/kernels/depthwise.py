"""Depthwise convolutions with large kernels, several times faster than torch's own.

With stride 1, an odd kernel and ``same`` padding, the gradient to the input is the same convolution
with the kernel flipped in both axes; whatever computes the one fast computes the other fast, too.

Which algorithm is taken is chosen in :mod:`erf_tools.kernels.choosing`, but for gradients to the
weight. Those are correlations of maps with gradients: torch's take, in ms of two cores, for
[8, 128, 56, 56] and kernels of 7, 9, 13 and 31: 31, 44, 82 and 3,800; the FFT's 26, 25, 21 and 37.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from erf_tools.kernels import dilated, fourier
from erf_tools.kernels.choosing import DIRECT, cpu_algorithm, cuda_algorithm
from erf_tools.kernels.direct import crop, memory_format

#: The largest kernel side whose weight gradient torch computes as fast as the FFT.
_LARGEST_DIRECT = 7

_only_direct: ContextVar[bool] = ContextVar("only_direct", default=False)


@contextmanager
def exact_dependency() -> Iterator[None]:
    """Compute every unit from its own inputs alone, inside, by torch's convolution.

    Through an FFT or a banded matrix a NaN spreads beyond the units that depend on it, and zeros
    become rounding errors. It holds for this thread, and for gradients of what is computed inside.
    """
    token = _only_direct.set(True)
    try:
        yield
    finally:
        _only_direct.reset(token)


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d``, with faster algorithms for what it is named after.

    They apply to depthwise convolutions with odd kernels, stride 1, any dilation, one kernel per
    channel and zeros as ``same`` padding; in all else it is ``nn.Conv2d``. Results are the same to
    within rounding, relative to the largest of a map, except that with large kernels one NaN or
    infinity can fill a channel (see :func:`~erf_tools.kernels.depthwise.exact_dependency`).
    Gradients are of first order only.

    The kernel's spectrum is kept for one map size, until the weight's values change.
    """

    # On the class, so that a convolution turned into this one by its `__class__` has it as well.
    _spectrum: _Spectrum | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``; the size and the memory format stay."""
        weight, bias = self.weight, self.bias
        device = input.device.type
        if device not in ("cpu", "cuda"):
            return super().forward(input)
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            input, weight = _cast(input, dtype), _cast(weight, dtype)
            bias = None if bias is None else _cast(bias, dtype)
        if not self._is_fast(input, weight, bias):
            return super().forward(input)
        if self.dilation == (1, 1):
            return _Depthwise.apply(input, weight, bias, self._spectrum_of)
        parts = dilated.split(input, self.dilation)
        out = _Depthwise.apply(parts, weight, bias, self._spectrum_of)
        return dilated.join(out, self.dilation, input)

    def _is_fast(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
        height, width = self.kernel_size
        down, across = self.dilation
        return (
            self.groups == self.in_channels == self.out_channels
            and self.stride == (1, 1)
            and height % 2 == width % 2 == 1
            and self.padding in ((height // 2 * down, width // 2 * across), "same")
            and self.padding_mode == "zeros"
            and features.ndim == 4
            and features.shape[1] == self.in_channels
            and features.numel() > 0
            and features.is_floating_point()
            and all(
                tensor.dtype == features.dtype and tensor.device == features.device
                for tensor in (weight, bias)
                if tensor is not None
            )
            # A compiler sees through torch's convolution, and not through what is timed here.
            and not torch.compiler.is_compiling()
        )

    def _spectrum_of(self, weight: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the spectrum of the weight for maps of this size, the kept one where it is its."""
        spectrum = self._spectrum
        if spectrum is None or not spectrum.is_of(weight, size):
            spectrum = _Spectrum(weight.detach().clone(), size, fourier.transform(weight, size))
            self._spectrum = spectrum
        return spectrum.values

    def __getstate__(self) -> dict[str, Any]:
        """Leave the spectrum out of copies and files."""
        return {**self.__dict__, "_spectrum": None}


@dataclass(frozen=True)
class _Spectrum:
    """The spectrum of a weight, and what tells whether the weight is still the same.

    Its values tell: fused optimisers, and all that writes through ``weight.data``, do not raise
    torch's count of changes.

    Attributes:
        weight: a copy.
        size: of the map, rows and columns.
        values: ``[C, rows, columns]``, complex.
    """

    weight: Tensor
    size: tuple[int, int]
    values: Tensor

    def is_of(self, weight: Tensor, size: tuple[int, int]) -> bool:
        own = self.weight
        return (
            size == self.size
            and (weight.dtype, weight.device) == (own.dtype, own.device)
            and torch.equal(weight, own)
        )


_SpectrumOf = Callable[[Tensor, tuple[int, int]], Tensor]


class _Depthwise(torch.autograd.Function):
    """The convolution, with its gradient to the input as a convolution."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, spectrum_of: _SpectrumOf
    ) -> Tensor:
        to_features, to_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(
            features if to_weight else None, weight if to_features or to_weight else None
        )
        ctx.spectrum_of = spectrum_of
        ctx.memory_format = memory_format(features)
        ctx.only_direct = _only_direct.get()
        return _convolve(features, weight, bias, False, spectrum_of, ctx.only_direct)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        to_features, to_weight, to_bias, _ = ctx.needs_input_grad
        gradient = gradient.contiguous(memory_format=ctx.memory_format)
        of_features = of_weight = of_bias = None
        if to_features:
            of_features = _convolve(gradient, weight, None, True, ctx.spectrum_of, ctx.only_direct)
        if to_weight:
            of_weight = _weight_gradient(gradient, features, weight, ctx.only_direct)
        if to_bias:
            of_bias = gradient.sum((0, 2, 3))
        return of_features, of_weight, of_bias, None


def _weight_gradient(
    gradient: Tensor, features: Tensor, weight: Tensor, only_direct: bool
) -> Tensor:
    """Return the gradient to a weight ``[C, 1, h, w]``."""
    taps = weight.shape[2:]
    if only_direct or max(taps) <= _LARGEST_DIRECT or features.dtype not in fourier.TRANSFORMED:
        return torch.ops.aten.convolution_backward(
            gradient,
            features,
            weight,
            None,
            [1, 1],
            [side // 2 for side in taps],
            [1, 1],
            False,
            [0, 0],
            weight.shape[0],
            [False, True, False],
        )[1]
    return fourier.weight_gradient(gradient, features, weight)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast as autocast does, which leaves float64 alone."""
    return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)


def _convolve(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    flipped: bool,
    spectrum_of: _SpectrumOf,
    only_direct: bool,
) -> Tensor:
    """Convolve ``[N, C, H, W]`` with a weight ``[C, 1, h, w]``, or with the weight flipped."""
    features = features.contiguous(memory_format=memory_format(features))
    size = (features.shape[2], features.shape[3])
    # Casts are done: a convolution inside must not cast again, in a backward pass least of all.
    with torch.autocast(features.device.type, enabled=False):
        kernel = crop(weight, size)
        if only_direct:
            algorithm = "plain"
        elif features.is_cuda:
            algorithm = cuda_algorithm(features, kernel)
        else:
            algorithm = cpu_algorithm(features, kernel)
        if algorithm == "fft":
            transform_size = fourier.transform_size(kernel, size)
            return fourier.convolve(
                features, spectrum_of(weight, size), transform_size, bias, flipped
            )
        if flipped != (algorithm == "transposed"):
            kernel = kernel.flip(2, 3)
        return DIRECT[algorithm](features, kernel, bias)
