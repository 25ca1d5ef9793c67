"""A study of decisions: several networks and published decision makers, written to one folder.

torch is imported where a network is measured: published decisions need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from erf_tools.computing import Computing
from erf_tools.cue_conflict import figures, tables
from erf_tools.cue_conflict.categories import Categories, guessing_mrr
from erf_tools.cue_conflict.choices import Deciding
from erf_tools.cue_conflict.decisions import Decisions, load_frame
from erf_tools.cue_conflict.makers import DecisionMaker, decision_makers, paired_differences
from erf_tools.cue_conflict.scores import SCORES, Scores
from erf_tools.cue_conflict.stimulus_sets import SIDE, StimulusSet
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.files import (
    file_sha256,
    locked,
    read_json,
    remove,
    understood,
    write_json,
)
from erf_tools.models.prefixes import is_zero_shot
from erf_tools.models.requests import Request, folder_name
from erf_tools.provenance import versions
from erf_tools.report.page import write_report
from erf_tools.report.results import Results, ShapeBias, SingleCue
from erf_tools.studies.one_by_one import Earlier, clear, differences, measure_one_by_one
from erf_tools.studies.written import WrittenTables
from erf_tools.tables import write_csv, write_tables

if TYPE_CHECKING:
    from erf_tools.models.model import Model

_DECISIONS = "decisions"


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
    deciding: Deciding | None = None,
    label_map: Mapping[str, Sequence[int]] | None = None,
    computing: Computing | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> DecisionStudy:
    """Let each network decide on the stimuli, and write everything below ``output``.

    A network that fails does not stop the others. Decisions that lie there already, of the same
    weights, stimuli, settings and versions, are used as they are; others are replaced only with
    ``overwrite``.

    Raises:
        UsageError: two decision makers have the same name, or the folder holds other decisions of a
            network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    _check_names(wanted, published)
    deciding = deciding or Deciding()

    def earlier(request: Request) -> Earlier[Decisions]:
        path = decisions_file(output, request)
        try:
            found = load_decisions(path)
        except UsageError:
            return Earlier()
        from erf_tools.cue_conflict.classify import settings

        assert stimuli
        model = load_deciding(request, deciding, seed, stimuli.categories)
        expected = settings(model, stimuli, deciding, label_map)
        now = with_places_of(found.provenance, {**expected, "versions": versions()})
        others = differences(found.provenance, now)
        return Earlier(differences=others) if others else Earlier(found)

    def measure(request: Request) -> Decisions:
        from erf_tools.cue_conflict.classify import decide

        assert stimuli
        model = load_deciding(request, deciding, seed, stimuli.categories)
        made = decide(model, stimuli, deciding, label_map, computing, progress)
        return save_decisions(made, decisions_file(output, request))

    with locked(output):
        clear(output, [output / _DECISIONS])
        course = measure_one_by_one(wanted, output, earlier, measure, overwrite)
        made, failures = list(course.results.values()), course.failures
        makers: list[DecisionMaker] = []
        if stimuli is not None and not stimuli.conflict:
            written = _write_accuracy(made, stimuli, output, failures)
            with failures.alone("report.html"):
                page = Results(single_cue=[SingleCue.read(output)])
                written.files.append(write_report(output / "report.html", page, failures))
        else:
            makers = decision_makers([*published, *made], reference)
            written = write_shape_bias(makers, output, failures)
            with failures.alone("report.html"):
                page = Results(biases=[ShapeBias.read(output)])
                written.files.append(write_report(output / "report.html", page, failures))
    return DecisionStudy(
        written.table,
        written.shown,
        written.remarks,
        tuple(makers),
        tuple(request.model for request in course.reused),
        tuple(failures),
        tuple(written.files),
    )


def check_not_in_series(wanted: Sequence[Request]) -> None:
    """See that each network has one choice of weights.

    Raises:
        UsageError: one has several checkpoints.
    """
    series = [request for request in wanted if request.in_series]
    if series:
        raise UsageError(
            f"{series[0].model} has a series of checkpoints; shape bias is measured of one of "
            f"them: --weights {series[0].weights}"
        )


def _check_names(wanted: Sequence[Request], published: Sequence[Decisions]) -> None:
    check_not_in_series(wanted)
    names = [*(made.name for made in published), *(request.model for request in wanted)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"{twice[0]} is both a model and a file of --decisions; rename the file, which names "
            "the decision maker"
        )


