"""A study: several models measured alike, each result written as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.erf import figures, tables
from erf_tools.erf.gradients import (
    DEFAULT_RESOLUTION,
    Transform,
    analysis_size,
    effective_receptive_field,
)
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import measure
from erf_tools.erf.protocols import find_protocol
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.figures import save_figure
from erf_tools.images import Selection
from erf_tools.models.loading import load_model
from erf_tools.models.requests import Request, folder_name
from erf_tools.provenance import canonical_json, versions, write_json


@dataclass(frozen=True)
class Study:
    """What a study gave.

    Attributes:
        results: one per model that could be measured, in the order asked for.
        reused: names of models whose result lay there already.
        failures: one per model that could not be measured.
        table: :func:`erf_tools.erf.tables.erf_table` of the results.
        files: the files of the whole study; each model's lie in a folder of its own beside them.
    """

    results: tuple[ERF, ...]
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    table: pd.DataFrame
    files: tuple[Path, ...]


def measure_erfs(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    resolution: int | None = None,
    protocol: str = "ding2022",
    transform: Transform = "protocol",
    batch_size: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> Study:
    """Measure the ERF of each model over the same images and write everything below ``output``.

    A model that fails does not stop the others, and a result that lies there already, of the same
    model, weights, images, setting and versions, is used as it is: an interrupted study goes on
    with what is missing.

    Raises:
        ErfToolsError: no model could be measured; the first failure says why.
    """
    results: list[ERF] = []
    reused: list[str] = []
    failures: list[ErfToolsError] = []
    for request in wanted:
        folder = output / folder_name(request.model)
        try:
            built_for = None if transform == "model" else resolution or DEFAULT_RESOLUTION
            model = load_model(request.model, request.weights, seed, built_for)
            expected = {
                "protocol": find_protocol(protocol).record(),
                "transform": transform,
                "model": model.record(),
                "tap": model.tap.record(),
                "resolution": list(analysis_size(model, resolution, transform)),
            }
            result = _finished(folder / "erf.npz", expected, selection)
            if result:
                reused.append(request.model)
            else:
                result = effective_receptive_field(
                    model,
                    selection,
                    resolution=resolution,
                    protocol=protocol,
                    transform=transform,
                    batch_size=batch_size,
                    device=device,
                    progress=progress,
                )
                result.save(folder / "erf.npz")
            results.append(result)
            _write_erf(result, folder)
        except ErfToolsError as error:
            failures.append(error)
    if not results:
        raise failures[0]
    table = tables.erf_table(results)
    files = tables.write_erf_table(table, output / "erf_table")
    provenance = {"models": [result.record() for result in results]}
    files += save_figure(figures.comparison(results), output / "erf_comparison", provenance)
    return Study(tuple(results), tuple(reused), tuple(failures), table, tuple(files))


def _write_erf(result: ERF, folder: Path) -> None:
    write_json(folder / "erf.json", {"measures": measure(result.map).record(), **result.record()})
    save_figure(figures.heatmap(result), folder / "heatmap", result.record())


def _finished(path: Path, expected: Mapping[str, Any], selection: Selection) -> ERF | None:
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
        and [(image.name, image.sha256) for image in found.images]
        == [(image.name, image.sha256) for image in selection.images]
        and all(run["versions"] == versions() for run in found.runs)
    )
    return found if same else None
