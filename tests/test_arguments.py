"""What is given to the library is checked before the work, as on the command line."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from erf_tools.cli.options import split_weights
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.errors import UsageError
from erf_tools.images import select
from erf_tools.models.loading import load_model
from erf_tools.perturbation.measuring import perturbation_erf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "--seed is -1; it has to be at least 0"),
        ({"seed": 10**30}, "--seed is 1000000000000000000000000000000; it has to be at most"),
        ({"seed": None}, "--seed is None; it is a whole number"),
        ({"num_images": 0}, "--num-images is 0; it has to be at least 1"),
        ({"num_images": 2.5}, r"--num-images is 2.5; it is a whole number"),
        ({"num_images": "2"}, "--num-images is '2'; it is a whole number"),
        ({"batch_size": 0}, "--batch-size is 0; it is from 1 to 100000"),
        ({"batch_size": -2}, "--batch-size is -2"),
        ({"resolution": 32.5}, r"--resolution is 32.5; it is a whole number"),
        ({"resolution": True}, r"--resolution is True; it is a whole number"),
        ({"resolution": "64"}, "--resolution is '64'; it is a whole number"),
        ({"resolution": (32,)}, "it is a side, or height and width"),
        ({"resolution": (32, 32, 3)}, "it is a side, or height and width"),
        ({"images": np.zeros((2, 8, 8))}, "an image is a ndarray; give paths, or PIL images"),
        ({"images": [torch.zeros(3, 8, 8)]}, "an image is a Tensor; give paths, or PIL images"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        effective_receptive_field(nn.Conv2d(3, 2, 3), **{"resolution": 32, **arguments})


def test_signatures_name_all_types_that_are_taken() -> None:
    taken = signature(effective_receptive_field).parameters
    assert taken["batch_size"].annotation == str | int | None
    assert taken["resolution"].annotation == int | tuple[int, int] | None


def test_what_a_function_has_no_use_for_is_no_keyword_of_it() -> None:
    with pytest.raises(TypeError, match="batch_size"):
        perturbation_erf(nn.Conv2d(3, 2, 3), resolution=32, batch_size=2)


def test_numbers_of_numpy_are_numbers() -> None:
    network = nn.Conv2d(3, 2, 3)
    count, side, seed = np.int64(2), np.int32(32), np.uint8(3)
    result = effective_receptive_field(network, num_images=count, resolution=side, seed=seed)
    expected = effective_receptive_field(network, num_images=2, resolution=32, seed=3)
    assert result.setting == expected.setting
    assert np.array_equal(result.map, expected.map)
    assert select("builtin", 2, seed=seed).record() == select("builtin", 2, seed=3).record()


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, None])
def test_seeds_of_random_weights(seed: Any) -> None:
    with pytest.raises(UsageError, match="--seed is"):
        load_model("resnet18", weights="random", seed=seed)


def test_weights_are_split_at_commas_between_them(tmp_path: Path) -> None:
    signed = "https://host/file.pth?keys=a,b,c&x=1"
    local = tmp_path / "lr=0,1.pth"
    local.touch()
    for given, expected in {
        signed: [signed],
        f"{signed},https://host/other.pth": [signed, "https://host/other.pth"],
        f"random, {signed},pretrained": ["random", signed, "pretrained"],
        "a.pth,b.pth": ["a.pth", "b.pth"],
        str(local): [str(local)],
        str(tmp_path / "lr=0,*.pth"): [str(tmp_path / "lr=0,*.pth")],
    }.items():
        assert split_weights([given]) == expected


@pytest.mark.parametrize("resolution", [0, 32.5, "224", (224,), (224, 0)], ids=str)
def test_the_size_that_a_network_is_built_for_is_checked(resolution: Any) -> None:
    with pytest.raises(UsageError, match="--resolution is"):
        load_model("resnet18", "random", resolution=resolution)


def test_a_network_without_layers_is_told_so() -> None:
    with pytest.raises(UsageError, match="the network has no layers; leave --layer out"):
        effective_receptive_field(nn.Conv2d(3, 2, 3), num_images=1, resolution=32, layer="zz")
