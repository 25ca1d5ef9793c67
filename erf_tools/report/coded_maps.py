"""Maps as pictures: few enough bytes for a page, with values that can still be read off.

Exact numbers come from :mod:`erf_tools.erf.measures`; a picture is for the eye and the cursor.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isqrt, log10

import numpy as np

#: Longest side of a picture; a screen shows no more of a map among several.
_SIDE = 512
#: Bytes of all pictures of a page together, before they become text.
_BYTES = 6_000_000
#: Ratio of the largest value to the smallest that is told from zero.
_RANGE = 1e9
_CODES = 65_535


@dataclass(frozen=True)
class CodedMap:
    """A map of block means in 16 bits, on a logarithmic scale.

    Attributes:
        rows: of blocks.
        columns: of blocks.
        block: side of a block in pixels; the last row and column may be cut off.
        low: log10 of the value that code 1 stands for; code 0 is zero.
        high: log10 of the value that code 65,535 stands for.
        codes: base64 of the codes, row by row, unsigned and little-endian.
    """

    rows: int
    columns: int
    block: int
    low: float
    high: float
    codes: str


def block_sides(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the side of the blocks for each of several maps that share a page."""
    side = min(_SIDE, isqrt(_BYTES // (2 * max(len(shapes), 1))))
    return [ceil(max(shape) / side) for shape in shapes]


def coded_map(values: np.ndarray, block: int) -> CodedMap:
    """Return a map ``[height, width]``, not negative, as a picture; within 0.02 % of block means.

    Values below a billionth of the largest become zero.
    """
    means = block_means(values, block)
    peak = float(means.max())
    codes = np.zeros(means.shape, dtype="<u2")
    low = high = 0.0
    if peak > 0:
        seen = means > peak / _RANGE
        low, high = log10(means[seen].min()), log10(peak)
        step = (high - low) / (_CODES - 1) or 1.0
        codes[seen] = 1 + np.rint((np.log10(means[seen]) - low) / step)
    rows, columns = means.shape
    return CodedMap(rows, columns, block, low, high, base64.b64encode(codes.tobytes()).decode())


def block_means(values: np.ndarray, block: int) -> np.ndarray:
    """Return the mean of each block of pixels; blocks at the lower and right rim may be smaller."""
    starts = [np.arange(0, length, block) for length in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    rows, columns = (
        np.diff(np.append(start, length))
        for start, length in zip(starts, values.shape, strict=True)
    )
    return sums / np.outer(rows, columns)
