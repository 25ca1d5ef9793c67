"""All measures of many resampled maps at once, without making each map.

Row by row the draws' maps are a product of two matrices, and every measure is made of sums over
rows: over rings about a centre, moments, blocks. :func:`erf_tools.erf.measures.measure` of each
resampled map gives the same and takes far longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import nan

import numpy as np

from erf_tools.erf.gaussian import block_edges, fit_blocks
from erf_tools.erf.measures import (
    EXTENT_SHARE,
    THRESHOLDS,
    Centre,
    axis_ratio,
    cross_row,
    cut_square,
    doubled_centre,
    rings_along,
)


def subsample_weights(parts: int, size: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each part is drawn: integers ``[draws, parts]`` with rows of sum ``size``.

    Parts are drawn with replacement.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(size, np.full(parts, 1 / parts), size=draws)


def resampled_measures(
    parts: np.ndarray, counts: np.ndarray, weights: np.ndarray, centre: Centre | None = None
) -> dict[str, np.ndarray]:
    """Return each measure of the mean map of each draw.

    Args:
        parts: sums of maps over groups of images, ``[parts, height, width]``, with their sign.
        counts: number of images in each part, at least one.
        weights: how often each draw has each part, integers ``[draws, parts]``.
        centre: as in :func:`erf_tools.erf.measures.measure`.

    Returns:
        By the names of :meth:`erf_tools.erf.measures.Measures.values`: float64 ``[draws]``, NaN
        for draws whose map has no mass.
    """
    shape = parts.shape[1:]
    means = (weights / (weights @ counts)[:, None]).astype(np.float32)
    sums = _Sums(len(weights), shape, centre, _centroid(np.abs(parts.sum(axis=0))))
    for row, maps in _rows(parts, means):
        sums.add(row, maps)
    found = sums.measures()
    above = np.zeros(len(weights))
    for _, maps in _rows(parts, means):
        above += np.count_nonzero(maps > EXTENT_SHARE * sums.peak[:, None], axis=1)
    found["extent"] = np.where(sums.has_mass, np.sqrt(above), nan)
    return found


def _centroid(total: np.ndarray) -> tuple[int, int]:
    """Return the pixel nearest to a map's centroid: moments about it lose least to rounding."""
    row, column = (
        int(np.rint(np.average(np.arange(length), weights=total.sum(axis=axis, dtype=float))))
        if total.any()
        else length // 2
        for axis, length in ((1, total.shape[0]), (0, total.shape[1]))
    )
    return row, column


