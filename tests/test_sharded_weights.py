"""Weights in several files with an index, and what is given of folders."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from checkpoint_states import NAME, State, assert_loaded, prefixed, save, trained, zeros
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models.checkpoints import read_checkpoint
from erf_tools.models.loading import load_model
from erf_tools.models.sources import own_source


@pytest.fixture(scope="module")
def state() -> State:
    return trained().state_dict()


def sharded(state: State, folder: Path, suffix: str = ".safetensors") -> Path:
    """Save a state dict as transformers does that is too large for one file."""
    split = split_torch_state_dict_into_shards(
        state, max_shard_size=100_000, filename_pattern="model{suffix}" + suffix
    )
    for name, keys in split.filename_to_tensors.items():
        part = {key: state[key].contiguous() for key in keys}
        (save_file if suffix == ".safetensors" else save)(part, folder / name)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": split.tensor_to_filename}))
    assert len(split.filename_to_tensors) > 2
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_several_files_with_an_index(suffix: str, state: State, tmp_path: Path) -> None:
    index = sharded(prefixed(state, "module."), tmp_path, suffix)
    model = load_model(NAME, index)
    assert_loaded(model, state)
    files = [index, *sorted(tmp_path.glob("model-*"))]
    lines = [f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    assert model.weights.sha256 == sha256("".join(lines).encode()).hexdigest()
    assert own_source(index).digest() == model.weights.sha256


def test_other_values_in_a_shard_are_another_digest(state: State, tmp_path: Path) -> None:
    index = sharded(state, tmp_path)
    before = own_source(index).digest()
    sharded(zeros(state), tmp_path)
    assert own_source(index).digest() != before


def test_shards_that_are_not_whole_are_refused(state: State, tmp_path: Path) -> None:
    index = sharded(state, tmp_path)
    first, *others, last = sorted(tmp_path.glob("model-*"))
    with pytest.raises(UsageError, match=r"is one of \d files.*model.safetensors.index.json"):
        load_model(NAME, first)
    with pytest.raises(UsageError, match=r"is a folder; give the index in it \(model.safetens"):
        load_model(NAME, tmp_path)
    content = last.read_bytes()
    last.write_bytes(others[0].read_bytes())
    with pytest.raises(ErfToolsError, match=r"holds other tensors than model\.safetensors\.index"):
        load_model(NAME, index)
    last.write_bytes(content[:-9])
    with pytest.raises(ErfToolsError, match=f"{last.name} cannot be read as weights"):
        load_model(NAME, index)
    last.unlink()
    with pytest.raises(ErfToolsError, match=rf"of which 1 are not beside it \({last.name}\)"):
        load_model(NAME, index)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b.bin", ".."])
def test_an_index_names_files_beside_it_only(name: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ErfToolsError, match="which does not lie beside it"):
        read_checkpoint(index)


FOLDERS = {
    "torch.distributed.checkpoint": (".metadata", "__0_0.distcp", "dcp_to_torch FOLDER FILE"),
    "DeepSpeed": ("zero_to_fp32.py", "latest", "run the zero_to_fp32.py"),
    "Lightning": ("last.ckpt", "notes.txt", r"give a file in it \(last.ckpt\)"),
    "nothing": ("a", "b", "is a folder; give a file$"),
}


@pytest.mark.parametrize("writer", FOLDERS)
def test_what_to_give_of_a_folder_is_said(writer: str, tmp_path: Path) -> None:
    *names, said = FOLDERS[writer]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=said):
        read_checkpoint(tmp_path)
