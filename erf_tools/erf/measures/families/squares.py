"""The smallest centred square that holds a share of the map: linear ratios and effective side.

Squares are centred on the pixel ``(height // 2, width // 2)``, as published, or where the caller
says. Square number ``i = 1, 2, ...`` reaches ``i`` pixels to each side and is cut off at the map's
rim, so that the largest is the whole map. On a square map the published squares are those up to
``i = height // 2 - 1``; cutting off extends them to every threshold below 1 and to rectangular
maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Any

import numpy as np

from erf_tools.erf.intervals import Spread, jackknife
from erf_tools.erf.measures.family import Measure, Summed
from erf_tools.erf.measures.frame import Center, Frame, doubled_center
from erf_tools.errors import UsageError

#: Thresholds of the published table (RepLKNet paper, Table 10).
THRESHOLDS = (0.20, 0.30, 0.50, 0.99)

_HALF = 0.5


@dataclass(frozen=True)
class CenteredSquare:
    """A centred square, cut off at the rim of the map.

    Attributes:
        top: first row; the rows are ``[top, bottom)``.
        bottom: the row behind the last.
        left: first column; the columns are ``[left, right)``.
        right: the column behind the last.
        ratio: its share of the map's area, in (0, 1].
    """

    top: int
    bottom: int
    left: int
    right: int
    ratio: float

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def smallest_square(
    contribution: np.ndarray, threshold: float, center: Center | None = None
) -> CenteredSquare | None:
    """Return the smallest centred square with more than ``threshold`` of the total.

    Args:
        contribution: ``[height, width]``, not negative.
        threshold: share of the total, in [0, 1).
        center: see :class:`~erf_tools.erf.measures.frame.Frame`.

    Returns:
        The square, or ``None`` where the map is zero everywhere or has values that are not
        finite.

    Raises:
        UsageError: the threshold is outside [0, 1), the centre is outside the map, or the map is
            not two-dimensional.
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"threshold is {threshold}; it has to be at least 0 and below 1")
    held = shares_held(contribution, center)
    if held is None:
        return None
    frame = Frame(contribution.shape, center)
    return cut_square(frame.shape, frame.doubled, int(np.argmax(held > threshold)))


def shares_held(contribution: np.ndarray, center: Center | None = None) -> np.ndarray | None:
    """Return the share of the total that each centred square holds, by the square's number.

    Args:
        contribution: ``[height, width]``, not negative.
        center: see :class:`~erf_tools.erf.measures.frame.Frame`.

    Returns:
        ``[squares + 1]``, rising from 0 (there is no square 0) to 1 for the square that is the
        whole map; ``None`` where :func:`smallest_square` has none.

    Raises:
        UsageError: the centre is outside the map, or the map is not two-dimensional.
    """
    contribution = np.asarray(contribution, dtype=np.float64)
    if contribution.ndim != 2 or not contribution.size:
        raise UsageError(f"a map is [height, width]; got shape {list(contribution.shape)}")
    frame = Frame(contribution.shape, center)
    total = contribution.sum()
    if not (np.isfinite(total) and total > 0):
        return None
    return _held(frame.rings(frame.fold(contribution)))


