"""Maps that lie on equal tiles of the image, as far as is known: of the part that they cover.

Patches need not divide the image. One that would reach beyond it is left out, and the pixels behind
the last patch reach no unit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.fields.strips import Strips

#: Of NaN in rows and columns (first, one behind the last): whether any unit of each map becomes
#: NaN, and whether the central one does.
_Run = Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]]


def on_tiles(
    network: Strips, shapes: Sequence[tuple[int, int]] | None = None
) -> list[ReceptiveField]:
    """Return the tiles of what the units of each map cover of the image, at its own size.

    A field is unbounded where the first and the last pixel that are covered reach the central unit.

    Args:
        network: see :class:`~erf_tools.fields.strips.Strips`.
        shapes: rows and columns of each map, where they are known.

    Raises:
        NaNWithoutCauseError: a map has NaN for noise.
        UnsafeProbeError: see :mod:`erf_tools.fields.safety`.
    """
    shapes = shapes or network.shapes()
    run = cache(lambda *ends: network.run_with_pixels(range(*ends[:2]), range(*ends[2:])))
    fields = []
    for index, shape in enumerate(shapes):
        rows, columns = _covered(run, index, network.size)
        ends = [run(y, y + 1, x, x + 1)[1][index] for y, x in zip(rows, columns, strict=True)]
        parts = range(rows[0], rows[1] + 1), range(columns[0], columns[1] + 1)
        fields.append(ReceptiveField.tiles(shape, network.size, bool(all(ends)), parts))
    return fields


def _covered(
    run: _Run, index: int, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first and the last row, and column, that reach any unit of a map."""
    height, width = size

    def last(side: int, reached: Callable[[int], bool]) -> int:
        """Return the last place from which on something reaches a unit."""
        return side - 1 - bisect_left(range(side), True, key=lambda place: reached(place + 1))

    whole = (0, height - 1), (0, width - 1)
    corners = run(0, 1, 0, 1)[0][index], run(height - 1, height, width - 1, width)[0][index]
    if all(corners) or not run(0, height, 0, width)[0][index]:
        return whole
    return (
        (
            height - 1 - last(height, lambda n: run(0, n, 0, width)[0][index]),
            last(height, lambda n: run(height - n, height, 0, width)[0][index]),
        ),
        (
            width - 1 - last(width, lambda n: run(0, height, 0, n)[0][index]),
            last(width, lambda n: run(0, height, width - n, width)[0][index]),
        ),
    )
