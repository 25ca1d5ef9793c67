"""Any layer, any output, any unit: several from one pass, tokens and dictionaries, grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from erf_tools.computing import Computing
from erf_tools.erf.gradients import effective_receptive_field, measure_layers
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.features.proof import find_map_layers
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap, find_taps, stage_taps
from erf_tools.images import select
from erf_tools.models.layers import describe_layers
from erf_tools.models.loading import load_model
from erf_tools.models.model import as_model
from erf_tools.preprocessing import Preprocessing

PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def test_several_layers_of_one_pass_equal_separate_runs() -> None:
    model = load_model("resnet18", "random")
    passes = []
    model.module.conv1.register_forward_pre_hook(
        lambda _layer, inputs: passes.append(len(inputs[0])) if inputs[0].requires_grad else None
    )
    selection = select("builtin", 3)
    taps = find_taps(model.module, ["layer*", "layer2.0.conv1"])
    assert [tap.path for tap in taps] == ["layer1", "layer2", "layer2.0.conv1", "layer3", "layer4"]
    procedure = Procedure(resolution=64)
    together = measure_layers(
        model, selection, procedure, taps, computing=Computing(exact=True, batch_size=1)
    )
    assert passes == [1, 1, 1]
    for tap, result in zip(taps, together, strict=True):
        (alone,) = measure_layers(
            model, selection, procedure, [tap], computing=Computing(exact=True, batch_size=1)
        )
        np.testing.assert_array_equal(alone.map, result.map)
        np.testing.assert_equal(alone.measures.values(), result.measures.values())
        assert alone.center == result.center


def test_stages_of_timm_equal_their_modules() -> None:
    model = load_model("resnet18", "random")
    images = torch.randn(1, 3, 64, 64)
    stages = read_maps(model.module, stage_taps(model.module), images)
    named = read_maps(
        model.module,
        [Tap(name) for name in ("act1", "layer1", "layer2", "layer3", "layer4")],
        images,
    )
    for stage, layer in zip(stages, named, strict=True):
        assert torch.equal(stage, layer)


@pytest.mark.parametrize(("name", "count"), [("replknet3", 4), ("efficientnet_lite0", 6)])
def test_stages_end_with_the_default_tap(name: str, count: int) -> None:
    model = load_model(name, "random")
    taps = stage_taps(model.module)
    assert len(taps) == count
    assert replace(taps[-1], stage=None) == model.tap
    images = torch.randn(1, 3, 64, 64)
    maps = read_maps(model.module, taps, images)
    assert torch.equal(maps[-1], read_maps(model.module, [model.tap], images)[0])
    rows = [found.shape[-1] for found in maps]
    assert rows == sorted(rows, reverse=True)


class Outputs(nn.Module):
    """Layers that give more than a tensor, and layouts that only their shapes tell."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 4, stride=4)
        self.nothing = nn.Identity()
        self.pair, self.nested, self.single = Pair(), Nested(), Single()
        self.last = nn.Linear(5, 7)
        self.head = nn.Linear(6, 7)  # fails after everything is read

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images)
        self.pair(features)
        self.nested(features)
        self.single(features)
        self.last(features.permute(0, 2, 3, 1))
        return self.head(features)


class Pair(nn.Module):
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return features, 2 * features


class Nested(nn.Module):
    def forward(self, features: Tensor) -> dict[str, object]:
        return {"levels": [features, 3 * features], "loss": features.mean()}


