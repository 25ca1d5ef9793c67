"""Doing a unit of work: what every executor hands to its workers, wherever they are."""

from __future__ import annotations

import atexit
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from erf_tools.allocation import keep_freed_memory
from erf_tools.errors import ErfToolsError, OutputError, UsageError
from erf_tools.failures import one_sentence
from erf_tools.models.hub import changed_since
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.outcome import Failure, Outcome
from erf_tools.sweep.plan import Measurement, Unit, hub_version, network_identity
from erf_tools.sweep.task import PartsError


class _Network:
    """The network of the last unit, since the next one's is most often the same.

    That it cannot be had is remembered as well: it would be tried for each of its units.
    """

    def __init__(self) -> None:
        self._key: tuple[str, str] | None = None
        self._held = ExitStack()
        self._found: Any = None
        self._hub = ""

    def of(self, measurement: Measurement, device: str) -> Any:
        """Return the network of a measurement, ready for its task.

        Raises:
            ErfToolsError: the network cannot be had, or is not the one that was planned.
        """
        if self._key != (measurement.id, device) or changed_since(self._hub):
            self.close()
            self._key = (measurement.id, device)
            try:
                with one_sentence(measurement.request.label):
                    self._found = measurement.task.network(
                        measurement.request, measurement.seed, device, self._held
                    )
                    _check_planned(measurement)
                    self._hub = hub_version(measurement.request)
            except ErfToolsError as error:
                self._found = error
        if isinstance(self._found, ErfToolsError):
            raise self._found
        return self._found

    def hub(self, measurement: Measurement) -> str:
        """Return the version of the weights on a model hub: as loaded here, or as it is now."""
        loaded = self._key is not None and self._key[0] == measurement.id
        return self._hub if loaded else hub_version(measurement.request)

    def close(self) -> None:
        """Leave the network as it was, and forget it."""
        self._held.close()
        self._key, self._found, self._hub = None, None, ""


def _check_planned(measurement: Measurement) -> None:
    """See that a network is loaded from what lay there when the plan was made.

    Its result would be kept under the name of another: a sweep may wait long for its machines.

    Raises:
        ErfToolsError: it was changed since.
    """
    now = network_identity(measurement.request)
    changed = [
        name
        for name, planned in measurement.network.items()
        if planned is not None and planned != now[name]
    ]
    if changed:
        raise ErfToolsError(
            f"{measurement.request.label} was changed since the sweep began (in "
            f"{', '.join(changed)}); run the sweep again to measure it as it is now"
        )


_network = _Network()
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
    keep_freed_memory()
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
        mended = isinstance(error, PartsError)
        failure = Failure(str(error), traceback.format_exc(), mended)
    return Outcome(unit.id, len(unit.names), time.perf_counter() - started, failure)


def _perform(unit: Unit, folder: SweepFolder, device: str) -> None:
    path, measurement = folder.part(unit.id), unit.measurement
    if folder.rows(measurement) is not None:
        return  # a job that was started again after its last unit
    if not path.exists():
        measurement.task.measure(_network.of(measurement, device), unit.share, device, path)
    if folder.has_parts(measurement):
        folder.begin_result(measurement)
        parts = [folder.part(each) for each in measurement.units]
        try:
            rows = measurement.task.join(measurement, parts, folder.path)
        except FileNotFoundError:  # two finished last, and the other has put it together
            return
        except UsageError as error:  # nobody knows which of them are of the network of now
            folder.drop_parts(measurement)
            raise PartsError(
                f"{error}; the network was changed in between, or is another each time it is made "
                "(seed what its code draws): all of its parts are removed, to be measured again"
            ) from error
        folder.finish(measurement, rows, _network.hub(measurement))
