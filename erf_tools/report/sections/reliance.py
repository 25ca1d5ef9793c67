"""What networks rely on, as JSON values."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from erf_tools.files import understood
from erf_tools.images import counted
from erf_tools.labels import UNTRAINED, labelled
from erf_tools.reliance import tables
from erf_tools.reliance.changes import CHANGES
from erf_tools.reliance.measures import areas, profile
from erf_tools.reliance.suppressions import SIDE, Suppression
from erf_tools.report.commands import reliance_command
from erf_tools.report.context import Context
from erf_tools.report.results import Reliance
from erf_tools.report.values import network_lines, versions_line
from erf_tools.tables import interval_columns

_CURVE = ["accuracy", *interval_columns("relative_accuracy")]
_KEYS = ["model", "weights", "counted"]


def content(context: Context) -> list[dict[str, Any]]:
    """Return what each folder shows; one that cannot be shown is a failure of its own."""
    shown = []
    for found in context.results.reliances:
        with context.failures.alone(str(found.folder)), understood(found.folder):
            shown.append(_folder(found))
    return shown


def _folder(found: Reliance) -> dict[str, Any]:
    """Return one folder's networks, its suppressions, and an image under all of them."""
    images, example = found.record["images"], found.record["example"]
    shown = profile(found.rows) or areas(found.rows)
    settings = {
        (setting["model"]["name"], setting["model"]["weights"]["sha256"]): setting
        for setting in found.record["results"]
    }
    numbers = interval_columns("accuracy", *(each.name for each in shown))
    several = found.networks["counted"].nunique() > 1
    networks = []
    for row in found.networks.to_dict("records"):
        own = (found.curves[_KEYS] == [row[key] for key in _KEYS]).all(axis=1)
        label = labelled(
            row["model"], row["weights"] != UNTRAINED, *([row["counted"]] if several else [])
        )
        networks.append(
            {
                "label": label,
                "low": bool(row["low_accuracy"]),
                **{name: float(row[name]) for name in numbers},
                "curves": _curves(found.curves[own], found.rows),
                **_origin(settings[row["model"], row["weights_sha256"]], images),
            }
        )
    return {
        "label": images.get("label") or counted(images["count"], images["source"]),
        "example": example["name"],
        "sheet": f"data:image/jpeg;base64,{base64.b64encode(found.sheet).decode()}",
        "cell": SIDE,
        "measures": [[each.name, each.label] for each in shown],
        "suppressions": [
            {
                "title": row.title,
                "strengths": ["unchanged", *(strength.label for strength in row.strengths)],
                "changes": _changes(found.curves, row),
            }
            for row in found.rows
        ],
        "change_labels": [change.label for change in CHANGES],
        "networks": networks,
        "notes": tables.notes(found.networks, found.rows),
    }


def _curves(curves: pd.DataFrame, rows: Sequence[Suppression]) -> list[list[list[float]]]:
    """Return for each suppression and strength accuracy, relative accuracy and its interval.

    Raises:
        ValueError: a strength is missing.
    """
    found = []
    for row in rows:
        own = curves[curves["suppression"] == row.name]
        if own["strength"].tolist() != list(range(1 + len(row.strengths))):
            raise ValueError(f"not all strengths of {row.title} are there")
        found.append(own[_CURVE].to_numpy(dtype=float).tolist())
    return found


def _changes(curves: pd.DataFrame, row: Suppression) -> list[list[float]]:
    """Return for each strength how much was changed; the same for all networks."""
    own = curves[curves["suppression"] == row.name].drop_duplicates("strength")
    return own[[change.name for change in CHANGES]].to_numpy(dtype=float).tolist()


def _origin(setting: Mapping[str, Any], images: Mapping[str, Any]) -> dict[str, Any]:
    """Return where answers come from, and the command that gives them again."""
    lines = [
        *network_lines(setting["model"]),
        ["Images", f"{images['count']} of {images['source']}"],
        ["Shown", setting["view"]],
        ["Suppressions", ", ".join(setting["suppressions"])],
        ["Seed", str(setting["seed"])],
        versions_line(setting["versions"]),
    ]
    return {"provenance": lines, "command": reliance_command(setting, images)}
