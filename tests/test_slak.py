"""SLaK: a block against one written by hand, and its field against arithmetic."""

from __future__ import annotations

import numpy as np
import torch
from reference import depthwise_by_hand, gelu_by_hand, pointwise_by_hand, randomise

from erf_tools.fields.dependency import receptive_fields
from erf_tools.models.slak import VARIANTS, CrossKernelConv, SLaK, SLaKBlock, SLaKVariant


def test_a_block_is_what_the_paper_describes() -> None:
    block = randomise(SLaKBlock(3, 11, 5, rate=0.0, merged=False).double())
    state = {name: value.numpy() for name, value in block.state_dict().items()}
    maps = np.random.default_rng(0).normal(size=(3, 14, 17))

    out = np.zeros_like(maps)
    for name, shape in (("LoRA1", (11, 5)), ("LoRA2", (5, 11)), ("small_conv", (5, 5))):
        part = f"large_kernel.{name}"
        assert state[f"{part}.conv.weight"].shape[2:] == shape
        shift, scale, mean, variance = (
            state[f"{part}.bn.{value}"][:, None, None]
            for value in ("bias", "weight", "running_mean", "running_var")
        )
        branch = depthwise_by_hand(maps, state[f"{part}.conv.weight"])
        out += (branch - mean) / np.sqrt(variance + 1e-5) * scale + shift
    out = (out - out.mean(0)) / np.sqrt(out.var(0) + 1e-6)
    out = out * state["norm.weight"][:, None, None] + state["norm.bias"][:, None, None]
    out = gelu_by_hand(pointwise_by_hand(out, state["pwconv1.weight"], state["pwconv1.bias"]))
    out = pointwise_by_hand(out, state["pwconv2.weight"], state["pwconv2.bias"])
    expected = maps + state["gamma"][:, None, None] * out

    actual = block(torch.from_numpy(maps)[None])[0].numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def test_the_merged_kernel_is_a_cross() -> None:
    kernels = randomise(CrossKernelConv(2, 51, 5))
    kernels.reparameterize()
    weight = kernels.lkb_reparam.weight
    assert weight.shape == (2, 1, 51, 51)
    inside = torch.zeros(51, 51, dtype=torch.bool)
    inside[23:28], inside[:, 23:28] = True, True
    assert torch.equal(weight[0, 0] != 0, inside)


def test_kernels_are_an_argument() -> None:
    assert VARIANTS["t"].kernel_sizes == (51, 49, 47, 13)
    assert VARIANTS["t31"].kernel_sizes == (31, 29, 27, 13)
    assert VARIANTS["t61"].kernel_sizes == (61, 59, 57, 13)


def test_the_theoretical_field_is_the_sum_of_the_layers() -> None:
    variant = SLaKVariant((2, 2, 2, 2), (1, 2, 1, 1), (15, 13, 11, 9))
    # Patches do not overlap: 4 pixels, then 2 units; a block reaches its kernel's side less one.
    expected, stride = 4, 4
    for stage, (blocks, side) in enumerate(zip(variant.layers, variant.kernel_sizes, strict=True)):
        expected += (stage > 0) * stride // 2 + blocks * (side - 1) * stride
        stride *= 2
    (field,) = receptive_fields(
        SLaK(variant).eval().requires_grad_(False),
        lambda copied, images: [copied.forward_features(images)],
        (224, 224),
    )
    assert field.size == (expected, expected)
    assert field.stride == (32, 32)
