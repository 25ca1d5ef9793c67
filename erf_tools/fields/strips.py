"""Running a network on images with NaN in them, and counting the units that become NaN."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import nan

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.features.dataflow import Read
from erf_tools.features.inputs import input_like
from erf_tools.fields.locality import gates_closed, mixing_undone, shifting_noted
from erf_tools.fields.mixing import mixing_noted
from erf_tools.fields.safety import watched

#: Pixels at the start of a strip that are NaN where parts show whether they mix all positions.
_START = 64


@dataclass(frozen=True)
class StripPass:
    """What a pass on a strip with NaN at both ends has shown of each of M maps.

    Attributes:
        length: of the strip, in pixels.
        before: pixels that were NaN at its start.
        after: pixels that were NaN at its end.
        units: ``[M]``, units along the strip.
        counts: ``[M, 2]``, units that became NaN, from the start and from the end.
        finite: ``[M]``, whether the central unit did not become NaN; if it did, counts mean
            nothing.
    """

    length: int
    before: int
    after: int
    units: np.ndarray
    counts: np.ndarray
    finite: np.ndarray


class NaNWithoutCauseError(Exception):
    """A map has NaN in it although the image has none."""


class Strips:
    """A network that is run on noise with NaN in it.

    Args:
        module: a copy to be used up.
        read: runs it and returns its maps.
        size: height and width of the images to be analysed.
        undone: names of parts that are replaced by the identity.
    """

    def __init__(
        self,
        module: nn.Module,
        read: Read,
        size: tuple[int, int],
        undone: Collection[str] = (),
    ) -> None:
        self.size = size
        self._module = module.eval()
        self._read = read
        self._watched = False
        self._undone = partial(mixing_undone, undone=undone) if undone else nullcontext
        self._like = input_like(module)

    def shifting(self) -> set[str]:
        """Return the names of parts that must not be undone; see :mod:`erf_tools.fields.locality`.

        They are seen in a pass on noise, gates closed.
        """
        with gates_closed(self._module), shifting_noted(self._module) as names:
            self._maps(self._noise(*self.size))
        return names

    def mixing(self, thickness: int, length: int, but: Collection[str]) -> set[str]:
        """Return the names of parts that mix all positions; see :mod:`erf_tools.fields.mixing`.

        They are seen on a strip along x whose start is NaN, gates closed.

        Args:
            thickness: of the strip, in pixels.
            length: of the strip, in pixels.
            but: names of parts that are not among them.
        """
        images = self._noise(thickness, length)
        images[..., :_START] = nan
        with gates_closed(self._module), mixing_noted(self._module, but) as names:
            self._maps(images, watch=True)
        return names

    def shapes(self) -> list[tuple[int, int]]:
        """Return rows and columns of each map of an image.

        Raises:
            NaNWithoutCauseError: a map of noise without NaN has some.
        """
        spoilt = [self._spoilt(features) for features in self._maps(self._noise(*self.size))]
        if any(units.any() for units in spoilt):
            raise NaNWithoutCauseError("some of its values are no numbers for noise")
        return [(units.shape[0], units.shape[1]) for units in spoilt]

    def run_with_pixels(self, rows: range, columns: range) -> tuple[np.ndarray, np.ndarray]:
        """Run it on an image with NaN in these pixels.

        Returns:
            whether any unit, and the central one, became NaN: ``[M]`` each.

        Raises:
            UnsafeProbeError: see :mod:`erf_tools.fields.safety`.
        """
        images = self._noise(*self.size)
        images[:, :, rows.start : rows.stop, columns.start : columns.stop] = nan
        spoilt = [self._spoilt(features) for features in self._maps(images, watch=True)]
        centers = [units[tuple(np.array(units.shape) // 2)] for units in spoilt]
        return np.array([units.any() for units in spoilt], bool), np.array(centers, bool)

    def run_with_block(self, watch: bool = True) -> tuple[list[np.ndarray], tuple[range, range]]:
        """Run it on an image with a block of NaN in its middle, gates closed.

        Args:
            watch: see :mod:`erf_tools.fields.safety`; not of a network that was watched before.

        Returns:
            which units ``[H, W]`` of each map became NaN, and rows and columns of the block.
        """
        rows, columns = (
            range(side // 2 - side // 7, side // 2 + side // 7 + 1) for side in self.size
        )
        images = self._noise(*self.size)
        images[:, :, rows.start : rows.stop, columns.start : columns.stop] = nan
        with gates_closed(self._module):
            maps = self._maps(images, watch)
        return [self._spoilt(features) for features in maps], (rows, columns)

    def run_on_strip(
        self, axis: int, thickness: int, length: int, before: int, after: int, closed: bool = True
    ) -> StripPass:
        """Run it on a strip along ``axis`` (0 is y), with or without gates closed.

        The first pass with NaN on strips is watched, and each with gates open: what is behind a
        gate sees no NaN before.

        Raises:
            NaNWithoutCauseError: a map of a strip without NaN has some.
            UnsafeProbeError: see :mod:`erf_tools.fields.safety`.
        """
        images = self._noise(thickness, length)
        images[..., :before] = nan
        images[..., length - after :] = nan
        if axis == 0:
            images = images.transpose(2, 3)
        spoiling = before + after > 0
        with gates_closed(self._module) if closed else nullcontext():
            maps = self._maps(images, watch=spoiling and not (self._watched and closed))
        self._watched |= spoiling
        units, counts, finite = [], [], []
        for features in maps:
            spoilt = np.logical_or.reduce(self._spoilt(features), axis=1 - axis)
            if not spoiling and spoilt.any():
                raise NaNWithoutCauseError("some of its values are no numbers for noise")
            middle = len(spoilt) // 2
            left, right = np.flatnonzero(spoilt[:middle]), np.flatnonzero(spoilt[:middle:-1])
            units.append(len(spoilt))
            counts.append([left[-1] + 1 if len(left) else 0, right[-1] + 1 if len(right) else 0])
            finite.append(not spoilt[middle])
        return StripPass(
            length,
            before,
            after,
            np.array(units, dtype=int),
            np.array(counts, dtype=int).reshape(-1, 2),
            np.array(finite, dtype=bool),
        )

    def _noise(self, height: int, width: int) -> Tensor:
        noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        return noise.to(self._like)

    def _maps(self, images: Tensor, watch: bool = False) -> Sequence[Tensor]:
        # Large depthwise kernels are several times faster in this layout, and torch's Winograd
        # kernel for ARM does not take it.
        images = images.contiguous(memory_format=torch.channels_last)
        with self._undone(self._module), watched() if watch else nullcontext():
            return self._read(self._module, images)

    @staticmethod
    def _spoilt(features: Tensor) -> np.ndarray:
        """Return which units ``[H, W]`` of a map have become NaN."""
        if not features.numel():
            raise ValueError("the feature map is empty")
        return features.amax(dim=1)[0].isnan().cpu().numpy()
