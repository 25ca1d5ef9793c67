"""What cells are replaced by: for each image a substitute that the new cells are cut out of.

Occlusion by a grey or mean patch is Zeiler and Fergus' (ECCV 2014). Each substitute has a fault of
its own: a uniform patch is no natural image and has an edge; another image's cell adds content of
its own; a blur leaves what is coarse as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from erf_tools.perturbation.choices import Replacement

#: Sigma of the blur, as a share of a cell's side.
_BLUR = 0.5


def _mean(pixels: np.ndarray, _other: np.ndarray, _side: float) -> np.ndarray:
    return np.broadcast_to(pixels.mean(axis=(0, 1)), pixels.shape)


def _other(_pixels: np.ndarray, other: np.ndarray, _side: float) -> np.ndarray:
    return other


def _blurred(pixels: np.ndarray, _other: np.ndarray, side: float) -> np.ndarray:
    sigma = _BLUR * side
    return gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest")


_SUBSTITUTES: dict[Replacement, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "mean": _mean,
    "other": _other,
    "blur": _blurred,
}


def substitute(
    replacement: Replacement, pixels: np.ndarray, other: np.ndarray, side: float
) -> np.ndarray:
    """Return the image that cells of another are replaced from, float64 ``[height, width, 3]``.

    Args:
        replacement: see :class:`~erf_tools.perturbation.choices.Checking`.
        pixels: the image, ``[height, width, 3]``.
        other: another image of the same size.
        side: of the cells, in pixels.
    """
    made = _SUBSTITUTES[replacement](pixels.astype(np.float64), other.astype(np.float64), side)
    return np.ascontiguousarray(made)
