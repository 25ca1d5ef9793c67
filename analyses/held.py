"""How often intervals hold a true value that is known, counted over simulated samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.programs import kept
from erf_tools.statistics import Estimate

#: Of a value, relative to it.
_ROUNDING = 1e-9


class Held:
    """Counts intervals and whether they hold the truth, by what they are of."""

    def __init__(self) -> None:
        self._counted: dict[tuple[Any, ...], list[tuple[bool, float]]] = {}

    def add(self, of: tuple[Any, ...], found: Estimate, truth: float) -> None:
        """Count an interval; ``of`` says what it is of. Rounding does not count."""
        slack = _ROUNDING * abs(truth)
        holds = found.low - slack <= truth <= found.high + slack
        self._counted.setdefault(of, []).append((holds, found.high - found.low))

    def rows(self, names: Sequence[str], **common: Any) -> list[dict[str, Any]]:
        """Return a row per kind of interval.

        Args:
            names: of the columns for what :meth:`add` is given.
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


def by_case(
    table: pd.DataFrame, index: Sequence[str], cases: Sequence[str], name: Callable[..., str]
) -> pd.DataFrame:
    """Return coverage with a column per case.

    Args:
        table: of the rows of :class:`Held`.
        index: columns that say what intervals are of.
        cases: columns that say what was simulated.
        name: makes the name of a case of the values of these columns.
    """
    return pd.DataFrame(
        {
            name(*case): own.set_index(list(index))["coverage"]
            for case, own in table.groupby(list(cases), sort=False)
        }
    )


def kept_rows(
    path: Path, setting: Mapping[str, Any], compute: Callable[[], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return rows of a table that an earlier run left, or computed; see :func:`kept`."""
    found: list[dict[str, Any]] = kept(path, setting, lambda: {"rows": compute()})["rows"]
    return found
