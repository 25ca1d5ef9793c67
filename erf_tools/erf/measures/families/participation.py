"""The share of the pixels that take part."""

from __future__ import annotations

import numpy as np

from erf_tools.erf.intervals import Spread, jackknife
from erf_tools.erf.measures.family import Grouped, Groups, Measure
from erf_tools.erf.measures.frame import Frame


class Participation(Grouped):
    """``(sum A) ** 2 / (N sum A ** 2)`` of the ``N`` pixels.

    The noise of a mean over few images makes it smaller; the jackknife corrects that.
    """

    name = "participation"
    order = 60
    measures = (
        Measure(
            "participation",
            "Participation",
            "number",
            "(sum A) ** 2 / (N sum A ** 2): 1 for a uniform map of N pixels, 1 / N for one pixel",
            corrected=True,
            fewest=10,  # of photographs, five held it in .55 to .70 of samples
            highest=1,
        ),
    )

    def of_map(self, contribution: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the participation of a map."""
        scaled = contribution / contribution.max()
        return np.array([scaled.sum() ** 2 / (scaled.size * (scaled**2).sum())])

    def spread(self, groups: Groups, frame: Frame) -> Spread:
        """Return the value, and what it is without the bias of few images."""
        value = self.of_map(groups.mean, frame)
        masses = groups.masses()
        above, below = (_sums(p) for p in (np.outer(masses, masses), groups.products()))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = above / (groups.mean.size * below)
        estimate, deviations = jackknife(ratios[:1], ratios[1:, None], groups.counts)
        return Spread(value, estimate, np.zeros(1), deviations)


def _sums(products: np.ndarray) -> np.ndarray:
    """Return the sum over pairs of groups, and those without each group.

    These are added up anew: of a group that is far above all others, rounding would leave more than
    they have.
    """
    others = ~np.eye(len(products), dtype=bool)
    return np.concatenate([[products.sum()], ((others @ products) * others).sum(axis=1)])
