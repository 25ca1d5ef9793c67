"""A study of reliance: several networks, the same suppressed images, written to one folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.computing import Computing
from erf_tools.errors import UsageError
from erf_tools.failures import Failures, FailuresError
from erf_tools.files import locked
from erf_tools.images import identities
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model
from erf_tools.models.requests import Request, folder_name
from erf_tools.progress import progress_bar
from erf_tools.reliance import critical_band, figures, tables
from erf_tools.reliance.choices import Suppressing
from erf_tools.reliance.deciding import Decider, decider, setting, suppressed
from erf_tools.reliance.judged import JudgedImages
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.sheet import save_sheet
from erf_tools.reliance.suppressions import Suppression, chosen, suppress
from erf_tools.report.results import Reliance, Results
from erf_tools.studies.one_by_one import (
    Earlier,
    check_not_in_series,
    clear,
    differences,
    look_up,
    other_images,
)
from erf_tools.studies.written import Files, TableStudy, WrittenTables, remove_earlier

#: Answers are written so many seconds after they were last.
_KEPT_FOR = 30.0

#: What is written of some suppressions only; see :func:`~erf_tools.studies.written.remove_earlier`.
_SHOWN_OF_SOME = {"critical_band": [f"critical_band.{suffix}" for suffix in ("csv", "md", "tex")]}


@dataclass(frozen=True, kw_only=True)
class RelianceStudy(TableStudy):
    """What a study gave; its table is :func:`~erf_tools.reliance.tables.reliance_table`.

    Attributes:
        results: answers of each network, in the order asked for.
    """

    results: tuple[SuppressedAnswers, ...]


def measure_reliance(
    wanted: Sequence[Request],
    judged: JudgedImages,
    output: Path,
    suppressing: Suppressing | None = None,
    computing: Computing | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> RelianceStudy:
    """Let networks answer to images under suppressions, and write everything below ``output``.

    All networks are in memory together, so that each suppressed image is made once. One that fails
    does not stop the others. Answers that lie there already are used, and an interrupted study goes
    on behind the last images whose answers were written.

    Raises:
        UsageError: the folder holds other answers of a network, or a cue is unknown.
        OutputError: the folder cannot be written.
        FailuresError: no network could be measured.
    """
    suppressing = suppressing or Suppressing()
    rows = chosen(suppressing.cues)
    check_not_in_series(wanted, "reliance")
    failures = Failures()
    with locked(output), ExitStack() as held:
        clear(output, [output / "decisions"])
        results: dict[Request, SuppressedAnswers] = {}
        deciders: dict[Request, Decider] = {}
        models: dict[Request, tuple[Model, dict[str, Any]]] = {}

        def earlier(request: Request) -> Earlier[SuppressedAnswers]:
            model = load_model(request.model, request.weights, seed, channels=request.channels)
            own = setting(model, judged, rows, seed, suppressing.output_key)
            models[request] = (model, own)
            return _earlier(answers_file(output, request), own, judged)

        there = look_up(wanted, output, earlier, overwrite, failures)
        reused = [request.model for request, found in there.items() if found.result]
        for request, found in there.items():
            with failures.alone(request.label):
                if found.result and len(found.result.names) == len(judged.images):
                    results[request] = found.result
                    continue
                model, own = models.pop(request)
                ready = decider(model, judged, own, computing or Computing(), found.result)
                deciders[request] = held.enter_context(ready)
        _decide(deciders, judged, rows, seed, output, failures, progress)
        for request, each in deciders.items():
            if each.count == len(judged.images):
                results[request] = SuppressedAnswers.load(answers_file(output, request))
        # The same images may lie elsewhere now.
        results = {own: replace(found, source=judged.record) for own, found in results.items()}
        if not results:
            raise FailuresError(list(failures), all_of_it=True)
        ordered = [results[request] for request in wanted if request in results]
        written = write_reliance(ordered, output, failures)
        written.files.page(lambda: Results(reliances=[Reliance.read(output)]))
    return RelianceStudy.of(written, reused, results=tuple(ordered))


def answers_file(output: Path, request: Request) -> Path:
    """Return where a network's answers go, below a study's folder."""
    return output / "decisions" / f"{folder_name(request.model)}.npz"


def _earlier(path: Path, own: dict[str, Any], judged: JudgedImages) -> Earlier[SuppressedAnswers]:
    """Return answers that are there, if they are the first of what is asked for; else why not."""
    try:
        found = SuppressedAnswers.load(path)
    except UsageError:
        return Earlier()
    others = differences(found.setting, own)
    there = list(zip(found.names, found.sha256, strict=True))
    if other := other_images(there, identities(judged.images), begun=True):
        others += other
    elif any(
        not np.array_equal(hits, _hits(found, judged, name)) for name, hits in found.hits.items()
    ):
        others.append("the images' labels")
    return Earlier(differences=others) if others else Earlier(found)


def _hits(found: SuppressedAnswers, judged: JudgedImages, counted: str) -> np.ndarray:
    """Return which answers count by the labels of now."""
    return np.stack(
        [
            np.isin(own, image.answers[counted])
            for own, image in zip(found.answers, judged.images, strict=False)
        ]
    )


def _decide(
    deciders: dict[Request, Decider],
    judged: JudgedImages,
    rows: Sequence[Suppression],
    seed: int,
    output: Path,
    failures: Failures,
    progress: bool,
) -> None:
    """Let all networks answer, and write their answers from time to time."""
    at_work = dict(deciders)
    if not at_work:
        return
    start = min(each.count for each in at_work.values())
    left = judged.images[start:]
    ways = {each.way for each in at_work.values()}
    written = time.monotonic()
    with progress_bar(progress, total=len(left), desc="reliance") as bar:
        for index, image in enumerate(suppressed(left, rows, seed, ways), start):
            last = index + 1 == len(judged.images)
            is_due = last or time.monotonic() - written >= _KEPT_FOR
            for request, each in list(at_work.items()):
                if each.count > index:
                    continue
                before = len(list(failures))
                with failures.alone(request.label):
                    each.answer(image)
                    if is_due:
                        each.result().save(answers_file(output, request))
                if len(list(failures)) > before:
                    del at_work[request]
            written = time.monotonic() if is_due else written
            bar.update()
            if not at_work:
                return


def write_reliance(
    results: Sequence[SuppressedAnswers], output: Path, failures: Failures
) -> WrittenTables:
    """Write what shows networks side by side: tables, figures, one image under all suppressions.

    Each of the files stands alone.

    Args:
        results: of networks with the same suppressions.
        output: the study's folder.
        failures: what cannot be written is added here.
    """
    first, rows = results[0], results[0].rows
    table = tables.reliance_table(results, rows)
    shown = tables.readable(table, rows)
    remarks = [*tables.notes(table, rows), *_left_out(first.source)]
    provenance = {
        "images": dict(first.source),
        "example": {"name": first.names[0], "sha256": first.sha256[0]},
        "results": [dict(result.setting) for result in results],
    }
    curves = tables.curves_table(results, rows)
    versions = suppress(first.example, rows, first.sha256[0], first.setting["seed"])
    files = Files(output, failures, provenance)
    files.tables("reliance", table, shown, remarks)
    files.csv("reliance_curves", lambda: curves)
    files.csv("reliance_differences", lambda: tables.difference_table(results, rows))
    files.add("reliance_versions.jpg", lambda path: save_sheet(versions, rows, path))
    files.figure("reliance_profile", lambda: figures.profile_plot(table, rows))
    files.figure("reliance_curves", lambda: figures.curves_plot(curves, rows))
    files.figure("reliance_changes", lambda: figures.changes_plot(curves, rows))
    files.figure("reliance_strip", lambda: figures.strip_plot(versions, rows))
    if critical_band.is_measured(rows):
        bands = critical_band.critical_band_table(results, rows)
        said, below = critical_band.readable(bands), critical_band.notes(bands)
        files.tables("critical_band", bands, said, below)
        files.figure("critical_band", lambda: figures.critical_band_plot(bands))
    remove_earlier(output, _SHOWN_OF_SOME, files.written, failures)
    files.record("reliance.json")
    return WrittenTables(table, shown, remarks, files)


def _left_out(source: Mapping[str, Any]) -> Iterator[str]:
    left = source.get("selected", source["count"]) - source["count"]
    if left:
        yield f"{left} of {source['selected']} images have no label, and are left out."
