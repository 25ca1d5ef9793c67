"""Fields are exact or not known, and a network that must not be probed is measured all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from reference import ding2022_map
from timm.layers import Conv2dSame, EcaModule, GroupNorm1
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.computing import Computing
from erf_tools.erf.cautions import cautions
from erf_tools.erf.gradients import effective_receptive_field, measure_layers
from erf_tools.erf.measuring import measurable
from erf_tools.erf.parts import join, merge
from erf_tools.erf.procedure import Procedure, Square
from erf_tools.erf.shown_tables import notes
from erf_tools.erf.tables import erf_table
from erf_tools.erf.witness import reaches_beyond
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.taps import Tap
from erf_tools.fields.dependency import receptive_fields
from erf_tools.fields.locality import mixes
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.images import select
from erf_tools.models.model import as_model
from erf_tools.preprocessing import Preprocessing

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


class OwnAttention(nn.Module):
    """Each position attends to all others of its map, or of its window."""

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.window, self.keys = window, nn.Linear(8, 8)

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = features.shape[2:]
        height, width = (self.window or rows), (self.window or columns)
        cut = features.unfold(2, height, height).unfold(3, width, width).permute(0, 2, 3, 4, 5, 1)
        tokens = cut.flatten(3, 4)
        tokens = self.keys(tokens) @ (tokens.softmax(-2).mT @ tokens)  # linear attention
        maps = tokens.unflatten(3, (height, width)).permute(0, 5, 1, 3, 2, 4)
        return maps.reshape(features.shape)


class LookingAttention(Looking):
    """Called as attention is, and it only looks aside; with attention and a gate in it, too."""

    def __init__(self, *parts: nn.Module, gate: bool = False) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)
        self.pool = nn.AdaptiveAvgPool2d(1) if gate else None

    def forward(self, features: Tensor) -> Tensor:
        found = super().forward(self.parts(features))
        return found * self.pool(found).sigmoid() if self.pool else found


@pytest.mark.parametrize(
    ("parts", "aside"),
    [
        ([nn.GroupNorm(2, 8), LookingAttention()], 4 * 2),
        ([nn.GroupNorm(2, 8), LookingAttention(gate=True)], 4 * 2),
        ([nn.GroupNorm(2, 8), LookingAttention(), LookingAttention()], 8 * 2),
        ([LookingAttention(OwnAttention())], 4 * 2),
        ([OwnAttention()], 0),
        ([OwnAttention(), LookingAttention()], 4 * 2),
        ([nn.GroupNorm(2, 8), OwnAttention(8)], 0),
        ([nn.GroupNorm(2, 8), type("Attention", (nn.AvgPool2d,), {})(3, 1, 1)], 0),
    ],
    ids=["alone", "gated", "two", "around", "real", "behind", "windows", "centred"],
)
def test_a_part_that_only_looks_aside_is_not_undone(parts: list[nn.Module], aside: int) -> None:
    """Whatever its name, and attention and windows are."""

    def step(parts: nn.ModuleList, features: Tensor) -> Tensor:
        for part in parts:
            features = part(features)
        return features

    field = field_of(Between(step, *parts).eval())
    assert (field.unbounded, field.basis) == (True, "local dependency")
    assert field.center((7, 7)) == (28, 28 - aside)


class Sharing(OwnAttention):
    """Attention by another name."""


class Aside(Looking):
    """Mixes all positions, and looks aside."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) + features.mean((2, 3), keepdim=True)


