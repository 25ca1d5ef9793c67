"""UniRepLKNet: a block against one written by hand, its branches, its field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from reference import depthwise_by_hand, gelu_by_hand, pointwise_by_hand, randomise

from erf_tools.fields.dependency import receptive_fields
from erf_tools.models.unireplknet import VARIANTS, UniRepLKNet, UniRepLKNetBlock


def test_a_block_is_what_the_paper_describes() -> None:
    block = randomise(UniRepLKNetBlock(4, 13, rate=0.0).double())
    state = {name: value.numpy() for name, value in block.state_dict().items()}
    maps = np.random.default_rng(0).normal(size=(4, 15, 18))

    def normalised(values: np.ndarray, name: str) -> np.ndarray:
        shift, scale, mean, variance = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("bias", "weight", "running_mean", "running_var")
        )
        return (values - mean) / np.sqrt(variance + 1e-5) * scale + shift

    out = normalised(depthwise_by_hand(maps, state["dwconv.lk_origin.weight"]), "dwconv.origin_bn")
    for side, dilation in ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)):
        name = f"k{side}_{dilation}"
        branch = depthwise_by_hand(maps, state[f"dwconv.dil_conv_{name}.weight"], None, dilation)
        out = out + normalised(branch, f"dwconv.dil_bn_{name}")
    out = normalised(out, "norm")
    means = out.mean((1, 2), keepdims=True)
    squeezed = pointwise_by_hand(means, state["se.down.weight"], state["se.down.bias"])
    excited = pointwise_by_hand(np.maximum(squeezed, 0), state["se.up.weight"], state["se.up.bias"])
    out = out / (1 + np.exp(-excited))
    out = gelu_by_hand(pointwise_by_hand(out, state["pwconv1.1.weight"], state["pwconv1.1.bias"]))
    norms = np.sqrt((out**2).sum((1, 2)))
    response = (norms / (norms.mean() + 1e-6))[:, None, None]
    gamma, beta = (state[f"act.1.{part}"].reshape(-1, 1, 1) for part in ("gamma", "beta"))
    out = (gamma * response + 1) * out + beta
    out = normalised(pointwise_by_hand(out, state["pwconv2.0.weight"]), "pwconv2.2")
    expected = maps + state["gamma"][:, None, None] * out

    images = torch.from_numpy(maps)[None]
    np.testing.assert_allclose(block(images)[0].numpy(), expected, rtol=1e-11, atol=1e-11)
    block.reparameterize()
    np.testing.assert_allclose(block(images)[0].numpy(), expected, rtol=1e-11, atol=1e-11)


def test_kernel_sizes_are_the_published_ones() -> None:
    assert VARIANTS["a"].kernel_sizes(2) == [13] * 6
    assert VARIANTS["t"].kernel_sizes(2) == [13, 3] * 9
    assert VARIANTS["s"].kernel_sizes(2) == [13, 3, 3] * 9
    for variant in VARIANTS.values():
        assert set(variant.kernel_sizes(0)) == {3}
        assert set(variant.kernel_sizes(1)) == set(variant.kernel_sizes(3)) == {13}


def test_every_pixel_reaches_every_unit_through_squeeze_and_excitation() -> None:
    network = UniRepLKNet(replace(VARIANTS["a"], width=4, layers=(0, 0, 0, 1)))
    (field,) = receptive_fields(
        network.eval().requires_grad_(False),
        lambda copied, images: [copied.forward_features(images)],
        (96, 96),
    )
    assert field.unbounded
    assert field.stride == (32, 32)
    # Without: two 3x3 in the stem, three between stages, and 13x13 at stride 32.
    without = 1 + 2 * (1 + 2) + 2 * (4 + 8 + 16) + 12 * 32
    assert field.last[0] - field.first[0] + 1 == without
