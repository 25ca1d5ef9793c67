"""How sure measures are, given the images: the jackknife over images, or over groups of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from scipy.special import stdtrit

from erf_tools.statistics import CONFIDENCE, Estimate

#: Fewer images, or groups of them, say too little of the spread for an interval.
FEWEST = 5


@dataclass(frozen=True, eq=False)
class Spread:
    """Estimates of several measures, and how far each image moves them.

    Attributes:
        value: of the mean map, as published, ``[measures]``.
        estimate: of infinitely many images, ``[measures]``.
        step: ``[measures]``: ``value`` is ``estimate`` rounded up by less than this; 0 for measures
            that take any value.
        deviations: ``[units, measures]``: what each unit (image or group of images) adds to the
            error of ``estimate``; their squares add up to its variance.
    """

    value: np.ndarray
    estimate: np.ndarray
    step: np.ndarray
    deviations: np.ndarray

    def array(self) -> np.ndarray:
        """Return all of it as one array ``[3 + units, measures]``."""
        return np.vstack([self.value, self.estimate, self.step, self.deviations])

    @classmethod
    def from_array(cls, array: np.ndarray) -> Spread:
        """Make again what :meth:`array` gave."""
        return cls(array[0], array[1], array[2], array[3:])


def jackknife(
    whole: np.ndarray, without: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return estimates without their bias of order 1 / n, and each unit's deviation.

    The jackknife for units that may differ in size (Busing, Meijer and van der Leeden 1999).

    Args:
        whole: estimates from all units ``[measures]``.
        without: estimates without each unit ``[units, measures]``.
        counts: images in each unit.

    Returns:
        ``[measures]``, and deviations ``[units, measures]``; see :class:`Spread`.
    """
    share = (counts / counts.sum())[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected = len(counts) * whole - ((1 - share) * without).sum(axis=0)
        pseudo = (whole - (1 - share) * without) / share
        return corrected, (pseudo - corrected) / np.sqrt(len(counts) * (1 / share - 1))


def effective_number(masses: np.ndarray) -> float:
    """Return how many units of equal mass tell as much as these (Kish 1965).

    In the mean map an image counts by its total, and totals differ by orders of magnitude.
    """
    if not masses.any():
        return nan
    relative = masses / masses.max()  # squares of very small or large ones are none
    return float(relative.sum() ** 2 / (relative**2).sum())


def t_interval(value: float, deviations: np.ndarray, effective: float) -> Estimate:
    """Return ``value`` with the interval of Student's t; NaN where ``deviations`` are too few.

    Args:
        value: the estimate.
        deviations: of the units, ``[units]``.
        effective: see :func:`effective_number`; one less are the degrees of freedom.
    """
    if len(deviations) < FEWEST:
        return Estimate(value)
    half = float(student(effective) * np.linalg.norm(deviations))
    return Estimate(value, value - half, value + half)


def student(effective: float) -> float:
    """Return how many standard errors Student's interval reaches; see :func:`t_interval`."""
    return float(stdtrit(max(effective - 1, 1), (1 + CONFIDENCE) / 2))
