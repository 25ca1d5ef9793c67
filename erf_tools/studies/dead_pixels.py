"""A study of dead pixels: several networks on the same images, written to one folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from erf_tools.erf.dead_pixels import PixelContributions, dead_pixel_table, notes, readable
from erf_tools.erf.dead_pixels_figure import dead_pixels_figure
from erf_tools.erf.every_unit import pixel_contributions, setting_of
from erf_tools.erf.procedure import Procedure
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.images import PixelStore, Selection
from erf_tools.models.requests import Request
from erf_tools.studies.recorded import RecordedStudy, measure_recorded
from erf_tools.studies.requested import load_requested
from erf_tools.tables import write_tables


def measure_dead_pixels(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure | None = None,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> RecordedStudy[PixelContributions]:
    """Measure what pixels contribute to all units of each network.

    For the arguments and the rules see :func:`erf_tools.studies.erf.measure_erfs`.

    Raises:
        UsageError: the folder holds another result of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    procedure, store = procedure or Procedure(), PixelStore()
    return measure_recorded(
        PixelContributions,
        wanted,
        selection,
        output,
        overwrite,
        partial(load_requested, procedure=procedure, seed=seed),
        partial(setting_of, procedure=procedure),
        lambda model: pixel_contributions(model, selection, procedure, device, progress, store),
        partial(_write, output),
    )


def _write(output: Path, results: Sequence[PixelContributions], failures: Failures) -> list[Path]:
    files: list[Path] = []
    table = dead_pixel_table(results)
    with failures.alone("dead_pixels.csv"):
        files += write_tables(output / "dead_pixels", table, readable(table), notes(table))
    with failures.alone("dead_pixels.png"):
        provenance = {"results": [result.record() for result in results]}
        files += save_figure(dead_pixels_figure(results), output / "dead_pixels", provenance)
    return files
