"""The grid of cells that an image is cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from erf_tools.errors import UsageError


@dataclass(frozen=True)
class Grid:
    """Cells of an image, as nearly square and as equal as whole pixels allow.

    Attributes:
        rows: pixel rows at which the rows of cells begin, and the image's height.
        columns: pixel columns at which the columns of cells begin, and the image's width.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, size: tuple[int, int], cells: int) -> Grid:
        """Cut images of a size, with so many cells along the shorter side.

        Raises:
            UsageError: there are not as many pixels.
        """
        if cells > min(size):
            raise UsageError(
                f"--cells is {cells}, but the shorter side of the images has {min(size)} pixels"
            )
        counts = [round(cells * length / min(size)) for length in size]
        rows, columns = (
            tuple(length * place // count for place in range(count + 1))
            for length, count in zip(size, counts, strict=True)
        )
        return cls(rows, columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return len(self.rows) - 1, len(self.columns) - 1

    @property
    def side(self) -> float:
        """Mean side of the cells, in pixels."""
        rows, columns = self.shape
        return (self.rows[-1] / rows + self.columns[-1] / columns) / 2

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each cell, integers ``[rows, columns]``."""
        return np.outer(np.diff(self.rows), np.diff(self.columns))

    def reached(self, box: Sequence[int] | None) -> np.ndarray:
        """Tell which cells have a pixel in a box, booleans ``[rows, columns]``.

        Args:
            box: top, bottom, left, right, half-open; without one all cells have.
        """
        if box is None:
            return np.ones(self.shape, dtype=bool)
        top, bottom, left, right = box
        inside = [
            (np.array(edges[1:]) > first) & (np.array(edges[:-1]) < behind)
            for edges, first, behind in ((self.rows, top, bottom), (self.columns, left, right))
        ]
        return np.outer(*inside)

    def ranges(self, chosen: np.ndarray) -> np.ndarray:
        """Return the pixels of chosen cells: first and one behind the last row, and column.

        Args:
            chosen: booleans ``[rows, columns]``.

        Returns:
            Integers ``[cells, 2, 2]``, row by row.
        """
        down, across = np.nonzero(chosen)
        rows, columns = np.array(self.rows), np.array(self.columns)
        return np.stack(
            [
                np.stack([rows[down], rows[down + 1]], axis=1),
                np.stack([columns[across], columns[across + 1]], axis=1),
            ],
            axis=1,
        )

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return sums over cells ``[..., rows, columns]`` of values ``[..., height, width]``."""
        down = np.add.reduceat(values, self.rows[:-1], axis=-2)
        return np.add.reduceat(down, self.columns[:-1], axis=-1)

    def spread(self, cells: np.ndarray) -> np.ndarray:
        """Return each cell's value at all of its pixels: ``[..., height, width]``."""
        down = np.repeat(cells, np.diff(self.rows), axis=-2)
        return np.repeat(down, np.diff(self.columns), axis=-1)
