"""The results of a sweep: one tidy table, and the tables that `report` and `compare` read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import msgspec
import pandas as pd

from erf_tools.errors import ErfToolsError
from erf_tools.failures import Failures
from erf_tools.files import atomic_path, write_json
from erf_tools.images import identities
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.plan import Measurement, Plan
from erf_tools.sweep.study import StudyFile
from erf_tools.tables import write_csv

#: Of ``sweep.csv``.
COLUMNS = (
    *("model", "weights", "weights_sha256", "protocol", "layer", "resolution", "images"),
    *("measure", "value", "value_low", "value_high", "status", "reason", "file"),
)


@dataclass(frozen=True)
class SweepTables:
    """What was written of a whole sweep.

    Attributes:
        table: of all that is done, and of what failed, with the columns :data:`COLUMNS`.
        units: reasons of failed units, by unit.
        failures: of files of the whole sweep that could not be written.
        files: of the whole sweep.
    """

    table: pd.DataFrame
    units: dict[str, str]
    failures: tuple[ErfToolsError, ...]
    files: tuple[Path, ...]


def write_results(study: StudyFile, plan: Plan, folder: SweepFolder) -> SweepTables:
    """Write what there is of a sweep: ``sweep.csv|parquet|json``, and what each task writes.

    Args:
        study: the study.
        plan: its plan.
        folder: where the results lie and go.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows = folder.results(plan)
    unfinished = {unit for each in plan.measurements if each.id not in rows for unit in each.units}
    units = {unit: why for unit, why in folder.failures().items() if unit in unfinished}
    tidied: list[pd.DataFrame] = []
    files: list[Path] = []
    failures = Failures()
    for task in study.tasks:
        measurements = [each for each in plan.measurements if each.task == task]
        found = [rows[each.id] for each in measurements if each.id in rows]
        shown: set[str] = set()
        if found:
            with failures.alone(f"what shows {task.title} of all networks"):
                own = task.publish(pd.concat(found, ignore_index=True), folder.path, failures)
                tidied.append(_tidy(own.table, task.title, own.measures))
                files += own.files
                shown = {*own.table["file"]}
        left = [each for each in measurements if each.id not in rows]
        tidied.append(_without_result(left, units))
        unshown = [
            each for each in measurements if each not in left and not shown >= {*rows[each.id].file}
        ]
        tidied.append(_not_shown(unshown, rows, list(failures)))
    table = pd.concat([each for each in tidied if len(each)], ignore_index=True)[list(COLUMNS)]
    files.append(write_csv(table, folder.path / "sweep.csv"))
    with atomic_path(folder.path / "sweep.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    provenance = {
        "study": msgspec.to_builtins(study),
        "plan": plan.record(),
        "images": _images(plan),
    }
    write_json(folder.path / "sweep.json", provenance)
    files += [folder.path / "sweep.parquet", folder.path / "sweep.json"]
    return SweepTables(table, units, tuple(failures), tuple(files))


def _tidy(table: pd.DataFrame, protocol: str, measures: Sequence[str]) -> pd.DataFrame:
    """Return a row per row of ``table`` and measure."""
    known = ["model", "weights", "weights_sha256", "layer", "resolution", "images", "file"]
    each = [
        table[known].assign(
            protocol=protocol,
            measure=measure,
            value=table[measure],
            value_low=table.get(f"{measure}_low", nan),
            value_high=table.get(f"{measure}_high", nan),
            status="done",
            reason="",
        )
        for measure in measures
    ]
    return pd.concat(each).sort_index(kind="stable")


def _without_result(
    measurements: Sequence[Measurement], failures: Mapping[str, str]
) -> pd.DataFrame:
    """Return a row per measurement, which failed or is not finished."""
    listed = []
    for each in measurements:
        reasons = [failures[unit] for unit in each.units if unit in failures]
        count = f" ({len(reasons)} of {each.shards} units)" if each.shards > 1 else ""
        listed.append(_row(each, f"{reasons[0]}{count}" if reasons else ""))
    return pd.DataFrame(listed)


def _not_shown(
    measurements: Sequence[Measurement],
    rows: Mapping[str, pd.DataFrame],
    failures: Sequence[ErfToolsError],
) -> pd.DataFrame:
    """Return a row per measurement whose result is there and is in no table."""
    listed = []
    for each in measurements:
        files = rows[each.id]["file"]
        own = [why for why in failures if any(file in str(why) for file in files)]
        listed.append(_row(each, str([*failures, *own][-1])))
    return pd.DataFrame(listed)


def _row(measurement: Measurement, reason: str) -> dict[str, object]:
    """Return the row of a measurement that failed, or is missing if there is no reason."""
    return {
        "model": measurement.request.model,
        "weights": measurement.request.weights_label,
        "protocol": measurement.task.title,
        "images": measurement.images,
        "value": nan,
        "value_low": nan,
        "value_high": nan,
        "status": "failed" if reason else "missing",
        "reason": reason,
        **dict.fromkeys(("weights_sha256", "layer", "resolution", "measure", "file"), ""),
    }


def _images(plan: Plan) -> list[list[str]]:
    if plan.selection is None:
        return []
    return [list(image) for image in identities(plan.selection.images)]
