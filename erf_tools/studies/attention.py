"""Attention distances as a study: what is measured of each transformer, and how it is shown."""

from __future__ import annotations

from erf_tools.erf.attention import attention_distances, setting_of
from erf_tools.erf.attention_distances import (
    NOTES,
    AttentionDistances,
    attention_table,
    layer_table,
    readable,
)
from erf_tools.erf.attention_figure import attention_figure
from erf_tools.studies.recorded import RecordedMeasurement

#: What `erf-tools attention` measures.
ATTENTION = RecordedMeasurement(
    AttentionDistances,
    setting_of,
    attention_distances,
    lambda results: (attention_table(results), readable(layer_table(results)), NOTES),
    attention_figure,
)
