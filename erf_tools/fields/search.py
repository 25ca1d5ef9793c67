"""The search for stride and ends of receptive fields along one axis, by bisection."""

from __future__ import annotations

from functools import partial
from math import gcd, lcm

import numpy as np

from erf_tools.features.small_sizes import PERIOD
from erf_tools.fields.strips import StripPass, Strips

#: Lengths of strips: the shortest, the longest, and the step that tells strides up to 32.
_SHORTEST, _LONGEST, _STEP = 512, 32768, 2304

#: No strip has more pixels than this; it bounds the length of thick ones.
_MOST_PIXELS = 2**22

#: Of pixels that are set to NaN at an end of a strip, the smallest number.
_MARGIN = 64

#: Passes at other margins, which a map that is not shift-invariant contradicts.
_CHECKS = 3

#: Stands for "no bound yet".
_FAR = 2**40


def long_strip(side: int) -> int:
    """Return a length of which parts of a network that are local see but a part.

    Args:
        side: of the image; the length has its remainder, and is the second that a search tries.
    """
    length = max(side, _SHORTEST)
    return length + (side - length) % PERIOD + _STEP


class Axis:
    """The search along one axis, for all maps at once.

    With the first x pixels NaN, c units become NaN: ``first + stride * (c - 1) < x`` and
    ``first + stride * c >= x``, an interval of one stride for ``first``. The other end of the strip
    gives one for ``last``. Each pass halves one map's intervals and may narrow all others.

    Attributes:
        stride: ``[M]``, in pixels.
        low: ``[M, 2]``, lower bounds of ``first`` and ``last`` of unit 0.
        high: ``[M, 2]``, upper bounds.
        sound: ``[M]``, whether all passes agree with a map whose units differ by shifts alone.
        endless: ``[M]``, whether NaN reached the central unit of the longest strip.
    """

    stride: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sound: np.ndarray
    endless: np.ndarray

    def __init__(self, network: Strips, axis: int, thickness: int | None) -> None:
        thickness = thickness or network.size[1 - axis]
        self._side = network.size[axis]
        self._longest = min(_LONGEST, _MOST_PIXELS // thickness)
        self._run_on_strip = partial(network.run_on_strip, axis, thickness)
        self._period = PERIOD
        self._shortest = self._length = self._rounded(max(self._side, _SHORTEST))
        self._turn = 0
        self._seen: StripPass | None = None

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
        period = lcm(PERIOD, *stride[self.sound].tolist())
        if period != self._period and long.length + period <= self._longest:
            self._period = period
            self._shortest = self._rounded(self._shortest)
            long = self._run(self._rounded(long.length))
        self._length = long.length
        self._lengthen()
        self._afar = self._length
        self._shorten(long)
        self._narrow()
        for _ in range(_CHECKS):
            margin = self._margin()
            self._add(self._run(self._length, margin, margin))

    def units(self) -> np.ndarray:
        """Return the number of units that follows for the images' own side: ``[M]``.

        Without any pass, as where no map of the other axis was sound, it is 0.
        """
        if self._seen is None:
            return np.zeros_like(self.stride)
        return self._seen.units - (self._seen.length - self._side) // np.maximum(self.stride, 1)

    def confirm(self, other: Axis) -> None:
        """Find which ends are those of another axis, as they are for square kernels."""
        self._start(other.stride, sound=other.known)
        self._period = other._period
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

    def _shorten(self, seen: StripPass) -> None:
        """Find the shortest length at which all maps can still be seen, now that they have been."""
        stride, units = self.stride[self.sound], seen.units[self.sound]
        (first, least), last = self.low[self.sound].T, self.high[self.sound, 1]
        margin = self._widest_margin() + stride  # a unit more than there has to be
        # Divisible by whatever both lengths are that the network has taken, windows for one.
        step = lcm(gcd(self._shortest, seen.length), self._period)
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
        return _MARGIN + 13 * self._turn % PERIOD

    def _widest_margin(self) -> int:
        """Return a bound for the widths at which the search sets pixels to NaN."""
        return _MARGIN + PERIOD + int(self.stride[self.sound].max(initial=0))

    def _rounded(self, length: int) -> int:
        """Return the next length that has the remainder of the image's side."""
        return length + (self._side - length) % self._period

    def _run(self, length: int, before: int = 0, after: int = 0, closed: bool = True) -> StripPass:
        if length > self._longest:
            raise ValueError(f"a strip of {length} pixels is too long")
        seen = self._seen = self._run_on_strip(length, before, after, closed)
        return seen

    def _add(self, found: StripPass) -> None:
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
