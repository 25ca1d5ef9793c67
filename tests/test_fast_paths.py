"""Folding and the receptive-field cone, with the plain computation as their oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st
from reference import randomise_norms
from timm.models import byobnet
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from erf_tools.erf.contributions import Contributions
from erf_tools.erf.measures import measure
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.ways import Way
from erf_tools.features.inputs import floating_type
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap, default_tap
from erf_tools.images import decode, select
from erf_tools.kernels.devices import normalise
from erf_tools.kernels.folding import folded
from erf_tools.models.model import as_model
from erf_tools.models.replknet import VARIANTS, RepLKNet

SIZE = (64, 64)


def small_replknet() -> nn.Module:
    variant = replace(
        VARIANTS["31b"], kernel_sizes=(9, 7, 7, 5), channels=(8, 12, 16, 20), layers=(1, 1, 2, 1)
    )
    return RepLKNet(variant)


def small_timm(name: str, **arguments: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, **arguments)


def of_one(blocks: tuple[byobnet.ByoBlockCfg, ...]) -> tuple[byobnet.ByoBlockCfg, ...]:
    """Return the same stages of one block each, half as wide."""
    return tuple(replace(block, d=1, c=int(block.c) // 2) for block in blocks)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "replknet": small_replknet,
    "resnet": small_timm("resnet14t", layers=(1, 1, 1, 1), channels=(16, 32, 48, 64)),
    "resnet-d": small_timm("resnet18d", layers=(1, 1, 1, 1), channels=(16, 32, 48, 64)),
    "resnext": small_timm("resnext26ts", blocks=of_one(byobnet.model_cfgs["resnext26ts"].blocks)),
    "repvgg": small_timm("repvgg_a0", blocks=of_one(byobnet.model_cfgs["repvgg_a0"].blocks)),
    "convnext": small_timm("convnext_atto", depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)),
    "tensorflow-padding": small_timm("tf_mobilenetv3_small_minimal_100"),
    "regnet": small_timm("regnetx_002"),
    "densenet": small_timm("densenet121"),
}


def prepare(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    network = randomise_norms(build()).eval().to(dtype)
    return network.requires_grad_(False)


def fold(network: nn.Module, taps: list[Tap]) -> nn.Module:
    tapped = {tap.path for tap in taps}
    return folded(network, lambda net, images: read_maps(net, taps, images), SIZE, tapped)[0]


def count_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def both_ways(
    network: nn.Module, resolution: tuple[int, int], unit: str, tap: Tap | None = None
) -> tuple[Way, Tensor, Tensor]:
    """Return the fastest way, and what it and the plain one give of two photographs."""
    model = as_model(network, tap=tap)
    procedure = Procedure(resolution=resolution, unit=unit)
    view, own = procedure.view(model.preprocessing), model.preprocessing
    pixels = np.stack(list(decode(select("builtin", 2).images, view)))
    made = Contributions(network, [model.tap], procedure, resolution, False, fast=True)
    images = normalise(pixels, own.mean, own.std, torch.device("cpu"), floating_type(network))
    (plain,) = made.maps(images)
    (fast,) = made.maps(images.detach(), made.fastest)
    return made.fastest, fast, plain


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_network_gives_the_same_maps(name: str) -> None:
    network = prepare(NETWORKS[name])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    tap = default_tap(network)
    result = fold(network, [tap])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    images = torch.randn(2, 3, 96, 70, dtype=torch.float64)
    (expected,), (found,) = (read_maps(net, [tap], images) for net in (network, result))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.std()))
    if name == "convnext":  # it has no BatchNorm
        assert result is network
        return
    # Half of DenseNet's norms stand between a concatenation and a ReLU.
    limit = {"densenet": 62, "replknet": 1}.get(name, 0)
    assert count_norms(result) == limit


@pytest.mark.parametrize(
    ("name", "resolution", "unit"),
    [
        ("replknet", (193, 250), "center"),
        ("replknet", (256, 256), "0,3"),
        ("resnet", (288, 288), "center"),
        ("resnet", (301, 215), "2,1"),
        ("resnet", (288, 320), "grid:2"),
        ("resnet-d", (281, 312), "center"),
        ("resnext", (288, 288), "center"),
        ("repvgg", (400, 333), "center"),
        ("convnext", (412, 380), "1,7"),
        ("tensorflow-padding", (500, 507), "3,12"),
        ("regnet", (440, 313), "center"),
    ],
)
def test_cone_gives_the_same_map(name: str, resolution: tuple[int, int], unit: str) -> None:
    way, fast, plain = both_ways(prepare(NETWORKS[name]), resolution, unit)
    assert way.cones
    assert difference(fast, plain) < 1e-9


@pytest.mark.parametrize("name", ["resnet", "replknet", "convnext"])
def test_in_float32_the_measures_are_those_of_float64(name: str) -> None:
    network = prepare(NETWORKS[name])
    *_, exact = both_ways(network, (256, 256), "center")
    _, fast, plain = both_ways(network.float(), (256, 256), "center")
    sides = [measure(maps.mean(dim=0).numpy()).effective_side for maps in (fast, plain, exact)]
    assert sides == [sides[-1]] * 3
    # A value that rounding carries over a ReLU's zero changes the gradient by about 1e-3.
    assert max(difference(maps, exact) for maps in (fast, plain)) < 5e-3


@pytest.mark.parametrize(
    "name",
    ["squeeze and excitation", "group norm", "response norm", "swin", "vit", "xcit"],
)
def test_no_cone_where_every_pixel_counts(name: str) -> None:
    builds: dict[str, Callable[[], nn.Module]] = {
        "squeeze and excitation": small_timm("seresnet18", layers=(1, 1, 1, 1)),
        "group norm": small_timm("resnet18", norm_layer="groupnorm", layers=(1, 1, 1, 1)),
        "response norm": small_timm("convnextv2_atto", depths=(1, 1, 2, 1)),
        "swin": small_timm(
            "swin_tiny_patch4_window7_224", strict_img_size=False, depths=(1, 1, 2, 1)
        ),
        "vit": small_timm("vit_tiny_patch16_224", dynamic_img_size=True, depth=3),
        "xcit": small_timm("xcit_nano_12_p16_224", depth=3),
    }
    network = prepare(builds[name], torch.float32)
    way, fast, plain = both_ways(network, (224, 224), "center")
    assert not way.cones
    assert difference(fast, plain) < 1e-2


class Between(nn.Module):
    """Two convolutions with a norm, put together as the test says."""

    def __init__(self, forward: Callable[[Between, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.run = forward

    def forward(self, images: Tensor) -> Tensor:
        return self.run(self, images)


def with_second_consumer(net: Between, images: Tensor) -> Tensor:
    features = net.conv1(images)
    return net.norm(features) + features


def shared_convolution(net: Between, images: Tensor) -> Tensor:
    features = net.conv2(net.conv1(images))
    return net.norm(net.conv2(features))


def before_padding(net: Between, images: Tensor) -> Tensor:
    return net.conv2(net.norm(net.conv1(images).relu()))


def shared_norm(net: Between, images: Tensor) -> Tensor:
    return net.norm(net.conv2(net.norm(net.conv1(images))))


@pytest.mark.parametrize(
    "forward", [with_second_consumer, shared_convolution, before_padding, shared_norm]
)
def test_norm_stays_where_folding_would_change_the_result(
    forward: Callable[[Between, Tensor], Tensor],
) -> None:
    network = prepare(lambda: Between(forward))
    result = fold(network, [Tap("", "NCHW")])
    assert count_norms(result) == 1
    images = torch.randn(1, 3, 20, 31, dtype=torch.float64)
    torch.testing.assert_close(result(images), network(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "change", ["tapped", "hooked", "hooked backwards", "normed weight", "batch statistics"]
)
def test_norm_stays_where_the_convolution_is_not_a_plain_one(change: str) -> None:
    network = prepare(
        lambda: Between(lambda net, images: net.conv2(net.norm(net.conv1(images)).relu()))
    )
    taps = [Tap("", "NCHW")]
    if change == "tapped":
        taps = [Tap("conv1"), Tap("conv2")]
    elif change == "hooked":
        network.conv1.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    elif change == "hooked backwards":
        network.norm.register_full_backward_hook(lambda _part, into, _of: (2 * into[0],))
    elif change == "normed weight":
        weight_norm(network.conv1)
    else:
        network.norm.running_mean = network.norm.running_var = None
    result = fold(network, taps)
    assert count_norms(result) == 1
    images = torch.randn(1, 3, 24, 24, dtype=torch.float64)
    for found, expected in zip(
        read_maps(result, taps, images), read_maps(network, taps, images), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_layer_inside_a_merged_kernel_is_still_measured() -> None:
    network = prepare(small_replknet, torch.float32)
    tap = Tap("stages.0.blocks.0.large_kernel.small_conv")
    way, fast, plain = both_ways(network, (96, 96), "center", tap)
    assert not way.folded
    assert difference(fast, plain) < 1e-4


class Chain(nn.Module):
    """Random convolutions and poolings, some in residual branches."""

    def __init__(self, steps: list[tuple[int, int, int, bool]]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.residual: list[bool] = []
        channels = 3
        for kernel, stride, padding, residual in steps:
            own = residual and stride == 1 and channels == 4 and 2 * padding == kernel - 1
            self.blocks.append(nn.Conv2d(channels, 4, kernel, stride, padding))
            self.residual.append(own)
            channels = 4

    def forward(self, images: Tensor) -> Tensor:
        for block, residual in zip(self.blocks, self.residual, strict=True):
            features = block(images).tanh()
            images = images + features if residual else features
        return images


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@example(
    steps=[(1, 3, 0, False), (1, 3, 0, False), (6, 3, 0, False), (4, 1, 0, False)],
    sides=(150, 150),
    place=(0.0, 0.0),
)
@given(
    steps=st.lists(
        st.integers(1, 6).flatmap(
            lambda kernel: st.tuples(
                st.just(kernel), st.integers(1, 3), st.integers(0, kernel), st.booleans()
            )
        ),
        min_size=1,
        max_size=5,
    ),
    sides=st.tuples(st.integers(150, 220), st.integers(150, 220)),
    place=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
)
def test_cone_of_any_chain(
    steps: list[tuple[int, int, int, bool]],
    sides: tuple[int, int],
    place: tuple[float, float],
) -> None:
    network = prepare(lambda: Chain(steps))
    try:
        with torch.no_grad():
            shape = network(torch.zeros(1, 3, *sides, dtype=torch.float64)).shape[2:]
    except RuntimeError:  # a kernel larger than what there is
        reject()
    row, column = (int(at * length) for at, length in zip(place, shape, strict=True))
    _, fast, plain = both_ways(network, sides, f"{row},{column}", Tap("", "NCHW"))
    torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-12 * float(plain.max()))


def test_cone_computes_little_of_a_late_stage() -> None:
    """The last 3x3 convolution of ResNet's last stage is needed for one unit: of 3 x 3 inputs."""
    network = prepare(small_timm("resnet26", layers=(1, 1, 1, 2)), torch.float32)
    last = network.layer4[1].conv2
    areas: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        # Folding copies the network, but this convolution keeps its shape.
        if isinstance(module, nn.Conv2d) and module.weight.shape == last.weight.shape:
            areas.append(inputs[0].shape[2] * inputs[0].shape[3])

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        both_ways(network, (512, 512), "center")
    finally:
        handle.remove()
    assert 16 * 16 in areas
    assert 3 * 3 in areas
