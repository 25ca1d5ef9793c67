"""How often intervals hold a true value that is known, counted over simulated samples."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from erf_tools.statistics import Estimate


class Held:
    """Counts intervals and whether they hold the truth, by what they are of."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, ...], list[tuple[bool, float]]] = {}

    def add(self, of: tuple[str, ...], found: Estimate, truth: float) -> None:
        """Count an interval; ``of`` are words that say what it is of."""
        holds = found.low <= truth <= found.high
        self._counted.setdefault(of, []).append((holds, found.high - found.low))

    def rows(self, names: Sequence[str], **common: Any) -> list[dict[str, Any]]:
        """Return a row per kind of interval.

        Args:
            names: of the columns for the words of :meth:`add`.
            common: columns that are the same in all rows, which come first.

        Returns:
            Rows with these columns and ``coverage`` in [0, 1], ``standard_error`` of it, and
            ``mean_width`` in the unit of the estimate.
        """
        rows = []
        for of, counted in self._counted.items():
            share, width = np.mean(np.array(counted, dtype=float), axis=0).tolist()
            rows.append(
                {
                    **common,
                    **dict(zip(names, of, strict=True)),
                    "coverage": share,
                    "standard_error": sqrt(share * (1 - share) / len(counted)),
                    "mean_width": width,
                }
            )
        return rows
