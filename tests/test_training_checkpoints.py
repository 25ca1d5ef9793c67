"""What training leaves: averages, settings beside weights, networks in parallel."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from checkpoint_states import NAME, State, assert_loaded, prefixed, save, trained
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn

from erf_tools.errors import ErfToolsError
from erf_tools.models.loading import load_model


@pytest.fixture(scope="module")
def state() -> State:
    return trained().state_dict()


def test_averages_that_have_lost_their_dots(state: State, tmp_path: Path) -> None:
    """As latent diffusion's LitEma keeps them: of parameters, not of buffers."""
    parameters = dict(trained().named_parameters())
    old = {key: value * 0 if key in parameters else value for key, value in state.items()}
    content = prefixed(old, "model.") | {"model_ema.decay": torch.tensor(0.999)}
    for key in parameters:
        content["model_ema." + key.replace(".", "")] = state[key]
    model = load_model(NAME, save({"state_dict": content}, tmp_path / "file.ckpt"))
    assert_loaded(model, state)
    assert model.weights.notes == (
        f"{len(parameters)} averages whose names have lost their dots were taken",
    )


def test_averages_without_names_are_said_to_be_left_out(state: State, tmp_path: Path) -> None:
    averages = {"decay": 0.999, "num_updates": 3, "shadow_params": [torch.zeros(2)] * 20}
    model = load_model(NAME, save({"model": state, "ema": averages}, tmp_path / "file.pth"))
    assert_loaded(model, state)
    assert model.weights.notes[-1] == (
        "averaged weights without names (ema.shadow_params) were left out"
    )


@pytest.mark.parametrize("nested", [False, True])
def test_averages_that_lack_tensors_are_said_to_be_left_out(
    nested: bool, state: State, tmp_path: Path
) -> None:
    """As many scripts keep them: of parameters, and not of running statistics."""
    parameters = {key: value * 0 for key, value in trained().named_parameters()}
    averages = {"decay": 0.999, "shadow": parameters} if nested else parameters
    model = load_model(NAME, save({"model": state, "ema": averages}, tmp_path / "file.pth"))
    assert_loaded(model, state)
    lacking = [key for key in state if key not in parameters and "num_batches" not in key]
    name = "ema.shadow" if nested else "ema"
    assert lacking[0] == "conv1.1.running_mean"
    said = f"averaged weights '{name}' were left out: keys {len(lacking)} missing ({lacking[0]}, "
    assert model.weights.notes[1].startswith(said)


def test_averages_without_a_classifier_are_said_to_be_left_out(
    state: State, tmp_path: Path
) -> None:
    body = {key: value * 0 for key, value in state.items() if not key.startswith("fc.")}
    content = {"model": state, "ema": prefixed(body, "net.")}
    model = load_model(NAME, save(content, tmp_path / "file.pth"))
    assert_loaded(model, state)
    assert model.weights.notes[1:] == (
        "averaged weights 'ema' were left out: their classifier is missing, or another",
    )


@pytest.mark.parametrize("name", ["avg", "avg_model", "model_avg", "avg_state_dict"])
def test_averages_by_their_short_name(name: str, state: State, tmp_path: Path) -> None:
    old = {key: value * 0 for key, value in state.items()}
    assert_loaded(load_model(NAME, save({"model": old, name: state}, tmp_path / "a.pth")), state)


@pytest.mark.parametrize("name", ["exp_avg", "square_avg", "avg_loss"])
def test_averages_of_other_than_weights_are_not_taken(
    name: str, state: State, tmp_path: Path
) -> None:
    moments = {key: value * 0 for key, value in state.items()}
    content = {"model": state, "optimizer": {name: moments}, "ema": {"decay": torch.tensor(0.9)}}
    model = load_model(NAME, save(content, tmp_path / "file.pth"))
    assert_loaded(model, state)
    assert not [note for note in model.weights.notes if "averaged" in note]


OWN = """
import torch


class Wrapping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.module = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.module(images).mean((2, 3))


class Counting(Wrapping):
    def __init__(self):
        super().__init__()
        self.steps = torch.nn.Parameter(torch.ones(4))
        self.total_params = torch.nn.Buffer(torch.ones(1))


def averaged():
    return torch.optim.swa_utils.AveragedModel(torch.nn.Conv2d(3, 4, 3))


def averaged_twice():
    return torch.optim.swa_utils.AveragedModel(Wrapping())
"""


