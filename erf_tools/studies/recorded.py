"""Studies whose results are each one archive of a network: measured, looked up, written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from erf_tools.erf.procedure import Procedure
from erf_tools.erf.recorded import Recorded
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.files import locked
from erf_tools.images import PixelStore, Selection
from erf_tools.models.model import Model
from erf_tools.models.requests import Request
from erf_tools.provenance import versions
from erf_tools.studies.one_by_one import Earlier, clear, differences, measure_one_by_one
from erf_tools.studies.requested import load_requested

RecordedResult = TypeVar("RecordedResult", bound=Recorded)


@dataclass(frozen=True)
class RecordedStudy(Generic[RecordedResult]):
    """What a study gave.

    Attributes:
        results: in the order asked for.
        reused: networks whose results lay there already.
        failures: one per network that could not be measured, and what could not be written.
        files: those of all networks together.
    """

    results: tuple[RecordedResult, ...]
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class RecordedMeasurement(Generic[RecordedResult]):
    """What is measured of each network, and how it is shown.

    Attributes:
        kind: of the results.
        setting: what a result of a network says of what was measured, under a procedure.
        measure: measures a network: on images, under a procedure, on a device, with or without a
            progress bar, with a store of images for the next network.
        write: writes what shows results together below a folder, and says which files.
    """

    kind: type[RecordedResult]
    setting: Callable[[Model, Procedure], Mapping[str, Any]]
    measure: Callable[[Model, Selection, Procedure, str, bool, PixelStore], RecordedResult]
    write: Callable[[Path, Sequence[RecordedResult], Failures], list[Path]]


def measure_recorded(
    measurement: RecordedMeasurement[RecordedResult],
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> RecordedStudy[RecordedResult]:
    """Measure each network whose result is not there, and write what shows them together.

    The rules are those of :func:`erf_tools.studies.erf.measure_erfs`.

    Args:
        measurement: what is measured.
        wanted: the networks.
        selection: the images.
        output: the study's folder.
        procedure: of which the measurement says what counts.
        device: see :func:`erf_tools.effective_receptive_field`.
        seed: of random weights.
        overwrite: replace other results.
        progress: show a progress bar (in a terminal only).

    Raises:
        UsageError: the folder holds another result of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    kind, store = measurement.kind, PixelStore()
    load = partial(load_requested, procedure=procedure, seed=seed)

    def earlier(request: Request) -> Earlier[RecordedResult]:
        try:
            found = kind.load(output / request.folder / kind.ARCHIVE)
        except UsageError:
            return Earlier()
        others = differences(found.setting, measurement.setting(load(request), procedure))
        others += differences({"versions": found.run["versions"]}, {"versions": versions()})
        if list(map(list, found.images)) != [[each.name, each.sha256] for each in selection.images]:
            others.append("images")
        return Earlier(differences=others) if others else Earlier(found)

    def measured(request: Request) -> RecordedResult:
        folder = output / request.folder
        model = load(request)
        result = measurement.measure(model, selection, procedure, device, progress, store)
        result.save(folder)
        return kind.load(folder / kind.ARCHIVE)

    with locked(output):
        clear(output, [output / request.folder for request in wanted])
        course = measure_one_by_one(wanted, output, earlier, measured, overwrite)
        results = tuple(course.results.values())
        files = measurement.write(output, results, course.failures)
    reused = tuple(request.label for request in course.reused)
    return RecordedStudy(results, reused, tuple(course.failures), tuple(files))
