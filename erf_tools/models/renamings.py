"""Bringing the names of other libraries' weights to those of the networks here."""

from __future__ import annotations

import re
import sys

from torch import nn

from erf_tools.models.checkpoints import StateDict

#: How timm's modules call what brings names of other libraries, and other sizes, to their own.
_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")


def mmpretrain_to_official(state: StateDict, _module: nn.Module) -> StateDict:
    """Rename the keys of mmpretrain's RepLKNet to the official ones; official keys stay.

    There, the network lies in ``backbone.``, the final norm belongs to the last stage, and the
    classifier is ``head.fc``.
    """
    renamed: StateDict = {}
    for key, value in state.items():
        key = re.sub(r"^backbone\.stages\.3\.norm\.", "norm.", key)
        key = re.sub(r"^head\.fc\.", "head.", key.removeprefix("backbone."))
        renamed[key] = value
    return renamed


def efficientnet_to_timm(state: StateDict, module: nn.Module) -> StateDict:
    """Rename the keys of the package EfficientNet-PyTorch to those of timm's ``module``.

    There, blocks are numbered through and a block's layers are named by what they do; timm
    numbers blocks within stages and norms by their order.
    """
    if "_conv_stem.weight" not in state:
        return state
    places = [
        f"blocks.{stage}.{block}"
        for stage, blocks in enumerate(module.blocks)  # type: ignore[arg-type]
        for block in range(len(blocks))
    ]
    head = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    squeezed = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    # A first-stage block has no expansion, so its norms are counted from the depthwise layer.
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        **squeezed,
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    plain = {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        **squeezed,
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    }
    renamed: StateDict = {}
    for key, value in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.([^.]+)\.(.+)", key)
        if block:
            number, layer, rest = int(block[1]), block[2], block[3]
            names = expanded if f"_blocks.{number}._expand_conv.weight" in state else plain
            renamed[f"{places[number]}.{names.get(layer, layer)}.{rest}"] = value
        else:
            layer, _, rest = key.partition(".")
            renamed[f"{head.get(layer, layer)}.{rest}"] = value
    return renamed


def timm_filter(state: StateDict, module: nn.Module) -> StateDict:
    """Let timm rename and resize a state dict for ``module``.

    Its filters know the names of the networks' authors and of torchvision, and interpolate position
    tables of networks that are built for another input size than their weights.
    """
    source = sys.modules[type(module).__module__]
    for name in _FILTERS:
        if (filtered := getattr(source, name, None)) is not None:
            try:
                return dict(filtered(dict(state), module))
            except TypeError:  # some take the state alone
                return dict(filtered(dict(state)))
    return state
