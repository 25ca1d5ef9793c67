"""Measures of a contribution map: pure functions of a float64 array ``[height, width]``.

The squares of the area ratios are centred on the pixel ``(height // 2, width // 2)``, as published,
or where the caller says. Square number ``i = 1, 2, ...`` reaches ``i`` pixels to each side and is
cut off at the map's rim, so that the largest is the whole map. On a square map of even side the
published squares are those up to ``i = height // 2 - 1``; cutting off extends them to every
threshold below 1 and to rectangular maps.

A map without mass (zero everywhere, or not finite) has no measures: they are NaN.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import hypot, inf, nan, sqrt

import numpy as np

from erf_tools.erf.gaussian import NO_FIT, GaussianFit, fit_gaussian
from erf_tools.errors import UsageError

#: Thresholds of the published table (RepLKNet paper, Table 10).
THRESHOLDS = (0.20, 0.30, 0.50, 0.99)

#: Luo et al. 2016 count the pixels above this share of the peak: two standard deviations in 2-D.
EXTENT_SHARE = 0.0455

#: Nearer to an axis than to a diagonal is below 22.5 degrees.
_AXIS_SLOPE = sqrt(2) - 1

Centre = tuple[float, float]


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


def smallest_square(
    contribution: np.ndarray, threshold: float, centre: Centre | None = None
) -> Square | None:
    """Return the smallest centred square with more than ``threshold`` of the total.

    Args:
        contribution: ``[height, width]``, not negative.
        threshold: share of the total, in [0, 1).
        centre: row and column, in pixels, to the nearest half: between two pixels the squares have
            even sides. By default the pixel ``(height // 2, width // 2)``, as published.

    Returns:
        The square, or ``None`` where the map is zero everywhere or has values that are not
        finite.

    Raises:
        UsageError: the threshold is outside [0, 1), the centre is outside the map, or the map is
            not two-dimensional.
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"threshold is {threshold}; it has to be at least 0 and below 1")
    contribution = _checked(contribution)
    held = shares_held(contribution, centre)
    if held is None:
        return None
    doubled = doubled_centre(contribution.shape, centre)
    return cut_square(contribution.shape, doubled, int(np.argmax(held > threshold)))


def shares_held(contribution: np.ndarray, centre: Centre | None = None) -> np.ndarray | None:
    """Return the share of the total that each centred square holds, by the square's number.

    Args:
        contribution: ``[height, width]``, not negative.
        centre: see :func:`smallest_square`.

    Returns:
        ``[squares + 1]``, rising from 0 (there is no square 0) to 1 for the square that is the
        whole map; ``None`` where :func:`smallest_square` has none.

    Raises:
        UsageError: the centre is outside the map, or the map is not two-dimensional.
    """
    contribution = _checked(contribution)
    doubled = doubled_centre(contribution.shape, centre)
    if not _has_mass(contribution):
        return None
    rows, columns = (
        rings_along(length, middle)
        for length, middle in zip(contribution.shape, doubled, strict=True)
    )
    # A pixel's ring is the first square that holds it; the smallest square is number 1.
    rings = np.maximum(np.maximum(rows[:, None], columns[None, :]), 1)
    held = np.cumsum(np.bincount(rings.ravel(), weights=contribution.ravel()))
    # The last sum is the total by another order of addition; divide by it so that it is 1.
    return held / held[-1]


