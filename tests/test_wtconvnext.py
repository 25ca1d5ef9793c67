"""WTConvNeXt: a block against one written by hand, and its reach against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import depthwise_by_hand, gelu_by_hand, pointwise_by_hand, randomise
from torch import Tensor, nn

from erf_tools.kernels.folding import folded
from erf_tools.kernels.haar import from_bands, to_bands
from erf_tools.models.wtconvnext import (
    FusedWaveletConv,
    WaveletConv,
    WTConvNeXt,
    WTConvNeXtBlock,
    WTConvNeXtVariant,
)


def randomised(module: nn.Module) -> nn.Module:
    """Random values for all but the wavelets."""
    filters = {name: value.clone() for name, value in module.state_dict().items() if "wt_" in name}
    randomise(module).load_state_dict(filters, strict=False)
    return module


def haar(maps: np.ndarray) -> np.ndarray:
    """Sub-bands ``[C, 4, H / 2, W / 2]``: means, differences of rows, of columns, of both."""
    top, bottom = maps[:, 0::2], maps[:, 1::2]
    rows = ((top + bottom) / np.sqrt(2), (top - bottom) / np.sqrt(2))
    columns = [
        [(part[..., 0::2] + sign * part[..., 1::2]) / np.sqrt(2) for part in rows]
        for sign in (1, -1)
    ]
    return np.stack([*columns[0], *columns[1]], axis=1)


def inverse_haar(bands: np.ndarray) -> np.ndarray:
    mean, row, column, both = bands.transpose(1, 0, 2, 3)
    out = np.zeros((len(bands), 2 * bands.shape[2], 2 * bands.shape[3]))
    for y in (0, 1):
        for x in (0, 1):
            value = mean + (-1) ** y * row + (-1) ** x * column + (-1) ** (x + y) * both
            out[:, y::2, x::2] = value / 2
    return out


def test_haar_by_hand_is_orthonormal() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 6, 8))
    np.testing.assert_allclose(inverse_haar(haar(maps)), maps)
    np.testing.assert_allclose((haar(maps) ** 2).sum(), (maps**2).sum())


@pytest.mark.parametrize("size", [(16, 24), (13, 18), (5, 3)])
def test_a_block_is_what_the_paper_describes(size: tuple[int, int]) -> None:
    block = randomised(WTConvNeXtBlock(3, 5, levels=3, rate=0.0).double())
    state = {name: value.numpy() for name, value in block.state_dict().items()}
    maps = np.random.default_rng(0).normal(size=(3, *size))

    def of_bands(values: np.ndarray, level: int) -> np.ndarray:
        channels, height, width = values.shape
        even = np.pad(values, ((0, 0), (0, height % 2), (0, width % 2)))
        bands = haar(even)
        weight = state[f"conv_dw.wavelet_convs.{level}.weight"]
        out = depthwise_by_hand(bands.reshape(4 * channels, *bands.shape[2:]), weight)
        out = (out * state[f"conv_dw.wavelet_scale.{level}.weight"][0]).reshape(bands.shape)
        if level < 2:
            out[:, 0] += of_bands(bands[:, 0], level + 1)
        return inverse_haar(out)[:, :height, :width]

    base = depthwise_by_hand(
        maps, state["conv_dw.base_conv.weight"], state["conv_dw.base_conv.bias"]
    )
    out = base * state["conv_dw.base_scale.weight"][0] + of_bands(maps, 0)
    out = (out - out.mean(0)) / np.sqrt(out.var(0) + 1e-6)
    out = out * state["norm.weight"][:, None, None] + state["norm.bias"][:, None, None]
    out = gelu_by_hand(pointwise_by_hand(out, state["mlp.fc1.weight"], state["mlp.fc1.bias"]))
    out = pointwise_by_hand(out, state["mlp.fc2.weight"], state["mlp.fc2.bias"])
    expected = maps + state["gamma"][:, None, None] * out

    actual = block(torch.from_numpy(maps)[None])[0].numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("levels", "position"), [(0, 40), (1, 40), (3, 45), (5, 200)])
def test_a_unit_reaches_five_blocks_of_the_coarsest_level(levels: int, position: int) -> None:
    kernels = randomised(WaveletConv(1, 5, levels).double())
    row = torch.zeros(1, 1, 2, 416, dtype=torch.float64, requires_grad=True)
    kernels(row)[0, 0, 0, position].backward()
    reached = row.grad.abs().sum((0, 1, 2)).nonzero().flatten()  # type: ignore[union-attr]
    block = 2**levels
    first = position // block * block - 2 * block
    assert (int(reached.min()), int(reached.max())) == (first, first + 5 * block - 1)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_sums_are_twice_the_wavelets(memory_format: torch.memory_format) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 6, 8))
    expected = 2 * np.stack([haar(one).swapaxes(0, 1) for one in maps])
    bands, means = to_bands(torch.from_numpy(maps).contiguous(memory_format=memory_format))
    assert bands.is_contiguous(memory_format=memory_format)
    np.testing.assert_allclose(bands.unflatten(1, (4, 3)), expected, atol=1e-14)
    np.testing.assert_allclose(means, expected[:, 0], atol=1e-14)
    back = from_bands(bands, 3 * means)
    assert back.is_contiguous(memory_format=memory_format)
    expected[:, 0] *= 4
    by_hand = [2 * inverse_haar(one.swapaxes(0, 1)) for one in expected]
    np.testing.assert_allclose(back, np.stack(by_hand), atol=1e-14)


@pytest.mark.parametrize("uses", ["both", "bands", "means"])
def test_gradients_of_sums_are_those_of_differences_in_value(uses: str) -> None:
    maps = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    more = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)

    def there_and_back(features: Tensor, added: Tensor) -> Tensor:
        bands, means = to_bands(features)
        if uses == "means":
            return means.square()
        return from_bands(bands.square(), means.sin() + added if uses == "both" else added)

    assert torch.autograd.gradcheck(there_and_back, (maps, more))


@pytest.mark.parametrize("size", [(16, 24), (13, 18), (5, 3)])
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_fused_kernels_give_the_same(levels: int, size: tuple[int, int]) -> None:
    kernels = randomised(WaveletConv(3, 5, levels).double()).eval()
    fused = kernels.fuse()
    assert isinstance(fused, FusedWaveletConv)
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    for memory_format in (torch.contiguous_format, torch.channels_last):
        maps = torch.randn(2, 3, *size, dtype=torch.float64)
        maps = maps.contiguous(memory_format=memory_format).requires_grad_()
        outputs = [form(maps) for form in (kernels, fused)]
        torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
        along = torch.randn_like(outputs[0])
        gradients = [torch.autograd.grad(output, maps, along)[0] for output in outputs]
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_wavelets_other_than_haars_stay() -> None:
    kernels = randomised(WaveletConv(3, 5, levels=2))
    with torch.no_grad():
        kernels.iwt_filter[5] += 0.01
    assert kernels.fuse() is kernels


def test_a_network_is_measured_by_fused_kernels() -> None:
    variant = WTConvNeXtVariant((4, 5, 6, 7), (1, 1, 1, 1))
    network = randomised(WTConvNeXt(variant)).eval().requires_grad_(False)
    names = list(network.state_dict())

    def read(net: nn.Module, shown: Tensor) -> list[Tensor]:
        return [net.forward_features(shown)]

    whole, _ = folded(network, read, (96, 96))
    fused = [part for part in whole.modules() if isinstance(part, FusedWaveletConv)]
    assert len(fused) == 4
    assert list(network.state_dict()) == names
    images = torch.randn(1, 3, 75, 96)
    (found,), (expected,) = read(whole, images), read(network, images)
    assert (found - expected).norm() <= 1e-5 * expected.norm()