def own_state(factory: str, folder: Path) -> dict[str, Any]:
    """Write the factories to ``folder``, and return a state of what one of them makes."""
    (folder / "own.py").write_text(OWN)
    there: dict[str, Any] = {}
    exec(OWN, there)
    torch.manual_seed(1)
    own = {key: value + torch.rand(()) for key, value in there[factory]().state_dict().items()}
    return {key: value.long() if key == "n_averaged" else value for key, value in own.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "net."])
@pytest.mark.parametrize("factory", ["Wrapping", "Counting", "averaged", "averaged_twice"])
def test_networks_whose_parts_are_called_as_wrappers_and_counters(
    factory: str, prefix: str, tmp_path: Path
) -> None:
    own = own_state(factory, tmp_path)
    path = save({"state_dict": prefixed(own, prefix)}, tmp_path / "file.pth")
    assert_loaded(load_model(f"{tmp_path / 'own.py'}:{factory}", path), own)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "net."])
@pytest.mark.parametrize("factory", ["Wrapping", "averaged", "averaged_twice"])
def test_profiler_counters_beside_parts_that_are_called_as_wrappers(
    factory: str, prefix: str, tmp_path: Path
) -> None:
    own = own_state(factory, tmp_path)
    parts = {"", *(f"{name}." for key in own if "." in key for name in [key.rpartition(".")[0]])}
    counters = {
        f"{part}{name}": torch.zeros(1, dtype=torch.float64)
        for part in parts
        for name in ("total_ops", "total_params")
    }
    path = save(prefixed(own | counters, prefix), tmp_path / "file.pth")
    assert_loaded(load_model(f"{tmp_path / 'own.py'}:{factory}", path), own)


def test_timms_own_saver(state: State, tmp_path: Path) -> None:
    network, averages = timm.create_model(NAME), ModelEmaV3(trained())
    saver = CheckpointSaver(
        *(network, torch.optim.SGD(network.parameters(), 0.1), argparse.Namespace(model=NAME)),
        **{"model_ema": averages, "checkpoint_dir": str(tmp_path), "recovery_dir": str(tmp_path)},
    )
    saver.save_checkpoint(0, metric=0.5)
    assert_loaded(load_model(NAME, tmp_path / "last.pth.tar"), state)


@pytest.mark.parametrize(
    ("package", "module", "name", "base"),
    [
        ("omegaconf", "omegaconf.dictconfig", "DictConfig", object),
        ("lightning_fabric", "lightning_fabric.utilities.data", "AttributeDict", dict),
        ("mmengine", "mmengine.logging.history_buffer", "HistoryBuffer", object),
    ],
)
def test_settings_of_other_libraries_are_not_looked_into(
    package: str,
    module: str,
    name: str,
    base: type,
    state: State,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Lightning's ``save_hyperparameters`` and others put them beside the weights."""
    kind = type(name, (base,), {"__module__": module})
    holder = ModuleType(module)
    setattr(holder, name, kind)
    for imported in (package, module):
        monkeypatch.setitem(sys.modules, imported, holder)
    found = kind()
    found.__dict__.update(flags=defaultdict(list, a=[1]), kind=int, values=np.ones(3))
    if base is dict:
        found["lr"] = 0.1
    content = {"state_dict": prefixed(state, "model."), "hyper_parameters": found}
    assert_loaded(load_model(NAME, save(content, tmp_path / "file.ckpt")), state)


@pytest.mark.filterwarnings("ignore")  # what torch's own code of other times says
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_networks_of_parallel_training(state: State, tmp_path: Path) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard

    at = f"file://{tmp_path / 'group'}"
    torch.distributed.init_process_group("gloo", init_method=at, rank=0, world_size=1)
    try:
        states = {"DDP": nn.parallel.DistributedDataParallel(trained()).state_dict()}
        first = FullyShardedDataParallel(trained(), device_id=torch.device("cpu"))
        with FullyShardedDataParallel.state_dict_type(first, StateDictType.FULL_STATE_DICT):
            states["FSDP"] = first.state_dict()
        second = trained()
        fully_shard(second, mesh=init_device_mesh("cpu", (1,)))
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        states["FSDP2"] = get_model_state_dict(second, options=whole)
        for name, saved in states.items():
            assert_loaded(load_model(NAME, save({"model": saved}, tmp_path / f"{name}.pth")), state)
        save(second.state_dict(), tmp_path / "parts.pth")
    finally:
        torch.distributed.destroy_process_group()
    with pytest.raises(ErfToolsError, match=r"save the full state dict \(get_model_state_dict"):
        load_model(NAME, tmp_path / "parts.pth")
