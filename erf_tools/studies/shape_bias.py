"""A study of decisions: several networks and published decision makers, written to one folder.

torch is imported where a network is measured: published decisions need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erf_tools.computing import Computing
from erf_tools.cue_conflict import figures, tables
from erf_tools.cue_conflict.categories import Categories, guessing_mrr
from erf_tools.cue_conflict.choices import Deciding
from erf_tools.cue_conflict.decisions import Decisions, load_frame
from erf_tools.cue_conflict.makers import (
    DecisionMaker,
    decision_makers,
    paired_differences,
    row_names,
)
from erf_tools.cue_conflict.scores import SCORES, Scores
from erf_tools.cue_conflict.stimulus_sets import SIDE, StimulusSet
from erf_tools.errors import UsageError
from erf_tools.failures import Failures
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
from erf_tools.report.results import Results, ShapeBias, SingleCue
from erf_tools.studies.one_by_one import (
    Earlier,
    check_not_in_series,
    clear,
    differences,
    measure_one_by_one,
)
from erf_tools.studies.written import Files, TableStudy, WrittenTables

if TYPE_CHECKING:
    from erf_tools.models.model import Model

_DECISIONS = "decisions"


@dataclass(frozen=True, kw_only=True)
class DecisionStudy(TableStudy):
    """What a study gave.

    Its table is :func:`~erf_tools.cue_conflict.tables.shape_bias_table`, or ``accuracy_table`` for
    single-cue stimuli.

    Attributes:
        makers: the rows of the former; empty for single-cue stimuli.
    """

    makers: tuple[DecisionMaker, ...]


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
        UsageError: two decision makers have the same name, no stimulus has a conflict, or the
            folder holds other decisions of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    _check_names(wanted, published, reference)
    if stimuli is not None and stimuli.conflict:
        stimuli.of_conflict()
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
            written.files.page(lambda: Results(single_cue=[SingleCue.read(output)]))
        else:
            makers = decision_makers([*published, *made], reference)
            written = write_shape_bias(makers, output, failures)
            written.files.page(lambda: Results(biases=[ShapeBias.read(output)]))
    reused = [request.model for request in course.reused]
    return DecisionStudy.of(written, reused, makers=tuple(makers))


def _check_names(
    wanted: Sequence[Request], published: Sequence[Decisions], reference: bool
) -> None:
    check_not_in_series(wanted, "shape bias")
    names = [*(made.name for made in published), *(request.model for request in wanted)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"{twice[0]} is both a model and a file of --decisions; rename the file, which names "
            "the decision maker"
        )
    observers = any(made.human for made in published)
    if taken := sorted(row_names(observers, reference).intersection(names)):
        raise UsageError(
            f"{taken[0]} is a file of --decisions and another row of the table; rename the file, "
            "which names the decision maker"
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
    shown, remarks = tables.readable(table), tables.notes(table)
    provenance = {
        "versions": versions(),
        "decision_makers": {maker.name: dict(maker.provenance) for maker in makers},
    }
    files = Files(output, failures, provenance)
    files.tables("shape_bias", table, shown, remarks)
    files.csv("shape_bias_by_category", lambda: tables.category_table(makers))
    files.csv("shape_bias_differences", lambda: paired_differences(makers))
    files.figure("shape_bias_matrix", lambda: figures.matrix_plot(makers))
    # Its PNG and PDF share the table's stem.
    files.figure("shape_bias", lambda: figures.interval_plot(makers))
    files.figure("shape_bias_sensitivity", lambda: figures.sensitivity_plot(makers))
    files.record("provenance.json")
    return WrittenTables(table, shown, remarks, files)


def _write_accuracy(
    made: Sequence[Decisions], stimuli: StimulusSet, output: Path, failures: Failures
) -> WrittenTables:
    table = tables.accuracy_table(made)
    shown = tables.readable_accuracy(table)
    count = len(stimuli.categories.names)
    remarks = [
        f"Accuracy over the {count} categories on {stimuli.label} from {stimuli.source}.",
        "MRR: mean of one over the rank of the right category among all (guessing gives "
        f"{guessing_mrr(count):.3f}), and of its best class among all classes of the head.",
        *tables.undecided_notes(table),
        *tables.prompt_notes(table),
    ]
    files = Files(output, failures, {each.name: dict(each.provenance) for each in made})
    files.tables("accuracy", table, shown, remarks)
    files.figure("accuracy", lambda: figures.accuracy_plot(table))
    files.record("accuracy.json")
    return WrittenTables(table, shown, remarks, files)
