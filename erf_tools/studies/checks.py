"""The checks of a study: each result's unit, by replacing cells of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erf_tools.computing import Computing
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.failures import Failures, FailuresError
from erf_tools.images import PixelStore, Selection, identities
from erf_tools.models.requests import Layers, Request
from erf_tools.perturbation import figures, tables
from erf_tools.perturbation.agreement import linearity
from erf_tools.perturbation.choices import Checking
from erf_tools.perturbation.measuring import check_layer, check_record
from erf_tools.perturbation.result import ARCHIVE, PerturbationERF
from erf_tools.studies.one_by_one import (
    Earlier,
    differences,
    measure_one_by_one,
    other_images,
    other_run,
)
from erf_tools.studies.requested import expected_setting, requested_layers
from erf_tools.studies.written import Files


def check_all(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure,
    layers: Layers,
    checking: Checking,
    failures: Failures,
    computing: Computing,
    seed: int,
    overwrite: bool,
    progress: bool,
    store: PixelStore,
) -> list[PerturbationERF]:
    """Check each layer of each model; what is there of an earlier run is gone on with.

    Each result is written after each image, beside the ERF. For the arguments see
    :func:`erf_tools.studies.erf.measure_erfs`.

    Args:
        wanted: the models.
        selection: the images.
        output: the study's folder.
        procedure: what is measured.
        layers: of which layers.
        checking: how.
        failures: what fails is added.
        computing: how.
        seed: of random weights, and of directions.
        overwrite: replace other checks.
        progress: show progress bars.
        store: keeps the images that are made ready.

    Raises:
        UsageError: the folder holds another check of a model.
    """

    def expected(model: Any, tap: Any) -> dict[str, Any]:
        check = check_record(checking, seed, len(selection))
        return {**expected_setting(model, tap, procedure), "check": check}

    def earlier(request: Request) -> Earlier[list[PerturbationERF]]:
        if not any((output / request.folder).rglob(ARCHIVE)):
            return Earlier()
        model, taps = requested_layers(request, procedure, layers, seed, output)
        found: list[PerturbationERF] = []
        others: list[str] = []
        for folder, tap in taps.items():
            result = earlier_check(folder / ARCHIVE)
            if result:
                others += differing(result, expected(model, tap), selection, computing.exact)
                found += [result] * result.done
        whole = len(found) == len(taps) and not others
        return Earlier(found if whole else None, list(dict.fromkeys(others)))

    def check(request: Request) -> list[PerturbationERF]:
        model, taps = requested_layers(request, procedure, layers, seed, output)
        results = []
        for folder, tap in taps.items():
            there = earlier_check(folder / ARCHIVE)
            if there and differing(there, expected(model, tap), selection, computing.exact):
                there = None  # it is to be replaced
            path = folder / ARCHIVE
            results.append(
                there
                if there and there.done
                else check_layer(
                    model,
                    tap,
                    selection,
                    procedure,
                    checking,
                    seed,
                    computing,
                    progress,
                    store,
                    there,
                    lambda result, path=path: result.save(path),  # type: ignore[misc]
                )
            )
        return results

    try:
        course = measure_one_by_one(wanted, output, earlier, check, overwrite)
    except FailuresError as error:  # the results themselves are there
        failures.extend(error.failures)
        return []
    failures.extend(course.failures)
    return [result for own in course.results.values() for result in own]


def earlier_check(path: Path) -> PerturbationERF | None:
    """Return what an earlier run has left; where it is damaged there is nothing to lose."""
    try:
        return PerturbationERF.load(path)
    except UsageError:
        return None


def differing(
    there: PerturbationERF, expected: Mapping[str, Any], selection: Selection, exact: bool
) -> list[str]:
    """Return in what a check, whole or begun, differs from the one that is asked for.

    Args:
        there: the check.
        expected: what its setting has to say.
        selection: the images.
        exact: no faster ways of computing may have been taken.
    """
    others = differences(there.setting, expected)
    others += other_images(identities(there.images), identities(selection.images), begun=True)
    for run in there.runs:
        others += other_run(run, exact)
    return [f"check: {each}" for each in others]


#: What is written of checks; see :func:`erf_tools.studies.written.remove_earlier`.
SHOWN_OF_CHECKS = {
    "perturbation": [f"perturbation_table.{suffix}" for suffix in ("csv", "md", "tex")],
    "perturbation_linearity": [],
}


def write_checks(
    results: Sequence[PerturbationERF], output: Path, failures: Failures
) -> list[Path]:
    """Write what shows checks together: a table, maps beside maps, the ends of linearity."""
    files = Files(output, failures, {"results": [result.record() for result in results]})
    if results:
        table = tables.perturbation_table(results)
        files.add(
            "perturbation_table",
            lambda path: tables.write_perturbation_table(table, results, path),
        )
        files.figure("perturbation", lambda: figures.perturbations(results))
        predicted = [result for result in results if linearity(result).known]
        if predicted:
            files.figure("perturbation_linearity", lambda: figures.linearities(predicted))
    return files.written
