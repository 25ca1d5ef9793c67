"""Theoretical receptive fields and true centres, against arithmetic, gradients and publications."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.errors import ErfToolsError
from erf_tools.fields.dependency import receptive_fields
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.models.loading import load_model

SIZE = (224, 224)


def field_of(
    network: nn.Module,
    size: tuple[int, int] = SIZE,
    read: Callable[[Any, Tensor], Tensor] = lambda network, images: network(images),
) -> ReceptiveField:
    """The field of one map: the network's output, or what ``read`` gives."""
    (field,) = receptive_fields(network, lambda copied, images: [read(copied, images)], size)
    return field


def timm_field(name: str, **arguments: Any) -> ReceptiveField:
    network: Any = timm.create_model(name, **arguments)
    return field_of(network, read=last_stage)


def last_stage(network: Any, images: Tensor) -> Tensor:
    return stages(network, images)[-1]


def stages(network: Any, images: Tensor) -> list[Tensor]:
    return network.forward_intermediates(
        images, norm=False, output_fmt="NCHW", intermediates_only=True
    )


@dataclass(frozen=True)
class Layer:
    """A layer of a chain; pairs are (y, x)."""

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def build(self, inputs: int) -> nn.Module:
        if self.kind == "max":
            return nn.MaxPool2d(self.kernel, self.stride, self.padding, self.dilation)
        if self.kind == "average":
            return nn.AvgPool2d(self.kernel, self.stride, self.padding)
        return nn.Conv2d(inputs, 2, self.kernel, self.stride, self.padding, self.dilation)


def chain(layers: Sequence[Layer]) -> nn.Sequential:
    network = nn.Sequential()
    channels = 3
    for layer in layers:
        network.append(layer.build(channels))
        channels = 2 if layer.kind == "conv" else channels
    return network


def by_arithmetic(layers: Sequence[Layer], axis: int) -> tuple[int, int, int]:
    """Stride, and first and last pixel of unit 0: r += (k - 1) j, j *= s."""
    jump, first, last = 1, 0, 0
    for layer in layers:
        reach = (layer.kernel[axis] - 1) * layer.dilation[axis]
        first -= layer.padding[axis] * jump
        last += (reach - layer.padding[axis]) * jump
        jump *= layer.stride[axis]
    return jump, first, last


def by_gradient(
    network: nn.Module, size: tuple[int, int], unit: tuple[int, int]
) -> tuple[tuple[int, int, int, int], tuple[float, float]]:
    """Box and centroid of the pixels that have a gradient, where all weights are positive."""
    images = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    network(images)[:, :, unit[0], unit[1]].sum().backward()
    assert images.grad is not None
    mass = images.grad.sum(dim=(0, 1)).numpy()
    rows, columns = (np.flatnonzero(mass.sum(axis=axis)) for axis in (1, 0))
    y, x = np.indices(size)
    centroid = (float((y * mass).sum() / mass.sum()), float((x * mass).sum() / mass.sum()))
    return (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1), centroid


def positive(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.5, 1)
    return network.double()


@st.composite
def pairs(draw: st.DrawFn, low: int, high: int) -> tuple[int, int]:
    return draw(st.integers(low, high)), draw(st.integers(low, high))


