"""What a page shows, as JSON values: numbers by the library, words, pictures of maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite, sqrt
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.cue_conflict import tables as decision_tables
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.makers import HUMANS
from erf_tools.erf import tables as erf_tables
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import density, doubled_centre, radial_profile, shares_held
from erf_tools.files import without_nan
from erf_tools.provenance import versions
from erf_tools.report.commands import erf_command, shape_bias_command
from erf_tools.report.pictures import block_sides, picture
from erf_tools.report.results import ShapeBias

#: Digits of what is only drawn.
_DIGITS = 5

#: Columns of :func:`erf_tools.erf.tables.erf_table` that the page's table has.
_MEASURES = (
    *("linear_20", "linear_30", "linear_50", "linear_99", "legacy_50", "legacy_99"),
    *("effective_side", "effective_side_low", "effective_side_high", "side_of_theoretical"),
    *("radius", "participation", "top1", "paper_50", "paper_99"),
)


def collect(erfs: Sequence[ERF], biases: Sequence[ShapeBias]) -> dict[str, Any]:
    """Return all that a page shows of results, as JSON values; what is missing is ``None``."""
    table = erf_tables.erf_table(erfs)
    rows: list[Mapping[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    labels = distinct([result.label for result in erfs], [_details(result) for result in erfs])
    blocks = block_sides([result.total.shape for result in erfs])
    makers = _makers(biases)
    content = {
        "version": versions()["erf-tools"],
        "erfs": [
            _erf(result, label, block, row)
            for result, label, block, row in zip(erfs, labels, blocks, rows, strict=True)
        ],
        "erf_notes": erf_tables.notes(table) if erfs else [],
        "growth": _growth(erfs, rows),
        "categories": list(CATEGORIES),
        "makers": makers,
        "bias_notes": list(
            dict.fromkeys(note for bias in biases for note in decision_tables.notes(bias.makers))
        ),
        "scatter": _scatter(erfs, labels, rows, makers),
    }
    plain: dict[str, Any] = without_nan(content)
    return plain


def distinct(labels: Sequence[str], details: Sequence[str]) -> list[str]:
    """Return labels that differ: with details where two are the same, then with numbers."""
    labels = list(labels)
    for more in (list(details), [str(number + 1) for number in range(len(labels))]):
        labels = [
            f"{label}, {detail}" if labels.count(label) > 1 else label
            for label, detail in zip(labels, more, strict=True)
        ]
    return labels


def _details(result: ERF) -> str:
    height, width = result.setting["resolution"]
    unit = result.setting["unit"]
    return f"{height}x{width}, {result.setting['protocol']['name']}, unit {unit}"


def _erf(result: ERF, label: str, block: int, row: Mapping[str, Any]) -> dict[str, Any]:
    values = density(result.map)
    held = shares_held(result.map, result.square_centre)
    profile = radial_profile(values, result.centre)
    box = result.theoretical_box
    return {
        "label": label,
        "trained": result.trained,
        "weights": row["weights"],
        "resolution": list(result.total.shape),
        "images": result.count,
        "unit": list(result.centre),
        "theoretical": list(box) if box else None,
        "theoretical_size": _theoretical(result),
        # The page finds squares by the library's own numbers, so that its ratios are the same.
        "held": held.tolist() if held is not None else None,
        "doubled_centre": list(doubled_centre(result.total.shape, result.square_centre)),
        "picture": asdict(picture(values, block)),
        "peak": float(values.max()),
        "profile": {
            "radius": profile.radius.tolist(),
            "mean": [float(f"{mean:.{_DIGITS}g}") for mean in profile.mean],
        },
        "measures": {name: row[name] for name in _MEASURES},
        "provenance": _erf_provenance(result),
        "command": erf_command(result),
    }


def _theoretical(result: ERF) -> str:
    height, width = result.theoretical_size
    if height != height:
        return "not known"
    return f"{height:.0f}x{width:.0f} px" if isfinite(height) else "unbounded"


def _erf_provenance(result: ERF) -> list[list[str]]:
    setting = result.setting
    weights = setting["model"]["weights"]
    feature_map = "x".join(map(str, setting["feature_map"]))
    row, column = result.centre
    lines = [
        ["Model", f"{result.name}, {setting['model']['parameters']:,} parameters"],
        ["Weights", f"{weights['label']}: {weights['source']}"],
        ["Weights, SHA-256", weights["sha256"]],
        ["Layer", f"{setting['tap']['name']}, {feature_map}"],
        ["Unit", f"{setting['unit']}; centre at pixel row {row:g}, column {column:g}"],
        ["Protocol", f"{setting['protocol']['name']}: {setting['protocol']['source']}"],
        ["Precision", setting["precision"]],
    ]
    for run in result.runs:
        images = run["images"]
        lines.append(["Images", f"{images['source']}, {images['order']}, seed {images['seed']}"])
        lines.append(["Device", run["device"]])
        lines.append(["Versions", _versions(run["versions"])])
    names = [image.name for image in result.images]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    lines.append(["Images used", f"{result.count} of {len(names)}: {shown}"])
    return lines


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _growth(erfs: Sequence[ERF], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the effective side from layer to layer, for networks measured at several."""
    networks: dict[str, list[tuple[ERF, Mapping[str, Any]]]] = {}
    for result, row in zip(erfs, rows, strict=True):
        untrained = "" if result.trained else " (untrained)"
        of_file = result.setting["model"]["weights"]["kind"] == "file"
        name = f"{result.name} {row['weights']}" if of_file else f"{result.name}{untrained}"
        networks.setdefault(f"{name}, {_details(result)}", []).append((result, row))
    several = {name: own for name, own in networks.items() if len({r["layer"] for _, r in own}) > 1}
    names = [name.partition(", ")[0] for name in several]
    shown = distinct(names, [name.partition(", ")[2] for name in several])
    return [
        {
            "label": label,
            "points": [
                {
                    "layer": row["layer"],
                    "side": row["effective_side"],
                    "low": row["effective_side_low"],
                    "high": row["effective_side_high"],
                    "theoretical": sqrt(np.prod(result.theoretical_size)),
                }
                for result, row in own
            ],
        }
        for label, own in zip(shown, several.values(), strict=True)
    ]


