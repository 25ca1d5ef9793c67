"""The mean contribution at each distance from a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erf_tools.erf.measures.frame import Center


@dataclass(frozen=True)
class RadialProfile:
    """The mean contribution at each distance from a point.

    Attributes:
        radius: distances in pixels, 0, 1, 2, ...
        mean: over the pixels whose distance rounds to it.
    """

    radius: np.ndarray
    mean: np.ndarray


def radial_profile(contribution: np.ndarray, center: Center | None = None) -> RadialProfile:
    """Return the mean contribution at each distance from ``center`` (row, column)."""
    height, width = contribution.shape
    row, column = center or (height // 2, width // 2)
    distances = np.hypot(np.arange(height)[:, None] - row, np.arange(width)[None, :] - column)
    nearest = np.rint(distances).astype(int).ravel()
    pixels = np.bincount(nearest)
    sums = np.bincount(nearest, weights=contribution.ravel())
    (radius,) = np.nonzero(pixels)
    return RadialProfile(radius, sums[radius] / pixels[radius])