class Single(nn.Module):
    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        return features.flatten(2).transpose(1, 2), None


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_tuples_dictionaries_and_tokens_are_resolved(size: tuple[int, int]) -> None:
    module = Outputs()
    images = torch.randn(2, 3, *size)
    features = module.conv(images)
    taps = [
        Tap("pair", output_key="1"),
        Tap("nested", output_key="levels.1"),
        Tap("single"),
        Tap("last"),
    ]
    pair, nested, single, last = read_maps(module, taps, images)
    assert torch.equal(pair, 2 * features)
    assert torch.equal(nested, 3 * features)
    assert torch.equal(single, features)
    expected = module.last(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.equal(last, expected)


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        (Tap("pair"), r"gives a tuple of 0: \[1, 5, 8, 8\], 1: \[1, 5, 8, 8\]; say which with"),
        (Tap("pair"), r"--output-key, as in --layer pair --output-key 0$"),
        (Tap("nested"), r"as in --layer nested --output-key levels\.0$"),
        (Tap("nested", output_key="levels"), r"--layer nested --output-key levels\.0$"),
        (Tap("pair", run=1), r"--layer pair#1 --output-key 0$"),
        (Tap("pair", output_key="2"), "--output-key 2: pair gives a tuple of 0"),
        (Tap("nested"), "gives a dict of levels: list, loss"),
        (Tap("nested", output_key="level"), "--output-key level: nested gives a dict of levels"),
        (Tap("conv", output_key="0.1.2.3.4"), "--output-key"),
    ],
    ids=str,
)
def test_outputs_that_are_not_clear_are_listed(tap: Tap, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_maps(Outputs(), [tap], torch.randn(1, 3, 32, 32))


def test_unknown_layers_are_answered_with_near_names() -> None:
    model = load_model("resnet18", "random")
    with pytest.raises(UsageError, match=r"--layer leyer4: .*did you mean .*layer4"):
        find_taps(model.module, ["leyer4"])
    with pytest.raises(UsageError, match="does not say what its stages are"):
        stage_taps(Outputs())


def test_patterns_stay_within_a_level() -> None:
    model = load_model("resnet18", "random")
    assert [tap.path for tap in find_taps(model.module, ["layer?"])] == [
        f"layer{number}" for number in (1, 2, 3, 4)
    ]
    assert len(find_taps(model.module, ["layer1.*"])) == 2


def test_layers_are_listed_with_shape_stride_and_receptive_field() -> None:
    listed = {layer.tap.path: layer for layer in describe_layers(load_model("resnet18", "random"))}
    assert listed["layer1.0"].shape == (64, 56, 56)
    assert (listed["layer1.0"].stride, listed["layer1.0"].field.in_words) == ("4", "27")
    assert (listed["layer4"].stride, listed["layer4"].field.in_words) == ("32", "435")
    assert "fc" not in listed
    inside = find_map_layers(
        load_model("resnet18", "random").module, torch.zeros(1, 3, 64, 64), "layer1.0.*"
    )
    assert Tap("layer1.0.conv1") in inside


class Shifting(nn.Module):
    """Translation-equivariant away from the rim; units are 4 pixels apart, centred at 4 u + 1.5."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images))


def test_a_grid_of_units_is_aligned_at_their_centres() -> None:
    """All units of a linear net see the same: their aligned mean is the map of one."""
    model = as_model(Shifting(), preprocessing=PLAIN)
    single = effective_receptive_field(model, num_images=1, resolution=64)
    grid = effective_receptive_field(model, num_images=1, resolution=64, unit="grid:3")
    assert grid.units == [(r, c) for r in (2, 8, 13) for c in (2, 8, 13)]
    assert single.center == grid.center == (33.5, 33.5)
    np.testing.assert_allclose(grid.map, single.map, atol=1e-7)
    # Unaligned, the mean would be nine separate spots.
    spots = [
        effective_receptive_field(model, num_images=1, resolution=64, unit=f"{r},{c}").map
        for r, c in grid.units
    ]
    assert np.linalg.norm(np.mean(spots, axis=0) - single.map) > 0.5 * np.linalg.norm(single.map)


def test_units_near_the_rim_count_where_the_image_reaches() -> None:
    class Everywhere(nn.Module):
        """A unit depends on all pixels alike: the aligned mean is uniform, not a tent."""

        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3), keepdim=True).expand(-1, -1, 8, 8)

    model = as_model(Everywhere(), preprocessing=PLAIN)
    result = effective_receptive_field(model, num_images=1, resolution=32, unit="grid:4")
    np.testing.assert_allclose(result.map, np.full((32, 32), 3 / 1024), rtol=1e-6)


def positive(*layers: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 3, kernel, stride, padding) for kernel, stride, padding in layers]
    for convolution in convolutions:
        nn.init.constant_(convolution.weight, 0.1)
        nn.init.ones_(convolution.bias)
    return nn.Sequential(*convolutions)


@pytest.mark.parametrize("resolution", [224, 1024])
@pytest.mark.parametrize(
    "layers",
    [
        [(7, 2, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1)],
        [(4, 4, 0), (3, 1, 1), (2, 2, 0), (3, 1, 1), (2, 2, 0), (2, 2, 0)],
        [(16, 16, 0), (3, 1, 1)],
    ],
    ids=["strided stem", "patch stem and patch merging", "patch of 16"],
)
def test_the_reported_centre_is_the_centroid_of_the_map(
    resolution: int, layers: list[tuple[int, int, int]]
) -> None:
    model = as_model(positive(*layers), preprocessing=PLAIN)
    result = effective_receptive_field(model, num_images=1, resolution=resolution)
    weights = result.map / result.map.sum()
    positions = np.arange(resolution)
    centroid = (weights.sum(axis=1) @ positions, weights.sum(axis=0) @ positions)
    assert result.center == pytest.approx(centroid, abs=1)
    # The published square is centred elsewhere in every one of these networks at 224.
    if resolution == 224:
        assert abs(result.center[0] - 112) > 0.4
    box = result.theoretical_box
    assert box is not None
    rows = np.flatnonzero(result.map.sum(axis=1))
    assert (rows[0], rows[-1] + 1) == (max(box[0], 0), min(box[1], resolution))


def test_squares_can_be_centred_at_the_unit() -> None:
    model = as_model(positive((7, 2, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1)))
    published = effective_receptive_field(model, num_images=2, resolution=224)
    centred = effective_receptive_field(model, num_images=2, resolution=224, square="unit")
    np.testing.assert_array_equal(published.map, centred.map)
    assert centred.measures.effective_side < published.measures.effective_side
    assert centred.measures.legacy_50 == published.measures.legacy_50
    assert centred.square_center == (96, 96)
