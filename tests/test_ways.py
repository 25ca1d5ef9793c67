"""Faster ways are right on the run they are used in, or are not used: against the literal loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from reference import ding2022_map, randomise_norms
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.computing import Computing
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.maps import ERF
from erf_tools.erf.measuring import measurable
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.ways import FEW, Sight, Way, differs, pays
from erf_tools.errors import UsageError
from erf_tools.features.taps import Tap
from erf_tools.images import select
from erf_tools.models.model import as_model
from erf_tools.preprocessing import Preprocessing

OWN = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def photographs(count: int, side: int) -> list[Image.Image]:
    """Smooth noise of different brightness; the first is dark."""
    generator = np.random.default_rng(0)
    levels = [0, *generator.integers(20, 200, count - 1)]
    return [
        Image.fromarray(
            (level + generator.integers(0, 56, (side, side, 3))).clip(0, 255).astype(np.uint8)
        )
        for level in levels
    ]


def literal_loop(network: nn.Module, images: list[Image.Image]) -> np.ndarray:
    """The published procedure in float64, one image after the other."""
    side, dtype = images[0].size[0], torch.float64
    maps = [ding2022_map(network, image, side, OWN.mean, OWN.std, dtype) for image in images]
    return np.mean(maps, axis=0)


def measured(network: nn.Module, images: list[Image.Image], **options: object) -> ERF:
    model = as_model(network, preprocessing=OWN, tap=Tap("", "NCHW"))
    selection = select(images, len(images), order="sequential")
    return effective_receptive_field(model, selection, resolution=images[0].size[0], **options)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


class Network(nn.Module):
    """Convolutions with norms, put together by a function."""

    def __init__(self, run: Callable[[Network, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.middle = nn.Conv2d(8, 8, 3, 2, 1)
        self.last = nn.Conv2d(8, 8, 3, 1, 1)
        self.other = nn.Conv2d(8, 8, 3, 1, 1)
        self.table = nn.Parameter(torch.linspace(-1, 1, 8).expand(1, 8, 8, 8).clone())
        self.run = run

    def forward(self, images: Tensor) -> Tensor:
        return self.run(self, images)

    def base(self, images: Tensor) -> Tensor:
        return self.middle(self.norm(self.stem(images)).tanh()).tanh()


def made(run: Callable[[Network, Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(Network(run)).eval()


def batch_statistics() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3, 2, 1),
    ).eval()


def mixed_up(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    return net.last(features * features.mean(0, keepdim=True))


def early_exit(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    return net.last(features) if images.mean() > 0 else features


def routed(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    gate = images.mean((1, 2, 3), keepdim=True) > 0
    return torch.where(gate, net.last(features), net.other(features))


def brightest_channels(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    gate = features.mean((2, 3)).topk(3).values.mean(dim=1)
    return net.last(features) * gate[:, None, None, None]


def hidden_places(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    places = F.interpolate(net.table, size=features.shape[2:], mode="nearest")
    bias = torch.tensor([1e4, *[0.0] * 7], dtype=images.dtype)[:, None, None]
    return net.last(features * (1 + places)) + bias


def coordinates(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    rows = torch.linspace(-1, 1, features.shape[2], dtype=images.dtype)[:, None]
    return net.last(features * (2 + rows))


def larger_only(net: Network, images: Tensor) -> Tensor:
    y = net.stem(images)
    z = net.norm(y).relu()
    return net.middle(z + y if images.shape[-1] >= 200 else z)


def detached_gate(net: Network, images: Tensor) -> Tensor:
    y = net.stem(images)
    return net.middle(net.norm(y).relu() * y.detach().sigmoid() + 1e3)


def gradient_hook() -> nn.Module:
    network = made(lambda net, images: net.middle(net.norm(net.stem(images)).tanh()))
    network.norm.register_full_backward_hook(lambda _part, into, _of: (3 * into[0].abs(),))
    return network


def neck(**options: object) -> Callable[[Network, Tensor], Tensor]:
    def run(net: Network, images: Tensor) -> Tensor:
        features = net.stem(images).tanh()
        small = net.middle(features).tanh()
        size = features.shape[2:]
        return net.last(features + F.interpolate(net.other(small), size=size, **options))

    return run


HOSTILE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "batch statistics": (batch_statistics, 48),
    "images of a batch mixed": (lambda: made(mixed_up), 48),
    "early exit": (lambda: made(early_exit), 160),
    "routed by brightness": (lambda: made(routed), 160),
    "gate of the largest channels": (lambda: made(brightest_channels), 160),
    "places beside a large bias": (lambda: made(hidden_places), 256),
    "coordinates": (lambda: made(coordinates), 256),
    "another path at a larger size": (lambda: made(larger_only), 208),
    "detached gate": (lambda: made(detached_gate), 64),
    "backward hook": (gradient_hook, 64),
    "neck with aligned corners": (
        lambda: made(neck(mode="bilinear", align_corners=True)),
        160,
    ),
    "neck of an odd size": (lambda: made(neck(mode="bilinear")), 162),
}


@cache
def published_map(name: str) -> np.ndarray:
    """Return the map of two dozen photographs by the literal loop: it is that of either type."""
    build, side = HOSTILE[name]
    return literal_loop(build().double(), photographs(24, side))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_way_that_would_be_wrong_is_not_gone(name: str, dtype: torch.dtype) -> None:
    build, side = HOSTILE[name]
    images = photographs(24, side)  # with fewer the plain way would be gone anyhow
    result = measured(build().to(dtype), images)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    assert relative(result.map, published_map(name)) < tolerance


def smooth(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.Tanh()]
    return randomise_norms(nn.Sequential(*layers, nn.Conv2d(width, width, 3, 2, 1))).eval()


@pytest.mark.parametrize("side", [64, 256])
def test_the_record_says_how_it_was_computed_and_how_far_off(side: int) -> None:
    images = photographs(FEW, side)
    (run,) = measured(smooth(), images).runs
    assert (run["folded"], run["cone"]) == (True, True)
    assert run["batch"] == (4 if side == 256 else 64)
    assert 0 < run["largest_difference"] < 1e-5
    assert run["refused"] == ""


@pytest.mark.parametrize(
    ("count", "options"), [(FEW - 1, {}), (FEW + 1, {"exact": True}), (2, {"batch_size": 1})]
)
def test_few_images_and_exact_ones_are_computed_plainly(
    count: int, options: dict[str, object]
) -> None:
    network, images = smooth().double(), photographs(count, 64)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _part, inputs: seen.append(len(inputs[0])))
    result = measured(network, images, **options)
    (run,) = result.runs
    assert (run["folded"], run["cone"], run["batch"]) == (False, False, 1)
    assert run["largest_difference"] is None
    assert set(seen[-count:]) == {1}
    assert relative(result.map, literal_loop(network, images)) < 1e-12


def test_exact_and_a_batch_size_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="takes each image by itself"):
        measured(smooth(), photographs(2, 32), exact=True, batch_size=2)


def test_a_batch_size_that_is_asked_for_is_proven_too() -> None:
    images = photographs(4, 48)
    result = measured(batch_statistics().double(), images, batch_size=4)
    assert result.runs[0]["batch"] == 1
    assert "images see each other" in result.runs[0]["refused"]
    assert relative(result.map, literal_loop(batch_statistics().double(), images)) < 1e-9


def test_a_refused_way_says_why() -> None:
    refused = {
        name: measured(HOSTILE[name][0](), photographs(count, HOSTILE[name][1])).runs[0]["refused"]
        for name, count in (
            ("early exit", 24),
            ("coordinates", FEW),
            ("detached gate", 12),
            ("batch statistics", 24),
        )
    }
    assert "_local_scalar_dense" in refused["early exit"]
    assert "units know more than their field" in refused["coordinates"]
    assert "folded weights" in refused["detached gate"]
    assert "images see each other" in refused["batch statistics"]


class _Scaling(nn.Module):
    """Multiplies all that it is given by what it takes from it."""

    def __init__(self, factor: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.factor = factor
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images * self.factor(images.detach()))


@pytest.mark.parametrize("options", [{}, {"batch_size": 5}])
@pytest.mark.parametrize(
    "extreme",
    [
        lambda images: images.max(),
        lambda images: images.amax((0, 1), keepdim=True),
        lambda images: images.max(dim=0, keepdim=True)[0].mean(),
        lambda images: torch.aminmax(images)[1],
        lambda images: -images.min(),
        lambda images: images.norm(torch.inf),
        lambda images: torch.linalg.vector_norm(images, torch.inf),
        lambda images: images.cummax(dim=0)[0][-1:].mean(),
        lambda images: images.abs().reshape(1, -1).amax(1),
    ],
)
def test_an_extreme_over_images_that_those_of_the_proof_have(
    extreme: Callable[[Tensor], Tensor], options: dict[str, int]
) -> None:
    """The first and the last of each batch have both extremes, and agree whatever is between."""
    torch.manual_seed(0)
    network = _Scaling(lambda images: 1 / extreme(images)).eval()
    images = photographs(10, 32)
    for place in (0, 4, 5, 9):
        ends = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3)
        images[place] = Image.fromarray(ends.astype(np.uint8))
    found = measured(network, images, **options)
    assert relative(found.map, literal_loop(copy.deepcopy(network).double(), images)) < 1e-4
    assert found.runs[0]["batch"] == 1


@pytest.mark.parametrize("options", [{}, {"batch_size": 5}])
@pytest.mark.parametrize(
    "step",
    [lambda level: 1.5 + level.sign(), lambda level: 1 + (4 * level).sigmoid().round()],
    ids=["sign", "round"],
)
def test_images_of_the_proof_on_one_side_of_a_threshold_hide_nothing(
    step: Callable[[Tensor], Tensor], options: dict[str, int]
) -> None:
    """The first and the last of each batch are bright, as each batch is; those between are dark."""
    torch.manual_seed(0)
    network = _Scaling(lambda images: step(images.mean() + 0.6)).eval()
    generator = np.random.default_rng(0)
    images = [
        Image.fromarray(
            generator.integers(*((130, 256) if bright else (0, 90)), (32, 32, 3)).astype(np.uint8)
        )
        for bright in (place in (0, 4, 5, 9) for place in range(10))
    ]
    found = measured(network, images, **options)
    assert relative(found.map, literal_loop(copy.deepcopy(network).double(), images)) < 1e-4
    assert found.runs[0]["batch"] == 1


class _Overwriting(nn.Module):
    """Runs a convolution three times, and overwrites what it gave."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.again = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        for _ in range(3):
            features = F.relu_(self.norm(self.again(features)))
        return self.last(features)