@st.composite
def chain_layers(draw: st.DrawFn) -> Layer:
    kind = draw(st.sampled_from(["conv", "conv", "max", "average"]))
    kernel = draw(pairs(1, 7))
    stride = draw(pairs(1, 3))
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    return Layer(kind, kernel, stride, padding, (1, 1) if kind == "average" else draw(pairs(1, 2)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(chain_layers(), min_size=1, max_size=4))
def test_chains_of_convolutions_and_pools_are_as_arithmetic_says(layers: list[Layer]) -> None:
    expected = [by_arithmetic(layers, axis) for axis in (0, 1)]
    assume(all(stride <= 27 and last - first < 128 for stride, first, last in expected))
    field = field_of(chain(layers), size=(160, 192))
    assert [*zip(field.stride, field.first, field.last, strict=True)] == expected
    assert field.basis == "dependency"


CONV, AVERAGE = "conv", "average"
CHAINS = {
    "one pixel": [Layer(CONV, (1, 1))],
    "dilated": [
        Layer(CONV, (3, 3), padding=(2, 2), dilation=(2, 2)),
        Layer(CONV, (3, 3), padding=(4, 4), dilation=(4, 4)),
        Layer(CONV, (3, 3), (2, 2), (8, 8), dilation=(8, 8)),
    ],
    "1x11": [Layer(CONV, (3, 3), (2, 2), (1, 1)), Layer(CONV, (1, 11), padding=(0, 5))],
    "11x1": [Layer(CONV, (3, 3), (2, 2), (1, 1)), Layer(CONV, (11, 1), padding=(5, 0))],
    "strides differ": [Layer(CONV, (16, 4), (16, 4)), Layer(CONV, (3, 3), padding=(1, 1))],
    "valid": [Layer(CONV, (7, 7), (3, 3)), Layer(AVERAGE, (3, 3), (2, 2)), Layer(CONV, (5, 5))],
    "even kernels": [Layer(CONV, (4, 4), (2, 2), (1, 1)), Layer(AVERAGE, (2, 2), padding=(1, 1))],
    "stride 14": [Layer(CONV, (14, 14), (14, 14)), Layer(CONV, (2, 2), (2, 2))],
    "stride 81": [Layer(CONV, (3, 3), (3, 3))] * 4,
    "holes": [Layer(CONV, (1, 1), (2, 2)), Layer(CONV, (3, 3), (3, 3), (1, 1))],
}


@pytest.mark.parametrize("layers", CHAINS.values(), ids=CHAINS)
def test_chains_are_as_arithmetic_and_gradients_say(layers: list[Layer]) -> None:
    network = positive(chain(layers))
    field = field_of(network)
    assert [*zip(field.stride, field.first, field.last, strict=True)] == [
        by_arithmetic(layers, axis) for axis in (0, 1)
    ]
    height, width = network(torch.ones(1, 3, *SIZE, dtype=torch.float64)).shape[2:]
    unit = (height // 2, width // 2)
    assert field.box(unit) == by_gradient(network, SIZE, unit)[0]


STEMS = {
    "ResNet": [Layer(CONV, (7, 7), (2, 2), (3, 3)), Layer(AVERAGE, (3, 3), (2, 2), (1, 1))]
    + [Layer(CONV, (3, 3), (2, 2), (1, 1))] * 3,
    "patches": [Layer(CONV, (4, 4), (4, 4)), Layer(CONV, (7, 7), padding=(3, 3))]
    + [Layer(CONV, (2, 2), (2, 2))] * 3,
    "patches of 16": [Layer(CONV, (16, 16), (16, 16))],
}


@pytest.mark.parametrize(
    ("layers", "center"), [*zip(STEMS.values(), [96, 111.5, 55.5], strict=True)], ids=STEMS
)
def test_centre_is_the_centroid_of_the_gradient(layers: list[Layer], center: float) -> None:
    network = positive(chain(layers))
    field = field_of(network)
    assert field.center((3, 3)) == (center, center)
    box, centroid = by_gradient(network, SIZE, (3, 3))
    assert field.box((3, 3)) == box
    assert centroid == pytest.approx((center, center), abs=1)


@pytest.mark.parametrize("size", [*product([224, 225, 230], repeat=2)], ids=str)
def test_padding_that_depends_on_the_size_is_that_of_the_analysed_size(
    size: tuple[int, int],
) -> None:
    network = positive(nn.Sequential(Conv2dSame(3, 2, 3, 2), Conv2dSame(2, 2, 5, 2)))
    assert field_of(network, size).box((20, 20)) == by_gradient(network, size, (20, 20))[0]


def stride_first(name: str) -> nn.Module:
    """A ResNet as first published, whose blocks stride in the 1x1 convolution; narrow."""
    network: Any = timm.create_model(name, channels=(8, 16, 32, 64))
    for layer in (network.layer2, network.layer3, network.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return network


@pytest.mark.parametrize(("name", "side"), [("50", 483), ("101", 1027), ("152", 1507)])
def test_resnets_as_published(name: str, side: int) -> None:
    """Of google-research receptive_field, for the form with the stride in the 1x1 convolution."""
    network: Any = stride_first(f"resnet{name}")
    field = field_of(network, read=last_stage)
    assert field.size == (side, side)
    assert [field.center((i, i))[0] for i in range(7)] == [32 * i for i in range(7)]


def test_resnet_of_today_reaches_less_far() -> None:
    """Striding in the 3x3 convolution takes 8 + 16 + 32 pixels off."""
    network: Any = load_model("resnet50", "random").module
    field = field_of(network, read=last_stage)
    assert field.size == (427, 427)
    assert field.center((3, 4)) == (96, 128)
    assert field.box((7, 7)) == (11, 438, 11, 438)


def test_large_kernels_reach_far() -> None:
    layers = [Layer(CONV, (3, 3), (2, 2), (1, 1))] * 4
    layers += [Layer(CONV, (31, 31), padding=(15, 15))] * 18
    field = field_of(chain(layers))
    assert field.size == (31 + 18 * 30 * 16, 31 + 18 * 30 * 16)
    assert field.center((7, 7)) == (112, 112)


def test_layer_norm_is_local() -> None:
    field = timm_field("convnext_atto")
    assert field.basis == "dependency"
    assert not field.unbounded
    assert field.center((3, 3)) == (111.5, 111.5)


def test_squeeze_and_excite_is_unbounded_with_a_centre() -> None:
    gated, plain = (timm.create_model("efficientnet_b0").eval() for _ in range(2))
    for part in plain.modules():
        if hasattr(part, "se"):
            part.se = nn.Identity()
    with_gates, without = (field_of(network, read=last_stage) for network in (gated, plain))
    assert (with_gates.unbounded, with_gates.basis) == (True, "local dependency")
    assert with_gates.size is None
    assert with_gates.box((3, 3)) is None
    assert (without.unbounded, without.basis) == (False, "dependency")
    assert without.size == (851, 851)
    assert (with_gates.stride, with_gates.first, with_gates.last) == (
        without.stride,
        without.first,
        without.last,
    )
    assert with_gates.center((3, 3)) == (96, 96)


@pytest.mark.parametrize(("name", "center"), [("convnextv2_atto", 111.5), ("poolformer_s12", 97)])
def test_normalisation_over_positions_is_unbounded_with_a_centre(name: str, center: float) -> None:
    field = timm_field(name)
    assert (field.unbounded, field.basis, field.size) == (True, "local dependency", None)
    assert field.center((3, 3)) == (center, center)


def test_attention_is_unbounded() -> None:
    network: Any = timm.create_model("vit_tiny_patch16_224")
    (field,) = receptive_fields(
        network, lambda network, images: [last_stage(network, images)], SIZE, fixed_size=True
    )
    assert (field.unbounded, field.basis, field.size) == (True, "grid", None)
    assert field.stride == (16, 16)
    assert field.center((7, 7)) == (119.5, 119.5)


def test_fixed_size_does_not_mean_unbounded() -> None:
    network = nn.Conv2d(3, 2, 4, 4)
    (field,) = receptive_fields(
        network, lambda network, images: [network(images)], SIZE, fixed_size=True
    )
    assert (field.unbounded, field.basis, field.size) == (False, "grid", None)
    assert field.in_words == "bounded"
    assert field.center((0, 10)) == (1.5, 41.5)


class Patches(nn.Module):
    """Patches whose units all see each other, by a mean without a module of its own."""

    def __init__(self, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 2, kernel, stride, padding)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        return tokens + tokens.mean((2, 3), keepdim=True)


@pytest.mark.parametrize("fixed_size", [True, False])
@pytest.mark.parametrize("size", [(160, 256), (224, 224), (100, 20)])
@pytest.mark.parametrize("patch", [7, 14])
def test_patches_that_do_not_divide_the_image_are_where_gradients_are(
    patch: int, size: tuple[int, int], fixed_size: bool
) -> None:
    network = Patches(patch, patch)
    (field,) = receptive_fields(network, lambda net, images: [net(images)], size, fixed_size)
    assert (field.unbounded, field.basis, field.stride) == (True, "grid", (patch, patch))
    last = size[0] // patch - 1, size[1] // patch - 1
    embed = positive(network.embed)
    for unit in ((0, 0), (last[0] // 2, last[1] // 2), last):
        (top, bottom, left, right), _ = by_gradient(embed, size, unit)
        assert field.center(unit) == ((top + bottom - 1) / 2, (left + right - 1) / 2)


def test_holes_between_units_are_no_rim() -> None:
    """The last pixel is of no unit, and units are 4 pixels apart all the same."""
    network = Patches(3, 4, 1)
    (field,) = receptive_fields(network, lambda net, images: [net(images)], SIZE, True)
    assert (field.unbounded, field.stride) == (True, (4, 4))
    assert by_gradient(positive(network.embed), SIZE, (55, 55))[0] == (219, 222, 219, 222)


def test_built_for_one_size_and_run_on_others_has_its_true_centre() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 63, 32, 31), WindowAttention())
    (field,) = receptive_fields(network, lambda net, images: [net(images)], SIZE, True)
    assert (field.unbounded, field.basis) == (True, "local dependency")
    assert field.center((3, 3)) == (96, 96)


def test_networks_that_refuse_other_sizes_are_taken_as_fixed() -> None:
    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + torch.zeros(*SIZE)

    field = field_of(Fixed())
    assert (field.unbounded, field.basis, field.stride) == (False, "grid", (1, 1))


@pytest.mark.parametrize("multiple", [32, 224])
def test_networks_that_refuse_thin_images_are_run_on_thicker_ones(multiple: int) -> None:
    convolution = nn.Conv2d(3, 2, 5, 2, 2)

    def picky(network: nn.Module, images: Tensor) -> Tensor:
        assert min(images.shape[2:]) % multiple == 0
        return network(images)

    assert field_of(convolution, read=picky).size == (5, 5)


@pytest.mark.parametrize("multiple", [128, 384])
def test_networks_that_refuse_some_lengths_are_run_on_others(multiple: int) -> None:
    """As windows of attention do; the field is known before the shortest strip is chosen."""
    convolution = nn.Conv2d(3, 2, 801, 32, 400)

    def picky(network: nn.Module, images: Tensor) -> Tensor:
        assert images.shape[2] % multiple == 0 or images.shape[2] < 64
        assert images.shape[3] % multiple == 0 or images.shape[3] < 64
        return network(images)

    assert field_of(convolution, (768, 768), picky).size == (801, 801)


class Pyramid(nn.Module):
    """A map of stride 4 that sees one of stride 16, enlarged."""

    def __init__(self, gated: bool = False) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 2, 5, 4, 2)
        self.coarse = nn.Conv2d(2, 2, 3, 4, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Sigmoid()) if gated else None

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.fine(images)
        coarse = self.coarse(fine)
        fused = fine + F.interpolate(coarse, fine.shape[2:], mode="nearest")
        return [fine, coarse, fused * self.gate(fused) if self.gate else fused]


@pytest.mark.parametrize("gated", [False, True])
def test_maps_whose_units_differ_lie_on_a_grid(gated: bool) -> None:
    network = Pyramid(gated)
    fine, coarse, fused = receptive_fields(network, nn.Module.__call__, SIZE)
    assert (fine.size, coarse.size) == ((5, 5), (13, 13))
    assert (fused.unbounded, fused.basis, fused.size) == (gated, "grid", None)
    assert fused.stride == (4, 4)
    assert fused.center((0, 10)) == (1.5, 41.5)


@pytest.mark.parametrize(
    "resize",
    [nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=1.5), nn.AdaptiveAvgPool2d(7)],
    ids=str,
)
@pytest.mark.parametrize("stride", [1, 2, 3, 32])
def test_resized_maps_lie_on_a_grid(resize: nn.Module, stride: int) -> None:
    field = field_of(nn.Sequential(nn.Conv2d(3, 2, 3, stride, 1), resize), (96, 192))
    assert (field.unbounded, field.basis, field.size) == (False, "grid", None)


def test_transposed_convolutions_that_cover_evenly_are_no_exception() -> None:
    """Units of each phase see other pixels, so they differ by more than a shift."""
    network = nn.Sequential(nn.Conv2d(3, 2, 4, 4), nn.ConvTranspose2d(2, 2, 2, 2))
    assert field_of(network).basis == "grid"


def test_several_maps_at_once_are_as_one_at_a_time() -> None:
    network: Any = timm.create_model("resnet18", channels=(8, 16, 32, 64))
    together = receptive_fields(network, stages, SIZE)
    alone = [
        field_of(network, read=lambda network, images, stage=stage: stages(network, images)[stage])
        for stage in range(5)
    ]
    assert together == alone
    assert [field.size for field in together] == [(r, r) for r in (7, 43, 99, 211, 435)]
    assert receptive_fields(network, lambda network, images: [], SIZE) == []


def test_axes_of_one_map_do_not_disturb_another() -> None:
    wide, tall = nn.Conv2d(3, 2, (1, 11), 2, (0, 5)), nn.Conv2d(3, 2, (11, 3), (4, 1), (5, 1))
    network = nn.ModuleList([wide, tall])
    fields = receptive_fields(
        network, lambda network, images: [layer(images) for layer in network], SIZE
    )
    assert [field.size for field in fields] == [(1, 11), (11, 3)]
    assert [field.stride for field in fields] == [(2, 2), (4, 1)]


def test_global_along_one_axis_is_unbounded() -> None:
    def rows_alone(_network: nn.Module, images: Tensor) -> Tensor:
        return images + images.mean(dim=2, keepdim=True)

    field = field_of(nn.Identity(), read=rows_alone)
    assert (field.unbounded, field.basis) == (True, "grid")


class WindowAttention(nn.Module):
    """Adds to each unit what is in its window of 8 x 8 units."""

    def forward(self, maps: Tensor) -> Tensor:
        _, _, rows, columns = maps.shape
        padded = F.pad(maps, (0, -columns % 8, 0, -rows % 8))
        means = F.interpolate(F.avg_pool2d(padded, 8), scale_factor=8.0)
        return maps + means[..., :rows, :columns]


class Mixer(WindowAttention):
    """Of which nobody knows that it can be left out."""


@pytest.mark.parametrize(
    ("mixing", "side", "expected"),
    [
        (WindowAttention, 32, (True, "local dependency", (4, 4))),
        (WindowAttention, 64, (False, "grid", (4, 4))),
        (Mixer, 32, (None, "grid", (4, 4))),
        (Mixer, 64, (False, "grid", (4, 4))),
    ],
)
def test_windows_that_are_all_of_the_image(
    mixing: type[nn.Module], side: int, expected: object
) -> None:
    field = field_of(nn.Sequential(nn.Conv2d(3, 2, 4, 4), mixing()), (side, side))
    assert (field.unbounded, field.basis, field.stride) == expected


@pytest.mark.parametrize(
    ("read", "unbounded"),
    [
        (lambda network, images: network(images) + network(images).mean((2, 3), True), True),
        (lambda network, images: nn.Upsample(scale_factor=2)(network(images)), False),
    ],
)
def test_what_thin_strips_have_shown_is_not_sought_on_thicker_ones(
    read: Callable[[Any, Tensor], Tensor], unbounded: bool
) -> None:
    """It takes most of the time, and is the same again."""
    heights = []

    def noted(network: nn.Module, images: Tensor) -> Tensor:
        heights.append(min(images.shape[2:]))
        return read(network, images)

    field = field_of(nn.Conv2d(3, 2, 4, 4), read=noted)
    assert (field.unbounded, field.basis) == (unbounded, "grid")
    assert set(heights) == {8, 224}
    assert heights.count(224) < 6


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        assert not self.norm.training
        raise KeyError("no such layer")


def test_everything_is_as_before_even_after_a_failure() -> None:
    for network in (Failing(), nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout())):
        network.train()
        network[1].eval() if isinstance(network, nn.Sequential) else network.norm.eval()
        modes = [part.training for part in network.modules()]
        state = torch.get_rng_state()
        if isinstance(network, Failing):
            with pytest.raises(ErfToolsError, match="no such layer"):
                field_of(network)
        else:
            field_of(network)
        assert [part.training for part in network.modules()] == modes
        assert not any(part._forward_hooks for part in network.modules())
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.backends.cudnn.enabled
        assert torch.backends.mkldnn.enabled == torch.backends.mkldnn.is_available()
        assert torch.is_grad_enabled()


