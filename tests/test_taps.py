"""Taps: one function, many layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError
from erf_tools.features.reading import read_features
from erf_tools.features.taps import LAST_MAP, LAST_STAGE, Tap, default_tap
from erf_tools.models.loading import load_model


class Layouts(nn.Module):
    """One function of the image, put out in four layouts."""

    def __init__(self, prefix_tokens: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.prefix = nn.Parameter(torch.randn(1, prefix_tokens, 6))
        self.nchw, self.nhwc, self.nlc = nn.Identity(), nn.Identity(), nn.Identity()
        self.pair = nn.Flatten(0)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images).tanh()
        tokens = features.flatten(2).transpose(1, 2)
        self.nhwc(features.permute(0, 2, 3, 1))
        self.nlc(torch.cat([self.prefix.expand(len(images), -1, -1), tokens], dim=1))
        return self.nchw(features).mean((2, 3))


@pytest.mark.parametrize("size", [(32, 32), (24, 48), (48, 24)], ids=str)
@pytest.mark.parametrize("prefix_tokens", [0, 1, 2, 5])
def test_every_layout_gives_the_same_map(size: tuple[int, int], prefix_tokens: int) -> None:
    module = Layouts(prefix_tokens)
    images = torch.randn(2, 3, *size)
    grid = (size[0] // 4, size[1] // 4)
    expected = module.conv(images).tanh()
    for tap in (
        Tap("nchw"),
        Tap("nhwc", "NHWC"),
        Tap("nlc", "NLC", prefix_tokens, grid),
    ):
        assert torch.equal(read_features(module, tap, images), expected)


def test_naive_reading_of_other_layouts_would_be_wrong() -> None:
    """With as many channels as positions nothing but the declaration tells the layouts apart."""
    module = Layouts()
    images = torch.randn(1, 3, 24, 24)  # 6 x 6 positions, 6 channels
    right = read_features(module, Tap("nhwc", "NHWC"), images)
    wrong = read_features(module, Tap("nhwc", "NCHW"), images)
    assert right.shape == wrong.shape
    assert not torch.allclose(right, wrong)


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        (Tap("nowhere"), "no layer 'nowhere'; its top layers are conv, nchw"),
        (Tap("pair"), "did not run"),
        (Tap("nlc", "NCHW"), "is no NCHW map"),
        (Tap(""), "is no map; name a layer before the pooling"),
        (Tap("nlc"), r"38 tokens, which 0 prefix tokens .* declare them with Tap\(\.\.\., prefix"),
        (Tap("nlc", "NLC", 2, (5, 5)), "38 tokens, which 2 prefix tokens and a grid of 5x5 do not"),
        (Tap("nlc", "NLC", 1, (6, 6)), "38 tokens, which 1 prefix tokens"),
    ],
    ids=lambda value: value.name if isinstance(value, Tap) else "",
)
def test_what_cannot_be_read_is_explained(tap: Tap, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_features(Layouts(), tap, torch.randn(1, 3, 24, 24))


def test_hooks_are_gone_after_success_and_failure() -> None:
    module = Layouts()
    read_features(module, Tap("nchw"), torch.randn(1, 3, 24, 24))
    with pytest.raises(RuntimeError):
        read_features(module, Tap("nchw"), torch.randn(1, 4, 24, 24))
    assert not any(layer._forward_hooks for layer in module.modules())


# Layer, layout and prefix tokens as each architecture's own source has them.
TIMM = {
    "resnet18": Tap("layer4"),
    "swin_tiny_patch4_window7_224": Tap("layers.3", "NHWC"),
    "vit_tiny_patch16_224": Tap("blocks.11", "NLC", 1),
    "deit_tiny_distilled_patch16_224": Tap("blocks.11", "NLC", 2),
    "vit_small_patch14_reg4_dinov2": Tap("blocks.11", "NLC", 5),
    "convnext_atto": Tap("stages.3"),
}


@pytest.mark.parametrize("name", TIMM)
def test_default_tap_of_timm_is_the_last_block_before_the_final_norm(name: str) -> None:
    side = 42 if "patch14" in name else 224
    model = load_model(name, "random", resolution=side if "patch14" in name else None)
    assert default_tap(model.module) == Tap(LAST_STAGE)
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        expected = read_features(model.module, TIMM[name], images)
        assert torch.equal(read_features(model.module, Tap(LAST_STAGE), images), expected)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "ghostnet_050", "rexnet_100"])
def test_convolutions_behind_the_last_stage_belong_to_the_last_map(name: str) -> None:
    model = load_model(name, "random")
    assert model.tap == Tap(LAST_MAP)
    images = torch.randn(1, 3, 64, 64)
    pooled = []
    hook = model.module.global_pool if hasattr(model.module, "global_pool") else None
    hook = hook or model.module.head.global_pool
    hook.register_forward_pre_hook(lambda _module, inputs: pooled.append(inputs[0]))
    with torch.no_grad():
        model.module(images)
        assert torch.equal(read_features(model.module, model.tap, images), pooled[0])


def test_tokens_on_a_rectangular_grid_of_a_real_network() -> None:
    model = load_model("vit_tiny_patch16_224", "random", resolution=(64, 96))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = read_features(model.module, Tap("blocks.11", "NLC", 1), images)
        assert features.shape == (1, 192, 4, 6)
        assert torch.equal(features, read_features(model.module, Tap(LAST_STAGE), images))


def test_replknet_is_read_before_the_final_norm() -> None:
    model = load_model("replknet3", "random")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.module.forward_features(images)
        assert torch.equal(read_features(model.module, model.tap, images), expected)
