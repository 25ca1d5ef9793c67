"""A way that was right for an architecture is tried by values, and given up if they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference import ding2022_map, randomise_norms
from torch import Tensor, nn

from erf_tools import as_model, effective_receptive_field
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.maps import ERF
from erf_tools.erf.ways import FEW, UnitValues
from erf_tools.features.findings import Finding
from erf_tools.features.taps import Tap
from erf_tools.images import select
from erf_tools.preprocessing import Preprocessing

OWN = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
SIDE = 128


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ways"


@pytest.fixture
def plain_values(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each plain pass without gradients was given."""
    passes: list[int] = []
    original = Contributions.values

    def counted(self: Contributions, inputs: Tensor, *rest: Any) -> list[UnitValues]:
        passes.append(len(inputs))
        return original(self, inputs, *rest)

    monkeypatch.setattr(Contributions, "values", counted)
    return passes


def smooth(seed: int = 0, tracked: bool = True) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(8, track_running_stats=tracked)
    if tracked:
        randomise_norms(norm)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), norm, nn.Tanh(), nn.Conv2d(8, 8, 3, 2, 1)).eval()


def photographs() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        for _ in range(FEW)
    ]


def measured(network: nn.Module, **options: Any) -> ERF:
    model = as_model(network, preprocessing=OWN, tap=Tap("", "NCHW"))
    selection = select(photographs(), FEW, order="sequential")
    return effective_receptive_field(model, selection, resolution=SIDE, **options)


def off(found: ERF, network: nn.Module) -> float:
    """By how much a map differs from the published procedure in float64."""
    loop = [
        ding2022_map(network.double(), image, SIDE, OWN.mean, OWN.std, torch.float64)
        for image in photographs()
    ]
    expected = np.mean(loop, axis=0)
    return float(np.linalg.norm(found.map - expected) / np.linalg.norm(expected))


def test_the_second_network_of_a_kind_is_tried_by_values(plain_values: list[int]) -> None:
    first, second = measured(smooth()), measured(smooth(seed=1))
    assert plain_values == [1]
    assert first.runs[0]["largest_difference"] > 0
    assert second.runs[0] == {**first.runs[0], "largest_difference": None}
    assert second.runs[0]["cone"]
    assert off(second, smooth(seed=1)) < 1e-5


def test_nothing_is_taken_from_before_for_another_network(
    cache: Path, plain_values: list[int]
) -> None:
    measured(smooth())
    measured(smooth().append(nn.Conv2d(8, 8, 1)).eval())
    measured(smooth(), protocol="kim2023")
    measured(smooth(), unit="0,0")
    assert plain_values == []
    assert len(list(cache.iterdir())) == 4


def test_exact_computation_needs_no_proof(cache: Path) -> None:
    measured(smooth(), exact=True)
    assert not cache.exists()


class Own(nn.Module):
    """Code that may change between two measurements."""

    def forward(self, images: Tensor) -> Tensor:
        return images.tanh()


def test_own_code_is_compared_each_time(cache: Path) -> None:
    for _ in range(2):
        run = measured(smooth().append(Own())).runs[0]
        assert run["largest_difference"] > 0
    assert not cache.exists()


@pytest.mark.parametrize("fault", ["images see each other", "folded weights do something else"])
def test_a_way_that_is_wrong_after_all_is_given_up(
    fault: str, monkeypatch: pytest.MonkeyPatch, plain_values: list[int]
) -> None:
    """As where what was kept is of another network: the digest then says too little."""
    together = fault == "images see each other"
    monkeypatch.setattr(Finding, "known", {"differences": [0.0]})
    monkeypatch.setattr("erf_tools.fields.remembered._fields", lambda _known: [])
    if not together:
        monkeypatch.setattr("erf_tools.kernels.folding._close", lambda *_maps: True)
        monkeypatch.setattr("erf_tools.kernels.folding._fold_into_previous", lambda *_parts: None)
    network = smooth(tracked=not together)
    found = measured(network, batch_size=4 if together else None)
    assert plain_values == [1]
    assert fault in found.runs[0]["refused"]
    assert off(found, network) < 1e-5


def test_what_is_kept_and_damaged_is_found_again(cache: Path, plain_values: list[int]) -> None:
    measured(smooth())
    for file in cache.iterdir():
        file.write_text("{")
    assert measured(smooth()).runs[0]["largest_difference"] > 0
    assert plain_values == []