def test_a_way_that_fails_is_not_said_to_contradict_the_field() -> None:
    network, images = _Overwriting().eval(), photographs(10, 96)
    found = measured(network, images)
    assert relative(found.map, literal_loop(copy.deepcopy(network).double(), images)) < 1e-4
    assert found.runs[0]["contradicted_field"] is None
    assert found.runs[0]["refused"] == "it fails where only what units see is computed"


def test_extremes_of_each_image_are_taken_together() -> None:
    torch.manual_seed(0)
    network = _Scaling(
        lambda images: 1 / images.amax((1, 2, 3), keepdim=True).maximum(images)
    ).eval()
    images = photographs(10, 32)[1:]
    found = measured(network, images, batch_size=3)
    assert found.runs[0]["batch"] == 3
    assert relative(found.map, literal_loop(copy.deepcopy(network).double(), images)) < 1e-4


def test_a_way_pays_when_it_saves_more_than_its_proof_takes() -> None:
    cone, folded, together = Way(cones=frozenset({0})), Way(folded=True), Way(together=True)
    assert not pays(cone, 3, 0.01, on_cuda=False)
    assert pays(cone, FEW, 0.3, on_cuda=False)
    assert not pays(folded, 10, 1.0, on_cuda=False)
    assert pays(folded, 50, 1.0, on_cuda=False)
    assert not pays(together, 10, 1.0, on_cuda=False)
    assert pays(together, 10, 1.0, on_cuda=True)
    assert not pays(Way(), 1000, 1.0, on_cuda=False)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [("rounding", False), ("zero of a relu", False), ("one channel", True), ("a rim", True)],
)
def test_rounding_is_told_from_faults(change: str, wrong: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 64, 64, generator=draw).abs().double()
    values, spread = torch.randn(1, 100, 1, generator=draw), torch.ones(1, 100)
    values[0, 0] += 1e4
    other, others = maps.clone(), values.clone()
    if change == "rounding":
        other *= 1 + 1e-6 * torch.randn(maps.shape, generator=draw)
        others *= 1 + 1e-6 * torch.randn(values.shape, generator=draw)
    elif change == "zero of a relu":
        other *= 1 + 3e-3 * torch.randn(maps.shape, generator=draw)
    elif change == "one channel":
        others[0, 7] += 0.05
    else:
        maps[:, :8] *= 1e-3
        other = maps.clone()
        other[:, :8] = 0
    difference, found = differs(Sight(others, spread, other), Sight(values, spread, maps))
    assert found == wrong
    assert difference < 5e-3


