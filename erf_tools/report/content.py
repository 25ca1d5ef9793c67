"""What a page shows, as JSON values: numbers by the library, words, pictures of maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.cue_conflict import tables as decision_tables
from erf_tools.cue_conflict.absolute import MEASURES as ABSOLUTE
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.makers import maker_label
from erf_tools.cue_conflict.published import HUMANS
from erf_tools.erf import shown_tables
from erf_tools.erf import tables as erf_tables
from erf_tools.erf.maps import ERF
from erf_tools.erf.others import OthersMap
from erf_tools.failures import Failures
from erf_tools.files import understood, without_nan
from erf_tools.labels import UNTRAINED
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.provenance import versions
from erf_tools.report.audit_content import audit_content
from erf_tools.report.check_content import checks_content
from erf_tools.report.coded_maps import block_sides
from erf_tools.report.commands import shape_bias_command
from erf_tools.report.map_content import (
    details,
    erf_content,
    of_others_content,
    published_content,
    versions_text,
)
from erf_tools.report.reliance_content import reliance_content
from erf_tools.report.results import Reliance, ShapeBias
from erf_tools.statistics import Estimate
from erf_tools.tables import estimate_text
from erf_tools.text import visible

#: Signs of a text that are shown; no name needs more.
_LONGEST = 500

#: Columns of ``shape_bias.csv`` that hold numbers.
_NUMBERS = (
    *("shape", "texture", "total", "coverage"),
    *("shape_bias", "shape_bias_low", "shape_bias_high"),
    *("kappa_human", "kappa_human_low", "kappa_human_high"),
)


@dataclass(frozen=True, eq=False)
class _Shown:
    """A result, its row of the table, and what the page shows of it."""

    result: ERF
    row: Mapping[str, Any]
    content: dict[str, Any]


def collect(
    erfs: Sequence[ERF],
    biases: Sequence[ShapeBias],
    failures: Failures,
    names: Sequence[str] = (),
    others: Sequence[OthersMap] = (),
    reference: bool = True,
    checks: Sequence[PerturbationERF] = (),
    reliances: Sequence[Reliance] = (),
) -> dict[str, Any]:
    """Return all that a page shows of results, as JSON values; what is missing is ``None``.

    Each result and each section stands alone: one that cannot be shown is left out.

    Args:
        erfs: results.
        biases: results of shape bias.
        failures: what has failed before; what cannot be shown is added.
        names: what each of ``erfs`` is called where it cannot be shown; by default its number.
        others: maps of others.
        reference: put published values beside.
        checks: of some of the results.
        reliances: results of reliance.
    """
    shown: list[_Shown] = []
    of_others: list[dict[str, Any]] = []
    names = names or [f"result {number + 1}" for number in range(len(erfs))]
    blocks = block_sides([*(erf.map.shape for erf in erfs), *(map_.map.shape for map_ in others)])
    for name, result, block in zip(names, erfs, blocks, strict=False):
        with failures.alone(name), understood(Path(name)):
            (row,) = erf_tables.erf_table([result]).to_dict("records")
            seen = {
                "label": result.label,
                "details": details(result),
                **erf_content(result, block, row),
            }
            shown.append(_Shown(result, row, _plain(seen)))
    for map_, block in zip(others, blocks[len(erfs) :], strict=True):
        with failures.alone(map_.name):
            of_others.append(_plain(of_others_content(map_, block)))
    maps = [*(each.content for each in shown), *of_others]
    _set_distinct(maps)
    makers = _makers(biases, failures)
    table = erf_tables.erf_table([each.result for each in shown], others)
    table = (erf_tables.with_published if reference else erf_tables.without_published)(table)
    content: dict[str, Any] = {
        "version": versions()["erf-tools"],
        "categories": list(CATEGORIES),
        "erfs": maps,
        "makers": makers,
    }
    sections: dict[str, Callable[[], list[Any]]] = {
        "erf_notes": lambda: shown_tables.notes(table) if maps else [],
        "audit": lambda: audit_content([each.result for each in shown]),
        "published": lambda: published_content(table),
        "checks": lambda: checks_content(checks),
        "growth": lambda: _growth(shown),
        "bias_notes": lambda: _bias_notes(biases),
        "reliances": lambda: _reliances(reliances, failures),
        "scatter": lambda: _scatter(shown, makers),
    }
    for section, build in sections.items():
        content[section] = []
        with failures.alone(f"the page's section {section}"):
            content[section] = _plain(build())
    content["failures"] = [_plain(str(failure)) for failure in failures]
    return content


def _plain(value: Any) -> Any:
    """Return JSON values without NaN, their text without signs that act or deceive, and cut."""
    if isinstance(value, Mapping):
        # What is copied stays as it is.
        return {
            key: item if key in ("codes", "command", "sheet") else _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return visible(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}\u2026")
    return without_nan(value)


def _set_distinct(contents: Iterable[dict[str, Any]]) -> None:
    """Make labels differ, by details where two are the same."""
    contents = list(contents)
    labels = distinct([each["label"] for each in contents], [each["details"] for each in contents])
    for each, label in zip(contents, labels, strict=True):
        each["label"] = label


def distinct(labels: Sequence[str], details: Sequence[str]) -> list[str]:
    """Return labels that differ: with details where two are the same, then with numbers."""
    labels = list(labels)
    for more in (list(details), [str(number + 1) for number in range(len(labels))]):
        labels = [
            f"{label}, {detail}" if labels.count(label) > 1 else label
            for label, detail in zip(labels, more, strict=True)
        ]
    return labels


def _growth(shown: Sequence[_Shown]) -> list[dict[str, Any]]:
    """Return the effective side from layer to layer, for networks measured at several."""
    networks: dict[str, list[tuple[ERF, Mapping[str, Any]]]] = {}
    for each in shown:
        result, row = each.result, each.row
        name = f"{result.network_label}, {details(result)}"
        networks.setdefault(name, []).append((result, row))
    several = {name: own for name, own in networks.items() if len({r["layer"] for _, r in own}) > 1}
    names = [name.partition(", ")[0] for name in several]
    labels = distinct(names, [name.partition(", ")[2] for name in several])
    return [
        {
            "label": label,
            "points": [
                {
                    "layer": row["layer"],
                    **_columns(row, "effective_side"),
                    "theoretical": sqrt(np.prod(result.theoretical_size)),
                }
                for result, row in own
            ],
        }
        for label, own in zip(labels, several.values(), strict=True)
    ]


def _columns(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a value and its interval."""
    return {column: row[column] for column in (name, f"{name}_low", f"{name}_high")}


