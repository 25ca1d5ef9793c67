"""The share of a map that lies on the cross through its centre."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from erf_tools.erf.measures.family import Measure, Summed
from erf_tools.erf.measures.frame import Frame

#: Nearer to an axis than to a diagonal is below 22.5 degrees.
_AXIS_SLOPE = sqrt(2) - 1


class Cross(Summed):
    """The mass that lies nearer, in angle, to the centre's row or column than to a diagonal.

    It is a share in [0, 1]; what lies at the centre itself is left out.
    """

    name = "cross"
    order = 50
    measures = (
        Measure(
            "cross_share",
            "Cross share",
            "number",
            "share of A nearer to the centre's row or column than to a diagonal: 1/2 for a map "
            "that is the same in every direction, more for the crosses of large square kernels",
            highest=1,
        ),
    )

    def sums(self, maps: Any, folded: Any, frame: Frame) -> Any:
        """Return the mass on the cross, and all but that at the centre."""
        down, across = frame.down[:, None], frame.across[None, :]
        on_cross = (down < _AXIS_SLOPE * across) | (across < _AXIS_SLOPE * down)
        counted = (down > 0) | (across > 0)
        which = frame.number[:2, None, None]
        kept = folded[..., None, :, :] * ((on_cross | (which > 0)) & counted)
        return kept.sum(-1).sum(-1)

    def of_sums(self, sums: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the share, NaN where all lies at the centre."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., :1] / sums[..., 1:]
