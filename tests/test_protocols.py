"""Protocols: each against a literal transcription, kim2023 against OpenERF itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference import ding2022_map, kim2023_map, luo2016_map, randomise_norms, vmamba2024_view
from torch import Tensor, nn

from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.parts import merge
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.protocols import PROTOCOLS, find_protocol
from erf_tools.errors import UsageError
from erf_tools.features.taps import Tap
from erf_tools.images import select
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model, as_model
from erf_tools.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


def resnet(name: str = "resnet18") -> tuple[Model, partial[Tensor]]:
    """A network in float64 whose norms matter, and its features without any of our code."""
    model = load_model(name, "random")
    net = randomise_norms(model.module).double()

    def features(net: nn.Module, sample: Tensor) -> Tensor:
        out = net.maxpool(net.act1(net.bn1(net.conv1(sample))))  # type: ignore[operator]
        return net.layer4(net.layer3(net.layer2(net.layer1(out))))  # type: ignore[operator]

    return model, partial(features, net)


def prepared(image: Image.Image) -> Tensor:
    pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1).double() / 255
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return ((pixels - mean[:, None, None]) / std[:, None, None])[None]


def test_vmamba2024_equals_a_literal_transcription() -> None:
    model, features = resnet()
    selection = select("builtin", 3)
    assert any(image.open().width != image.open().height for image in selection.images)
    result = effective_receptive_field(model, selection, resolution=96, protocol="vmamba2024")
    maps = [
        ding2022_map(
            features,
            vmamba2024_view(image.open(), 96),
            96,
            IMAGENET_MEAN,
            IMAGENET_STD,
            torch.float64,
        )
        for image in selection.images
    ]
    np.testing.assert_allclose(result.map, np.mean(maps, axis=0), rtol=1e-6)


def test_luo2016_equals_a_literal_transcription() -> None:
    model, features = resnet()
    selection = select("builtin", 3)
    result = effective_receptive_field(model, selection, resolution=64, protocol="luo2016")
    samples = [prepared(image.open().resize((64, 64), Image.BICUBIC)) for image in selection.images]
    expected = luo2016_map(features, samples)
    np.testing.assert_allclose(result.map, expected, rtol=1e-6, atol=1e-12 * expected.max())
    # Averaging sizes instead of signs would give another map.
    single = np.mean([luo2016_map(features, [sample]) for sample in samples], axis=0)
    assert np.linalg.norm(single - expected) > 0.05 * np.linalg.norm(expected)


def test_signed_results_merge_before_the_size_is_taken() -> None:
    model, _ = resnet()
    selection = select("builtin", 4)
    whole = effective_receptive_field(model, selection, resolution=32, protocol="luo2016")
    parts = [
        effective_receptive_field(
            model, [image.open() for image in part], resolution=32, protocol="luo2016"
        )
        for part in (selection.images[:1], selection.images[1:])
    ]
    np.testing.assert_allclose(merge(parts).map, whole.map, rtol=1e-9)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_kim2023_equals_a_literal_transcription(name: str) -> None:
    """Even grids: 8x8 units of the ResNet (the lower right), 14x14 tokens (the upper left)."""
    if name == "resnet18":
        model, features = resnet()
        resolution, tokens = 256, None
    else:
        model = load_model(name, "random")
        net = model.module.double()
        resolution, tokens = None, (14, 14)

        def features(sample: Tensor) -> Tensor:
            out = net.pos_drop(net._pos_embed(net.patch_embed(sample)))
            return net.blocks(net.norm_pre(out))[:, 1:]

    selection = select("builtin", 2)
    result = effective_receptive_field(model, selection, resolution=resolution, protocol="kim2023")
    assert result.units == [(4, 4)] if tokens is None else [(6, 6)]
    own = model.preprocessing.resized(resolution or model.preprocessing.size)
    maps = [
        kim2023_map(features, _evaluated(image.open(), own).double(), tokens)
        for image in selection.images
    ]
    # timm's transform rounds to float32.
    expected = np.mean(maps, axis=0)
    np.testing.assert_allclose(result.map, expected, rtol=1e-6, atol=1e-6 * expected.max())


def _evaluated(image: Image.Image, own: Preprocessing) -> Tensor:
    """timm's own transform, by its own code."""
    from timm.data import create_transform

    transform = create_transform(
        (3, own.size, own.size),
        interpolation=own.interpolation,
        crop_pct=own.crop_fraction,
        mean=own.mean,
        std=own.std,
    )
    return transform(image.convert("RGB"))[None]


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet18", "layer4"), ("vit_tiny_patch16_224", "blocks.11")]
)
def test_kim2023_equals_openerf_itself(name: str, layer: str, natural_images: Path) -> None:
    openerf = pytest.importorskip("openerf", reason="the extra `test` is missing")
    model = load_model(name, "random")
    randomise_norms(model.module)
    theirs = openerf.compute_erf(
        model.module,
        image_dir=natural_images,
        max_images=3,
        target_layer=layer,
        device="cpu",
        show_progress=False,
    ).erf_map
    ours = effective_receptive_field(
        model,
        natural_images,
        num_images=3,
        order="sequential",
        protocol="kim2023",
        layer=layer,
        device="cpu",
    ).map
    assert np.linalg.norm(ours / ours.sum() - theirs) < 5e-3 * np.linalg.norm(theirs)


def test_one_choice_can_be_varied_and_the_name_says_so() -> None:
    varied = find_protocol("ding2022", gradient="abs")
    assert varied.name == "ding2022+gradient=abs"
    assert find_protocol("ding2022", gradient="relu", rgb=None) == find_protocol("ding2022")
    model, features = resnet()
    selection = select("builtin", 1)
    result = effective_receptive_field(model, selection, resolution=64, protocol=varied)
    assert result.setting["protocol"]["name"] == "ding2022+gradient=abs"
    sample = prepared(selection.images[0].open().resize((64, 64), Image.BICUBIC))
    sample.requires_grad_(True)
    features(sample)[:, :, 1, 1].relu().sum().backward()
    assert sample.grad is not None
    np.testing.assert_allclose(result.map, sample.grad.abs().sum((0, 1)).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ding2002", {}, "did you mean ding2022"),
        ("ding2022", {"gradient": "square"}, "--gradient is 'square'; it is relu, abs or signed"),
        ("ding2022", {"channels": "sum"}, "no choice 'channels'"),
    ],
)
def test_unknown_choices_are_explained(name: str, changes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_protocol(name, **changes)


def test_protocols_are_immutable_and_say_where_they_come_from() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.source
        with pytest.raises(AttributeError):
            protocol.gradient = "abs"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "middle"}, "--unit is 'middle'; it is center, ROW,COLUMN"),
        ({"unit": "grid:0"}, "--unit is 'grid:0'"),
        ({"square": "peak"}, "--square is 'peak'"),
        ({"resolution": 0}, "it is from 1 to 16384"),
        ({"protocol": PROTOCOLS["vmamba2024"], "resolution": (64, 96)}, "cuts out a square"),
    ],
)
def test_procedures_that_make_no_sense(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Procedure(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", ["2,0", "grid:3"])
def test_units_that_are_not_there(unit: str) -> None:
    network = as_model(nn.Conv2d(3, 2, 3, stride=8), tap=Tap(""))
    with pytest.raises(UsageError, match=r"feature map.* 2x2"):
        effective_receptive_field(network, num_images=1, resolution=16, unit=unit)
