"""A layer read beside others is what it is when it is read alone, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import timm
import torch
import torchvision
from reference import randomise_norms
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from torchvision.models.feature_extraction import create_feature_extractor

from erf_tools.computing import Computing
from erf_tools.erf.gradients import measure_layers
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.features.reading import read_features, read_maps
from erf_tools.features.taps import LAST_STAGE, Tap
from erf_tools.images import select
from erf_tools.models.layers import describe_layers
from erf_tools.models.model import as_model


class Overwriting(nn.Module):
    """Each layer's output is overwritten by what comes behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a1x1, self.b7x7 = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 7, padding=3)
        self.same, self.norm, self.relu = nn.Identity(), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.memory = Memory()
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.a1x1(images)
        features += self.b7x7(images)
        features = self.relu(self.norm(self.same(features)))
        features = features + self.memory(features)
        self.memory.kept.zero_()
        return self.last(features.mul_(2))


class Memory(nn.Module):
    """Gives a view of what it keeps."""

    def forward(self, features: Tensor) -> Tensor:
        self.kept = features + 1
        return self.kept[:, :]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "own": (Overwriting, ["a1x1", "b7x7", "same", "norm", "relu", "last"]),
    "torchvision": (torchvision.models.resnet18, ["layer4.0.bn2", "layer4.1.bn2", "layer4.1"]),
    "gates": (lambda: timm.create_model("seresnet18"), ["layer4.0.se", "layer4.0", "act1", "bn1"]),
    "preactivated": (
        lambda: timm.create_model("densenet121"),
        ["features.denseblock1", "features.norm0"],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_one_pass_equal_layers_alone(name: str) -> None:
    build, layers = NETWORKS[name]
    torch.manual_seed(0)
    model = as_model(randomise_norms(build()).eval())
    taps = [Tap(layer) for layer in layers]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for tap, features in zip(taps, read_maps(model.module, taps, images), strict=True):
            assert torch.equal(features, read_features(model.module, tap, images))
    selection, procedure = select("builtin", 1), Procedure(resolution=64)
    together = measure_layers(model, selection, procedure, taps, computing=Computing(exact=True))
    for tap, result in zip(taps, together, strict=True):
        (alone,) = measure_layers(
            model, selection, procedure, [tap], computing=Computing(exact=True)
        )
        np.testing.assert_array_equal(result.total, alone.total)


def test_a_layer_whose_gradient_needs_what_is_overwritten_is_read_as_alone() -> None:
    class Spoiling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 3, 2, 1)
            self.gate = nn.Sigmoid()

        def forward(self, images: Tensor) -> Tensor:
            features = self.gate(self.first(images))  # the gradient of a sigmoid needs its result
            features += 1
            return features + self.second(images)

    together = measured(Spoiling(), "gate", "second")
    for result, layer in zip(together, ("gate", "second"), strict=True):
        np.testing.assert_array_equal(result, *measured(Spoiling(), layer))


def test_what_a_gate_gives_is_not_what_the_block_makes_of_it() -> None:
    network = NETWORKS["gates"][0]().eval()
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        gate, block = read_maps(network, [Tap("layer4.0.se"), Tap("layer4.0")], images)
    assert not torch.equal(gate, block)


def test_a_view_of_a_buffer_is_what_it_was() -> None:
    network = Overwriting().eval()
    images = torch.randn(1, 3, 8, 8)
    memory, _ = read_maps(network, [Tap("memory"), Tap("last")], images)
    assert memory.min() > 0


def test_fields_of_layers_are_their_own() -> None:
    listed = {
        layer.tap.path: layer.field.in_words for layer in describe_layers(as_model(Overwriting()))
    }
    assert (listed["a1x1"], listed["b7x7"], listed["last"]) == ("1", "7", "9")


def test_what_a_hook_of_the_user_puts_in_place_is_read() -> None:
    network = Overwriting().eval()
    network.a1x1.register_forward_hook(lambda _layer, _inputs, output: 3 * output)
    images = torch.randn(1, 3, 8, 8)
    features, _ = read_maps(network, [Tap("a1x1"), Tap("last")], images)
    assert torch.equal(features, network.a1x1(images))


def test_modules_that_methods_of_timm_leave_out_are_read_beside_them() -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2).eval()
    images = torch.randn(1, 3, 64, 64)
    taps = [Tap(LAST_STAGE), Tap("blocks"), Tap("norm"), Tap(LAST_STAGE, stage=0)]
    with torch.no_grad():
        for tap, features in zip(taps, read_maps(network, taps, images), strict=True):
            assert torch.equal(features, read_features(network, tap, images))


