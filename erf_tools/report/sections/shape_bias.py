"""Of which cues and categories there are decisions, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.cue_conflict.tables import caution, cues_of, notes
from erf_tools.report.context import Context
from erf_tools.report.maker_content import category_names


def content(context: Context) -> list[dict[str, Any]]:
    """Return the pairs of cues with their categories, and what a reader has to know of each."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, None]] = {}
    for bias in context.results.biases:
        own = found.setdefault((cues_of(bias.makers), category_names(bias.categories)), {})
        own |= dict.fromkeys(notes(bias.makers))
    sets = [
        {
            "cues": list(cues),
            "categories": list(names),
            "caution": caution(cues),
            "notes": list(own),
        }
        for (cues, names), own in found.items()
    ]
    return sets if context.makers else []
