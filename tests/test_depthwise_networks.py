"""The plain networks: that their closed form is a mixture, and that the library measures it."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
import pytest
import torch

import erf_tools
from analyses.depthwise_networks import (
    WIRINGS,
    Block,
    DepthwiseNetwork,
    Wiring,
    depth_distribution,
    expected_map,
    shares,
)
from erf_tools.erf.measures import measure
from erf_tools.erf.measures.families.squares import effective_side
from erf_tools.erf.measures.radial import radial_profile


def test_the_distribution_is_that_of_all_subsets_of_blocks() -> None:
    block_shares = [0.5, 0.2, 0.9, 1.0]
    expected = np.zeros(5)
    for passed in product((0, 1), repeat=4):
        expected[sum(passed)] += np.prod(
            [
                share if taken else 1 - share
                for taken, share in zip(passed, block_shares, strict=True)
            ]
        )
    assert depth_distribution(block_shares) == pytest.approx(expected)


def test_normalised_branches_add_one_unit_of_variance_each() -> None:
    stream = 1.0
    for share in shares("normalised", 6):
        assert share == pytest.approx(1 / (stream + 1))
        stream += 1


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("small_kernel", [None, 3])
def test_values_and_gradients_keep_their_mean_square(
    wiring: Wiring, small_kernel: int | None
) -> None:
    torch.manual_seed(0)
    for share in set(shares(wiring, 2)):
        block = Block(256, 7, share, small_kernel)
        stream = torch.randn(2, 256, 19, 19, requires_grad=True)
        out = block(stream)
        inner = out.detach()[..., 3:-3, 3:-3]
        assert float(inner.square().mean()) == pytest.approx(1, rel=0.1)
        gradient = torch.zeros_like(out)
        gradient[..., 9, 9] = torch.randn(2, 256)
        (back,) = torch.autograd.grad(out, stream, gradient)
        kept = back.square().sum() / gradient.square().sum()
        assert float(kept) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("small_kernel", [None, 3])
def test_the_map_is_the_mixture_over_all_paths(small_kernel: int | None) -> None:
    """Against a convolution of the squared map, block by block: no expansion, no binomials."""
    block_shares, side = [0.5, 1 / 3, 1.0], 31
    mean_square = np.zeros((side, side))
    mean_square[side // 2, side // 2] = 1
    for share in block_shares:
        spread = np.zeros_like(mean_square)
        for taps, weight in ((7, 0.5), (small_kernel, 0.5)) if small_kernel else ((7, 1.0),):
            reach = taps // 2
            for down, across in product(range(-reach, reach + 1), repeat=2):
                rolled = np.roll(mean_square, (down, across), (0, 1))
                spread += weight * rolled / taps**2
        mean_square = (1 - share) * mean_square + share * spread
    found = expected_map(7, block_shares, side, small_kernel)
    assert found == pytest.approx(np.sqrt(mean_square) / np.sqrt(mean_square).sum(), abs=1e-12)


def test_without_a_shortcut_it_is_the_gaussian_of_luo_2016() -> None:
    """The square of the map has the variance n (k ** 2 - 1) / 12 along each axis."""
    squared = expected_map(5, shares("plain", 12), 101) ** 2
    found = measure(squared)
    assert (found.sigma_y, found.sigma_x) == pytest.approx([sqrt(12 * 24 / 12)] * 2)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_the_library_measures_the_closed_form(wiring: Wiring) -> None:
    maps = [
        erf_tools.effective_receptive_field(
            DepthwiseNetwork(9, 6, wiring, seed=seed).eval(), num_images=1, resolution=96
        ).map
        for seed in range(4)
    ]
    measured = np.mean([found / found.sum() for found in maps], axis=0)
    expected = expected_map(9, shares(wiring, 6), 96)
    assert effective_side(measured) == pytest.approx(effective_side(expected), abs=2.1)
    ours, theirs = (radial_profile(found).mean[1:25] for found in (measured, expected))
    assert np.log(ours) == pytest.approx(np.log(theirs), abs=0.35)
    wrong = {"plain": "residual", "residual": "normalised", "normalised": "plain"}
    other = radial_profile(expected_map(9, shares(wrong[wiring], 6), 96)).mean[1:25]
    assert np.abs(np.log(ours) - np.log(other)).max() > 0.7


def test_a_seed_gives_the_same_network_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (DepthwiseNetwork(3, 2, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
