"""Layers that only spread NaN, against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.fields.spreading import SpreadingOnly


def spoilt(shape: tuple[int, ...], share: float) -> Tensor:
    """Noise with NaN in a share of its values."""
    return torch.randn(shape).where(torch.rand(shape) >= share, torch.nan)


def form(values: Tensor) -> tuple[object, ...]:
    contiguous = [
        values.is_contiguous(memory_format=memory_format)
        for memory_format in (torch.contiguous_format, torch.channels_last)
    ]
    return values.shape, values.dtype, *contiguous


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    channels=st.sampled_from([(6, 4, 1), (6, 4, 2), (6, 6, 3), (6, 6, 6), (6, 12, 6)]),
    kernel=pairs(1, 5),
    stride=pairs(1, 3),
    padding=pairs(0, 4) | st.sampled_from(["same", "valid"]),
    dilation=pairs(1, 2),
    whole=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_convolutions_spread_nan_as_torch_does(
    channels: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] | str,
    dilation: tuple[int, int],
    whole: bool,
    channels_last: bool,
    seed: int,
) -> None:
    """NaN is in the whole of a position or in some of its channels; the form is the same too."""
    assume(padding != "same" or stride == (1, 1))
    torch.manual_seed(seed)
    inputs, outputs, groups = channels
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups)
    images = torch.randn(1, inputs, 9, 11)
    images += spoilt((1, 1, 9, 11), 0.04) if whole else spoilt(images.shape, 0.01)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    # Torch's own kernels, as in the search.
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        expected = layer(images)
        with SpreadingOnly():
            found = layer(images)
    assert torch.equal(found.isnan(), expected.isnan())
    assert form(found) == form(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_linear_layers_spread_nan_over_features_alone(dtype: torch.dtype) -> None:
    layer, tokens = nn.Linear(8, 5).to(dtype), spoilt((2, 40, 8), 0.05).to(dtype)
    with torch.no_grad():
        expected = layer(tokens)
        with SpreadingOnly():
            found = layer(tokens)
    assert 0 < found.isnan().sum() < found.numel()
    assert torch.equal(found.isnan(), expected.isnan())
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.is_contiguous()


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, groups=2), nn.Linear(7, 6)], ids=str)
def test_weights_that_depend_on_the_image_spread_nan_too(layer: nn.Module, part: str) -> None:
    """As those of dynamic convolutions and hypernetworks do."""
    images = torch.randn(1, 4, 6, 7)
    weights = dict(layer.named_parameters())
    with torch.no_grad():
        weights[part][3].view(-1)[0] = torch.nan
        expected = layer(images)
        with SpreadingOnly():
            found = layer(images)
    assert found.isnan().any()
    assert not found.isnan().all()
    assert torch.equal(found.isnan(), expected.isnan())


def test_zeros_do_not_stop_it() -> None:
    layer = nn.Conv2d(3, 2, 5, padding=2)
    nn.init.zeros_(layer.weight)
    images = torch.zeros(1, 3, 9, 9)
    images[0, 1, 4, 4] = torch.nan
    with torch.no_grad(), SpreadingOnly():
        assert layer(images).isnan().sum() == 2 * 5 * 5


def test_values_differ_from_place_to_place_and_stay_small() -> None:
    """A network that looks where its own values point to must not seem to be shift-invariant."""
    network = nn.Sequential(*[nn.Conv2d(8, 8, 3, padding=1) for _ in range(100)])
    with torch.no_grad(), SpreadingOnly():
        values = network(100 * torch.randn(1, 8, 20, 20))
    assert values.abs().max() <= 1
    assert values.std(dim=(2, 3)).min() > 0.01


def test_sizes_that_do_not_fit_are_refused_as_ever() -> None:
    with torch.no_grad(), SpreadingOnly():
        with pytest.raises(RuntimeError, match="channels"):
            F.conv2d(torch.zeros(1, 4, 8, 8), torch.zeros(2, 3, 3, 3))
        with pytest.raises(RuntimeError, match="Kernel size"):
            F.conv2d(torch.zeros(1, 3, 2, 8), torch.zeros(2, 3, 3, 3))
        with pytest.raises(RuntimeError, match="shapes"):
            F.linear(torch.zeros(4, 8), torch.zeros(2, 3))
