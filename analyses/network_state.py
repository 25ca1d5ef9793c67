"""What a network and the random generators hold, as values that can be compared."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def state(value: Any) -> Any:
    """Return all that an object holds: tensors as numbers, what is no value by its identity."""
    if isinstance(value, Tensor):
        numbers = value.detach().numpy().copy().tobytes()
        gradient = value.grad.sum().item() if value.is_leaf and value.grad is not None else None
        return numbers, value.shape, value.dtype, value.requires_grad, gradient
    if isinstance(value, nn.Module):
        return type(value).__name__, state(vars(value))
    if isinstance(value, dict):
        return {key: state(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [state(held) for held in value]
    return value if isinstance(value, (int, float, str, set, type(None))) else id(value)


def identities(network: nn.Module) -> list[int]:
    """Return which objects a network is made of."""
    held = [*network.modules(), *network.parameters(), *network.buffers()]
    return [id(value) for value in held]


def random_states() -> list[Any]:
    """Return the random states of Python, NumPy and torch."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return [random.getstate(), np.asarray(keys).tobytes(), rest, state(torch.get_rng_state())]
