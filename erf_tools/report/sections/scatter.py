"""ERFs beside shape bias, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.cue_conflict.categories import CUES
from erf_tools.report.context import Context
from erf_tools.report.values import plain, value_columns
from erf_tools.tables import interval_columns

#: What decided, as it stands beside an ERF.
_OF_MAKERS = (*interval_columns("shape_bias"), "coverage", "low_coverage")


def content(context: Context) -> list[dict[str, Any]]:
    """Return the ERF of each network's default layer beside its shape bias."""
    return [
        {
            "label": label if label == maker["label"] else f"{label}; {maker['label']}",
            "resolution": row["resolution"],
            "trained": each.result.trained and not maker["untrained"],
            **value_columns(row, "effective_side"),
            **{name: maker[name] for name in _OF_MAKERS},
            "other_weights": _differ(row["weights_sha256"], maker["weights_sha256"]),
        }
        for each in context.erfs
        for label, row in [(each.content["label"], each.row)]
        for maker in context.makers
        if row["default_layer"] and plain(each.result.name) == maker["model"]
        if maker["cues"] == list(CUES)
    ]


def _differ(one: str, other: str) -> bool | None:
    """Tell whether digests of weights differ; ``None`` where one is not known, as of published."""
    return one != other if one and other else None
