"""How maps are shown."""

from __future__ import annotations

from math import inf

import numpy as np


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
    logarithm = np.log10(contribution + 1)
    peak = logarithm.max()
    return logarithm / peak if 0 < peak < inf else logarithm
