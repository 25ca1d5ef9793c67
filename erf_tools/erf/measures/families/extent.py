"""The size of an ERF by Luo et al. 2016. It depends on a single pixel, the highest."""

from __future__ import annotations

import numpy as np

from erf_tools.erf.measures.family import Grouped, Measure
from erf_tools.erf.measures.frame import Frame

#: Luo et al. 2016 count the pixels above this share of the peak: two standard deviations in 2-D.
_SHARE = 0.0455


class Extent(Grouped):
    """Root of the number of pixels above a share of the peak (Luo et al. 2016, section 3).

    Of a Gaussian these pixels are the ellipse of two and a half standard deviations. There is no
    interval: the highest pixel of a mean over few images is too high, and no rule corrects that.
    """

    name = "extent"
    order = 70
    measures = (
        Measure(
            "extent",
            "",
            "pixels",
            "root of the number of pixels above 4.55 % of the peak (Luo et al. 2016), of the mean "
            "map: with few images its peak is chance",
            interval=False,
        ),
    )

    def of_map(self, contribution: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the extent of a map."""
        return np.sqrt([np.count_nonzero(contribution > _SHARE * contribution.max())])