class Split(nn.Module):
    """Lets half of the channels see each other, and puts both halves together."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Conv2d(8, 8, 1)

    def forward(self, features: Tensor) -> Tensor:
        mean = features[:, :4].mean((2, 3), keepdim=True)
        return self.both(torch.cat([features[:, :4] * mean, features[:, 4:]], dim=1))


def as_it_is(_parts: nn.Module, features: Tensor) -> Tensor:
    return features


@pytest.mark.parametrize(
    ("step", "local"),
    [
        (lambda parts, features: parts[0](features), as_it_is),
        (lambda parts, features: parts[0](features=features), as_it_is),
        (lambda parts, features: parts[1](features), as_it_is),
        (
            lambda parts, features: parts[0](parts[2](parts[0](features))),
            lambda parts, features: parts[2](features),
        ),
    ],
    ids=["other name", "by keyword", "half of the channels", "behind a large kernel"],
)
def test_what_mixes_all_positions_is_seen_whatever_its_name(step: Step, local: Step) -> None:
    """And what is local, however large, is left as it is."""
    parts = Sharing(), Split(), nn.Conv2d(8, 8, 31, padding=15)
    plain, field = (field_of(Between(own, *parts).eval()) for own in (local, step))
    assert (field.unbounded, field.basis) == (True, "local dependency")
    assert (field.stride, field.first, field.last) == (plain.stride, plain.first, plain.last)
    assert field.center((7, 7)) == (28, 28)


def test_what_mixes_by_keyword_under_its_own_name_is_undone_too() -> None:
    field = field_of(Between(lambda parts, maps: parts[0](features=maps), OwnAttention()).eval())
    assert (field.basis, field.center((7, 7))) == ("local dependency", (28, 28))


def test_what_mixes_and_looks_aside_has_no_known_centre() -> None:
    field = field_of(Between(lambda parts, features: parts[0](features), Aside()).eval())
    assert (field.unbounded, field.basis) == (True, "grid")


@pytest.mark.parametrize(
    ("name", "mixing"), [("efficientvit_b0", "LiteMLA"), ("iformer_t", "SHMA")]
)
def test_centres_behind_attention_of_other_names_are_those_of_gradients(
    name: str, mixing: str
) -> None:
    """On a strip, with what mixes giving nothing: only its shortcut is left."""
    network = timm.create_model(name).eval()
    (field,) = receptive_fields(network, lambda net, images: [last_map(net, images)], (128, 128))
    for part in network.modules():
        if type(part).__name__ == mixing:
            part.register_forward_hook(lambda _part, _inputs, output: torch.zeros_like(output))
    images = torch.randn(1, 3, 128, 1536, dtype=torch.float64, requires_grad=True)
    features = last_map(network.double(), images)
    unit = features.shape[3] // 2
    features[0, :, 1, unit].square().sum().backward()
    assert images.grad is not None
    columns = images.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
    assert columns[0] > 0
    assert columns[-1] < 1535
    assert field.basis == "local dependency"
    assert field.center((1, unit))[1] == (columns[0] + columns[-1]).item() / 2


def last_map(network: nn.Module, images: Tensor) -> Tensor:
    found: list[Tensor] = network.forward_intermediates(images, intermediates_only=True)
    return found[-1]


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


PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Hiding(nn.Module):
    """Looks farther where gradients are taken, which no pass of the search for fields does."""

    def __init__(self, counting: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.far = nn.Conv2d(8, 8, 15, padding=7)
        self.counting, self.passes = counting, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.counting
        features = self.first(images).relu() * (1 + self.passes)
        return self.second(features + (self.far(features) if torch.is_grad_enabled() else 0))


WAYS: dict[str, dict[str, object]] = {
    "few": {"num_images": 2},
    "exact": {"exact": True},
    "fast": {},
    "batch": {"batch_size": 3},
    "at the unit": {"square": "unit"},
    "grid": {"unit": "grid:2"},
    "with its sign": {"protocol": "luo2016"},
    "bf16": {"precision": "bf16"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_field_that_the_map_contradicts_is_not_known(way: str) -> None:
    choices = {"num_images": 8, "resolution": 64, **WAYS[way]}
    result = effective_receptive_field(as_model(Hiding(), preprocessing=PLAIN), **choices)
    field = result.receptive_field
    assert (field.unbounded, field.basis, result.theoretical_box) == (None, "grid", None)
    assert result.center == (33.5, 33.5)  # of a tile of 4 pixels
    assert result.runs[0]["contradicted_field"] == [7, 7]
    (said,) = [each.sentence for each in cautions(result) if each.kind == "field contradicted"]
    assert "beyond the theoretical field that was found, 7x7" in said
    assert any(said in note for note in notes(erf_table([result])))


@pytest.mark.parametrize("counting", [False, True])
def test_the_map_that_contradicts_a_field_is_right(counting: bool) -> None:
    selection, network = select("builtin", 3), Hiding(counting).double()
    fresh = Hiding(counting).double().eval().requires_grad_(False)
    maps = [
        ding2022_map(fresh, image.open(), 64, PLAIN.mean, PLAIN.std, torch.float64)
        for image in selection.images
    ]
    result = effective_receptive_field(
        as_model(network, preprocessing=PLAIN), selection, resolution=64
    )
    assert result.receptive_field.unbounded is None
    np.testing.assert_allclose(result.map, np.mean(maps, axis=0), rtol=1e-9, atol=1e-12)


def test_of_several_layers_one_field_is_contradicted_in_all_parts() -> None:
    model, taps = as_model(Hiding()), [Tap("first"), Tap("second")]
    selection, procedure = select("builtin", 8), Procedure(resolution=64)
    results = measure_layers(model, selection, procedure, taps, computing=Computing())
    fields = [result.receptive_field for result in results]
    assert [field.size for field in fields] == [(3, 3), None]
    assert [result.runs[0]["contradicted_field"] for result in results] == [None, [7, 7]]
    halves = (selection.images[:2], selection.images[2:])
    with measurable(model, procedure, taps) as ready:  # as a sweep does
        parts = [ready.measure(replace(selection, images=own), (len(own),)) for own in halves]
    joined = join(part[1] for part in parts)
    assert (joined.count, joined.receptive_field) == (8, fields[1])
    np.testing.assert_allclose(joined.map, results[1].map, rtol=1e-5)


class HidingInSome(Hiding):
    """Looks farther only in images that are bright."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images).relu()
        if torch.is_grad_enabled():
            shine = images.detach().mean(dim=(1, 2, 3), keepdim=True) - 0.5
            features = features + self.far(features) * shine.relu().sign()
        return self.second(features)


