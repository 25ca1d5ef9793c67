"""Layouts are tried out: what is not laid out as supposed is refused, with the tap to write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
import torchvision
from reference import ding2022_map
from torch import Tensor, nn

from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.errors import UsageError
from erf_tools.features.proof import find_map_layers, proven
from erf_tools.features.reading import read_features
from erf_tools.features.taps import LAST_STAGE, Reading, Tap, default_tap, find_taps
from erf_tools.images import select
from erf_tools.models.loading import load_model
from erf_tools.models.model import as_model

SIZE = (96, 96)


def by_columns(features: Tensor) -> Tensor:
    return features.mT


def upside_down(features: Tensor) -> Tensor:
    return features.flip(2)


def in_blocks(features: Tensor) -> Tensor:
    n, c, h, w = features.shape
    return features.reshape(n, c, h // 2, 2, w // 2, 2).transpose(3, 4)


def in_windows(features: Tensor) -> Tensor:
    n, c, h, w = features.shape
    return features.reshape(n, c, 2, h // 2, 2, w // 2).transpose(3, 4)


def as_hiera(features: Tensor) -> Tensor:
    n, c, h, w = features.shape
    return features.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)


def shuffled(features: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return features.flatten(2)[..., torch.randperm(features[0, 0].numel(), generator=generator)]


class Tokens(nn.Module):
    """A patch embedding and a block that attends to everything, tokens in some order."""

    def __init__(
        self,
        order: Callable[[Tensor], Tensor] = lambda features: features,
        tokens_first: bool = False,
        prefix_tokens: int = 0,
        attention: bool = True,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.order, self.tokens_first = order, tokens_first
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.prefix = nn.Parameter(torch.randn(1, prefix_tokens, 16))
        attending = nn.TransformerEncoderLayer(16, 2, 32, batch_first=not tokens_first)
        self.block = attending if attention else nn.Identity()
        self.channels_first = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.order(self.patches(images)).flatten(2).mT
        tokens = torch.cat([self.prefix.expand(len(images), -1, -1), tokens], dim=1)
        tokens = self.block(tokens.transpose(0, 1) if self.tokens_first else tokens)
        return self.channels_first(tokens.mT).mean()


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(
    "order", [by_columns, upside_down, in_blocks, in_windows, as_hiera, shuffled]
)
def test_tokens_in_another_order_are_refused(
    order: Callable[[Tensor], Tensor], attention: bool
) -> None:
    network = Tokens(order, attention=attention).eval()
    with pytest.raises(UsageError, match="not units in the order of the image's rows"):
        proven(network, [Tap("block")], SIZE)
    with pytest.raises(UsageError, match="not units in the order of the image's rows"):
        proven(network, [Tap("block", "NLC", 0)], SIZE)
    assert Tap("patches") in find_map_layers(network, torch.zeros(1, 3, *SIZE))
    assert Tap("block") not in find_map_layers(network, torch.zeros(1, 3, *SIZE))


@pytest.mark.parametrize("size", [SIZE, (224, 160), (40, 104)], ids=str)
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("prefix_tokens", [0, 1, 5])
def test_tokens_in_order_are_read_with_what_stands_before_them(
    prefix_tokens: int, attention: bool, size: tuple[int, int]
) -> None:
    network = Tokens(prefix_tokens=prefix_tokens, attention=attention).eval()
    taps = [Tap("block"), Tap("channels_first")]
    block, channels_first = proven(network, taps, size)
    assert [block, channels_first] == taps  # what was found is no part of what they are
    assert block.reading == Reading("NLC", prefix_tokens)
    assert channels_first.reading == Reading("NCL", prefix_tokens)


class _TokensBetween(nn.Module):
    """Patches with further tokens behind them, or in their middle."""

    def __init__(self, number: int, behind: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.further = nn.Parameter(torch.randn(1, number, 16))
        self.block, self.behind = nn.LayerNorm(16), behind

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        place = tokens.shape[1] if self.behind else tokens.shape[1] // 2
        further = self.further.expand(len(images), -1, -1)
        return self.block(torch.cat([tokens[:, :place], further, tokens[:, place:]], dim=1))


@pytest.mark.parametrize("size", [(96, 224), (224, 224)], ids=str)
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_tokens_elsewhere_are_not_taken_for_some_before_the_patches(
    number: int, behind: bool, size: tuple[int, int]
) -> None:
    """All units would lie one or two columns aside."""
    with pytest.raises(UsageError, match="declare them with"):
        proven(_TokensBetween(number, behind).eval(), [Tap("block")], size)


@pytest.mark.parametrize("prefix_tokens", [0, 1])
def test_where_the_batch_comes_second_the_tap_to_write_is_named(prefix_tokens: int) -> None:
    network = Tokens(tokens_first=True, prefix_tokens=prefix_tokens).eval()
    with pytest.raises(UsageError, match="the batch comes second; declare it with ") as raised:
        proven(network, [Tap("block")], SIZE)
    tap = eval(str(raised.value).split("declare it with ")[1])
    (found,) = proven(network, [tap], SIZE)
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        tokens = network.patches(images).flatten(2).permute(2, 0, 1)
        prefix = network.prefix.expand(2, -1, -1).transpose(0, 1)
        expected = network.block(torch.cat([prefix, tokens]))[prefix_tokens:]
        read = read_features(network, found, images)
    assert torch.equal(read.flatten(2).permute(2, 0, 1), expected)


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        (
            "swin_tiny_patch4_window7_224",
            "layers.0.blocks.0.attn",
            r"first axis is not the batch; name the layer around it: Tap\('layers.0.blocks.0'\)",
        ),
        (
            "hiera_tiny_224",
            "blocks.0",
            r"not units in the order .* Tap\('forward_intermediates', stage=0\), or --stages",
        ),
        (
            "vit_tiny_patch16_224",
            "blocks.3.attn.q_norm",
            r"not units in the order .* around it: Tap\('blocks.3.attn'\)",
        ),
        ("mobilevit_xxs", "stages.4.1.transformer.0", "first axis is not the batch"),
    ],
)
def test_windows_and_heads_of_timm_are_no_maps(name: str, layer: str, message: str) -> None:
    small = {
        "swin_tiny_patch4_window7_224": 56,
        "vit_tiny_patch16_224": 64,
        "hiera_tiny_224": 64,
    }
    model = load_model(name, "random", resolution=small.get(name))
    size = model.input_size or (64, 64)
    with pytest.raises(UsageError, match=message):
        proven(model.module, [Tap(layer)], size, model.input_size is not None)


def test_layers_of_transformers_that_can_be_measured() -> None:
    model = load_model("vit_tiny_patch16_224", "random", resolution=64)
    listed = find_map_layers(model.module, torch.zeros(1, 3, 64, 64), "blocks.3.*.*", True)
    inside = {tap.path.removeprefix("blocks.3.") for tap in listed}
    assert {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"} <= inside
    assert not {"attn.q_norm", "attn.k_norm"} & inside


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("convnext_atto", (64, 64)),
        ("repvgg_a0", (64, 64)),  # untrained, its last stages differ by less than rounding
        ("tiny_vit_5m_224", (64, 64)),  # its windows are as large as the map
        ("mixer_s32_224", (224, 224)),
        ("pvt_v2_b0", (96, 96)),
        ("efficientnet_lite0", (96, 96)),
    ],
)
def test_stages_of_timm_lie_where_they_are_read_from(name: str, size: tuple[int, int]) -> None:
    model = load_model(name, "random", resolution=size if name.startswith("mixer") else None)

    class Foreign(type(model.module)):  # type: ignore[misc,name-defined]
        """The same, whose stages are not taken at their word."""

        def forward_intermediates(
            self,
            x: Tensor,
            indices: object = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = "NCHW",
            intermediates_only: bool = False,
        ) -> object:
            options = (indices, norm, stop_early, output_fmt, intermediates_only)
            names = ("indices", "norm", "stop_early", "output_fmt", "intermediates_only")
            return super().forward_intermediates(x, **dict(zip(names, options, strict=True)))

    model.module.__class__ = Foreign
    taps = [Tap(LAST_STAGE, stage=stage) for stage in range(len(model.module.feature_info))]
    fixed_size = model.input_size is not None
    assert all(tap.reading for tap in proven(model.module, taps, size, fixed_size))


def test_a_map_whose_units_all_see_everything_is_taken_as_it_is() -> None:
    class Everywhere(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3), keepdim=True).expand(-1, -1, 8, 8)

    assert proven(Everywhere(), [Tap("")], SIZE)


def test_channels_last_of_a_square_image_are_told_from_channels_first() -> None:
    """Shapes do not tell: as many channels as rows and columns."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.last = nn.Conv2d(3, 12, 8, stride=8), nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            return self.last(self.patches(images).permute(0, 2, 3, 1))

    (found,) = proven(Last(), [Tap("last")], SIZE)
    assert found.reading == Reading("NHWC")


