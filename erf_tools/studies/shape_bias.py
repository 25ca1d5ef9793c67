"""A study of decisions: several networks and published decision makers, written to one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.cue_conflict import figures, tables
from erf_tools.cue_conflict.classify import Aggregation, decide, settings
from erf_tools.cue_conflict.decisions import Decisions, read_decisions
from erf_tools.cue_conflict.makers import DecisionMaker, decision_makers, paired_differences
from erf_tools.cue_conflict.stimuli import SIDE, StimulusSet
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.figures import save_figure
from erf_tools.files import canonical_json, file_sha256, write_json
from erf_tools.models.loading import Model, load_model
from erf_tools.models.requests import Request, folder_name
from erf_tools.provenance import versions
from erf_tools.report.page import write_report
from erf_tools.report.results import ShapeBias
from erf_tools.tables import write_csv, write_tables


@dataclass(frozen=True)
class DecisionStudy:
    """What a study gave.

    Attributes:
        table: :func:`~erf_tools.cue_conflict.tables.shape_bias_table`, or ``accuracy_table`` for
            single-cue stimuli.
        shown: the same as text for people.
        remarks: what a reader has to know.
        makers: the rows of the former; empty for single-cue stimuli.
        reused: networks whose decisions lay there already.
        failures: one per network that could not be measured, and of the report.
        files: what was written for the whole study.
    """

    table: pd.DataFrame
    shown: pd.DataFrame
    remarks: tuple[str, ...]
    makers: tuple[DecisionMaker, ...]
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    files: tuple[Path, ...]


def measure_decisions(
    wanted: Sequence[Request],
    stimuli: StimulusSet | None,
    output: Path,
    published: Sequence[Decisions] = (),
    reference: bool = True,
    preset: str = "direct",
    aggregation: Aggregation = "mean",
    label_map: Mapping[str, Sequence[int]] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
    output_key: str | None = None,
) -> DecisionStudy:
    """Let each network decide on the stimuli, and write everything below ``output``.

    A network that fails does not stop the others. Decisions that lie there already, of the same
    weights, stimuli, settings and versions, are used as they are.

    Raises:
        ErfToolsError: nothing could be measured; the first failure says why.
        UsageError: two decision makers have the same name.
    """
    made: list[Decisions] = []
    reused: list[str] = []
    failures: list[ErfToolsError] = []
    for request in wanted:
        assert stimuli is not None
        path = decisions_file(output, request)
        try:
            model = load_deciding(request, preset, seed)
            expected = settings(model, stimuli, preset, aggregation, label_map, output_key)
            decisions = _finished(path, model.name, expected) if stimuli.conflict else None
            if decisions:
                reused.append(model.name)
            else:
                decisions = decide(
                    model,
                    stimuli,
                    preset,
                    aggregation,
                    label_map,
                    batch_size,
                    device,
                    progress,
                    output_key=output_key,
                )
                save_decisions(decisions, path)
            made.append(decisions)
        except ErfToolsError as error:
            failures.append(error)
    if failures and not made:
        raise failures[0]
    if stimuli is not None and not stimuli.conflict:
        return _write_accuracy(made, stimuli, output, tuple(failures))

    names = [decisions.name for decisions in (*published, *made)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"{twice[0]} is both a model and a file of --decisions; rename the file, which names "
            "the decision maker"
        )
    makers = decision_makers([*published, *made], reference)
    files, table, shown, remarks = write_shape_bias(makers, output)
    try:
        files.append(write_report(output / "report.html", biases=[ShapeBias.read(output)]))
    except ErfToolsError as error:
        failures.append(error)
    return DecisionStudy(
        table, shown, remarks, tuple(makers), tuple(reused), tuple(failures), tuple(files)
    )


def load_deciding(request: Request, preset: str, seed: int) -> Model:
    """Load a network for the size at which it is shown stimuli.

    Raises:
        UsageError: it is one of a series of checkpoints, which decisions do not tell apart.
        ErfToolsError: see :func:`erf_tools.load_model`.
    """
    if request.in_series:
        raise UsageError(
            f"{request.model} has a series of checkpoints; shape bias is measured of one of them: "
            f"--weights {request.weights}"
        )
    size = SIDE if preset == "mvh" else None
    return load_model(request.model, request.weights, seed, resolution=size)


def decisions_file(output: Path, request: Request) -> Path:
    """Return where a network's decisions go, below a study's folder."""
    return output / "decisions" / f"{folder_name(request.model)}.csv"


def save_decisions(decisions: Decisions, path: Path) -> None:
    """Write decisions, and beside them as JSON how they were made.

    Raises:
        OutputError: they cannot be written.
    """
    decisions.save(path)
    record = {**decisions.provenance, "sha256": file_sha256(path)}
    write_json(path.with_suffix(".json"), record)


def write_shape_bias(
    makers: Sequence[DecisionMaker], output: Path
) -> tuple[list[Path], pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Write what shows decision makers side by side: tables, figures, provenance.

    Returns:
        The files, the table, the same as text, and what a reader has to know.

    Raises:
        OutputError: the folder cannot be written.
    """
    table = tables.shape_bias_table(makers)
    shown, remarks = tables.readable(table), tuple(tables.notes(table))
    provenance = _provenance(makers)
    files = write_tables(output / "shape_bias", table, shown, remarks)
    files.append(write_csv(tables.category_table(makers), output / "shape_bias_by_category.csv"))
    files.append(write_csv(paired_differences(makers), output / "differences.csv"))
    files += save_figure(figures.matrix_plot(makers), output / "shape_bias_matrix", provenance)
    # Its PNG and PDF share the table's stem.
    files += save_figure(figures.interval_plot(makers), output / "shape_bias", provenance)
    write_json(output / "provenance.json", provenance)
    return [*files, output / "provenance.json"], table, shown, remarks


def _write_accuracy(
    made: Sequence[Decisions],
    stimuli: StimulusSet,
    output: Path,
    failures: tuple[ErfToolsError, ...],
) -> DecisionStudy:
    table = tables.accuracy_table(made)
    shown = tables.readable_accuracy(table)
    remarks = (f"Accuracy over the 16 categories on {stimuli.label} from {stimuli.source}.",)
    files = write_tables(output / "accuracy", table, shown, remarks)
    write_json(output / "provenance.json", {each.name: dict(each.provenance) for each in made})
    files.append(output / "provenance.json")
    return DecisionStudy(table, shown, remarks, (), (), failures, tuple(files))


def _provenance(makers: Sequence[DecisionMaker]) -> dict[str, Any]:
    return {
        "versions": versions(),
        "decision_makers": {maker.name: dict(maker.provenance) for maker in makers},
    }


def _finished(path: Path, name: str, expected: Mapping[str, Any]) -> Decisions | None:
    """Return the decisions at ``path`` if deciding again would give the same ones."""
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        same = (
            all(canonical_json(record.get(k)) == canonical_json(v) for k, v in expected.items())
            and record["versions"] == versions()
            and record.pop("sha256") == file_sha256(path)
        )
        return Decisions(name, read_decisions([path])[0].frame, record) if same else None
    except (OSError, ValueError, KeyError, UsageError):
        return None
