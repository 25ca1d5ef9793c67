"""A sweep: its units done by whichever executor, its results joined in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.errors import ErfToolsError
from erf_tools.files import locked
from erf_tools.progress import progress_bar
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.outcome import Failure, Outcome
from erf_tools.sweep.plan import Plan, Unit, make_plan
from erf_tools.sweep.results import write_results
from erf_tools.sweep.study import StudyFile

#: How often units are done that lack a part again when all others are done.
_ROUNDS = 3

#: Does units: the units and the sweep's folder; yields their outcomes in any order.
Executor = Callable[[Sequence[Unit], Path], Iterator[Outcome]]


@dataclass(frozen=True)
class Sweep:
    """What a sweep gave.

    Attributes:
        plan: what there was to do.
        table: of all that is done, and of what failed, with the columns
            :data:`erf_tools.sweep.results.COLUMNS`.
        reused: number of units that needed nothing.
        failures: reasons of failed units, by unit.
        unwritten: why files of the whole sweep could not be written.
        files: what was written for the whole sweep.
    """

    plan: Plan
    table: pd.DataFrame
    reused: int
    failures: dict[str, str]
    unwritten: tuple[ErfToolsError, ...]
    files: tuple[Path, ...]


def sweep(
    study: StudyFile,
    output: Path,
    execute: Executor,
    retry_failed: bool = False,
    progress: bool = False,
) -> Sweep:
    """Do what is missing of a study, and write its tables.

    Args:
        study: the study.
        output: folder for the results; what lies there of the same study is used.
        execute: does units.
        retry_failed: do failed units again.
        progress: show progress bars (in a terminal only).

    Raises:
        UsageError: there are no such images or stimuli.
        OutputError: the folder cannot be written; what is done by then is kept.
        ErfToolsError: another coordinator is at work in the folder.
    """
    folder = SweepFolder(output)
    with locked(output):
        folder.remove_partial_files()
        plan = make_plan(study, folder.threads, progress)
        folder.save_plan(plan)
        if retry_failed:
            folder.forget_failures([unit.id for unit in plan.units])
        todo = folder.pending(plan)
        count = sum(len(unit.names) for unit in todo)
        with progress_bar(progress, total=count, desc=output.name) as bar:
            # A part may have turned out to be damaged, or of another network; and a shared file
            # system may have shown the last two workers of a measurement too little of each other
            # for either to put its result together.
            units, left = todo, {}
            for _ in range(_ROUNDS):
                if units:
                    left = _do(units, folder, execute, bar)
                    units = folder.pending(plan)
            for unit in units:
                if unit.id in left:
                    folder.fail(unit, left[unit.id])
        written = write_results(study, plan, folder)
    return Sweep(
        plan,
        written.table,
        len(plan.units) - len(todo),
        written.units,
        written.failures,
        written.files,
    )


def _do(
    units: Sequence[Unit], folder: SweepFolder, execute: Executor, bar: Any
) -> dict[str, Failure]:
    """Do units, and record what fails; return by unit the failures that can be tried again."""
    of = {unit.id: unit for unit in units}
    mended = {}
    for outcome in execute(units, folder.path):
        if outcome.failure and outcome.failure.mended:
            mended[outcome.unit] = outcome.failure
        elif outcome.failure:
            folder.fail(of[outcome.unit], outcome.failure)
        bar.update(outcome.images)
    return mended