def shades(folder: Path, bright: Sequence[bool]) -> list[Path]:
    """Write images that are bright or not."""
    draw, paths = np.random.default_rng(0), []
    for number, shine in enumerate(bright):
        pixels = draw.integers(150 if shine else 0, 256 if shine else 106, (64, 64, 3), np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize("square", ["center", "unit"])
@pytest.mark.parametrize("unit", ["center", "grid:2"])
@pytest.mark.parametrize("bright", [(0, 0, 1, 0), (1, 0, 0, 0), (0, 0, 0, 0)])
def test_parts_of_which_some_contradict_a_field_are_those_of_one_that_is_not_known(
    bright: Sequence[int], unit: str, square: Square, tmp_path: Path
) -> None:
    """As if all images had been measured at once, where all maps are measured again."""
    model = as_model(HidingInSome(), preprocessing=PLAIN)
    paths = shades(tmp_path, [bool(each) for each in bright for _ in range(3)])
    procedure = Procedure(resolution=64, unit=unit, square=square)
    selection = select(paths, order="sequential")
    (whole,) = measure_layers(model, selection, procedure, [model.tap])
    shares = [selection.images[start : start + 3] for start in range(0, 12, 3)]
    with measurable(model, procedure, [model.tap]) as ready:
        parts = [ready.measure(replace(selection, images=own), (1, 1, 1))[0] for own in shares]
    known = [part.setting["receptive_field"]["size"] for part in parts]
    assert known == [None if each else [7, 7] for each in bright]
    found = join(parts)
    merged = merge([join([part]) for part in parts])
    for joined in (found, merged):
        assert joined.setting == whole.setting
        np.testing.assert_allclose(joined.map, whole.map, rtol=1e-5, atol=1e-9)
        kinds = [caution.kind for caution in cautions(joined)]
        assert ("field contradicted" in kinds) == any(bright)
        assert joined.measures.effective_side == whole.measures.effective_side
    if any(bright) and square == "unit":  # sums about another centre say nothing
        assert "not known" in found.measures.without_intervals
        return
    assert found.sample
    assert whole.sample
    for family, sums in whole.sample.sums.items():
        np.testing.assert_allclose(found.sample.sums[family], sums, rtol=1e-4, atol=1e-9)


def test_parts_within_a_field_that_others_contradict_do_not_merge(tmp_path: Path) -> None:
    """What is outside was never computed."""
    model, choices = as_model(HidingInSome(), preprocessing=PLAIN), {"resolution": 512}
    dark = effective_receptive_field(model, shades(tmp_path, [False] * 8), **choices)
    assert dark.runs[0]["cone"]
    (tmp_path / "bright").mkdir()
    bright = effective_receptive_field(model, shades(tmp_path / "bright", [True]), **choices)
    for results in ([dark, bright], [bright, dark]):
        with pytest.raises(ErfToolsError, match=r"beyond the .* found, 7x7, .*--exact"):
            merge(results)


def test_parts_of_other_networks_do_not_merge_because_a_field_is_contradicted() -> None:
    class Other(Hiding):
        pass

    hiding = effective_receptive_field(as_model(Hiding()), select("builtin", 1), resolution=64)
    other = Other()
    other.far = nn.Conv2d(8, 8, 1)
    images = replace(select("builtin", 2), images=select("builtin", 2).images[1:])
    plain = effective_receptive_field(as_model(other), images, resolution=64)
    assert plain.receptive_field.size == (7, 7)
    with pytest.raises(UsageError, match="differ in model"):
        merge([hiding, plain])
    wider = {**hiding.runs[0], "contradicted_field": [9, 9]}
    same = replace(hiding, setting=hiding.setting, runs=(wider,))
    setting = {**same.setting, "receptive_field": plain.setting["receptive_field"]}
    images_of = replace(plain, setting=setting)
    with pytest.raises(UsageError, match="differ in receptive_field"):
        merge([same, images_of])


def test_circular_padding_contradicts_nothing() -> None:
    """What is beyond one rim is at the other."""
    torch.manual_seed(0)
    circular = {"padding": 2, "padding_mode": "circular"}
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, **circular), nn.ReLU(), nn.Conv2d(8, 8, 5, 2, **circular)
    )
    for side in (64, 65, 67):
        result = effective_receptive_field(network, num_images=1, resolution=side, unit="0,1")
        assert result.receptive_field.size == (13, 13)
        assert result.runs[0]["contradicted_field"] is None
        assert result.map[-4:].any()


@pytest.mark.parametrize(
    ("outside", "box", "expected"),
    [
        (0.0, (10, 20, 10, 20), False),
        (1e-5, (10, 20, 10, 20), False),  # FFT convolutions leave 2e-8 in RepLKNet's first stage
        (1e-2, (10, 20, 10, 20), True),
        (1e-2, (-4, 34, 10, 20), True),
        (1e-2, (10, 20, -4, 34), True),
        (1e-2, (-4, 34, -4, 34), False),
    ],
)
def test_rounding_outside_of_a_field_is_no_witness(
    outside: float, box: tuple[int, int, int, int], expected: bool
) -> None:
    contribution = np.full((32, 32), outside)
    contribution[10:20, 10:20] = 1
    eps = float(np.finfo(np.float32).eps)
    assert reaches_beyond(contribution, box, (1, 1), eps) == expected
