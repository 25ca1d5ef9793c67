"""Contributions to all units together: closed forms of strided convolutions, and the command."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from PIL import Image
from synthetic import erf
from torch import Tensor, nn
from torch.nn import functional

import erf_tools
from erf_tools.erf.dead_pixels import (
    PixelContributions,
    dead_pixel_table,
    dead_share,
    groups,
    notes,
)
from erf_tools.erf.dead_pixels_figure import dead_pixels_figure
from erf_tools.erf.every_unit import pixel_contributions
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.failures import Failures
from erf_tools.images import select
from erf_tools.report.content import collect
from erf_tools.report.results import Results

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


def drawn(generator: np.random.Generator, images: int, truth: np.ndarray) -> PixelContributions:
    """Maps as those of images are: half of their values zero, of very different sizes."""
    shape = (images, *truth.shape)
    maps = truth * np.maximum(generator.standard_normal(shape), 0)
    maps *= generator.lognormal(0, 1, shape)
    counts = groups(images)
    sums = np.add.reduceat(maps, np.cumsum([0, *counts[:-1]]))
    without = np.array([dead_share(sums.sum(axis=0) - own) for own in sums])
    arrays = {"contribution": maps.mean(axis=0), "without": without, "counts": np.array(counts)}
    return PixelContributions(arrays, [("", "")] * images, {}, {})


def test_intervals_cover_where_they_are_given() -> None:
    """A few images leave pixels without a contribution by chance: then there is none."""
    generator = np.random.default_rng(0)
    truth = np.ones((48, 48))
    truth.flat[:100] = 0
    truth.flat[100:220] = generator.uniform(0, 0.4, 120)
    wanted = np.mean([drawn(generator, 500, truth).dead.value for _ in range(2)])
    found = [drawn(generator, 30, truth).dead for _ in range(30)]
    given = [each for each in found if np.isfinite(each.low)]
    assert len(given) >= 15
    assert sum(each.low <= wanted <= each.high for each in given) >= 0.9 * len(given)
    few = drawn(generator, 6, truth).dead
    assert few.value > wanted + 0.02
    assert np.isnan(few.low)


def test_groups_of_images_are_as_equal_as_they_can_be() -> None:
    assert groups(3) == [1, 1, 1]
    assert sum(groups(50)) == 50
    assert len(groups(50)) == 16
    assert set(groups(50)) == {3, 4}


def test_without_each_image_is_what_the_others_give() -> None:
    model = erf_tools.as_model(of_ones(3, 3, 0))
    selection, procedure = select("builtin", 5), Procedure(resolution=SIZE)
    found = pixel_contributions(model, selection, procedure, "cpu")
    share = 1 - (6 / 8) ** 2
    np.testing.assert_allclose(found.arrays["without"], share)
    assert (found.dead.low, found.dead.high) == (pytest.approx(share), pytest.approx(share))


def test_what_cancels_over_channels_is_zero_not_rounding() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8))
    model = erf_tools.as_model(network)
    procedure = Procedure(resolution=SIZE).varied(scalar="sum")
    found = pixel_contributions(model, select("builtin", 1), procedure, "cpu")
    assert not found.map.any()


def test_of_a_map_of_zeros_it_is_said_in_words() -> None:
    truth = np.zeros((8, 8))
    zeros = drawn(np.random.default_rng(0), 6, truth)
    setting = {**erf("net", np.ones((8, 8))).setting}
    zeros = PixelContributions(zeros.arrays, zeros.images, setting, {})
    (axes, *_) = dead_pixels_figure([zeros]).axes
    assert axes.get_title().splitlines()[-1] == "no pixel contributes"
    (shown,) = collect(Results(dead=[zeros]), Failures())["dead"]
    assert shown["share"] == "-"


def test_colours_and_their_scale_are_of_the_same_median() -> None:
    """Forty of a hundred pixels contribute nothing: the median of all is not that of the others."""
    contribution = np.repeat([0.0, 1.0, 2.0, 4.0], [40, 20, 21, 19]).reshape(10, 10)
    setting = erf("net", np.ones((10, 10))).setting
    arrays = {"contribution": contribution, "without": np.full(2, 0.4), "counts": np.ones(2)}
    figure = dead_pixels_figure([PixelContributions(arrays, [("", "")] * 2, setting, {})])
    drawn_values = figure.axes[0].images[0].get_array()
    contributing = contribution[contribution > 0]
    np.testing.assert_allclose(drawn_values, contribution / np.median(contributing))
    assert np.median(contribution) != np.median(contributing)
    assert "median of pixels that contribute = 1" in figure.axes[-1].get_ylabel()


def test_protocols_without_images_are_refused() -> None:
    model = erf_tools.as_model(of_ones(1, 2, 0))
    with pytest.raises(UsageError, match="not for cvpods"):
        pixel_contributions(
            model, select("builtin", 1), Procedure(resolution=SIZE).varied(protocol="cvpods")
        )


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_another_precision_is_refused(precision: str) -> None:
    procedure = Procedure(resolution=SIZE).varied(precision=precision)
    with pytest.raises(UsageError, match=f"--precision is {precision}; leave it out"):
        pixel_contributions(erf_tools.as_model(of_ones(1, 2, 0)), select("builtin", 1), procedure)


class _Changing(nn.Module):
    """A layer that is not the same for each image."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.kind = nn.Conv2d(3, 8, 3), kind
        self.register_buffer("seen", torch.zeros(()))
        self.average: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images)
        if self.kind == "draws":
            return functional.dropout(found, 0.5, training=True)
        if self.kind == "counts":
            self.seen += 1
            return found * self.seen
        if self.kind == "averages":  # from the second image on
            mean = found.detach().mean()
            self.average = mean if self.average is None else (self.average + mean) / 2
            return found * self.average
        return found


