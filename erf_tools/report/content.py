"""What a page shows, as JSON values: numbers by the library, words, pictures of maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.cue_conflict.categories import CUES
from erf_tools.erf import shown_tables
from erf_tools.erf import tables as erf_tables
from erf_tools.erf.maps import ERF
from erf_tools.failures import Failures
from erf_tools.files import understood
from erf_tools.provenance import versions
from erf_tools.report.audit_content import audit_content
from erf_tools.report.bias_content import (
    bias_sets,
    layers_content,
    makers_content,
    single_cue_content,
)
from erf_tools.report.check_content import checks_content
from erf_tools.report.coded_maps import block_sides
from erf_tools.report.dead_content import dead_content
from erf_tools.report.map_content import (
    erf_content,
    of_others_content,
    published_content,
)
from erf_tools.report.reliance_content import reliance_content
from erf_tools.report.results import Reliance, Results
from erf_tools.report.values import details, distinct, plain, set_distinct, value_columns


@dataclass(frozen=True, eq=False)
class _Shown:
    """A result, its row of the table, and what the page shows of it."""

    result: ERF
    row: Mapping[str, Any]
    content: dict[str, Any]


def collect(results: Results, failures: Failures, reference: bool = True) -> dict[str, Any]:
    """Return all that a page shows of results, as JSON values; what is missing is ``None``.

    Each result and each section stands alone: one that cannot be shown is left out.

    Args:
        results: that it shows.
        failures: what has failed before; what cannot be shown is added.
        reference: put published values beside.
    """
    erfs, others = results.erfs, results.others
    shown: list[_Shown] = []
    of_others: list[dict[str, Any]] = []
    names = results.names or [f"result {number + 1}" for number in range(len(erfs))]
    blocks = block_sides([*(erf.map.shape for erf in erfs), *(map_.map.shape for map_ in others)])
    for name, result, block in zip(names, erfs, blocks, strict=False):
        with failures.alone(name), understood(Path(name)):
            (row,) = erf_tables.erf_table([result]).to_dict("records")
            check = next((each for each in results.checks if each.is_of(result)), None)
            seen = {
                "label": result.label,
                "details": details(result.setting),
                **erf_content(result, block, row, check),
            }
            shown.append(_Shown(result, row, plain(seen)))
    for map_, block in zip(others, blocks[len(erfs) :], strict=True):
        with failures.alone(map_.name):
            of_others.append(plain(of_others_content(map_, block)))
    maps = [*(each.content for each in shown), *of_others]
    set_distinct(maps)
    makers = makers_content(results.biases, failures)
    table = erf_tables.erf_table([each.result for each in shown], others)
    table = (erf_tables.with_published if reference else erf_tables.without_published)(table)
    content: dict[str, Any] = {
        "version": versions()["erf-tools"],
        "erfs": maps,
        "makers": makers,
    }
    sections: dict[str, Callable[[], list[Any]]] = {
        "erf_notes": lambda: shown_tables.notes(table) if maps else [],
        "audit": lambda: audit_content([each.result for each in shown]),
        "published": lambda: published_content(table),
        "checks": lambda: checks_content(results.checks),
        "dead": lambda: dead_content(results.dead),
        "growth": lambda: _growth(shown),
        "bias_sets": lambda: bias_sets(results.biases),
        "layers": lambda: layers_content(results.layers),
        "single_cue": lambda: single_cue_content(results.single_cue),
        "reliances": lambda: _reliances(results.reliances, failures),
        "scatter": lambda: _scatter(shown, makers),
    }
    for section, build in sections.items():
        content[section] = []
        with failures.alone(f"the page's section {section}"):
            content[section] = plain(build())
    content["of_shape"] = [each for each in content["bias_sets"] if each["cues"] == list(CUES)]
    content["failures"] = [plain(str(failure)) for failure in failures]
    return content


def _growth(shown: Sequence[_Shown]) -> list[dict[str, Any]]:
    """Return the effective side from layer to layer, for networks measured at several."""
    networks: dict[str, list[tuple[ERF, Mapping[str, Any]]]] = {}
    for each in shown:
        result, row = each.result, each.row
        name = f"{result.network_label}, {details(result.setting)}"
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
                    **value_columns(row, "effective_side"),
                    "theoretical": sqrt(np.prod(result.theoretical_size)),
                }
                for result, row in own
            ],
        }
        for label, own in zip(labels, several.values(), strict=True)
    ]


def _reliances(reliances: Sequence[Reliance], failures: Failures) -> list[dict[str, Any]]:
    found = []
    for each in reliances:
        with failures.alone(str(each.folder)), understood(each.folder):
            found.append(reliance_content(each))
    return found


def _scatter(shown: Sequence[_Shown], makers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the ERF of each network's default layer beside its shape bias."""
    return [
        {
            "label": label if label == maker["label"] else f"{label}; {maker['label']}",
            "resolution": row["resolution"],
            "trained": each.result.trained,
            **value_columns(row, "effective_side"),
            **value_columns(maker, "shape_bias"),
            "other_weights": row["weights_sha256"] != maker["weights_sha256"],
        }
        for each in shown
        for label, row in [(each.content["label"], each.row)]
        for maker in makers
        if row["default_layer"] and plain(each.result.name) == maker["model"]
        if maker["cues"] == list(CUES)
    ]
