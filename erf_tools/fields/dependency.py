"""From a network to the receptive fields of its units, by exact dependency.

Input pixels are set to NaN, and the units that become NaN are those that depend on them. That holds
for any layer without a formula for it: in arithmetic NaN spreads along every path, also along one
whose weights happen to be zero. Convolutions and linear layers, which take the most time, are stood
in for by sums that spread it as they do (:mod:`erf_tools.fields.spreading`).

It needs kernels that compute a unit from its own inputs alone. Some do not: Winograd's and FFT
convolutions work on tiles of units, and oneDNN's in 16 bits multiply a neighbouring pixel by zero
where the number of channels is odd. torch takes none of these for a single channels-last image in
float32 on a CPU; elsewhere cuDNN and oneDNN are switched off, and torch's own kernels work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import gcd, lcm, nan
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.errors import ErfToolsError
from erf_tools.features.copies import probe_copy, random_states_kept
from erf_tools.features.dataflow import Read
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.fields.spreading import SpreadingOnly
from erf_tools.kernels.depthwise import exact_dependency

#: Thickness of the strips networks are run on, in pixels; the image's own side comes after these.
_THICKNESSES = (8, 32, 128)

#: Lengths of strips: the shortest, the longest, and the step that tells strides up to 32.
_SHORTEST, _LONGEST, _STEP = 512, 32768, 2304

#: No strip has more pixels than this; it bounds the length of thick ones.
_MOST_PIXELS = 2**22

#: Lengths are congruent to the image's side modulo this, because "same" padding as TensorFlow does
#: it depends on the remainder of the side by the stride.
_PERIOD = 64

#: Of pixels that are set to NaN at an end of a strip, the smallest number.
_MARGIN = 64

#: Passes at other margins, which a map that is not shift-invariant contradicts.
_CHECKS = 3

#: Stands for "no bound yet".
_FAR = 2**40


def receptive_fields(
    module: nn.Module, read: Read, size: tuple[int, int], fixed_size: bool = False
) -> list[ReceptiveField]:
    """Return the receptive fields of one or several feature maps of a network.

    Copies of the network are run, in evaluation mode, on its device and in its precision.

    Args:
        module: the network.
        read: runs a network on images ``[1, 3, h, w]`` and returns the maps ``[1, C, H, W]``.
        size: height and width of the images to be analysed, in pixels.
        fixed_size: the network takes no other size. Bounds are then not searched for.

    Returns:
        One per map, in the order of ``read``.

    Raises:
        ErfToolsError: the network cannot be copied, or not be run on such images.
    """
    like = next((weight for weight in module.parameters() if weight.is_floating_point()), None)
    dtype = torch.float32 if like is None else like.dtype
    with (
        random_states_kept(),
        _exact_kernels(dtype),
        exact_dependency(),
        SpreadingOnly(),
        torch.no_grad(),
    ):
        # What a network keeps of a pass on one size must not disturb those on another.
        for thickness in () if fixed_size else (*_THICKNESSES, None):
            network = _Network(probe_copy(module), read, size)
            try:
                return _search(network, thickness)
            except Exception:  # networks refuse a size in any way they like
                continue
        network = _Network(probe_copy(module), read, size)
        try:
            shapes, reached = network.run_with_corner(0)
            reached &= network.run_with_corner(-1)[1]
        except Exception as error:
            raise ErfToolsError(f"the network cannot be probed ({error})") from error
    return [
        ReceptiveField.tiles(shape, size, bool(every))
        for shape, every in zip(shapes, reached, strict=True)
    ]


@contextmanager
def _exact_kernels(dtype: torch.dtype) -> Iterator[None]:
    """Switch off libraries whose kernels spread NaN too far; see the top of this module."""
    cudnn, onednn = torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled
    try:
        torch.backends.cudnn.enabled = False
        torch.backends.mkldnn.enabled = onednn and dtype.itemsize > 2  # type: ignore[assignment]
        yield
    finally:
        torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled = cudnn, onednn


@contextmanager
def _gates_closed(module: nn.Module) -> Iterator[None]:
    """Keep NaN from what the network pools over all positions (squeeze-and-excitation)."""

    def hook(_part: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:] == (1, 1):
            return output.nan_to_num(0.0)
        return None

    handles = [part.register_forward_hook(hook) for part in module.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Pass:
    """What a pass on a strip with NaN at both ends has shown of each of M maps.

    Attributes:
        length: of the strip, in pixels.
        before: pixels that were NaN at its start.
        after: pixels that were NaN at its end.
        units: ``[M]``, units along the strip.
        counts: ``[M, 2]``, units that became NaN, from the start and from the end.
        finite: ``[M]``, whether the central unit did not. Otherwise counts mean nothing.
    """

    length: int
    before: int
    after: int
    units: np.ndarray
    counts: np.ndarray
    finite: np.ndarray


class _Network:
    """A network that is run on noise with NaN in it."""

    def __init__(self, module: nn.Module, read: Read, size: tuple[int, int]) -> None:
        self.size = size
        self._module = module.eval()
        self._read = read
        floating = (weight for weight in module.parameters() if weight.is_floating_point())
        self._like = next(floating, torch.zeros(()))

    def run_with_corner(self, corner: int) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Run it on an image whose first (0) or last (-1) pixel is NaN.

        Returns:
            rows and columns of each map, and whether the central unit became NaN: ``[M]``.
        """
        images = self._noise(*self.size)
        images[:, :, corner, corner] = nan
        spoilt = [self._spoilt(features) for features in self._maps(images)]
        shapes = [units.shape for units in spoilt]
        centres = [bool(units[tuple(np.array(units.shape) // 2)]) for units in spoilt]
        return shapes, np.array(centres, dtype=bool)

    def run_on_strip(
        self, axis: int, thickness: int, length: int, before: int, after: int, closed: bool = True
    ) -> _Pass:
        """Run it on a strip along ``axis`` (0 is y), with or without gates closed."""
        images = self._noise(thickness, length)
        images[..., :before] = nan
        images[..., length - after :] = nan
        if axis == 0:
            images = images.transpose(2, 3)
        with _gates_closed(self._module) if closed else nullcontext():
            maps = self._maps(images)
        units, counts, finite = [], [], []
        for features in maps:
            spoilt = np.logical_or.reduce(self._spoilt(features), axis=1 - axis)
            middle = len(spoilt) // 2
            left, right = np.flatnonzero(spoilt[:middle]), np.flatnonzero(spoilt[:middle:-1])
            units.append(len(spoilt))
            counts.append([left[-1] + 1 if len(left) else 0, right[-1] + 1 if len(right) else 0])
            finite.append(not spoilt[middle])
        return _Pass(
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

    def _maps(self, images: Tensor) -> Sequence[Tensor]:
        # Large depthwise kernels are several times faster in this layout, and torch's Winograd
        # kernel for ARM does not take it.
        return self._read(self._module, images.contiguous(memory_format=torch.channels_last))

    @staticmethod
    def _spoilt(features: Tensor) -> np.ndarray:
        """Return which units ``[H, W]`` of a map have become NaN."""
        if not features.numel():
            raise ValueError("the feature map is empty")
        return features.amax(dim=1)[0].isnan().cpu().numpy()


def _search(network: _Network, thickness: int | None) -> list[ReceptiveField]:
    """Find the fields on strips of this thickness; ``None`` is the image's own side."""
    horizontal = _Axis(network, 1, thickness)
    horizontal.search()
    vertical = _Axis(network, 0, thickness)
    vertical.confirm(horizontal)
    if (horizontal.known & ~vertical.known).any():
        vertical = _Axis(network, 0, thickness)
        vertical.search()
    reached = horizontal.reached_from_afar()
    known = horizontal.known & vertical.known
    shapes = [] if known.all() else network.run_with_corner(0)[0]
    fields = []
    for index, unbounded in enumerate(reached | vertical.endless):
        if known[index]:
            (top, bottom), (left, right) = (
                axis.low[index].tolist() for axis in (vertical, horizontal)
            )
            field = ReceptiveField(
                (int(vertical.stride[index]), int(horizontal.stride[index])),
                (top, left),
                (bottom, right),
                bool(unbounded),
                "local dependency" if unbounded else "dependency",
            )
        else:
            field = ReceptiveField.tiles(shapes[index], network.size, bool(unbounded))
        fields.append(field)
    return fields


class _Axis:
    """The search along one axis, for all maps at once.

    With the first x pixels NaN, c units become NaN: ``first + stride * (c - 1) < x`` and
    ``first + stride * c >= x``, an interval of one stride for ``first``. The other end of the strip
    gives one for ``last``. Each pass halves one map's intervals and may narrow all others.

    Attributes:
        stride: ``[M]``, in pixels.
        low: ``[M, 2]``, lower bounds of ``first`` and ``last`` of unit 0.
        high: ``[M, 2]``, upper bounds.
        sound: ``[M]``, whether nothing contradicts the map's being shift-invariant.
        endless: ``[M]``, whether NaN reached the central unit of the longest strip.
    """

    stride: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sound: np.ndarray
    endless: np.ndarray

    def __init__(self, network: _Network, axis: int, thickness: int | None) -> None:
        thickness = thickness or network.size[1 - axis]
        self._side = network.size[axis]
        self._longest = min(_LONGEST, _MOST_PIXELS // thickness)
        self._run_on_strip = partial(network.run_on_strip, axis, thickness)
        self._shortest = self._length = self._rounded(max(self._side, _SHORTEST))
        self._turn = 0

    @property
    def known(self) -> np.ndarray:
        """Whether both ends are known: ``[M]``."""
        return self.sound & (self.low == self.high).all(axis=1)

    def search(self) -> None:
        """Find strides and ends."""
        short = self._run(self._length)
        length = short.length + _STEP
        while True:
            long = self._run(length)
            step, grown = long.length - short.length, long.units - short.units
            stride = np.rint(step / np.maximum(grown, 1)).astype(int)
            # The step is `grown` strides, give or take less than one: rounding finds the stride if
            # there are twice as many of them as the stride has pixels.
            coarse = (grown > 0) & (grown * (grown - 1) < 2 * step)
            length = self._rounded(short.length + 2 * (stride[coarse].max(initial=0) + 2) ** 2)
            if not coarse.any() or length > self._longest:
                break
        self._start(stride, sound=(grown > 0) & ~coarse)
        self._length = long.length
        self._lengthen()
        self._afar = self._length
        self._shorten(long)
        self._narrow()
        for _ in range(_CHECKS):
            margin = self._margin()
            self._add(self._run(self._length, margin, margin))

    def confirm(self, other: _Axis) -> None:
        """Find which ends are those of another axis, as they are for square kernels."""
        self._start(other.stride, sound=other.known)
        self._length = self._rounded(other._length)
        self._narrow(guess=other.low)

    def reached_from_afar(self) -> np.ndarray:
        """Return whether NaN reaches the central unit through gates, across a long strip: ``[M]``.

        With gates closed it reaches none, except where ``endless``.
        """
        margin = self._margin()
        found = self._run(self._afar, margin, margin, closed=False)
        self._add(found)
        return ~found.finite

    def _start(self, stride: np.ndarray, sound: np.ndarray) -> None:
        self.stride, self.sound = stride, sound
        self.low, self.high = np.full((len(stride), 2), -_FAR), np.full((len(stride), 2), _FAR)
        self.endless = np.zeros(len(stride), dtype=bool)

    def _lengthen(self) -> None:
        """Find a length at which all maps can be seen, except for endless ones."""
        length, widest = self._length, self._widest_margin()
        while (unseen := self.sound & (self.high == _FAR).any(axis=1)).any():
            if length > self._longest:
                self.endless = unseen
                self.sound &= ~unseen
                break
            self._add(self._run(length, widest, widest))
            if (self.high[unseen] < _FAR).any():
                self._length = length
            length = self._rounded(2 * length)

    def _shorten(self, seen: _Pass) -> None:
        """Find the shortest length at which all maps can still be seen, now that they have been."""
        stride, units = self.stride[self.sound], seen.units[self.sound]
        (first, least), last = self.low[self.sound].T, self.high[self.sound, 1]
        margin = self._widest_margin() + stride  # a unit more than there has to be
        # Divisible by whatever both lengths are that the network has taken, windows for one.
        step = lcm(gcd(self._shortest, seen.length), _PERIOD)
        for length in range(self._shortest, self._length, step):
            number = units + (length - seen.length) // stride
            middle = stride * (number // 2)
            finite = (middle + first >= margin) & (middle + last < length - margin)
            # The rest of a division by a large stride must not hide the end of the strip.
            reached = stride * (number - 1) + least >= length - _MARGIN
            if (finite & reached).all():
                self._length = length
                return

    def _narrow(self, guess: np.ndarray | None = None) -> None:
        """Run passes until the ends of all maps are known: few where they are as guessed.

        Maps that turn out to be otherwise are given up.
        """
        while (wide := self.sound & (self.low < self.high).any(axis=1)).any():
            target = int(np.argmax(wide))
            low, high = self.low[target], self.high[target]
            split = (low + high + 1) // 2
            if guess is not None:
                split = np.where(high > guess[target], guess[target] + 1, guess[target])
            # These margins tell whether the ends lie before the split or not.
            least, stride = self._margin(), self.stride[target]
            before = least + (split[0] - least) % stride
            after = least + (self._length - split[1] - least) % stride
            found = self._run(self._length, before, after)
            self._add(found)
            self.sound[target] &= found.finite[target]
            if guess is not None:
                self.sound &= ((self.low <= guess) & (guess <= self.high)).all(axis=1)

    def _margin(self) -> int:
        """Return a width that differs from turn to turn, by all remainders of the period."""
        self._turn += 1
        return _MARGIN + 13 * self._turn % _PERIOD

    def _widest_margin(self) -> int:
        """Return a bound for the widths at which the search sets pixels to NaN."""
        return _MARGIN + _PERIOD + int(self.stride[self.sound].max(initial=0))

    def _rounded(self, length: int) -> int:
        """Return the next length that has the remainder of the image's side."""
        return length + (self._side - length) % _PERIOD

    def _run(self, length: int, before: int = 0, after: int = 0, closed: bool = True) -> _Pass:
        if length > self._longest:
            raise ValueError(f"a strip of {length} pixels is too long")
        return self._run_on_strip(length, before, after, closed)

    def _add(self, found: _Pass) -> None:
        """Narrow the intervals by what a pass has shown.

        A map whose interval is then empty is not shift-invariant.
        """
        if (self.sound & (found.counts == 0).all(axis=1)).any():
            # A map a single row high can lie between the rows of a dilated kernel.
            raise ValueError("a map depends on neither end of the strip, which may be too thin")
        stride = self.stride
        kept = found.units - found.counts[:, 1]
        low = np.stack(
            [
                found.before - stride * found.counts[:, 0],
                found.length - found.after - stride * kept,
            ],
            axis=1,
        )
        high = low + stride[:, None] - 1
        seen = found.finite[:, None]
        self.low = np.where(seen, np.maximum(self.low, low), self.low)
        self.high = np.where(seen, np.minimum(self.high, high), self.high)
        shown = (found.counts > 0).all(axis=1) | ~found.finite
        self.sound &= shown & (self.low <= self.high).all(axis=1)
