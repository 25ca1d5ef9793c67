"""Of which type, and where, the images are that a network takes."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import torch
from torch import Tensor, nn


def floating_type(module: nn.Module) -> torch.dtype:
    """Return the type of most of a network's real weights; float32 where it has none.

    Counters, masks, quantised and complex weights say nothing of images. Buffers are asked where
    there are no such parameters.
    """
    for tensors in (module.parameters(), module.buffers()):
        sizes: Counter[torch.dtype] = Counter()
        for tensor in tensors:
            if tensor.is_floating_point():
                sizes[tensor.dtype] += tensor.numel()
        if sizes:
            return sizes.most_common(1)[0][0]
    return torch.float32


def input_like(module: nn.Module) -> Tensor:
    """Return an empty tensor of the type, and on the device, that a network's images are."""
    first = next(chain(module.parameters(), module.buffers()), torch.empty(0))
    return torch.empty(0, dtype=floating_type(module), device=first.device)
