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
    return PixelContributions.of_groups(sums, counts, [("", "")] * images, {}, {})


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


def halves(generator: np.random.Generator, images: int, live: int, block: int) -> np.ndarray:
    """Maps ``[images, 48, 48]``: of each block of pixels, live ones are zero in half of images."""
    blocks = 48 // block
    maps = np.zeros((images, blocks**2))
    maps[:, :live] = np.maximum(generator.standard_normal((images, live)), 0)
    return np.kron(maps.reshape(images, blocks, blocks), np.ones((1, block, block)))


@pytest.mark.parametrize(("block", "live"), [(1, 144), (2, 144)])
def test_intervals_hold_shares_that_all_images_agree_in(block: int, live: int) -> None:
    """By chance a live pixel is dead in all groups alike: then the spread seen is none."""
    generator = np.random.default_rng(1)
    truth = 1 - live / (48 // block) ** 2
    held = given = 0
    for _ in range(200):
        sums = halves(generator, 10, live, block)
        found = PixelContributions.of_groups(sums, [1] * 10, [("", "")] * 10, {}, {}).dead
        given += np.isfinite(found.low)
        held += found.low <= truth <= found.high
    assert given >= 150
    assert held >= 0.99 * given


@pytest.mark.parametrize("block", [1, 2])
def test_intervals_hold_shares_that_more_images_lower(block: int) -> None:
    """Contributions near the bound: few images leave some below it that are above."""
    generator = np.random.default_rng(0)
    mean = generator.lognormal(0, 0.9, (48 // block, 48 // block))
    mean = np.kron(mean, np.ones((block, block)))
    truth = dead_share(mean)
    assert 0 < truth < 0.02
    held = given = 0
    for _ in range(200):
        noise = np.kron(
            generator.exponential(1, (16, 48 // block, 48 // block)), np.ones((1, block, block))
        )
        result = PixelContributions.of_groups(mean * noise, [1] * 16, [("", "")] * 16, {}, {})
        given += np.isfinite(result.dead.low)
        held += result.dead.low <= truth <= result.dead.high
    assert given >= 100
    assert held >= 0.95 * given


def test_it_is_said_why_there_is_no_interval() -> None:
    generator = np.random.default_rng(0)
    several = [drawn(generator, images, np.ones((8, 8))) for images in (3, 5)]
    setting = erf("net", np.ones((8, 8))).setting
    rows = [
        PixelContributions(
            each.arrays,
            each.images,
            {**setting, "model": {**setting["model"], "weights": {"label": f"ep{number}.pth"}}},
            {},
        )
        for number, each in enumerate([*several, several[1]])
    ]
    said = notes(dead_pixel_table(rows))
    assert said[1] == (
        "net (ep0.pth): no interval, since 3 images are fewer than 5; raise --num-images."
    )
    assert said[2].startswith(
        "net (ep1.pth), net (ep2.pth): no interval, since 5 images are so few that pixels"
    )
    (_, alone) = notes(dead_pixel_table(rows[1:]))
    assert alone.startswith("net: no interval")


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
    # Images that all say the same say nothing of the next: a few pixels may be otherwise.
    few = pytest.approx(4 / SIZE**2)
    assert (share - found.dead.low, found.dead.high - share) == (few, few)


def test_what_cancels_over_channels_is_zero_not_rounding() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8))
    model = erf_tools.as_model(network)
    procedure = Procedure(resolution=SIZE).varied(scalar="sum")
    found = pixel_contributions(model, select("builtin", 1), procedure, "cpu")
    assert not found.map.any()


class HighPass(nn.Module):
    """A fixed filter whose weights add up to zero, and a convolution."""

    def __init__(self, mixed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filter = nn.Conv2d(3, 3, 3, padding=1, groups=1 if mixed else 3, bias=False)
        self.last = nn.Conv2d(3, 8, 3, padding=1)
        weight = self.filter.weight.data
        axes = (1, 2, 3) if mixed else (2, 3)
        weight -= weight.mean(axes, keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.last(self.filter(images))
        return maps


@pytest.mark.parametrize("choices", [{"gradient": "abs"}, {"gradient": "signed"}, {"rgb": "mean"}])
def test_where_it_cancels_inside_a_pixel_is_dead(choices: dict[str, str]) -> None:
    """Inside the rim the sum is zero but for rounding; float64 says where."""
    network, side = HighPass(mixed="rgb" in choices), 32
    exact = HighPass(mixed="rgb" in choices).double()
    images = torch.zeros(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    axes = (1, 2, 3) if "rgb" in choices else (2, 3)
    exact.filter.weight.data -= exact.filter.weight.data.mean(axes, keepdim=True)
    (gradient,) = torch.autograd.grad(exact(images).sum(), images)
    true = gradient[0].mean(0).abs() if "rgb" in choices else gradient[0].abs().sum(0)
    zero = (true < 1e-9 * true.max()).numpy()
    assert zero.mean() == ((side - 4) / side) ** 2
    procedure = Procedure(resolution=side).varied(
        **{"scalar": "sum", "gradient": "abs", "rgb": "sum"} | choices
    )
    found = pixel_contributions(erf_tools.as_model(network), select("builtin", 1), procedure, "cpu")
    np.testing.assert_array_equal(found.map == 0, zero)
    assert dead_share(found.map) == zero.mean()


def test_really_small_contributions_are_left() -> None:
    """One column is seen through a weight of 1e-6: float32 knows it to seven digits."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    model = erf_tools.as_model(nn.Sequential(Faint(), network))
    procedure = Procedure(resolution=SIZE).varied(scalar="sum", gradient="abs")
    found = pixel_contributions(model, select("builtin", 1), procedure, "cpu").map
    np.testing.assert_allclose(found[:, 3], 1e-6 * found[:, 0], rtol=1e-5)
    assert (found > 0).all()


class Faint(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        weight = torch.ones(images.shape[-1])
        weight[3] = 1e-6
        return images * weight


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
