"""A study: several models measured alike, each result written as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from erf_tools.computing import Computing
from erf_tools.erf import figures, shown_tables, tables
from erf_tools.erf.cautions import cautions
from erf_tools.erf.gradients import measure_layers
from erf_tools.erf.maps import ERF, is_of_another_version
from erf_tools.erf.others import OthersMap
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.files import locked, remove, write_json
from erf_tools.images import PixelStore, Selection, identities
from erf_tools.models.accuracy import find_labels
from erf_tools.models.requests import Layers, Request
from erf_tools.perturbation.checking import check_choices
from erf_tools.perturbation.choices import Checking
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.report.results import Results
from erf_tools.studies.checks import SHOWN_OF_CHECKS, check_all, write_checks
from erf_tools.studies.one_by_one import (
    Earlier,
    clear,
    differences,
    measure_one_by_one,
    other_images,
    other_run,
)
from erf_tools.studies.requested import expected_setting, requested_layers
from erf_tools.studies.written import Files, remove_earlier

_ARCHIVE = "erf.npz"
#: What shows a result, made of what is in its archive.
_SHOWN = ("erf.json", "heatmap.png", "heatmap.pdf")
#: What shows results together, of some only; see :func:`erf_tools.studies.written.remove_earlier`.
SHOWN_OF_RESULTS = {"erf_convergence": ["erf_convergence.csv", "erf_differences.csv"]}
_SHOWN_OF_SOME = {**SHOWN_OF_RESULTS, "erf_stages": [], "erf_series": [], **SHOWN_OF_CHECKS}


@dataclass(frozen=True)
class Study:
    """What a study gave.

    Attributes:
        results: one per model and layer that could be measured, in the order asked for.
        reused: folders of models whose results lay there already.
        failures: one per model that could not be measured, and of the report.
        table: :func:`erf_tools.erf.tables.erf_table` of the results.
        files: the files of the whole study; each model's lie in a folder of its own beside them.
        checks: of the results that were checked.
    """

    results: tuple[ERF, ...]
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    table: pd.DataFrame
    files: tuple[Path, ...]
    checks: tuple[PerturbationERF, ...] = ()


def measure_erfs(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure | None = None,
    layers: Layers | None = None,
    labels: Path | None = None,
    computing: Computing | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
    reference: bool = True,
    checking: Checking | None = None,
) -> Study:
    """Measure the ERFs of each model over the same images and write everything below ``output``.

    A model that fails does not stop the others, and a result that lies there already, of the same
    model, weights, images, setting and versions, is used as it is: an interrupted study goes on
    with what is missing.

    Args:
        wanted: the models.
        selection: the images.
        output: folder for the results.
        procedure: what is measured; the paper's by default.
        layers: of which layers; the last map before pooling by default.
        labels: CSV of the images' classes; see :func:`erf_tools.models.accuracy.find_labels`.
        computing: how. Where it is exactly, results that were computed in faster ways are others.
        seed: of random weights.
        overwrite: replace other results of these models in the folder.
        progress: show progress bars (in a terminal only).
        reference: put published values beside.
        checking: check each result by replacing cells of the images, in this way.

    Raises:
        UsageError: the folder holds another result of a model, or there is no such check.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no model could be measured.
    """
    procedure, layers = procedure or Procedure(), layers or Layers()
    computing = computing or Computing()
    if checking:
        check_choices(procedure, checking, len(selection))
    known = find_labels(selection.images, labels, classes=None)
    store = PixelStore()

    def earlier(request: Request) -> Earlier[list[ERF]]:
        if not (output / request.folder).is_dir():
            return Earlier()
        model, taps = requested_layers(request, procedure, layers, seed, output)
        results: dict[Path, ERF] = {}
        others: list[str] = []
        for folder, tap in taps.items():
            result, other = earlier_result(
                folder, expected_setting(model, tap, procedure), selection, known, computing.exact
            )
            results |= {folder: result} if result else {}
            others += other
        if others or len(results) < len(taps):
            return Earlier(differences=list(dict.fromkeys(others)))
        for folder, result in results.items():
            _show(result, folder, again=False)
        return Earlier(list(results.values()))

    def measure(request: Request) -> list[ERF]:
        model, taps = requested_layers(request, procedure, layers, seed, output)
        results = measure_layers(
            model,
            selection,
            procedure,
            list(taps.values()),
            labels=known,
            computing=computing,
            progress=progress,
            store=store,
        )
        return [
            write_result(result, folder, labels)
            for result, folder in zip(results, taps, strict=True)
        ]

    with locked(output):
        clear(output, [output / request.folder for request in wanted])
        course = measure_one_by_one(wanted, output, earlier, measure, overwrite)
        results = [result for own in course.results.values() for result in own]
        in_series = any(request.in_series for request in wanted)
        checks: list[PerturbationERF] = []
        if checking:
            checks = check_all(
                list(course.results),
                selection,
                output,
                procedure,
                layers,
                checking,
                course.failures,
                computing=computing,
                seed=seed,
                overwrite=overwrite,
                progress=progress,
                store=store,
            )
        table, files = write_together(
            results, (), output, course.failures, reference, layers.stages, in_series, checks
        )
        remove_earlier(output, _SHOWN_OF_SOME, files, course.failures)
    reused = tuple(request.folder for request in course.reused)
    return Study(tuple(results), reused, tuple(course.failures), table, tuple(files), tuple(checks))


def write_result(result: ERF, folder: Path, labels: Path | None = None) -> ERF:
    """Write a result: ``erf.npz``, then ``erf.json`` and ``heatmap.png|pdf`` of what is in it.

    Args:
        result: the result.
        folder: where to.
        labels: the file that the images' classes are from, for the record.

    Returns:
        The result as it was written.

    Raises:
        OutputError: the folder cannot be written.
    """
    if labels:
        runs = tuple({**run, "labels": str(labels)} for run in result.runs)
        result = replace(result, runs=runs)
    for name in _SHOWN:  # of an earlier result
        remove(folder / name)
    result.save(folder / _ARCHIVE)
    written = ERF.load(folder / _ARCHIVE)
    _show(written, folder)
    return written


def show_again(folder: Path) -> None:
    """Write what is missing of what shows a result, of the archive in its folder.

    Raises:
        UsageError: the archive is missing or damaged.
        OutputError: the folder cannot be written.
    """
    if not all((folder / name).is_file() for name in _SHOWN):
        _show(ERF.load(folder / _ARCHIVE), folder, again=False)


def _show(result: ERF, folder: Path, again: bool = True) -> None:
    """Write what shows a result; only what is missing of it unless it is to be written again."""
    missing = [name for name in _SHOWN if again or not (folder / name).is_file()]
    if "erf.json" in missing:
        warnings = [vars(each) for each in cautions(result)]
        record = {"measures": result.measures.record(), "warnings": warnings, **result.record()}
        write_json(folder / "erf.json", record)
    if {"heatmap.png", "heatmap.pdf"} & {*missing}:
        save_figure(figures.heatmap(result), folder / "heatmap", result.record())


def earlier_result(
    folder: Path,
    expected: Mapping[str, Any],
    selection: Selection,
    labels: Mapping[str, int],
    exact: bool,
) -> tuple[ERF | None, list[str]]:
    """Return the result in a folder if measuring would give it again; else how it differs.

    A damaged one, and none, differ in nothing: there is nothing to lose.
    """
    path = folder / _ARCHIVE
    try:
        found = ERF.load(path)
    except UsageError:
        with suppress(UsageError):
            if is_of_another_version(path):
                return None, ["the version of erf-tools that wrote it"]
        return None, []
    others = differences(found.setting, expected)
    if other := other_images(identities(found.images), identities(selection.images)):
        others += other
    elif [each.label for each in found.images] != [labels.get(each.name) for each in found.images]:
        others.append("the images' labels")
    for run in found.runs:
        others += other_run(run, exact)
    return (None, others) if others else (found, [])


def write_together(
    results: Sequence[ERF],
    others: Sequence[OthersMap],
    output: Path,
    failures: Failures,
    reference: bool = True,
    stages: bool = False,
    in_series: bool = False,
    checks: Sequence[PerturbationERF] = (),
) -> tuple[pd.DataFrame, list[Path]]:
    """Write what shows several results together; each of the files stands alone.

    Args:
        results: measured here.
        others: maps of others.
        output: the study's folder.
        failures: what cannot be written is added here.
        reference: put published values beside.
        stages: the results are those of stages.
        in_series: they are those of checkpoints.
        checks: of some of the results.

    Returns:
        :func:`erf_tools.erf.tables.erf_table` of all, and the files.
    """
    table = tables.erf_table(results, others)
    table = tables.with_published(table) if reference else tables.without_published(table)
    records = [*(result.record() for result in results), *(map_.record() for map_ in others)]
    files = Files(output, failures, {"results": records})
    files.add("erf_table", lambda path: shown_tables.write_erf_table(table, path))
    drawn: dict[str, Callable[[], Figure]] = {
        "erf_comparison": lambda: figures.comparison([*results, *others]),
        "erf_radial": lambda: figures.radial_profiles([*results, *others]),
    }
    if any(result.sample for result in results):
        drawn["erf_convergence"] = lambda: figures.convergence(results)
        files.csv("erf_convergence", lambda: tables.convergence_table(results))
    if stages:
        drawn["erf_stages"] = lambda: figures.stage_growth(results)
    if in_series:
        drawn["erf_series"] = lambda: figures.series(results)
    if results:
        files.csv("erf_differences", lambda: tables.difference_table(results))
    for name, draw in drawn.items():
        files.figure(name, draw)
    files.written.extend(write_checks(checks, output, failures))
    files.page(lambda: Results(results, others, checks=checks), reference)
    return table, files.written
