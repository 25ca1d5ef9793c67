"""Convolutions and linear layers that only spread NaN, at a fraction of the cost.

What a unit depends on is a matter of windows and groups, not of the weights' values. Here all
values of a window are added up once, instead of being weighted for each output channel, and so are
a channel's weights: NaN in any of them is in the sum, and in no other. A cosine keeps values
varied, as those of the network are, and between 0 and 1, so that their roots and logarithms are
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

Pair = tuple[int, int]


class SpreadingOnly(TorchFunctionMode):
    """Inside, ``conv2d`` and ``linear`` give NaN exactly where they otherwise would.

    All else they give is meaningless, and has the shape, type and memory format it would have.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one of torch's functions, or what stands in for it."""
        stand_in = _STAND_INS.get(func)
        if stand_in is None:
            return func(*args, **(kwargs or {}))
        with _disable_current_modes():  # who watches the network need not watch this
            return stand_in(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    if input.ndim != 4 or input.shape[1] != groups * weight.shape[1]:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if groups > 1:
        lost = input.isnan().view(torch.uint8)
        if torch.equal(lost.amax(dim=1), lost.amin(dim=1)):
            groups = 1  # NaN cannot tell them apart
    sums = _wide(input.unflatten(1, (groups, -1)).sum(dim=2))
    for axis in (0, 1):  # a sum over a rectangle is one over its rows, and then over its columns
        kernel = sums.new_ones(groups, 1, *_along(axis, weight.shape[2 + axis], 1))
        sums = F.conv2d(
            sums,
            kernel,
            stride=_along(axis, _of(stride, axis), 1),
            padding=padding if isinstance(padding, str) else _along(axis, _of(padding, axis), 0),
            dilation=_along(axis, _of(dilation, axis), 1),
            groups=groups,
        )
    channels_last = input.stride(1) == 1 and not input.is_contiguous()
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    values = sums.cos().permute(0, 2, 3, 1)[..., None]
    values = _positive(values, _of_channels(weight, bias).unflatten(0, (groups, -1))).flatten(-2)
    return values.to(input.dtype).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        return F.linear(input, weight, bias)
    sums = _wide(input.sum(dim=-1, keepdim=True))
    return _positive(sums.cos(), _of_channels(weight, bias)).to(input.dtype).contiguous()


_STAND_INS: dict[Callable[..., Any], Callable[..., Any]] = {F.conv2d: _conv2d, F.linear: _linear}


def _of_channels(weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a value for each channel: NaN where any of its weights is."""
    sums = weight.flatten(1).sum(dim=1)
    return _wide(sums if bias is None else sums + bias).cos()


def _positive(values: Tensor, of_channels: Tensor) -> Tensor:
    """Return products of values in [-1, 1], brought to between 0 and 1."""
    return (values * (0.45 * of_channels)).add_(0.5)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _of(pair: int | Pair, axis: int) -> int:
    return pair if isinstance(pair, int) else pair[axis % len(pair)]


def _along(axis: int, value: int, other: int) -> Pair:
    return (value, other) if axis == 0 else (other, value)