def _rows(parts: np.ndarray, means: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each row of the draws' maps, float32 ``[draws, width]``."""
    for row in range(parts.shape[1]):
        yield row, np.abs(means @ parts[:, row].astype(np.float32, copy=False))


class _Rings:
    """Sums over the rings about a centre, ``[draws, rings]``, gathered row by row."""

    def __init__(self, draws: int, shape: tuple[int, ...], doubled: tuple[int, int]) -> None:
        self._shape, self._doubled = shape, doubled
        self._down, self._across = (
            rings_along(length, middle) for length, middle in zip(shape, doubled, strict=True)
        )
        self._right = (doubled[1] + 1) // 2
        self._sums = np.zeros((draws, max(self._down.max(), self._across.max()) + 1))

    def add(self, row: int, values: np.ndarray) -> None:
        """Add one row ``[draws, width]``."""
        ring, across, right = self._down[row], self._across, self._right
        folded = np.zeros((len(values), across.max() + 1), dtype=np.float32)
        folded[:, across[right] : across[-1] + 1] = values[:, right:]
        if right:
            folded[:, across[right - 1] : across[0] + 1] += values[:, right - 1 :: -1]
        # Pixels nearer than the row is far belong to the row's ring, the others to their own.
        self._sums[:, ring] += folded[:, : ring + 1].sum(axis=1)
        self._sums[:, ring + 1 : folded.shape[1]] += folded[:, ring + 1 :]

    def areas(self, threshold: float) -> np.ndarray:
        """Return the number of pixels of each draw's smallest square above a threshold."""
        sums = self._sums.copy()
        if sums.shape[1] > 1:  # the smallest square is number 1
            sums[:, 1] += sums[:, 0]
            sums[:, 0] = 0
        held = np.cumsum(sums, axis=1)
        with np.errstate(invalid="ignore"):
            reach = (held / held[:, -1:] > threshold).argmax(axis=1)
        areas = np.array(
            [
                cut_square(self._shape, self._doubled, max(number, 1)).area
                for number in range(sums.shape[1])
            ]
        )
        return areas[reach]


class _Sums:
    """What the measures are made of, gathered row by row for all draws."""

    def __init__(
        self,
        draws: int,
        shape: tuple[int, ...],
        centre: Centre | None,
        origin: tuple[int, int],
    ) -> None:
        self._shape, self._origin = shape, origin
        self._doubled = doubled_centre(shape, centre)
        self._linear = _Rings(draws, shape, self._doubled)
        self._legacy = _Rings(draws, shape, doubled_centre(shape, None))
        # Columns: 1, x, x ** 2, y, y ** 2, x * y, on the cross, counted for the cross.
        self._moments = np.zeros((draws, 8))
        self._squares = np.zeros(draws)
        self.peak = np.zeros(draws, dtype=np.float32)
        self._edges = block_edges(shape[0]), block_edges(shape[1])
        self._blocks = np.zeros((draws, len(self._edges[0]) - 1, len(self._edges[1]) - 1))

    def add(self, row: int, maps: np.ndarray) -> None:
        """Add one row ``[draws, width]``."""
        width = self._shape[1]
        self._linear.add(row, maps)
        self._legacy.add(row, _log1p(maps))
        across = np.arange(width) - self._origin[1]
        on_cross, counted = cross_row(row, width, self._doubled)
        basis = np.stack([np.ones(width), across, across**2, on_cross, counted], axis=1)
        mass, first, second, cross, outside = (maps @ basis.astype(np.float32)).T.astype(float)
        down = row - self._origin[0]
        self._moments += np.stack(
            [mass, first, second, down * mass, down**2 * mass, down * first, cross, outside], axis=1
        )
        self._squares += np.einsum("dw,dw->d", maps, maps)
        self.peak = np.maximum(self.peak, maps.max(axis=1))
        block = np.searchsorted(self._edges[0], row, side="right") - 1
        self._blocks[:, block] += np.add.reduceat(maps, self._edges[1][:-1], axis=1)

    @property
    def has_mass(self) -> np.ndarray:
        """Which draws have a map that is not zero and finite, booleans ``[draws]``."""
        mass = self._moments[:, 0]
        return np.isfinite(mass) & (mass > 0)

    def measures(self) -> dict[str, np.ndarray]:
        """Return all measures but the extent, which needs the peak first."""
        pixels = self._shape[0] * self._shape[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            moments = self._moments / self._moments[:, :1]
            _, x, xx, y, yy, xy, cross, outside = moments.T
            variance_y, variance_x = np.maximum(yy - y**2, 0), np.maximum(xx - x**2, 0)
            covariance = xy - x * y
            gaussian = np.full((len(moments), 3), nan)
            if self.has_mass.any():
                fits, r_squared = fit_blocks(self._blocks[self.has_mass], *self._edges)
                gaussian[self.has_mass] = np.column_stack([fits[:, 3:], r_squared])
            found = {
                **{f"legacy_{100 * t:g}": self._legacy.areas(t) / pixels for t in THRESHOLDS},
                **{f"linear_{100 * t:g}": self._linear.areas(t) / pixels for t in THRESHOLDS},
                "effective_side": np.sqrt(self._linear.areas(0.5)),
                "sigma_y": np.sqrt(variance_y),
                "sigma_x": np.sqrt(variance_x),
                "radius": np.sqrt(variance_y + variance_x),
                "anisotropy": np.array(
                    [
                        axis_ratio(*each)
                        for each in zip(variance_y, variance_x, covariance, strict=True)
                    ]
                ),
                "gaussian_sigma_y": gaussian[:, 0],
                "gaussian_sigma_x": gaussian[:, 1],
                "gaussian_r2": gaussian[:, 2],
                "cross_share": np.where(outside > 0, cross / outside, nan),
                "participation": self._moments[:, 0] ** 2 / (pixels * self._squares),
            }
        return {name: np.where(self.has_mass, values, nan) for name, values in found.items()}


def _log1p(values: np.ndarray) -> np.ndarray:
    """Return log(1 + values), exact for small values too, with numpy's fast logarithm.

    Kahan's form, in which the rounding of ``1 + x`` cancels (Higham, Accuracy and Stability of
    Numerical Algorithms, section 1.14.1).
    """
    above = values + np.float32(1)
    difference = above - np.float32(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(difference > 0, np.log(above) * (values / difference), values)
