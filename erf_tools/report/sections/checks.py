"""Checks of maps, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.erf.display import density
from erf_tools.perturbation.agreement import COMPARED
from erf_tools.perturbation.choices import IN_WORDS
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.perturbation.tables import perturbation_table, prediction
from erf_tools.report.context import Context
from erf_tools.report.values import details, rounded, value_columns

_COLUMNS = ("spearman", "side_ratio", "area_ratio_50", "area_ratio_99")


def content(context: Context) -> list[dict[str, Any]]:
    """Return each check: the gradient's map over cells, those of real changes, how they agree."""
    return [_check(result) for result in context.results.checks]


def _check(result: PerturbationERF) -> dict[str, Any]:
    words = {compared.name: compared.words for compared in COMPARED}
    maps = [("Gradient", result.gradient_map)]
    maps += [(IN_WORDS[each], result.map("change", each)) for each in result.replacements]
    return {
        "label": result.label,
        "details": details(result.setting),
        "images": result.count,
        "rows": list(result.grid.rows),
        "columns": list(result.grid.columns),
        "maps": [
            {
                "title": title,
                "cells": [rounded(row, 4) for row in (density(cells) if cells.any() else cells)],
            }
            for title, cells in maps
        ],
        "agreement": [
            {
                "replacement": IN_WORDS[row["replacement"]],
                "compared": words[row["compared"]],
                **value_columns(row, *_COLUMNS),
            }
            for row in perturbation_table([result]).to_dict("records")
        ],
        "linearity": prediction(result),
    }