def _makers(biases: Sequence[ShapeBias], failures: Failures) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for bias in biases:
        for row in bias.makers.to_dict("records"):
            with failures.alone(f"{bias.folder}: {row['model']}"), understood(bias.folder):
                own = bias.categories[bias.categories["model"] == row["model"]]
                maker = _plain(_maker(row, own, bias.records.get(row["model"], {})))
                # Published rows stand in every folder.
                if maker not in found:
                    found.append(maker)
    _set_distinct(found)
    return found


def _reliances(reliances: Sequence[Reliance], failures: Failures) -> list[dict[str, Any]]:
    found = []
    for each in reliances:
        with failures.alone(str(each.folder)), understood(each.folder):
            found.append(reliance_content(each))
    return found


def _bias_notes(biases: Sequence[ShapeBias]) -> list[str]:
    notes = (note for bias in biases for note in decision_tables.notes(bias.makers))
    return list(dict.fromkeys(notes))


def _maker(
    row: Mapping[Any, Any], categories: pd.DataFrame, record: Mapping[str, Any]
) -> dict[str, Any]:
    human = not row["weights"]
    by_category = categories.set_index("category").reindex(list(CATEGORIES))
    counts = by_category[["shape", "texture", "shape_bias"]]
    return {
        "model": row["model"],
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
            f"{title} {_estimate(row, name)}"
            for name, title in ABSOLUTE.items()
            if row[name] == row[name]
        ],
        "by_category": [[_number(value) for value in line] for line in counts.to_numpy().tolist()],
        "provenance": _maker_provenance(row, record),
        "command": shape_bias_command(record),
    }


def _estimate(row: Mapping[Any, Any], name: str) -> str:
    return estimate_text(Estimate(*_columns(row, name).values()), lambda value: f"{value:.3f}")


def _number(value: Any) -> float:
    return value if isinstance(value, int) else float(value)


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
        lines.append(["Versions", versions_text(record["versions"])])
    return lines


def _scatter(shown: Sequence[_Shown], makers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the ERF of each network's default layer beside its shape bias."""
    return [
        {
            "label": label if label == maker["label"] else f"{label}; {maker['label']}",
            "resolution": row["resolution"],
            "trained": each.result.trained,
            **_columns(row, "effective_side"),
            **_columns(maker, "shape_bias"),
            "other_weights": row["weights_sha256"] != maker["weights_sha256"],
        }
        for each in shown
        for label, row in [(each.content["label"], each.row)]
        for maker in makers
        if row["default_layer"] and _plain(each.result.name) == maker["model"]
    ]
