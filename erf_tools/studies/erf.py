"""A study: several models measured alike, each result written as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.erf import figures, tables
from erf_tools.erf.gradients import measure_layers
from erf_tools.erf.maps import ERF
from erf_tools.erf.procedure import DEFAULT_RESOLUTION, Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.taps import Tap, find_taps, stage_taps
from erf_tools.figures import save_figure
from erf_tools.files import canonical_json, write_json
from erf_tools.images import PixelStore, Selection
from erf_tools.models.accuracy import find_labels
from erf_tools.models.loading import Model, load_model
from erf_tools.models.requests import Request, folder_name
from erf_tools.provenance import versions
from erf_tools.report.page import write_report
from erf_tools.tables import write_csv


@dataclass(frozen=True)
class Study:
    """What a study gave.

    Attributes:
        results: one per model and layer that could be measured, in the order asked for.
        reused: folders of models whose results lay there already.
        failures: one per model that could not be measured, and of the report.
        table: :func:`erf_tools.erf.tables.erf_table` of the results.
        files: the files of the whole study; each model's lie in a folder of its own beside them.
    """

    results: tuple[ERF, ...]
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    table: pd.DataFrame
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Layers:
    """Which layers of each model a study measures.

    Attributes:
        names: names or patterns; see :func:`erf_tools.features.taps.find_taps`. Without any, the
            last map before pooling.
        stages: each stage instead.
        output_key: which part of a layer's output, where it has several.
    """

    names: tuple[str, ...] = ()
    stages: bool = False
    output_key: str | None = None

    def __post_init__(self) -> None:
        if self.stages and self.names:
            raise UsageError("--stages and --layer exclude each other; leave one out")
        if self.output_key and not self.names:
            raise UsageError("--output-key is for a layer; name it with --layer")

    def taps(self, model: Model) -> list[Tap]:
        """Return the taps of a model.

        Raises:
            UsageError: it has no such layers.
        """
        if self.stages:
            return stage_taps(model.module)
        if self.names:
            return find_taps(model.module, self.names, self.output_key)
        return [model.tap]

    def folder(self, tap: str) -> str:
        """Return where the results of a tap go, below the model's folder; empty for that folder."""
        return folder_name(tap) if self.stages or self.names else ""


def measure_erfs(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure | None = None,
    layers: Layers | None = None,
    labels: Path | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
    fast: bool = True,
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
        batch_size: see :func:`erf_tools.effective_receptive_field`.
        device: see :func:`erf_tools.effective_receptive_field`.
        seed: of random weights and of the intervals.
        progress: show progress bars (in a terminal only).
        fast: see :func:`erf_tools.effective_receptive_field`. Without it, results that were
            computed in faster ways are measured again.

    Raises:
        ErfToolsError: no model could be measured; the first failure says why.
    """
    procedure, layers = procedure or Procedure(), layers or Layers()
    known = find_labels(selection.images, labels)
    store = PixelStore()
    results: list[ERF] = []
    reused: list[str] = []
    failures: list[ErfToolsError] = []
    for request in wanted:
        try:
            model = load_requested(request, procedure, seed)
            taps = layers.taps(model)
            folders = [output / request.folder / layers.folder(tap.name) for tap in taps]
            found = [
                _finished(
                    folder / "erf.npz",
                    _expected(model, tap, procedure),
                    selection,
                    known,
                    seed,
                    fast,
                )
                for folder, tap in zip(folders, taps, strict=True)
            ]
            done = [result for result in found if result]
            if len(done) == len(taps):
                reused.append(request.folder)
            else:
                done = measure_layers(
                    model,
                    selection,
                    procedure,
                    taps,
                    labels=known,
                    batch_size=batch_size,
                    device=device,
                    seed=seed,
                    progress=progress,
                    store=store,
                    fast=fast,
                )
            for result, folder in zip(done, folders, strict=True):
                write_result(result, folder)
            results += done
        except ErfToolsError as error:
            failures.append(error)
    if not results:
        raise failures[0]
    table = tables.erf_table(results)
    files = tables.write_erf_table(table, output / "erf_table")
    files += _write_across(results, output, layers.stages, any(r.in_series for r in wanted))
    try:
        files.append(write_report(output / "report.html", erfs=results))
    except ErfToolsError as error:
        failures.append(error)
    return Study(tuple(results), tuple(reused), tuple(failures), table, tuple(files))


def load_requested(request: Request, procedure: Procedure, seed: int) -> Model:
    """Load a network for the resolution it is to be measured at.

    Raises:
        ErfToolsError: see :func:`erf_tools.load_model`.
    """
    resolution = procedure.resolution
    if resolution is None and procedure.protocol.transform != "model":
        resolution = DEFAULT_RESOLUTION
    return load_model(request.model, request.weights, seed, resolution)


def _expected(model: Model, tap: Tap, procedure: Procedure) -> dict[str, Any]:
    """Return what the setting of a result has to say if measuring would give it again."""
    return {
        **procedure.record(),
        "model": model.record(),
        "tap": {**tap.record(), "default": tap == model.tap},
        "resolution": list(procedure.size(model.preprocessing)),
    }


def write_result(result: ERF, folder: Path) -> None:
    """Write a result: ``erf.npz``, ``erf.json`` and ``heatmap.png|pdf``.

    Raises:
        OutputError: the folder cannot be written.
    """
    result.save(folder / "erf.npz")
    write_json(folder / "erf.json", {"measures": result.measures.record(), **result.record()})
    save_figure(figures.heatmap(result), folder / "heatmap", result.record())


def _write_across(
    results: Sequence[ERF], output: Path, stages: bool, in_series: bool
) -> list[Path]:
    """Write what shows several results together."""
    provenance = {"results": [result.record() for result in results]}
    drawn = {"erf_comparison": figures.comparison, "erf_radial": figures.radial_profiles}
    files = []
    if any(result.resamples for result in results):
        drawn["erf_convergence"] = figures.convergence
        convergence = tables.convergence_table(results)
        files.append(write_csv(convergence, output / "erf_convergence.csv"))
    if stages:
        drawn["erf_stages"] = figures.stage_growth
    if in_series:
        drawn["erf_series"] = figures.series
    differences = tables.difference_table(results)
    if not differences.empty:
        files.append(write_csv(differences, output / "erf_differences.csv"))
    for name, draw in drawn.items():
        files += save_figure(draw(results), output / name, provenance)
    return files


def _finished(
    path: Path,
    expected: Mapping[str, Any],
    selection: Selection,
    labels: Mapping[str, int],
    seed: int,
    fast: bool,
) -> ERF | None:
    """Return the result at ``path`` if measuring again would give the same one."""
    if not path.is_file():
        return None
    try:
        found = ERF.load(path)
    except UsageError:
        return None
    same = (
        all(
            canonical_json(found.setting.get(key)) == canonical_json(value)
            for key, value in expected.items()
        )
        and [(image.name, image.sha256, image.label) for image in found.images]
        == [(image.name, image.sha256, labels.get(image.name)) for image in selection.images]
        and all(run["versions"] == versions() for run in found.runs)
        and (
            fast or not any(run["folded"] or run["cone"] or run["batch"] > 1 for run in found.runs)
        )
        and (found.resamples is None or found.resamples.seed == seed)
    )
    return found if same else None