def test_a_map_where_the_plain_one_is_zero_is_wrong() -> None:
    """As of a dark image whose batch is normalised by a bright one."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ).eval()
    nn.init.constant_(network[1].bias, -0.5)
    images = [Image.new("RGB", (48, 48), (128, 128, 128)), *photographs(8, 48)[1:]]
    found = measured(network.double(), images, batch_size=4)
    assert "images see each other" in found.runs[0]["refused"]
    assert relative(found.map, literal_loop(network, images)) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["layer norm", "softmax", "colours cancel"])
def test_gradients_that_cancel_are_zero(name: str, dtype: torch.dtype) -> None:
    """In float64 their sums are below 1e-15 of their terms: nothing but rounding."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2), nn.Tanh()).to(dtype)
    tap, protocol = Tap(""), "kim2023"
    if name == "layer norm":
        network = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=2)
        tap = Tap("norm")
    elif name == "softmax":
        network.append(nn.Softmax(dim=1))
        protocol = "ding2022"
    else:
        with torch.no_grad():
            network[0].weight -= network[0].weight.mean(dim=1, keepdim=True)
    model = as_model(network.to(dtype), preprocessing=OWN, tap=tap)
    result = effective_receptive_field(
        model, photographs(2, 224), resolution=224, protocol=protocol
    )
    assert [image.outcome for image in result.images] == ["zero", "zero"]
    assert not result.map.any()


