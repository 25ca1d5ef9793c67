"""Studies whose results are each one archive of a network: measured, looked up, written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from erf_tools.erf.recorded import Recorded
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.files import locked
from erf_tools.images import Selection
from erf_tools.models.model import Model
from erf_tools.models.requests import Request
from erf_tools.provenance import versions
from erf_tools.studies.one_by_one import Earlier, clear, differences, measure_one_by_one

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


def measure_recorded(
    kind: type[RecordedResult],
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    overwrite: bool,
    load: Callable[[Request], Model],
    setting: Callable[[Model], Mapping[str, Any]],
    measure: Callable[[Model], RecordedResult],
    write: Callable[[Sequence[RecordedResult], Failures], list[Path]],
) -> RecordedStudy[RecordedResult]:
    """Measure each network whose result is not there, and write what shows them together.

    Args:
        kind: of the results.
        wanted: the networks.
        selection: the images.
        output: the study's folder.
        overwrite: replace other results.
        load: loads a network.
        setting: what a result of a network has to say of what was measured.
        measure: measures a network.
        write: writes what shows results together, and says which files.

    Raises:
        UsageError: the folder holds another result of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """

    def earlier(request: Request) -> Earlier[RecordedResult]:
        try:
            found = kind.load(output / request.folder / kind.ARCHIVE)
        except UsageError:
            return Earlier()
        others = differences(found.setting, setting(load(request)))
        others += differences({"versions": found.run["versions"]}, {"versions": versions()})
        if list(map(list, found.images)) != [[each.name, each.sha256] for each in selection.images]:
            others.append("images")
        return Earlier(differences=others) if others else Earlier(found)

    def measured(request: Request) -> RecordedResult:
        folder = output / request.folder
        measure(load(request)).save(folder)
        return kind.load(folder / kind.ARCHIVE)

    with locked(output):
        clear(output, [output / request.folder for request in wanted])
        course = measure_one_by_one(wanted, output, earlier, measured, overwrite)
        results = tuple(course.results.values())
        files = write(results, course.failures)
    reused = tuple(request.label for request in course.reused)
    return RecordedStudy(results, reused, tuple(course.failures), tuple(files))
