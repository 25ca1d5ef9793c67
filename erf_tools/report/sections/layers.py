"""Layers that were measured without a head, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.cue_conflict.layer_tables import notes
from erf_tools.cue_conflict.representation import MEASURES
from erf_tools.cue_conflict.tables import caution, cues_of
from erf_tools.labels import UNTRAINED, labelled
from erf_tools.report.commands import head_free_command
from erf_tools.report.context import Context
from erf_tools.report.maker_content import maker_provenance, told_apart
from erf_tools.report.values import each_once, value_columns


def content(context: Context) -> list[dict[str, Any]]:
    """Return the networks of which layers were measured without a head, by cues."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in context.results.layers:
        cues = cues_of(each.table)
        own = found.setdefault(
            cues, {"cues": list(cues), "caution": caution(cues), "notes": {}, "networks": []}
        )
        own["notes"] |= dict.fromkeys(notes(each.table))
        for (model, weights), rows in each.table.groupby(["model", "weights"], sort=False):
            record, stimuli = each.records.get(str(model), {}), rows["stimuli"].iloc[0]
            network = {
                "label": labelled(str(model), weights != UNTRAINED),
                "details": stimuli,
                "ordered": "ordered" in rows and bool(rows["ordered"].all()),
                "points": [
                    {
                        "layer": row["layer"],
                        "dimensions": int(row["dimensions"]),
                        **value_columns(row, *MEASURES),
                    }
                    for row in rows.to_dict("records")
                ],
                "provenance": maker_provenance(stimuli, record),
                "command": head_free_command(record) if record else None,
            }
            own["networks"].append((network, told_apart(record)))
    for own in found.values():
        own["notes"] = list(own["notes"])
        own["networks"] = each_once(own["networks"])
    return list(found.values())
