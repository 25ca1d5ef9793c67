"""What a page shows of decisions, and of layers without a head, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from erf_tools.cue_conflict import layer_tables
from erf_tools.cue_conflict import tables as decision_tables
from erf_tools.cue_conflict.absolute import MEASURES as ABSOLUTE
from erf_tools.cue_conflict.categories import worded
from erf_tools.cue_conflict.makers import maker_label
from erf_tools.cue_conflict.published import HUMANS
from erf_tools.cue_conflict.representation import MEASURES as LAYER_MEASURES
from erf_tools.cue_conflict.tables import caution, cues_of
from erf_tools.failures import Failures
from erf_tools.files import understood
from erf_tools.labels import UNTRAINED, labelled
from erf_tools.report.commands import head_free_command, shape_bias_command
from erf_tools.report.results import HeadFreeLayers, ShapeBias, SingleCue
from erf_tools.report.values import (
    network_lines,
    plain,
    set_distinct,
    value_columns,
    versions_line,
)
from erf_tools.statistics import Estimate
from erf_tools.tables import estimate_text

#: Columns of ``shape_bias.csv`` that hold numbers.
_NUMBERS = (
    *("shape", "texture", "total", "coverage"),
    *("shape_bias", "shape_bias_low", "shape_bias_high"),
    *("kappa_human", "kappa_human_low", "kappa_human_high"),
)


def makers_content(biases: Sequence[ShapeBias], failures: Failures) -> list[dict[str, Any]]:
    """Return the decision makers of all folders, each once.

    Args:
        biases: results.
        failures: what cannot be shown is added.
    """
    found: list[dict[str, Any]] = []
    for bias in biases:
        for row in bias.makers.to_dict("records"):
            with failures.alone(f"{bias.folder}: {row['model']}"), understood(bias.folder):
                own = bias.categories[bias.categories["model"] == row["model"]]
                maker = plain(_maker(row, own, bias.records.get(row["model"], {})))
                # Published rows stand in every folder.
                if maker not in found:
                    found.append(maker)
    set_distinct(found)
    return found


def bias_sets(biases: Sequence[ShapeBias]) -> list[dict[str, Any]]:
    """Return the pairs of cues with their categories, and what a reader has to know of each."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, None]] = {}
    for bias in biases:
        notes = found.setdefault((cues_of(bias.makers), _names(bias.categories)), {})
        notes |= dict.fromkeys(decision_tables.notes(bias.makers))
    return [
        {
            "cues": list(cues),
            "categories": list(names),
            "caution": caution(cues),
            "notes": list(notes),
        }
        for (cues, names), notes in found.items()
    ]


def layers_content(layers: Sequence[HeadFreeLayers]) -> list[dict[str, Any]]:
    """Return the networks of which layers were measured without a head, by cues."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in layers:
        cues = cues_of(each.table)
        own = found.setdefault(
            cues, {"cues": list(cues), "caution": caution(cues), "notes": {}, "networks": []}
        )
        own["notes"] |= dict.fromkeys(layer_tables.notes(each.table))
        for (model, weights), rows in each.table.groupby(["model", "weights"], sort=False):
            record = each.records.get(str(model), {})
            network = {
                "label": labelled(str(model), weights != UNTRAINED),
                "details": rows["stimuli"].iloc[0],
                "points": [
                    {
                        "layer": row["layer"],
                        "dimensions": int(row["dimensions"]),
                        **value_columns(row, *LAYER_MEASURES),
                    }
                    for row in rows.to_dict("records")
                ],
                "provenance": maker_provenance({"stimuli": rows["stimuli"].iloc[0]}, record),
                "command": head_free_command(record) if record else None,
            }
            if network not in own["networks"]:
                own["networks"].append(network)
    for own in found.values():
        own["notes"] = list(own["notes"])
        set_distinct(own["networks"])
    return list(found.values())


def single_cue_content(results: Sequence[SingleCue]) -> list[dict[str, Any]]:
    """Return what networks recognise of single-cue stimuli, a row per network and set."""
    found = []
    for each in results:
        for row in each.table.to_dict("records"):
            record = each.records.get(row["model"], {})
            found.append(
                {
                    "label": maker_label(row["model"], row["weights"], record),
                    "stimuli": row["stimuli"],
                    "total": int(row["total"]),
                    **value_columns(row, "accuracy", "mrr", "mrr_classes"),
                    "provenance": maker_provenance(row, record),
                    "command": shape_bias_command(record),
                }
            )
    return found


def _names(categories: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(categories["category"]))


def _maker(
    row: Mapping[Any, Any], categories: pd.DataFrame, record: Mapping[str, Any]
) -> dict[str, Any]:
    human, cues = not row["weights"], str(row["cues"]).split(", ")
    counts = categories[["shape", "texture", "shape_bias"]]
    return {
        "model": row["model"],
        "cues": cues,
        "categories": list(_names(categories)),
        "label": maker_label(row["model"], row["weights"], record),
        "details": row["stimuli"],
        "human": human,
        # As in the matrix plot: observers stand pooled.
        "observer": human and not row["model"].startswith(HUMANS),
        "published": row["kind"] == "published counts",
        "untrained": row["weights"] == UNTRAINED,
        "weights": row["weights"],
        "weights_sha256": row["weights_sha256"],
        "stimuli": row["stimuli"],
        "low_coverage": bool(row["low_coverage"]),
        **{name: _number(row[name]) for name in _NUMBERS},
        "absolute": [
            f"{worded(title, cues)} {_estimate(row, name)}"
            for name, title in ABSOLUTE.items()
            if row[name] == row[name]
        ],
        "by_category": [[_number(value) for value in line] for line in counts.to_numpy().tolist()],
        "provenance": maker_provenance(row, record),
        "command": shape_bias_command(record),
    }


def _estimate(row: Mapping[Any, Any], name: str) -> str:
    return estimate_text(Estimate(*value_columns(row, name).values()), lambda value: f"{value:.3f}")


def _number(value: Any) -> float:
    return value if isinstance(value, int) else float(value)


def maker_provenance(row: Mapping[Any, Any], record: Mapping[str, Any]) -> list[list[str]]:
    """Return what is known of how a row of a table was made, as terms and what they are.

    Args:
        row: of the table, with the column ``stimuli``.
        record: provenance, as JSON values.
    """
    lines = [["Kind", str(record.get("kind", "not recorded"))]]
    if source := record.get("source"):
        lines.append(["Source", source])
    if files := record.get("files"):
        lines.append(["Files", ", ".join(files)])
    if observers := record.get("observers"):
        lines.append(["Observers", ", ".join(observers)])
    if model := record.get("model"):
        lines += [
            *network_lines(model),
            ["Stimuli", f"{row['stimuli']} from {record['stimuli']['source']}"],
            ["Preset", f"{record['preset']}: {record['preset_description']}"],
        ]
        if own := record["stimuli"].get("categories"):
            lines.append(["Cues", ", ".join(own["cues"])])
            lines.append(["Categories", ", ".join(own["names"])])
        if "aggregation" in record:
            lines.append(["Aggregation", record["aggregation"]])
        if head := model["arguments"].get("zero_shot"):
            lines.append(["Prompts", ", ".join(head["templates"])])
        if record.get("head") == "probabilities":
            lines.append(["Head", "gives probabilities, which are taken as they are"])
    if "versions" in record:
        lines.append(versions_line(record["versions"]))
    return lines
