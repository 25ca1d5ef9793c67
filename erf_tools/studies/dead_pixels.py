"""Dead pixels as a study: what is measured of each network, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from erf_tools.erf.dead_pixels import PixelContributions, dead_pixel_table, notes, readable
from erf_tools.erf.dead_pixels_figure import dead_pixels_figure
from erf_tools.erf.every_unit import pixel_contributions, setting_of
from erf_tools.studies.recorded import RecordedMeasurement


def _tables(
    results: Sequence[PixelContributions],
) -> tuple[pd.DataFrame, pd.DataFrame, Sequence[str]]:
    table = dead_pixel_table(results)
    return table, readable(table), notes(table)


#: What `erf-tools dead-pixels` measures.
DEAD_PIXELS = RecordedMeasurement(
    PixelContributions, setting_of, pixel_contributions, _tables, dead_pixels_figure
)
