"""The area ratios as published, on ``log10(A + 1)``: they depend on the scale of the map."""

from __future__ import annotations

import numpy as np

from erf_tools.erf.intervals import Spread, jackknife
from erf_tools.erf.measures.families.squares import THRESHOLDS, areas_holding, smallest_area
from erf_tools.erf.measures.family import Grouped, Groups, Measure
from erf_tools.erf.measures.frame import Frame

#: Rows of a map whose logarithms are taken at once.
_ROWS = 32


#: Headings of those that are compared most.
_PAGE = {share: f"r at {100 * share:g} %, as published (log)" for share in (0.5, 0.99)}


class Legacy(Grouped):
    """Area ratios on ``log10(A + 1)``, about the published centre."""

    name = "legacy"
    order = 20
    measures = tuple(
        Measure(
            f"legacy_{100 * threshold:g}",
            f"legacy r at {100 * threshold:g} %, %",
            "per cent",
            f"as linear_{100 * threshold:g}, of log10(A + 1) and about the published centre; it "
            "depends on the scale of A: compare it with published values only",
            page=_PAGE.get(threshold, ""),
            highest=1,
        )
        for threshold in THRESHOLDS
    )

    def of_map(self, contribution: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the ratios of a map."""
        return _ratios(contribution, Frame(frame.shape))[0]

    def rounded_up(self, place: int, value: float, frame: Frame) -> float:
        """Return the smallest value, at least ``value``, that is a square's."""
        pixels = frame.shape[0] * frame.shape[1]
        return smallest_area(value * pixels, Frame(frame.shape)) / pixels

    def spread(self, groups: Groups, frame: Frame) -> Spread:
        """Return ratios, whose spread is that of squares of any side."""
        published = Frame(frame.shape)
        value, estimate, below = _ratios(groups.mean, published)
        without = [_ratios(mean, published)[1] for mean in groups.means_without()]
        _, deviations = jackknife(estimate, np.stack(without), groups.counts)
        return Spread(value, estimate, value - below, deviations)


def _ratios(contribution: np.ndarray, frame: Frame) -> list[np.ndarray]:
    rings = frame.rings(frame.fold(_log1p(contribution)))
    pixels = frame.shape[0] * frame.shape[1]
    return [areas / pixels for areas in areas_holding(rings, THRESHOLDS, frame)]


def _log1p(values: np.ndarray) -> np.ndarray:
    """Return log(1 + values), several times as fast as NumPy's own and as exact.

    It is the logarithm of ``1 + values`` as rounded, with what rounding took; a few rows at a time,
    which stay in the processor's cache.
    """
    found = np.empty_like(values)
    one = values.dtype.type(1)
    for start in range(0, len(values), _ROWS):
        own, logarithm = values[start : start + _ROWS], found[start : start + _ROWS]
        above = own + one
        np.log(above, out=logarithm)
        lost = own - (above - one)
        lost /= above
        logarithm += lost
    return found
