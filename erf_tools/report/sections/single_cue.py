"""What networks recognise of single-cue stimuli, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.cue_conflict.makers import maker_label
from erf_tools.report.commands import shape_bias_command
from erf_tools.report.context import Context
from erf_tools.report.maker_content import maker_provenance, told_apart
from erf_tools.report.values import each_once, value_columns


def content(context: Context) -> list[dict[str, Any]]:
    """Return a row per network and set."""
    found = []
    for each in context.results.single_cue:
        for row in each.table.to_dict("records"):
            record = each.records.get(row["model"], {})
            shown = {
                "label": maker_label(row["model"], row["weights"], record),
                "details": row["stimuli"],
                **value_columns(row, "accuracy", "mrr", "mrr_classes"),
                "provenance": maker_provenance(row["stimuli"], record),
                "command": shape_bias_command(record),
            }
            found.append((shown, told_apart(record)))
    return each_once(found)