def test_a_network_that_takes_no_other_size_is_tried_at_its_own() -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4 * 144, 2)

        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[-2:] == SIZE
            return self.head(self.body(images).flatten(1))

    (found,) = proven(Strict(), [Tap("body")], SIZE)
    assert found.reading == Reading("NCHW")


def test_runs_of_a_module_are_told_apart() -> None:
    """torchvision's blocks use one ReLU for all their activations."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval()
    with pytest.raises(UsageError, match=r"layer1.0.relu runs 2 times .*--layer layer1.0.relu#2"):
        proven(network, [Tap("layer1.0.relu")], (64, 64))
    with pytest.raises(UsageError, match=r"'layer1.0.relu' runs 2 times in a forward pass, not 3"):
        proven(network, [Tap("layer1.0.relu", run=3)], (64, 64))
    images = torch.randn(1, 3, 64, 64)
    taps = proven(network, [Tap("layer1.0.relu", run=run) for run in (1, 2)], (64, 64))
    assert [tap.name for tap in taps] == ["layer1.0.relu#1", "layer1.0.relu#2"]
    with torch.no_grad():
        stem = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        block = network.layer1[0]
        expected = block.bn1(block.conv1(stem)).relu(), block(stem)
        for tap, features in zip(taps, expected, strict=True):
            assert torch.equal(read_features(network, tap, images), features)
    listed = find_map_layers(network, images, "layer1.0.relu")
    assert list(listed) == taps


def test_a_run_is_chosen_by_name() -> None:
    network = torchvision.models.resnet18()
    patterns = ["layer1.*.relu#2", "layer1.0.relu#1", "layer1.0.bn1"]
    assert find_taps(network, patterns) == [
        Tap("layer1.0.bn1"),
        Tap("layer1.0.relu", run=1),
        Tap("layer1.0.relu", run=2),
        Tap("layer1.1.relu", run=2),
    ]
    for wrong in ("layer1.0.relu#last", "layer1.0.relu#", "layer1.0.relu#0"):
        with pytest.raises(UsageError, match=r"after # comes the number of a run|counted from 1"):
            find_taps(network, [wrong])


class OpenClip(nn.Module):
    """As open_clip's VisionTransformer: ``forward_intermediates`` with other arguments."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = Tokens(prefix_tokens=1)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        stop_early: bool = False,
        normalize_intermediates: bool = False,
        intermediates_only: bool = False,
        output_fmt: str = "NCHW",
        output_extra_tokens: bool = False,
    ) -> dict[str, Tensor | list[Tensor]]:
        return {"image_intermediates": [self.tokens(x)]}

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x)


