"""The map as a witness: a theoretical field that maps reach beyond was not found right.

A field is found by passes on images with NaN in them, and a network may do something else on these:
take another way without gradients, or hide what units depend on in code of its own. Where its maps
are not zero outside of the field, it is not known.
"""

from __future__ import annotations

import numpy as np

#: What Winograd's and FFT convolutions leave outside, since they work on tiles of units, is about
#: ten roundings of the arithmetic, in norm; and the most that it may be in coarse arithmetic.
_ROUNDINGS, _MOST = 1e4, 0.05


def reaches_beyond(
    contribution: np.ndarray,
    box: tuple[int, int, int, int],
    stride: tuple[float, float],
    rounding: float,
) -> bool:
    """Tell whether a map is clearly not zero outside of the unit's theoretical field.

    Of a map that was computed within the field only nothing can be told.

    Args:
        contribution: ``[height, width]``, finite.
        box: top, bottom, left and right of the field, half-open and not cut off at the rim.
        stride: from unit to unit, in pixels.
        rounding: of the arithmetic that the map is made by, relative.
    """
    height, width = contribution.shape
    rows = _inside(box[:2], height, stride[0])
    columns = _inside(box[2:], width, stride[1])
    outside = np.where(np.logical_and.outer(rows, columns), 0, contribution)
    allowed = min(_ROUNDINGS * rounding, _MOST)
    return bool(np.linalg.norm(outside) > allowed * np.linalg.norm(contribution))


def _inside(ends: tuple[int, int], length: int, stride: float) -> np.ndarray:
    """Return which pixels along an axis lie in a field.

    What is beyond one rim lies at the other where padding is circular. There it may be two strides
    off, if the length is no multiple of them.
    """
    first, end = ends
    pixels = np.arange(length)
    inside = (first <= pixels) & (pixels < end)
    if first < 0:
        inside |= pixels >= length + first - 2 * stride
    if end > length:
        inside |= pixels < end - length + 2 * stride
    return inside
