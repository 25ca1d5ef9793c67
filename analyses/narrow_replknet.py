"""RepLKNets an eighth as wide: maps that hold their whole ERF can then be computed anywhere.

The width enters an untrained network's ERF only through noise; kernels, depth and strides, which
make it, are the published ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

import erf_tools
from erf_tools.images import select
from erf_tools.kernels.devices import normalise
from erf_tools.models.replknet import VARIANTS, RepLKNet, Variant
from erf_tools.preprocessing import warped

Network = TypeVar("Network", bound=nn.Module)

_CHANNELS = (16, 32, 64, 128)

#: Photographs that the norms are settled on by default, and their side in pixels.
_SETTLED_ON, _SETTLED_AT = 8, 512


def narrow(variant: str) -> Variant:
    """Return a published variant (``31b``, ``13``, ``3``) an eighth as wide."""
    return replace(VARIANTS[variant], channels=_CHANNELS)


def photographs(number: int | None = None, side: int | None = None) -> Tensor:
    """Return built-in photographs as a network wants them, ``[number, 3, side, side]``."""
    number, side = number or _SETTLED_ON, side or _SETTLED_AT
    images = select("builtin", number).images
    size, own = (side, side), erf_tools.Preprocessing()
    pixels = np.stack([np.asarray(warped(image.open(), size)) for image in images])
    return normalise(pixels, own.mean, own.std, torch.device("cpu"), torch.float32)


def untrained(variant: Variant, seed: int = 0) -> RepLKNet:
    """Return a randomly initialised network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RepLKNet(variant)


def settle(network: Network, images: Tensor) -> Network:
    """Give the norms the statistics of images, and return the network in evaluation mode.

    Untrained norms do nothing in evaluation mode: branches would be as weak as the initialisation
    of their convolutions makes them, and not as they are when training begins.

    Args:
        network: changed in place.
        images: ``[N, 3, H, W]``, normalised.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over batches
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(images)
    return network.eval()