def _makers(biases: Sequence[ShapeBias]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for bias in biases:
        own = bias.categories.set_index(["name", "category"])
        for row in bias.makers.to_dict("records"):
            record = bias.records.get(row["name"], {})
            maker = without_nan(_maker(row, own.loc[row["name"]], record))
            # Published rows stand in every folder.
            if maker not in found:
                found.append(maker)
    labels = distinct([maker["label"] for maker in found], [maker["stimuli"] for maker in found])
    for maker, label in zip(found, labels, strict=True):
        maker["label"] = label
    return found


def _maker(
    row: Mapping[Any, Any], categories: pd.DataFrame, record: Mapping[str, Any]
) -> dict[str, Any]:
    untrained = row["weights"] == "untrained"
    partial = bool(record.get("stimuli", {}).get("deviations"))
    notes = [
        word for word, true in (("untrained", untrained), ("partial stimuli", partial)) if true
    ]
    human = not row["weights"]
    by_category = categories.reindex(list(CATEGORIES))
    return {
        "name": row["name"],
        "label": f"{row['name']} ({', '.join(notes)})" if notes else row["name"],
        "human": human,
        # As in the matrix plot: observers stand pooled.
        "observer": human and not row["name"].startswith(HUMANS),
        "published": row["kind"] == "published counts",
        "untrained": untrained,
        "weights": row["weights"],
        "weights_sha256": row["weights_sha256"],
        "stimuli": row["stimuli"],
        "low_coverage": bool(row["low_coverage"]),
        **{name: row[name] for name in ("shape", "texture", "total", "coverage", "shape_bias")},
        **{
            name: row[name]
            for name in ("ci_low", "ci_high", "kappa_human", "kappa_low", "kappa_high")
        },
        "by_category": by_category[["shape", "texture", "shape_bias"]].to_numpy().tolist(),
        "provenance": _maker_provenance(row, record),
        "command": shape_bias_command(record),
    }


def _maker_provenance(row: Mapping[Any, Any], record: Mapping[str, Any]) -> list[list[str]]:
    lines = [["Kind", str(record.get("kind", "not recorded"))]]
    if source := record.get("source"):
        lines.append(["Source", source])
    if files := record.get("files"):
        lines.append(["Files", ", ".join(files)])
    if observers := record.get("observers"):
        lines.append(["Observers", ", ".join(observers)])
    if model := record.get("model"):
        weights = model["weights"]
        lines += [
            ["Model", f"{model['name']}, {model['parameters']:,} parameters"],
            ["Weights", f"{weights['label']}: {weights['source']}"],
            ["Weights, SHA-256", weights["sha256"]],
            ["Stimuli", f"{row['stimuli']} from {record['stimuli']['source']}"],
            ["Preset", f"{record['preset']}: {record['preset_description']}"],
            ["Aggregation", record["aggregation"]],
        ]
    if "versions" in record:
        lines.append(["Versions", _versions(record["versions"])])
    return lines


def _scatter(
    erfs: Sequence[ERF],
    labels: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    makers: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the ERF of each network's default layer beside its shape bias."""
    return [
        {
            "label": label if label == maker["label"] else f"{label}; {maker['label']}",
            "resolution": row["resolution"],
            "trained": result.trained,
            "side": row["effective_side"],
            "side_low": row["effective_side_low"],
            "side_high": row["effective_side_high"],
            "shape_bias": maker["shape_bias"],
            "ci_low": maker["ci_low"],
            "ci_high": maker["ci_high"],
            "other_weights": row["weights_sha256"] != maker["weights_sha256"],
        }
        for result, label, row in zip(erfs, labels, rows, strict=True)
        for maker in makers
        if row["default_layer"] and result.name == maker["name"]
    ]
