"""A digest of a network's values, for those that come from no file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


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
