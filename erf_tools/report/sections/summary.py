"""What stands in and below the table of all maps, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.erf import shown_tables
from erf_tools.erf.published import MAPS_STANDING
from erf_tools.erf.tables import erf_table, with_published, without_published
from erf_tools.labels import PUBLISHED, labelled
from erf_tools.report.context import Context
from erf_tools.report.map_content import COLUMNS, SHOWN


def content(context: Context) -> list[dict[str, Any]]:
    """Return columns, notes about all maps, and the rows of published ones that stand beside."""
    if not context.maps:
        return []
    table = erf_table([each.result for each in context.erfs], context.results.others)
    table = (with_published if context.reference else without_published)(table)
    published = [
        {
            "label": labelled(row["model"], True, PUBLISHED),
            "weights": MAPS_STANDING.partition(" of ")[0],
            "images": int(row["images"]),
            "resolution": [int(side) for side in row["resolution"].split("x")],
            "theoretical": None,
            "theoretical_size": "not known",
            "measures": {name: row[name] for name in COLUMNS},
        }
        for row in table[table["weights"] == PUBLISHED].to_dict("records")
    ]
    columns = [[measure.name, measure.page, measure.unit] for measure in SHOWN]
    return [{"columns": columns, "notes": shown_tables.notes(table), "published": published}]
