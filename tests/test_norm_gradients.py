"""Gradients of normalisations, which torch misreads where one image lies in memory in odd ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.erf.passes import Pass
from erf_tools.features.taps import Tap
from erf_tools.kernels.norm_gradients import RightNormGradients

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch": nn.BatchNorm2d(8).eval(),
    "instance": nn.InstanceNorm2d(8),
    "batch, by function": lambda maps: F.batch_norm(maps, torch.zeros(8), torch.ones(8)),
    "instance, by function": torch.nn.functional.instance_norm,
}
#: Strides of a gradient ``[1, 8, 4, 4]``.
STRIDES = {
    "channels first": (128, 16, 4, 1),
    "channels last": (128, 1, 32, 8),
    "channels last, a batch of channels": (8, 1, 32, 8),
    "channels last, one for all": (0, 1, 32, 8),
}


@pytest.mark.parametrize("own", STRIDES.values(), ids=STRIDES)
@pytest.mark.parametrize("strides", STRIDES.values(), ids=STRIDES)
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_a_gradient_is_the_same_wherever_it_and_the_maps_lie(
    norm: Callable[[Tensor], Tensor], strides: tuple[int, ...], own: tuple[int, ...]
) -> None:
    images = torch.randn(128).as_strided((1, 8, 4, 4), own).requires_grad_()
    arriving = torch.randn(128).as_strided((1, 8, 4, 4), strides)
    with RightNormGradients():
        given = norm(images)
    (found,) = torch.autograd.grad(given, images, arriving)
    plain = images.detach().contiguous().requires_grad_()
    (expected,) = torch.autograd.grad(norm(plain), plain, arriving.contiguous())
    assert torch.allclose(found, expected, atol=1e-6)


def test_maps_may_be_given_by_name() -> None:
    maps = torch.randn(1, 8, 4, 4)
    with RightNormGradients():
        given = F.batch_norm(input=maps, running_mean=torch.zeros(8), running_var=torch.ones(8))
    assert torch.allclose(given, maps, atol=1e-4)


class _Tokens(nn.Module):
    """A normalised map that becomes tokens, as patches of hybrid networks do."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), norm
        self.last = nn.LayerNorm(8)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.norm(self.stem(images)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _MapsOfTokens(nn.Module):
    """Tokens that are normalised as a map, block by block."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.stem, self.norm, self.last = nn.Conv2d(3, 8, 3, padding=1), norm, nn.Linear(8, 8)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).mT
        for _ in range(2):
            normed = self.norm(tokens.mT.reshape(len(tokens), 8, *images.shape[2:]))
            tokens = tokens + self.last(normed.flatten(2).mT).relu()
        return self.norm(tokens.mT.reshape(len(tokens), 8, *images.shape[2:]))


@pytest.mark.parametrize("kind", [_Tokens, _MapsOfTokens])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True)])
def test_a_pass_has_the_gradient_that_differences_have(
    norm: nn.Module, kind: type[nn.Module]
) -> None:
    """Central differences in float64, along one direction, of a unit before tokens."""
    torch.manual_seed(0)
    network = kind(norm).double().eval().requires_grad_(False)
    images, step = torch.randn(2, 1, 3, 16, 16, dtype=torch.float64)

    def unit(shown: Tensor) -> Tensor:
        (features,) = Pass(network, shown).features([Tap("", "NCHW")])
        return features[0, ::2, 8, 8].relu().sum()

    (gradient,) = torch.autograd.grad(unit(images.requires_grad_()), images)
    with torch.no_grad():
        measured = (unit(images + 1e-6 * step) - unit(images - 1e-6 * step)) / 2e-6
    assert float((gradient * step).sum()) == pytest.approx(float(measured), rel=1e-6)