def test_a_network_with_other_intermediates_is_any_network() -> None:
    model = as_model(OpenClip())
    assert model.tap == default_tap(model.module) == Tap("")
    assert Tap("tokens.block") in find_map_layers(model.module, torch.zeros(1, 3, *SIZE))


def test_what_is_put_around_a_network_is_taken_off() -> None:
    network = Tokens()
    compiled = torch.compile(network, backend="eager")
    assert as_model(nn.DataParallel(compiled)).module is network


@pytest.mark.parametrize("seed", range(3))
def test_units_that_see_everything_are_not_taken_for_being_out_of_order(seed: int) -> None:
    """Random large kernels of one channel: which image a unit is nearer to is up to chance."""
    torch.manual_seed(seed)
    kernels = [nn.Conv2d(1, 1, 31, padding=15, bias=False) for _ in range(4)]
    for kernel in kernels:
        nn.init.normal_(kernel.weight, std=1 / 31)
    network = nn.Sequential(nn.Conv2d(3, 1, 1), *kernels).eval()
    assert [tap.path for tap in proven(network, [Tap("")], (64, 64))] == [""]


class WindowTable(nn.Module):
    """Adds a table to each window; windows become smaller for good on a small image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.window = nn.Conv2d(3, 4, 4, stride=4), 30
        self.table = nn.Parameter(torch.randn(30, 1, 30))

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        self.window = min(self.window, *features.shape[2:])
        windows = features.unflatten(2, (-1, self.window)).unflatten(4, (-1, self.window))
        return (windows + self.table).flatten(4).flatten(2, 3)


def test_what_a_small_image_leaves_behind_disturbs_no_larger_one() -> None:
    (found,) = proven(WindowTable(), [Tap("")], (240, 240))
    assert found.reading == Reading("NCHW")


class OneByOne(nn.Module):
    """Takes a single image, or gives something else for several."""

    def __init__(self, behind: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.last, self.behind = nn.Conv2d(3, 4, 8, 8), nn.Identity(), behind

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.behind(self.body(images)))


def check_single(features: Tensor) -> Tensor:
    assert len(features) == 1, "one image, please"
    return features


@pytest.mark.parametrize(
    "behind",
    [
        check_single,
        lambda features: features.view(1, 4, *features.shape[2:]),
        lambda features: check_single(features).flatten(2).mT,
        lambda features: features.roll(1, 0),
        lambda features: features.mean(0, keepdim=True),
    ],
    ids=["refused", "viewed", "tokens", "rolled", "averaged"],
)
def test_networks_for_single_images_are_measured(behind: Callable[[Tensor], Tensor]) -> None:
    network = OneByOne(behind).double().eval()
    images = select("builtin", 9)
    model = as_model(network, tap=Tap("last"))
    result = effective_receptive_field(model, images, resolution=96)
    mean, std = model.preprocessing.mean, model.preprocessing.std
    expected = [
        ding2022_map(network.body, image.open(), 96, mean, std, torch.float64)
        for image in images.images
    ]
    np.testing.assert_allclose(result.map, np.mean(expected, axis=0), rtol=1e-9)
    assert Tap("last") in find_map_layers(network, torch.zeros(1, 3, *SIZE).double())


def test_single_images_are_tried_out_too() -> None:
    """What takes single images alone can be in another order, or no map at all."""
    with pytest.raises(UsageError, match="not units in the order of the image's rows"):
        proven(OneByOne(lambda features: check_single(features).flip(2)), [Tap("last")], SIZE)
    windows = OneByOne(lambda features: check_single(features).unfold(2, 3, 3)[0].movedim(1, 0))
    with pytest.raises(UsageError, match="first axis is not the batch"):
        proven(windows, [Tap("last")], SIZE)


class _Leaving(nn.Module):
    """Ends the program on every image but those of one size."""

    def __init__(self, how: type[BaseException], width: int) -> None:
        super().__init__()
        self.how, self.width = how, width
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.width:
            raise self.how("this size is not for me")
        return self.body(images)


@pytest.mark.parametrize("layer", [None, "body.2"])
@pytest.mark.parametrize("count", [2, 8])
def test_leaving_the_program_on_a_small_image_is_refusing_that_size(
    layer: str | None, count: int
) -> None:
    network = _Leaving(SystemExit, 96)
    images, choices = select("builtin", count), {"resolution": 96, "layer": layer}
    result = effective_receptive_field(network, images, **choices)
    refusing = _Leaving(ValueError, 96)
    refusing.load_state_dict(network.state_dict())
    expected = effective_receptive_field(refusing, images, **choices)
    np.testing.assert_array_equal(result.map, expected.map)
    assert result.receptive_field == expected.receptive_field
    assert result.runs == expected.runs
    assert proven(network, [Tap("body.0")], (96, 96))[0].reading is not None


def test_ctrl_c_on_a_small_image_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        proven(_Leaving(KeyboardInterrupt, 96), [Tap("body.2")], (96, 96))


def test_leaving_the_program_behind_the_layer_does_not_matter() -> None:
    def leave(*_: object) -> None:
        raise SystemExit(0)

    network = _Leaving(SystemExit, 96)
    plain = effective_receptive_field(network, num_images=2, resolution=96, layer="body.1")
    network.body[2].register_forward_hook(leave)
    result = effective_receptive_field(network, num_images=2, resolution=96, layer="body.1")
    np.testing.assert_array_equal(result.map, plain.map)


class _Body(nn.Module):
    """Two convolutions, and something that is done with their map."""

    def __init__(self, behind: Callable[[Tensor], Tensor], channels: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, channels, 3, 2, 1)
        )
        self.last, self.behind = nn.Identity(), behind

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.behind(self.body(images)))


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (64, 96)], ids=str)
def test_a_transposed_map_is_not_taken_for_channels_last(size: tuple[int, int]) -> None:
    network = _Body(lambda features: features.transpose(2, 3)).eval()
    with pytest.raises(UsageError, match="not units in the order of the image's rows"):
        proven(network, [Tap("last")], size)
    assert Tap("last") not in find_map_layers(network, torch.zeros(1, 3, *size))


@pytest.mark.parametrize("size", [(64, 64), (36, 36), (256, 256), (64, 96)], ids=str)
def test_a_map_without_an_axis_of_channels_is_not_taken_for_tokens(size: tuple[int, int]) -> None:
    """A square of a number of rows could be tokens of a square grid."""
    network = _Body(lambda features: features.squeeze(1), channels=1).eval()
    with pytest.raises(UsageError, match=r"without an axis of channels; give it one, as unsqueeze"):
        proven(network, [Tap("last")], size)
    with_channels = _Body(lambda features: features.squeeze(1).unsqueeze(1), channels=1).eval()
    assert proven(with_channels, [Tap("last")], size)[0].reading == Reading("NCHW")


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("norm", [False, True])
def test_weights_of_attention_are_no_maps(side: int, norm: bool) -> None:
    """Queries and keys are as many, and their rows follow the image's."""
    torch.manual_seed(0)
    network = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=side,
        depth=2,
        class_token=False,
        global_pool="avg",
        qk_norm=norm,
    ).eval()
    for block in network.blocks:
        block.attn.fused_attn = False
    listed = find_map_layers(network, torch.zeros(1, 3, side, side), "blocks.*.attn.*", True)
    names = {tap.path.split(".")[-1] for tap in listed}
    assert "attn_drop" not in names
    assert {"qkv", "proj_drop"} <= names


def test_columns_that_see_all_columns_are_taken_as_they_are() -> None:
    """No other axis follows the image's columns either."""
    network = _Body(lambda features: features.mean(3, keepdim=True).expand_as(features)).eval()
    assert proven(network, [Tap("last")], (64, 64))[0].reading == Reading("NCHW")
