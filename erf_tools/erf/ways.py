"""The ways in which maps can be computed, when a faster one pays, and the proof that it is right.

*Plain* is each image by itself, by the network as it is. Norms folded into weights, computing only
what the units see, and several images at once give the same to rounding in most networks. They do
not where a network uses batch statistics at inference, tells its units where they are, or scales
gradients in a hook. So whatever is used is compared with plain maps of two of the images that are
measured, at their full size; if it differs, it is not used for any of them.

Rounding is told from a fault by both the units' values and the maps. Values differ by about 1e-5 of
what a channel varies by; a network that computes something else differs by far more in some of its
channels, whatever the others are. A map can differ by up to about 5e-3, where rounding carries some
of the values over the zero of a ReLU; a smaller difference of the map alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from erf_tools.erf.units import Position

#: With fewer images nothing but the plain way is prepared.
FEW = 8

#: How many plain maps two checks and the preparation of a faster way take the time of. (That of
#: images together takes up to three more where nothing else is prepared, which is not counted.)
_COST = 3.0

#: Share of the plain time that remains, roughly, where norms are folded or images taken together.
_REMAINING = {"folded": 0.85, "together on a CPU": 0.85, "together on CUDA": 0.3}

#: Largest differences in units of the arithmetic's rounding: of a value, relative to its channel;
#: of all channels' values, root mean square; of a map, in norm; of a part of a map, in norm.
_VALUE, _VALUES, _MAP, _PART = 1e4, 1e3, 2e5, 2e6

#: A map is compared in as many parts along each axis; fainter ones than this share are left out.
_PARTS, _FAINT = 8, 1e-4

#: Share of what channels vary by in the median below which one does not vary, and how many times
#: as large as it varies a value has to be for its own rounding to count.
_CONSTANT, _LARGE = 0.05, 100.0


@dataclass(frozen=True)
class Way:
    """How the maps of several layers are computed.

    Attributes:
        folded: by a copy of the network with parallel kernels merged and norms folded.
        cones: indices of the layers of which only what their units see is computed.
        together: several images at once.
    """

    folded: bool = False
    cones: frozenset[int] = frozenset()
    together: bool = False


PLAIN = Way()


@dataclass(frozen=True)
class UnitValues:
    """What a layer's units make of a batch of N images.

    Attributes:
        values: of the units' channels, ``[N, C, units]``.
        spread: standard deviation of each channel over the positions that were computed,
            ``[N, C]``.
    """

    values: Tensor
    spread: Tensor

    @classmethod
    @torch.no_grad()
    def read(cls, features: Tensor, positions: Sequence[Position]) -> UnitValues:
        """Read units at rows and columns of a layer's maps ``[N, C, H, W]``."""
        values = torch.stack([features[:, :, row, column] for row, column in positions], dim=2)
        return cls(values, features.flatten(2).std(dim=2, correction=0))


@dataclass(frozen=True)
class Sight(UnitValues):
    """What a layer's units see of a batch of N images.

    Attributes:
        maps: ``[N, height, width]``, by the procedure's protocol.
        further: maps by further protocols, ``[protocols, N, height, width]``.
    """

    maps: Tensor
    further: Tensor | None = None

    def of(self, index: int) -> Sight:
        """Return what is seen of one of the images."""
        chosen = slice(index, index + 1)
        further = None if self.further is None else self.further[:, chosen]
        return Sight(self.values[chosen], self.spread[chosen], self.maps[chosen], further)

    @property
    def by_protocol(self) -> Tensor:
        """All maps, ``[protocols, N, height, width]``."""
        own = self.maps[None]
        return own if self.further is None else torch.cat([own, self.further])


def pays(way: Way, images: int, inside: float, on_cuda: bool) -> bool:
    """Tell whether a way saves more than proving it takes.

    The rule uses no clock, so that a measurement is computed in the same way each time.

    Args:
        way: how maps could be computed.
        images: how many there are.
        inside: share of positions that units see, as a mean over the network's depth.
        on_cuda: whether the network is on a GPU, which one image seldom keeps busy.
    """
    remaining = inside
    if way.folded:
        remaining *= _REMAINING["folded"]
    if way.together:
        remaining *= _REMAINING["together on CUDA" if on_cuda else "together on a CPU"]
    return images * (1 - remaining) > _COST


def differs(found: Sight, plain: Sight) -> tuple[float, bool]:
    """Compare what a layer's units see of one image with the plain computation.

    Returns:
        the maps' difference relative to the plain map in norm, and whether it or the values' is
        more than rounding.
    """
    eps = torch.finfo(plain.values.dtype).eps
    pairs = list(zip(found.by_protocol, plain.by_protocol, strict=True))
    difference = max(_relative(own, other) for own, other in pairs)
    wrong = (
        not difference <= _MAP * eps
        or values_differ(found, plain)
        or not max(_of_parts(own[0], other[0]) for own, other in pairs) <= _PART * eps
    )
    return difference, wrong


def values_differ(found: UnitValues, plain: UnitValues) -> bool:
    """Tell whether what units make of one image differs from plain computation but for rounding."""
    if found.values.shape != plain.values.shape:
        return True
    eps = torch.finfo(plain.values.dtype).eps
    values = _of_values(found.values[0], plain.values[0], plain.spread[0])
    return (
        not float(values.max()) <= _VALUE * eps
        or not float(values.square().mean().sqrt()) <= _VALUES * eps
    )


def _relative(found: Tensor, plain: Tensor) -> float:
    """Return the difference in norm, relative to ``plain``; 0 of two maps that are both NaN."""
    if not plain.isfinite().all():
        return 0.0 if torch.equal(found.isfinite(), plain.isfinite()) else torch.inf
    difference, size = float((found - plain).norm()), float(plain.norm())
    if not size:
        return torch.inf if difference else 0.0
    return difference / size


def _of_values(found: Tensor, plain: Tensor, spread: Tensor) -> Tensor:
    """Return differences ``[C, units]`` of values, relative to what each channel varies by."""
    varying = spread[spread > 0]
    typical = varying.median() if len(varying) else spread.new_zeros(())
    # What is left of large values that hardly vary has been rounded as they were.
    size = plain.abs().amax(dim=1) / _LARGE
    scale = torch.maximum(torch.maximum(spread, _CONSTANT * typical), size)[:, None]
    difference = (found - plain).abs()
    same = (difference == 0) | (found.isnan() & plain.isnan())
    return torch.where(same, 0.0, difference / scale)


def _of_parts(found: Tensor, plain: Tensor) -> float:
    """Return the largest relative difference of a part of the map that is not too faint."""
    squares = torch.stack([(found - plain), plain]).double().square()[:, None]
    rows, columns = (min(_PARTS, side) for side in plain.shape)
    different, whole = F.adaptive_avg_pool2d(squares, (rows, columns))[:, 0]
    seen = whole > _FAINT**2 * whole.sum()
    return float((different[seen] / whole[seen]).max().sqrt()) if seen.any() else 0.0
