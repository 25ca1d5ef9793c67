"""Doing a unit of work: what every executor hands to its workers, wherever they are."""

from __future__ import annotations

import atexit
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from erf_tools.cue_conflict.classify import decide
from erf_tools.cue_conflict.decisions import Decisions, decision_frame
from erf_tools.cue_conflict.stimuli import StimulusSet
from erf_tools.erf.measuring import Prepared, prepared
from erf_tools.erf.parts import Part, join, joined_runs, load_parts, save_parts
from erf_tools.erf.tables import erf_table
from erf_tools.errors import ErfToolsError, OutputError, UsageError
from erf_tools.failures import one_sentence
from erf_tools.files import read_archive, write_archive
from erf_tools.images import PixelStore, Selection
from erf_tools.models.accuracy import find_labels
from erf_tools.models.loading import Model
from erf_tools.studies.erf import Layers, load_requested, write_result
from erf_tools.studies.shape_bias import decisions_file, load_deciding, save_decisions
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.outcome import Failure, Outcome
from erf_tools.sweep.plan import Measurement, Unit
from erf_tools.sweep.study import ErfProtocol, ShapeBias


class _Network:
    """The network of the last unit, since the next one's is most often the same.

    That it cannot be had is remembered as well: it would be tried for each of its units.
    """

    def __init__(self) -> None:
        self._key: object = None
        self._held = ExitStack()
        self._found: Any = None

    def of(self, measurement: Measurement, device: str) -> Any:
        """Return what :func:`_load` does.

        Raises:
            ErfToolsError: the network cannot be had.
        """
        if self._key != (measurement.id, device):
            self.close()
            self._key = (measurement.id, device)
            try:
                with one_sentence(measurement.request.label):
                    self._found = _load(measurement, device, self._held)
            except ErfToolsError as error:
                self._found = error
        if isinstance(self._found, ErfToolsError):
            raise self._found
        return self._found

    def close(self) -> None:
        """Leave the network as it was, and forget it."""
        self._held.close()
        self._key, self._found = None, None


_network = _Network()
_pixels = PixelStore()  # the next network is shown the same images
atexit.register(_network.close)


def perform(unit: Unit, output: Path, device: str = "auto") -> Outcome:
    """Do a unit: measure its images, unless that is done, and write its part of the result.

    Whoever writes the last part of a measurement puts the result together. Everything written is
    whole or not there, and doing a unit twice writes the same again.

    Args:
        unit: what to do.
        output: the sweep's folder.
        device: as in :func:`erf_tools.effective_receptive_field`.

    Returns:
        The outcome. Whatever is wrong with the unit is in it.

    Raises:
        OutputError: the folder cannot be written, which is nobody's failure in particular.
    """
    started = time.perf_counter()
    failure = None
    try:
        with (
            threadpool_limits(unit.measurement.threads),
            one_sentence(unit.measurement.request.label),
        ):
            torch.set_num_threads(unit.measurement.threads)
            _perform(unit, SweepFolder(output), device)
    except OutputError:
        raise
    except ErfToolsError as error:
        failure = Failure(str(error), traceback.format_exc())
    return Outcome(unit.id, len(unit.images), time.perf_counter() - started, failure)


def _perform(unit: Unit, folder: SweepFolder, device: str) -> None:
    path, measurement = folder.part(unit.id), unit.measurement
    if folder.rows(measurement) is not None:
        return  # a job that was started again after its last unit
    if not path.exists():
        if isinstance(unit.images, Selection):
            network: Prepared = _network.of(measurement, device)
            labels = unit.labels
            if labels is None:
                labels = find_labels(unit.images.images)
            save_parts(path, network.measure(unit.images, unit.lengths, labels, store=_pixels))
        else:
            _save_decided(path, _decide(unit, unit.images, device))
    if folder.has_parts(measurement):
        folder.begin_result(measurement)
        try:
            rows = _joined(measurement, folder, unit.labels_file)
        except FileNotFoundError:  # two finished last, and the other has put it together
            return
        folder.finish(measurement, rows)


