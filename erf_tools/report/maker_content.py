"""What a page shows of decision makers, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from erf_tools.cue_conflict.absolute import MEASURES as ABSOLUTE
from erf_tools.cue_conflict.categories import worded
from erf_tools.cue_conflict.makers import maker_label
from erf_tools.cue_conflict.published import HUMANS
from erf_tools.failures import Failures
from erf_tools.files import understood
from erf_tools.labels import UNTRAINED
from erf_tools.report.commands import shape_bias_command
from erf_tools.report.results import ShapeBias
from erf_tools.report.values import each_once, network_lines, plain, value_columns, versions_line
from erf_tools.statistics import Estimate
from erf_tools.tables import estimate_text, interval_columns

#: Columns of ``shape_bias.csv`` that hold numbers.
_NUMBERS = (
    *("shape", "texture", "total", "coverage"),
    *interval_columns("shape_bias", "kappa_human"),
)


def makers_content(biases: Sequence[ShapeBias], failures: Failures) -> list[dict[str, Any]]:
    """Return the decision makers of all folders, each once; what cannot be shown is a failure."""
    found: list[tuple[dict[str, Any], list[str]]] = []
    for bias in biases:
        for row in bias.makers.to_dict("records"):
            with failures.alone(f"{bias.folder}: {row['model']}"), understood(bias.folder):
                own = bias.categories[bias.categories["model"] == row["model"]]
                record = bias.records.get(row["model"], {})
                found.append((plain(_maker(row, own, record)), plain(told_apart(record))))
    return each_once(found)  # published rows stand in every folder


def told_apart(record: Mapping[str, Any]) -> list[str]:
    """Return what may tell rows of one label and the same stimuli apart: words, empty if not known.

    Args:
        record: provenance of a row about stimuli.
    """
    stimuli, versions = record.get("stimuli", {}), record.get("versions", {})
    weights = record["model"]["weights"] if "model" in record else {"source": "", "sha256": ""}
    known = {
        "weights": weights["sha256"][:8],
        **{name: record.get(name) for name in ("preset", "aggregation", "similarity", "prompts")},
        "output": record.get("output_key"),
        "stimuli from": stimuli.get("source"),
        "stimuli": stimuli.get("sha256", "")[:8],
        "erf-tools": versions.get("erf-tools"),
    }
    return [
        weights["source"] or ", ".join(record.get("files", ())),
        *("" if value in (None, "") else f"{name} {value}" for name, value in known.items()),
        "other classes of the categories" if record.get("label_map") else "",
    ]


def category_names(categories: pd.DataFrame) -> tuple[str, ...]:
    """Return the categories of a table, each once."""
    return tuple(dict.fromkeys(categories["category"]))


def _maker(
    row: Mapping[Any, Any], categories: pd.DataFrame, record: Mapping[str, Any]
) -> dict[str, Any]:
    human, cues = not row["weights"], str(row["cues"]).split(", ")
    counts = categories[["shape", "texture", "shape_bias"]]
    return {
        "model": row["model"],
        "cues": cues,
        "categories": list(category_names(categories)),
        "label": maker_label(row["model"], row["weights"], record),
        "details": row["stimuli"],
        "human": human,
        # As in the matrix plot: observers stand pooled.
        "observer": human and not row["model"].startswith(HUMANS),
        "published": row["kind"] == "published counts",
        "untrained": row["weights"] == UNTRAINED,
        "weights": row["weights"],
        "weights_sha256": row["weights_sha256"],
        "low_coverage": bool(row["low_coverage"]),
        **{name: float(row[name]) for name in _NUMBERS},
        "absolute": [
            f"{worded(title, cues)} "
            + estimate_text(Estimate(*value_columns(row, name).values()), "{:.3f}".format)
            for name, title in ABSOLUTE.items()
            if row[name] == row[name]
        ],
        "by_category": counts.to_numpy(dtype=float).tolist(),
        "provenance": maker_provenance(row["stimuli"], record),
        "command": shape_bias_command(record),
    }


def maker_provenance(stimuli: str, record: Mapping[str, Any]) -> list[list[str]]:
    """Return what is known of how a row about stimuli was made, as terms and what they are."""
    lines = [["Kind", str(record.get("kind", "not recorded"))]]
    if source := record.get("source"):
        lines.append(["Source", source])
    for name in ("files", "observers"):
        if record.get(name):
            lines.append([name.capitalize(), ", ".join(record[name])])
    if model := record.get("model"):
        lines += [
            *network_lines(model),
            ["Stimuli", f"{stimuli} from {record['stimuli']['source']}"],
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
