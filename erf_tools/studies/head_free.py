"""A study without heads: what the layers of several networks hold, written to one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erf_tools.computing import Computing
from erf_tools.cue_conflict import figures, layer_tables
from erf_tools.cue_conflict.choices import Deciding, HeadFree
from erf_tools.cue_conflict.layers import head_free, layer_settings
from erf_tools.cue_conflict.representation import Layered
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.errors import UsageError
from erf_tools.files import locked
from erf_tools.models.requests import Request, folder_name
from erf_tools.provenance import versions
from erf_tools.report.results import HeadFreeLayers, Results
from erf_tools.studies.one_by_one import (
    Earlier,
    check_not_in_series,
    clear,
    differences,
    measure_one_by_one,
)
from erf_tools.studies.shape_bias import load_deciding, with_places_of
from erf_tools.studies.written import Files, TableStudy, WrittenTables

_LAYERS = "head_free"


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
) -> TableStudy:
    """Measure what the layers of each network hold, and write everything below ``output``.

    The rules are those of :func:`erf_tools.studies.shape_bias.measure_decisions`.

    Raises:
        UsageError: the stimuli carry no conflict, or the folder holds other results of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    check_not_in_series(wanted, "shape bias")
    if stimuli.conflict:
        stimuli.of_conflict()
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
        networks = list(course.results.values())
        table = layer_tables.layer_table(networks)
        shown, remarks = layer_tables.readable(table), layer_tables.notes(table)
        provenance = {each.name: dict(each.provenance) for each in networks}
        files = Files(output, course.failures, provenance)
        files.tables("head_free", table, shown, remarks)
        files.csv("head_free_differences", lambda: layer_tables.layer_differences(networks))
        files.figure("head_free", lambda: figures.depth_plot(table))
        files.record("head_free.json")
        files.page(lambda: Results(layers=[HeadFreeLayers.read(output)]))
    reused = [request.model for request in course.reused]
    return TableStudy.of(WrittenTables(table, shown, remarks, files), reused)
