"""How sure a measure is, given the images: bootstrap intervals, pairs, and a convergence curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from erf_tools.erf.bootstrap import resampled_measures, subsample_weights
from erf_tools.statistics import Estimate, percentile_interval, resampling_weights

#: Bootstrap draws: an end of an interval then settles within about a tenth of its half-width.
DRAWS = 400
#: Draws for each point of the convergence curve.
_CURVE_DRAWS = 50
#: Numbers of images of the convergence curve.
_SIZES = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True, eq=False)
class Resamples:
    """Measures of resampled means, from which intervals are read.

    What is resampled are groups of images: single images, or several where there are many, since
    each group costs a map in memory.

    Attributes:
        measures: names, as in :meth:`erf_tools.erf.measures.Measures.values`.
        draws: ``[measures, draws]``: of as many groups as there are, drawn with replacement
            (Efron 1979).
        sizes: numbers of groups of the convergence curve, rising.
        subsamples: ``[measures, sizes, draws]``: of so many groups, drawn with replacement.
        images: number of images in the groups, each.
        seed: of the draws.
    """

    measures: tuple[str, ...]
    draws: np.ndarray
    sizes: tuple[int, ...]
    subsamples: np.ndarray
    images: tuple[int, ...]
    seed: int

    def estimate(self, measure: str, value: float) -> Estimate:
        """Return a measure's ``value`` with its interval."""
        return percentile_interval(value, self.draws[self.measures.index(measure)])

    def difference(self, other: Resamples, measure: str, value: float) -> Estimate | None:
        """Return the difference ``value`` to another network on the same images, with interval.

        Both are resampled alike, so that what an image does to both cancels. ``None`` where they
        were not: the groups or the seed differ.
        """
        if (self.images, self.seed) != (other.images, other.seed):
            return None
        row, column = self.measures.index(measure), other.measures.index(measure)
        return percentile_interval(value, self.draws[row] - other.draws[column])

    def convergence(self, measure: str) -> list[tuple[int, Estimate]]:
        """Return numbers of images, and median and 95 % range of a measure over such samples."""
        curve = self.subsamples[self.measures.index(measure)]
        per_group = sum(self.images) / len(self.images)
        return [
            (round(size * per_group), percentile_interval(float(np.nanmedian(draws)), draws))
            for size, draws in zip(self.sizes, curve, strict=True)
            if np.isfinite(draws).any()
        ]

    def record(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON values."""
        return {
            "measures": list(self.measures),
            "sizes": list(self.sizes),
            "images": list(self.images),
            "seed": self.seed,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {"draws": self.draws, "subsamples": self.subsamples}

    @classmethod
    def from_stored(cls, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> Resamples:
        """Make again what :meth:`arrays` and :meth:`record` gave."""
        return cls(
            tuple(record["measures"]),
            arrays["draws"],
            tuple(record["sizes"]),
            arrays["subsamples"],
            tuple(record["images"]),
            record["seed"],
        )


def resample(
    parts: np.ndarray,
    images: np.ndarray,
    centre: tuple[float, float] | None = None,
    seed: int = 0,
) -> Resamples | None:
    """Resample groups of images and measure the mean map of each draw.

    Args:
        parts: sums of maps over groups of images, ``[groups, height, width]``, with their sign.
        images: number of images in each group.
        centre: of the squares of the linear measures; see
            :func:`erf_tools.erf.measures.smallest_square`.
        seed: of the draws.

    Returns:
        The resamples; ``None`` with fewer than two groups, which say nothing of the spread.
    """
    counted = images > 0
    groups = int(counted.sum())
    if groups < 2:
        return None
    sizes = tuple(size for size in (*_SIZES, groups) if size <= groups)
    sizes = tuple(sorted(set(sizes)))
    weights = [resampling_weights(groups, DRAWS, seed)]
    weights += [subsample_weights(groups, size, _CURVE_DRAWS, seed + size) for size in sizes]
    found = resampled_measures(
        parts if counted.all() else parts[counted], images[counted], np.concatenate(weights), centre
    )
    values = np.stack([*found.values()])
    return Resamples(
        measures=tuple(found),
        draws=values[:, :DRAWS],
        sizes=sizes,
        subsamples=values[:, DRAWS:].reshape(len(values), len(sizes), _CURVE_DRAWS),
        images=tuple(int(count) for count in images[counted]),
        seed=seed,
    )
