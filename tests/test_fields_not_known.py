"""Fields are exact or not known, and a network that must not be probed is measured all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from timm.layers import Conv2dSame, EcaModule, GroupNorm1
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.shown_tables import notes
from erf_tools.erf.tables import erf_table
from erf_tools.errors import ErfToolsError
from erf_tools.fields.dependency import receptive_fields
from erf_tools.fields.locality import mixes
from erf_tools.fields.receptive_field import ReceptiveField

Step = Callable[[nn.Module, Tensor], Tensor]


class Between(nn.Module):
    """Two convolutions, and between them what a test says."""

    def __init__(self, step: Step, *parts: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 5, 2, 2), nn.Conv2d(8, 8, 5, 2, 2)
        self.parts, self.step = nn.ModuleList(parts), step

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.step(self.parts, self.first(images)))


def field_of(network: nn.Module, side: int = 64) -> ReceptiveField:
    (field,) = receptive_fields(network, lambda net, images: [net(images)], (side, side))
    return field


def refuses(_parts: nn.Module, features: Tensor) -> Tensor:
    assert not features.isnan().any()
    return features


def quantised(_parts: nn.Module, features: Tensor) -> Tensor:
    table = torch.linspace(-1, 1, 16)
    nearest = (features.detach()[..., None] - table).abs().argmin(-1)
    return features + (table[nearest] - features).detach()


def decomposed(_parts: nn.Module, features: Tensor) -> Tensor:
    rows = features.detach().mean(0).flatten(1)
    return features * torch.linalg.eigh(rows @ rows.T)[0].sum()


def sampled(_parts: nn.Module, features: Tensor) -> Tensor:
    still = torch.eye(2, 3).expand(len(features), 2, 3)
    grid = F.affine_grid(still, list(features.shape), align_corners=False)
    offsets = features[:, :2].permute(0, 2, 3, 1).tanh() * 0.1
    return F.grid_sample(features, grid + offsets, align_corners=False)


def selected(_parts: nn.Module, features: Tensor) -> Tensor:
    return features.gather(1, features.argsort(dim=1))


def through_numpy(_parts: nn.Module, features: Tensor) -> Tensor:
    return features * float(features.detach().numpy().max())


def without_nan(_parts: nn.Module, features: Tensor) -> Tensor:
    return features + F.avg_pool2d(features, 15, 1, 7).nan_to_num_()


def larger(_parts: nn.Module, features: Tensor) -> Tensor:
    return features + torch.fmax(F.avg_pool2d(features, 15, 1, 7), torch.zeros(()))


def signs(_parts: nn.Module, features: Tensor) -> Tensor:
    return features + F.avg_pool2d(features, 15, 1, 7).sign()


def added(_parts: nn.Module, features: Tensor) -> Tensor:
    return features * features.nansum((2, 3), keepdim=True)


def share_of_all(_parts: nn.Module, features: Tensor) -> Tensor:
    positive = features.relu()
    return (positive / positive.sum((2, 3), keepdim=True)).nan_to_num(0)


def gate_without_nan(parts: nn.Module, features: Tensor) -> Tensor:
    return features * parts[0](features).nan_to_num(0)


UNSAFE: dict[str, Callable[[], nn.Module]] = {
    "deformable": lambda: Between(
        lambda parts, features: parts[1](features, parts[0](features)),
        nn.Conv2d(8, 18, 3, padding=1),
        torchvision.ops.DeformConv2d(8, 8, 3, padding=1),
    ),
    "gate without NaN": lambda: Between(gate_without_nan, nn.AdaptiveAvgPool2d(1)),
    **{
        step.__name__: lambda step=step: Between(step)
        for step in (
            *(refuses, quantised, decomposed, sampled, selected, through_numpy),
            *(without_nan, larger, signs, added, share_of_all),
        )
    },
}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_nan_must_not_reach_is_not_known_and_measured(name: str) -> None:
    network = UNSAFE[name]().eval()
    with pytest.raises(ErfToolsError, match="cannot be probed"):
        field_of(network)
    result = effective_receptive_field(network, num_images=1, resolution=64)
    assert result.map.sum() > 0
    assert (result.receptive_field.unbounded, result.receptive_field.basis) == (None, "grid")
    assert any("centre is that of equal tiles" in note for note in notes(erf_table([result])))


def normalised(_parts: nn.Module, features: Tensor) -> Tensor:
    weights, shift = torch.full((8, 8, 1, 1), 0.1), torch.full((8,), 0.2)
    return features * F.conv2d(features * features, weights, shift).rsqrt()


def logarithmic(parts: nn.ModuleList, features: Tensor) -> Tensor:
    return (parts[0](features.exp()) + 1e-3).log()


@pytest.mark.parametrize(
    "network",
    [
        Between(normalised),
        Between(lambda _parts, features: (1 - features.tanh() ** 2).sqrt()),
        Between(logarithmic, nn.AvgPool2d(1)),
    ],
    ids=["divisive", "root", "logarithm"],
)
def test_roots_and_logarithms_are_numbers_in_the_search(network: nn.Module) -> None:
    field = field_of(network)
    assert (field.size, field.unbounded) == ((13, 13), False)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "unit", "center"),
    [(96, 4, 3, 16, 49.5), (98, 4, 3, 16, 48.5), (99, 5, 5, 10, 52), (101, 7, 6, 8, 50)],
)
def test_padding_by_any_stride_is_that_of_the_size(
    side: int, kernel: int, stride: int, unit: int, center: float
) -> None:
    """TensorFlow pads as much as the last unit needs, half of it first."""
    network = Conv2dSame(3, 8, kernel, stride=stride)
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    assert unit * stride - total // 2 + (kernel - 1) / 2 == center
    assert field_of(network, side).center((unit, unit)) == (center, center)


def clipped(_parts: nn.Module, features: Tensor) -> Tensor:
    shown = torch.zeros(()).masked_fill(torch.ones((), dtype=torch.bool), 2.0)
    kept = torch.where(torch.ones_like(features, dtype=torch.bool), features, shown)
    return kept.clamp_(-1, 1).abs().pow(2).amax(dim=1, keepdim=True) + F.hardswish(features)


def test_elementwise_operations_that_keep_nan_hide_nothing() -> None:
    assert field_of(Between(clipped)).size == (13, 13)


def shrunk_if_large(_parts: nn.Module, features: Tensor) -> Tensor:
    return F.avg_pool2d(features, 2) if features.shape[-1] > 70 else features


@pytest.mark.parametrize(("side", "stride"), [(96, 4), (224, 8)])
def test_a_graph_that_depends_on_the_size_is_right_or_not_known(side: int, stride: int) -> None:
    field = field_of(Between(shrunk_if_large), side)
    assert field.stride == (stride, stride)
    if field.basis != "grid":
        first, size = (-6, 13) if stride == 4 else (-10, 23)
        assert (field.first, field.size) == ((first, first), (size, size))


@pytest.mark.parametrize(
    "part",
    [
        nn.GroupNorm(2, 8),
        GroupNorm1(8),
        nn.InstanceNorm2d(8),
        EcaModule(8),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_mixes_positions_does_not_move_the_centre(part: nn.Module) -> None:
    plain = field_of(Between(lambda _parts, features: features).eval())
    field = field_of(Between(lambda parts, features: parts[0](features), part).eval())
    assert (field.unbounded, field.basis) == (True, "local dependency")
    assert field.center((7, 7)) == plain.center((7, 7)) == (28, 28)


class Looking(nn.Module):
    """Each unit sees itself and eight to its left: its centre lies four units to the left."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Conv2d(8, 8, (1, 9))

    def forward(self, features: Tensor) -> Tensor:
        return self.row(F.pad(features, (8, 0, 0, 0)))


