"""Measures of a contribution map ``A``, float64 ``[height, width]``, not negative.

:data:`~erf_tools.erf.measures.registry.FAMILIES` lists all there are, a module each; tables,
records, intervals and documentation follow from it. A map without mass (zero everywhere, or not
finite) has no measures: they are NaN.
"""

from __future__ import annotations

from functools import cached_property
from math import isnan, nan
from typing import Any

import numpy as np

from erf_tools.erf.intervals import FEWEST, Spread, t_interval
from erf_tools.erf.measures.family import Family, Summed
from erf_tools.erf.measures.frame import Center, Frame
from erf_tools.erf.measures.registry import FAMILIES as FAMILIES
from erf_tools.erf.measures.registry import MEASURES as MEASURES
from erf_tools.erf.measures.registry import PLACES
from erf_tools.erf.measures.sample import Sample
from erf_tools.errors import UsageError
from erf_tools.statistics import Estimate, percentile_interval


class Measures:
    """All measures of a map, each computed when it is first asked for.

    ``measures.NAME`` is the value of the measure with that name in
    :data:`~erf_tools.erf.measures.registry.MEASURES`. It is that of
    the map. Measures that are *corrected* are the exception: theirs is the estimate for infinitely
    many images, where the images are known and enough for an interval.
    """

    def __init__(
        self, contribution: np.ndarray, center: Center | None = None, sample: Sample | None = None
    ) -> None:
        """See the class.

        Args:
            contribution: the map, ``[height, width]``, not negative.
            center: of the squares and of the cross, but for the legacy ratios, which stay as
                published; see :class:`~erf_tools.erf.measures.frame.Frame`.
            sample: what is kept of the images that the map is the mean of.

        Raises:
            UsageError: the map is not two-dimensional or has negative values, or the centre is
                outside it.
        """
        self._map = np.asarray(contribution, dtype=np.float64)
        if self._map.ndim != 2 or not self._map.size:
            raise UsageError(f"a map is [height, width]; got shape {list(self._map.shape)}")
        check_sign(self._map, "the map")
        self._frame, self._sample = Frame(self._map.shape, center), sample
        self._spreads: dict[str, Spread] = {}

    def __getattr__(self, name: str) -> float:
        if name not in PLACES:
            raise AttributeError(f"there is no measure {name!r}")
        return self.estimate(name).value

    def values(self) -> dict[str, float]:
        """Return every value by its name."""
        return {name: self.estimate(name).value for name in MEASURES}

    def columns(self) -> dict[str, float]:
        """Return every value, and both ends of the intervals of measures that may have one."""
        found: dict[str, float] = {}
        for name, measure in MEASURES.items():
            estimate = self.estimate(name)
            found |= estimate.columns(name) if measure.interval else {name: estimate.value}
        return found

    def estimate(self, name: str) -> Estimate:
        """Return a value with its 95 % interval over images; NaN where there is none."""
        measure, (family, place) = MEASURES[name], PLACES[name]
        spread = self._spread(family)
        units = len(spread.deviations)
        plain, estimate = float(spread.value[place]), float(spread.estimate[place])
        if units < FEWEST:
            return Estimate(plain)
        found = family.interval(place, spread, self._effective(family))
        # There is no estimate where all of the map is one image's: nothing is left without it.
        value = estimate if measure.corrected and not isnan(estimate) else plain
        if not measure.interval or units < measure.fewest or isnan(found.low):
            return Estimate(float(np.clip(value, measure.lowest, measure.highest)))
        low, high = (family.rounded_up(place, end, self._frame) for end in (found.low, found.high))
        ends = (value, low, high)
        return Estimate(*(float(np.clip(end, measure.lowest, measure.highest)) for end in ends))

    def difference(self, other: Measures, name: str) -> Estimate:
        """Return the difference to another network's measure, with its paired interval.

        What an image does to both cancels. There is no interval where one of the two has none, or
        where they are not of the same images, grouped alike.
        """
        ours, theirs = self.estimate(name), other.estimate(name)
        value = ours.value - theirs.value
        family, place = PLACES[name]
        one, two = self._spread(family), other._spread(family)
        if isnan(ours.low) or isnan(theirs.low) or not self._pairs_with(other, family):
            return Estimate(value)
        deviations = one.deviations[:, place] - two.deviations[:, place]
        between = one.estimate[place] - two.estimate[place] if one.step[place] else value
        effective = min(self._effective(family), other._effective(family))
        found = t_interval(float(between), deviations, effective)
        if not found.high - found.low > 1e-9 * abs(ours.value):  # but for rounding, the same maps
            return found
        return Estimate(value, found.low - two.step[place], found.high + one.step[place])

    def convergence(self, name: str) -> list[tuple[int, Estimate]]:
        """Return, for several numbers of images, median and 95 % range of a measure over samples.

        Samples are drawn from the images with replacement. Only measures of sums over images have
        such a curve.
        """
        family, place = PLACES[name]
        sample = self._sample
        if sample is None or not sample.has(family) or not isinstance(family, Summed):
            return []
        found = []
        for size in sample.sizes():
            values = family.of_sums(sample.drawn(family.name, size), self._frame)[:, place]
            found.append((size, percentile_interval(float(np.nanmedian(values)), values)))
        return found

    @cached_property
    def without_intervals(self) -> str:
        """Why there are no intervals; empty where there are."""
        if not self._map.any():
            return "the map is zero everywhere"
        if self._sample is None:
            return "the images' own maps are not known, or add up with their sign"
        images = len(self._sample)
        if images < FEWEST:
            return f"{images} images are fewer than {FEWEST}"
        alone = f"the maps of all but one of {images} images are zero"
        return "" if self._sample.with_mass > 1 else alone

    @cached_property
    def without_whole_map_intervals(self) -> str:
        """Why measures that need whole maps have no intervals where others do; empty else."""
        if self.without_intervals or self._sample is None:
            return ""
        return self._sample.without_spreads

    def record(self) -> dict[str, Any]:
        """Return values and intervals as JSON values."""
        return {**self.columns(), "without_intervals": self.without_intervals}

    def _spread(self, family: Family) -> Spread:
        if family.name not in self._spreads:
            self._spreads[family.name] = self._made(family)
        return self._spreads[family.name]

    def _made(self, family: Family) -> Spread:
        total = self._map.sum()
        if not (np.isfinite(total) and total > 0):
            value = np.full(len(family.measures), nan)
        elif self._sample is None or not self._sample.has(family):
            value = np.asarray(family.of_map(self._map, self._frame), dtype=np.float64)
        elif isinstance(family, Summed):
            return family.spread(self._sample.sums[family.name], self._frame)
        else:
            return self._sample.spreads[family.name]
        return Spread(value, value, np.zeros(len(value)), np.empty((0, len(value))))

    def _pairs_with(self, other: Measures, family: Family) -> bool:
        assert self._sample is not None
        assert other._sample is not None
        return self._sample.pairs_with(other._sample, by_groups=not isinstance(family, Summed))

    def _effective(self, family: Family) -> float:
        assert self._sample is not None
        return self._sample.effective(by_groups=not isinstance(family, Summed))


def check_sign(contribution: np.ndarray, name: str) -> None:
    """See that a map, called ``name``, has no negative values, of which there are no measures.

    Raises:
        UsageError: it has.
    """
    if (contribution < 0).any():
        raise UsageError(
            f"{name} has negative values; a map of contributions has none (of a mean with signs, "
            "take the absolute value)"
        )


def measure(contribution: np.ndarray, center: Center | None = None) -> Measures:
    """Return all :class:`~erf_tools.erf.measures.Measures` of a map ``[height, width]``.

    For ``center`` and what is refused see there. A map that is zero everywhere, or has values that
    are not finite, has measures that are NaN.
    """
    return Measures(contribution, center)
