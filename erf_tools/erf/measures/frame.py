"""How far the pixels of a map are from the centre of its squares, and sums by that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from erf_tools.errors import UsageError
from erf_tools.text import dimensions

Center = tuple[float, float]


def doubled_center(shape: tuple[int, ...], center: Center | None) -> tuple[int, int]:
    """Return the centre of squares in half pixels: whole numbers, even on a pixel.

    Raises:
        UsageError: it is outside the map.
    """
    height, width = shape
    if center is None:
        return 2 * (height // 2), 2 * (width // 2)
    if not (-0.25 <= center[0] <= height - 0.75 and -0.25 <= center[1] <= width - 0.75):
        raise UsageError(
            f"squares cannot be centred at pixel {center[0]:g},{center[1]:g}, outside the "
            f"{dimensions(shape)} map; use --square center"
        )
    return round(2 * center[0]), round(2 * center[1])


class Frame:
    """The pixels of maps ``[..., height, width]`` about a centre.

    Everything is done by operators that arrays of NumPy and of PyTorch share, so that sums can be
    taken wherever the maps are.

    Attributes:
        shape: height and width.
        doubled: see :func:`doubled_center`.
        number: ``[numbers]``: 0, 1, 2, ... Along an axis, the square of this number is the first to
            hold a pixel that is this far from the centre.
        areas: ``[numbers]``: of the squares, in pixels; 0 for number 0.
        down: ``[numbers]``, the distance of such a pixel along the rows' axis, in half pixels.
        across: the same along the columns' axis.
        powers_y: ``[3, height]``: 1, y, y ** 2 about the middle pixel.
        powers_x: ``[3, width]``, the same of x.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        center: Center | None = None,
        convert: Callable[[np.ndarray], Any] = np.asarray,
    ) -> None:
        """See the class.

        Args:
            shape: height and width of the maps.
            center: row and column, in pixels, to the nearest half: between two pixels the squares
                have even sides. By default the pixel ``(height // 2, width // 2)``, as published.
            convert: makes of an array of NumPy one of the library and device of the maps.

        Raises:
            UsageError: the centre is outside the map.
        """
        self.shape = (int(shape[0]), int(shape[1]))
        self.doubled = doubled_center(shape, center)
        ends = zip(self.shape, self.doubled, strict=True)
        farthest = max(max(middle, 2 * length - 2 - middle) for length, middle in ends)
        numbers = np.arange(max((farthest + 1) // 2, 1) + 1)
        self.number = convert(numbers)
        edges = [
            np.minimum(middle // 2 + numbers + 1, length)
            - np.maximum((middle + 1) // 2 - numbers, 0)
            for length, middle in zip(self.shape, self.doubled, strict=True)
        ]
        self.areas = (edges[0] * edges[1] * (numbers > 0)).astype(np.float64)
        self.down, self.across = (convert(2 * numbers - middle % 2) for middle in self.doubled)
        self._rows, self._columns = (
            (convert(after), convert(before), *ends)
            for after, before, *ends in (
                _pairs(numbers, length, middle)
                for length, middle in zip(self.shape, self.doubled, strict=True)
            )
        )
        self.powers_y, self.powers_x = (
            convert((np.arange(length) - length // 2.0) ** np.arange(3.0)[:, None])
            for length in self.shape
        )

    def fold(self, maps: Any) -> Any:
        """Return ``[..., numbers, numbers]``: sums over pixels as far up or down, left or right."""
        after, before, first, last_after, last_before = self._rows
        rows = maps[..., after, :]
        rows[..., :first, :] = 0
        rows[..., last_after:, :] = 0
        rows[..., 1:last_before, :] += maps[..., before[1:last_before], :]
        after, before, first, last_after, last_before = self._columns
        folded = rows[..., after]
        folded[..., :first] = 0
        folded[..., last_after:] = 0
        folded[..., 1:last_before] += rows[..., before[1:last_before]]
        return folded

    def rings(self, folded: Any) -> Any:
        """Return ``[..., numbers]``: sums over the pixels that each square is the first to hold."""
        inner = self.number[:, None] >= self.number[None, :]
        return (folded * inner).sum(-1) + (folded * ~inner).sum(-2)


def _pairs(
    numbers: np.ndarray, length: int, doubled: int
) -> tuple[np.ndarray, np.ndarray, int, int, int]:
    """Return the two pixels at each number along an axis, and which numbers have them.

    Returns:
        Pixels after and before the centre; the first number with one after it; one more than the
        last number with one after it, and before it.
    """
    middle, between = doubled // 2, doubled % 2
    after, before = middle + numbers, middle + between - numbers
    last_after, last_before = np.count_nonzero(after < length), np.count_nonzero(before >= 0)
    return (
        after.clip(max=length - 1),
        before.clip(min=0),
        between,
        int(last_after),
        int(last_before),
    )
