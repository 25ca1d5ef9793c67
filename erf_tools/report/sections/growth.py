"""How the effective side grows from layer to layer, as JSON values."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from erf_tools.report.context import Context, ShownERF
from erf_tools.report.values import details, set_distinct, value_columns


def content(context: Context) -> list[dict[str, Any]]:
    """Return the sides of networks that were measured at several layers."""
    networks: dict[tuple[str, str], list[ShownERF]] = {}
    for each in context.erfs:
        name = each.result.network_label, details(each.result.setting)
        networks.setdefault(name, []).append(each)
    found = [
        {
            "label": label,
            "details": detail,
            "points": [
                {
                    "layer": each.row["layer"],
                    **value_columns(each.row, "effective_side"),
                    "theoretical": sqrt(prod(each.result.theoretical_size)),
                }
                for each in own
            ],
        }
        for (label, detail), own in networks.items()
        if len({each.row["layer"] for each in own}) > 1
    ]
    set_distinct(found)
    return found