@pytest.mark.parametrize("name", ["Shifted", "Recast", "Decay", "Recall", "SpecAugment"])
def test_a_word_within_a_name_does_not_move_the_centre(name: str) -> None:
    part = type(name, (Looking,), {})()
    network = Between(
        lambda parts, features: parts[1](parts[0](features)), nn.GroupNorm(2, 8), part
    )
    field = field_of(network.eval())
    assert (field.unbounded, field.basis) == (True, "local dependency")
    assert field.center((7, 7)) == (28, 28 - 4 * 2)


@pytest.mark.parametrize(
    ("name", "mixing"),
    [
        *[(name, True) for name in ("EcaModule", "CecaModule", "ECALayer", "eca_layer", "ECA")],
        *[(name, True) for name in ("WindowAttention", "CoordAttn", "GlobalResponseNorm")],
        *[(name, False) for name in ("Precast", "Decay", "RECALL", "Recast", "Data2VecAudio")],
    ],
)
def test_what_mixes_is_told_by_words(name: str, mixing: bool) -> None:
    assert mixes(type(name, (nn.Identity,), {})()) == mixing


class OfSize(nn.Module):
    """Whose second layer depends on the size of its input, and whose field does not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.small, self.large = nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        return self.large(features) if features.shape[-1] >= 48 else self.small(features)


@pytest.mark.parametrize("exact", [True, False])
def test_modules_that_run_at_some_sizes_only_leave_the_field_known(exact: bool) -> None:
    result = effective_receptive_field(OfSize(), num_images=8, resolution=64, exact=exact)
    assert result.receptive_field.size == (7, 7)
    assert result.center == (32, 32)
