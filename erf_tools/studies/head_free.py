"""A study without heads: what the layers of several networks hold, written to one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from erf_tools.computing import Computing
from erf_tools.cue_conflict import figures, layer_tables
from erf_tools.cue_conflict.choices import Deciding, HeadFree
from erf_tools.cue_conflict.layers import head_free, layer_settings
from erf_tools.cue_conflict.representation import Layered
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.figures import save_figure
from erf_tools.files import locked, write_json
from erf_tools.models.requests import Request, folder_name
from erf_tools.provenance import versions
from erf_tools.report.page import write_report
from erf_tools.report.results import HeadFreeLayers, Results
from erf_tools.studies.one_by_one import Earlier, clear, differences, measure_one_by_one
from erf_tools.studies.shape_bias import (
    check_not_in_series,
    load_deciding,
    with_places_of,
)
from erf_tools.tables import write_csv, write_tables

_LAYERS = "head_free"


@dataclass(frozen=True)
class HeadFreeStudy:
    """What a study gave.

    Attributes:
        table: :func:`~erf_tools.cue_conflict.layer_tables.layer_table`.
        shown: the same as text for people.
        remarks: what a reader has to know.
        reused: networks whose results lay there already.
        failures: one per network that could not be measured, and per file that was not written.
        files: what was written for the whole study.
    """

    table: pd.DataFrame
    shown: pd.DataFrame
    remarks: tuple[str, ...]
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    files: tuple[Path, ...]


def measure_head_free(
    wanted: Sequence[Request],
    stimuli: StimulusSet,
    output: Path,
    chosen: HeadFree | None = None,
    deciding: Deciding | None = None,
    computing: Computing | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> HeadFreeStudy:
    """Measure what the layers of each network hold, and write everything below ``output``.

    The rules are those of :func:`erf_tools.studies.shape_bias.measure_decisions`.

    Raises:
        UsageError: the stimuli carry no conflict, or the folder holds other results of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    check_not_in_series(wanted)
    chosen, deciding = chosen or HeadFree(head_free=True), deciding or Deciding()

    def archive(request: Request) -> Path:
        return output / _LAYERS / f"{folder_name(request.model)}.npz"

    def earlier(request: Request) -> Earlier[Layered]:
        try:
            found = Layered.load(archive(request))
        except UsageError:
            return Earlier()
        model = load_deciding(request, deciding, seed)
        setting = layer_settings(model, stimuli, chosen, deciding)
        now = with_places_of(found.provenance, {**setting, "versions": versions()})
        others = differences(found.provenance, now)
        return Earlier(differences=others) if others else Earlier(found)

    def measure(request: Request) -> Layered:
        model = load_deciding(request, deciding, seed)
        found = head_free(model, stimuli, chosen, deciding, computing, progress)
        found.save(archive(request))
        return Layered.load(archive(request))

    with locked(output):
        clear(output, [output / _LAYERS])
        course = measure_one_by_one(wanted, output, earlier, measure, overwrite)
        networks, failures = list(course.results.values()), course.failures
        table = layer_tables.layer_table(networks)
        shown, remarks = layer_tables.readable(table), tuple(layer_tables.notes(table))
        provenance = {each.name: dict(each.provenance) for each in networks}
        files: list[Path] = []
        with failures.alone("head_free"):
            files += write_tables(output / "head_free", table, shown, remarks)
        with failures.alone("head_free_differences.csv"):
            paired = layer_tables.layer_differences(networks)
            files.append(write_csv(paired, output / "head_free_differences.csv"))
        with failures.alone("head_free.png"):
            files += save_figure(figures.depth_plot(table), output / "head_free", provenance)
        with failures.alone("head_free.json"):
            write_json(output / "head_free.json", provenance)
            files.append(output / "head_free.json")
        with failures.alone("report.html"):
            layers = Results(layers=[HeadFreeLayers.read(output)])
            files.append(write_report(output / "report.html", layers, failures))
    reused = tuple(request.model for request in course.reused)
    return HeadFreeStudy(table, shown, remarks, reused, tuple(failures), tuple(files))
