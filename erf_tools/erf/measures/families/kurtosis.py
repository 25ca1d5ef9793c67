"""Excess kurtosis of a map along each axis: is its profile Gaussian?"""

from __future__ import annotations

from math import nan

import numpy as np

from erf_tools.erf.measures.family import Grouped, Measure
from erf_tools.erf.measures.frame import Frame


class Kurtosis(Grouped):
    """Fourth central moment of the mass along an axis over its squared variance, less 3.

    0 for a Gaussian, -6/5 for a uniform map, above 0 for a peak with wide tails. There is no
    interval: fourth moments hang on few pixels at the rim.
    """

    name = "kurtosis"
    order = 80
    measures = tuple(
        Measure(
            f"kurtosis_{axis}",
            "",
            "number",
            f"excess kurtosis of the {word} profile: 0 for a Gaussian, -6/5 for a uniform one, "
            "above 0 for a peak with wide tails",
            interval=False,
            lowest=-2,
        )
        for axis, word in (("y", "vertical"), ("x", "horizontal"))
    )

    def of_map(self, contribution: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the excess kurtosis of a map along y and x; NaN where all lies on one line."""
        return np.array([_excess(contribution.sum(axis=axis)) for axis in (1, 0)])


def _excess(profile: np.ndarray) -> float:
    share = profile / profile.sum()
    places = np.arange(len(share)) - len(share) // 2
    away = places - share @ places
    variance = share @ away**2
    return float(share @ away**4 / variance**2 - 3) if variance > 1e-12 * (places**2).max() else nan
