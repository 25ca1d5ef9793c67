"""RepLKNet: counts and names from the description, merging against the unmerged network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference import randomise_norms
from timm.utils import reparameterize_model
from torch import Tensor, nn

from erf_tools.kernels.folding import folded
from erf_tools.models.replknet import VARIANTS, RepLKNet

# Published: training form, merged form (large and small depthwise branches merged, nothing else).
COUNTS = {
    "31b": (79_864_168, 79_527_272),
    "31l": (172_671_016, 172_165_672),
    "xl": (335_435_752, 335_399_656),
    "13": (74_156_392, 73_819_496),
}

# Every kind of block, kernels larger than the last map, little to compute.
SMALL = replace(
    VARIANTS["31b"], kernel_sizes=(9, 7, 7, 5), channels=(8, 12, 16, 20), layers=(1, 1, 2, 1)
)


@pytest.mark.parametrize("variant", COUNTS)
@pytest.mark.parametrize("merged", [False, True])
def test_parameter_counts(variant: str, merged: bool) -> None:
    with torch.device("meta"):
        network = RepLKNet(VARIANTS[variant], merged=merged)
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[variant][merged]


def logits(network: nn.Module, images: Tensor) -> list[Tensor]:
    return [network(images)]


def official_names(layers: tuple[int, ...], small: bool, merged: bool) -> set[str]:
    """The official state-dict names, laid out by hand from the description."""

    def norm(path: str) -> list[str]:
        values = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return [f"{path}.{value}" for value in values]

    def conv_bn(path: str) -> list[str]:
        return [f"{path}.conv.weight", *norm(f"{path}.bn")]

    names: list[str] = []
    for index in range(4):
        names += conv_bn(f"stem.{index}")
    for transition in range(3):
        names += conv_bn(f"transitions.{transition}.0") + conv_bn(f"transitions.{transition}.1")
    for stage, pairs in enumerate(layers):
        for block in range(2 * pairs):
            path = f"stages.{stage}.blocks.{block}"
            names += conv_bn(f"{path}.pw1") + conv_bn(f"{path}.pw2")
            if block % 2:
                names += norm(f"{path}.preffn_bn")
                continue
            names += norm(f"{path}.prelkb_bn")
            if merged:
                names += [f"{path}.large_kernel.lkb_reparam.{kind}" for kind in ("weight", "bias")]
                continue
            names += conv_bn(f"{path}.large_kernel.lkb_origin")
            if small:
                names += conv_bn(f"{path}.large_kernel.small_conv")
    return {*names, *norm("norm"), "head.weight", "head.bias"}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("merged", [False, True])
def test_state_dict_names_are_the_official_ones(variant: str, merged: bool) -> None:
    with torch.device("meta"):
        network = RepLKNet(VARIANTS[variant], merged=merged)
    small = VARIANTS[variant].small_kernel is not None
    assert set(network.state_dict()) == official_names(VARIANTS[variant].layers, small, merged)


def test_small_kernel_control_has_the_depth_and_widths_of_31b() -> None:
    small, large = VARIANTS["3"], VARIANTS["31b"]
    assert (small.layers, small.channels, small.dw_ratio) == (
        large.layers,
        large.channels,
        large.dw_ratio,
    )
    assert small.kernel_sizes == (3, 3, 3, 3)
    assert small.small_kernel is None


@pytest.mark.parametrize(
    ("variant", "dtype", "tolerance"),
    [
        ("31b", torch.float32, 1e-4),
        ("31b, an eighth as wide", torch.float64, 1e-10),
        ("small", torch.float32, 1e-4),
        ("small", torch.float64, 1e-10),
        ("small-without-5x5", torch.float32, 1e-4),
        ("small-without-5x5", torch.float64, 1e-10),
    ],
    ids=str,
)
def test_merging_changes_nothing_but_rounding(
    variant: str, dtype: torch.dtype, tolerance: float
) -> None:
    shape = {
        "31b": VARIANTS["31b"],
        "31b, an eighth as wide": replace(VARIANTS["31b"], channels=(16, 32, 64, 128)),
        "small": SMALL,
        "small-without-5x5": replace(SMALL, small_kernel=None, dw_ratio=1.5),
    }[variant]
    torch.manual_seed(0)
    network = randomise_norms(RepLKNet(shape)).eval().to(dtype).requires_grad_(False)
    images = torch.randn(2, 3, 64, 96, dtype=dtype)
    with torch.no_grad():
        expected = network(images)
        for merged in (reparameterize_model(network), folded(network, logits, (64, 96))[0]):
            assert merged is not network
            difference = (merged(images) - expected).norm() / expected.norm()
            assert difference < tolerance
        assert torch.equal(network(images), expected)  # the original is as it was


def test_merged_form_is_the_one_that_official_merged_files_fit() -> None:
    network = reparameterize_model(RepLKNet(SMALL).eval())
    RepLKNet(SMALL, merged=True).load_state_dict(network.state_dict(), strict=True)


def test_fully_merged_network_has_no_norm_but_the_last() -> None:
    network = folded(RepLKNet(SMALL).eval().requires_grad_(False), logits, (64, 64))[0]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 1


def test_drop_path_rises_linearly_over_the_pairs() -> None:
    network = RepLKNet(SMALL, drop_path_rate=0.4)
    rates = [
        getattr(block.drop_path, "drop_prob", 0.0)
        for stage in network.stages
        for block in stage.blocks
    ]
    assert rates == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4])
