"""A study of dead pixels: several networks on the same images, written to one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from erf_tools.erf.dead_pixels import PixelContributions, dead_pixel_table
from erf_tools.erf.dead_pixels_figure import dead_pixels_figure
from erf_tools.erf.every_unit import pixel_contributions, setting_of
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.figures import save_figure
from erf_tools.files import locked
from erf_tools.images import PixelStore, Selection
from erf_tools.models.requests import Request
from erf_tools.provenance import versions
from erf_tools.studies.one_by_one import Earlier, clear, differences, measure_one_by_one
from erf_tools.studies.requested import load_requested
from erf_tools.tables import write_csv


@dataclass(frozen=True)
class DeadPixelStudy:
    """What a study gave.

    Attributes:
        table: :func:`erf_tools.erf.dead_pixels.dead_pixel_table`.
        reused: networks whose results lay there already.
        failures: one per network that could not be measured, and what could not be written.
        files: those of all networks together.
    """

    table: pd.DataFrame
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    files: tuple[Path, ...]


def measure_dead_pixels(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure | None = None,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> DeadPixelStudy:
    """Measure what pixels contribute to all units of each network.

    For the arguments and the rules see :func:`erf_tools.studies.erf.measure_erfs`.

    Raises:
        UsageError: the folder holds another result of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    procedure, store = procedure or Procedure(), PixelStore()

    def archive(request: Request) -> Path:
        return output / request.folder / "dead_pixels.npz"

    def earlier(request: Request) -> Earlier[PixelContributions]:
        try:
            found = PixelContributions.load(archive(request))
        except UsageError:
            return Earlier()
        model = load_requested(request, procedure, seed)
        others = differences(found.setting, setting_of(model, procedure))
        others += differences({"versions": found.run["versions"]}, {"versions": versions()})
        if list(map(list, found.images)) != [[each.name, each.sha256] for each in selection.images]:
            others.append("images")
        return Earlier(differences=others) if others else Earlier(found)

    def measure(request: Request) -> PixelContributions:
        model = load_requested(request, procedure, seed)
        found = pixel_contributions(model, selection, procedure, device, progress, store)
        found.save(archive(request))
        return PixelContributions.load(archive(request))

    with locked(output):
        clear(output, [output / request.folder for request in wanted])
        course = measure_one_by_one(wanted, output, earlier, measure, overwrite)
        results, failures = list(course.results.values()), course.failures
        table = dead_pixel_table(results)
        files: list[Path] = []
        with failures.alone("dead_pixels.csv"):
            files.append(write_csv(table, output / "dead_pixels.csv"))
        with failures.alone("dead_pixels.png"):
            provenance = {"results": [result.record() for result in results]}
            files += save_figure(dead_pixels_figure(results), output / "dead_pixels", provenance)
    reused = tuple(request.label for request in course.reused)
    return DeadPixelStudy(table, reused, tuple(failures), tuple(files))
