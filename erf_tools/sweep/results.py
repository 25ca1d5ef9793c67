"""The results of a sweep: one tidy table, and the tables that `report` and `compare` read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import msgspec
import pandas as pd

from erf_tools.cue_conflict.makers import decision_makers
from erf_tools.erf.measures import MEASURES
from erf_tools.erf.tables import write_erf_table
from erf_tools.errors import ErfToolsError
from erf_tools.failures import Failures
from erf_tools.files import atomic_path, write_json
from erf_tools.models.requests import folder_name
from erf_tools.studies.shape_bias import load_decisions, write_shape_bias
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.plan import Measurement, Plan
from erf_tools.sweep.study import ErfProtocol, StudyFile
from erf_tools.tables import write_csv

COLUMNS = (
    *("model", "weights", "weights_sha256", "protocol", "layer", "resolution", "images"),
    *("measure", "value", "low", "high", "status", "reason", "file"),
)

#: Columns of the ERF table that are measured in other ways.
_SINGLE = ("theoretical_height", "theoretical_width", "top1", "top1_natively")

_DECIDED = ("shape_bias", "coverage", "mean_of_categories")


@dataclass(frozen=True)
class Written:
    """What was written of a sweep.

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


def write_results(study: StudyFile, plan: Plan, folder: SweepFolder) -> Written:
    """Write what there is of a sweep: ``sweep.csv|parquet|json``, and a folder per protocol.

    Args:
        study: the study, for provenance.
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
    for name in dict.fromkeys(each.protocol_name for each in plan.measurements):
        measurements = [each for each in plan.measurements if each.protocol_name == name]
        found = [rows[each.id] for each in measurements if each.id in rows]
        if found:
            table = pd.concat(found, ignore_index=True)
            if isinstance(measurements[0].protocol, ErfProtocol):
                tidied.append(_tidy(table, name, [*MEASURES, *_SINGLE]))
                stem = folder.path / "erf" / folder_name(name) / "erf_table"
                with failures.alone(f"erf_table of {name}"):
                    files += write_erf_table(table.drop(columns="file"), stem)
            else:
                own_files, table = _write_decided(table, folder.path, failures)
                tidied.append(_tidy(table, name, _DECIDED))
                files += own_files
        left = [each for each in measurements if each.id not in rows]
        tidied.append(_without_result(left, units))
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
    return Written(table, units, tuple(failures), tuple(files))


def _tidy(table: pd.DataFrame, protocol: str, measures: Sequence[str]) -> pd.DataFrame:
    """Return a row per row of ``table`` and measure."""
    known = ["model", "weights", "weights_sha256", "layer", "resolution", "images", "file"]
    each = [
        table[known].assign(
            protocol=protocol,
            measure=measure,
            value=table[measure],
            low=table.get(f"{measure}_low", nan),
            high=table.get(f"{measure}_high", nan),
            status="done",
            reason="",
        )
        for measure in measures
    ]
    return pd.concat(each).sort_index(kind="stable")


def _write_decided(
    rows: pd.DataFrame, output: Path, failures: Failures
) -> tuple[list[Path], pd.DataFrame]:
    """Write the tables of shape bias; return their files, and a row per network."""
    decided, files = [], []
    for file in rows["file"]:
        with failures.alone(file):
            decided.append(load_decisions(output / file))
            files.append(file)
    written = write_shape_bias(decision_makers(decided), output / "shape_bias", failures)
    names = {
        "name": "model",
        "total": "images",
        "ci_low": "shape_bias_low",
        "ci_high": "shape_bias_high",
    }
    own = [made.name for made in decided]
    networks = written.table.set_index("name").loc[own].reset_index()
    return written.files, networks.rename(columns=names).assign(
        layer="",
        resolution=["x".join(map(str, made.provenance["input"])) for made in decided],
        file=files,
    )


def _without_result(
    measurements: Sequence[Measurement], failures: Mapping[str, str]
) -> pd.DataFrame:
    """Return a row per measurement, which failed or is not finished."""
    listed = []
    for each in measurements:
        reasons = [failures[unit] for unit in each.units if unit in failures]
        count = f" ({len(reasons)} of {each.shards} units)" if each.shards > 1 else ""
        listed.append(
            {
                "model": each.request.model,
                "weights": each.request.weights_label,
                "protocol": each.protocol_name,
                "images": each.images,
                "value": nan,
                "low": nan,
                "high": nan,
                "status": "failed" if reasons else "missing",
                "reason": f"{reasons[0]}{count}" if reasons else "",
                **dict.fromkeys(("weights_sha256", "layer", "resolution", "measure", "file"), ""),
            }
        )
    return pd.DataFrame(listed)


def _images(plan: Plan) -> list[list[str]]:
    if plan.selection is None:
        return []
    return [[image.name, image.sha256] for image in plan.selection.images]
