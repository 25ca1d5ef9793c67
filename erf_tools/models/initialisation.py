"""Untrained networks that do something: branches that start switched off are switched on."""

from __future__ import annotations

import re

import torch
from torch import nn

#: How LayerScale is called in networks, and up to what value a start is too small to matter.
_LAYER_SCALE, _SMALL = re.compile(r"gamma|layer_?scale"), 0.1


def switch_on_branches(module: nn.Module) -> str:
    """Set scales to one that all but switch residual branches off, and say how many.

    timm starts the last BatchNorm of each residual block at zero, and ConvNeXt and its kin have a
    LayerScale of 1e-6: untrained, they are nearly the identity, and their ERF is that of stem and
    downsampling layers.

    Args:
        module: the network, changed in place.

    Returns:
        What was done, to be put behind a source; empty where there was nothing to do.
    """
    norms = [
        submodule.weight
        for submodule in module.modules()
        if "norm" in type(submodule).__name__.lower()
        and isinstance(getattr(submodule, "weight", None), nn.Parameter)
        and not submodule.weight.any()  # type: ignore[operator, union-attr]
    ]
    scales = [
        parameter
        for name, parameter in module.named_parameters()
        if _LAYER_SCALE.search(name) and _is_small(parameter)
    ]
    for weight in (*norms, *scales):
        nn.init.ones_(weight)  # type: ignore[arg-type]
    said = f"; {len(norms)} zero-initialised norm scales set to one" if norms else ""
    return said + (f"; {len(scales)} LayerScales set to one" if scales else "")


@torch.no_grad()
def _is_small(scale: nn.Parameter) -> bool:
    """Tell whether all values are the same, small and not zero, as GRN's are."""
    first = scale.flatten()[:1]
    return bool(0 < first.abs() <= _SMALL) and bool((scale == first).all())
