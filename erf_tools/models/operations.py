"""How much a network computes, counted without computing."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from erf_tools.errors import ErfToolsError
from erf_tools.text import dimensions


def multiply_adds(network: nn.Module, size: tuple[int, int]) -> int:
    """Return the multiply-adds of a forward pass of one image.

    Args:
        network: on torch's ``meta`` device; see :func:`erf_tools.models.loading.without_values`.
        size: height and width of the image.

    Raises:
        ErfToolsError: the network takes no such image.
    """
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, *size, device="meta"))
    except Exception as error:  # networks refuse a size in any way they like
        raise ErfToolsError(f"takes no images of {dimensions(size)} ({error})") from error
    return int(counter.get_total_flops()) // 2