def measured(network: nn.Module, *layers: str) -> list[np.ndarray]:
    model, taps = as_model(network.eval()), [Tap(layer) for layer in layers]
    procedure = Procedure(resolution=64)
    results = measure_layers(
        model, select("builtin", 1), procedure, taps, computing=Computing(exact=True)
    )
    return [result.total for result in results]


def test_generated_code_says_nothing_of_the_end_of_a_pass(
    capfd: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval()
    traced = create_feature_extractor(network, {"layer4": "out"})
    layers = ["layer2.0.conv2", "layer3.0.conv2"]
    np.testing.assert_array_equal(measured(traced, *layers), measured(network, *layers))
    assert "Traceback" not in capfd.readouterr().err


class Checkpointed(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.GELU())

    def forward(self, images: Tensor) -> Tensor:
        if self.way == "sequential":
            parts = [self.first, self.second]
            return checkpoint_sequential(parts, 2, images, use_reentrant=False)
        if self.way == "each":
            features = checkpoint(self.first, images, use_reentrant=False)
            return checkpoint(self.second, features, use_reentrant=False)
        return self.second(self.first(images))


@pytest.mark.parametrize("way", ["each", "sequential"])
@pytest.mark.parametrize("layers", [("first.1",), ("second",), ("first.1", "second.0")], ids=str)
def test_checkpointing_changes_nothing(way: str, layers: tuple[str, ...]) -> None:
    expected = measured(Checkpointed(""), *layers)
    np.testing.assert_array_equal(measured(Checkpointed(way), *layers), expected)


def test_checkpointing_of_timm_does_not_take_stages_apart() -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t").eval()
    expected = measured(network, "layer2", "layer3")
    network.set_grad_checkpointing(True)
    np.testing.assert_array_equal(measured(network, "layer2", "layer3"), expected)
    assert network.grad_checkpointing


def test_parts_that_are_compiled_are_read_like_others() -> None:
    network, whole = Checkpointed(""), Checkpointed("")
    expected = measured(network, "first.1", "second.0")
    network.second = torch.compile(network.second, backend="eager")
    whole.compile(backend="eager")
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))  # compiled before hooks are there
        whole(torch.zeros(1, 3, 64, 64))
    np.testing.assert_array_equal(measured(network, "first.1", "second._orig_mod.0"), expected)
    np.testing.assert_array_equal(measured(whole, "first.1", "second.0"), expected)


@dataclass
class Levels:
    fine: Tensor
    coarse: Tensor | None = None


class Named(NamedTuple):
    features: Tensor
    mask: Tensor


class Giving(nn.Module):
    """Gives what it is told to make of its features."""

    def __init__(self, make: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.body, self.make = nn.Conv2d(3, 4, 4, stride=4), make

    def forward(self, images: Tensor) -> object:
        return self.make(self.body(images))


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda features: ((features,), None), None),
        (lambda features: [{"a": (features, 7)}], None),
        (lambda features: Levels(features), None),
        (lambda features: Levels(-features, features), "coarse"),
        (lambda features: {"levels": [Levels(-features), Levels(features)]}, "levels.1.fine"),
        (lambda features: Named(features, features[:, 0] > 0), None),
    ],
)
def test_maps_are_found_at_any_depth(make: Callable[[Tensor], object], key: str | None) -> None:
    network, images = Giving(make), torch.randn(1, 3, 32, 32)
    assert torch.equal(
        read_features(network, Tap("", output_key=key), images), network.body(images)
    )


def test_several_maps_in_a_dataclass_are_listed() -> None:
    network = Giving(lambda features: Levels(features, features))
    listed = r"a Levels of fine: \[1, 4, 8, 8\], coarse: .*say which.*Tap\('', output_key='fine'\)$"
    with pytest.raises(UsageError, match=listed):  # --output-key needs a layer with a name
        read_features(network, Tap(""), torch.randn(1, 3, 32, 32))


def test_parts_of_which_none_is_a_map() -> None:
    network = Giving(lambda features: (features.mean(), features.mean((1, 2, 3))))
    with pytest.raises(UsageError, match=r"1: \[1\]; none of them is a map; name another layer"):
        read_features(network, Tap(""), torch.randn(1, 3, 32, 32))