@pytest.mark.parametrize(
    ("kind", "draws", "moves"),
    [
        ("draws", True, False),
        ("counts", False, True),
        ("averages", False, True),
        ("", False, False),
    ],
)
def test_of_a_network_that_draws_or_that_images_change_it_is_said(
    kind: str, draws: bool, moves: bool
) -> None:
    model = erf_tools.as_model(_Changing(kind).eval())
    found = pixel_contributions(model, select("builtin", 3), Procedure(resolution=SIZE), "cpu")
    assert (found.run["draws"], found.run["moves"]) == (draws, moves)
    said = " ".join(notes(dead_pixel_table([found])))
    assert ("warning: _Changing: it draws random numbers" in said) == draws
    assert ("warning: _Changing: each image changes what" in said) == moves


def test_the_command_writes_a_table_and_uses_it_again(tmp_path: Path, run_command: Command) -> None:
    asked = ("dead-pixels", "--model", "resnet18", "--weights", "random", "--num-images", "2")
    for again in (False, True):
        code, out, error = run_command(*asked, "--resolution", "64", "--output", str(tmp_path))
        assert code == 0, error
        assert ("measured before" in error) == again
    assert "Dead pixels, %" in out
    assert "raise --num-images" in out
    assert "raise --num-images" in (tmp_path / "dead_pixels.md").read_text()
    row = pd.read_csv(tmp_path / "dead_pixels.csv").iloc[0]
    assert (row["weights"], row["resolution"]) == ("untrained", "64x64")
    assert 0 <= row["dead_pixels"] < 0.2
    assert (tmp_path / "dead_pixels.png").is_file()
    code, _, error = run_command("report", tmp_path, "--output", tmp_path / "page")
    assert code == 0, error
    page = (tmp_path / "page" / "report.html").read_text()
    (shown,) = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["dead"]  # type: ignore[index]
    assert shown["label"] == "resnet18 (untrained)"
    assert float(shown["share"].removesuffix(" %")) == pytest.approx(
        100 * row["dead_pixels"], abs=0.01
    )
    picture = Image.open(io.BytesIO(base64.b64decode(shown["png"].partition(",")[2])))
    assert picture.size == (64, 64)
    code, _, error = run_command(*asked, "--resolution", "32", "--output", str(tmp_path))
    assert code == 2
    assert "resolution" in error
