"""WTConvNeXt: a block against one written by hand, and its reach against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import depthwise_by_hand, gelu_by_hand, pointwise_by_hand, randomise
from torch import nn

from erf_tools.models.wtconvnext import WaveletConv, WTConvNeXtBlock


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
