"""What a page shows of each map, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from erf_tools.erf import tables
from erf_tools.erf.cautions import cautions
from erf_tools.erf.display import density
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import MEASURES
from erf_tools.erf.measures.families.squares import shares_held
from erf_tools.erf.measures.frame import doubled_center
from erf_tools.erf.measures.radial import radial_profile
from erf_tools.erf.networks import conditions_in_words
from erf_tools.erf.others import NOT_KNOWN, OthersMap
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.report.coded_maps import coded_map
from erf_tools.report.commands import erf_command
from erf_tools.report.values import details, network_lines, rounded, versions_line
from erf_tools.text import dimensions, first_few

#: Measures in the page's table.
SHOWN = [measure for measure in MEASURES.values() if measure.page]
#: Columns of :func:`erf_tools.erf.tables.erf_table` that the page has.
COLUMNS = (*(column for measure in SHOWN for column in measure.columns), "top1", "paper_99")


def erf_content(
    result: ERF, block: int, row: Mapping[str, Any], check: PerturbationERF | None
) -> dict[str, Any]:
    """Return what is shown of a result.

    Args:
        result: measured here.
        block: side of the blocks of pixels in its picture.
        row: its row of the table.
        check: of the result, where there is one.

    Raises:
        ValueError: it cannot be drawn.
    """
    if result.count and not np.isfinite(result.total).all():
        raise ValueError("its map has values that are not finite")
    if not all(
        -length <= place <= 2 * length
        for place, length in zip(result.center, result.total.shape, strict=True)
    ):
        raise ValueError("its unit is nowhere near the map")
    box = result.theoretical_box
    return {
        "details": details(result.setting),
        "trained": result.trained,
        "images": result.count,
        "theoretical": list(box) if box else None,
        "theoretical_size": result.receptive_field.in_words + (" px" if box else ""),
        **_map(result, block, row),
        "warnings": [each.sentence for each in cautions(result)],
        "provenance": _erf_provenance(result),
        "command": erf_command(result, check),
    }


def told_apart(result: ERF) -> list[str]:
    """Return what may tell results of one label and the same details apart: words for each."""
    weights = result.setting["model"]["weights"]
    return [
        weights["source"],
        f"weights {weights['sha256'][:8]}",
        *conditions_in_words(result),
    ]


def of_others_content(map_: OthersMap, block: int) -> dict[str, Any]:
    """Return what is shown of a map of others; for the arguments see :func:`erf_content`."""
    (row,) = tables.erf_table([], [map_]).to_dict("records")
    return {
        "details": map_.source,
        "trained": True,
        "images": None,
        "theoretical": None,
        "theoretical_size": "not known",
        **_map(map_, block, row),
        "warnings": [NOT_KNOWN],
        "provenance": [
            ["Map", map_.source],
            ["Map, SHA-256", map_.sha256],
            ["Not known", NOT_KNOWN],
        ],
        "command": None,
    }


def _map(drawn: ERF | OthersMap, block: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a map is drawn by, and its measures."""
    values = density(drawn.map)
    held = shares_held(drawn.map, drawn.square_center)
    profile = radial_profile(values, drawn.center)
    return {
        "label": drawn.label,
        "weights": row["weights"],
        "measures": {name: row[name] for name in COLUMNS},
        "resolution": list(drawn.map.shape),
        "unit": list(drawn.center) if drawn.center else None,
        # The page finds squares by the library's own numbers, so that its ratios are the same.
        "held": held.tolist() if held is not None else None,
        "doubled_center": list(doubled_center(drawn.map.shape, drawn.square_center)),
        "picture": asdict(coded_map(values, block)),
        "peak": float(values.max()),
        "profile": {
            "radius": profile.radius.tolist(),
            "mean": rounded(profile.mean, 5),
        },
    }


def _erf_provenance(result: ERF) -> list[list[str]]:
    setting = result.setting
    feature_map = dimensions(setting["feature_map"])
    row, column = result.center
    lines = [
        *network_lines(setting["model"]),
        ["Layer", f"{setting['tap']['name']}, {feature_map}"],
        ["Unit", f"{setting['unit']}; centre at pixel row {row:g}, column {column:g}"],
        ["Protocol", f"{setting['protocol']['name']}: {setting['protocol']['source']}"],
        ["Precision", setting["precision"]],
    ]
    for run in result.runs:
        images = run["images"]
        lines.append(["Images", f"{images['source']}, {images['order']}, seed {images['seed']}"])
        lines.append(["Device", run["device"]])
        lines.append(versions_line(run["versions"]))
    names = [image.name for image in result.images]
    lines.append(["Images used", f"{result.count} of {len(names)}: {first_few(names, 8)}"])
    return lines
