"""Studies whose results are each one archive of a network: measured, looked up, written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd
from matplotlib.figure import Figure

from erf_tools.erf.procedure import Procedure
from erf_tools.erf.recorded import Recorded
from erf_tools.errors import UsageError
from erf_tools.files import locked
from erf_tools.images import PixelStore, Selection, identities
from erf_tools.models.model import Model
from erf_tools.models.requests import Request
from erf_tools.studies.one_by_one import (
    Earlier,
    clear,
    differences,
    measure_one_by_one,
    other_images,
    other_run,
)
from erf_tools.studies.requested import load_requested
from erf_tools.studies.written import Files, TableStudy, WrittenTables

RecordedResult = TypeVar("RecordedResult", bound=Recorded)


@dataclass(frozen=True, kw_only=True)
class RecordedStudy(TableStudy, Generic[RecordedResult]):
    """What a study gave.

    Attributes:
        results: in the order asked for.
    """

    results: tuple[RecordedResult, ...]


@dataclass(frozen=True)
class RecordedMeasurement(Generic[RecordedResult]):
    """What is measured of each network, and how it is shown.

    Attributes:
        kind: of the results.
        setting: what a result of a network says of what was measured, under a procedure.
        measure: measures a network: on images, under a procedure, on a device, with or without a
            progress bar, with a store of images for the next network.
        tables: gives the table of results, the same as text for people, and remarks.
        figure: draws them.
    """

    kind: type[RecordedResult]
    setting: Callable[[Model, Procedure], Mapping[str, Any]]
    measure: Callable[[Model, Selection, Procedure, str, bool, PixelStore], RecordedResult]
    tables: Callable[[Sequence[RecordedResult]], tuple[pd.DataFrame, pd.DataFrame, Sequence[str]]]
    figure: Callable[[Sequence[RecordedResult]], Figure]


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
        others += other_run(found.run)
        there = [(name, sha256) for name, sha256 in found.images]
        others += other_images(there, identities(selection.images))
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
        provenance = {"results": [result.record() for result in results]}
        files = Files(output, course.failures, provenance)
        made = WrittenTables(*measurement.tables(results), files)
        stem = Path(kind.ARCHIVE).stem
        files.tables(stem, made.table, made.shown, made.remarks)
        files.figure(stem, lambda: measurement.figure(results))
    reused = [request.label for request in course.reused]
    return RecordedStudy.of(made, reused, results=results)
