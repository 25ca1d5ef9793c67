"""Second moments of a map about its centroid: sigma, radius, anisotropy."""

from __future__ import annotations

from math import hypot
from typing import Any

import numpy as np
from scipy.special import chndtr, chndtrinc, ndtri, stdtrit

from erf_tools.erf.intervals import Spread, jackknife
from erf_tools.erf.measures.family import Measure, Summed
from erf_tools.erf.measures.frame import Frame
from erf_tools.statistics import CONFIDENCE, Estimate

#: What rounding leaves of no variance, relative to the second moment about the middle.
_ROUNDING = 1e-12

#: Columns of the elongation's components in what :meth:`Moments.spread` gives.
_ELONGATION = slice(4, 6)

#: Square of the elongation, in its variances, from which it is as good as normal.
_LONG = 100


class Moments(Summed):
    """Standard deviations in pixels, which do not depend on the scale of the map.

    A uniform map of side ``n`` has ``sqrt((n ** 2 - 1) / 12)`` along each axis.
    """

    name = "moments"
    order = 30
    measures = (
        Measure(
            "sigma_y",
            "sigma y, px",
            "pixels",
            "vertical standard deviation of A about its centroid",
        ),
        Measure(
            "sigma_x",
            "sigma x, px",
            "pixels",
            "horizontal standard deviation of A about its centroid",
        ),
        Measure(
            "radius",
            "",
            "pixels",
            "root mean square distance from the centroid: hypot(sigma_y, sigma_x)",
        ),
        Measure(
            "anisotropy",
            "Anisotropy",
            "number",
            "ratio of the standard deviations along the principal axes: 1 for a map as wide in "
            "every direction, infinite for a line",
            corrected=True,
            lowest=1,
        ),
    )

    def sums(self, maps: Any, folded: Any, frame: Frame) -> Any:
        """Return sums of ``y ** i x ** j A`` for i, j = 0, 1, 2."""
        moments = frame.powers_y @ (maps @ frame.powers_x.T)
        return moments.reshape(*maps.shape[:-2], 9)

    def of_sums(self, sums: np.ndarray, frame: Frame) -> np.ndarray:
        """Return sigma y, sigma x, radius, anisotropy."""
        variance_y, variance_x, *elongation = _second_moments(sums)
        with np.errstate(invalid="ignore"):
            sigmas = [np.sqrt(variance_y), np.sqrt(variance_x), np.sqrt(variance_y + variance_x)]
            return np.stack([*sigmas, _anisotropy(np.hypot(*elongation))], axis=-1)

    def spread(self, sums: np.ndarray, frame: Frame) -> Spread:
        """Return values and spread; the anisotropy is corrected for what chance adds.

        Noise always stretches a map in some direction, so that even a round map is above 1.
        """
        plain = super().spread(sums, frame)
        total = sums.sum(axis=0)
        ones = np.ones(len(sums))
        whole, without = (np.stack(_second_moments(s)[2:], axis=-1) for s in (total, total - sums))
        _, deviations = jackknife(whole, without, ones)
        estimate = plain.estimate.copy()
        noise = float((deviations**2).sum())
        estimate[-1] = _anisotropy(np.sqrt(np.maximum(hypot(*whole) ** 2 - noise, 0)))
        return Spread(
            np.concatenate([plain.value, whole]),
            np.concatenate([estimate, whole]),
            np.concatenate([plain.step, np.zeros(2)]),
            np.concatenate([plain.deviations, deviations], axis=1),
        )

    def interval(self, place: int, spread: Spread, effective: float) -> Estimate:
        """Return an estimate with its interval; near a round map, that of a vector's length.

        The elongation's two components are normal, about what they are for infinitely many images;
        their squared length in units of their variance is a noncentral chi-squared with 2 degrees
        of freedom, whose noncentrality has an interval by inversion. The variance is that along the
        vector as far as its direction is known, else the mean over directions, and is made larger
        as Student's t is wider than the normal.
        """
        found = super().interval(place, spread, effective)
        if self.measures[place].name != "anisotropy":
            return found
        vector, deviations = spread.value[_ELONGATION], spread.deviations[:, _ELONGATION]
        square, noise = float(vector @ vector), float((deviations**2).sum())
        if not 0 < square < _LONG * noise:
            return found
        along = float(((deviations @ vector) ** 2).sum()) / square
        known = max(1 - noise / square, 0.0)
        tails = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
        wider = stdtrit(max(effective - 1, 1), tails[1]) / ndtri(tails[1])
        variance = (known * along + (1 - known) * noise / 2) * wider**2
        low, high = (
            _anisotropy(np.sqrt(variance * _noncentrality(square / variance, below)))
            for below in reversed(tails)
        )
        return Estimate(found.value, float(low), float(high))


def _noncentrality(value: float, below: float) -> float:
    """Return with which noncentrality this share of chi-squared values lies below ``value``."""
    return float(chndtrinc(value, 2, below)) if chndtr(value, 2, 0) > below else 0.0


def _second_moments(sums: np.ndarray) -> list[np.ndarray]:
    """Return variances along y and x, and the elongation's two components, each in [-1, 1]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        _, x, xx, y, xy, _, yy, *_ = np.moveaxis(sums / sums[..., :1], -1, 0)
        variance_y, variance_x = (
            np.where(variance > _ROUNDING * second, variance, 0 * variance)
            for variance, second in ((yy - y**2, yy), (xx - x**2, xx))
        )
        both = variance_y + variance_x
        return [
            variance_y,
            variance_x,
            (variance_y - variance_x) / both,
            2 * (xy - x * y) / both,
        ]


def _anisotropy(elongation: np.ndarray) -> np.ndarray:
    """Return the ratio of the principal standard deviations: infinite for a line."""
    with np.errstate(divide="ignore"):
        # A line has no width; what rounding leaves of it is not one.
        width = np.where(1 - elongation > _ROUNDING, 1 - elongation, 0)
        return np.sqrt((1 + elongation) / width)
