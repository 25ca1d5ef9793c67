"""Which units of a feature map are looked from."""

from __future__ import annotations

import re

from erf_tools.errors import UsageError
from erf_tools.text import dimensions

Position = tuple[int, int]

_FORM = re.compile(r"center|grid:(?P<side>[1-9]\d{0,5})|(?P<row>\d{1,6}),(?P<column>\d{1,6})")


def check_unit(unit: str) -> None:
    """Check the form of a choice of units: ``center``, ``ROW,COLUMN`` or ``grid:N``.

    Raises:
        UsageError: it has none of these forms.
    """
    if not _FORM.fullmatch(unit):
        raise UsageError(f"--unit is {unit!r}; it is center, ROW,COLUMN (as in 3,5) or grid:N")


def unit_positions(unit: str, rows: int, columns: int, upper_token: bool) -> list[Position]:
    """Return rows and columns of the units that ``unit`` means in a map of ``rows`` x ``columns``.

    ``grid:N`` is N x N units, evenly spread: at the fractions (k + 1/2) / N of the map.

    Args:
        unit: see :func:`check_unit`.
        rows: of the feature map.
        columns: of the feature map.
        upper_token: take the upper left of the four central units of an even grid.

    Raises:
        UsageError: the map has no such units.
    """
    check_unit(unit)
    form = _FORM.fullmatch(unit)
    assert form
    count = dimensions((rows, columns))
    if form["row"]:
        row, column = int(form["row"]), int(form["column"])
        if row >= rows or column >= columns:
            raise UsageError(
                f"--unit {unit} is outside the feature map, which has {count} units (the first is "
                "0,0)"
            )
        return [(row, column)]
    if form["side"]:
        side = int(form["side"])
        if side > min(rows, columns):
            raise UsageError(f"--unit {unit} asks for more units than the feature map has, {count}")
        return [
            ((2 * down + 1) * rows // (2 * side), (2 * across + 1) * columns // (2 * side))
            for down in range(side)
            for across in range(side)
        ]
    return [central_unit(rows, columns, upper_token)]


def central_unit(rows: int, columns: int, upper_token: bool = False) -> Position:
    """Return the central unit; on an even grid the lower right of the four, or the upper left."""
    shift = int(upper_token)
    return (rows - shift) // 2, (columns - shift) // 2