def doubled_centre(shape: tuple[int, ...], centre: Centre | None) -> tuple[int, int]:
    """Return the centre of squares in half pixels: whole numbers, even on a pixel.

    Raises:
        UsageError: it is outside the map.
    """
    height, width = shape
    if centre is None:
        return 2 * (height // 2), 2 * (width // 2)
    if not (-0.25 <= centre[0] <= height - 0.75 and -0.25 <= centre[1] <= width - 0.75):
        raise UsageError(
            f"squares cannot be centred at pixel {centre[0]:g},{centre[1]:g}, outside the "
            f"{height}x{width} map; use --square center"
        )
    return round(2 * centre[0]), round(2 * centre[1])


def rings_along(length: int, doubled: int) -> np.ndarray:
    """Return the number of the first square, along one axis, that reaches each pixel."""
    return (np.abs(2 * np.arange(length) - doubled) + 1) // 2


def cut_square(shape: tuple[int, ...], doubled: tuple[int, int], reach: int) -> Square:
    """Return the square of a number about a centre in half pixels, cut off at the rim."""
    (top, bottom), (left, right) = (
        (max((middle + 1) // 2 - reach, 0), min(middle // 2 + reach + 1, length))
        for middle, length in zip(doubled, shape, strict=True)
    )
    return Square(top, bottom, left, right, (bottom - top) * (right - left) / (shape[0] * shape[1]))


def area_ratio(contribution: np.ndarray, threshold: float, centre: Centre | None = None) -> float:
    """Return the area of :func:`smallest_square` as a share of the map's, in (0, 1].

    Scaling the map does not change it. Comparable between networks at one resolution.
    """
    square = smallest_square(contribution, threshold, centre)
    return nan if square is None else square.ratio


def density(contribution: np.ndarray) -> np.ndarray:
    """Return the map as multiples of a uniform one of the same total, so that its mean is 1.

    It does not depend on the scale of the map. Zeros for a map without a total.
    """
    total = contribution.sum()
    if not np.isfinite(total) or total <= 0:
        return np.zeros_like(contribution)
    return contribution / total * contribution.size


def displayed(contribution: np.ndarray) -> np.ndarray:
    """Return ``log10(A + 1) / max``, in [0, 1]: the published script's display of a map ``A``.

    A map that is zero everywhere stays zero.
    """
    logarithm = np.log10(_checked(contribution) + 1)
    peak = logarithm.max()
    return logarithm / peak if 0 < peak < inf else logarithm


def legacy_area_ratio(contribution: np.ndarray, threshold: float) -> float:
    """Return the *high-contribution area ratio* as published (RepLKNet paper, Table 10).

    It is :func:`area_ratio` of ``log10(A + 1)``, in (0, 1], or NaN likewise. It **depends on the
    scale** of the map ``A``: multiplying ``A`` by 100 can change it several-fold. Compare it with
    published values only, and networks by :func:`area_ratio`.
    """
    return area_ratio(displayed(contribution), threshold)


def effective_side(contribution: np.ndarray, centre: Centre | None = None) -> float:
    """Return the square root of the area of the smallest centred square with half of the mass.

    In pixels, from 2 or 3 to the side of the map. Scaling the map does not change it.
    """
    square = smallest_square(contribution, 0.5, centre)
    return nan if square is None else sqrt(square.area)


def second_moment_radius(contribution: np.ndarray) -> tuple[float, float]:
    """Return the standard deviations (sigma_y, sigma_x) of the mass about its own centroid.

    In pixels, from 0 to half the map's side. They do not depend on scale. A uniform map of side
    ``n`` has ``sqrt((n ** 2 - 1) / 12)``.
    """
    variance_y, variance_x, _ = _covariance(_checked(contribution))
    return sqrt(variance_y), sqrt(variance_x)


def anisotropy(contribution: np.ndarray) -> float:
    """Return the ratio of the standard deviations along the principal axes, at least 1.

    1 for a map as wide in every direction, infinite for a line; NaN for a single point.
    """
    return axis_ratio(*_covariance(_checked(contribution)))


def axis_ratio(variance_y: float, variance_x: float, covariance: float) -> float:
    """Return the ratio of the principal standard deviations of a covariance matrix."""
    mean = (variance_y + variance_x) / 2
    spread = hypot((variance_y - variance_x) / 2, covariance)
    if not mean > 0:
        return nan
    # A line has no width; what rounding leaves of it is not one.
    minor = mean - spread
    return sqrt((mean + spread) / minor) if minor > 1e-12 * mean else inf


def cross_share(contribution: np.ndarray, centre: Centre | None = None) -> float:
    """Return the share of the mass that lies on the cross through the centre, in [0, 1].

    Counted is what lies nearer, in angle, to the row or the column of the centre than to a
    diagonal, of all but what lies at the centre. 1/2 for a map that is the same in every direction;
    more for networks with large square kernels, whose maps show a cross.
    """
    contribution = _checked(contribution)
    if not _has_mass(contribution):
        return nan
    doubled = doubled_centre(contribution.shape, centre)
    on_cross, counted = zip(
        *(cross_row(row, contribution.shape[1], doubled) for row in range(len(contribution))),
        strict=True,
    )
    outside = (contribution * np.stack(counted)).sum()
    return float((contribution * np.stack(on_cross)).sum() / outside) if outside > 0 else nan


def cross_row(row: int, width: int, doubled: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return for the pixels of one row whether they lie on the cross, and whether they count."""
    down = abs(2 * row - doubled[0])
    across = np.abs(2 * np.arange(width) - doubled[1])
    near, far = np.minimum(down, across), np.maximum(down, across)
    return (near < _AXIS_SLOPE * far), far > 0


def participation_ratio(contribution: np.ndarray) -> float:
    """Return ``(sum A) ** 2 / (N sum A ** 2)``: the share of the pixels that take part, in (0, 1].

    1 for a uniform map of ``N`` pixels, ``1 / N`` for a single pixel.
    """
    contribution = _checked(contribution)
    if not _has_mass(contribution):
        return nan
    scaled = contribution / contribution.max()
    return float(scaled.sum() ** 2 / (scaled.size * (scaled**2).sum()))


def extent(contribution: np.ndarray) -> float:
    """Return the square root of the number of pixels above 4.55 % of the peak, in pixels.

    The size of Luo et al. 2016 (section 3): that of a Gaussian's ellipse of two standard deviations
    and a half. It hangs on the peak, a single pixel.
    """
    contribution = _checked(contribution)
    if not _has_mass(contribution):
        return nan
    return sqrt(np.count_nonzero(contribution > EXTENT_SHARE * contribution.max()))


@dataclass(frozen=True)
class RadialProfile:
    """The mean contribution at each distance from a point.

    Attributes:
        radius: distances in pixels, 0, 1, 2, ...
        mean: over the pixels whose distance rounds to it.
    """

    radius: np.ndarray
    mean: np.ndarray


def radial_profile(contribution: np.ndarray, centre: Centre | None = None) -> RadialProfile:
    """Return the mean contribution at each distance from ``centre`` (row, column)."""
    contribution = _checked(contribution)
    height, width = contribution.shape
    row, column = centre or (height // 2, width // 2)
    distances = np.hypot(np.arange(height)[:, None] - row, np.arange(width)[None, :] - column)
    nearest = np.rint(distances).astype(int).ravel()
    pixels = np.bincount(nearest)
    sums = np.bincount(nearest, weights=contribution.ravel())
    (radius,) = np.nonzero(pixels)
    return RadialProfile(radius, sums[radius] / pixels[radius])


def _covariance(contribution: np.ndarray) -> tuple[float, float, float]:
    """Return the variances along y and x, and the covariance, of the mass about its centroid."""
    if not _has_mass(contribution):
        return nan, nan, nan
    weights = contribution / contribution.sum()
    rows, columns = weights.sum(axis=1), weights.sum(axis=0)
    down = np.arange(len(rows)) - rows @ np.arange(len(rows))
    across = np.arange(len(columns)) - columns @ np.arange(len(columns))
    return float(rows @ down**2), float(columns @ across**2), float(down @ weights @ across)


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
        anisotropy: see :func:`anisotropy`.
        gaussian: see :func:`erf_tools.erf.gaussian.fit_gaussian`.
        cross_share: see :func:`cross_share`.
        participation: see :func:`participation_ratio`.
        extent: see :func:`extent`, pixels.
    """

    legacy: dict[float, float]
    linear: dict[float, float]
    effective_side: float
    sigma_y: float
    sigma_x: float
    radius: float
    anisotropy: float
    gaussian: GaussianFit
    cross_share: float
    participation: float
    extent: float

    def values(self) -> dict[str, float]:
        """Return every measure by the name it has in tables."""
        return {
            **{f"legacy_{100 * t:g}": ratio for t, ratio in self.legacy.items()},
            **{f"linear_{100 * t:g}": ratio for t, ratio in self.linear.items()},
            "effective_side": self.effective_side,
            "sigma_y": self.sigma_y,
            "sigma_x": self.sigma_x,
            "radius": self.radius,
            "anisotropy": self.anisotropy,
            "gaussian_sigma_y": self.gaussian.sigma_y,
            "gaussian_sigma_x": self.gaussian.sigma_x,
            "gaussian_r2": self.gaussian.r_squared,
            "cross_share": self.cross_share,
            "participation": self.participation,
            "extent": self.extent,
        }

    def record(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return {
            **asdict(self),
            "legacy": {f"{threshold:g}": ratio for threshold, ratio in self.legacy.items()},
            "linear": {f"{threshold:g}": ratio for threshold, ratio in self.linear.items()},
        }


def measure(contribution: np.ndarray, centre: Centre | None = None) -> Measures:
    """Return all measures of a map ``[height, width]``.

    Args:
        contribution: the map, not negative.
        centre: of the squares and of the cross, but for the legacy ratios, which stay as published;
            see :func:`smallest_square`.
    """
    contribution = _checked(contribution)
    sigma_y, sigma_x = second_moment_radius(contribution)
    return Measures(
        legacy={threshold: legacy_area_ratio(contribution, threshold) for threshold in THRESHOLDS},
        linear={threshold: area_ratio(contribution, threshold, centre) for threshold in THRESHOLDS},
        effective_side=effective_side(contribution, centre),
        sigma_y=sigma_y,
        sigma_x=sigma_x,
        radius=hypot(sigma_y, sigma_x),
        anisotropy=anisotropy(contribution),
        gaussian=fit_gaussian(contribution) if _has_mass(contribution) else NO_FIT,
        cross_share=cross_share(contribution, centre),
        participation=participation_ratio(contribution),
        extent=extent(contribution),
    )


def _has_mass(contribution: np.ndarray) -> bool:
    total = contribution.sum()
    return bool(np.isfinite(total) and total > 0)


def _checked(contribution: np.ndarray) -> np.ndarray:
    contribution = np.asarray(contribution, dtype=np.float64)
    if contribution.ndim != 2 or not contribution.size:
        raise UsageError(f"a map is [height, width]; got shape {list(contribution.shape)}")
    return contribution
