"""Networks that take other than three channels, as networks that take RGB images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError

#: Numbers of channels that an image can be brought to.
CHANNELS = (1, 3, 4)
#: Luminance of RGB, as Pillow's mode ``L`` computes it (ITU-R BT.601).
_LUMINANCE = (0.299, 0.587, 0.114)

#: How a network is called: itself, and methods of timm's networks.
_CALLS = ("forward", "forward_features", "forward_intermediates")
#: Set on a network while one of them runs.
_WITHIN = "_erf_tools_converted"


def check_channels(channels: int) -> int:
    """Return a number of channels.

    Raises:
        UsageError: no image has so many.
    """
    if channels not in CHANNELS:
        raise UsageError(
            f"--channels is {channels}; it is 1, 3 or 4: write a factory around another network, "
            "that makes its channels of RGB"
        )
    return channels


def taking_rgb(module: nn.Module, channels: int) -> nn.Module:
    """Return a network of another number of channels as one that is given RGB images.

    Of one channel it gets the luminance of the normalised image, of four red, green, blue and the
    luminance. Since the luminance is linear, and its weights are positive and add up to one, a
    gradient of RGB, summed over colours, is the gradient of a single channel. The network itself
    stays as it is; its parts are shared, and keep their names.

    Args:
        module: the network.
        channels: that it takes.

    Raises:
        UsageError: no image has so many.
    """
    if check_channels(channels) == 3:
        return module
    kind = type(module)
    shared = copy.copy(module)
    own = [name for name in _CALLS if name in vars(module)]  # as `self.forward = ...` leaves them
    for name in own:
        call = vars(module)[name]
        vars(shared)[name] = MethodType(_converting(_without_self(call), channels), shared)
    found = [name for name in _CALLS if hasattr(kind, name)]
    calls = {name: _converting(getattr(kind, name), channels) for name in found}
    shared.__class__ = type(
        kind.__name__, (kind,), {**calls, "__module__": kind.__module__, "converted": True}
    )
    return shared


def _converting(call: Callable[..., Any], channels: int) -> Callable[..., Any]:
    @wraps(call)
    def converted(self: nn.Module, images: Tensor, *more: Any, **choices: Any) -> Any:
        # One of these methods can call another, with what is converted already, or features.
        if getattr(self, _WITHIN, False):
            return call(self, images, *more, **choices)
        if images.shape[1] == 3:
            images = _converted(images, channels)
        vars(self)[_WITHIN] = True
        try:
            return call(self, images, *more, **choices)
        finally:
            del vars(self)[_WITHIN]

    return converted


def _without_self(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _self, *more, **choices: call(*more, **choices)


def _converted(images: Tensor, channels: int) -> Tensor:
    weights = torch.tensor(_LUMINANCE, dtype=images.dtype, device=images.device)
    luminance = torch.einsum("nchw,c->nhw", images, weights)[:, None]
    return luminance if channels == 1 else torch.cat([images, luminance], dim=1)
