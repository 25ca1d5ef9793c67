"""Right gradients of normalisations, which torch computes wrongly for some layouts in memory.

For one image, the backward of torch's batch normalisation (2.14, CPU) misreads its input and its
gradient where one of them lies channels last but for the stride of the batch, as maps of tokens do;
that of its instance normalisation misreads any gradient that lies channels last. What comes out has
the right size and is wrong. Each is given both as it reads them right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class RightNormGradients(TorchFunctionMode):
    """Has the normalisations that run inside give right gradients."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one of torch's functions."""
        kwargs = kwargs or {}
        if func not in _READ_AS:
            return func(*args, **kwargs)
        if args:
            args = (_with_usual_batches(args[0]), *args[1:])
        else:
            kwargs = {**kwargs, "input": _with_usual_batches(kwargs["input"])}
        result = func(*args, **kwargs)
        if result.requires_grad:
            result.register_hook(_READ_AS[func])
        return result


def _with_usual_batches(maps: Tensor) -> Tensor:
    """Return maps ``[N, C, ...]``, or gradients, with the stride their batch has by its shape."""
    odd = len(maps) == 1 and maps.stride(0) != maps.numel()
    return maps.contiguous() if odd else maps


def _contiguous(gradient: Tensor) -> Tensor:
    """Return a gradient of one image in torch's own order; several are read right as they are."""
    return gradient.contiguous() if len(gradient) == 1 else gradient


#: How a normalisation reads gradients right, by the functions that run it.
_READ_AS = {
    F.batch_norm: _with_usual_batches,
    torch.batch_norm: _with_usual_batches,
    F.instance_norm: _contiguous,
    torch.instance_norm: _contiguous,
}
