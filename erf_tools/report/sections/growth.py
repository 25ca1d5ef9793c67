"""How the effective side grows from layer to layer, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.erf.networks import depths, growth_names, growths
from erf_tools.report.context import Context
from erf_tools.report.values import value_columns


def content(context: Context) -> list[dict[str, Any]]:
    """Return the sides of networks that were measured at several layers."""
    table = {each.result: each.row for each in context.erfs}
    rows = [row for row in growths(list(table)) if len(row) > 1]
    return [
        {
            "label": label,
            "ordered": depths(row) is not None,
            "points": [
                {
                    "layer": table[result]["layer"],
                    **value_columns(table[result], "effective_side"),
                    "theoretical": result.theoretical_side,
                }
                for result in row
            ],
        }
        for label, row in zip(growth_names(rows), rows, strict=True)
    ]
