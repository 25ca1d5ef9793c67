"""VAN: a block against one written by hand, and its field against arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from reference import depthwise_by_hand, gelu_by_hand, pointwise_by_hand, randomise

from erf_tools.fields.dependency import receptive_fields
from erf_tools.models.van import VAN, VARIANTS, VANBlock


def test_a_block_is_what_the_paper_describes() -> None:
    block = randomise(VANBlock(2, 3, rate=0.0).double())
    state = {name: value.numpy() for name, value in block.state_dict().items()}
    maps = np.random.default_rng(0).normal(size=(2, 22, 25))

    def normalised(values: np.ndarray, name: str) -> np.ndarray:
        shift, scale, mean, variance = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("bias", "weight", "running_mean", "running_var")
        )
        return (values - mean) / np.sqrt(variance + 1e-5) * scale + shift

    def layer(name: str) -> tuple[np.ndarray, np.ndarray]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    shortcut = normalised(maps, "norm1")
    inner = gelu_by_hand(pointwise_by_hand(shortcut, *layer("attn.proj_1")))
    gate = depthwise_by_hand(inner, *layer("attn.spatial_gating_unit.conv0"))
    gate = depthwise_by_hand(gate, *layer("attn.spatial_gating_unit.conv_spatial"), dilation=3)
    gate = pointwise_by_hand(gate, *layer("attn.spatial_gating_unit.conv1"))
    attended = pointwise_by_hand(inner * gate, *layer("attn.proj_2")) + shortcut
    middle = maps + state["layer_scale_1"][:, None, None] * attended
    fed = pointwise_by_hand(normalised(middle, "norm2"), *layer("mlp.fc1"))
    fed = gelu_by_hand(depthwise_by_hand(fed, *layer("mlp.dwconv.dwconv")))
    fed = pointwise_by_hand(fed, *layer("mlp.fc2"))
    expected = middle + state["layer_scale_2"][:, None, None] * fed

    actual = block(torch.from_numpy(maps)[None])[0].numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


def test_the_theoretical_field_is_the_sum_of_the_layers() -> None:
    # Stem 7 with stride 4; a block reaches 4 + 18 + 2 further (5x5, 7x7 with dilation 3, 3x3).
    stem, block, between = 6, 24, 2
    expected, stride = 1 + stem, 4
    for stage, blocks in enumerate(VARIANTS["b1"].layers):
        expected += (stage > 0) * between * stride // 2 + blocks * block * stride
        stride *= 2
    network = VAN(replace(VARIANTS["b1"], channels=(2, 2, 3, 3))).eval().requires_grad_(False)
    (field,) = receptive_fields(
        network, lambda copied, images: [copied.forward_features(images)], (224, 224)
    )
    assert field.size == (expected, expected)
    assert field.stride == (32, 32)