def test_small_gradients_beside_large_values_are_kept() -> None:
    network = smooth().double()
    expected = literal_loop(network, photographs(2, 32))
    network[-1].bias.data += 1e6
    found = measured(network, photographs(2, 32))
    assert [image.outcome for image in found.images] == ["counted", "counted"]
    assert found.map.sum() > expected.sum() / 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_weights_in_16_bits_are_measured_in_float32(dtype: torch.dtype) -> None:
    network, images = smooth().to(dtype), photographs(2, 32)
    result = measured(network, images)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {dtype, torch.int64}
    assert result.setting["dtype"] == "float32"
    assert result.runs[0]["cast_from"] == str(dtype).removeprefix("torch.")
    assert relative(result.map, literal_loop(network.double(), images)) < 1e-5


def test_of_weights_of_several_types_those_that_are_cast_are_recorded() -> None:
    network, images = smooth(), photographs(2, 32)
    assert measured(network, images).runs[0]["cast_from"] is None
    network[0].half()
    assert measured(network, images).runs[0]["cast_from"] == "float16"
    network.half()[-1].bfloat16()
    assert measured(network, images).runs[0]["cast_from"] == "bfloat16, float16"


def test_automatic_mixed_precision_outside_changes_nothing() -> None:
    images = photographs(2, 32)
    expected = measured(smooth(), images)
    with torch.autocast("cpu", torch.bfloat16):
        found = measured(smooth(), images)
    assert np.array_equal(found.total, expected.total)


def moving_average(net: Network, images: Tensor) -> Tensor:
    maps = net.base(images)
    net.average = 0.5 * net.average + 0.5 * maps.detach().mean((0, 2, 3), keepdim=True)
    return maps * net.average.sigmoid()


def average_made_late(net: Network, images: Tensor) -> Tensor:
    maps = net.base(images)
    mean = maps.detach().mean((0, 2, 3), keepdim=True)
    net.late = mean if net.late is None else 0.5 * net.late + 0.5 * mean
    return maps * net.late.sigmoid()


def counter(net: Network, images: Tensor) -> Tensor:
    net.count += 1
    return net.base(images) * (net.count % 3 + 1)


def memory(net: Network, images: Tensor) -> Tensor:
    net.seen.append(float(images.detach().mean()))
    return net.base(images) * (1 + abs(sum(net.seen)))


@pytest.mark.parametrize("run", [moving_average, average_made_late, counter, memory])
def test_what_each_image_changes_is_as_if_nothing_were_checked(
    run: Callable[[Network, Tensor], Tensor],
) -> None:
    """A check is a pass more: what it moved would change all images behind it."""
    network, pictures = made(run), photographs(12, 32)
    network.average, network.late, network.count, network.seen = torch.zeros(1), None, 0, []
    found = measured(network, pictures)
    assert found.runs[0]["refused"] == "each image changes what the network holds"
    assert relative(found.map, literal_loop(copy.deepcopy(network).double(), pictures)) < 1e-5
    assert network.count == 0
    assert not network.seen


def test_each_part_of_the_images_begins_with_the_network_as_it_is() -> None:
    network = made(counter)
    network.count = 0
    model = as_model(network, preprocessing=OWN, tap=Tap("", "NCHW"))
    with measurable(
        model, Procedure(resolution=32), [model.tap], Computing(device="cpu")
    ) as measuring:
        shards = [measuring.measure(select(photographs(3, 32)), (1,) * 3)[0] for _ in range(2)]
    np.testing.assert_array_equal(shards[0].total, shards[1].total)


HELD = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "not finite": lambda: torch.full((3,), torch.nan),
    "one number": lambda: torch.ones(1).expand(5),
    "without numbers": lambda: torch.empty(3, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "8 bits": lambda: torch.ones(3).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("kind", HELD)
def test_whatever_a_network_holds_it_is_measured(kind: str) -> None:
    """What is only held, and never used, changes nothing."""
    network, plain, pictures = smooth(), smooth(), photographs(FEW, 32)
    network.held = HELD[kind]()
    found, expected = (measured(each, pictures) for each in (network, plain))
    assert relative(found.map, expected.map) < 1e-5
