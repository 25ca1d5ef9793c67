"""Dead pixels as a study: what is measured of each network, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erf_tools.erf.dead_pixels import PixelContributions, dead_pixel_table, notes, readable
from erf_tools.erf.dead_pixels_figure import dead_pixels_figure
from erf_tools.erf.every_unit import pixel_contributions, setting_of
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.studies.recorded import RecordedMeasurement
from erf_tools.tables import write_tables


def _write(output: Path, results: Sequence[PixelContributions], failures: Failures) -> list[Path]:
    files: list[Path] = []
    table = dead_pixel_table(results)
    with failures.alone("dead_pixels.csv"):
        files += write_tables(output / "dead_pixels", table, readable(table), notes(table))
    with failures.alone("dead_pixels.png"):
        provenance = {"results": [result.record() for result in results]}
        files += save_figure(dead_pixels_figure(results), output / "dead_pixels", provenance)
    return files


#: What `erf-tools dead-pixels` measures.
DEAD_PIXELS = RecordedMeasurement(PixelContributions, setting_of, pixel_contributions, _write)
