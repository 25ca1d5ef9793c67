"""Attention distances as a study: what is measured of each transformer, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erf_tools.erf.attention import attention_distances, setting_of
from erf_tools.erf.attention_distances import (
    NOTES,
    AttentionDistances,
    attention_table,
    layer_table,
    readable,
)
from erf_tools.erf.attention_figure import attention_figure
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.studies.recorded import RecordedMeasurement
from erf_tools.tables import write_tables


def _write(output: Path, results: Sequence[AttentionDistances], failures: Failures) -> list[Path]:
    files: list[Path] = []
    with failures.alone("attention.csv"):
        table, shown = attention_table(results), readable(layer_table(results))
        files += write_tables(output / "attention", table, shown, NOTES)
    with failures.alone("attention.png"):
        provenance = {"results": [result.record() for result in results]}
        files += save_figure(attention_figure(results), output / "attention", provenance)
    return files


#: What `erf-tools attention` measures.
ATTENTION = RecordedMeasurement(AttentionDistances, setting_of, attention_distances, _write)