def test_what_a_network_caches_can_be_differentiated_afterwards() -> None:
    class Caching(nn.Conv2d):
        cache: Tensor | None = None

        def forward(self, images: Tensor) -> Tensor:
            if self.cache is None:
                self.cache = self.weight * 2
            return F.conv2d(images, self.cache)

    network = Caching(3, 2, 3)
    field_of(network)
    images = torch.ones(1, 3, 8, 8, requires_grad=True)
    network(images).sum().backward()
    assert images.grad is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_other_precisions(dtype: torch.dtype) -> None:
    """oneDNN's 16-bit kernels would spread NaN by a pixel where channels are odd."""
    assert field_of(nn.Conv2d(3, 2, 5, 2, 2).to(dtype)).size == (5, 5)


def test_records_are_json_and_come_back() -> None:
    network = Pyramid()
    for field in receptive_fields(network, nn.Module.__call__, SIZE):
        record = json.loads(json.dumps(field.record()))
        assert ReceptiveField.from_record(record) == field
        assert record["size"] == (list(field.size) if field.size else None)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("layer", "spoilt"),
    [
        (nn.Conv2d(16, 32, 3, padding=1), 38),
        (nn.Conv2d(16, 16, 3, padding=1, groups=16), 38),
        (nn.Conv2d(16, 16, 3, 2, 1, groups=4), 19),
        (nn.Conv2d(16, 16, 31, padding=15, groups=16), 52),
        (nn.Conv2d(16, 16, 5, padding=8, dilation=4), 45),
        (nn.MaxPool2d(3, 2, 1), 19),
        (nn.AvgPool2d(3, 2, 1), 19),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), 38),
        *[
            (activation, 37)
            for activation in (nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.GELU())
        ],
    ],
    ids=str,
)
def test_nan_spreads_as_far_as_the_layer_reaches(
    layer: nn.Module, spoilt: int, memory_format: torch.memory_format
) -> None:
    """What the search rests on: kernels neither swallow NaN nor smear it over tiles of units."""
    images = torch.randn(1, 16, 8, 100).contiguous(memory_format=memory_format)
    images[..., :37] = torch.nan
    with torch.no_grad():
        reached = layer(images).isnan()
    assert reached[..., :spoilt].all()
    assert not reached[..., spoilt:].any()
