"""Reading weight files safely, and fitting them to a network."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import ErfToolsError, UsageError

StateDict = dict[str, Tensor]

#: Averaged weights first, as timm does: published accuracies are of them.
_WRAPPERS = ("model_ema", "state_dict_ema", "ema_state_dict", "model", "state_dict")
#: Counters that averaging leaves among the weights.
_COUNTERS = ("steps", "n_averaged")
_SHOWN = 4


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from a ``.safetensors`` file or a PyTorch file.

    PyTorch files are read with ``weights_only=True``: nothing in them is executed. A dict inside
    ``model``, ``state_dict`` or the like is unwrapped, averaged weights (EMA) before plain ones,
    and a ``module.`` prefix common to all keys removed.

    Raises:
        UsageError: there is no such file.
        ErfToolsError: it cannot be read, or holds something other than tensors.
    """
    if not path.is_file():
        raise UsageError(
            f"--weights {path}: there is no such file; give a file, pretrained or random"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ErfToolsError(
            f"{path} holds more than tensors, or is no PyTorch file, and is not read, because "
            "unpickling can run code; save the state dict alone, with torch.save or safetensors"
        ) from error
    except Exception as error:  # zip, struct, safetensors and torch each have their own
        raise ErfToolsError(f"{path} cannot be read as weights: {_first_line(error)}") from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> StateDict:
    while isinstance(content, Mapping):
        inner = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    if not isinstance(content, Mapping) or not content:
        raise ErfToolsError(f"{path} holds no state dict; save one with torch.save")
    strays = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strays:
        raise ErfToolsError(f"{path} holds no state dict: {strays[0]!r} is not a tensor")
    state = {str(key): value for key, value in content.items() if key not in _COUNTERS}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def mmpretrain_to_official(state: Mapping[str, Tensor]) -> StateDict:
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


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state`` into ``module``, every key of both.

    Raises:
        ErfToolsError: keys are missing, unexpected or of another shape; each kind is named.
    """
    own = module.state_dict()
    problems = []
    for kind, keys in (
        ("missing", [key for key in own if key not in state]),
        ("unexpected", [key for key in state if key not in own]),
        (
            "of another shape",
            [
                f"{key} {list(state[key].shape)} instead of {list(own[key].shape)}"
                for key in own
                if key in state and state[key].shape != own[key].shape
            ],
        ),
    ):
        if keys:
            more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            problems.append(f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{more})")
    if problems:
        raise ErfToolsError(f"{source} does not fit the network: keys " + "; ".join(problems))
    module.load_state_dict(state, strict=True)


def state_sha256(module: nn.Module) -> str:
    """Return a digest of all parameters and buffers: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        _add(digest, name, value)
    return digest.hexdigest()


def _add(digest: Any, name: str, value: Any) -> None:
    """Add a part of a state to a digest: a tensor, or what a module keeps as extra state."""
    if isinstance(value, Tensor):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        dense = value.detach().cpu()
        if dense.layout != torch.strided:
            dense = dense.to_dense()
        digest.update(dense.contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(value, (Mapping, list, tuple)):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in parts:
            _add(digest, f"{name}.{key}", part)
    elif value is None or isinstance(value, (bool, int, float, str, bytes)):
        digest.update(f"{name} {value!r}\n".encode())
    else:  # an object's text may hold its address
        digest.update(f"{name} {type(value).__qualname__}\n".encode())


def efficientnet_to_timm(state: Mapping[str, Tensor], module: nn.Module) -> StateDict:
    """Rename the keys of the package EfficientNet-PyTorch to those of timm's ``module``.

    There, blocks are numbered through and a block's layers are named by what they do; timm
    numbers blocks within stages and norms by their order.
    """
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
    # A first-stage block has no expansion, so its norms are counted from the depthwise layer.
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    plain = {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    }
    renamed: StateDict = {}
    for key, value in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.([^.]+)\.(.+)", key)
        if block:
            number, layer, rest = int(block[1]), block[2], block[3]
            names = expanded if f"_blocks.{number}._expand_conv.weight" in state else plain
            renamed[f"{places[number]}.{names[layer]}.{rest}"] = value
        else:
            layer, _, rest = key.partition(".")
            renamed[f"{head[layer]}.{rest}"] = value
    return renamed


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
