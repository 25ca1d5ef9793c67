"""Right gradients of normalisations, which torch computes wrongly for some layouts in memory.

For one image, the backward of torch's batch normalisation (2.14, CPU) misreads a gradient that lies
channels last but for the stride of the batch, as it does where a map becomes tokens; that of its
instance normalisation misreads any that lies channels last. The gradient is then of the right size
and wrong. Each is given such gradients as it reads them right.
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
        result = func(*args, **(kwargs or {}))
        if func in _READ_AS and result.requires_grad:
            result.register_hook(_READ_AS[func])
        return result


def _with_usual_batches(gradient: Tensor) -> Tensor:
    """Return a gradient ``[N, C, ...]`` with the stride that its batch has by its shape."""
    odd = len(gradient) == 1 and gradient.stride(0) != gradient.numel()
    return gradient.contiguous() if odd else gradient


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
