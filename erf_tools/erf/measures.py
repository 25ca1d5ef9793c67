"""Measures of a contribution map: pure functions of a float64 array ``[height, width]``.

The squares of the area ratios are centred on the pixel ``(height // 2, width // 2)``, as
published. Square number ``i = 1, 2, ...`` reaches ``i`` pixels to each side and is cut off at the
map's rim, so that the largest is the whole map. On a square map of even side the published squares
are those up to ``i = height // 2 - 1``; cutting off extends them to every threshold below 1 and to
rectangular maps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import hypot, nan, sqrt

import numpy as np

from erf_tools.errors import UsageError

#: Thresholds of the published table (RepLKNet paper, Table 10).
THRESHOLDS = (0.20, 0.30, 0.50, 0.99)


@dataclass(frozen=True)
class Square:
    """A centred square, cut off at the rim of the map.

    Attributes:
        top, bottom, left, right: pixel ranges ``[top, bottom)`` and ``[left, right)``.
        ratio: its share of the map's area, in (0, 1].
    """

    top: int
    bottom: int
    left: int
    right: int
    ratio: float

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def smallest_square(contribution: np.ndarray, threshold: float) -> Square | None:
    """Return the smallest centred square with more than ``threshold`` of the total.

    Args:
        contribution: ``[height, width]``, not negative.
        threshold: share of the total, in [0, 1).

    Returns:
        The square, or ``None`` where the map is zero everywhere or has values that are not
        finite.

    Raises:
        UsageError: the threshold is outside [0, 1), or the map is not two-dimensional.
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"threshold is {threshold}; it has to be at least 0 and below 1")
    contribution = _checked(contribution)
    total = contribution.sum()
    if not np.isfinite(total) or total <= 0:
        return None
    height, width = contribution.shape
    rows = np.abs(np.arange(height) - height // 2)
    columns = np.abs(np.arange(width) - width // 2)
    # A pixel's ring is the first square that holds it; the smallest square is number 1.
    rings = np.maximum(np.maximum(rows[:, None], columns[None, :]), 1)
    held = np.cumsum(np.bincount(rings.ravel(), weights=contribution.ravel()))
    # The last sum is the total by another order of addition; divide by it so that it is 1.
    reach = int(np.argmax(held / held[-1] > threshold))
    top, bottom = max(height // 2 - reach, 0), min(height // 2 + reach + 1, height)
    left, right = max(width // 2 - reach, 0), min(width // 2 + reach + 1, width)
    area = (bottom - top) * (right - left)
    return Square(top, bottom, left, right, area / contribution.size)


def area_ratio(contribution: np.ndarray, threshold: float) -> float:
    """Return the area of :func:`smallest_square` as a share of the map's, in (0, 1], or NaN.

    Scaling the map does not change it. NaN for a map that is all zero or not finite. Comparable
    between networks at one resolution.
    """
    square = smallest_square(contribution, threshold)
    return nan if square is None else square.ratio


def displayed(contribution: np.ndarray) -> np.ndarray:
    """Return ``log10(A + 1) / max``, in [0, 1]: the published script's display of a map ``A``.

    A map that is zero everywhere stays zero.
    """
    logarithm = np.log10(_checked(contribution) + 1)
    peak = logarithm.max()
    return logarithm / peak if peak > 0 else logarithm


def legacy_area_ratio(contribution: np.ndarray, threshold: float) -> float:
    """Return the *high-contribution area ratio* as published (RepLKNet paper, Table 10).

    It is :func:`area_ratio` of ``log10(A + 1)``, in (0, 1], or NaN likewise. It **depends on the
    scale** of the map ``A``: multiplying ``A`` by 100 can change it several-fold. Compare it with
    published values only, and networks by :func:`area_ratio`.
    """
    return area_ratio(displayed(contribution), threshold)


def effective_side(contribution: np.ndarray) -> float:
    """Return the square root of the area of the smallest centred square with half of the mass.

    In pixels, from 3 to the side of the map; NaN for a map that is all zero or not finite.
    """
    square = smallest_square(contribution, 0.5)
    return nan if square is None else sqrt(square.area)


def second_moment_radius(contribution: np.ndarray) -> tuple[float, float]:
    """Return the standard deviations (sigma_y, sigma_x) of the mass about its own centroid.

    In pixels, from 0 to half the map's side; NaN for a map that is all zero or not finite. They do
    not depend on scale. A uniform map of side ``n`` has ``n / sqrt(12)``.
    """
    contribution = _checked(contribution)
    total = contribution.sum()
    if not np.isfinite(total) or total <= 0:
        return nan, nan
    return _spread(contribution.sum(axis=1)), _spread(contribution.sum(axis=0))


def _spread(profile: np.ndarray) -> float:
    weights = profile / profile.sum()
    positions = np.arange(len(weights))
    centre = weights @ positions
    return sqrt(weights @ (positions - centre) ** 2)


@dataclass(frozen=True)
class Measures:
    """All measures of one map.

    Attributes:
        legacy: threshold -> :func:`legacy_area_ratio`.
        linear: threshold -> :func:`area_ratio`.
        effective_side: see :func:`effective_side`, pixels.
        sigma_y: vertical :func:`second_moment_radius`, pixels.
        sigma_x: horizontal :func:`second_moment_radius`, pixels.
        radius: root mean square distance from the centroid, pixels: ``hypot(sigma_y, sigma_x)``.
    """

    legacy: dict[float, float]
    linear: dict[float, float]
    effective_side: float
    sigma_y: float
    sigma_x: float
    radius: float

    def record(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return {
            **asdict(self),
            "legacy": {f"{threshold:g}": ratio for threshold, ratio in self.legacy.items()},
            "linear": {f"{threshold:g}": ratio for threshold, ratio in self.linear.items()},
        }


def measure(contribution: np.ndarray) -> Measures:
    """Return all measures of a map ``[height, width]``."""
    sigma_y, sigma_x = second_moment_radius(contribution)
    return Measures(
        legacy={threshold: legacy_area_ratio(contribution, threshold) for threshold in THRESHOLDS},
        linear={threshold: area_ratio(contribution, threshold) for threshold in THRESHOLDS},
        effective_side=effective_side(contribution),
        sigma_y=sigma_y,
        sigma_x=sigma_x,
        radius=hypot(sigma_y, sigma_x),
    )


def _checked(contribution: np.ndarray) -> np.ndarray:
    contribution = np.asarray(contribution, dtype=np.float64)
    if contribution.ndim != 2 or not contribution.size:
        raise UsageError(f"a map is [height, width]; got shape {list(contribution.shape)}")
    return contribution
