"""Contributions to all units together: closed forms of strided convolutions, and the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from torch import nn

import erf_tools
from erf_tools.erf.dead_pixels import dead_share
from erf_tools.erf.every_unit import pixel_contributions
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.images import select

pytestmark = pytest.mark.usefixtures("no_drawing")

SIZE = 8


def of_ones(kernel: int, stride: int, padding: int) -> nn.Module:
    """A convolution that adds up what it sees, far from the bend of the relu."""
    network = nn.Conv2d(3, 1, kernel, stride, padding)
    nn.init.ones_(network.weight)
    nn.init.constant_(network.bias, 1000.0)  # type: ignore[arg-type]
    return network


def units_that_see(pixel: int, kernel: int, stride: int, padding: int) -> int:
    units = range((SIZE + 2 * padding - kernel) // stride + 1)
    return sum(0 <= pixel - (stride * unit - padding) < kernel for unit in units)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "along", "dead"),
    [
        (1, 2, 0, [1, 0] * 4, 3 / 4),
        (3, 2, 1, [1, 2, 1, 2, 1, 2, 1, 1], 0.0),
        (2, 4, 0, [1, 1, 0, 0] * 2, 3 / 4),
        (3, 1, 1, [2, 3, 3, 3, 3, 3, 3, 2], 0.0),
        (4, 4, 0, [1] * 8, 0.0),
        (3, 3, 0, [1] * 6 + [0] * 2, 1 - (6 / 8) ** 2),
    ],
)
def test_pixels_count_by_the_units_that_see_them(
    kernel: int, stride: int, padding: int, along: list[int], dead: float
) -> None:
    model = erf_tools.as_model(of_ones(kernel, stride, padding))
    found = pixel_contributions(model, select("builtin", 2), Procedure(resolution=SIZE), "cpu")
    assert along == [units_that_see(pixel, kernel, stride, padding) for pixel in range(SIZE)]
    np.testing.assert_allclose(found.map, 3 * np.outer(along, along), rtol=1e-6)
    assert dead_share(found.map) == dead


def test_dead_is_what_contributes_a_tenth_of_the_median_or_less() -> None:
    contribution = np.full((4, 5), 10.0)
    contribution[0] = [0, 0.5, 1.0, 1.01, 200]
    assert dead_share(contribution) == 3 / 20
    assert np.isnan(dead_share(np.zeros((4, 4))))
    assert np.isnan(dead_share(np.array([[1.0, np.nan]])))


def test_what_cancels_over_channels_is_zero_not_rounding() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8))
    model = erf_tools.as_model(network)
    procedure = Procedure(resolution=SIZE).varied(scalar="sum")
    found = pixel_contributions(model, select("builtin", 1), procedure, "cpu")
    assert not found.map.any()


def test_protocols_without_images_are_refused() -> None:
    model = erf_tools.as_model(of_ones(1, 2, 0))
    with pytest.raises(UsageError, match="not for cvpods"):
        pixel_contributions(
            model, select("builtin", 1), Procedure(resolution=SIZE).varied(protocol="cvpods")
        )


def test_the_command_writes_a_table_and_uses_it_again(tmp_path: Path, run_command: Command) -> None:
    asked = ("dead-pixels", "--model", "resnet18", "--weights", "random", "--num-images", "2")
    for again in (False, True):
        code, out, error = run_command(*asked, "--resolution", "64", "--output", str(tmp_path))
        assert code == 0, error
        assert ("measured before" in error) == again
    assert "dead pixels, %" in out
    row = pd.read_csv(tmp_path / "dead_pixels.csv").iloc[0]
    assert (row["weights"], row["resolution"]) == ("untrained", "64x64")
    assert 0 <= row["dead_pixels"] < 0.2
    assert (tmp_path / "dead_pixels.png").is_file()
    code, _, error = run_command(*asked, "--resolution", "32", "--output", str(tmp_path))
    assert code == 2
    assert "resolution" in error
