"""Whether the units of a map lie in the order of the image: four images and a rank test.

The images are A, B, and two that are put together of both, one with A in its upper half, one with A
in its left half. Where such an image shows A, a unit that lies where it is read from has nearly the
value that it has for A; elsewhere, nearly the value that it has for B. Each unit is compared with
itself alone, so that this holds even where attention spreads every change over all units. It does
not hold where tokens are in another order, where windows or tokens come before images, or where
channels are taken for positions.

Some maps cannot tell: each unit sees everything alike, or differences are lost in rounding.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from erf_tools.features.inputs import input_like

#: How many images a network is tried on.
IMAGES = 4

#: Share of pairs of units, one in A's half and one in B's, that are ordered as they should be: half
#: of them by chance.
_RIGHT, _CERTAIN = 0.75, 0.9

#: Standard deviation over units of the logarithm of "nearer to A than to B", in times: with less,
#: units do not differ enough to tell where they are. Rounding alone makes 0.2 of it. Chance makes
#: the inverse of the square root of the number of channels, or some times that where channels are
#: alike: units are out of order only if they differ by more.
_TELLING, _BY_CHANCE = 0.25, 4

#: Units in each half; fewer can be out of order by chance.
_FEWEST = 8

#: Rows, and columns, of a map that nobody supposes: of fewer, a few channels can be in order by
#: chance.
_FEWEST_ROWS = 4

#: Where that logarithm is cut off: beyond, a unit sees one image only.
_CUT = 10.0

Verdict = Literal["certain", "right", "nothing to see", "wrong"]

#: Whether the shape of an output suggests how it is read, or nothing but the order of its units:
#: of positions one behind the other, or of two axes as rows and columns.
Ground = Literal["shape", "order of positions", "order of axes"]


def trial_images(network: nn.Module, size: tuple[int, int]) -> Tensor:
    """Return A, B, A above B and A left of B: ``[4, 3, height, width]``."""
    noise = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    one, other = noise[0] + 1, noise[1] - 1
    height, width = size
    above = torch.arange(height)[:, None] < height / 2
    before = torch.arange(width) < width / 2
    images = [one, other, torch.where(above, one, other), torch.where(before, one, other)]
    return torch.stack(images).to(input_like(network))


def verdict_of(map_: Tensor, guessed: bool = False, ground: Ground = "shape") -> Verdict:
    """Return whether units ``[4, C, H, W]`` of the trial images lie where they are read from.

    Args:
        map_: what the trial images give, as it is read.
        guessed: from which token on it is read is a guess. If that is one too far, all units lie
            one aside, and those of the last column at the other end of the image: the outermost
            ones have to be certain.
        ground: why it is read so. Without a shape that suggests it, order is certain only where
            there are enough rows and columns. Two axes can be in order by chance where neighbours
            are alike, unless units differ by more than chance makes; positions one behind the
            other, which are in the order of rows and of columns at once, hardly can.
    """
    if map_.layout != torch.strided or not map_.is_floating_point():
        return "nothing to see"  # what is measured later says what is wrong with it
    one, other, above, before = map_
    telling = max(_TELLING, _BY_CHANCE / len(one) ** 0.5)
    least = {"shape": _TELLING, "order of positions": 0.0, "order of axes": telling}[ground]
    if ground != "shape" and min(map_.shape[2:]) < _FEWEST_ROWS:
        return "nothing to see"
    verdicts: set[Verdict] = set()
    for mixed, axis in ((above, 0), (before, 1)):
        nearness = (mixed - other).norm(dim=0).log() - (mixed - one).norm(dim=0).log()
        units = nearness.movedim(axis, 0).double().clamp(-_CUT, _CUT)
        half = len(units) // 2
        # Of an odd number of rows, the middle one has both.
        verdicts.add(_ordered(units[:half], units[len(units) - half :], telling, least))
        if guessed and _ordered(units[:1], units[-1:], telling, least) != "certain":
            return "wrong"
    for verdict in ("wrong", "nothing to see", "right"):
        if verdict in verdicts:
            return verdict
    return "certain"


def _ordered(upper: Tensor, lower: Tensor, telling: float, least: float) -> Verdict:
    """Return whether values are larger than others, as a rank test does.

    That they are not is told only where they spread by more than ``telling``, and that they are is
    certain only where they spread by ``least``. NaN tells nothing.
    """
    upper, lower = upper[~upper.isnan()], lower[~lower.isnan()]
    if not len(upper) or not len(lower):
        return "nothing to see"
    ranked = lower.sort().values
    smaller = torch.searchsorted(ranked, upper) + torch.searchsorted(ranked, upper, right=True)
    share = float(smaller.double().mean()) / (2 * len(lower))
    spread = float(torch.cat([upper, lower]).std())
    if share >= _CERTAIN and spread >= least:
        return "certain"
    if share >= _RIGHT:
        return "right"
    told = spread >= telling and min(len(upper), len(lower)) >= _FEWEST
    return "wrong" if told else "nothing to see"
