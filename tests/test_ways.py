"""Faster ways are right on the run they are used in, or are not used: against the literal loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from reference import randomise_norms
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.erf.contributions import Contributions
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.maps import ERF
from erf_tools.erf.ways import FEW, PLAIN, Sight, Way, differs, pays
from erf_tools.errors import UsageError
from erf_tools.features.taps import Tap
from erf_tools.images import Preprocessing, select
from erf_tools.models.loading import as_model

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
    total = 0.0
    for image in images:
        pixels = np.asarray(image).transpose(2, 0, 1)[None] / 255.0
        sample = torch.tensor((pixels - 0.5) / 0.25, requires_grad=True)
        outputs = network(sample)
        height, width = outputs.shape[2:]
        central = outputs[:, :, height // 2, width // 2].relu().sum()
        (gradient,) = torch.autograd.grad(central, sample)
        total = total + gradient.relu().sum((0, 1)).numpy()
    return total / len(images)


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
    return net.last(features + features.roll(1, 0))


def early_exit(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    return net.last(features) if images.mean() > 0 else features


def routed(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    gate = images.mean((1, 2, 3), keepdim=True) > 0
    return torch.where(gate, net.last(features), net.other(features))


def brightest_channels(net: Network, images: Tensor) -> Tensor:
    features = net.base(images)
    chosen = features.mean((2, 3)).topk(3).indices[:, :, None, None]
    return net.last(features).gather(1, chosen.expand(-1, -1, *features.shape[2:]))


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
    "channels chosen": (lambda: made(brightest_channels), 160),
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_way_that_would_be_wrong_is_not_gone(name: str, dtype: torch.dtype) -> None:
    build, side = HOSTILE[name]
    images = photographs(FEW + 2, side)
    result = measured(build().to(dtype), images)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    assert relative(result.map, literal_loop(build().double(), images)) < tolerance
