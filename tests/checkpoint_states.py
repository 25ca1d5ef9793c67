"""State dicts of a small network, and what is made of them in tests of checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from erf_tools.models.model import Model

NAME = "test_resnet"  # timm's own small network

State = dict[str, Any]


def trained(name: str = NAME, **options: Any) -> nn.Module:
    """A network with values of its own everywhere."""
    torch.manual_seed(3)
    network = timm.create_model(name, **options)
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in key else value + 0.01)
    return network


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def zeros(state: State) -> State:
    return {key: torch.zeros_like(value) for key, value in state.items()}


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def assert_loaded(model: Model, state: State) -> None:
    for key, value in model.module.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, state[key]), key


def deepspeed(state: State, **others: Any) -> State:
    """What DeepSpeed writes as ``mp_rank_00_model_states.pt``."""
    shapes = OrderedDict((key, value.shape) for key, value in state.items())
    return {
        **{"module": state, "buffer_names": [], "optimizer": None, "param_shapes": [shapes]},
        **{"frozen_param_shapes": OrderedDict(), "shared_params": {}, "lr_scheduler": None},
        **{"sparse_tensor_module_names": set(), "global_steps": 3, "dp_world_size": 2},
        **{"mp_world_size": 1, "ds_config": {"zero_optimization": {"stage": 2}}},
        **{"ds_version": "0.19.8", **others},
    }