def cut_square(shape: tuple[int, ...], doubled: tuple[int, int], reach: int) -> CenteredSquare:
    """Return the square of a number about a centre in half pixels, cut off at the rim."""
    (top, bottom), (left, right) = (
        (max((middle + 1) // 2 - reach, 0), min(middle // 2 + reach + 1, length))
        for middle, length in zip(doubled, shape, strict=True)
    )
    return CenteredSquare(
        top, bottom, left, right, (bottom - top) * (right - left) / (shape[0] * shape[1])
    )


def largest_published_square(shape: tuple[int, ...]) -> CenteredSquare:
    """Return the last of the published squares of a map: of the side ``2 * (height // 2) - 1``.

    Of a rectangular map it is that of the longer side, cut off at the rim.

    Args:
        shape: height and width.
    """
    return cut_square(shape, doubled_center(shape, None), max(max(shape) // 2 - 1, 0))


def square_around(
    box: tuple[int, int, int, int], shape: tuple[int, ...], center: Center | None = None
) -> CenteredSquare:
    """Return the smallest centred square that holds what of a box is in the map.

    Of a map that is zero outside of the box no smallest square of any threshold is larger.

    Args:
        box: top, bottom, left, right, half-open; it may reach beyond the map.
        shape: height and width of the map.
        center: see :class:`~erf_tools.erf.measures.frame.Frame`.

    Raises:
        UsageError: the centre is outside the map.
    """
    doubled = doubled_center(shape, center)
    reach = 1  # there is no square 0
    for start, end, middle, length in zip(box[::2], box[1::2], doubled, shape, strict=True):
        before, after = (middle + 1) // 2 - max(start, 0), min(end, length) - 1 - middle // 2
        reach = max(reach, before, after)
    return cut_square(shape, doubled, reach)


def effective_side(contribution: np.ndarray, center: Center | None = None) -> float:
    """Return the square root of the area of the smallest centred square with half of the mass.

    In pixels, from 2 or 3 to the side of the map. Scaling the map does not change it.
    """
    square = smallest_square(contribution, _HALF, center)
    return nan if square is None else sqrt(square.area)


def areas_holding(
    rings: np.ndarray, thresholds: tuple[float, ...], frame: Frame
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return areas in pixels of the smallest squares, and of their neighbours.

    Args:
        rings: sums from :meth:`~erf_tools.erf.measures.frame.Frame.rings`, ``[..., numbers]``.
        thresholds: shares of the total.
        frame: of the map.

    Returns:
        Each ``[..., thresholds]``: areas of the smallest squares with more than the share; of
        squares of any side, with exactly the share if what they hold grows evenly from one square
        to the next; and of the largest squares with no more than the share.
    """
    held = _held(rings)
    shares = np.asarray(thresholds)
    reached = (held[..., None, :] > shares[:, None]).argmax(axis=-1)
    above = np.take_along_axis(held, reached, axis=-1)
    below = np.take_along_axis(held, reached - 1, axis=-1)
    larger, smaller = np.where(above > shares, frame.areas[reached], nan), frame.areas[reached - 1]
    part = (shares - below) / (above - below)
    between = np.sqrt(smaller) + part * (np.sqrt(larger) - np.sqrt(smaller))
    return larger, between**2, smaller


def smallest_area(area: float, frame: Frame) -> float:
    """Return the area of the smallest square of at least this area, both in pixels; NaN of NaN."""
    if isnan(area):
        return nan
    place = int(np.searchsorted(frame.areas, area * (1 - 1e-9)))
    return float(frame.areas[min(place, len(frame.areas) - 1)])


def _held(rings: np.ndarray) -> np.ndarray:
    """Return the shares that squares hold ``[..., numbers]``; without mass they are NaN."""
    held = np.cumsum(rings, axis=-1)
    # The last sum is the total by another order of addition; divide by it so that it is 1.
    with np.errstate(invalid="ignore"):
        held = held / held[..., -1:]
    held[..., 0] = 0
    return held


class Squares(Summed):
    """Linear ratios and the effective side."""

    name = "squares"
    order = 10
    measures = (
        *(
            Measure(
                f"linear_{100 * threshold:g}",
                f"linear r at {100 * threshold:g} %, %",
                "per cent",
                f"area of the smallest centred square with more than {100 * threshold:g} % of A, "
                "as a share of the map's; independent of the scale of A: compare networks by it",
                page=f"r at {100 * threshold:g} %",
                highest=1,
            )
            for threshold in THRESHOLDS
        ),
        Measure(
            "effective_side",
            "Effective side, px",
            "pixels",
            "root of the area of the smallest centred square with half of A",
            page="Side, px",
        ),
    )

    def sums(self, maps: Any, folded: Any, frame: Frame) -> Any:
        """Return sums over rings."""
        return frame.rings(folded)

    def of_sums(self, sums: np.ndarray, frame: Frame) -> np.ndarray:
        """Return ratios and side, as published."""
        return self._areas(sums, frame)[0]

    def spread(self, sums: np.ndarray, frame: Frame) -> Spread:
        """Return values, whose spread is that of squares of any side."""
        total = sums.sum(axis=0)
        value, estimate, below = self._areas(total, frame)
        without = self._areas(total - sums, frame)[1]
        _, deviations = jackknife(estimate, without, np.ones(len(sums)))
        return Spread(value, estimate, value - below, deviations)

    def rounded_up(self, place: int, value: float, frame: Frame) -> float:
        """Return the smallest value, at least ``value``, that is a square's."""
        if place == len(THRESHOLDS):
            return sqrt(smallest_area(max(value, 0) ** 2, frame))
        pixels = frame.shape[0] * frame.shape[1]
        return smallest_area(value * pixels, frame) / pixels

    def _areas(self, sums: np.ndarray, frame: Frame) -> list[np.ndarray]:
        found = []
        for areas in areas_holding(sums, (*THRESHOLDS, _HALF), frame):
            values = areas / (frame.shape[0] * frame.shape[1])
            values[..., -1] = np.sqrt(areas[..., -1])
            found.append(values)
        return found
