"""Perturbation ERFs: against linear and saturating networks by hand, and computed in full."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from test_fast_paths import NETWORKS, prepare
from torch import Tensor, nn

import erf_tools
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.measures.families.squares import THRESHOLDS
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.reading import read_maps
from erf_tools.fields.changes import IMAGE, holding, plan, whole
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.models.model import Model, as_model
from erf_tools.perturbation.agreement import COMPARED, agreement, linearity
from erf_tools.perturbation.cells import Grid
from erf_tools.perturbation.measuring import perturbation_erf
from erf_tools.perturbation.result import ImageCheck, PerturbationERF
from erf_tools.preprocessing import Preprocessing

RAW = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))
BY_NAME = {compared.name: compared for compared in COMPARED}


def plain(*layers: nn.Module) -> Model:
    """A network in float64 that sees pixels in [0, 1]."""
    module = nn.Sequential(*layers).double().eval()
    return as_model(module, "toy", preprocessing=RAW)


def linear(positive: bool) -> Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 5, 2, 2, bias=False), nn.Conv2d(4, 2, 3, 2, 1, bias=False)]
    if positive:
        for layer in layers:
            layer.weight.data.abs_()
    return plain(*layers)


def flat(*values: int) -> list[Image.Image]:
    return [Image.fromarray(np.full((32, 32, 3), value, np.uint8)) for value in values]


def noise(count: int, side: int = 32) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return [Image.fromarray(own) for own in pixels]


def test_a_linear_network_agrees_exactly_up_to_scale() -> None:
    """Where every cell changes by as much: flat images that are replaced by one another."""
    images = flat(40, 70, 200, 90, 130, 60)
    found = perturbation_erf(
        linear(positive=True),
        images,
        order="sequential",
        resolution=32,
        cells=8,
        replacement=("other",),
    )
    change = found.map("change", "other")
    steps = np.abs(np.diff([40, 70, 200, 90, 130, 60, 40])) / 255
    np.testing.assert_allclose(change, steps.mean() * found.gradient_map, rtol=1e-12, atol=1e-15)
    for compared in (BY_NAME["change"], BY_NAME["linear"]):
        agreed = agreement(found, "other", compared)
        for estimate in (agreed.spearman, agreed.side_ratio, *agreed.area_ratios.values()):
            np.testing.assert_allclose([estimate.value, estimate.low, estimate.high], 1, rtol=1e-6)
    course = linearity(found)
    assert max(error.value for error in course.errors) < 1e-9
    assert course.until == 32 / 255


def test_of_a_linear_network_every_replacement_is_predicted() -> None:
    found = perturbation_erf(
        linear(positive=False), noise(2), resolution=32, cells=5, scalar="sum", gradient="abs"
    )
    assert found.found.change.any()
    for replacement in found.replacements:
        np.testing.assert_allclose(
            found.map("change", replacement), found.map("predicted", replacement), atol=1e-15
        )


def saturating() -> Model:
    """The unit in the middle sees four cells of 8x8 pixels, cut off at 1/2, with these weights."""
    weights = np.kron([[8, 4], [1, 0.5]], np.ones((4, 4)))
    layer = nn.Conv2d(3, 1, 15, 4, 7, bias=False)
    layer.weight.data.zero_()
    layer.weight.data[0, :, 3:11, 3:11] = torch.from_numpy(weights)
    return plain(nn.Hardtanh(0, 0.5), layer)


def test_a_saturating_network_disagrees_as_calculated() -> None:
    """Cells of 230 and 204 are saturated: no gradient, though the largest weights are theirs."""
    pixels = np.kron([[230, 204], [26, 26]], np.ones((4, 4)))[:, :, None].repeat(3, axis=2)
    image = Image.fromarray(pixels.astype(np.uint8))
    found = perturbation_erf(saturating(), [image], resolution=8, cells=2, replacement=("mean",))
    mean, cell = 121.5 / 255, 26 / 255
    np.testing.assert_allclose(found.gradient_map, [[0, 0], [3, 1.5]])
    change = 3 * np.array([[8 * (0.5 - mean), 4 * (0.5 - mean)], [mean - cell, (mean - cell) / 2]])
    np.testing.assert_allclose(found.map("change", "mean"), change, rtol=1e-12)
    np.testing.assert_allclose(found.map("norm", "mean"), change, rtol=1e-12)
    predicted = change * [[0], [1]]
    np.testing.assert_allclose(found.map("predicted", "mean"), predicted, rtol=1e-12)
    # Ranks of the change 3, 1, 4, 2; of the gradient 1.5, 1.5, 4, 3.
    agreed = agreement(found, "mean", BY_NAME["change"])
    assert agreed.spearman.value == pytest.approx(3 / sqrt(22.5))
    assert agreed.spearman_of_means == agreed.spearman.value
    assert np.isnan(agreed.spearman.low)


def test_steps_that_saturate_are_predicted_until_they_do() -> None:
    """Gradient and step are known: from the fourth step on half of the cells are cut off."""
    pixels = np.full((8, 8, 3), 128 - 5, np.uint8)  # 4.5 / 255 below the cut
    found = perturbation_erf(
        saturating(), [Image.fromarray(pixels)], resolution=8, cells=2, replacement=("mean",)
    )
    errors = [error.value for error in linearity(found).errors]
    np.testing.assert_allclose(errors[:3], 0, atol=1e-9)
    assert errors[3] > 1e-3
    assert sorted(errors[3:]) == errors[3:]


@pytest.mark.parametrize("name", ["replknet", "resnet", "convnext", "tensorflow-padding"])
def test_following_a_change_gives_what_the_whole_gives(name: str) -> None:
    """Each cell of an image of other proportions than the network's own, replaced by noise."""
    network = prepare(NETWORKS[name])
    model = as_model(network)
    size = (96, 128)
    procedure = Procedure(resolution=size)
    made = Contributions(network, [model.tap], procedure, size, False, fast=True)
    image, fill = torch.randn(2, 1, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    made.maps(image.clone())
    inputs, field = made.inputs[0], made.layers[0].field
    unit = made.units[0].positions[0]
    assert field

    def read(network: nn.Module, images: Tensor) -> list[Tensor]:
        return read_maps(network, [model.tap], images)

    grid = Grid.of(size, 5)
    chosen = np.flatnonzero(grid.reached(field.box(unit)))
    cells = grid.ranges(grid.reached(field.box(unit)))[:: max(len(chosen) // 8, 1)]
    with torch.no_grad():
        with holding(made.folded, list(inputs)) as held:
            read(made.folded, image)
        held[IMAGE] = image
        course = plan(inputs, held, field, unit, cells)
        found = course.values(made.folded, read, held, fill)
        expected = whole(cells, size, unit).values(network, read, held, fill)
    assert len(course.places) > 1
    assert (found - expected).norm() <= 1e-9 * expected.norm()


def test_outside_of_the_field_nothing_changes() -> None:
    """The zero is exact: of cells that are left out, and where they are computed all the same."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)
    ).eval()
    found = perturbation_erf(as_model(network), noise(2, 64), resolution=64, cells=16)
    # The unit in row 8 sees pixels 29 to 35: cells 7 and 8 of four pixels each.
    inside = np.zeros((16, 16), bool)
    inside[7:9, 7:9] = True
    assert np.array_equal(found.reached, inside)
    for quantity in ("change", "norm", "predicted"):
        assert (found.map(quantity, "other") > 0).tolist() == inside.tolist()  # type: ignore[arg-type]
    cells = Grid.of((64, 64), 16).ranges(~inside)
    image, fill = torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    course = whole(cells, (64, 64), (8, 8))

    def read(network: nn.Module, images: Tensor) -> list[Tensor]:
        return [network(images)]

    with torch.no_grad():
        values = course.values(network, read, {IMAGE: image}, fill)
        as_it_is = course.values(network, read, {IMAGE: image}, image)
    assert torch.equal(values, as_it_is)


class Wrong(nn.Module):
    """Something that a check must not take for a function of one image."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Conv2d(3, 4, 3, 2, 1), kind
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        features = self.layer(images)
        if self.kind == "random":
            return features * torch.rand(())
        if self.kind == "counting":
            self.seen += 1
            return features * (1 + self.seen)
        return features - features.mean(dim=0, keepdim=True) / 2  # images see each other


@pytest.mark.parametrize(
    ("kind", "message"), [("random", "gives other values"), ("counting", "changes what")]
)
def test_what_is_no_function_of_the_image_is_refused(kind: str, message: str) -> None:
    with pytest.raises(ErfToolsError, match=message):
        perturbation_erf(Wrong(kind).eval(), noise(2), resolution=32, cells=4)


def test_images_that_see_each_other_are_taken_one_by_one() -> None:
    torch.manual_seed(0)
    network = Wrong("batch").double().eval()
    found = perturbation_erf(network, noise(2), resolution=32, cells=4)
    assert found.runs[0]["together"] is False
    plainly = perturbation_erf(network, noise(2), resolution=32, cells=4, exact=True)
    for name, array in vars(found.found).items():
        np.testing.assert_array_equal(array, getattr(plainly.found, name))


class _SeenWithoutRim(nn.Module):
    """Images see each other in it, but not the rim of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 7, 4, 3), norm, nn.ReLU(), nn.Conv2d(8, 4, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images[:, :, 8:-8, 8:-8])


def test_ways_are_proven_by_cells_that_the_unit_sees() -> None:
    network = _SeenWithoutRim().double().eval()
    found = perturbation_erf(network, noise(2), resolution=48, cells=6)
    assert found.runs[0]["together"] is False
    plainly = perturbation_erf(network, noise(2), resolution=48, cells=6, exact=True)
    for name, array in vars(found.found).items():
        np.testing.assert_array_equal(array, getattr(plainly.found, name))


def test_a_unit_that_nothing_changes_is_computed_plainly() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 2, 3, 2, 1)).eval()
    nn.init.constant_(network[0].bias, -1e3)
    found = perturbation_erf(network, noise(2), resolution=32, cells=4)
    assert not any(found.runs[0][way] for way in ("together", "folded", "cone"))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"unit": "grid:2"}, "one unit"),
        ({"protocol": "luo2016"}, "with their sign"),
        ({"transform": "noise"}, "measures on noise"),
        ({"cells": 33}, "--cells is 33"),
        ({"cells": 0}, "--cells is 0"),
        ({"replacement": ("black",)}, "mean, other or blur"),
        ({"replacement": ()}, "is empty"),
        ({"num_images": 1}, "takes cells of another image"),
    ],
)
def test_misuse_is_refused(choices: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        perturbation_erf(linear(positive=True), **{"resolution": 32, "num_images": 2, **choices})


def test_a_check_goes_on_where_it_was(tmp_path: Path) -> None:
    from erf_tools.images import select
    from erf_tools.perturbation.choices import Checking
    from erf_tools.perturbation.measuring import check_layer

    model, procedure, checking = linear(positive=True), Procedure(resolution=32), Checking(cells=4)
    selection = select(noise(3), 3, "sequential")
    kept: list[PerturbationERF] = []
    arguments = (model, model.tap, selection, procedure, checking)
    whole_check = check_layer(*arguments, keep=kept.append)
    assert [len(result.images) for result in kept] == [1, 2, 3]
    path = tmp_path / "check.npz"
    kept[0].save(path)
    again = check_layer(*arguments, earlier=PerturbationERF.load(path))
    again.save(path)
    loaded = PerturbationERF.load(path)
    assert loaded.record() == whole_check.record()
    for name, array in vars(whole_check.found).items():
        np.testing.assert_array_equal(array, getattr(loaded.found, name))


def test_cells_are_as_equal_as_pixels_allow() -> None:
    grid = Grid.of((30, 45), 4)
    assert grid.shape == (4, 6)
    assert grid.areas.sum() == 30 * 45
    assert set(np.diff(grid.rows)) | set(np.diff(grid.columns)) == {7, 8}
    values = np.random.default_rng(0).random((30, 45))
    sums = grid.sums(values)
    (top, bottom), (left, right) = grid.ranges(np.ones(grid.shape, bool))[8]
    assert sums[1, 2] == pytest.approx(values[top:bottom, left:right].sum())
    assert grid.spread(sums)[top, left] == sums[1, 2] == grid.spread(sums)[bottom - 1, right - 1]


def made_up(change: np.ndarray, gradient: np.ndarray) -> PerturbationERF:
    """A check of some images, of one replacement, on 8x8 pixels."""
    images = len(change)
    from erf_tools.erf.maps import MeasuredImage

    steps = np.zeros((images, 6, 4))
    check = ImageCheck(gradient, change[:, None], change[:, None], change[:, None], steps, steps)
    setting = {
        "resolution": [8, 8],
        "square": "center",
        "center": [4, 4],
        "units": [[0, 0]],
        "receptive_field": ReceptiveField.tiles((1, 1), (8, 8)).record(),
        "check": {"cells": change.shape[-1], "replacement": ["mean"], "seed": 0, "images": images},
    }
    counted = tuple(MeasuredImage(str(number), str(number), "counted") for number in range(images))
    return PerturbationERF(check, counted, setting, ())


def test_intervals_cover_the_value_of_many_images() -> None:
    """Cells that are noisy multiples of one another, drawn anew: nineteen of twenty cover."""
    generator = np.random.default_rng(0)
    truth = generator.gamma(2.0, size=(8, 8))
    other = truth * generator.gamma(4.0, size=(8, 8))

    def drawn(images: int) -> PerturbationERF:
        own = truth * generator.gamma(2.0, size=(images, 8, 8))
        theirs = other * generator.gamma(2.0, size=(images, 8, 8))
        return made_up(own, theirs)

    wanted = agreement(drawn(2_000), "mean", BY_NAME["change"])
    covered = {"spearman": 0, "side": 0, "area": 0}
    runs = 40
    for _ in range(runs):
        found = agreement(drawn(12), "mean", BY_NAME["change"])
        for name, ours, theirs in (
            ("spearman", found.spearman, wanted.spearman),
            ("side", found.side_ratio, wanted.side_ratio),
            ("area", found.area_ratios[THRESHOLDS[1]], wanted.area_ratios[THRESHOLDS[1]]),
        ):
            covered[name] += ours.low <= theirs.value <= ours.high
    assert min(covered.values()) >= 0.85 * runs, covered


def test_the_correlation_of_the_very_maps_stands_beside() -> None:
    generator = np.random.default_rng(1)
    ours, theirs = generator.gamma(2.0, size=(2, 12, 4, 4))
    found = agreement(made_up(ours, theirs), "mean", BY_NAME["change"])
    expected = spearmanr(ours.mean(axis=0).ravel(), theirs.mean(axis=0).ravel()).statistic
    assert found.columns()["spearman_of_means"] == pytest.approx(expected)
    assert found.spearman.value != pytest.approx(expected, abs=1e-3)


def test_the_library_offers_it() -> None:
    assert erf_tools.perturbation_erf is perturbation_erf
