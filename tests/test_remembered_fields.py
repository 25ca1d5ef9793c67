"""Fields that were found before are those that a search finds, or are searched for again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from erf_tools import ErfToolsError, as_model, effective_receptive_field, load_model
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap
from erf_tools.fields.dependency import receptive_fields
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.fields.remembered import remembered_fields
from erf_tools.fields.strips import Strips


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fields"


def network(dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=dilation, dilation=dilation),
    ).eval()


TAPS = [Tap("0", layout="NCHW"), Tap("2", layout="NCHW")]


def fields_of(module: nn.Module, size: tuple[int, int] = (64, 96)) -> list[ReceptiveField]:
    def read(one: nn.Module, images: Tensor) -> list[Tensor]:
        return read_maps(one, TAPS, images)

    return remembered_fields(module, read, size, False, TAPS)


def rewrite(cache: Path, **changed: Any) -> None:
    """Change what is kept of the last map."""
    for file in cache.iterdir():
        kept = json.loads(file.read_text())
        kept["fields"][-1] |= changed
        file.write_text(json.dumps(kept))


#: Of the second convolution: stride 2, 3 + 2 * 2 pixels, the first of them 3 above the image.
FIELD = ReceptiveField((2, 2), (-3, -3), (3, 3), False, "dependency")


def test_they_are_found_once_for_all_networks_of_a_kind(cache: Path) -> None:
    assert fields_of(network())[1] == FIELD
    rewrite(cache, unbounded=True)  # which no pass on a small image can tell
    assert fields_of(network())[1].unbounded  # of other weights
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "changed",
    [{"first": [-5, -3]}, {"last": [3, 5]}, {"stride": [4, 2]}, {"basis": "grid"}],
    ids=str,
)
def test_what_a_pass_contradicts_is_searched_for_again(cache: Path, changed: Any) -> None:
    fields_of(network())
    rewrite(cache, **changed)
    assert fields_of(network())[1] == FIELD
    assert fields_of(network())[1] == FIELD


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"fields": [{}]}', b'{"fields": []}'])
def test_what_is_damaged_is_searched_for_again(cache: Path, damaged: bytes) -> None:
    fields_of(network())
    (file,) = cache.iterdir()
    kept = file.read_bytes()
    file.write_bytes(damaged)
    assert fields_of(network())[1] == FIELD
    assert file.read_bytes() == kept


def test_another_network_size_or_layer_is_another_question(cache: Path) -> None:
    fields_of(network())
    assert fields_of(network(dilation=3))[1].size == (3 + 2 * 6, 3 + 2 * 6)
    fields_of(network(), size=(64, 97))
    assert len(list(cache.iterdir())) == 3


def test_a_changed_network_is_another_one() -> None:
    changed = network()
    fields_of(changed)
    changed[2].dilation = changed[2].padding = (3, 3)
    assert fields_of(changed)[1].size == (15, 15)


def test_where_nothing_can_be_kept_they_are_found_all_the_same(cache: Path) -> None:
    cache.parent.write_bytes(b"")
    assert fields_of(network())[1] == FIELD


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("out of memory"), MemoryError(), RuntimeError("can't allocate")],
)
def test_what_was_not_found_for_want_of_memory_is_not_kept(
    error: Exception, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Strips, "run_on_strip", fail)
        with pytest.raises(ErfToolsError, match="cannot be probed"):
            fields_of(network())
    assert not cache.exists()
    assert fields_of(network())[1] == FIELD


class Own(nn.Module):
    """A user's network, whose code may change between two runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)


def test_nothing_is_kept_of_code_that_may_change(cache: Path) -> None:
    effective_receptive_field(as_model(Own(), tap=Tap("conv")), num_images=1, resolution=64)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 128),
        ("efficientnet_lite0", 96),
        ("seresnet18", 96),
        ("swin_tiny_patch4_window7_224", 224),
        ("vit_tiny_patch16_224", 224),
        ("eva02_tiny_patch14_224", 160),
        ("efficientvit_b0", 96),
        ("gcresnet33ts", 96),
        ("unireplknet_a", 96),
    ],
)
def test_they_are_those_that_a_search_finds(cache: Path, name: str, size: int) -> None:
    model = load_model(name, "random", resolution=size)
    taps, fixed = [model.tap], model.input_size is not None

    def read(one: nn.Module, images: Tensor) -> list[Tensor]:
        return read_maps(one, taps, images)

    module, sides = model.module.eval(), (size, size)
    searched = receptive_fields(module, read, sides, fixed)
    for _ in range(2):
        assert remembered_fields(module, read, sides, fixed, taps) == searched
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text())
    kept["fields"][0]["unbounded"] = "as it was kept"
    file.write_text(json.dumps(kept))
    (again,) = remembered_fields(module, read, sides, fixed, taps)
    assert again.unbounded == "as it was kept"


def test_exact_measurements_ask_no_cache(cache: Path) -> None:
    model = as_model(timm.create_model("resnet18").eval())

    def unbounded(**how: Any) -> bool:
        with torch.no_grad():
            result = effective_receptive_field(model, num_images=1, resolution=64, **how)
        return result.setting["receptive_field"]["unbounded"]

    assert not unbounded()
    rewrite(cache, unbounded=True)
    assert unbounded()
    assert not unbounded(exact=True)