def _load(measurement: Measurement, device: str, held: ExitStack) -> Prepared | Model:
    protocol, request = measurement.protocol, measurement.request
    if isinstance(protocol, ShapeBias):
        return load_deciding(request, protocol.preset, measurement.seed)
    procedure = protocol.procedure()
    model = load_requested(request, procedure, measurement.seed)
    taps = _layers(protocol).taps(model)
    return held.enter_context(
        prepared(model, procedure, taps, device=device, fast=not protocol.exact)
    )


def _layers(protocol: ErfProtocol) -> Layers:
    return Layers(protocol.layers, protocol.stages, protocol.output_key)


def _joined(measurement: Measurement, folder: SweepFolder, labels: Path | None) -> pd.DataFrame:
    """Put a result together from its parts, write it, and return its rows."""
    paths = [folder.part(each) for each in measurement.units]
    if isinstance(measurement.protocol, ShapeBias):
        return _joined_decisions(measurement, folder, paths)
    place, layers = Path(measurement.folder), _layers(measurement.protocol)
    tables = []
    for index in range(len(_read(paths[0]))):
        result = join(_read(path, index)[0] for path in paths)
        result = replace(result, runs=joined_runs(result.runs))
        own = place / layers.folder(result.setting["tap"]["name"])
        result = write_result(result, folder.path / own, labels)
        tables.append(erf_table([result]).assign(file=(own / "erf.npz").as_posix()))
    return pd.concat(tables, ignore_index=True)


def _read(path: Path, layer: int | None = None) -> list[Part]:
    with _removed_if_damaged(path):
        return load_parts(path, layer)


@contextmanager
def _removed_if_damaged(path: Path) -> Iterator[None]:
    """Remove a part that cannot be read, so that it is made again.

    Raises:
        ErfToolsError: it could not be read.
        FileNotFoundError: it is not there.
    """
    try:
        path.stat()
        yield
    except UsageError as error:
        path.unlink(missing_ok=True)
        raise ErfToolsError(f"{error}; it is removed, to be made again") from error


def _decide(unit: Unit, stimuli: StimulusSet, device: str) -> Decisions:
    protocol = unit.measurement.protocol
    assert isinstance(protocol, ShapeBias)
    model: Model = _network.of(unit.measurement, device)
    return decide(
        model,
        stimuli,
        protocol.preset,
        protocol.aggregation,
        device=device,
        output_key=protocol.output_key,
    )


def _save_decided(path: Path, decisions: Decisions) -> None:
    frame = decisions.frame.reset_index()
    arrays = {column: frame[column].to_numpy(dtype=str) for column in frame}
    record = {"name": decisions.name, "provenance": dict(decisions.provenance)}
    write_archive(path, arrays, record)


def _joined_decisions(
    measurement: Measurement, folder: SweepFolder, paths: Sequence[Path]
) -> pd.DataFrame:
    arrays: dict[str, list[str]] = {}
    records = []
    for path in paths:
        with _removed_if_damaged(path):
            own, record = read_archive(path)
        for column, values in own.items():
            arrays.setdefault(column, []).extend(values.tolist())
        records.append(record)
    provenance = {**records[0]["provenance"], "stimuli": dict(measurement.stimuli)}
    for record in records:
        if record["provenance"]["model"] != provenance["model"]:
            raise UsageError(
                f"{measurement.request.model} had other weights for some of its stimuli; remove "
                f"{folder.path / 'units'} to decide again"
            )
    frame = decision_frame(
        arrays["stimulus"], arrays["shape"], arrays["texture"], arrays["response"]
    )
    if not frame.index.is_unique:
        raise UsageError("a stimulus is in two parts, which would count it twice")
    path = decisions_file(Path(measurement.folder), measurement.request)
    save_decisions(Decisions(records[0]["name"], frame, provenance), folder.path / path)
    model = provenance["model"]
    return pd.DataFrame(
        {
            "model": [measurement.request.model],
            "weights": [model["weights"]["label"]],
            "weights_sha256": [model["weights"]["sha256"]],
            "file": [path.as_posix()],
        }
    )