def with_places_of(there: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record whose stimuli lie where another record says.

    It does not matter where; digests say which they are.
    """
    places = {key: there["stimuli"].get(key) for key in ("source", "categories_file")}
    return {**now, "stimuli": {**now["stimuli"], **places}}


def load_deciding(
    request: Request, deciding: Deciding, seed: int, categories: Categories | None = None
) -> Model:
    """Load a network for the size at which it is shown stimuli.

    Args:
        request: the network.
        deciding: how it decides.
        seed: of random weights.
        categories: for a head that is told of them in words; ``None`` where none is needed.

    Raises:
        ErfToolsError: see :func:`erf_tools.load_model`.
    """
    from erf_tools.models.loading import load_model
    from erf_tools.models.zero_shot import ClassTexts, read_templates

    size = SIDE if deciding.preset == "mvh" else None
    texts = None
    if categories and is_zero_shot(request.model):
        texts = ClassTexts(categories.texts, read_templates(deciding.prompts))
    return load_model(request.model, request.weights, seed, size, request.channels, texts)


def decisions_file(output: Path, request: Request) -> Path:
    """Return where a network's decisions go, below a study's folder."""
    return output / _DECISIONS / f"{folder_name(request.model)}.csv"


def save_decisions(decisions: Decisions, path: Path) -> Decisions:
    """Write decisions, and beside them their scores, and as JSON how they were made.

    Returns:
        The decisions as they were written.

    Raises:
        OutputError: they cannot be written.
    """
    remove(path.with_suffix(".json"))  # it says that the files beside it are whole
    decisions.save(path)
    assert decisions.scores
    decisions.scores.save(path.with_suffix(SCORES))
    record = {**decisions.provenance, "sha256": _digests(path)}
    write_json(path.with_suffix(".json"), record)
    return load_decisions(path)


def load_decisions(path: Path) -> Decisions:
    """Read what :func:`save_decisions` wrote.

    Raises:
        UsageError: it is missing or damaged.
    """
    record = read_json(path.with_suffix(".json"))
    with understood(path):
        if record.pop("sha256") != _digests(path):
            raise ValueError("it is not the file of which the digest is kept")
        scores = Scores.load(path.with_suffix(SCORES))
        categories = Categories.of_record(record["stimuli"].get("categories"))
        frame = load_frame(path, categories)
        return Decisions(record["model"]["name"], frame, record, scores, categories)


def _digests(path: Path) -> dict[str, str]:
    files = {"decisions": path, "scores": path.with_suffix(SCORES)}
    return {name: file_sha256(file) for name, file in files.items()}


def write_shape_bias(
    makers: Sequence[DecisionMaker], output: Path, failures: Failures
) -> WrittenTables:
    """Write what shows decision makers side by side: tables, figures, provenance.

    Each of the files stands alone.

    Args:
        makers: the decision makers.
        output: the study's folder.
        failures: what cannot be written is added here.
    """
    table = tables.shape_bias_table(makers)
    shown, remarks = tables.readable(table), tuple(tables.notes(table))
    written = WrittenTables(table, shown, remarks, [])
    files = written.files
    provenance = {
        "versions": versions(),
        "decision_makers": {maker.name: dict(maker.provenance) for maker in makers},
    }
    with failures.alone("shape_bias"):
        files += write_tables(output / "shape_bias", table, shown, remarks)
    with failures.alone("shape_bias_by_category.csv"):
        by_category = tables.category_table(makers)
        files.append(write_csv(by_category, output / "shape_bias_by_category.csv"))
    with failures.alone("shape_bias_differences.csv"):
        paired = paired_differences(makers)
        files.append(write_csv(paired, output / "shape_bias_differences.csv"))
    # The interval plot's PNG and PDF share the table's stem.
    drawn = {
        "shape_bias_matrix": figures.matrix_plot,
        "shape_bias": figures.interval_plot,
        "shape_bias_sensitivity": figures.sensitivity_plot,
    }
    for name, draw in drawn.items():
        with failures.alone(f"{name}.png"):
            files += save_figure(draw(makers), output / name, provenance)
    _write_provenance(provenance, written, output, failures)
    return written


def _write_accuracy(
    made: Sequence[Decisions], stimuli: StimulusSet, output: Path, failures: Failures
) -> WrittenTables:
    table = tables.accuracy_table(made)
    count = len(stimuli.categories.names)
    remarks = (
        f"Accuracy over the {count} categories on {stimuli.label} from {stimuli.source}.",
        "MRR: mean of one over the rank of the right category among all (guessing gives "
        f"{guessing_mrr(count):.3f}), and of its best class among all classes of the head.",
        *tables.prompt_notes(table),
    )
    written = WrittenTables(table, tables.readable_accuracy(table), remarks, [])
    with failures.alone("accuracy"):
        written.files += write_tables(output / "accuracy", table, written.shown, remarks)
    provenance = {each.name: dict(each.provenance) for each in made}
    with failures.alone("accuracy.png"):
        written.files += save_figure(figures.accuracy_plot(table), output / "accuracy", provenance)
    _write_provenance(provenance, written, output, failures)
    return written


def _write_provenance(
    provenance: Mapping[str, Any], written: WrittenTables, output: Path, failures: Failures
) -> None:
    with failures.alone("provenance.json"):
        write_json(output / "provenance.json", provenance)
        written.files.append(output / "provenance.json")
